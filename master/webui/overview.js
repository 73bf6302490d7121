// The overview: totals, agents, frameworks, tasks.
import { bar, fill, h } from './dom.js';
import { ago, clock, megabytes, number, resources, taskState } from './text.js';

const SCALARS = [['cpus', 'CPUs', number], ['mem', 'Memory', megabytes], ['disk', 'Disk', megabytes]];

const sum = (agents, part, name) => agents.reduce((total, agent) => total + (agent[part]?.[name] ?? 0), 0);
const share = (part, whole) => (whole > 0 ? part / whole : 0);

export const taskLink = (task) => `#/task/${encodeURIComponent(task.framework_id)}/${encodeURIComponent(task.id)}`;

export function stateText(state) {
  const [text, kind] = taskState(state);
  return h('span', { class: `state ${kind}` }, text);
}

export function overview() {
  const cards = h('div', { class: 'cards' });
  const agents = h('section', { 'aria-label': 'Agents' });
  const frameworks = h('section', { 'aria-label': 'Frameworks' });
  const filter = h('input', { type: 'search', placeholder: 'filter tasks', 'aria-label': 'Filter tasks' });
  const rows = h('div', { class: 'scroll' });
  const count = h('span', { class: 'muted' });
  const tasks = h('section', { 'aria-label': 'Tasks' }, h('h2', {}, 'Tasks', count, filter), rows);
  let last = null;
  filter.addEventListener('input', () => last && drawTasks(rows, count, last, filter.value));
  return {
    element: h('div', {}, cards, tasks, agents, frameworks),
    update(data, changed) {
      last = data;
      if (!changed) return;
      drawCards(cards, data.summary);
      drawTasks(rows, count, data, filter.value);
      drawAgents(agents, data.summary.slaves ?? []);
      drawFrameworks(frameworks, data.summary.frameworks ?? []);
    },
  };
}

function drawCards(cards, summary) {
  const agents = summary.slaves ?? [];
  const running = agents.reduce((total, agent) => total + (agent.TASK_RUNNING ?? 0), 0);
  const active = agents.filter((agent) => agent.active).length;
  const away = agents.length - active;
  fill(cards,
    card('Running tasks', number(running)),
    card('Agents', number(active), away ? `${away} away` : 'all here'),
    SCALARS.map(([name, label, text]) => {
      const [total, used, offered] = ['resources', 'used_resources', 'offered_resources'].map((part) => sum(agents, part, name));
      return card(label, text(used), `of ${text(total)} used, ${text(offered)} offered`, [used, offered, total]);
    }));
}

function card(label, value, note = '', amounts = null) {
  return h('div', { class: 'card' },
    h('div', { class: 'label' }, label), h('div', { class: 'value' }, value), h('div', { class: 'note' }, note),
    amounts && usage(label, ...amounts));
}

function usage(label, used, offered, total) {
  const percent = (part) => `${Math.round(share(part, total) * 100)} %`;
  return bar(`${label}: ${percent(used)} used, ${percent(offered)} offered`, ['used', share(used, total)], ['offered', share(offered, total)]);
}

function table(columns, rows) {
  return h('div', { class: 'scroll' }, h('table', {},
    h('thead', {}, h('tr', {}, columns.map((column) => h('th', { scope: 'col' }, column)))), h('tbody', {}, rows)));
}

function drawTasks(place, count, { tasks, summary }, wanted) {
  const names = new Map((summary.frameworks ?? []).map((framework) => [framework.id, framework.name]));
  const hosts = new Map((summary.slaves ?? []).map((agent) => [agent.id, agent.hostname]));
  const text = wanted.trim().toLowerCase();
  const shown = tasks.filter((task) => !text || [task.id, task.name, task.state, names.get(task.framework_id), hosts.get(task.slave_id)]
    .some((field) => field?.toLowerCase().includes(text)));
  fill(count, text ? `${shown.length} of the latest ${tasks.length}` : tasks.length ? `the latest ${tasks.length}` : '');
  if (!tasks.length) return fill(place, empty('No task has run yet. Run one from a terminal:', `mezzo run --master=${location.host} -- echo "hello, world"`));
  if (!shown.length) return fill(place, empty('No task among the latest fits the filter.'));
  fill(place, table(['Task', 'State', 'Framework', 'Agent', 'Resources', 'Latest change'], shown.map((task) => {
    const latest = task.statuses?.at(-1)?.timestamp;
    return h('tr', {},
      h('td', { class: 'id', title: task.id }, h('a', { href: taskLink(task) }, task.name && task.name !== task.id ? `${task.name} (${task.id})` : task.id)),
      h('td', {}, stateText(task.state)),
      h('td', { title: task.framework_id }, names.get(task.framework_id) ?? task.framework_id),
      h('td', { title: task.slave_id }, hosts.get(task.slave_id) ?? task.slave_id),
      h('td', { class: 'num' }, resources(task.resources)),
      h('td', { class: 'num', title: clock(latest) }, ago(latest)));
  })));
}

function drawAgents(place, agents) {
  fill(place, h('h2', {}, 'Agents', h('span', { class: 'muted' }, number(agents.length))),
    agents.length ? table(['Host', 'State', 'Running', 'CPUs', 'Memory', 'Disk', 'Attributes', 'Registered'], agents.map((agent) => h('tr', {},
      h('td', { class: 'id', title: `${agent.id} ${agent.pid}` }, agent.hostname, h('br'), h('span', { class: 'muted' }, agent.id),
        agent.warning ? h('div', { class: 'warning', role: 'note' }, `⚠ ${agent.warning}`) : []),
      h('td', {}, h('span', { class: `state ${agent.active ? 'good' : 'wait'}` }, agent.active ? 'active' : agent.deactivated ? 'deactivated' : 'away')),
      h('td', { class: 'num' }, number(agent.TASK_RUNNING)),
      SCALARS.map(([name, label, text]) => h('td', { class: 'num' }, `${text(agent.used_resources?.[name])} / ${text(agent.resources?.[name])}`,
        usage(label, agent.used_resources?.[name], agent.offered_resources?.[name], agent.resources?.[name]))),
      h('td', {}, Object.entries(agent.attributes ?? {}).map(([name, value]) => `${name}:${value}`).join(', ')),
      h('td', { class: 'num', title: clock(agent.registered_time) }, ago(agent.registered_time)))))
      : empty('No agent has registered. Start one, on this machine or behind any NAT; it dials out:', `mezzo agent --master=${location.host} --work_dir=/var/lib/mezzo`));
}

function drawFrameworks(place, frameworks) {
  fill(place, h('h2', {}, 'Frameworks', h('span', { class: 'muted' }, number(frameworks.length))),
    frameworks.length ? table(['Name', 'State', 'Running', 'Used', 'Offered'], frameworks.map((framework) => h('tr', {},
      h('td', { class: 'id', title: framework.id }, framework.name, h('br'), h('span', { class: 'muted' }, framework.id)),
      h('td', {}, h('span', { class: `state ${framework.active ? 'good' : 'wait'}` }, framework.active ? 'active' : framework.connected ? 'inactive' : framework.recovered ? 'expected back' : 'away')),
      h('td', { class: 'num' }, number(framework.TASK_RUNNING)),
      h('td', { class: 'num' }, resources(framework.used_resources)),
      h('td', { class: 'num' }, resources(framework.offered_resources)))))
      : empty('No framework is subscribed. Point any Mesos v1 framework at', location.host));
}

function empty(text, command = '') {
  return h('div', { class: 'empty' }, h('p', {}, text), command && h('code', {}, command));
}
