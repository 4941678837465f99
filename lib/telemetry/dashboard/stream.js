// The connection to the server: one EventSource with events and status, made again when the browser
// gives up, and the verdict how fresh the newest status is. Knows nothing of what the page shows.

import {age, clock} from './format.js';

/// Five missed statuses, or a snapshot as old: nobody may take it for live any more.
const kFresh_ms = 5000;
/// A connection that is open but silent for so long is dropped: the peer may have vanished.
const kSilent_ms = 15_000;
const kRetry_ms_min = 2000;
const kRetry_ms_max = 15_000;

/// The token of the page's own address, which is removed from the address bar: it would stay in the
/// history and in screenshots.
export function take_token() {
    const address = new URL(window.location.href);
    const token = address.searchParams.get('token') ?? '';
    if (address.searchParams.has('token')) {
        address.searchParams.delete('token');
        window.history.replaceState(null, '', address);
    }
    return token;
}

export class Stream {
    /// `on_status(status)` and `on_event(event)` get parsed objects; `on_change()` says that the
    /// connection came or went.
    constructor(token, {on_status, on_event, on_change}) {
        this.token = token;
        this.on_status = on_status;
        this.on_event = on_event;
        this.on_change = on_change;
        this.last_id = 0;
        this.began_ms = Date.now();
        this.seen_ms = 0;  // when the newest status arrived, by this machine's clock; 0 never
        this.status = null;
        this.reason = '';
        this.retry_ms = kRetry_ms_min;
        this.open();
    }

    address(path, query = {}) {
        const all = new URLSearchParams(query);
        if (this.token !== '') all.set('token', this.token);
        return all.size === 0 ? path : `${path}?${all}`;
    }

    open() {
        this.source?.close();
        this.opened_ms = Date.now();
        const since = this.last_id > 0 ? {since: this.last_id} : {};
        const source = new EventSource(this.address('events', {status: 1, ...since}));
        this.source = source;
        source.addEventListener('open', () => this.on_change());
        source.addEventListener('status', (message) => this.take_status(message.data));
        source.addEventListener('event', (message) => this.take_event(message));
        source.addEventListener('error', () => {
            // CLOSED: the browser does not try again, as after an HTTP error. Otherwise it does.
            if (source === this.source && source.readyState === EventSource.CLOSED) this.retry();
            this.on_change();
        });
    }

    retry() {
        if (this.timer) return;
        this.ask_why();
        this.timer = setTimeout(() => {
            this.timer = null;
            this.open();
        }, this.retry_ms);
        this.retry_ms = Math.min(this.retry_ms * 2, kRetry_ms_max);
    }

    /// An EventSource does not tell why it failed; a plain request does.
    async ask_why() {
        try {
            const answer = await fetch(this.address('status'), {cache: 'no-store'});
            await answer.body?.cancel();
            if (answer.status === 401) {
                this.reason =
                    'The server wants a token (401): open this page again as /?token=TOKEN.';
            } else if (!answer.ok) {
                this.reason = `The server answers with HTTP status ${answer.status}.`;
            } else {
                this.reason = 'The server answers, but does not stream.';
            }
        } catch {
            this.reason = 'The server does not answer.';
        }
        this.on_change();
    }

    take_status(text) {
        let status = null;
        try {
            status = JSON.parse(text);
        } catch {
            // As an object that is none.
        }
        // Without these nothing on the page would be sure.
        const usable = ['source', 'target'].includes(status?.authority) &&
            typeof status.at_ms === 'number' && typeof status.now_ms === 'number';
        if (!usable) {
            this.reason = 'The server sends a status without authority or time.';
            return;
        }
        this.status = status;
        this.seen_ms = Date.now();
        this.reason = '';
        this.retry_ms = kRetry_ms_min;
        this.on_status(status);
    }

    take_event(message) {
        try {
            const event = JSON.parse(message.data);
            const id = Number(event.id ?? message.lastEventId);
            if (!(id > this.last_id)) return;  // sent again after a reconnect
            this.last_id = id;
            this.on_event({...event, id});
        } catch {
            // One row that cannot be read; the next ones can.
        }
    }

    /// Once a second: drops a connection that is open but silent.
    check() {
        const heard_ms = Math.max(this.seen_ms, this.opened_ms);
        if (!this.timer && Date.now() - heard_ms > kSilent_ms) {
            this.ask_why();
            this.open();
        }
    }

    /// {kind, age_ms, word, text}: kind is waiting (nothing came yet), live, lost (no status for
    /// 5 s) or stale (statuses come, but of an old snapshot). `text` does not change while the kind
    /// stays, because it is read aloud.
    freshness() {
        const now = Date.now();
        if (this.status === null) {
            const waited = now - this.began_ms;
            const silent = waited > kFresh_ms || this.reason !== '';
            const text = silent ?
                `NO DATA since this page was opened at ${clock(this.began_ms)} UTC. ` +
                    (this.reason || 'No status has come yet.') :
                '';
            return {kind: 'waiting', word: 'NO DATA', text, age_ms: waited};
        }
        const since_ms = Math.max(0, now - this.seen_ms);
        const {at_ms, now_ms} = this.status;
        const snapshot_ms = Math.max(0, now_ms - at_ms);
        const age_ms = since_ms + snapshot_ms;
        if (since_ms > kFresh_ms) {
            const silence = this.source.readyState === EventSource.OPEN ?
                'The connection is open, but nothing comes.' :
                'Connecting again.';
            return {
                kind: 'lost',
                word: 'STREAM LOST',
                age_ms,
                text: `STREAM LOST since ${clock(this.seen_ms)} UTC. ${this.reason || silence}`
            };
        }
        if (age_ms > kFresh_ms) {
            return {
                kind: 'stale',
                word: 'SNAPSHOT STALE',
                age_ms,
                text: `SNAPSHOT STALE: the server answers, but what it knows is of ${
                    clock(at_ms)} UTC.`
            };
        }
        return {kind: 'live', word: 'live', text: '', age_ms};
    }

    /// One word for the page's head.
    connection() {
        if (this.source.readyState === EventSource.OPEN) return 'connected';
        return this.status === null ? 'connecting' : 'connecting again';
    }
}

/// "32 s" for a banner.
export function age_text(fresh) {
    return fresh.kind === 'waiting' ? '' :
                                      `What is shown is ${age(fresh.age_ms)} old and not live.`;
}
