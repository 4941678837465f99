// Watches a migration on the dashboard in chromium and takes a picture whenever its state, the
// authority, the way back or the running phase is another one; ends when the stream is lost. Fails
// when the page had an error or did not show the whole way of the example.
//   bash examples/redis-to-valkey/run.sh | node example.mjs DIRECTORY    (finds the URL in what it reads)
//   node example.mjs DIRECTORY URL
import { mkdirSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { chromium } from 'playwright-core';

const [pictures, given] = process.argv.slice(2);
mkdirSync(pictures, { recursive: true });

/// What comes through goes on to the terminal.
function url_from_input() {
    return new Promise((found) => {
        createInterface({ input: process.stdin }).on('line', (line) => {
            console.log(line);
            const named = /^dashboard, .*(https?:\S+)/.exec(line);
            if (named) found(named[1]);
        });
    });
}

const url = given ?? (await url_from_input());
const browser = await chromium.launch({ executablePath: '/usr/bin/chromium', args: ['--no-sandbox'] });
const page = await browser.newPage({ viewport: { width: 1280, height: 1600 } });
const errors = [];
page.on('pageerror', (error) => errors.push(String(error)));
await page.goto(url);

// Authorities and states of the example, in this order; others stand between. The rollback in its
// middle is over within seconds: a busy machine may be taking a picture meanwhile.
const way = ['source-compared', 'target-switched', 'target-committed'];
let seen = '';
let count = 0;
for (let fresh = 'waiting'; fresh !== 'lost';) {
    let now;
    ({ fresh, now } = await page.evaluate(() => {
        const text = (query) => document.querySelector(query)?.textContent ?? '';
        const phase = /exodus (?:-\S+ )*(\w+)/.exec(text('.running code'))?.[1] ?? '';
        return {
            fresh: document.body.dataset.fresh,
            now: `${document.title.replace(/, [^,]* - exodus$/, '')}, way back ${text('#now .way .word')}, ${phase}`
        };
    }));
    if (now !== seen) {
        seen = now;
        count += 1;
        await page.waitForTimeout(1200);  // until the charts have a point of it
        const name = `${String(count).padStart(2, '0')}-${now.replace(/[^A-Za-z]+/g, '-').toLowerCase()}`;
        if (name.slice(3).startsWith(way[0])) way.shift();
        await page.screenshot({ path: `${pictures}/${name}.png`, fullPage: true });
    }
    await page.waitForTimeout(300);
}
await browser.close();
console.log(`${count} pictures in ${pictures}; ${errors.length} errors of the page ${errors.join('; ')}`);
if (way.length > 0) console.log(`not seen: ${way.join(', ')}`);
process.exit(errors.length + way.length === 0 ? 0 : 1);
