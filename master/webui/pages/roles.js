// Roles as a tree: who has which part of the cluster, what is promised, what is the limit; to be changed here, too.
import { html, useState } from '../vendor/preact-htm.js';
import { useCan } from '../can.js';
import { AMOUNTS, counted, frameworkPath, number, percent, shortId } from '../format.js';
import { operator, useRead } from '../live.js';
import { Act, Answer, Bar, Empty, Facts, Panel } from '../parts.js';

export function Roles({ query }) {
  const roles = useRead('/roles');
  const overview = useRead('/ui/overview');
  const can = useCan('UPDATE_QUOTA', 'UPDATE_WEIGHTS');
  return html`<div class="title"><h1>Roles and quota</h1><span class="grow"></span>${can.UPDATE_QUOTA && html`<${Quota} role=${null} />`}</div>
    <${Answer} of=${roles}>${(data) => html`<${Answer} of=${overview}>${(whole) => html`<${Tree} roles=${data.roles} total=${whole.now.total} wanted=${query.get('role')} can=${can} />`}<//>`}<//>`;
}

const parent = (name) => (name.includes('/') ? name.slice(0, name.lastIndexOf('/')) : '');
const share = (amounts, total) => Math.max(0, ...AMOUNTS.map(([key]) => (total[key] > 0 ? (amounts?.[key] ?? 0) / total[key] : 0)));

function Tree({ roles, total, wanted, can }) {
  const [closed, setClosed] = useState({});
  if (!roles.length) return html`<section class="panel"><${Empty}>There is no role yet: roles appear when a framework subscribes under them, or when they are given quota, weight or a reservation.<//></section>`;
  const byName = Object.fromEntries(roles.map((role) => [role.name, role]));
  const children = (name) => roles.filter((role) => parent(role.name) === name && role.name !== name);
  // The fair share of a role is its weight among its siblings'.
  const weights = (name) => children(name).reduce((sum, role) => sum + role.weight, 0);
  const rows = [];
  const walk = (name, depth) => {
    for (const role of children(name)) {
      rows.push([role, depth, role.weight / (weights(name) || 1), children(role.name).length > 0]);
      if (!closed[role.name]) walk(role.name, depth + 1);
    }
  };
  walk('', 0);
  const chosen = byName[wanted];
  const toggle = (name) => setClosed({ ...closed, [name]: !closed[name] });
  return html`<${Panel} title="Fair shares" note=${counted(roles.length, 'role')} flush><div class="scroll" tabindex="0" role="region" aria-label="Fair shares"><table class="tree"><thead><tr><th scope="col">Role</th><th scope="col">Weight</th><th scope="col">Fair share among siblings</th><th scope="col">Dominant share</th><th scope="col">Guarantee</th><th scope="col">Limit</th><th scope="col">Frameworks</th></tr></thead>
    <tbody>${rows.map(([role, depth, fair, inner]) => html`<tr key=${role.name} class=${role.name === wanted ? 'chosen' : ''}><td style=${{ paddingLeft: `${16 + depth * 22}px` }}>${inner ? html`<button type="button" class="twist" aria-expanded=${String(!closed[role.name])} aria-label=${`Roles below ${role.name}`} onclick=${() => toggle(role.name)}>${closed[role.name] ? '▸' : '▾'}</button>` : html`<span class="twist"></span>`}<a href=${`#/roles?role=${encodeURIComponent(role.name)}`}>${role.name.split('/').at(-1)}</a></td>
      <td class="num">${number(role.weight)}</td><td class="num">${percent(fair, 1)}</td><td class="sharebar"><span class="num">${percent(share(role.allocated, total), 1)}</span><${Bar} label=${role.name} used=${share(role.allocated, total)} offered=${share(role.offered, total)} total=${1} /></td>
      <td class="num">${listed(role.quota?.guarantee)}</td><td class="num">${listed(role.quota?.limit)}</td><td class="num">${number(role.frameworks.length)}</td></tr>`)}</tbody></table></div><//>
    ${chosen ? html`<${One} role=${chosen} can=${can} />` : wanted && html`<p class="notice">There is no role ${wanted} at the moment.</p>`}`;
}

const listed = (amounts) => AMOUNTS.filter(([key]) => amounts?.[key] !== undefined).map(([key, name, text]) => `${text(amounts[key])}${text === number ? ` ${name}` : ''}`).join(', ') || html`<span class="soft">none</span>`;

function One({ role, can }) {
  const consumed = role.quota?.consumed ?? {};
  return html`<${Panel} title=${`Role ${role.name}`} actions=${html`${can.UPDATE_QUOTA && !role.name.includes('/') && html`<${Quota} role=${role} />`}${can.UPDATE_WEIGHTS && html`<${Weight} role=${role} />`}`}>
    <${Facts} of=${[['Weight', number(role.weight)], ['Allocated', listed(role.allocated)], ['Offered', listed(role.offered)], ['Reserved', listed(role.reserved)], ['Consumed of its quota', listed(consumed)], ['Guarantee', listed(role.quota?.guarantee)], ['Limit', listed(role.quota?.limit)],
      ['Frameworks', role.frameworks.length > 0 && html`<ul class="inline">${role.frameworks.map((id) => html`<li key=${id}><a href=${frameworkPath(id)}>${shortId(id)}</a></li>`)}</ul>`]]} />
    ${can.UPDATE_QUOTA === false && html`<p class="soft">This master cannot change quota yet.</p>`}<//>`;
}

function Weight({ role }) {
  const doing = (form) => operator({ type: 'UPDATE_WEIGHTS', update_weights: { weight_infos: [{ role: role.name, weight: Number(form.get('weight')) }] } });
  return html`<${Act} label="Change weight" confirm="Set the weight" danger=${false} doing=${doing} question=${html`<p>Its weight among its siblings decides its fair share. Offers that are out are taken back and made anew.</p>`}>
    <label class="field">Weight <input name="weight" type="number" min="0.001" step="any" required value=${role.weight} /></label><//>`;
}

/** Guarantees and limits; for an existing role, or for one that is named. */
function Quota({ role }) {
  const doing = (form) => {
    const amounts = (kind) => Object.fromEntries(AMOUNTS.map(([key]) => [key, form.get(`${kind} ${key}`)]).filter(([, value]) => value !== '').map(([key, value]) => [key, { value: Number(value) }]));
    const config = { role: role ? role.name : form.get('role').trim(), guarantees: amounts('guarantee'), limits: amounts('limit') };
    return operator({ type: 'UPDATE_QUOTA', update_quota: { force: form.get('force') === 'on', quota_configs: [config] } });
  };
  const field = (kind, key, name) => html`<label class="field">${name}${key === 'mem' || key === 'disk' ? ' (MB)' : ''} <input name=${`${kind} ${key}`} type="number" min="0" step="any" value=${role?.quota?.[kind]?.[key] ?? ''} placeholder="none" /></label>`;
  return html`<${Act} label=${role ? 'Change quota' : 'Set a quota'} confirm="Set the quota" danger=${false} doing=${doing} question=${html`<p>What is guaranteed is kept free for the role; what is limited it never has more of. Fields left empty mean none.</p>`}>
    ${!role && html`<label class="field">Role <input name="role" required pattern="[^\\/ ]+" title="a role at the top, without / and spaces" /></label>`}
    <div class="pair"><fieldset><legend>Guarantee</legend>${AMOUNTS.map(([key, name]) => field('guarantee', key, name))}</fieldset><fieldset><legend>Limit</legend>${AMOUNTS.map(([key, name]) => field('limit', key, name))}</fieldset></div>
    <label class="check"><input name="force" type="checkbox" /> even if the cluster has less than is guaranteed, or the role has more than the limit</label><//>`;
}
