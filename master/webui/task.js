// One task: what it is, what became of it, and what it printed, read through the master.
import { fill, h } from './dom.js';
import { stateText } from './overview.js';
import { clock, resources } from './text.js';

const CHUNK = 65536; // the agent's own limit for one read
const KEPT = 512 * 1024; // characters of output kept in the page

export function taskPage(frameworkId, taskId, ask) {
  const title = h('h1', {}, taskId);
  const facts = h('dl', {});
  const history = h('div', { class: 'scroll' });
  const output = h('pre', { tabindex: '0', 'aria-label': 'Output' });
  const tabs = h('div', { class: 'tabs' });
  let file = 'stdout';
  let offset = 0;
  let task = null;
  let left = false;

  const choose = (name) => { file = name; offset = 0; fill(output); drawTabs(); tail(); };
  function drawTabs() {
    fill(tabs, ['stdout', 'stderr'].map((name) => h('button', { 'aria-pressed': String(name === file), onclick: () => choose(name) }, name)),
      task && h('a', { href: `${base()}/files/download?path=${encodeURIComponent(path())}` }, 'download'));
  }
  const executor = () => task.executor_id || task.id;
  const base = () => `/agent/${encodeURIComponent(task.slave_id)}`;
  const path = () => `/frameworks/${frameworkId}/executors/${executor()}/runs/latest/${file}`;

  let reading = false;
  async function tail() {
    if (reading || !task || left) return;
    reading = true;
    const name = file;
    try {
      for (;;) {
        const piece = await ask(`${base()}/files/read?path=${encodeURIComponent(path())}&offset=${offset}&length=${CHUNK}`);
        if (name !== file || left || !piece.data) break;
        const stick = output.scrollTop + output.clientHeight >= output.scrollHeight - 4;
        offset += new TextEncoder().encode(piece.data).length;
        output.textContent = (output.textContent + piece.data).slice(-KEPT);
        if (stick) output.scrollTop = output.scrollHeight;
      }
      if (!offset) output.textContent = '';
    } catch (error) {
      if (!offset) output.textContent = `The output cannot be read: ${error.message}`;
    } finally {
      reading = false;
      if (name !== file) tail();
    }
  }

  return {
    element: h('div', {}, h('p', {}, h('a', { href: '#/' }, '← all tasks')), title,
      h('section', {}, h('h2', {}, 'Task'), facts), h('section', {}, h('h2', {}, 'History'), history),
      h('section', {}, h('h2', {}, 'Output'), tabs, h('div', { class: 'pad' }, output))),
    leave() { left = true; },
    async update() {
      const answer = await ask(`/tasks?framework_id=${encodeURIComponent(frameworkId)}&task_id=${encodeURIComponent(taskId)}`);
      const found = answer.tasks?.[0];
      if (!found) return fill(facts, h('dt', {}, 'State'), h('dd', {}, 'The master does not know this task any more.'));
      const first = !task;
      task = found;
      if (first) drawTabs();
      title.textContent = task.name || task.id;
      fill(facts, [['State', stateText(task.state)], ['Task', task.id], ['Framework', frameworkId], ['Agent', task.slave_id], ['Role', task.role],
        ['Executor', executor()], ['Resources', resources(task.resources)]].map(([name, value]) => [h('dt', {}, name), h('dd', {}, value)]));
      fill(history, h('table', {}, h('tbody', {}, (task.statuses ?? []).map((status) => h('tr', {},
        h('td', {}, stateText(status.state)), h('td', { class: 'num' }, clock(status.timestamp)))))));
      await tail();
    },
  };
}
