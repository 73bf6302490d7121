// One agent: what it has and carries, and what can be done with it.
import { html } from '../vendor/preact-htm.js';
import { useCan } from '../can.js';
import { frameworkPath, filesPath, number, reason, resources, shortId } from '../format.js';
import { operator, useRead } from '../live.js';
import { Act, Ago, Answer, Crumbs, Empty, Facts, Id, Legend, Panel, State, Uses } from '../parts.js';
import { place } from './overview.js';
import { TaskList } from './tasks.js';

export function Agent({ id }) {
  const answer = useRead(`/ui/agent?id=${encodeURIComponent(id)}`);
  return html`<${Crumbs} of=${[['Agents', '#/agents'], [shortId(id)]]} /><${Answer} of=${answer}>${(data) => (data.row ? html`<${Shown} data=${data} />` : html`<${Absent} data=${data} />`)}<//>`;
}

function Absent({ data }) {
  const can = useCan('MARK_AGENT_GONE');
  return html`<div class="title"><h1>${data.agent.hostname ?? shortId(data.agent.id)}</h1><${State} state=${data.state} /><span class="grow"></span>${can.MARK_AGENT_GONE && html`<${Gone} id=${data.agent.id} />`}</div>
    <p class="notice">${data.state === 'expected' ? 'The registry knows this agent, and it has not come back since this master leads. It is waited for.' : 'This agent does not answer. Its tasks are unreachable; when it comes back, they are found again.'}</p>
    <${Panel} title="Tasks" flush><${TaskList} of=${`agent=${encodeURIComponent(data.agent.id)}`} without=${['host']} /><//>`;
}

function Gone({ id }) {
  return html`<${Act} label="Mark gone" confirm="It is gone for good" doing=${() => operator({ type: 'MARK_AGENT_GONE', mark_agent_gone: { agent_id: { value: id } } })}
    question=${html`<p>The agent is held to be gone for good: its tasks are told as gone, their frameworks may start them elsewhere, and the agent may never come back under this id.</p>`} />`;
}

function Actions({ data }) {
  const can = useCan('DRAIN_AGENT', 'DEACTIVATE_AGENT', 'REACTIVATE_AGENT', 'MARK_AGENT_GONE');
  const { agent } = data;
  const id = { value: agent.id };
  const drain = (form) => {
    const grace = Number(form.get('grace'));
    return operator({ type: 'DRAIN_AGENT', drain_agent: { agent_id: id, ...(form.get('grace') === '' ? {} : { max_grace_period: { seconds: grace } }), mark_gone: form.get('gone') === 'on' } });
  };
  const offered = !agent.deactivated && !agent.drain_info;
  return html`
    ${can.DRAIN_AGENT && !agent.drain_info && html`<${Act} label="Drain" confirm="Drain it" doing=${drain} question=${html`<p>The agent is offered no more, and its tasks are killed, each within its grace. Frameworks start them elsewhere.</p>`}>
      <label class="field">At most so many seconds of grace <input name="grace" type="number" min="0" step="1" placeholder="as the tasks say" /></label>
      <label class="check"><input name="gone" type="checkbox" /> mark it gone when it is drained</label><//>`}
    ${can.DEACTIVATE_AGENT && offered && html`<${Act} label="Deactivate" danger=${false} confirm="Deactivate it" doing=${() => operator({ type: 'DEACTIVATE_AGENT', deactivate_agent: { agent_id: id } })} question=${html`<p>The agent is offered no more. What runs goes on running.</p>`} />`}
    ${can.REACTIVATE_AGENT && !offered && html`<${Act} label="Reactivate" danger=${false} confirm="Reactivate it" doing=${() => operator({ type: 'REACTIVATE_AGENT', reactivate_agent: { agent_id: id } })} question=${html`<p>The agent is offered again.</p>`} />`}
    ${can.MARK_AGENT_GONE && html`<${Gone} id=${agent.id} />`}`;
}

function Shown({ data }) {
  const { agent, row } = data;
  const drain = agent.drain_info;
  return html`<div class="title"><h1>${agent.hostname}</h1><${State} state=${row.state} /><span class="grow"></span><${Actions} data=${data} /></div>
    ${drain && html`<p class="notice">${drain.state === 'DRAINED' ? 'Drained: nothing runs here any more.' : 'It is being drained.'}${agent.estimated_drain_start_time_seconds && html` Begun <${Ago} at=${agent.estimated_drain_start_time_seconds} />.`}${drain.config?.mark_gone && ' It is marked gone when that is done.'}</p>`}
    ${agent.warning && html`<p class="notice bad"><b>Its advertised address:</b> ${agent.warning}.</p>`}
    ${row.state === 'away' && html`<p class="notice">It has no connection at the moment. Its tasks are left alone until the ping timeout is over.</p>`}
    <div class="columns">
      <${Panel} title="Resources" actions=${html`<${Legend} />`}><${Uses} use=${row} /><p class="soft ports">${agent.resources.ports ? `Ports ${agent.resources.ports}${agent.used_resources.ports ? `, of which ${agent.used_resources.ports} are used` : ''}` : ''}</p>
        ${Object.entries(agent.reserved_resources ?? {}).length > 0 && html`<h3>Reserved</h3><dl class="facts">${Object.entries(agent.reserved_resources).map(([role, amounts]) => html`<div key=${role}><dt>${role}</dt><dd>${resources(amounts)}</dd></div>`)}</dl>`}<//>
      <${Panel} title="Agent"><${Facts} of=${[
        ['Id', html`<${Id} id=${agent.id} />`], ['Region / zone', place(row)], ['Advertised at', html`<span class="mono">${agent.pid?.split('@')[1]}</span>`],
        ['Connected from', html`<span class="mono">${data.peer}</span>`], ['Registered', html`<${Ago} at=${agent.registered_time} />`],
        ['Reregistered', agent.reregistered_time && html`<${Ago} at=${agent.reregistered_time} />`], ['Version', `${data.mezzo_version ? `Mezzo ${data.mezzo_version}, ` : ''}Mesos ${agent.version}`],
        ['Attributes', Object.keys(agent.attributes ?? {}).length > 0 && html`<ul class="labels">${Object.entries(agent.attributes).map(([name, value]) => html`<li key=${name}><span class="soft">${name}</span> <b>${String(value)}</b></li>`)}</ul>`],
        ['Capabilities', (agent.capabilities ?? []).map(reason).join(', ')], ['Log', html`<a href=${filesPath(agent.id, '')}>files of this agent</a>`],
      ]} /><//>
    </div>
    <${Panel} title="Frameworks here" note=${number(data.frameworks.length)}>${data.frameworks.length ? html`<ul class="inline">${data.frameworks.map((framework) => html`<li key=${framework.id}><a href=${frameworkPath(framework.id)}>${framework.name || shortId(framework.id)}</a></li>`)}</ul>` : html`<p class="soft">None has a task here.</p>`}<//>
    <${Panel} title="Tasks" note=${number(row.tasks)} flush><${TaskList} of=${`agent=${encodeURIComponent(agent.id)}`} without=${['host']} label="Tasks of this agent" /><//>`;
}
