// One task: what it is, what became of it, what it prints.
import { html } from '../vendor/preact-htm.js';
import { agentPath, clock, filePath, filesPath, frameworkPath, reason, resources, sandbox, shortId, stateOf, taskPath } from '../format.js';
import { form, useRead } from '../live.js';
import { containerOf } from './terminal.js';
import { Act, Ago, Answer, Crumbs, Facts, Id, Panel, State } from '../parts.js';
import { Tail } from '../tail.js';

export function Task({ framework, id }) {
  const answer = useRead(`/ui/task?framework=${encodeURIComponent(framework)}&id=${encodeURIComponent(id)}`);
  return html`<${Crumbs} of=${[['Tasks', '#/tasks'], [id]]} /><${Answer} of=${answer}>${(data) => html`<${Shown} data=${data} />`}<//>`;
}

const ENDED = new Set(['done', 'bad', 'off']);

function Shown({ data }) {
  const { row, task } = data;
  const ended = data.list === 'completed' || ENDED.has(stateOf(row.state)[2]);
  const kill = () => form('/kill-task', { frameworkId: row.framework_id, taskId: row.id });
  const latest = task.statuses?.at(-1);
  return html`<div class="title"><h1>${row.name || row.id}</h1><${State} state=${row.state} healthy=${row.healthy} /><span class="grow"></span>
      ${row.state === 'TASK_RUNNING' && containerOf(task) && html`<a class="button" href=${`${taskPath(row)}/terminal`}>Terminal</a>`}
      ${!ended && html`<${Act} label="Kill" confirm="Kill the task" doing=${kill} question=${html`<p>The task <b>${row.name || row.id}</b> is asked to end, and ended when its grace is over. Its framework is told, and may start another in its place.</p>`} />`}</div>
    ${row.message && stateOf(row.state)[2] === 'bad' && html`<p class="notice bad"><b>${reason(row.reason) || stateOf(row.state)[1]}.</b> ${row.message}</p>`}
    ${data.list === 'unreachable' && html`<p class="notice">Its agent does not answer the master. The task may well go on running there; what becomes of it is known when the agent is back.</p>`}
    <${Panel} title="Output" flush actions=${html`<a href=${filesPath(row.agent_id, sandbox(row))}>All files</a>`}><${Outputs} row=${row} ended=${ended} /><//>
    <div class="columns">
      <${Panel} title="Task"><${Facts} of=${[
        ['Id', html`<${Id} id=${row.id} />`],
        ['Framework', html`<a href=${frameworkPath(row.framework_id)}>${row.framework || shortId(row.framework_id)}</a>`],
        ['Agent', html`<a href=${agentPath(row.agent_id)}>${row.host || shortId(row.agent_id)}</a>${!data.agent_connected && !ended && html` <span class="soft">(not connected)</span>`}`],
        ['Role', row.role], ['Executor', row.executor_id || 'the agent itself (a command task)'],
        ['Resources', resources(row.resources)], ['Limits', task.limits && JSON.stringify(task.limits)], ['User', task.user],
        ['Health', latest?.healthy === undefined ? null : latest.healthy ? 'healthy' : 'unhealthy'],
        ['Addresses', addresses(task)], ['Ports', ports(task)],
      ]} /><${Labels} labels=${task.labels?.labels} /><//>
      <${Panel} title="History" flush><${History} statuses=${task.statuses ?? []} /><//>
    </div>
    ${(task.container || task.health_check || task.discovery) && html`<div class="columns">${[['Container', task.container], ['Health check', task.health_check], ['Discovery', task.discovery]].filter(([, value]) => value).map(([title, value]) => html`<${Panel} key=${title} title=${title}><pre class="json">${JSON.stringify(value, null, 2)}</pre><//>`)}</div>`}`;
}

function Outputs({ row, ended }) {
  const dir = sandbox(row);
  return html`<div class="outputs">${['stdout', 'stderr'].map((name) => html`<div key=${name}><header><h3>${name}</h3><span class="grow"></span><a href=${filePath(row.agent_id, `${dir}/${name}`)}>Open</a></header><${Tail} agent=${row.agent_id} file=${`${dir}/${name}`} brief=${true} still=${ended} /></div>`)}</div>`;
}

function History({ statuses }) {
  return html`<ol class="history">${[...statuses].reverse().map((status, index) => html`<li key=${`${status.state} ${status.timestamp} ${index}`}>
    <${State} state=${status.state} /> <span class="soft" title=${clock(status.timestamp)}><${Ago} at=${status.timestamp} /></span>
    <span class="soft">${[reason(status.reason), status.source && `told by the ${reason(status.source)}`].filter(Boolean).join(', ')}</span>
    ${status.message && html`<p class="said">${status.message}</p>`}</li>`)}</ol>`;
}

export function Labels({ labels }) {
  if (!labels?.length) return null;
  return html`<h3>Labels</h3><ul class="labels">${labels.map((label, index) => html`<li key=${index}><span class="soft">${label.key}</span>${label.value !== undefined && html` <b>${label.value}</b>`}</li>`)}</ul>`;
}

function addresses(task) {
  const infos = (task.statuses ?? []).flatMap((status) => status.container_status?.network_infos ?? []);
  return [...new Set(infos.flatMap((info) => info.ip_addresses ?? []).map((address) => address.ip_address))].join(', ');
}

const ports = (task) => (task.discovery?.ports?.ports ?? []).map((port) => `${port.number}${port.name ? ` (${port.name})` : ''}`).join(', ');
