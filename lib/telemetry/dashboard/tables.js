// The lower part of the page: movements, traffic, divergences, findings, decisions, switches,
// workers and events as tables. Pure functions from a status to descriptions.

import {h} from './dom.js';
import * as f from './format.js';
import {badge, said} from './view.js';

/// A table in a box of its own that scrolls when it is wider than the page. `columns` are texts, or
/// {text, number: true} or {text, wide: true}; `rows` are {key, cells, tone}, the first cell is the
/// row's heading.
function table(caption, columns, rows) {
    const heads = columns.map((column) => (typeof column === 'string' ? {text: column} : column));
    return h(
        'div.scroll', {tabindex: '0', role: 'region', 'aria-label': caption},
        h('table', null, h('caption.unseen', null, caption),
          h('thead', null,
            h('tr', null,
              heads.map(({text, number}) => h(number ? 'th.number' : 'th', {scope: 'col'}, text)))),
          h('tbody', null,
            rows.map(
                ({key, cells, tone}) =>
                    h(tone ? `tr.${tone}` : 'tr', {key}, cells.map((cell, index) => {
                        const kind = heads[index].number ? '.number' :
                            heads[index].wide            ? '.wide' :
                                                           '';
                        return index === 0 ? h(`th${kind}`, {scope: 'row'}, cell) :
                                             h(`td${kind}`, null, cell);
                    }))))));
}

const number = (text) => ({text, number: true});
const wide = (text) => ({text, wide: true});
const nothing = (text) => h('p.note', null, text);

/// One column for each movement that is on, the one that feeds now first.
export function movement(status) {
    const {forward = {}, reverse = {}, now_ms, authority} = status;
    const both = [['forward: source → target', forward], ['reverse: target → source', reverse]];
    if (authority === 'target') both.reverse();
    const shown = both.filter(([, m]) => (m.stage ?? 'off') !== 'off' || m.blocked);
    if (shown.length === 0) return nothing('No data movement runs.');
    const row = (name, show) => ({key: name, cells: [name, ...shown.map(([, m]) => show(m))]});
    const words = (name, field, tone) =>
        shown.some(([, m]) => m[field]) && {...row(name, (m) => said(m[field] || '–')), tone};
    const eta = (m) =>
        (typeof m.eta_ms_estimate === 'number' ? `~${f.duration(m.eta_ms_estimate)}` : f.kUnknown);
    return table('Data movements', ['', ...shown.map(([title]) => title)], [
        row('stage', (m) => h('b', null, m.stage)),
        words('blocked', 'blocked', 'bad'),
        words('degraded', 'degraded', 'warn'),
        words('waits for', 'waiting_for', ''),
        words('slowed down by', 'throttled', ''),
        row('items copied',
            (m) =>
                (m.items_done + m.items_total_estimate > 0 ?
                     `${f.of(m.items_done, m.items_total_estimate)}, ${f.bytes(m.bytes_copied)}` :
                     'none')),
        row('copy speed, ETA',
            (m) => (m.stage === 'filling' ? `${f.rate(m.items_per_s)}, ${eta(m)}` : '–')),
        row('changes applied', (m) => `${f.count(m.changes_applied)}, ${f.rate(m.changes_per_s)}`),
        row('lag', (m) => `${f.duration(m.lag_ms ?? null)}, ${f.bytes(m.lag_bytes)}`),
        row('batch on the destination',
            (m) => (typeof m.batch_p50_us === 'number' ?
                        `p50 ${f.micros(m.batch_p50_us)}, p99 ${f.micros(m.batch_p99_us)}` :
                        'none lately')),
        row('replay queue', (m) => f.bytes(m.queue_bytes)),
        row('not moved',
            (m) => (m.failed_items > 0 ? badge('bad', f.plural(m.failed_items, 'item')) : 'none')),
        row('open repairs', (m) => f.count(m.repairs_open)),
        row('retries', (m) => f.count(m.retries)),
        row('kept by conflict policy',
            (m) =>
                (m.items_kept + m.changes_dropped > 0 ?
                     `${f.plural(m.items_kept, 'item')}, ${
                         f.plural(m.changes_dropped, 'change')} dropped` :
                     'none')),
        row('stream proven',
            (m) => (m.proven_ms > 0 ? `${f.age(now_ms - m.proven_ms)} ago` : 'never')),
    ].filter(Boolean));
}

function side_answers(name, side) {
    const some = side?.count > 0;
    return {
        key: name,
        cells: [
            name, f.count(side?.count),
            ...['p50_us', 'p95_us', 'p99_us', 'max_us'].map(
                (field) => (some ? f.micros(side[field]) : '–'))
        ]
    };
}

export function traffic(status, rates) {
    const t = status.traffic;
    if (!t) return nothing('No interlay answers: nothing is known about traffic.');
    const fact = (name, value, tone) =>
        h(tone ? `div.${tone}` : 'div', null, h('dt', null, name), h('dd', null, value));
    const errors = Object.entries(t.protocol_errors ?? {});
    const hold = t.hold?.count > 0 ?
        `${f.count(t.hold.count)} held: p50 ${f.micros(t.hold.p50_us)}, p99 ` +
            `${f.micros(t.hold.p99_us)}, max ${f.micros(t.hold.max_us)}` :
        'no request was ever held';
    return [
        h('dl.facts-list', null,
          fact(
              'clients',
              `${f.count(t.clients)} now, ${f.count(t.clients_total)} since the start, over ` +
                  f.plural(t.backend_connections, 'backend connection')),
          fact(
              'bytes',
              `${f.bytes(t.bytes_from_clients)} from clients, ${
                  f.bytes(t.bytes_to_clients)} to clients`),
          fact(
              'requests',
              `${f.count(t.requests)}, of which ${f.count(t.writes)} writes and ${
                  f.count(t.errors)} error replies`),
          fact('held', `${f.count(t.held)} now; ${hold}`, t.held > 0 ? 'warn' : ''),
          fact(
              'mirrored',
              `${f.count(t.mirrored)}: ${f.count(t.equal)} equal, ${
                  f.plural(t.candidates, 'candidate')}, ` +
                  `${f.count(t.not_comparable)} not comparable`),
          fact(
              'shadow queue',
              `${f.plural(t.shadow_queued, 'request')}, ${f.bytes(t.shadow_queued_bytes)}`),
          fact(
              'dropped',
              `${f.count(t.shadow_dropped)} by the shadow, ${
                  f.count(t.comparator_dropped)} by the comparator`,
              t.shadow_dropped + t.comparator_dropped > 0 ? 'warn' : ''),
          errors.length > 0 &&
              fact(
                  'protocol errors',
                  said(errors.map(([reason, n]) => `${reason} ${f.count(n)}`).join(', ')), 'warn')),
        table(
            'Latency by side',
            ['side', number('in the last 10 s'), number('p50'), number('p95'), number('p99'), number('max')],
            [side_answers('source', t.source), side_answers('target', t.target)]),
        t.commands?.length > 0 &&
            table(
                'Commands',
                [
                    'command', number('now'), number('requests'), number('errors'), number('p50'),
                    number('p99')
                ],
                t.commands.map(
                    (row) => ({
                        key: row.name,
                        cells: [
                            [said(row.name), row.write && h('span.note', null, ' write')],
                            f.rate(rates.get(row.name) ?? null), f.count(row.requests),
                            f.count(row.errors), f.micros(row.p50_us), f.micros(row.p99_us)
                        ]
                    }))),
    ];
}

/// Without a token the server tells no values: then the command that does stands in their place.
function samples(rows, now_ms) {
    const values = rows.some(({request}) => typeof request === 'string');
    const code = (text) => h('code.said', null, text);
    const answer = (text) => (text === '' ? '–' : code(text));
    return table(
        'Samples of divergences',
        [
            'command', 'kind', 'detail',
            ...(values ? ['request', 'authority answered', 'other answered'] : ['values']),
            'at (UTC)'
        ],
        rows.map((row) => ({
                     key: row.id,
                     cells: [
                         said(row.class), said(row.kind), said(row.detail),
                         ...(values ?
                                 [row.request, row.authority_answer, row.other_answer].map(answer) :
                                 [code(`exodus divergences show ${row.id}`)]),
                         f.clock(row.at_ms, now_ms)
                     ]
                 })));
}

export function divergences(status) {
    const d = status.divergences ?? {};
    const {data, now_ms} = status;
    const classes = Object.entries(d.by_class ?? {}).sort(([, a], [, b]) => b - a);
    return [
        h('p', null,
          d.total > 0 ? badge('warn', `${f.count(d.total)} confirmed`) :
                        badge('good', 'none confirmed'),
          ' ',
          d.unresolved > 0 ? badge('info', `${f.plural(d.unresolved, 'unresolved answer')}`) :
                             badge('good', 'no unresolved answer')),
        classes.length > 0 &&
            h('ul.chips', {'aria-label': 'by class of command'},
              classes.map(
                  ([name, n]) => h('li', {key: name}, said(name), ' ', h('b', null, f.count(n))))),
        h('p.note', null,
          data ? `Full comparison ${f.age(now_ms - data.at_ms)} ago: ${
                     f.count(data.compared)} keys compared ` +
                  `(source ${f.count(data.source_keys)}, target ${f.count(data.target_keys)}): ${
                      f.count(data.missing)} missing, ` +
                  `${f.count(data.extra)} extra, ${f.count(data.different)} different, ${
                      f.count(data.unresolved)} unresolved, ` +
                  `${f.count(data.kept)} kept by the conflict policy.` :
                 'The data of both sides was not compared yet.'),
        d.samples?.length > 0 ? samples(d.samples, now_ms) : nothing('no samples'),
    ];
}

export function findings(status) {
    const {fail = 0, warn = 0, info = 0, pass = 0, list = []} = status.findings ?? {};
    const left = fail + warn - list.length;
    return [
        h('p', null,
          badge(fail > 0 ? 'bad' : 'plain', `${f.count(fail)} fail`, fail > 0 ? '✕' : '–'), ' ',
          badge(warn > 0 ? 'warn' : 'plain', `${f.count(warn)} warn`), ' ',
          badge('plain', `${f.count(info)} info`, '●'), ' ',
          badge(pass > 0 ? 'good' : 'plain', `${f.count(pass)} pass`)),
        h('ul.findings', null,
          list.map(
              (row) =>
                  h('li', {key: row.id + row.subject},
                    h('p', null, badge(row.severity === 'fail' ? 'bad' : 'warn', row.severity), ' ',
                      h('code.said', null, row.id), ' ', h('span.note', null, said(row.subject))),
                    h('p', null, said(row.text)), row.hint && h('p.note', null, said(row.hint))))),
        list.length === 0 &&
            nothing(pass + info > 0 ? 'No check failed or warned.' : 'No check has run yet.'),
        left > 0 && nothing(`${f.count(left)} more are not shown: exodus pretest --list`),
    ];
}

export function decisions(status) {
    const {decision, decisions: texts = [], skipped = [], now_ms} = status;
    return [
        decision &&
            h('div.decision', null,
              h('p', null, h('b', null, said(`${decision.kind} ${decision.subject}`)), ' by ',
                h('b', null, said(`${decision.user}@${decision.host}`)),
                decision.via ? [' via ', said(decision.via)] : null,
                `, ${f.clock(decision.at_ms, now_ms)} UTC`),
              decision.reason && h('blockquote', null, said(decision.reason))),
        skipped.length > 0 &&
            h('ul.lines', null,
              skipped.map((text) => h('li', null, badge('warn', 'SKIPPED', '»'), ' ', said(text)))),
        texts.length > 0 ?
            [
                h('h3', null, 'All, newest first'),
                h('ol.lines', null, texts.map((text) => h('li', null, said(text))))
            ] :
            nothing('Nobody has decided anything yet.'),
    ];
}

const kSteps = {
    C0: 'decision',
    C1: 'hold',
    C2: 'drain',
    C3: 'fence',
    C4: 'end position',
    C5: 'catch up',
    C6: 'arm way back',
    C7: 'switch',
    C8: 'release'
};
const kOutcomes = {
    done: ['good', '✓'],
    rehearsed: ['plain', '●'],
    aborted: ['bad', '✕']
};

/// "switch", "rollback", "rehearsed switch".
function hand_over({what, kind}) {
    return what === 'rehearsal' && kind ? `rehearsed ${kind}` : what;
}

export function switches(status) {
    const rows = status.switches ?? [];
    if (rows.length === 0)
        return nothing('The authority was never handed over, and no switch was rehearsed.');
    const steps = [...new Set(rows.flatMap((row) => Object.keys(row.steps_us ?? {})))].sort();
    return [
        table(
            'Switches',
            [
                'at (UTC)', 'what', 'outcome', number('hold'),
                ...steps.map(
                    (step) => number([h('span', null, step), h('span.step', null, kSteps[step])]))
            ],
            rows.map((row) => {
                const [tone, mark] = kOutcomes[row.outcome] ?? ['warn', '?'];
                const slowest = Math.max(...Object.values(row.steps_us ?? {}));
                return {
                    key: `${row.at_ms} ${row.what}`,
                    cells: [
                        f.clock(row.at_ms, status.now_ms), hand_over(row), badge(tone, row.outcome, mark),
                        h('b', null, f.micros(row.hold_us)), ...steps.map((step) => {
                            const us = row.steps_us?.[step];
                            return us === undefined ?
                                '–' :
                                h(us === slowest ? 'b' : 'span', null, f.micros(us));
                        })
                    ]
                };
            })),
        h('ul.lines', null,
          rows.filter(({outcome, why}) => outcome === 'aborted' && why)
              .map((row) => h('li', null, badge('bad', 'aborted', '✕'),
                              ` ${f.clock(row.at_ms, status.now_ms)} at ${row.failed_step}: `,
                              said(row.why)))),
        status.switches_left_out > 0 &&
            nothing(`${f.count(status.switches_left_out)} older ones are not listed.`),
        nothing(
            'Hold: how long writes waited. C0 to C8 are the steps of the journal, the slowest in bold.'),
    ];
}

export function workers(status) {
    const rows = status.workers ?? [];
    if (rows.length === 0) return nothing('No interlay is registered.');
    return table(
        'Interlay workers',
        [
            'worker', 'host', number('pid'), 'listens on', number('epoch'),
            number('writes in flight'), 'held', 'waits for', 'seen'
        ],
        rows.map((row) => {
            const seen_ms = Math.max(0, status.now_ms - row.seen_ms);
            const behind = row.epoch !== status.epoch;
            return {
                key: row.id,
                cells: [
                    row.id, said(row.host), row.pid, said([row.listen].flat().join(', ')),
                    behind ? badge('warn', `${row.epoch}, behind`) : row.epoch,
                    f.count(row.writes_in_flight),
                    row.held ? badge('warn', row.held === true ? 'yes' : String(row.held)) : 'no',
                    said(row.blocker || '–'),
                    seen_ms > 10_000 ? badge('warn', `${f.age(seen_ms)} ago`) :
                                       `${f.age(seen_ms)} ago`
                ]
            };
        }));
}

const kSeverities = {
    info: ['plain', '●'],
    warn: ['warn', '▲'],
    critical: ['bad', '✕']
};

/// `rows` newest first; `least` is all, warn or critical.
export function events(rows, least) {
    const order = ['info', 'warn', 'critical'];
    const shown = rows.filter(
        (row) => least === 'all' || order.indexOf(row.severity) >= order.indexOf(least));
    if (shown.length === 0)
        return nothing(rows.length === 0 ? 'No event yet.' : 'No event of this severity.');
    return h(
        'div.log', null,
        table(
            'Events, newest first', ['at (UTC)', 'severity', wide('what happened')],
            shown.map((row) => {
                const [tone, mark] = kSeverities[row.severity] ?? ['plain', '?'];
                const data =
                    row.data && Object.keys(row.data).length > 0 ? JSON.stringify(row.data) : '';
                return {
                    key: row.id,
                    cells: [
                        f.clock(Date.parse(row.at)), badge(tone, row.severity, mark),
                        [said(row.text), h('code.said.data', null, `${row.id} ${row.code} ${data}`)]
                    ]
                };
            })));
}

export function about(status, connection) {
    const {version, telemetry = {}} = status;
    return [
        h('span', null, 'exodus ', said(version)), h('span', null, connection),
        h('span', null,
          `${f.plural(telemetry.clients, 'dashboard')} connected, ${
              f.count(telemetry.dropped)} dropped`),
        h('span', null, `snapshot taken in ${f.micros(telemetry.snapshot_us)}`),
        h('span', null, 'all times are UTC; ~ marks an estimate')
    ];
}
