// Offers that wait for an answer.
import { html, useState } from '../vendor/preact-htm.js';
import { agentPath, frameworkPath, megabytes, number, resources, shortId } from '../format.js';
import { Empty, Panel } from '../parts.js';
import { setQuery } from '../router.js';
import { List, Search } from '../table.js';

const COLUMNS = [
  { key: 'host', title: 'Agent', sort: 'host', class: 'main', cell: (offer) => html`<a href=${agentPath(offer.agent_id)} title=${offer.agent_id}>${offer.host || shortId(offer.agent_id)}</a><span class="under mono" title=${offer.id}>${shortId(offer.id)}</span>` },
  { key: 'framework', title: 'Framework', sort: 'framework', cell: (offer) => html`<a href=${frameworkPath(offer.framework_id)}>${offer.framework || shortId(offer.framework_id)}</a>` },
  { key: 'role', title: 'Role', sort: 'role', class: 'wide', cell: (offer) => offer.role },
  { key: 'cpus', title: 'CPUs', sort: 'cpus', first: 'desc', class: 'num', cell: (offer) => number(offer.amounts.cpus) },
  { key: 'mem', title: 'Memory', sort: 'mem', first: 'desc', class: 'num', cell: (offer) => megabytes(offer.amounts.mem) },
  { key: 'all', title: 'All of it', class: 'wide num', cell: (offer) => html`<span title=${resources(offer.resources)}>${resources(offer.resources)}</span>` },
];

export function Offers({ query }) {
  const [total, setTotal] = useState(0);
  const q = query.get('q') ?? '';
  const empty = () => html`<${Empty}>${q ? 'No offer fits.' : 'No offer is out. Offers are made when an agent has something free and a framework wants it; most are answered within milliseconds.'}<//>`;
  return html`<h1>Offers</h1><div class="tools"><${Search} value=${q} change=${(text) => setQuery('q', text)} label="Filter offers" placeholder="host, framework, role, id" /></div>
    <${Panel} title="Offers" note=${number(total)} flush><${List} read=${`/ui/offers?${new URLSearchParams(q ? { q } : {})}`} columns=${COLUMNS} rowKey=${(offer) => offer.id} open=${(offer) => agentPath(offer.agent_id)} label="Offers" empty=${(data) => { if (total) setTotal(0); return empty(data); }} filled=${(data) => setTotal(data.total)} height=${54} tall order=${['host', 'asc']} /><//>`;
}
