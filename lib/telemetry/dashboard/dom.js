// Brings the document to what a view describes. h() makes a description, patch() changes only what
// differs, so that focus, scrolling and selected text survive an update each second. Text enters
// the document as text nodes and attributes only, never as markup.

const kSvg = 'http://www.w3.org/2000/svg';
const kSvgTags = new Set(['svg', 'g', 'path', 'rect', 'circle', 'line', 'text']);

/// h('td.number', {title: '…'}, child, …): classes in the name; null, false and '' attributes and
/// children are left out. The attribute `key` gives rows an identity of their own.
export function h(name, attributes, ...children) {
    const [tag, ...classes] = name.split('.');
    const {key, ...rest} = attributes ?? {};
    if (classes.length > 0) rest.class = classes.join(' ');
    return {tag, key: key === undefined ? undefined : String(key), attributes: rest, children};
}

function flat(children) {
    return [children].flat(Infinity).filter(
        (child) => child !== null && child !== undefined && child !== false && child !== '');
}

function make(tag) {
    return kSvgTags.has(tag) ? document.createElementNS(kSvg, tag) : document.createElement(tag);
}

function patch_attributes(element, wanted) {
    for (const [name, value] of Object.entries(wanted)) {
        const absent = value === null || value === undefined || value === false;
        if (absent)
            element.removeAttribute(name);
        else if (element.getAttribute(name) !== String(value))
            element.setAttribute(name, value);
    }
    for (const name of element.getAttributeNames()) {
        if (!(name in wanted) && name !== 'data-key') element.removeAttribute(name);
    }
}

/// The element at this place when it is the one wanted; else one with the same key, or a new one.
function place(parent, have, want) {
    if (have?.localName === want.tag && have.dataset?.key === want.key) return have;
    const known = want.key === undefined ?
        undefined :
        [...parent.children].find((child) => child.dataset.key === want.key);
    const element = known ?? make(want.tag);
    if (want.key !== undefined) element.dataset.key = want.key;
    if (have && want.key === undefined)
        parent.replaceChild(element, have);
    else
        parent.insertBefore(element, have ?? null);
    return element;
}

/// Makes the children of `parent` equal to the descriptions and texts in `children`.
export function patch(parent, children) {
    const wanted = flat(children);
    wanted.forEach((want, index) => {
        const have = parent.childNodes[index];
        if (typeof want !== 'object') {
            const text = String(want);
            if (have?.nodeType !== Node.TEXT_NODE) {
                const node = document.createTextNode(text);
                if (have)
                    parent.replaceChild(node, have);
                else
                    parent.append(node);
            } else if (have.data !== text) {
                have.data = text;
            }
            return;
        }
        const element = place(parent, have, want);
        patch_attributes(element, want.attributes);
        patch(element, want.children);
    });
    while (parent.childNodes.length > wanted.length) parent.lastChild.remove();
}
