// Tasks: found, narrowed, sorted, however many there are.
import { html, useState } from '../vendor/preact-htm.js';
import { agentPath, frameworkPath, number, resources, shortId, stateOf, taskPath } from '../format.js';
import { Ago, Empty, Panel, State } from '../parts.js';
import { setQuery } from '../router.js';
import { Choices, List, Search } from '../table.js';

const named = (task) => (task.name && task.name !== task.id ? task.name : task.id);

export const TASK_COLUMNS = [
  { key: 'name', title: 'Task', sort: 'name', class: 'main', cell: (task) => html`<a href=${taskPath(task)} title=${task.id}>${named(task)}</a>${named(task) !== task.id && html`<span class="under mono">${task.id}</span>`}` },
  { key: 'state', title: 'State', sort: 'state', cell: (task) => html`<${State} state=${task.state} healthy=${task.healthy} />` },
  { key: 'framework', title: 'Framework', sort: 'framework', class: 'wide', cell: (task) => html`<a href=${frameworkPath(task.framework_id)} title=${task.framework_id}>${task.framework || shortId(task.framework_id)}</a>` },
  { key: 'host', title: 'Agent', sort: 'host', class: 'wide', cell: (task) => html`<a href=${agentPath(task.agent_id)} title=${task.agent_id}>${task.host || shortId(task.agent_id)}</a>` },
  { key: 'resources', title: 'Resources', class: 'wide num', cell: (task) => html`<span title=${resources(task.resources)}>${resources(task.resources)}</span>` },
  { key: 'updated', title: 'Changed', sort: 'updated', first: 'desc', class: 'num', cell: (task) => html`<${Ago} at=${task.updated} />` },
];

/** The list of tasks that `of` narrows (`framework=…`), inside another page or alone. */
export function TaskList({ of = '', q = '', state = [], label = 'Tasks', tall = false, filled, without = [] }) {
  const query = new URLSearchParams(of);
  if (q) query.set('q', q);
  if (state.length) query.set('state', state.join(','));
  const empty = () => (q || state.length ? html`<${Empty}>No task fits. Take words or states away to see more.<//>`
    : of ? html`<${Empty}>There are no tasks here.<//>`
      : html`<${Empty} command=${`mezzo run --master=${location.host} -- echo "hello, world"`}>No task has run yet. Run one from a terminal:<//>`);
  return html`<${List} read=${`/ui/tasks?${query}`} columns=${TASK_COLUMNS.filter((column) => !without.includes(column.key))} rowKey=${(task) => `${task.framework_id} ${task.id}`} open=${taskPath} label=${label} empty=${empty} filled=${filled} tall=${tall} order=${['updated', 'desc']} />`;
}

export function Tasks({ query }) {
  const [facts, setFacts] = useState({ total: 0, counts: {} });
  const [q, state] = [query.get('q') ?? '', (query.get('state') ?? '').split(',').filter(Boolean)];
  const of = ['framework', 'agent', 'role'].filter((name) => query.get(name)).map((name) => `${name}=${encodeURIComponent(query.get(name))}`).join('&');
  const filled = (data) => { if (data.total !== facts.total || JSON.stringify(data.counts) !== JSON.stringify(facts.counts)) setFacts(data); };
  return html`<h1>Tasks</h1>
    <div class="tools"><${Search} value=${q} change=${(text) => setQuery('q', text)} label="Filter tasks" placeholder="name, id, framework, host" />
      <${Choices} counts=${facts.counts} chosen=${state} change=${(states) => setQuery('state', states.join(','))} name=${(key) => html`<${State} state=${key} />`} label="States" /></div>
    ${of && html`<p class="soft">Only of ${decodeURIComponent(of.replaceAll('&', ', '))}. <a href="#/tasks">All tasks</a></p>`}
    <${Panel} title="Tasks" note=${`${number(facts.total)}${state.length ? ` ${state.map((one) => stateOf(one)[1]).join(', ')}` : ''}`} flush><${TaskList} of=${of} q=${q} state=${state} tall filled=${filled} /><//>`;
}
