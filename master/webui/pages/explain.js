// Why is a framework waiting? The master says, agent by agent, in groups.
import { html, useEffect, useState } from '../vendor/preact-htm.js';
import { AMOUNTS, agentPath, counted, duration, frameworkPath, number, percent, shortId } from '../format.js';
import { read, useRead } from '../live.js';
import { Answer, Empty, Facts, Panel, Trouble, Waiting } from '../parts.js';
import { setQuery } from '../router.js';

export function Explain({ query }) {
  const frameworks = useRead('/ui/frameworks?state=active,disconnected,recovered&limit=500&sort=name&order=asc');
  return html`<h1>Why is it waiting?</h1><${Answer} of=${frameworks}>${(data) => (data.rows.length ? html`<${Asking} frameworks=${data.rows} query=${query} />` : html`<section class="panel"><${Empty}>No framework is there that could wait for anything.<//></section>`)}<//>`;
}

function Asking({ frameworks, query }) {
  const chosen = frameworks.find((one) => one.id === query.get('framework')) ?? frameworks[0];
  const role = chosen.roles.includes(query.get('role')) ? query.get('role') : chosen.roles[0];
  const resources = query.get('resources') ?? '';
  const [answer, setAnswer] = useState({});
  const [turn, setTurn] = useState(0);
  useEffect(() => {
    let gone = false;
    const members = new URLSearchParams({ framework_id: chosen.id, role, ...(resources ? { resources } : {}) });
    setAnswer({ waiting: true });
    read(`/explain?${members}`).then(({ data }) => gone || setAnswer({ data }), (error) => gone || setAnswer({ error }));
    return () => { gone = true; };
  }, [chosen.id, role, resources, turn]);
  return html`<section class="panel"><div class="pad asking">
      <label class="field">Framework <select onchange=${(event) => setQuery('framework', event.target.value)}>${frameworks.map((one) => html`<option key=${one.id} value=${one.id} selected=${one.id === chosen.id}>${one.name || 'without a name'} (${shortId(one.id)})</option>`)}</select></label>
      <label class="field">Role <select onchange=${(event) => setQuery('role', event.target.value)}>${chosen.roles.map((one) => html`<option key=${one} value=${one} selected=${one === role}>${one}</option>`)}</select></label>
      <label class="field grow">One offer should hold <input value=${resources} placeholder="anything, or cpus:4;mem:8192" onchange=${(event) => setQuery('resources', event.target.value.trim())} /></label>
      <button type="button" class="solid" onclick=${() => setTurn(turn + 1)}>Ask again</button></div></section>
    ${answer.waiting && html`<${Waiting} />`}
    ${answer.error && (answer.error.status === 404 && /^(404|Not Found|$)/.test(answer.error.message) || answer.error.status === 501 ? html`<section class="panel"><${Empty}>This master cannot explain its allocations yet.<//></section>` : html`<${Trouble} error=${answer.error} again=${() => setTurn(turn + 1)} />`)}
    ${answer.data && html`<${Explanation} data=${answer.data} framework=${chosen} />`}`;
}

const listed = (amounts) => AMOUNTS.filter(([key]) => amounts?.[key]).map(([key, name, text]) => `${text(amounts[key])}${text === number ? ` ${name}` : ''}`).join(', ');
const Examples = ({ ids }) => html`<ul class="inline">${(ids ?? []).slice(0, 6).map((id) => html`<li key=${id}><a href=${agentPath(id)}>${shortId(id)}</a></li>`)}</ul>`;

function Explanation({ data, framework }) {
  const free = data.free_agents?.agents ?? 0;
  return html`
    ${data.obstacles.length > 0 && html`<p class="notice bad"><b>Nothing is offered:</b> ${data.obstacles.join('; ')}.</p>`}
    <div class="columns"><${Panel} title="In short"><${Facts} of=${[['Framework', html`<a href=${frameworkPath(data.framework_id)}>${framework.name || shortId(data.framework_id)}</a>`], ['Role', data.role], ['Wants', data.resources || 'anything'],
      ['Offers it holds', number(data.outstanding_offers)], ['Agents', number(data.agents)], ['Could be offered now', html`<b>${number(free)}</b>${free > 0 && html` <span class="soft">${data.free_agents.text}</span>`}`], ['Free in all', listed(data.headroom?.free)], ['Kept for guarantees', listed(data.headroom?.kept_for_guarantees)]]} />${free > 0 && html`<${Examples} ids=${data.free_agents.examples} />`}<//>
      <${Panel} title="Its turn"><p class="soft">Who has the smallest share for its weight comes first.</p><ol class="order">${data.order.roles.map((step) => html`<li key=${step.role}><b>${step.role}</b> is <b class="num">${number(step.place)}</b> of ${number(step.of)} <span class="soft">share ${percent(step.share, 1)}${step.dominant_resource && ` of ${step.dominant_resource}`}, weight ${number(step.weight)}</span></li>`)}
        <li>within the role the framework is <b class="num">${number(data.order.framework.place)}</b> of ${number(data.order.framework.of)} <span class="soft">share ${percent(data.order.framework.share, 1)}</span></li></ol><//></div>
    <${Panel} title="What keeps agents from it" note=${`of ${counted(data.agents, 'agent')}; one may have several reasons`} flush>${data.reasons.length ? html`<ul class="reasons">${data.reasons.map((one, index) => html`<li key=${`${one.reason} ${index}`}><b class="num">${number(one.agents)}</b><div><p>${one.text}${one.first_ends_in_secs !== undefined && html`; the first ends in ${duration(one.first_ends_in_secs)}`}${one.least_lacking && html`; the nearest lacks ${listed(one.least_lacking)}`}${one.framework_id && html`, <a href=${frameworkPath(one.framework_id)}>this one</a>`}</p><${Examples} ids=${one.examples} /></div></li>`)}</ul>` : html`<${Empty}>Nothing does.<//>`}<//>
    ${data.nearest && html`<${Panel} title="The nearest miss"><p><a href=${agentPath(data.nearest.agent_id)}>${data.nearest.hostname}</a> lacks ${listed(data.nearest.lacks) || 'nothing'}: ${data.nearest.reasons.map((one) => one.text).join('; ')}.</p><//>`}`;
}
