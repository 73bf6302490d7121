// A file of an agent as it grows, read through the master. Files are bytes: what is no text shows as �.
import { html, useEffect, useLayoutEffect, useRef, useState } from './vendor/preact-htm.js';
import { bytes, through } from './format.js';
import { Refusal } from './live.js';

const PIECE = 65536; // the agent's own limit for one read
const KEPT = 1024 * 1024; // characters in the page
const EVERY_MS = 700;

async function raw(agent, file, offset, length) {
  const query = `path=${encodeURIComponent(file)}&offset=${offset}${length === undefined ? '' : `&length=${length}`}`;
  const response = await fetch(through(agent, `/files/read?${query}`), { cache: 'no-store', redirect: 'manual' });
  if (!response.ok) throw new Refusal(response.status, (await response.text()).slice(0, 300));
  return response.json();
}

const sizeOf = async (agent, file) => (await raw(agent, file, -1)).offset;

/** Text from `from` on, at most up to `to`, and where it ends: not amid a character. */
async function piece(agent, file, from, to) {
  const most = Math.min(PIECE, to - from);
  for (let cut = 0; cut < 4; cut += 1) {
    const { data } = await raw(agent, file, from, most - cut);
    if (!data.endsWith('\uFFFD') || most - cut <= 4) return [data, from + most - cut];
  }
  return [(await raw(agent, file, from, most)).data, from + most];
}

/** Colours and the like of a terminal are left out. */
// eslint-disable-next-line no-control-regex
const plain = (text) => text.replace(/\u001b\[[0-9;?]*[A-Za-z]/g, '').replace(/\r\n/g, '\n');

/** What is kept of the file, and where it begins and ends. */
const shown = ({ pieces, to }) => ({ text: pieces.map((one) => one.text).join(''), from: pieces[0]?.from ?? to ?? 0, to: to ?? 0 });

/** Keeps at most about KEPT characters: what was read first goes first. */
function append(pieces, from, text) {
  const last = pieces.at(-1);
  if (last && last.text.length < PIECE) last.text += text;
  else pieces.push({ from, text });
  let kept = pieces.reduce((sum, one) => sum + one.text.length, 0);
  while (kept > KEPT && pieces.length > 1) kept -= pieces.shift().text.length;
}

/** Follows `file`: [text, where the text begins, size, error, earlier()]. */
export function useTail(agent, file, still) {
  const [state, setState] = useState({ text: '', from: 0, to: 0, error: null, ready: false });
  const at = useRef(null);
  useEffect(() => {
    let [gone, timer] = [false, 0];
    at.current = { to: null, pieces: [] };
    setState({ text: '', from: 0, to: 0, error: null, ready: false });
    async function look() {
      if (gone) return;
      const here = at.current;
      try {
        if (!document.hidden) {
          const size = await sizeOf(agent, file);
          // It was cut, or it is another file by now: begin again.
          if (here.to === null || size < here.to) Object.assign(here, { to: Math.max(0, size - PIECE), pieces: [] });
          while (!gone && here.to < size) {
            const [data, end] = await piece(agent, file, here.to, size);
            append(here.pieces, here.to, plain(data));
            here.to = end;
          }
          if (!gone) setState((before) => (before.ready && before.to === here.to && !before.error ? before : { ...shown(here), error: null, ready: true }));
        }
      } catch (error) {
        if (!gone) setState((before) => ({ ...before, error, ready: true }));
      }
      if (!gone && (!still || at.current.to === null)) timer = setTimeout(look, EVERY_MS);
    }
    look();
    return () => { gone = true; clearTimeout(timer); };
  }, [agent, file, still]);
  const earlier = async () => {
    const here = at.current;
    const { from: end } = shown(here);
    const from = Math.max(0, end - PIECE);
    try {
      const [data] = await piece(agent, file, from, end);
      if (here !== at.current || shown(here).from !== end) return; // another file by now, or asked twice
      here.pieces.unshift({ from, text: plain(data) });
      setState((before) => ({ ...before, ...shown(here) }));
    } catch (error) {
      setState((before) => ({ ...before, error }));
    }
  };
  return { ...state, earlier };
}

/** What the file says last. `brief`: a small window; `still`: it does not grow any more. */
export function Tail({ agent, file, brief = false, still = false, search = '', turn = 0, found }) {
  const { text, from, to, error, ready, earlier } = useTail(agent, file, still);
  const [follows, setFollows] = useState(true);
  const box = useRef(null);
  useLayoutEffect(() => { if (follows && box.current && !search) box.current.scrollTop = box.current.scrollHeight; }, [text, follows]);
  useEffect(() => { found?.(mark(box.current, search, turn)); }, [text, search, turn]);
  if (error && !text) return html`<p class="trouble" role="alert">${missing(error)}</p>`;
  const scrolled = () => setFollows(box.current.scrollTop + box.current.clientHeight >= box.current.scrollHeight - 8);
  return html`<div class="tail ${brief ? 'brief' : ''}">
    ${from > 0 && html`<p class="soft earlier">${bytes(from)} before this. <button type="button" onclick=${earlier}>Show earlier</button></p>`}
    <pre ref=${box} tabindex="0" role="region" aria-label=${`Contents of ${file.split('/').at(-1)}`} onscroll=${scrolled}>${text || (ready ? '' : '…')}</pre>
    <p class="soft foot"><span class="num">${bytes(to)}</span>${ready && !text && ' · nothing in it yet'}${error && ` · ${missing(error)}`}<span class="grow"></span>${still ? '' : follows ? '● follows' : html`<button type="button" onclick=${() => setFollows(true)}>Follow the end</button>`}</p></div>`;
}

function missing(error) {
  if (error.status === 404) return 'There is no such file any more: sandboxes are removed some time after their tasks end.';
  if (error.status >= 502) return `The agent cannot be reached at the moment. ${error.message}`;
  return error.message;
}

/** Marks what is searched for without touching the text, and scrolls to one of the places; gives how many there are. */
function mark(box, search, turn) {
  const marks = globalThis.CSS?.highlights;
  marks?.delete('found');
  marks?.delete('found-now');
  const node = box?.firstChild;
  if (!search || !node) return 0;
  const ranges = [];
  const [text, word] = [node.data.toLowerCase(), search.toLowerCase()];
  for (let at = text.indexOf(word); at >= 0 && ranges.length < 10000; at = text.indexOf(word, at + word.length)) {
    const range = new Range();
    range.setStart(node, at);
    range.setEnd(node, Math.min(node.length, at + word.length));
    ranges.push(range);
  }
  if (!ranges.length) return 0;
  const current = ranges[((turn % ranges.length) + ranges.length) % ranges.length];
  if (marks) {
    marks.set('found', new Highlight(...ranges));
    marks.set('found-now', new Highlight(current));
  }
  const place = current.getBoundingClientRect();
  const frame = box.getBoundingClientRect();
  box.scrollTop += place.top - frame.top - frame.height / 2;
  return ranges.length;
}
