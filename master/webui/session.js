// A session in a task's container, by the agent's own API and through the master: what it prints is the long answer of one call, what
// is typed goes in short calls, one after the other, in order.
import { through } from './format.js';
import { Refusal } from './live.js';
import { refused } from './login.js';

const RECORDS = 'application/recordio';
const JSON_TYPE = 'application/json';
// A shell with more comfort where there is one.
const SHELL = 'command -v bash >/dev/null 2>&1 && exec bash; exec sh';

const encoder = new TextEncoder();
const base64 = (text) => btoa(String.fromCharCode(...encoder.encode(text)));
const bytesOf = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
const size = ({ rows, columns }) => ({ window_size: { rows, columns } });

async function call(agent, headers, body, signal = null) {
  const response = await fetch(through(agent, '/api/v1'), { method: 'POST', cache: 'no-store', redirect: 'manual', headers, body, signal });
  if (response.status === 401) refused();
  if (!response.ok) throw new Refusal(response.status, (await response.text()).slice(0, 500));
  return response;
}

/** The records of a stream, each `length`, a line break, and as many bytes of JSON. */
async function* records(stream) {
  const reader = stream.getReader();
  const decoder = new TextDecoder();
  let kept = new Uint8Array(0);
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const all = new Uint8Array(kept.length + value.length);
    all.set(kept);
    all.set(value, kept.length);
    kept = all;
    for (;;) {
      const line = kept.indexOf(10);
      const end = line + 1 + Number(decoder.decode(kept.subarray(0, Math.max(0, line))));
      if (line < 0 || kept.length < end) break;
      yield JSON.parse(decoder.decode(kept.subarray(line + 1, end)));
      kept = kept.subarray(end);
    }
  }
}

const record = (message) => { const text = JSON.stringify(message); return `${encoder.encode(text).length}\n${text}`; };

/** Opens a shell beside the task whose container is `parent`. `print` gets bytes; `ended` gets what there is to say of the end. */
export function open({ agent, parent, at, print, ended }) {
  const id = { value: crypto.randomUUID?.() ?? `terminal-${Date.now()}-${Math.random().toString(36).slice(2)}`, parent };
  const abort = new AbortController();
  let waiting = []; // a text that was typed, or a size
  let [begun, sending] = [false, false];

  async function listen() {
    try {
      const body = JSON.stringify({ type: 'LAUNCH_NESTED_CONTAINER_SESSION', launch_nested_container_session: {
        container_id: id,
        command: { value: SHELL, environment: { variables: [{ name: 'TERM', type: 'VALUE', value: 'xterm-256color' }] } },
        container: { type: 'MESOS', tty_info: size(at) },
      } });
      const headers = { 'Content-Type': JSON_TYPE, Accept: RECORDS, 'Message-Accept': JSON_TYPE };
      const response = await call(agent, headers, body, abort.signal);
      // Before that there is no container that could be given anything.
      begun = true;
      send();
      for await (const io of records(response.body)) if (io.type === 'DATA' && io.data?.data) print(bytesOf(io.data.data));
      ended('The session has ended.');
    } catch (error) {
      if (error.name !== 'AbortError') ended(error.status ? error.message : 'The connection with the session is lost.', error);
    }
  }

  async function send() {
    if (!begun || sending || !waiting.length) return;
    sending = true;
    const messages = waiting.splice(0);
    const input = (message) => ({ type: 'ATTACH_CONTAINER_INPUT', attach_container_input: message });
    const all = [{ type: 'CONTAINER_ID', container_id: id }, ...messages.map((one) => ({ type: 'PROCESS_IO', process_io: typeof one === 'string' ? { type: 'DATA', data: { type: 'STDIN', data: base64(one) } } : { type: 'CONTROL', control: { type: 'TTY_INFO', tty_info: size(one) } } }))];
    try {
      await call(agent, { 'Content-Type': RECORDS, 'Message-Content-Type': JSON_TYPE, Accept: JSON_TYPE }, all.map((one) => record(input(one))).join(''));
    } catch (error) {
      if (!abort.signal.aborted) print(encoder.encode(`\r\n[not sent: ${error.message}]\r\n`));
    }
    sending = false;
    send();
  }

  listen();
  return {
    type: (text) => {
      if (typeof waiting.at(-1) === 'string') waiting.push(waiting.pop() + text);
      else waiting.push(text);
      send();
    },
    resize: (now) => { waiting.push(now); send(); },
    /** The agent ends what nobody listens to. */
    close: () => abort.abort(),
  };
}
