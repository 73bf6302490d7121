// Agents: where they are, how they are, what they carry.
import { html, useState } from '../vendor/preact-htm.js';
import { agentPath, megabytes, number, shortId } from '../format.js';
import { Ago, Bar, Empty, Panel, State } from '../parts.js';
import { setQuery } from '../router.js';
import { Choices, List, Search } from '../table.js';
import { place } from './overview.js';

const amount = (key, title, text) => ({
  key, title, sort: key, first: 'desc', class: 'wide num bars', cell: (agent) => html`<span>${text(agent.used[key])} <span class="soft">/ ${text(agent.total[key])}</span></span><${Bar} label=${title} used=${agent.used[key]} offered=${agent.offered[key]} total=${agent.total[key]} />`,
});

const COLUMNS = [
  { key: 'host', title: 'Host', sort: 'host', class: 'main', cell: (agent) => html`<a href=${agentPath(agent.id)}>${agent.host}</a><span class="under mono" title=${agent.id}>${shortId(agent.id)}</span>` },
  { key: 'state', title: 'State', sort: 'state', cell: (agent) => html`<${State} state=${agent.state} />` },
  { key: 'zone', title: 'Region / zone', sort: 'zone', class: 'wide', cell: place },
  { key: 'tasks', title: 'Tasks', sort: 'tasks', first: 'desc', class: 'num', cell: (agent) => number(agent.tasks) },
  amount('cpus', 'CPUs', number), amount('mem', 'Memory', megabytes), amount('disk', 'Disk', megabytes),
  { key: 'registered', title: 'Registered', sort: 'registered', first: 'desc', class: 'wide num', cell: (agent) => html`<${Ago} at=${agent.registered} />` },
];

export function Agents({ query }) {
  const [facts, setFacts] = useState({ total: 0, counts: {}, recovered: 0, unreachable: 0 });
  const [q, state] = [query.get('q') ?? '', (query.get('state') ?? '').split(',').filter(Boolean)];
  const wanted = new URLSearchParams();
  if (q) wanted.set('q', q);
  if (state.length) wanted.set('state', state.join(','));
  const told = ({ total, counts, recovered, unreachable }) => JSON.stringify([total, counts, recovered, unreachable]);
  const filled = (data) => { if (told(data) !== told(facts)) setFacts(data); };
  const empty = () => (q || state.length ? html`<${Empty}>No agent fits. Take words or states away to see more.<//>`
    : html`<${Empty} command=${`mezzo agent --master=${location.host} --work_dir=/var/lib/mezzo`}>No agent has registered. Start one, on this machine or behind any NAT: it dials out to the master, and nothing needs to reach it.<//>`);
  return html`<h1>Agents</h1>
    <div class="tools"><${Search} value=${q} change=${(text) => setQuery('q', text)} label="Filter agents" placeholder="host, id, zone, attribute:value" />
      <${Choices} counts=${facts.counts} chosen=${state} change=${(states) => setQuery('state', states.join(','))} name=${(key) => html`<${State} state=${key} />`} label="States" /></div>
    ${(facts.recovered > 0 || facts.unreachable > 0) && html`<p class="notice">${[facts.recovered > 0 && `${number(facts.recovered)} of the registry have not come back since this master leads`, facts.unreachable > 0 && `${number(facts.unreachable)} do not answer and are held to be unreachable`].filter(Boolean).join('; ')}.</p>`}
    <${Panel} title="Agents" note=${number(facts.total)} flush><${List} read=${`/ui/agents?${wanted}`} columns=${COLUMNS} rowKey=${(agent) => agent.id} open=${(agent) => agentPath(agent.id)} label="Agents" empty=${empty} filled=${filled} height=${54} tall order=${['host', 'asc']} /><//>`;
}
