// Maintenance: which machines go away when, and how their frameworks answered.
import { html, useEffect, useState } from '../vendor/preact-htm.js';
import { useCan } from '../can.js';
import { ago, clock, duration, number, shortId } from '../format.js';
import { live, operator, useLive } from '../live.js';
import { Act, Empty, Panel, State, Trouble, Waiting } from '../parts.js';

const EVERY_MS = 2000;
const NANO = 1e9;

/** Schedule and status, which have no version of their own: asked by the clock. */
function useMaintenance() {
  const [state, setState] = useState({ data: null, error: null });
  const load = async () => {
    try {
      const [schedule, status] = await Promise.all([operator({ type: 'GET_MAINTENANCE_SCHEDULE' }), operator({ type: 'GET_MAINTENANCE_STATUS' })]);
      setState({ data: { windows: schedule.get_maintenance_schedule?.schedule?.windows ?? [], status: status.get_maintenance_status?.status ?? {} }, error: null });
    } catch (error) { setState((before) => ({ ...before, error })); }
  };
  useEffect(() => {
    load();
    const timer = setInterval(() => document.hidden || live.status !== 'live' || load(), EVERY_MS);
    return () => clearInterval(timer);
  }, []);
  return [state, load];
}

const nameOf = (machine) => [machine.hostname, machine.ip].filter(Boolean).join(' / ');
const same = (a, b) => (a.hostname ?? '').toLowerCase() === (b.hostname ?? '').toLowerCase() && (a.ip ?? '') === (b.ip ?? '');

export function Maintenance() {
  useLive();
  const [{ data, error }, again] = useMaintenance();
  const can = useCan('UPDATE_MAINTENANCE_SCHEDULE');
  if (!data) return error ? html`<${Trouble} error=${error} again=${again} />` : html`<${Waiting} />`;
  const change = async (windows) => { await operator({ type: 'UPDATE_MAINTENANCE_SCHEDULE', update_maintenance_schedule: { schedule: { windows } } }); await again(); };
  const may = can.UPDATE_MAINTENANCE_SCHEDULE;
  return html`<div class="title"><h1>Maintenance</h1><span class="grow"></span>${may && html`<${Plan} windows=${data.windows} change=${change} />`}</div>
    ${may === false && html`<p class="notice">This master cannot plan maintenance yet; what it knows is shown.</p>`}
    <${Panel} title="Schedule" note=${number(data.windows.length)} flush>${data.windows.length ? html`<div class="scroll" tabindex="0" role="region" aria-label="Schedule"><table><thead><tr><th scope="col">Machine</th><th scope="col">State</th><th scope="col">From</th><th scope="col">For</th><th scope="col">Frameworks</th><th scope="col"><span class="hidden">Actions</span></th></tr></thead><tbody>
      ${data.windows.flatMap((window, index) => window.machine_ids.map((machine) => html`<${Row} key=${`${index} ${nameOf(machine)}`} machine=${machine} window=${window} data=${data} may=${may} again=${again} change=${change} />`))}</tbody></table></div>`
    : html`<${Empty}>Nothing is planned. When a machine is, its frameworks get inverse offers in time, and can move what they have there.<//>`}<//>`;
}

function Row({ machine, window, data, may, again, change }) {
  const start = (window.unavailability.start?.nanoseconds ?? 0) / NANO;
  const length = window.unavailability.duration ? window.unavailability.duration.nanoseconds / NANO : null;
  const down = (data.status.down_machines ?? []).some((one) => same(one, machine));
  const answers = (data.status.draining_machines ?? []).find((one) => same(one.id, machine))?.statuses ?? [];
  const call = (type, key) => async () => { await operator({ type, [key]: { machines: [machine] } }); await again(); };
  const without = () => change(data.windows.map((one) => (one === window ? { ...one, machine_ids: one.machine_ids.filter((other) => !same(other, machine)) } : one)).filter((one) => one.machine_ids.length));
  return html`<tr><td>${nameOf(machine)}</td><td><${State} state=${down ? 'deactivated' : 'draining'} /><span class="hidden">${down ? 'down' : 'draining'}</span></td><td title=${clock(start)}>${clock(start)} <span class="soft">${ago(start)}</span></td><td>${length === null ? 'no end' : duration(length)}</td>
    <td>${answers.length ? answers.map((one) => html`<span key=${one.framework_id?.value} title=${one.framework_id?.value}>${shortId(one.framework_id?.value)}: ${(one.status ?? 'unknown').toLowerCase()} </span>`) : html`<span class="soft">no answers</span>`}</td>
    <td class="buttons">${may && (down ? html`<${Act} label="Up again" danger=${false} doing=${call('STOP_MAINTENANCE', 'stop_maintenance')} question=${html`<p>${nameOf(machine)} may be used again, and leaves the schedule.</p>`} />`
    : html`<${Act} label="Take down" doing=${call('START_MAINTENANCE', 'start_maintenance')} question=${html`<p>The agents on ${nameOf(machine)} are shut down, with everything that runs there.</p>`} /><${Act} label="Remove" danger=${false} doing=${without} question=${html`<p>${nameOf(machine)} leaves the schedule.</p>`} />`)}</td></tr>`;
}

function Plan({ windows, change }) {
  const doing = (form) => {
    const ip = form.get('ip').trim();
    const machines = form.get('hosts').split(/[\s,]+/).filter(Boolean).map((hostname) => ({ hostname, ...(ip ? { ip } : {}) }));
    if (!machines.length && ip) machines.push({ ip });
    const hours = Number(form.get('hours'));
    const start = new Date(form.get('start')).getTime() * 1e6;
    return change([...windows, { machine_ids: machines, unavailability: { start: { nanoseconds: start }, ...(hours ? { duration: { nanoseconds: Math.round(hours * 3600 * NANO) } } : {}) } }]);
  };
  const soon = new Date(Date.now() + 3600e3 - new Date().getTimezoneOffset() * 60e3).toISOString().slice(0, 16);
  return html`<${Act} label="Plan maintenance" danger=${false} confirm="Plan it" doing=${doing} question=${html`<p>Frameworks are asked to leave these machines in time; offers say when a machine goes.</p>`}>
    <label class="field">Host names, separated by spaces <input name="hosts" required /></label><label class="field">IP, where the agents gave one <input name="ip" /></label>
    <label class="field">From <input name="start" type="datetime-local" required value=${soon} /></label><label class="field">For so many hours, empty for no end <input name="hours" type="number" min="0" step="any" /></label><//>`;
}
