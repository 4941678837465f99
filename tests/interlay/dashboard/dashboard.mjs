// Opens the dashboard in chromium while dashboard_test.cpp switches, rolls back and restarts the
// interlay under it. Arguments: URL, directory in which both sides leave each other notes, directory
// for screenshots.
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { chromium } from 'playwright-core';

const [url, notes, pictures] = process.argv.slice(2);
mkdirSync(pictures, { recursive: true });
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

/// Asks the other side to do something, and waits until it did.
async function ask(what) {
    writeFileSync(`${notes}/want-${what}`, '');
    for (let i = 0; i < 1200; ++i) {
        if (existsSync(`${notes}/done-${what}`)) return;
        await sleep(100);
    }
    throw new Error(`${what} was not done`);
}

let failures = 0;
function check(holds, what) {
    if (holds) return;
    failures += 1;
    console.log(`FAILED: ${what}`);
}

/// Text whose contrast to what is behind it is below 4.5 (3 for large text), as WCAG 2 counts it.
function low_contrast() {
    const parse = (color) => (color.match(/[\d.]+/g) ?? []).map(Number);
    const over = (top, below) => {
        const alpha = top[3] ?? 1;
        return [0, 1, 2].map((i) => top[i] * alpha + below[i] * (1 - alpha));
    };
    const luminance = (rgb) => {
        const [r, g, b] = rgb.map((v) => (v / 255 <= 0.03928 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const behind = (element) => {
        const layers = [];
        for (let at = element; at; at = at.parentElement) layers.unshift(parse(getComputedStyle(at).backgroundColor));
        return layers.reduce((below, top) => (top.length >= 3 ? over(top, below) : below), [255, 255, 255]);
    };
    const found = [];
    for (const element of document.querySelectorAll('body *')) {
        const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim() !== '');
        const style = getComputedStyle(element);
        const box = element.getBoundingClientRect();
        if (!own || style.visibility === 'hidden' || box.width < 2 || box.height < 2 || element.closest('svg')) continue;
        const ground = behind(element);
        const [a, b] = [luminance(over(parse(style.color), ground)), luminance(ground)].sort((x, y) => y - x);
        const size = parseFloat(style.fontSize);
        const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
        if ((a + 0.05) / (b + 0.05) < (large ? 3 : 4.5)) found.push(`${element.className}: ${element.textContent.slice(0, 40)}`);
    }
    return found;
}

const browser = await chromium.launch({ executablePath: '/usr/bin/chromium', args: ['--no-sandbox'] });
const errors = [];
async function open(options) {
    const page = await browser.newPage(options);
    page.on('console', (message) => message.type() === 'error' && errors.push(message.text()));
    page.on('pageerror', (error) => errors.push(String(error)));
    await page.goto(url);
    return page;
}
const authority = (page, side) => page.waitForFunction(
    (word) => document.querySelector('#now .authority .word')?.textContent.includes(word)
        && document.body.dataset.fresh === 'live', side.toUpperCase(), { timeout: 20000 });

/// The numbers of the chart of requests, by the name of the series.
const requests_chart = (page) => page.evaluate(() => Object.fromEntries(
    [...document.querySelectorAll('#charts > figure:first-child .legend li')].map((row) => {
        const [, name, value] = [...row.children].map((part) => part.textContent);
        return [name, Number(value.replace(' /s', '').replaceAll(',', ''))];
    })));

/// Under a constant load what the source answers per second stays what clients ask, also when the
/// server's window of ten seconds is full. Mirrored and blocking requests are the difference.
async function steady_rates(page) {
    await page.waitForFunction(async () => {
        const status = await (await fetch('status')).json();
        return status.traffic?.window_ms >= 10000;
    }, null, { timeout: 30000 });
    for (let i = 0; i < 3; ++i) {
        await sleep(1000);
        const { clients, source } = await requests_chart(page);
        check(clients > 0 && source > clients / 5, `chart of requests: clients ${clients}, source ${source}`);
    }
}

try {
    const page = await open({ viewport: { width: 1280, height: 1600 } });
    // A machine that does much else paints slowly.
    const shot = (name) => page.screenshot({ path: `${pictures}/${name}.png`, fullPage: true, timeout: 120000 });
    await authority(page, 'source');
    check((await page.textContent('#next code')).startsWith('exodus '), 'the next command is shown');
    await steady_rates(page);
    await shot('1-ready');
    check(errors.length === 0, `console: ${errors.join('; ')}`);

    await ask('switch');
    await authority(page, 'target');
    // The stream back runs a moment behind the switch.
    await page.waitForFunction(
        () => document.querySelector('#now .way .word')?.textContent.includes('OPEN'), null, { timeout: 20000 });
    await page.waitForFunction(
        () => document.querySelector('#switches tbody td')?.textContent === 'switch', null, { timeout: 20000 });
    await shot('2-switched');
    await ask('rollback');
    await authority(page, 'source');
    await shot('3-rolled-back');
    check(errors.length === 0, `console: ${errors.join('; ')}`);

    // The keyboard reaches the first copy button, shows where it is, and presses it.
    await page.keyboard.press('Tab');
    let reached = false;
    for (let i = 0; i < 40 && !reached; ++i) {
        reached = await page.evaluate(() => document.activeElement?.matches('#next button') ?? false);
        if (!reached) await page.keyboard.press('Tab');
    }
    check(reached, 'Tab reaches the copy button');
    const ring = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
    check(ring !== 'none', 'the focus is visible');

    for (const scheme of ['light', 'dark']) {
        await page.emulateMedia({ colorScheme: scheme });
        await sleep(300);
        const low = await page.evaluate(low_contrast);
        check(low.length === 0, `contrast in ${scheme}: ${low.join(' | ')}`);
        await shot(`4-${scheme}`);
    }
    const phone = await open({ viewport: { width: 360, height: 800 } });
    await authority(phone, 'source');
    const wide = await phone.evaluate(() => document.documentElement.scrollWidth);
    check(wide <= 360, `a phone scrolls sideways: ${wide}`);
    await phone.screenshot({ path: `${pictures}/5-phone.png`, fullPage: true, timeout: 120000 });
    await phone.close();

    const before = errors.length;
    await ask('kill');
    await page.waitForFunction(() => document.body.dataset.fresh !== 'live', null, { timeout: 15000 });
    check((await page.textContent('#banner')).trim() !== '', 'a lost stream is said');
    await shot('6-lost');
    await ask('start');
    await authority(page, 'source');
    await shot('7-back');
    errors.splice(before);  // the browser reports refused connections of its own accord
} catch (error) {
    failures += 1;
    console.log(`FAILED: ${error.stack}`);
} finally {
    await browser.close();
}
process.exit(failures === 0 ? 0 : 1);
