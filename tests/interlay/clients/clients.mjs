// Client libraries as applications use them, before, across and after a switch and a rollback. Prints one line per check and ends with
// "N passed, N failed". The C++ test that runs it performs the switch when this script writes the file DIR/want-N and then writes DIR/done-N.
//
//   node clients.mjs PORT USER PASSWORD DIR
import { existsSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import IORedis from 'ioredis';
import IOValkey from 'iovalkey';
import { createClient } from 'redis';
import { Queue, Worker } from 'bullmq';
import Redlock from 'redlock';

const [port, username, password, directory] = process.argv.slice(2);
let passed = 0;
const failures = [];
async function check(name, work) {
    try {
        await Promise.race([work(), sleep(60_000).then(() => { throw new Error('no end within 60 s'); })]);
        passed++;
        console.log(`ok   ${name}`);
    } catch (error) {
        failures.push(name);
        console.log(`FAIL ${name}: ${error?.stack ?? error}`);
    }
}
function equal(found, wanted, what = 'value') {
    const [a, b] = [JSON.stringify(found), JSON.stringify(wanted)];
    if (a !== b) throw new Error(`${what}: ${a} instead of ${b}`);
}

// One shape for all libraries: call(...words), and events of lost connections counted.
let lost = 0;
let lostByQueues = 0;
const clients = [];
function io(Library, options = {}) {
    const client = new Library({ host: '127.0.0.1', port: Number(port), username, password, maxRetriesPerRequest: null, ...options });
    let wanted = false;   // a close that the test asked for is no loss
    client.on('close', () => { if (!closing && !wanted) lost++; });
    client.on('error', () => {});
    const handle = {
        call: (...words) => client.call(...words.map(String)),
        raw: client,
        duplicate: () => io(Library, options),
        subscribe: async (channel, on) => { client.on('message', (c, m) => c === channel && on(m)); await client.subscribe(channel); },
        close: () => { wanted = true; client.disconnect(); },
    };
    clients.push(handle);
    return handle;
}
async function nodeRedis(RESP) {
    const client = createClient({ socket: { host: '127.0.0.1', port: Number(port) }, username, password, RESP });
    client.on('error', () => {});
    client.on('reconnecting', () => { if (!closing) lost++; });
    await client.connect();
    const handle = {
        call: (...words) => client.sendCommand(words.map(String)),
        raw: client,
        duplicate: () => nodeRedis(RESP),
        subscribe: (channel, on) => client.subscribe(channel, on),
        close: () => client.destroy(),
    };
    clients.push(handle);
    return handle;
}
let closing = false;
const libraries = {
    'ioredis': async () => io(IORedis),
    'iovalkey': async () => io(IOValkey),
    'node-redis RESP2': async () => nodeRedis(2),
    'node-redis RESP3': async () => nodeRedis(3),
};

async function basics(name, open) {
    const key = (k) => `client:${name}:${k}`;
    const c = await open();
    await check(`${name}: strings, hashes, lists`, async () => {
        equal(await c.call('SET', key('s'), 'värde\r\n'), 'OK');
        equal(await c.call('GET', key('s')), 'värde\r\n');
        await c.call('DEL', key('h'), key('l'));
        equal(await c.call('HSET', key('h'), 'a', '1', 'b', '2'), 2);
        const all = await c.call('HGETALL', key('h'));
        equal(Array.isArray(all) ? all : Object.entries(all).flat(), ['a', '1', 'b', '2']);
        equal(await c.call('RPUSH', key('l'), 1, 2, 3), 3);
        equal(await c.call('LRANGE', key('l'), 0, -1), ['1', '2', '3']);
    });
    await check(`${name}: 5000 requests in one pipeline answer in order`, async () => {
        await c.call('DEL', key('n'));
        const answers = await Promise.all(Array.from({ length: 5000 }, () => c.call('INCR', key('n'))));
        equal(answers.map(Number), Array.from({ length: 5000 }, (_, i) => i + 1));
    });
    await check(`${name}: MULTI, and WATCH that sees a conflict`, async () => {
        const d = await open();
        await c.call('SET', key('w'), 1);
        await c.call('WATCH', key('w'));
        await d.call('SET', key('w'), 2);
        await c.call('MULTI');
        await c.call('INCR', key('w'));
        equal(await c.call('EXEC'), null, 'EXEC after a conflict');
        await c.call('MULTI');
        equal(await c.call('INCR', key('w')), 'QUEUED');
        equal((await c.call('EXEC')).map(Number), [3], 'EXEC');
        d.close();
    });
    await check(`${name}: scripts by body and by digest`, async () => {
        const body = `return {KEYS[1], ARGV[1], redis.call('INCR', KEYS[2])} -- ${name}`;
        await c.call('DEL', key('script'));
        equal((await c.call('EVAL', body, 2, 'k', key('script'), 'a')).map(String), ['k', 'a', '1']);
        const sha = await c.call('SCRIPT', 'LOAD', body);
        equal((await c.call('EVALSHA', sha, 2, 'k', key('script'), 'a')).map(String), ['k', 'a', '2']);
    });
    await check(`${name}: SELECT keeps databases apart`, async () => {
        const d = await open();
        await d.call('SELECT', 3);
        await d.call('SET', key('db'), 'three');
        equal(await c.call('GET', key('db')), null);
        equal(await d.call('GET', key('db')), 'three');
        d.close();
    });
    await check(`${name}: CLIENT ID, SETNAME, GETNAME`, async () => {
        await c.call('CLIENT', 'SETNAME', 'tester');
        equal(await c.call('CLIENT', 'GETNAME'), 'tester');
        equal(Number(await c.call('CLIENT', 'ID')) > 0, true);
    });
    await check(`${name}: SCAN sees every key`, async () => {
        for (let i = 0; i < 200; i++) await c.call('SET', key(`scan:${i}`), i);
        const seen = new Set();
        let cursor = '0';
        do {
            const [next, keys] = await c.call('SCAN', cursor, 'MATCH', key('scan:*'), 'COUNT', 50);
            keys.forEach((k) => seen.add(k));
            cursor = String(next);
        } while (cursor !== '0');
        equal(seen.size, 200);
    });
    c.close();
}

// Work that goes on while the C++ side switches and rolls back.
async function across(name, open, run) {
    const key = (k) => `across:${name}:${k}`;
    const c = await open();
    const publisher = await open();
    const subscriber = await open();
    const producer = await open();
    const consumer = await open();
    const messages = [];
    await c.call('DEL', key('n'), key('queue'));
    await subscriber.subscribe(key('channel'), (text) => messages.push(Number(text)));
    let published = 0, produced = 0, increments = 0;
    const consumed = [];
    const done = [];
    const loop = (step) => done.push((async () => { while (run.on) { await step(); await sleep(2); } })());
    loop(async () => equal(Number(await c.call('INCR', key('n'))), ++increments, `${name} INCR`));
    loop(async () => { await publisher.call('PUBLISH', key('channel'), ++published); });
    loop(async () => { await producer.call('RPUSH', key('queue'), ++produced); });
    loop(async () => {
        const answer = await consumer.call('BLPOP', key('queue'), 1);
        if (answer) consumed.push(Number(answer[1]));
    });
    return async () => {
        await check(`${name}: counter, queue and subscription across switches`, async () => {
            await Promise.all(done);
            for (let left = await producer.call('LRANGE', key('queue'), 0, -1); left.length > 0; left = []) left.forEach((x) => consumed.push(Number(x)));
            const until = (n) => Array.from({ length: n }, (_, i) => i + 1);
            equal(Number(await c.call('GET', key('n'))), increments, 'counter');
            equal(consumed.sort((a, b) => a - b), until(produced), 'queue');
            for (let i = 0; i < 100 && messages.length < published; i++) await sleep(20);
            equal(messages, until(published), 'messages');
        });
    };
}

async function bullmq(run) {
    const connection = io(IORedis).raw;
    const queue = new Queue('across', { connection });
    const seen = new Map();
    const worker = new Worker('across', async (job) => { seen.set(job.data.n, (seen.get(job.data.n) ?? 0) + 1); return job.data.n; },
        { connection: io(IORedis).raw, concurrency: 4 });
    worker.on('error', () => {});
    let n = 0;
    const adding = (async () => { while (run.on) { await queue.add('job', { n: ++n }); await sleep(10); } })();
    return () => check('bullmq: every job processed once across switches', async () => {
        await adding;
        for (let i = 0; i < 500 && seen.size < n; i++) await sleep(20);
        equal([...seen.keys()].sort((a, b) => a - b), Array.from({ length: n }, (_, i) => i + 1), 'jobs');
        equal([...seen.values()].every((times) => times === 1), true, 'once each');
        lostByQueues = lost;
        await worker.close();
        await queue.close();
        lost = lostByQueues;   // bullmq closes its own connections here
    });
}

async function locks(run) {
    const first = new Redlock([io(IORedis).raw], { retryCount: 0 });
    const second = new Redlock([io(IORedis).raw], { retryCount: 0 });
    const taken = await first.acquire(['across:lock'], 120_000);
    return () => check('redlock: a lock taken before the switch still excludes after it', async () => {
        let refused = false;
        try { await second.acquire(['across:lock'], 1000); } catch { refused = true; }
        equal(refused, true, 'second acquire refused');
        await taken.release();
        const again = await second.acquire(['across:lock'], 1000);
        await again.release();
    });
}

async function ask(number) {   // the C++ side switches (1), rolls back (2)
    writeFileSync(`${directory}/want-${number}`, '');
    for (let i = 0; i < 3000; i++) {
        if (existsSync(`${directory}/done-${number}`)) return;
        await sleep(20);
    }
    throw new Error(`no done-${number} within 60 s`);
}

for (const [name, open] of Object.entries(libraries)) await basics(name, open);
const run = { on: true };
const ends = [];
for (const [name, open] of Object.entries(libraries)) ends.push(await across(name, open, run));
ends.push(await bullmq(run), await locks(run));
await sleep(500);
await check('switch', () => ask(1));
await sleep(500);
await check('rollback', () => ask(2));
await sleep(500);
run.on = false;
for (const end of ends) await end();
await check('no client connection was lost', async () => equal(lost, 0));
closing = true;
clients.forEach((c) => { try { c.close(); } catch { /* already closed */ } });
console.log(`${passed} passed, ${failures.length} failed`);
process.exit(failures.length === 0 ? 0 : 1);
