// The track of the seven phases and the gates with their evidence. Pure functions from a status to
// descriptions.

import {h} from './dom.js';
import * as f from './format.js';
import {badge, kMarks, kMigrating, said, state_of, way_back} from './view.js';

const kVerdicts = {
    PASS: ['good', '✓'],
    FAIL: ['bad', '✕'],
    MISSING: ['warn', '○'],
    STALE: ['warn', '▲'],
    SKIPPED: ['warn', '»'],
    INCONCLUSIVE: ['warn', '?']
};
const kPrepared = ['created', 'pretested', 'analyzed', 'compared', 'tested'];

/// A phase that is behind, by what its gate says now.
const kProven = {
    PASS: {tone: 'good', mark: '✓', word: 'done'},
    FAIL: {tone: 'bad', mark: '✕', word: 'done, gate fails now'},
    STALE: {tone: 'warn', mark: '▲', word: 'done, evidence stale'},
    MISSING: {tone: 'warn', mark: '○', word: 'evidence missing'},
    INCONCLUSIVE: {tone: 'warn', mark: '?', word: 'inconclusive'},
};

/// How far each of the seven phases is: {name, tone, mark, word}.
function track(status) {
    const state = state_of(status);
    const verdicts =
        Object.fromEntries((status.gates ?? []).map((gate) => [gate.gate, gate.verdict]));
    const reached = kPrepared.includes(state) ? kPrepared.indexOf(state) : 4;
    const preparation = ['pretest', 'analyze', 'compare', 'test'].map((name, index) => {
        if (verdicts[name] === 'SKIPPED') return {name, tone: 'warn', mark: '»', word: 'skipped'};
        if (index < reached) return {name, ...(kProven[verdicts[name]] ?? kProven.PASS)};
        return index === reached ? {name, tone: 'now', mark: '▶', word: 'next'} :
                                   {name, tone: 'ahead', mark: '○', word: 'ahead'};
    });
    const taken_back = ['rolled_back', 'aborted'].includes(state);
    const migrate = kMigrating.includes(state)    ? {tone: 'now', mark: '▶', word: state} :
        ['switched', 'committed'].includes(state) ? {tone: 'good', mark: '✓', word: 'switched'} :
        taken_back         ? {tone: 'warn', mark: '↩', word: 'taken back'} :
        state === 'tested' ? {tone: 'now', mark: '▶', word: 'next'} :
                             {tone: 'ahead', mark: '○', word: 'ahead'};
    const back = way_back(status);
    const rollback = taken_back ?
        {tone: 'good', mark: '✓', word: state === 'aborted' ? 'done before a switch' : 'done'} :
        {
            tone: back.tone === 'plain' ? 'ahead' : back.tone,
            mark: kMarks[back.tone],
            word: back.word.toLowerCase()
        };
    const commit = state === 'committed' ? {tone: 'good', mark: '✓', word: 'final'} :
        state === 'switched'             ? {tone: 'now', mark: '▶', word: 'next'} :
                                           {tone: 'ahead', mark: '○', word: 'ahead'};
    const running = status.running?.phase;
    return [
        ...preparation, {name: 'migrate', ...migrate}, {name: 'rollback', ...rollback},
        {name: 'commit', ...commit}
    ].map((phase) => phase.name === running ?
              {...phase, tone: 'now', mark: '▶', word: 'runs now'} :
              phase);
}

/// What was measured, as one line for a gate.
function evidence(gate, status) {
    const {findings, compare, data, switches, forward, decision, now_ms} = status;
    const ago = (at_ms) => `${f.age(now_ms - at_ms)} ago`;
    if (gate === 'pretest' && findings?.pass + findings?.info + findings?.warn + findings?.fail > 0)
        return `${findings.pass} pass, ${findings.info} info, ${findings.warn} warn, ${
            findings.fail} fail`;
    if (gate === 'analyze' && status.traffic)
        return `${f.count(status.traffic.requests)} requests seen since the interlay started`;
    if (gate === 'compare') {
        return [
            compare &&
                `${f.count(compare.reads)} reads, ${f.count(compare.confirmed)} confirmed, ` +
                    `${f.ratio(compare.rate)} [${f.ratio(compare.lower)}, ${
                        f.ratio(compare.upper)}], ` +
                    `noise ${f.ratio(compare.noise)}, ${ago(compare.at_ms)}`,
            data &&
                `${f.count(data.compared)} keys: ${f.count(data.missing)} missing, ${
                    f.count(data.extra)} extra, ` +
                    `${f.count(data.different)} different, ${ago(data.at_ms)}`
        ].filter(Boolean)
            .join(' · ');
    }
    const rehearsed = (switches ?? []).find(({what}) => what === 'rehearsal');
    if (gate === 'test' && rehearsed)
        return `last rehearsal${rehearsed.kind ? `, a ${rehearsed.kind}` : ''}${
            rehearsed.outcome === 'aborted' ? ', aborted' : ''}: hold ${
            f.micros(rehearsed.hold_us)}, ${ago(rehearsed.at_ms)}`;
    if (gate === 'follow' && forward && forward.stage !== 'off')
        return `${forward.stage}, lag ${f.duration(forward.lag_ms)}, ${
            f.plural(forward.repairs_open, 'open repair')}`;
    if (gate === 'approval' && decision?.subject === 'switch')
        return `${decision.kind} ${decision.subject}: ${decision.user}@${decision.host}, ${
            ago(decision.at_ms)}`;
    return '';
}

export function phases(status) {
    return [
        h('ol.track', null,
          track(status).map(
              ({name, tone, mark, word}) =>
                  h(`li.${tone}`, {'aria-current': tone === 'now' ? 'step' : null},
                    h('span.node', {'aria-hidden': 'true'}, mark), h('b', null, name),
                    h('span.how', null, word)))),
        h('h3', null, 'Gates'),
        h('ul.gates', null, (status.gates ?? []).map(({gate, verdict, why}) => {
            const [tone, mark] = kVerdicts[verdict] ?? ['warn', '?'];
            return h(
                'li', null, h('b', null, gate), badge(tone, verdict, mark),
                h('div', null, why && h('p', null, said(why)),
                  h('p.note', null, said(evidence(gate, status)))));
        })),
        (status.gates ?? []).length === 0 && h('p.note', null, 'no gate was asked yet'),
    ];
}
