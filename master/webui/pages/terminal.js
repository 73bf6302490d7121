// A terminal in a task's container, over the agent's own API and through the master: an agent behind NAT has one, too.
import { html, useEffect, useRef, useState } from '../vendor/preact-htm.js';
import { taskPath } from '../format.js';
import { useRead } from '../live.js';
import { Answer, Crumbs, Panel } from '../parts.js';
import { open } from '../session.js';

export function TerminalPage({ framework, id }) {
  const answer = useRead(`/ui/task?framework=${encodeURIComponent(framework)}&id=${encodeURIComponent(id)}`);
  return html`<${Crumbs} of=${[['Tasks', '#/tasks'], [id, taskPath({ framework_id: framework, id })], ['Terminal']]} /><${Answer} of=${answer}>${(data) => html`<${Shown} agent=${data.row.agent_id} container=${containerOf(data.task)} name=${data.row.name || id} />`}<//>`;
}

/** The container of a task, as its latest status names it. */
export const containerOf = (task) => [...(task.statuses ?? [])].reverse().map((status) => status.container_status?.container_id).find(Boolean) ?? null;

/**
 * The terminal writes its rules into style elements, which the page's policy refuses. They are taken as sheets of the document instead:
 * while it is made, its style elements are plain ones whose text goes there.
 */
function withSheets(make) {
  const createElement = document.createElement;
  document.createElement = function create(name, ...rest) {
    if (name !== 'style') return createElement.call(this, name, ...rest);
    const element = createElement.call(this, 'span');
    const sheet = new CSSStyleSheet();
    element.hidden = true;
    document.adoptedStyleSheets.push(sheet);
    Object.defineProperty(element, 'textContent', { set: (text) => sheet.replaceSync(text) });
    const remove = element.remove.bind(element);
    element.remove = () => { document.adoptedStyleSheets = document.adoptedStyleSheets.filter((one) => one !== sheet); remove(); };
    return element;
  };
  try { return make(); } finally { delete document.createElement; }
}

function linked(name) {
  if (document.querySelector(`link[href="${name}"]`)) return;
  document.head.append(Object.assign(document.createElement('link'), { rel: 'stylesheet', href: name }));
}

function Shown({ agent, container, name }) {
  const box = useRef(null);
  const [end, setEnd] = useState(null);
  const [turn, again] = useState(0);
  const parent = container && JSON.stringify(container);
  useEffect(() => {
    if (!parent) return undefined;
    let [gone, close] = [false, () => {}];
    setEnd(null);
    linked('/assets/vendor/xterm.css');
    Promise.all([import('../vendor/xterm.js'), import('../vendor/xterm-fit.js')]).then(([{ Terminal }, { FitAddon }]) => {
      if (gone) return;
      const terminal = new Terminal({ cursorBlink: true, fontSize: 14, fontFamily: 'ui-monospace, monospace', screenReaderMode: true });
      const fit = new FitAddon();
      terminal.loadAddon(fit);
      withSheets(() => terminal.open(box.current));
      fit.fit();
      terminal.focus();
      const session = open({
        agent, parent: JSON.parse(parent), at: { rows: terminal.rows, columns: terminal.cols }, print: (bytes) => terminal.write(bytes),
        ended: (text, error = null) => gone || setEnd({ text, bad: error !== null }),
      });
      terminal.onData(session.type);
      terminal.onResize(({ rows, cols }) => session.resize({ rows, columns: cols }));
      const watch = new ResizeObserver(() => fit.fit());
      watch.observe(box.current);
      close = () => { watch.disconnect(); session.close(); terminal.dispose(); };
    }).catch((error) => gone || setEnd({ text: error.message, bad: true }));
    return () => { gone = true; close(); };
  }, [agent, parent, turn]);
  if (!parent) return html`<p class="notice">This task has no container that a terminal could be opened in: it does not run yet, or its executor does not say.</p>`;
  return html`<h1>${name}</h1><${Panel} title="Terminal" note="a shell beside the task; it ends when you leave this page" flush actions=${end && html`<button type="button" onclick=${() => again(turn + 1)}>New session</button>`}>
    ${end && html`<p class="notice ${end.bad ? 'bad' : ''}" role="status">${end.text}</p>`}<div class="terminal" ref=${box}></div><//>`;
}
