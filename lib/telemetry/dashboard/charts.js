// The charts: what each one shows, and how a few series become one SVG. Pure: history in,
// description out. Source is a solid line that ends in a disc, target a dashed one that ends in a
// square, so that no colour is needed to tell them apart.

import {h} from './dom.js';
import * as f from './format.js';
import {copying, feeding, kGap_ms} from './history.js';

const kBox = {
    width: 280,
    height: 118,
    left: 52,
    right: 8,
    top: 9,
    bottom: 19
};
const kInner = {
    width: kBox.width - kBox.left - kBox.right,
    height: kBox.height - kBox.top - kBox.bottom
};

/// Where on the time axis (0 … 1) a pointer stands that is `x` of the way through the drawing.
export function fraction_at(x) {
    return Math.min(1, Math.max(0, (x * kBox.width - kBox.left) / kInner.width));
}

/// The next round number whose half is round too.
function ceiling(value, base) {
    if (!(value > 0)) return 1;
    let unit = 1;
    if (base === 1024)
        while (value / unit > 1024) unit *= 1024;
    const power = 10 ** Math.floor(Math.log10(value / unit));
    const step = [1, 2, 4, 6, 8, 10].find((size) => size * power * unit >= value * 0.999);
    return (step ?? 10) * power * unit;
}

function line_path(samples, name, x, y) {
    let path = '';
    let last_ms = -Infinity;
    for (const sample of samples) {
        const value = sample[name];
        if (value === null || value === undefined) {
            last_ms = -Infinity;
            continue;
        }
        const joined = sample.at_ms - last_ms <= kGap_ms;
        path += `${joined ? 'L' : 'M'}${x(sample.at_ms).toFixed(1)} ${y(value).toFixed(1)}`;
        last_ms = sample.at_ms;
    }
    return path;
}

function end_mark(side, cx, cy) {
    if (side === 'target')
        return h(`rect.dot.${side}`, {x: cx - 3, y: cy - 3, width: 6, height: 6});
    return h(`circle.dot.${side}`, {cx, cy, r: 3.2});
}

function swatch(side) {
    return h(
        'svg.swatch', {viewBox: '0 0 20 8', 'aria-hidden': 'true'},
        h(`path.line.${side}`, {d: 'M0 4H20'}), end_mark(side, 10, 4));
}

function drawing(spec, view) {
    const {samples, span_ms, end_ms, live, cursor} = view;
    const values = spec.series.flatMap(({name}) => samples.map((sample) => sample[name]))
                       .filter((value) => typeof value === 'number');
    const summary =
        spec.series.map(({name, label}) => `${label} ${spec.format(samples.at(-1)?.[name])}`)
            .join(', ');
    const attributes = {
        viewBox: `0 0 ${kBox.width} ${kBox.height}`,
        role: 'img',
        tabindex: '0',
        'aria-label': `${spec.title}: ${summary}`
    };
    const bottom = kBox.height - kBox.bottom;
    if (values.length === 0) {
        return h(
            'svg.plot', attributes,
            h('line.axis', {x1: kBox.left, x2: kBox.width - kBox.right, y1: bottom, y2: bottom}),
            h('text.nothing', {x: kBox.width / 2, y: kBox.height / 2, 'text-anchor': 'middle'},
              spec.empty));
    }
    const top = ceiling(Math.max(...values, spec.least ?? 0), spec.base);
    const begin_ms = end_ms - span_ms;
    const x = (at_ms) => kBox.left + (at_ms - begin_ms) / span_ms * kInner.width;
    const y = (value) => bottom - value / top * kInner.height;
    const ticks = spec.whole && top === 1 ? [0, 1] : [0, top / 2, top];
    const shown = samples.filter((sample) => sample.at_ms >= begin_ms);
    return h(
        'svg.plot', attributes,
        ticks.map(
            (tick) =>
                [h('line.axis',
                   {x1: kBox.left, x2: kBox.width - kBox.right, y1: y(tick), y2: y(tick)}),
                 h('text.tick', {x: kBox.left - 5, y: y(tick) + 3.5, 'text-anchor': 'end'},
                   spec.axis(tick)),
    ]),
        h('text.tick', {x: kBox.left, y: kBox.height - 4}, `−${span_ms / 60_000} min`),
        h('text.tick', {x: kBox.width - kBox.right, y: kBox.height - 4, 'text-anchor': 'end'},
          live ? 'now' : f.clock(end_ms)),
        spec.series.map(({name, side}) => {
            const last = shown.at(-1)?.[name];
            return [
                h(`path.line.${side}`, {d: line_path(shown, name, x, y)}),
                typeof last === 'number' && end_mark(side, x(shown.at(-1).at_ms), y(last)),
            ];
        }),
        cursor && cursor.at_ms >= begin_ms &&
            h('line.cursor', {x1: x(cursor.at_ms), x2: x(cursor.at_ms), y1: kBox.top, y2: bottom}));
}

function chart(spec, view) {
    const shown = view.cursor ?? view.samples.at(-1);
    return h(
        'figure.card.chart', {key: spec.title},
        h('figcaption', null, h('h3', null, spec.title),
          spec.note && h('span.note', null, spec.note)),
        h('ul.legend', null, spec.series.map(({name, side, label}) => {
            const value = shown?.[name];
            return h(
                'li', null, swatch(side), h('span', null, label),
                h(typeof value === 'number' ? 'b' : 'span.note', null,
                  spec.off && typeof value !== 'number' ? '–' : spec.format(value)));
        })),
        spec.above, drawing(spec, view));
}

/// A bar that fills with `part` (0 … 1) of its width.
export function bar(part, label, tone = '') {
    const width = Math.max(0, Math.min(1, part)) * 100;
    return h(
        'svg.bar',
        {viewBox: '0 0 100 6', preserveAspectRatio: 'none', role: 'img', 'aria-label': label},
        h('rect.trough', {width: 100, height: 6}),
        h(`rect.${tone || 'fill'}`, {width: width.toFixed(2), height: 6}));
}

/// Copied, of how many, how fast, how long still. An estimate never reads as finished.
function copy_progress(status) {
    const copy = copying(status);
    const total = copy.items_total_estimate ?? 0;
    const done = copy.items_done ?? 0;
    if (total === 0 && done === 0) return null;
    const filling = copy.stage === 'filling' || copy.stage === 'attaching';
    const part = total > 0 ? Math.min(done / total, filling ? 0.999 : 1) : 0;
    const label = total > 0 ? `~${f.percent(part * 100)}` : filling ? 'of an unknown number' : '';
    const eta = !filling                         ? copy.stage :
        typeof copy.eta_ms_estimate === 'number' ? `ETA ~${f.duration(copy.eta_ms_estimate)}` :
                                                   'ETA not known';
    return h(
        'div.progress', null, h('p', null, h('b', null, label), h('b.eta', null, eta)),
        bar(part, `copied ${label}`),
        h('p.note', null, `${f.of(done, total)}, ${f.bytes(copy.bytes_copied)}`));
}

const kNoInterlay = 'not known: no interlay answers';

function specs(status) {
    const feed = feeding(status);
    const way = status.authority === 'target' ? 'target → source' : 'source → target';
    const off = (feed.stage ?? 'off') === 'off';
    const idle = off ? 'no data movement runs' : f.kUnknown;
    const traffic = status.traffic ? 'not known yet' : kNoInterlay;
    const whole = {format: f.count, axis: f.compact, whole: true};
    const pair = (name) =>
        [{name: `${name}_source`, side: 'source', label: 'source'},
         {name: `${name}_target`, side: 'target', label: 'target'}];
    const latency = {
        format: f.micros,
        axis: f.micros,
        note: 'last 10 s',
        empty: status.traffic ? 'nothing answered yet' : kNoInterlay
    };
    return [
        {
            title: 'Requests',
            note: 'by side: last 10 s',
            format: f.rate,
            axis: f.compact,
            empty: traffic,
            least: 1,
            whole: true,
            series: [
                {name: 'clients', side: 'plain', label: 'clients'},
                {name: 'source', side: 'source', label: 'source'},
                {name: 'target', side: 'target', label: 'target'}
            ]
        },
        {title: 'Latency p50', series: pair('p50'), ...latency},
        {title: 'Latency p99', series: pair('p99'), ...latency},
        {
            title: 'Lag',
            note: way,
            format: f.duration,
            axis: f.duration,
            empty: idle,
            off,
            least: 10,
            series: [{name: 'lag', side: 'plain', label: 'oldest change not applied'}]
        },
        {
            title: 'Copy',
            note: copying(status).direction === 'reverse' ? 'target → source' : 'source → target',
            format: f.rate,
            axis: f.compact,
            empty: 'no copy runs',
            least: 1,
            whole: true,
            above: copy_progress(status),
            off: (copying(status).stage ?? 'off') === 'off',
            series: [{name: 'items', side: 'plain', label: 'items'}]
        },
        {
            title: 'Changes applied',
            note: way,
            format: f.rate,
            axis: f.compact,
            empty: idle,
            off,
            least: 1,
            whole: true,
            series: [{name: 'changes', side: 'plain', label: 'changes'}]
        },
        {
            title: 'Replay queue',
            note: way,
            format: f.bytes,
            axis: f.bytes,
            base: 1024,
            empty: idle,
            off,
            least: 1024,
            series: [{name: 'queue', side: 'plain', label: 'waiting on disk'}]
        },
        {
            title: 'Divergences',
            ...whole,
            empty: f.kUnknown,
            series: [
                {name: 'divergences', side: 'plain', label: 'confirmed'},
                {name: 'unresolved', side: 'second', label: 'unresolved'}
            ]
        },
    ];
}

/// All charts of a status; `cursor` is the sample that the operator points at, or null.
export function charts(status, history, live, cursor) {
    const view = {
        samples: history.samples,
        span_ms: history.span_ms(),
        live,
        cursor,
        end_ms: history.newest()?.at_ms ?? status.at_ms ?? 0
    };
    return specs(status).map((spec) => chart(spec, view));
}
