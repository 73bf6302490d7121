// One framework: what it holds, how it stands, its tasks.
import { html } from '../vendor/preact-htm.js';
import { AMOUNTS, duration, number, path, percent, reason, shortId } from '../format.js';
import { form, useRead } from '../live.js';
import { Act, Ago, Answer, Crumbs, Facts, Id, Panel, State } from '../parts.js';
import { Labels } from './task.js';
import { TaskList } from './tasks.js';

export function Framework({ id }) {
  const answer = useRead(`/ui/framework?id=${encodeURIComponent(id)}`);
  return html`<${Crumbs} of=${[['Frameworks', '#/frameworks'], [shortId(id)]]} /><${Answer} of=${answer}>${(data) => html`<${Shown} data=${data} />`}<//>`;
}

/** Only addresses of the web become links: what a framework says of itself is not to be trusted. */
const isWeb = (url) => /^https?:[/]{2}/i.test(url);

function Shown({ data }) {
  const { row, info } = data;
  const ended = row.state === 'completed';
  return html`<div class="title"><h1>${row.name || shortId(row.id)}</h1><${State} state=${row.state} /><span class="grow"></span>
      ${!ended && html`<${Act} label="Tear down" confirm="End it and all its tasks" doing=${() => form('/teardown', { frameworkId: row.id })} question=${html`<p>All ${number(row.tasks)} tasks of <b>${row.name || row.id}</b> are killed, and it may never subscribe again under this id.</p>`} />`}</div>
    ${row.state === 'disconnected' && html`<p class="notice">Its scheduler is not connected. Its tasks go on; if it does not come back within ${duration(info.failover_timeout ?? 0)}, they are killed and it is completed.</p>`}
    ${row.state === 'recovered' && html`<p class="notice">Agents brought its tasks; its scheduler has not come back since this master leads.</p>`}
    <div class="columns">
      <${Panel} title="Holds"><dl class="uses">${AMOUNTS.filter(([key]) => key !== 'gpus' || row.used.gpus).map(([key, name, text]) => html`<div key=${key}><dt>${name}</dt><dd><b class="num">${text(row.used[key])}</b>${row.offered[key] > 0 && html` <span class="soft num">and ${text(row.offered[key])} offered</span>`}</dd></div>`)}
        <div><dt>Dominant share</dt><dd><b class="num">${percent(row.share, 1)}</b> <span class="soft">of the cluster, in the resource that it holds most of</span></dd></div></dl>
        <${Labels} labels=${info.labels?.labels} /><//>
      <${Panel} title="Framework"><${Facts} of=${[
        ['Id', html`<${Id} id=${row.id} />`], ['Roles', html`<ul class="inline">${row.roles.map((role) => html`<li key=${role}><a href=${`#/roles?role=${encodeURIComponent(role)}`}>${role}</a>${row.suppressed.includes(role) && html` <span class="soft">(suppressed: wants no offers)</span>`}</li>`)}</ul>`],
        ['User', row.user], ['Principal', row.principal], ['Host', row.host], ['Its own page', row.webui_url && (isWeb(row.webui_url) ? html`<a href=${row.webui_url} rel="noreferrer noopener" target="_blank">${row.webui_url}</a>` : row.webui_url)],
        ['Subscribed', html`<${Ago} at=${row.registered} />`], ['Again', row.reregistered !== row.registered && html`<${Ago} at=${row.reregistered} />`], ['Completed', row.unregistered > 0 && html`<${Ago} at=${row.unregistered} />`],
        ['Failover timeout', duration(info.failover_timeout ?? 0)], ['Checkpoints', info.checkpoint ? 'yes' : 'no'], ['Capabilities', (info.capabilities ?? []).map((one) => reason(one.type)).join(', ')],
        ['Offers out', html`${number(data.offers)} ${!ended && html`<a href=${`#/explain?framework=${encodeURIComponent(row.id)}`}>why not more?</a>`}`],
      ]} /><//>
    </div>
    ${data.executors.length > 0 && html`<${Panel} title="Executors" note=${number(data.executors.length)}><ul class="inline">${data.executors.map((one) => html`<li key=${`${one.agent_id} ${one.info.executor_id.value}`}><a href=${path('agents', one.agent_id)} title=${one.agent_id}>${one.info.name || one.info.executor_id.value}</a></li>`)}</ul><//>`}
    <${Panel} title="Tasks" note=${`${number(row.tasks)} active`} flush><${TaskList} of=${`framework=${encodeURIComponent(row.id)}`} without=${['framework']} label="Tasks of this framework" /><//>`;
}
