// Numbers, times and sizes as the operator reads them, in the words of `exodus status`. Pure
// functions; what is not known is said, never shown as 0.

export const kUnknown = 'not known';

function known(value) {
    return typeof value === 'number' && Number.isFinite(value);
}

/// "2,951 of ~100,000"; without an estimate only what is done.
export function of (done, total) {
    return total > 0 ? `${count(done)} of ~${count(total)}` : count(done);
}

/// 1284019 -> "1,284,019".
export function count(value) {
    return known(value) ? Math.round(value).toLocaleString('en-US') : kUnknown;
}

/// Three digits that matter: 0.0123, 1.23, 12.3, 123, 1,235.
export function short(value) {
    if (!known(value)) return kUnknown;
    const size = Math.abs(value);
    if (size >= 100 || Number.isInteger(value)) return count(value);
    if (size >= 10) return value.toFixed(1);
    return size >= 0.01 ? value.toFixed(2) : value.toExponential(1);
}

/// "{count} {noun}" in singular or plural.
export function plural(value, noun, nouns = `${noun}s`) {
    return `${count(value)} ${value === 1 ? noun : nouns}`;
}

/// For axes: 12,000 -> "12k".
export function compact(value) {
    const units = [[1e9, 'G'], [1e6, 'M'], [1e3, 'k']];
    const [unit, name] = units.find(([size]) => value >= size) ?? [1, ''];
    return `${Number((value / unit).toFixed(2))}${name}`;
}

export function rate(value) {
    return known(value) ? `${short(value < 10 ? value : Math.round(value))} /s` : kUnknown;
}

export function bytes(value) {
    if (!known(value)) return kUnknown;
    const names = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
    let step = 0;
    while (value >= 1024 && step + 1 < names.length) {
        value /= 1024;
        step += 1;
    }
    const text = Number.isInteger(value) ? String(value) : value.toFixed(value >= 100 ? 0 : 1);
    return `${text} ${names[step]}`;
}

/// 41 ms, 2.3 s, 32 s, 4 min 10 s, 3 h 5 min, 2 d 4 h.
export function duration(ms) {
    if (!known(ms)) return kUnknown;
    if (ms < 1) return `${short(ms)} ms`;
    if (ms < 1000) return `${ms < 10 ? short(ms) : Math.round(ms)} ms`;
    if (ms < 10_000) return `${(ms / 1000).toFixed(1)} s`;
    const s = Math.round(ms / 1000);
    if (s < 60) return `${s} s`;
    const parts = s < 3600 ? [Math.floor(s / 60), 'min', s % 60, 's'] :
        s < 86_400         ? [Math.floor(s / 3600), 'h', Math.floor(s % 3600 / 60), 'min'] :
                             [Math.floor(s / 86_400), 'd', Math.floor(s % 86_400 / 3600), 'h'];
    return parts[2] === 0 ? `${parts[0]} ${parts[1]}` : parts.join(' ');
}

/// Whole seconds below a minute: for ages that tick.
export function age(ms) {
    return ms < 60_000 ? `${Math.max(0, Math.floor(ms / 1000))} s` : duration(ms);
}

/// Microseconds.
export function micros(us) {
    if (!known(us)) return kUnknown;
    return us < 1000 ? `${Math.round(us)} µs` : duration(us / 1000);
}

export function percent(value) {
    return known(value) ? `${Number(value.toFixed(1))} %` : kUnknown;
}

/// A ratio such as 2.9e-5.
export function ratio(value) {
    if (!known(value)) return kUnknown;
    return value === 0 ? '0' : value >= 0.001 ? value.toFixed(4) : value.toExponential(1);
}

/// Time of day in UTC, with the date when it is not the day of `now_ms`.
export function clock(ms, now_ms = Date.now()) {
    if (!known(ms) || Math.abs(ms) > 8e15) return kUnknown;
    const iso = new Date(ms).toISOString();
    const today = Math.abs(now_ms) < 8e15 && new Date(now_ms).toISOString().slice(0, 10);
    const time = iso.slice(11, 19);
    return iso.slice(0, 10) === today ? time : `${iso.slice(0, 10)} ${time}`;
}
