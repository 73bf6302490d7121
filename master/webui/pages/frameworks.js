// Frameworks: who asks for resources.
import { html, useState } from '../vendor/preact-htm.js';
import { frameworkPath, megabytes, number, percent, shortId } from '../format.js';
import { Ago, Empty, Panel, State } from '../parts.js';
import { setQuery } from '../router.js';
import { Choices, List, Search } from '../table.js';

const COLUMNS = [
  { key: 'name', title: 'Name', sort: 'name', class: 'main', cell: (one) => html`<a href=${frameworkPath(one.id)}>${one.name || 'without a name'}</a><span class="under mono" title=${one.id}>${shortId(one.id)}</span>` },
  { key: 'state', title: 'State', sort: 'state', cell: (one) => html`<${State} state=${one.state} />` },
  { key: 'roles', title: 'Roles', class: 'wide', cell: (one) => html`<span title=${one.roles.join(', ')}>${one.roles.join(', ')}</span>` },
  { key: 'user', title: 'User', sort: 'user', class: 'wide', cell: (one) => one.user },
  { key: 'tasks', title: 'Tasks', sort: 'tasks', first: 'desc', class: 'num', cell: (one) => number(one.tasks) },
  { key: 'cpus', title: 'CPUs', sort: 'cpus', first: 'desc', class: 'wide num', cell: (one) => number(one.used.cpus) },
  { key: 'mem', title: 'Memory', sort: 'mem', first: 'desc', class: 'wide num', cell: (one) => megabytes(one.used.mem) },
  { key: 'share', title: 'Share', sort: 'share', first: 'desc', class: 'num', cell: (one) => percent(one.share, 1) },
  { key: 'registered', title: 'Since', sort: 'registered', first: 'desc', class: 'wide num', cell: (one) => html`<${Ago} at=${one.registered} />` },
];

export function Frameworks({ query }) {
  const [facts, setFacts] = useState({ total: 0, counts: {} });
  const [q, state] = [query.get('q') ?? '', (query.get('state') ?? '').split(',').filter(Boolean)];
  const wanted = new URLSearchParams();
  if (q) wanted.set('q', q);
  if (state.length) wanted.set('state', state.join(','));
  const filled = (data) => { if (data.total !== facts.total || JSON.stringify(data.counts) !== JSON.stringify(facts.counts)) setFacts(data); };
  const empty = () => (q || state.length ? html`<${Empty}>No framework fits. Take words or states away to see more.<//>`
    : html`<${Empty} command=${`mezzo run --master=${location.host} -- echo "hello, world"`}>No framework has subscribed. Any scheduler of Mesos' v1 API can, at ${location.origin}/api/v1/scheduler; the smallest one is a command:<//>`);
  return html`<h1>Frameworks</h1>
    <div class="tools"><${Search} value=${q} change=${(text) => setQuery('q', text)} label="Filter frameworks" placeholder="name, id, role, user, host" />
      <${Choices} counts=${facts.counts} chosen=${state} change=${(states) => setQuery('state', states.join(','))} name=${(key) => html`<${State} state=${key} />`} label="States" /></div>
    <${Panel} title="Frameworks" note=${number(facts.total)} flush><${List} read=${`/ui/frameworks?${wanted}`} columns=${COLUMNS} rowKey=${(one) => one.id} open=${(one) => frameworkPath(one.id)} label="Frameworks" empty=${empty} filled=${filled} height=${54} tall order=${['registered', 'desc']} /><//>`;
}
