// The cluster at a glance: what it has, who uses it, what happened lately.
import { html } from '../vendor/preact-htm.js';
import { Areas, Spark, useHistory } from '../chart.js';
import { AMOUNTS, agentPath, clock, counted, frameworkPath, number, path, percent, reason, stateOf, time } from '../format.js';
import { useRead } from '../live.js';
import { Ago, Answer, Bar, Copy, Empty, Facts, Legend, Panel, State } from '../parts.js';

export function Overview() {
  const answer = useRead('/ui/overview');
  return html`<${Answer} of=${answer}>${(data) => html`<${Shown} data=${data} />`}<//>`;
}

const sum = (counts, ...names) => names.reduce((total, name) => total + (counts[name] ?? 0), 0);

function Shown({ data }) {
  const part = (amounts, total) => Math.max(0, ...AMOUNTS.map(([key]) => (total[key] > 0 ? amounts[key] / total[key] : 0)).filter(Number.isFinite));
  const zoneKey = (zone) => `${zone.region}/${zone.zone}`;
  const history = useHistory(data.now, Object.fromEntries([...data.roles.map((role) => [`role ${role.name}`, part(role.used, data.now.total)]), ...data.zones.map((zone) => [`zone ${zoneKey(zone)}`, part(zone.used, zone.total)])]));
  const line = (name) => history.map((row) => row.shares[name] ?? 0);
  const away = sum(data.agents, 'away') + data.unreachable + data.recovered;
  const shown = AMOUNTS.filter(([key]) => key !== 'gpus' || data.now.total.gpus > 0);
  const name = data.cluster || data.leader.address;
  return html`<h1>${name}</h1>
    <div class="stats">
      <${Stat} label="Running tasks" href="#/tasks?state=TASK_RUNNING" value=${number(data.now.running)} note=${data.now.waiting ? `${number(data.now.waiting)} starting` : 'none waits to start'}><${Spark} values=${history.map((row) => row.running)} label="Running tasks in the last hour" /><//>
      <${Stat} label="Agents" href="#/agents" value=${number(sum(data.agents, 'active'))} note=${away ? `${number(away)} away` : 'all here'} warn=${away > 0} />
      <${Stat} label="Frameworks" href="#/frameworks" value=${number(sum(data.frameworks, 'active'))} note=${sum(data.frameworks, 'disconnected', 'recovered') ? `${number(sum(data.frameworks, 'disconnected', 'recovered'))} not connected` : `${number(data.frameworks.completed ?? 0)} completed`} warn=${sum(data.frameworks, 'disconnected', 'recovered') > 0} />
      <${Stat} label="Offers out" href="#/offers" value=${number(data.offers)} note="waiting for an answer" />
    </div>
    <div class="charts">${shown.map(([key, title, text]) => html`<${Amount} key=${key} id=${key} title=${title} text=${text} now=${data.now} history=${history} />`)}</div>
    <div class="columns">
      <${Panel} title="By role" flush><${Groups} rows=${data.roles.map((role) => ({ key: role.name, line: line(`role ${role.name}`), name: role.name === '*' ? '* (everyone)' : role.name, href: `#/roles?role=${encodeURIComponent(role.name)}`, note: counted(role.frameworks, 'framework'), used: role.used, offered: role.offered, total: data.now.total }))} empty="No framework has subscribed under a role yet." /><//>
      <${Panel} title="By zone" flush><${Groups} rows=${data.zones.map((zone) => ({ key: zoneKey(zone), line: line(`zone ${zoneKey(zone)}`), name: place(zone), href: '#/topology', note: counted(zone.agents, 'agent'), used: zone.used, offered: zone.offered, total: zone.total }))} empty="No agent is registered, so there are no zones." /><//>
    </div>
    <div class="columns">
      <${Panel} title="Task states" flush><${States} states=${data.states} /><//>
      <${Panel} title="Events" note=${data.events.length ? `the latest ${data.events.length}` : ''} flush class="events"><${Events} events=${data.events} /><//>
    </div>
    <${Masters} data=${data} />`;
}

export const place = ({ region, zone }) => (region || zone ? [region, zone].filter(Boolean).join(' / ') : 'no zone');

function Stat({ label, value, note, href, warn, children }) {
  return html`<a class="stat" href=${href}><span class="label">${label}</span><span class="value num">${value}</span><span class="note ${warn ? 'warn' : ''}">${warn && html`<i aria-hidden="true">▲ </i>`}${note}</span>${children}</a>`;
}

function Amount({ id, title, text, now, history }) {
  const [used, offered, total] = [now.used[id], now.offered[id], now.total[id]];
  const label = `${title}: ${text(used)} used, ${text(offered)} offered, of ${text(total)}`;
  return html`<section class="panel amount" aria-label=${title}><header><h2>${title}</h2><span class="grow"></span><${Legend} /></header>
    <p class="figures num"><b>${percent(used, total)}</b><span class="soft">${text(used)} of ${text(total)} used${offered > 0 && `, ${text(offered)} offered`}</span></p>
    <${Areas} rows=${history} label=${label} text=${text} layers=${[['used', (row) => row[`${id}_used`]], ['offered', (row) => row[`${id}_offered`]]]} top=${(row) => row[id]} /></section>`;
}

function Groups({ rows, empty }) {
  if (!rows.length) return html`<${Empty}>${empty}<//>`;
  return html`<div class="groups">${rows.map((row) => html`<div class="group" key=${row.key}><a href=${row.href}>${row.name}</a><span class="soft num">${row.note}</span><${Spark} values=${row.line} top=${0.05} label=${`${row.name}: its largest share in the last hour, now ${percent(row.line.at(-1) ?? 0, 1)}`} />
    ${AMOUNTS.slice(0, 2).map(([key, title, text]) => html`<div key=${key}><span class="soft">${title}</span><${Bar} label=${`${row.name}, ${title}`} used=${row.used[key]} offered=${row.offered[key]} total=${row.total[key]} /><span class="num">${text(row.used[key])}</span></div>`)}</div>`)}</div>`;
}

function States({ states }) {
  const entries = Object.entries(states).sort(([, a], [, b]) => b - a);
  if (!entries.length) return html`<${Empty} command=${`mezzo run --master=${location.host} -- echo "hello, world"`}>No task has run yet. Run one from a terminal:<//>`;
  const most = Math.max(...entries.map(([, count]) => count));
  return html`<ul class="states">${entries.map(([state, count]) => html`<li key=${state}><a href=${`#/tasks?state=${state}`}><${State} state=${state} /></a><span class="meter ${stateOf(state)[2]}" aria-hidden="true"><i style=${{ width: `${(count / most) * 100}%` }}></i></span><b class="num">${number(count)}</b></li>`)}</ul>`;
}

const SIGNS = { good: '●', bad: '✕', note: '·' };

function Events({ events }) {
  if (!events.length) return html`<${Empty}>Nothing has happened since this master leads.<//>`;
  return html`<ol class="feed" tabindex="0" aria-label="Events, the latest first">${events.map((event) => html`<li key=${event.number} class=${event.kind}>
    <time class="num" title=${clock(event.time)}>${time(event.time)}</time><i aria-hidden="true">${SIGNS[event.kind]}</i>
    <span><span class="what">${event.what}</span> <a href=${event.task ? path('tasks', event.framework, event.task) : event.agent ? agentPath(event.agent) : frameworkPath(event.framework)}>${event.name || event.agent || event.framework}</a>
    ${event.detail && html`<span class="soft detail">${reason(event.detail)}</span>`}</span></li>`)}</ol>`;
}

function Masters({ data }) {
  const known = useRead('/ui/masters', 10000);
  const others = (known.data?.masters ?? []).filter((master) => master.id !== data.leader.id);
  return html`<${Panel} title="Masters"><ul class="masters"><li><${State} state="leading" /> <b class="mono">${data.leader.address}</b> <span class="soft">since <${Ago} at=${data.leader.elected_time} /></span></li>
    ${others.map((master) => html`<li key=${master.id}><${State} state="standby" /> <span class="mono">${master.address}</span></li>`)}</ul>
    ${!others.length && html`<p class="soft">No other master is known here: when this one is away, tasks go on, and nothing new is placed until it is back.</p>`}
    <${Facts} of=${[['Mezzo', data.mezzo_version], ['Protocol', `Mesos ${data.mesos_version}`], ['Started', html`<${Ago} at=${data.leader.start_time} />`], ['Id', html`<span class="mono">${data.leader.id}</span><${Copy} text=${data.leader.id} />`]]} /><//>`;
}
