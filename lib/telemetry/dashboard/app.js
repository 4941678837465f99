// Wires the page: the stream fills the model, the model is drawn at each status and once a second
// (ages go on when nothing comes), and the operator's few controls change the model.

import {charts, fraction_at} from './charts.js';
import {patch} from './dom.js';
import {age, clock} from './format.js';
import {History} from './history.js';
import {phases} from './phases.js';
import {age_text, Stream, take_token} from './stream.js';
import * as tables from './tables.js';
import * as view from './view.js';

const kEvents_max = 300;
const kCopied_ms = 2500;

const byId = (id) => document.getElementById(id);
const history = new History();
const model = {
    events: [],       // newest first
    cursor: null,     // 0 … 1 on the charts' time axis
    copied: null,     // {text, word} for a moment after a copy
    severity: 'all',  // least severity of the event log
};

const stream = new Stream(take_token(), {
    on_status(status) {
        history.add(status);
        draw();
    },
    on_event(event) {
        model.events.unshift(event);
        model.events.length = Math.min(model.events.length, kEvents_max);
        plan();
    },
    on_change: plan,
});

/// Many events at once are drawn once.
let planned = false;
function plan() {
    if (planned) return;
    planned = true;
    requestAnimationFrame(() => {
        planned = false;
        draw();
    });
}

function draw_freshness(fresh) {
    document.body.dataset.fresh = fresh.kind;
    document.body.dataset.banner = fresh.text === '' ? 'no' : 'yes';
    patch(byId('banner-text'), fresh.text);
    patch(byId('banner-age'), fresh.text && age_text(fresh));
    const stamp = fresh.kind === 'live' || fresh.kind === 'waiting' ?
        '' :
        `${age(fresh.age_ms)} old, not live`;
    for (const place of document.querySelectorAll('.head > .age:empty, .head > .age[data-stamp]')) {
        place.dataset.stamp = '';
        patch(place, stamp);
    }
}

function draw_cursor(live) {
    if (model.cursor === null || history.samples.length === 0) {
        patch(byId('cursor-time'), '');
        return null;
    }
    const end_ms = history.newest().at_ms;
    const sample = history.nearest(end_ms - (1 - model.cursor) * history.span_ms());
    patch(
        byId('cursor-time'),
        sample ? `values at ${clock(sample.at_ms, end_ms)} UTC` :
                 `nothing was measured there${live ? '' : ' (old data)'}`);
    return sample;
}

function draw_status(status, fresh) {
    const live = fresh.kind === 'live';
    document.title = `${live ? '' : `${fresh.word}: `}${String(status.authority).toUpperCase()}, ` +
        `${status.state}, ${status.migration} - exodus`;
    patch(byId('spoken'), live ? view.sentence(status) : '');
    patch(byId('now'), view.hero(status, live));
    patch(byId('next'), view.next(status, live, model.copied));
    patch(byId('attention'), view.attention(status, live));
    patch(byId('phases'), phases(status));
    patch(byId('endpoints'), view.endpoints(status, live));
    patch(byId('charts'), charts(status, history, live, draw_cursor(live)));
    patch(byId('movement'), tables.movement(status));
    patch(byId('traffic'), tables.traffic(status, history.commands));
    patch(byId('divergences'), tables.divergences(status));
    patch(byId('findings'), tables.findings(status));
    patch(byId('decisions'), tables.decisions(status));
    patch(byId('switches'), tables.switches(status));
    patch(byId('workers'), tables.workers(status));
    patch(byId('about'), tables.about(status, stream.connection()));
}

function draw() {
    let fresh = stream.freshness();
    const {status} = stream;
    try {
        patch(byId('top'), view.header(status, fresh, stream.connection()));
        if (status) draw_status(status, fresh);
        patch(byId('events'), tables.events(model.events, model.severity));
    } catch (error) {
        // Half a page of new values and half of old ones must not pass for live.
        fresh = {
            kind: 'lost',
            word: 'PAGE BROKEN',
            age_ms: fresh.age_ms,
            text: `PAGE BROKEN: it cannot show what the server sent (${
                error.message}). Use: exodus status`
        };
    }
    draw_freshness(fresh);
}

async function copy(button) {
    const text = button.dataset.copy;
    let word = 'Copied';
    try {
        await navigator.clipboard.writeText(text);
    } catch {
        // Without TLS and away from loopback there is no clipboard: the text is selected instead.
        window.getSelection().selectAllChildren(button.parentElement.querySelector('code'));
        word = document.execCommand('copy') ? 'Copied' : 'Selected';
    }
    model.copied = {text, word};
    setTimeout(() => {
        model.copied = null;
        plan();
    }, kCopied_ms);
    plan();
}

document.addEventListener('click', (event) => {
    const button = event.target.closest('[data-copy]');
    if (button) copy(button);
});

byId('severity').addEventListener('change', (event) => {
    model.severity = event.target.value;
    plan();
});

function point(fraction) {
    model.cursor = fraction;
    plan();
}

const place = byId('charts');
place.addEventListener('pointermove', (event) => {
    const plot = event.target.closest('.plot');
    if (!plot) return;
    const box = plot.getBoundingClientRect();
    point(fraction_at((event.clientX - box.left) / box.width));
});
place.addEventListener('pointerleave', () => point(null));
place.addEventListener('focusout', () => point(null));
place.addEventListener('keydown', (event) => {
    const step = {ArrowLeft: -0.02, ArrowRight: 0.02}[event.key];
    if (!step || !event.target.closest('.plot')) return;
    event.preventDefault();
    point(Math.min(1, Math.max(0, (model.cursor ?? 1) + step)));
});

document.addEventListener('visibilitychange', plan);
setInterval(() => {
    stream.check();
    draw();
}, 1000);
draw();
