// What the charts remember: one sample per snapshot, at most ten minutes, and the rates between two
// snapshots. Counters grow from the start of the interlay's process, so a smaller value is a new
// start: no rate is made from that pair. What each side answered comes as the count of a window.

const kSpan_ms = 600_000;
const kSamples_max = 700;  // ten minutes at one a second, and some
/// Further apart than this, two snapshots are joined by no line and make no rate.
export const kGap_ms = 5000;

/// The movement that feeds the side which is not authoritative.
export function feeding(status) {
    return (status.authority === 'target' ? status.reverse : status.forward) ?? {};
}

/// The movement whose copy is worth showing: the one that fills now, else the feeding one.
export function copying(status) {
    const {forward, reverse} = status;
    if (reverse?.stage === 'filling') return {...reverse, direction: 'reverse'};
    if (forward?.items_total_estimate > 0 || !(reverse?.items_total_estimate > 0))
        return {...forward, direction: 'forward'};
    return {...reverse, direction: 'reverse'};
}

/// Units per second between two values of a counter, or null.
function growth(before, now, seconds) {
    if (typeof before !== 'number' || typeof now !== 'number' || now < before) return null;
    return (now - before) / seconds;
}

/// What a side answered per second within the server's window: its count is of that window, no
/// counter. Null before there is one.
function answered(traffic, side) {
    const count = traffic?.[side]?.count;
    if (typeof count !== 'number' || !(traffic.window_ms > 0)) return null;
    return count * 1000 / traffic.window_ms;
}

/// A percentile of a side that has answered nothing is not known.
function latency(side, name) {
    return side?.count > 0 ? side[name] : null;
}

function sample_of(status) {
    const {traffic, divergences} = status;
    const feed = feeding(status);
    const off = (feed.stage ?? 'off') === 'off';
    const copy = copying(status);
    return {
        at_ms: status.at_ms,
        p50_source: latency(traffic?.source, 'p50_us'),
        p50_target: latency(traffic?.target, 'p50_us'),
        p99_source: latency(traffic?.source, 'p99_us'),
        p99_target: latency(traffic?.target, 'p99_us'),
        lag: feed.lag_ms ?? null,
        items: (copy.stage ?? 'off') === 'off' ? null : copy.items_per_s ?? null,
        changes: off ? null : feed.changes_per_s ?? null,
        queue: off ? null : feed.queue_bytes ?? null,
        divergences: divergences?.total ?? null,
        unresolved: divergences?.unresolved ?? null,
        clients: null,
        source: answered(traffic, 'source'),
        target: answered(traffic, 'target'),
    };
}

export class History {
    constructor() {
        this.samples = [];
        this.before = null;
        this.commands = new Map();  // requests per second by command
    }

    add(status) {
        if (typeof status.at_ms !== 'number') return;
        const before = this.before;
        if (before && status.at_ms === before.at_ms) return;  // the same snapshot, sent again
        // A clock that was set back: what was remembered has no place on this time axis.
        if (before && status.at_ms < before.at_ms) this.samples = [];
        const sample = sample_of(status);
        const apart_ms = before ? status.at_ms - before.at_ms : 0;
        this.commands = new Map();
        if (apart_ms > 0 && apart_ms <= kGap_ms && status.traffic && before.traffic)
            this.add_rates(sample, before.traffic, status.traffic, apart_ms / 1000);
        this.before = {at_ms: status.at_ms, traffic: status.traffic};
        this.samples.push(sample);
        const oldest = Math.max(status.at_ms - kSpan_ms, 0);
        const keep = this.samples.findIndex((kept) => kept.at_ms >= oldest);
        this.samples.splice(0, Math.max(keep, this.samples.length - kSamples_max));
    }

    add_rates(sample, before, now, seconds) {
        sample.clients = growth(before.requests, now.requests, seconds);
        if (sample.clients === null) return;  // a new start
        const known = new Map((before.commands ?? []).map((row) => [row.name, row.requests]));
        for (const row of now.commands ?? [])
            this.commands.set(row.name, growth(known.get(row.name), row.requests, seconds));
    }

    newest() {
        return this.samples.at(-1) ?? null;
    }

    /// The sample nearest to a time, or null when none is near.
    nearest(at_ms) {
        let best = null;
        for (const sample of this.samples) {
            if (!best || Math.abs(sample.at_ms - at_ms) < Math.abs(best.at_ms - at_ms))
                best = sample;
        }
        return best && Math.abs(best.at_ms - at_ms) <= kGap_ms ? best : null;
    }

    /// The time axis: one, two, five or ten minutes that end with the newest sample.
    span_ms() {
        if (this.samples.length === 0) return 60_000;
        const have = this.samples.at(-1).at_ms - this.samples[0].at_ms;
        return [60_000, 120_000, 300_000].find((span) => have <= span) ?? kSpan_ms;
    }
}
