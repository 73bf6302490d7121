// The frame around the pages: where one is, how the connection stands, and the keys.
import { html, render, useEffect, useRef, useState } from './vendor/preact-htm.js';
import { Ago, Empty } from './parts.js';
import { remember } from './leader.js';
import { start, useLive, useRead } from './live.js';
import { LogIn, Who, look, refused, useWho } from './login.js';
import { useRoute } from './router.js';
import { Overview } from './pages/overview.js';
import { Tasks } from './pages/tasks.js';
import { Task } from './pages/task.js';
import { Agents } from './pages/agents.js';
import { Agent } from './pages/agent.js';
import { Frameworks } from './pages/frameworks.js';
import { Framework } from './pages/framework.js';
import { Roles } from './pages/roles.js';
import { Offers } from './pages/offers.js';
import { Topology } from './pages/topology.js';
import { Maintenance } from './pages/maintenance.js';
import { Explain } from './pages/explain.js';
import { Files } from './pages/files.js';
import { File } from './pages/file.js';
import { TerminalPage } from './pages/terminal.js';

const PAGES = [
  ['', 'Overview', 'o', Overview], ['tasks', 'Tasks', 't', Tasks], ['agents', 'Agents', 'a', Agents], ['frameworks', 'Frameworks', 'f', Frameworks],
  ['roles', 'Roles & quota', 'r', Roles], ['offers', 'Offers', 'e', Offers], ['topology', 'Topology', 'm', Topology],
  ['maintenance', 'Maintenance', 'n', Maintenance], ['explain', 'Explain', 'w', Explain],
];
const KEYS = [
  ['/', 'search tasks, or the list that is open'], ['j  k', 'next, previous row'], ['Enter', 'open the row'], ['g then a letter', PAGES.map(([, name, key]) => `${key} ${name}`).join(', ')],
  ['d', 'dark, light, or as the system has it'], ['Esc', 'close, clear, leave a field'], ['?', 'this help'],
];

function pageOf({ parts, query, hash }) {
  const [first = '', second, third, fourth] = parts;
  if (first === 'tasks' && fourth === 'terminal') return html`<${TerminalPage} framework=${second} id=${third} key=${hash} />`;
  if (first === 'tasks' && third !== undefined) return html`<${Task} framework=${second} id=${third} key=${hash} />`;
  if (first === 'agents' && third === 'files') return html`<${Files} agent=${second} dir=${query.get('path') ?? ''} />`;
  if (first === 'agents' && third === 'file') return html`<${File} agent=${second} file=${query.get('path') ?? ''} key=${hash} />`;
  if (first === 'agents' && second) return html`<${Agent} id=${second} key=${second} />`;
  if (first === 'frameworks' && second) return html`<${Framework} id=${second} key=${second} />`;
  const page = PAGES.find(([name]) => name === first);
  if (page && parts.length <= 1) return html`<${page[3]} query=${query} key=${first} />`;
  return html`<section class="panel"><${Empty}>There is no page of this address. <a href="#/">To the overview</a><//></section>`;
}

const THEMES = ['', 'light', 'dark'];
const THEME_NAMES = { '': 'as the system', light: 'light', dark: 'dark' };
const themeKey = 'mezzo-theme';
const stored = () => { try { return localStorage.getItem(themeKey) ?? ''; } catch { return ''; } };

function useTheme() {
  const [theme, setTheme] = useState(stored);
  useEffect(() => {
    document.documentElement.dataset.theme = theme;
    try { localStorage.setItem(themeKey, theme); } catch { /* a browser that keeps nothing */ }
  }, [theme]);
  return [theme, () => setTheme(THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length])];
}

const MASTERS_MS = 10000; // between two looks at who stands for election
const SAYINGS = { connecting: 'connecting', live: 'live', lost: 'no answer, trying again', moving: 'following the leader' };

function Connection() {
  const { status, since } = useLive();
  const { refused: closed } = useWho();
  const { data } = useRead('/ui/masters', MASTERS_MS);
  useEffect(() => remember(data?.masters.map((master) => master.address)), [data]);
  if (closed) return html`<span class="pill" role="status" id="link">not logged in</span>`;
  return html`<span class="pill ${status}" role="status" id="link">${SAYINGS[status]}</span>${status === 'lost' && html`<p class="banner" role="alert">The master does not answer (<${Ago} at=${since / 1000} />). What is shown may be old. It is asked again by itself; if it stays away, look at its log, or open another master of the cluster.</p>`}`;
}

function App() {
  const route = useRoute();
  const [theme, turn] = useTheme();
  const help = useRef(null);
  const main = useRef(null);
  const { refused: closed } = useWho();
  const place = route.parts.join('/');
  useEffect(() => {
    main.current.focus({ preventScroll: true });
    scrollTo(0, 0);
    const name = PAGES.find(([part]) => part === (route.parts[0] ?? ''))?.[1];
    document.title = ['Mezzo', name, route.parts.at(-1) !== route.parts[0] && route.parts.at(-1)].filter(Boolean).reverse().join(' · ');
  }, [place]);
  useEffect(() => {
    let going = 0;
    const keys = (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      if (/INPUT|TEXTAREA|SELECT/.test(event.target.tagName) || event.target.closest?.('dialog[open]')) return;
      const page = PAGES.find(([, , key]) => key === event.key);
      if (going && page && Date.now() - going < 1500) location.hash = `#/${page[0]}`;
      else if (event.key === '/') (document.querySelector('main .search') ?? document.querySelector('header .search')).focus();
      else if (event.key === '?') help.current.showModal();
      else if (event.key === 'd') turn();
      else if (event.key !== 'g') return;
      going = event.key === 'g' ? Date.now() : 0;
      event.preventDefault();
    };
    addEventListener('keydown', keys);
    return () => removeEventListener('keydown', keys);
  });
  const find = (event) => {
    if (event.key === 'Escape') event.target.blur();
    if (event.key !== 'Enter' || !event.target.value.trim()) return;
    location.hash = `#/tasks?q=${encodeURIComponent(event.target.value.trim())}`;
    event.target.value = '';
    event.target.blur();
  };
  return html`<a class="skip" href="#main" onclick=${(event) => { event.preventDefault(); main.current.focus(); }}>To the content</a>
    <header class="top"><a class="brand" href="#/"><img src="/assets/icon.svg" alt="" width="26" height="26" /><span>Mezzo</span></a>
      <input class="search" type="search" placeholder="Find tasks   /" aria-label="Find tasks" onkeydown=${find} />
      <${Connection} />
      <${Who} enter=${refused} />
      <button type="button" class="icon" onclick=${turn} title=${`Colours: ${THEME_NAMES[theme]} (d)`} aria-label=${`Colours: ${THEME_NAMES[theme]}`}>${theme === 'dark' ? '☾' : theme === 'light' ? '☀' : '◐'}</button>
      <button type="button" class="icon" onclick=${() => help.current.showModal()} title="Keys (?)" aria-label="Keys">?</button></header>
    <nav class="side" aria-label="Pages">${PAGES.map(([part, name]) => html`<a key=${part} href=${`#/${part}`} aria-current=${(route.parts[0] ?? '') === part ? 'page' : null}>${name}</a>`)}</nav>
    <main id="main" tabindex="-1" ref=${main}>${closed ? html`<${LogIn} />` : pageOf(route)}</main>
    <dialog ref=${help} class="help" aria-label="Keys"><form method="dialog"><h2>Keys</h2><dl>${KEYS.map(([key, what]) => html`<div key=${key}><dt><kbd>${key}</kbd></dt><dd>${what}</dd></div>`)}</dl><p class="buttons"><button class="solid">Close</button></p></form></dialog>`;
}

const root = document.getElementById('app');
root.replaceChildren();
render(html`<${App} />`, root);
look();
start();
