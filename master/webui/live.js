// What the page knows, kept up to date: a stream says that there is a new version, and then what is shown is asked for again.
import { useEffect, useRef, useState } from './vendor/preact-htm.js';
import { follow, leaderMoved } from './leader.js';
import { look, refused, who } from './login.js';

const FASTEST_MS = 250; // between two reads of the same thing
const SILENCE_MS = 12000; // the stream speaks every 5 s
const listeners = new Set();

/** `status`: connecting, live, lost or moving. */
export const live = { status: 'connecting', version: -1, master: null, since: Date.now() };

function change(what) {
  Object.assign(live, what, what.status && what.status !== live.status ? { since: Date.now() } : {});
  for (const listener of [...listeners]) listener();
}

let source = null;
let silence = 0;
let failures = 0;
let retry = 0;

function connect() {
  clearTimeout(retry);
  source?.close();
  if (who.refused) return; // the form comes first, and begins anew
  source = new EventSource('/ui/live');
  source.onmessage = (event) => {
    const told = JSON.parse(event.data);
    failures = 0;
    clearTimeout(silence);
    silence = setTimeout(broken, SILENCE_MS);
    // Another run of the master may bring another page.
    if (live.master && live.master !== told.master) return location.reload();
    change({ status: 'live', version: told.version, master: told.master });
  };
  source.onerror = broken;
}

async function broken() {
  source?.close();
  clearTimeout(silence);
  clearTimeout(retry);
  failures += 1;
  change({ status: 'lost' });
  look();
  const moved = await leaderMoved();
  if (moved || (moved === null && failures > 2 && (await follow()))) return change({ status: 'moving' });
  retry = setTimeout(connect, Math.min(5000, 250 * 2 ** Math.min(failures, 5)) * (0.75 + Math.random() / 2));
}

addEventListener('visibilitychange', () => {
  if (document.hidden) {
    // A page that nobody sees costs nothing.
    source?.close();
    clearTimeout(silence);
    clearTimeout(retry);
  } else connect();
});

export const start = connect;

/** The state of the connection, as it changes. */
export function useLive() {
  const [, redraw] = useState(0);
  useEffect(() => {
    let shown = live.status;
    const listener = () => { if (live.status !== shown) { shown = live.status; redraw((count) => count + 1); } };
    listeners.add(listener);
    return () => listeners.delete(listener);
  }, []);
  return live;
}

/** An answer that is no success. */
export class Refusal extends Error {
  constructor(status, text) {
    super(text || `The master answered ${status}.`);
    this.status = status;
  }
}

/** Reads JSON. `tag`: what was had before, to be told that nothing changed (null). */
export async function read(path, tag = null, signal = null) {
  const headers = { Accept: 'application/json', ...(tag ? { 'If-None-Match': tag } : {}) };
  const response = await fetch(path, { headers, cache: 'no-store', redirect: 'manual', signal });
  if (response.type === 'opaqueredirect') {
    await leaderMoved();
    throw new Refusal(503, 'This master does not lead any more.');
  }
  if (response.status === 304) return { data: null, tag };
  if (response.status === 401) refused();
  if (!response.ok) throw new Refusal(response.status, (await response.text()).slice(0, 500));
  return { data: await response.json(), tag: response.headers.get('ETag') };
}

/** `path`'s answer, read again when there is a new version; the old answer stays until the new one is there. `everyMs` reads by the clock instead. */
export function useRead(path, everyMs = 0) {
  const [answer, setAnswer] = useState({ data: null, error: null, path: null });
  const again = useRef(() => {});
  useEffect(() => {
    if (!path) return undefined;
    let [gone, tag, timer, busy, next, had] = [false, null, 0, false, 0, -1];
    const abort = new AbortController();
    async function load() {
      clearTimeout(timer);
      if (gone || busy || document.hidden) return;
      busy = true;
      const begun = performance.now();
      try {
        const { data, tag: fresh } = await read(path, tag, abort.signal);
        if (gone) return;
        tag = fresh;
        if (data) {
          had = data.version ?? live.version;
          setAnswer({ data, error: null, path });
        } else had = live.version;
      } catch (error) {
        if (!gone && error.name !== 'AbortError') setAnswer((before) => ({ ...before, error, path }));
      } finally {
        busy = false;
        next = performance.now() + Math.max(FASTEST_MS, 2 * (performance.now() - begun));
        if (!gone && everyMs) timer = setTimeout(load, everyMs);
        else if (!gone && had < live.version && live.status === 'live') schedule();
      }
    }
    function schedule() {
      clearTimeout(timer);
      timer = setTimeout(load, Math.max(0, next - performance.now()));
    }
    const listener = () => { if (!everyMs && !busy && live.version !== had) schedule(); };
    listeners.add(listener);
    again.current = load;
    load();
    return () => { gone = true; listeners.delete(listener); clearTimeout(timer); abort.abort(); };
  }, [path, everyMs]);
  // Until the new one is there, what was shown of another path stays where the caller wants it to.
  return { ...answer, fresh: answer.path === path, again: () => again.current() };
}

/** Asks the master to do something: a form, or a call of the operator API. Gives the answer's JSON, if it has any. */
async function post(path, type, body, quiet = false) {
  const response = await fetch(path, { method: 'POST', redirect: 'manual', headers: { 'Content-Type': type, Accept: 'application/json' }, body });
  if (response.type === 'opaqueredirect') throw new Refusal(503, 'This master does not lead any more.');
  const text = await response.text();
  if (response.status === 401 && !quiet) refused();
  if (!response.ok) throw new Refusal(response.status, text.slice(0, 500));
  return text ? JSON.parse(text) : {};
}

export const form = (path, members) => post(path, 'application/x-www-form-urlencoded', new URLSearchParams(members).toString());
/** `quiet`: a refusal is no reason to ask who looks. */
export const operator = (call, quiet = false) => post('/api/v1', 'application/json', JSON.stringify(call), quiet);
