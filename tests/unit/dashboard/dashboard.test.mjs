// The dashboard's pure functions, without a browser: what a status becomes on the page.
//
//   node --test tests/unit/dashboard/dashboard.test.mjs
import assert from 'node:assert/strict';
import {cpSync, mkdtempSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {after, test} from 'node:test';
import {fileURLToPath, pathToFileURL} from 'node:url';

// The page's files are modules to a browser; to node only where a package says so.
const directory = mkdtempSync(join(tmpdir(), 'exodus-dashboard-'));
after(() => rmSync(directory, {recursive: true}));
cpSync(fileURLToPath(new URL('../../../lib/telemetry/dashboard', import.meta.url)), directory,
       {recursive: true});
writeFileSync(join(directory, 'package.json'), '{"type": "module"}');
const load = (name) => import(pathToFileURL(join(directory, name)));
const {History} = await load('history.js');
const {phases} = await load('phases.js');
const {divergences, movement, switches} = await load('tables.js');
const {attention} = await load('view.js');

/// All descriptions of an element in a view, in order.
function all(view, tag) {
    return [view].flat(Infinity).filter((node) => node?.tag).flatMap(
        (node) => [...(node.tag === tag ? [node] : []), ...all(node.children, tag)]);
}

function text(view) {
    return [view].flat(Infinity).map((node) => node?.tag ? text(node.children) : node || '').join('');
}

/// The cells of each row of the first table, as texts.
function rows(view) {
    return all(all(view, 'tbody')[0], 'tr').map((row) => row.children.flat(Infinity).map(text));
}

function traffic(requests, source, target, window_ms) {
    return {requests, window_ms, source: {count: source}, target: {count: target}, commands: []};
}

test('a steady load is a steady rate, by client and by side', () => {
    const history = new History();
    // 200 requests a second for 30 s; the window grows to ten seconds and stays.
    for (let s = 0; s <= 30; ++s) {
        const window_ms = Math.min(s, 10) * 1000;
        const within = Math.min(s, 10) * 200;
        history.add({at_ms: 1e12 + s * 1000, traffic: traffic(s * 200, within, within / 2, window_ms)});
    }
    assert.equal(history.samples[0].source, null);  // nothing before it
    for (const sample of history.samples.slice(1)) {
        assert.equal(sample.clients, 200);
        assert.equal(sample.source, 200);
        assert.equal(sample.target, 100);
    }
});

test('no rate is made of what is not known, over a restart neither', () => {
    const history = new History();
    history.add({at_ms: 1e12, traffic: null});
    history.add({at_ms: 1e12 + 1000, traffic: traffic(900, 500, 0, 10_000)});
    history.add({at_ms: 1e12 + 2000, traffic: traffic(3, 0, 0, 0)});  // a new process
    history.add({at_ms: 1e12 + 3000, traffic: traffic(13, 10, 0, 1000)});
    assert.deepEqual(history.samples.map(({clients}) => clients), [null, null, null, 10]);
    assert.deepEqual(history.samples.map(({source}) => source), [null, 50, null, 10]);
});

const sample = {
    id: 7,
    at_ms: 1e12,
    class: 'GET',
    kind: 'confirmed',
    detail: 'value'
};

test('a divergence shows the request and both answers', () => {
    const told = {
        ...sample,
        request: '*2\\r\\n$3\\r\\nGET\\r\\n$1\\r\\nk\\r\\n',
        authority_answer: '$-1\\r\\n',
        other_answer: ''
    };
    const view = divergences({divergences: {total: 1, samples: [told]}, now_ms: 1e12 + 1});
    const [cells] = rows(view);
    assert.deepEqual(
        cells.slice(0, 6), ['GET', 'confirmed', 'value', told.request, told.authority_answer, '–']);
    assert.equal(all(view, 'th').filter((head) => head.attributes.scope === 'col').length, cells.length);
});

test('where the server tells no values the page says which command does', () => {
    const kept = {...sample, request: null, authority_answer: null, other_answer: null};
    const view = divergences({divergences: {total: 1, samples: [kept]}, now_ms: 1e12 + 1});
    const [cells] = rows(view);
    assert.deepEqual(
        cells.slice(0, 4), ['GET', 'confirmed', 'value', 'exodus divergences show 7']);
    assert.equal(all(view, 'th').filter((head) => head.attributes.scope === 'col').length, cells.length);
});

const row = (what, kind, outcome) =>
    ({at_ms: 1e12, what, kind, outcome, hold_us: 21_000, steps_us: {C1: 5}});

test('a rehearsal that was taken back is the evidence of the gate test, and no switch', () => {
    const status = {
        now_ms: 1e12 + 5000,
        state: 'tested',
        gates: [{gate: 'test', verdict: 'PASS', why: ''}],
        switches: [
            row('switch', 'switch', 'done'), row('rehearsal', 'rollback', 'done'),
            row('rehearsal', 'switch', 'aborted')
        ],
        switches_left_out: 3
    };
    assert.match(text(phases(status)), /last rehearsal, a rollback: hold 21 ms, 5 s ago/);
    const view = switches(status);
    assert.deepEqual(
        rows(view).map((cells) => cells[1]), ['switch', 'rehearsed rollback', 'rehearsed switch']);
    assert.match(text(view), /3 older ones are not listed/);
});

test('another configuration and a drain need attention, each once', () => {
    const why = 'the interlay works with another: exodus interlay --takeover';
    const status = {
        authority: 'source',
        state: 'ready',
        way_back_open: true,
        config_changed: why,
        draining: true,
        flags: [`configuration: ${why}`]
    };
    const rows = all(attention(status, true), 'li').map((row) => text(row));
    assert.equal(rows.filter((row) => row.includes(why)).length, 1);
    assert.equal(rows.filter((row) => row.includes('DRAINING')).length, 1);
    assert.equal(all(attention({...status, config_changed: '', draining: false, flags: []}, true), 'li').length, 0);
});

test('the gate that is ahead says what it lacks, and an open one needs no attention', () => {
    const status = {
        authority: 'target',
        state: 'switched',
        way_back_open: true,
        gates: [{gate: 'commit', verdict: 'MISSING', why: 'the watch window is over: 5 s of 60 s'}]
    };
    assert.match(text(phases(status)), /commit.*MISSING.*5 s of 60 s/);
    assert.equal(all(attention(status, true), 'li').length, 0);
});

test('batches on the destination are shown, and none is no zero', () => {
    const moved = (batch) => text(movement({authority: 'source', forward: {stage: 'following', ...batch}}));
    assert.match(moved({batch_p50_us: 800, batch_p99_us: 12_000}), /p50 800 µs, p99 12 ms/);
    assert.match(moved({batch_p50_us: null, batch_p99_us: null}), /none lately/);
});
