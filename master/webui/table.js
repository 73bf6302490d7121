// A list of any length: the master sends the part that is seen, and only the rows that are seen are drawn.
import { html, useEffect, useLayoutEffect, useRef, useState } from './vendor/preact-htm.js';
import { Empty, Trouble, Waiting } from './parts.js';
import { useRead } from './live.js';

const PART = 60; // rows are asked for from multiples of this
const ASKED = 180; // at one time
const OVERSCAN = 8;
const SMALL = 440; // pixels of a list inside another page

/**
 * `read`: the path with its query, but for the part and the order. `columns`: { key, title, sort?, class?, cell(row) }.
 * `open(row)`: where Enter leads. `filled(data)` may say something about the whole answer. `height`: pixels of a row.
 */
export function List({ read, columns, open, rowKey, label, empty, filled, height = 44, tall = false, order: usual = ['', 'desc'] }) {
  const [[sort, order], setOrder] = useState(usual);
  const [from, setFrom] = useState(0);
  const [seen, setSeen] = useState([0, 30]);
  const [, redraw] = useState(0);
  // Keys may come faster than the page is drawn, so that what they lead to is not in the drawn state.
  const at = useRef(-1);
  const box = useRef(null);
  const known = useRef(new Map());
  const query = `${read}${read.includes('?') ? '&' : '?'}sort=${sort}&order=${order}`;
  const answer = useRead(`${query}&offset=${from}&limit=${ASKED}`);

  useEffect(() => {
    known.current = new Map();
    setFrom(0);
    at.current = -1;
    if (box.current) box.current.scrollTop = 0;
  }, [query]);
  useEffect(() => {
    if (!answer.data || !answer.fresh) return;
    answer.data.rows.forEach((row, index) => known.current.set(from + index, row));
    if (known.current.size > 20 * ASKED) known.current = new Map(answer.data.rows.map((row, index) => [from + index, row]));
    filled?.(answer.data);
    setSeen((before) => [...before]);
  }, [answer.data, answer.fresh]);

  const total = answer.data?.total ?? 0;
  const look = () => {
    const first = Math.max(0, Math.floor(box.current.scrollTop / height) - OVERSCAN);
    const last = Math.ceil((box.current.scrollTop + box.current.clientHeight) / height) + OVERSCAN;
    if (first !== seen[0] || last !== seen[1]) setSeen([first, last]);
    const wanted = Math.max(0, Math.floor((first - (ASKED - (last - first)) / 2) / PART) * PART);
    if (first < from || last > from + ASKED) setFrom(wanted);
  };
  useLayoutEffect(() => { if (box.current) look(); }, [total]);
  useEffect(() => {
    addEventListener('resize', look);
    return () => removeEventListener('resize', look);
  });

  const show = (index) => {
    const top = index * height;
    if (top < box.current.scrollTop) box.current.scrollTop = top;
    else if (top + 2 * height > box.current.scrollTop + box.current.clientHeight) box.current.scrollTop = top + 2 * height - box.current.clientHeight;
  };
  const step = (by) => {
    at.current = Math.max(0, Math.min(total - 1, at.current + by));
    show(at.current);
    redraw((count) => count + 1);
  };
  useEffect(() => {
    const keys = (event) => {
      if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || /INPUT|TEXTAREA|SELECT/.test(event.target.tagName) || event.target.closest?.('dialog[open]')) return;
      // On a page with several lists the keys are of the first, or of the one that has the focus.
      const lists = [...document.querySelectorAll('.list')];
      const focused = lists.find((one) => one.contains(document.activeElement));
      if ((focused ?? lists[0]) !== box.current?.parentElement) return;
      const inside = box.current.contains(document.activeElement) || document.activeElement === document.body || document.activeElement.id === 'main';
      if (event.key === 'j' || (event.key === 'ArrowDown' && inside)) step(1);
      else if (event.key === 'k' || (event.key === 'ArrowUp' && inside)) step(-1);
      else if (event.key === 'Enter' && known.current.has(at.current) && inside) location.hash = open(known.current.get(at.current)).slice(1);
      else return;
      event.preventDefault();
    };
    addEventListener('keydown', keys);
    return () => removeEventListener('keydown', keys);
  });

  if (!answer.data) return answer.error ? html`<${Trouble} error=${answer.error} again=${answer.again} />` : html`<${Waiting} />`;
  if (!total) return empty(answer.data) ?? html`<${Empty}>Nothing here.<//>`;
  const rows = [];
  for (let index = seen[0]; index < Math.min(seen[1], total); index += 1) rows.push(index);
  const sortBy = (column) => setOrder(([by, way]) => [column.sort, by === column.sort && way === 'asc' ? 'desc' : by === column.sort ? 'asc' : column.first ?? 'asc']);
  const shape = `list-${label.toLowerCase().replaceAll(' ', '-')}`;
  return html`<div class="list ${shape} ${tall ? 'tall' : ''}" role="table" aria-label=${label} aria-rowcount=${total + 1}>
    <div class="row head" role="row">${columns.map((column) => html`<span key=${column.key} role="columnheader" class=${column.class ?? ''} aria-sort=${column.sort === undefined ? null : column.sort === sort ? (order === 'asc' ? 'ascending' : 'descending') : 'none'}>
      ${column.sort === undefined ? column.title : html`<button type="button" onclick=${() => sortBy(column)}>${column.title}<i aria-hidden="true">${column.sort === sort ? (order === 'asc' ? ' ↑' : ' ↓') : ''}</i></button>`}</span>`)}</div>
    <div class="rows" style=${{ height: tall ? `min(${total * height}px, max(320px, calc(100vh - 290px)))` : `${Math.min(total * height, SMALL)}px` }} ref=${box} onscroll=${look} tabindex="0" role="rowgroup" aria-label=${`${label}: ${total}`}>
      <div class="space" role="presentation" style=${{ height: `${total * height}px` }}>${rows.map((index) => {
        const row = known.current.get(index);
        const place = { transform: `translateY(${index * height}px)`, height: `${height}px` };
        if (!row) return html`<div key=${`empty ${index}`} class="row ghost" role="row" aria-rowindex=${index + 2} style=${place}><span role="cell">…</span></div>`;
        return html`<div key=${rowKey(row)} class="row ${index === at.current ? 'chosen' : ''}" role="row" aria-rowindex=${index + 2} style=${place}>${columns.map((column) => html`<span key=${column.key} role="cell" class=${column.class ?? ''}>${column.cell(row)}</span>`)}</div>`;
      })}</div></div></div>`;
}

/** Words to look for, told on after a short pause. */
export function Search({ value, change, label, placeholder }) {
  const [text, setText] = useState(value);
  useEffect(() => setText(value), [value]);
  useEffect(() => {
    if (text === value) return undefined;
    const timer = setTimeout(() => change(text), 150);
    return () => clearTimeout(timer);
  }, [text]);
  return html`<input type="search" class="search" value=${text} aria-label=${label} placeholder=${placeholder} oninput=${(event) => setText(event.target.value)}
    onkeydown=${(event) => { if (event.key === 'Escape') { setText(''); event.target.blur(); } }} />`;
}

/** Chips with counts, of which any number is chosen. */
export function Choices({ counts, chosen, change, name, label }) {
  const keys = [...new Set([...Object.keys(counts), ...chosen])].sort((a, b) => (counts[b] ?? 0) - (counts[a] ?? 0));
  const toggle = (key) => change(chosen.includes(key) ? chosen.filter((one) => one !== key) : [...chosen, key]);
  return html`<div class="choices" role="group" aria-label=${label}>${keys.map((key) => html`<button type="button" key=${key} aria-pressed=${String(chosen.includes(key))} onclick=${() => toggle(key)}>${name(key)}<b class="num">${counts[key] ?? 0}</b></button>`)}</div>`;
}
