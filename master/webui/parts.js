// Small parts that every page is made of. Whatever comes from the cluster is text to them, never markup.
import { html, useEffect, useRef, useState } from './vendor/preact-htm.js';
import { AMOUNTS, ago, clock, percent, shortId, stateOf } from './format.js';

export function State({ state, healthy }) {
  const [sign, text, kind] = stateOf(state);
  return html`<span class="state ${kind}"><i aria-hidden="true">${sign}</i>${text}${healthy === false && html`<span class="ill"> unhealthy</span>`}</span>`;
}

/** An id, its common part left out, that can be copied. */
export function Id({ id, href }) {
  const text = shortId(id);
  return html`<span class="idbox" title=${id}>${href ? html`<a class="mono" href=${href}>${text}</a>` : html`<span class="mono">${text}</span>`}<${Copy} text=${id} /></span>`;
}

export function Copy({ text, label = 'Copy' }) {
  const [done, setDone] = useState(false);
  const copy = async (event) => {
    event.preventDefault();
    event.stopPropagation();
    try { await navigator.clipboard.writeText(text); } catch { return; }
    setDone(true);
    setTimeout(() => setDone(false), 1200);
  };
  if (!navigator.clipboard) return null;
  return html`<button class="copy" type="button" aria-label=${`${label} ${text}`} title=${label} onclick=${copy}>${done ? '✓' : html`<svg viewBox="0 0 16 16" width="13" height="13" aria-hidden="true"><rect x="5.5" y="5.5" width="8" height="8" rx="1.5" /><path d="M3.5 10.5h-1v-8h8v1" /></svg>`}</button>`;
}

/** Every `Ago` on the page; one clock keeps them true, whatever draws them. */
const times = new Map();
setInterval(() => {
  if (document.hidden) return;
  for (const [place, at] of times) {
    const text = ago(at);
    if (place.firstChild && place.firstChild.data !== text) place.firstChild.data = text;
  }
}, 1000);

/** How long ago; it keeps itself true. */
export function Ago({ at }) {
  const place = useRef(null);
  useEffect(() => {
    const here = place.current;
    if (!here) return undefined;
    times.set(here, at);
    return () => times.delete(here);
  }, [at]);
  return at ? html`<time ref=${place} class="num" dateTime=${new Date(at * 1000).toISOString()} title=${clock(at)}>${ago(at)}</time>` : html`<span class="soft">–</span>`;
}

const share = (part, whole) => (whole > 0 ? Math.max(0, Math.min(1, part / whole)) : 0);

/** Used and offered as parts of a whole. */
export function Bar({ label, used = 0, offered = 0, total = 0 }) {
  const text = `${label}: ${percent(used, total)} used, ${percent(offered, total)} offered`;
  return html`<div class="bar" role="img" aria-label=${text} title=${text}>
    <i class="used" style=${{ width: `${share(used, total) * 100}%` }}></i><i class="offered" style=${{ width: `${share(offered, total) * 100}%` }}></i></div>`;
}

/** Rows of amounts with a bar each: `use` has used, offered and total. */
export function Uses({ use }) {
  const shown = AMOUNTS.filter(([key]) => key !== 'gpus' || use.total?.gpus);
  return html`<dl class="uses">${shown.map(([key, name, text]) => html`<div key=${key}>
    <dt>${name}</dt><dd><b class="num">${text(use.used[key])}</b> <span class="soft num">of ${text(use.total[key])}${use.offered[key] > 0 && `, ${text(use.offered[key])} offered`}</span>
    <${Bar} label=${name} used=${use.used[key]} offered=${use.offered[key]} total=${use.total[key]} /></dd></div>`)}</dl>`;
}

export const Legend = () => html`<p class="legend" aria-hidden="true"><span><i class="used"></i>used</span><span><i class="offered"></i>offered</span><span><i class="free"></i>free</span></p>`;

export function Panel({ title, note, actions, children, class: name = '', flush = false }) {
  return html`<section class="panel ${name}" aria-label=${title}><header><h2>${title}</h2>${note && html`<span class="soft num">${note}</span>`}<span class="grow"></span>${actions}</header>
    <div class=${flush ? '' : 'pad'}>${children}</div></section>`;
}

export function Facts({ of }) {
  const shown = of.filter((fact) => fact && fact[1] !== null && fact[1] !== undefined && fact[1] !== '' && fact[1] !== false);
  return html`<dl class="facts">${shown.map(([name, value]) => html`<div key=${name}><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>`;
}

/** Nothing to show: what to do about it. */
export function Empty({ children, command }) {
  return html`<div class="empty"><p>${children}</p>${command && html`<p class="command"><code>${command}</code><${Copy} text=${command} label="Copy the command" /></p>`}</div>`;
}

/** Something went wrong: what, and what can be done. */
export function Trouble({ error, again }) {
  const gone = error.status === 404;
  return html`<div class="trouble" role="alert"><p><b>${gone ? 'Not there.' : 'This could not be read.'}</b> ${error.message}</p>
    <p>${again && html`<button type="button" onclick=${again}>Try again</button>`}</p></div>`;
}

export const Waiting = () => html`<div class="waiting" aria-busy="true"><i></i><i></i><i></i><span class="hidden">Loading</span></div>`;

/** An answer of useRead: waits, tells of trouble, or hands over what came. */
export function Answer({ of, children }) {
  if (of.data) return children(of.data);
  return of.error ? html`<${Trouble} error=${of.error} again=${of.again} />` : html`<${Waiting} />`;
}

/** A button for what cannot be undone: asks first, says what became of it. */
export function Act({ label, question, doing, confirm = label, danger = true, disabled = false, children }) {
  const dialog = useRef(null);
  const [state, setState] = useState({});
  const go = async (event) => {
    event.preventDefault();
    setState({ busy: true });
    try {
      await doing(new FormData(event.target.closest('form')));
      dialog.current?.close();
      setState({ done: true });
      setTimeout(() => setState({}), 2500);
    } catch (error) {
      setState({ error: error.status === 501 ? 'This master cannot do this yet.' : error.message });
    }
  };
  return html`<button type="button" class=${danger ? 'danger' : ''} disabled=${disabled} onclick=${() => { setState({}); dialog.current.showModal(); }}>${state.done ? '✓ Asked for' : label}</button>
    <dialog ref=${dialog} aria-label=${label}><form method="dialog" onsubmit=${go}>
      <h2>${label}</h2><div class="question">${question}</div>${children}
      ${state.error && html`<p class="trouble" role="alert">${state.error}</p>`}
      <p class="buttons"><button type="button" onclick=${() => dialog.current.close()}>Cancel</button>
      <button type="submit" class=${danger ? 'danger solid' : 'solid'} disabled=${state.busy}>${confirm}</button></p></form></dialog>`;
}

/** `options`: [value, text] pairs, one of them chosen. */
export function Tabs({ options, value, choose, label }) {
  return html`<div class="tabs" role="group" aria-label=${label}>${options.map(([key, text]) => html`<button type="button" key=${key} aria-pressed=${String(key === value)} onclick=${() => choose(key)}>${text}</button>`)}</div>`;
}

export const Crumbs = ({ of }) => html`<nav class="crumbs" aria-label="Breadcrumb">${of.map(([text, href], index) => html`<span key=${index}>${href ? html`<a href=${href}>${text}</a>` : html`<span aria-current="page">${text}</span>`}</span>`)}</nav>`;
