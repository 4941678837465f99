// The upper part of the page: authority, way back and state first, then the next command, what
// needs attention, and the two endpoints. Pure functions from a status to descriptions; what came
// from the server is shown as text.

import {bar} from './charts.js';
import {h} from './dom.js';
import * as f from './format.js';
import {copying, feeding} from './history.js';

export const kMarks = {
    good: '✓',
    warn: '▲',
    bad: '✕',
    plain: '–',
    info: '●'
};
export const kMigrating = ['copying', 'following', 'ready', 'holding'];

/// A word with a shape before it; `tone` is good, warn, bad, plain or info.
export function badge(tone, word, mark = kMarks[tone]) {
    return h(`span.badge.${tone}`, null, h('span', {'aria-hidden': 'true'}, `${mark} `), word);
}

/// Text that the server sent.
export function said(text) {
    return h('span.said', null, text);
}

/// The state's name; `new` is how the state file calls `created`.
export function state_of(status) {
    return status.state === 'new' ? 'created' : status.state ?? '';
}

/// {word, tone, text} of the way back.
export function way_back(status) {
    const state = state_of(status);
    const loses = status.way_back_loses ?? '';
    if (status.way_back_open) {
        return loses === '' ?
            {word: 'OPEN', tone: 'good', text: 'a rollback would lose nothing'} :
            {word: 'OPEN, WITH LOSS', tone: 'warn', text: `a rollback would lose: ${loses}`};
    }
    if (state === 'committed')
        return {word: 'CLOSED', tone: 'plain', text: 'committed: target is final'};
    if (status.authority === 'source') {
        return kMigrating.includes(state) ?
            {word: 'NOT OPEN', tone: 'warn', text: 'do not switch before it is'} :
            {word: 'NOT NEEDED', tone: 'plain', text: 'source is authoritative'};
    }
    return {
        word: 'CLOSED',
        tone: 'bad',
        text: loses === '' ? 'no rollback is possible now' : `a rollback would lose: ${loses}`
    };
}

export function header(status, fresh, connection) {
    const live = fresh.kind === 'live';
    return [
        h('h1', null, h('span.brand', null, 'exodus'),
          status && [' ', h('span.said', null, status.migration)]),
        status &&
            h('p.facts', null, said(status.family),
              status.strategy ? h('span', null, 'strategy ', said(status.strategy)) : null,
              h('span', null, `epoch ${status.epoch}`),
              h('span', null, `attempt ${status.attempt}`)),
        h(`p.pulse.${fresh.kind}`, null, h('span.lamp', {'aria-hidden': 'true'}),
          live ? `live, ${(fresh.age_ms / 1000).toFixed(1)} s old` :
              status ? `${fresh.word}, ${f.age(fresh.age_ms)} old` :
                       connection,
          live && connection !== 'connected' && `, ${connection}`),
    ];
}

export function hero(status, live) {
    const side = status.authority;
    const back = way_back(status);
    const serves = status.serves ?? {};
    const reads = [['source', serves.reads_source_percent], ['target', serves.reads_target_percent]]
                      .filter(([, percent]) => percent > 0)
                      .map(([name, percent]) => `${name} ${f.percent(percent)}`)
                      .join(', ');
    return [
        h(`div.block.authority.${side}`, null,
          h('h2', null, live ? 'Authoritative' : 'Last known authority'),
          h('p.word', null, h(`span.shape.${side}`, {'aria-hidden': 'true'}),
            String(side).toUpperCase()),
          h('p.address', null, said(status[side]?.address)),
          h('p', null,
            serves.held ? badge('warn', 'writes are HELD') :
                          ['writes ', h('b', null, serves.writes)],
            ' · reads ', h('b', null, reads || 'none'))),
        h(`div.block.way.${back.tone}`, null,
          h('h2', null, live ? 'Way back' : 'Way back, last known'),
          h('p.word', null, h('span', {'aria-hidden': 'true'}, `${kMarks[back.tone]} `), back.word),
          h('p', null, said(back.text)), h('p.note', null, said(status.way_back))),
        h('div.block.state', null, h('h2', null, live ? 'State' : 'State, last known'),
          h('p.word', null, String(status.state).replaceAll('_', ' ').toUpperCase()),
          h('p', null, said(status.explained)),
          h('p.note', null, 'data flow: ', said(status.data_flow || 'none'))),
    ];
}

/// The sentence that screen readers speak when it changes.
export function sentence(status) {
    const back = way_back(status);
    return `${status.authority} is authoritative. Way back: ${back.word.toLowerCase()}. State: ${
        status.state}.`;
}

/// Words that do not break inside while they fit: `--reason` is never read as `-- reason`.
function pieces(command) {
    return command.split(' ').map((word, index) => [index > 0 && ' ', h('span.piece', null, word)]);
}

function runs_now({running, now_ms}, live) {
    return running &&
        h('p.running', null, badge('info', live ? 'Runs now' : 'Ran then', '▶'), ' ',
          h('code.said', null, pieces(`exodus ${running.command}`)), ' by ',
          said(`${running.user}@${running.host}`), `, pid ${running.pid}, for ${
              f.age(now_ms - running.since_ms)}`);
}

export function next(status, live, copied) {
    const commands = status.next ?? [];
    const line = (command, main) =>
        h(`div.command${main ? '.main' : ''}`, null, h('code.said', null, pieces(command)),
          h('button', {type: 'button', 'data-copy': command, 'aria-label': `Copy: ${command}`},
            copied?.text === command ? copied.word : 'Copy'));
    return h(
        'div.card.nextbox', null,
        h('div.head', null, h('h2', null, 'Next command'),
          !live && h('span.age', null, 'of an old status: it may no longer be right')),
        runs_now(status, live),
        commands.length === 0 ? h('p.note', null, 'Nothing is left to do.') : [
            line(commands[0], true),
            commands.length > 1 &&
                h('div.others', null, h('span.note', null, 'also possible'),
                  commands.slice(1).map((command) => line(command, false)))
        ]);
}

function movement_trouble(status, add) {
    const feed = feeding(status);
    for (const [name, movement] of [['forward', status.forward], ['reverse', status.reverse]]) {
        if (!movement) continue;
        if (movement.blocked)
            add('bad', 'BLOCKED', `${name} stream: ${movement.blocked}`);
        else if (['blocked', 'failed'].includes(movement.stage))
            add('bad', movement.stage.toUpperCase(), `the ${name} stream is ${movement.stage}`);
        if (movement.degraded) add('warn', 'DEGRADED', `${name} stream: ${movement.degraded}`);
        if (movement.failed_items > 0)
            add('bad', 'NOT MOVED',
                `${f.plural(movement.failed_items, 'item')} of the ${name} stream: exodus errors`);
    }
    if (feed.waiting_for) add('info', 'WAITING', feed.waiting_for);
    if (feed.throttled) add('info', 'THROTTLED', feed.throttled);
}

function attention_rows(status) {
    const rows = [];
    const add = (tone, word, text) => rows.push({tone, word, text});
    for (const side of ['source', 'target']) {
        const health = status[side]?.health;
        if (health && !health.reachable)
            add('bad', 'UNREACHABLE',
                `${side} ${status[side].address}: ${health.error || 'no reason given'}`);
    }
    const back = way_back(status);
    if (back.tone === 'bad' || status.way_back_loses)
        add(back.tone, 'WAY BACK', `${back.word.toLowerCase()}: ${back.text}`);
    movement_trouble(status, add);
    if (status.config_changed) add('warn', 'CONFIGURATION', status.config_changed);
    if (status.draining)
        add('warn', 'DRAINING', 'this interlay takes no more clients and ends');
    if (status.serves?.held) add('warn', 'HELD', 'writes wait for a switch of the authority');
    for (const flag of status.flags ?? []) {
        if (!rows.some(({text}) => text.endsWith(flag.replace(/^\w+: /, ''))))
            add('warn', 'FLAG', flag);
    }
    const {fail = 0, warn = 0} = status.findings ?? {};
    if (fail > 0)
        add('bad', 'FINDINGS', `${f.plural(fail, 'check')} failed; see Findings`);
    else if (warn > 0)
        add('info', 'FINDINGS', `${f.plural(warn, 'warning')}; see Findings`);
    if (status.divergences?.unresolved > 0)
        add('info', 'UNRESOLVED',
            `${f.plural(status.divergences.unresolved, 'answer')} changed faster than both sides ` +
                'could be compared');
    const last = status.switches?.[0];
    if (last?.outcome === 'aborted')
        add('warn', 'ABORTED',
            `the last ${last.what}, at ${
                f.clock(last.at_ms, status.now_ms)} UTC: authority unchanged${last.why ? `; ${last.why}` : ''}`);
    for (const gate of status.gates ?? []) {
        if (gate.verdict === 'FAIL') add('bad', 'GATE FAILS', `${gate.gate}: ${gate.why}`);
    }
    for (const skip of status.skipped ?? []) add('warn', 'SKIPPED', skip);
    for (const worker of status.workers ?? []) {
        if (worker.blocker && status.serves?.held)
            add('warn', 'WORKER', `worker ${worker.id} waits for ${worker.blocker}`);
    }
    if (status.traffic === null)
        add(status.workers?.length > 0 ? 'bad' : 'info', 'NO INTERLAY',
            'no interlay answers: nothing is known about traffic');
    const order = ['bad', 'warn', 'info'];
    return rows.sort((a, b) => order.indexOf(a.tone) - order.indexOf(b.tone));
}

export function attention(status, live) {
    const rows = attention_rows(status);
    if (rows.length === 0)
        return live && h('p.calm', null, badge('good', 'Nothing needs attention'));
    const worst = rows[0].tone === 'info' ? 'Worth knowing' :
        live                              ? 'Needs attention' :
                                            'Needed attention';
    const title =
        h('div.head', null, h('h2', null, worst), !live && h('span.age', null, 'of an old status'));
    return h(
        'div.card', null, title,
        h('ul.attention', null,
          rows.map(({tone, word, text}) => h(`li.${tone}`, null, badge(tone, word), said(text)))));
}

function endpoint(side, status, live) {
    const {address, health} = status[side] ?? {};
    const authority = status.authority === side;
    const serves = status.serves ?? {};
    const up = health?.reachable;
    const of = (text) => (up ? text : f.kUnknown);
    const max = health?.memory_max_bytes ?? 0;
    const part = max > 0 ? health.memory_used_bytes / max : 0;
    const reads = serves[`reads_${side}_percent`];
    const row = (name, ...value) => h('div', null, h('dt', null, name), h('dd', null, value));
    const mirrored = !authority && serves.reads_mirrored_percent > 0 &&
        `, ${f.percent(serves.reads_mirrored_percent)} mirrored and compared`;
    return h(
        `article.card.endpoint.${side}${authority ? '.chosen' : ''}`, null,
        h('h3', null, h(`span.shape.${side}`, {'aria-hidden': 'true'}), side.toUpperCase(),
          authority ? h('span.tag', null, live ? 'authoritative' : 'last known authority') :
                      live && h('span.note', null, 'not authoritative')),
        h('p.address', null, said(address || 'not configured')),
        h('dl.facts-list', null,
          row('health',
              !health ? badge('plain', 'not asked') :
                  up  ? [badge('good', 'reachable'), ` in ${f.micros(health.latency_us)}`] :
                        [badge('bad', 'UNREACHABLE'), ' ', said(health.error)]),
          row('server',
              said([health?.version, health?.role].filter(Boolean).join(', ') || f.kUnknown)),
          row('serves',
              serves.held                ? 'writes HELD' :
                  serves.writes === side ? h('b', null, 'writes') :
                                           'no writes',
              `, ${reads > 0 ? `${f.percent(reads)} of reads` : 'no reads'}`, mirrored),
          row('items', of(f.count(health?.items))),
          row('memory',
              of(`${f.bytes(health?.memory_used_bytes)}${
                  max > 0 ? ` of ${f.bytes(max)} (${f.percent(part * 100)})` : ', no limit set'}`),
              up && max > 0 &&
                  bar(part, `memory ${f.percent(part * 100)}`,
                      part > 0.9      ? 'bad' :
                          part > 0.75 ? 'warn' :
                                        '')),
          row('replicas',
              of(health?.replicas > 0 ? `${f.count(health.replicas)}, behind by ` +
                         `${f.bytes(health.replica_lag_bytes)}` :
                                        'none'))));
}

export function endpoints(status, live) {
    const forward = status.authority !== 'target';
    const feed = feeding(status);
    const runs = !['off', 'blocked', 'failed'].includes(feed.stage ?? 'off');
    const copy = copying(status);
    const filling = copy.stage === 'filling' && copy.items_total_estimate > 0 &&
        `~${f.percent(Math.min(99.9, copy.items_done / copy.items_total_estimate * 100))}`;
    return [
        endpoint('source', status, live),
        h(`div.flow${runs ? '' : '.stopped'}${forward ? '' : '.backward'}`, null,
          h('svg', {viewBox: '0 0 60 20', 'aria-hidden': 'true'},
            h('path',
              {d: runs ? 'M2 10H54M45 3l9 7l-9 7' : 'M2 10H20M40 10H58M24 4l12 12M36 4l-12 12'})),
          h('b', null, feed.stage ?? 'off'), filling && h('b', null, filling),
          h('span.note', null,
            feed.stage && feed.stage !== 'off' ? `lag ${f.duration(feed.lag_ms ?? null)}` :
                                                 'no data flows')),
        endpoint('target', status, live),
    ];
}
