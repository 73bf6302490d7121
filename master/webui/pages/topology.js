// The whole cluster at once: regions, zones, and each agent a block that fills as it is used.
import { html, useEffect, useMemo, useRef, useState } from '../vendor/preact-htm.js';
import { agentPath, counted, megabytes, number, percent, taskPath } from '../format.js';
import { read, useRead } from '../live.js';
import { Answer, Empty, Legend, Panel, State, Tabs } from '../parts.js';
import { place } from './overview.js';

// Pixels of a block and of the gap after it, by how many there are.
const SIZES = [[60, 52, 6], [1500, 30, 5], [Infinity, 11, 2]];
const SHOWN_TASKS = 8;

export function Topology() {
  const answer = useRead('/ui/topology');
  const [by, setBy] = useState('cpus');
  const [over, setOver] = useState(null);
  return html`<div class="title"><h1>Topology</h1><span class="grow"></span><${Tabs} label="Filled by" options=${[['cpus', 'CPUs'], ['mem', 'Memory']]} value=${by} choose=${setBy} /></div>
    <${Answer} of=${answer}>${(data) => (data.zones.length ? html`<${Zones} data=${data} by=${by} over=${over} setOver=${setOver} />` : html`<section class="panel"><${Empty} command=${`mezzo agent --master=${location.host} --work_dir=/var/lib/mezzo`}>No agent is registered. Each that is shows here as a block, in its region and zone:<//></section>`)}<//>`;
}

function Zones({ data, by, over, setOver }) {
  const count = data.zones.reduce((sum, zone) => sum + zone.agents.length, 0);
  const regions = useMemo(() => {
    const found = {};
    for (const zone of data.zones) (found[zone.region] ??= []).push({ ...zone, agents: zone.agents.map((values) => Object.fromEntries(data.columns.map((name, index) => [name, values[index]]))) });
    return Object.entries(found);
  }, [data]);
  return html`<div class="map"><${Legend} />
    ${regions.map(([region, zones]) => html`<${Panel} key=${region} title=${region || 'No region'} note=${counted(zones.reduce((sum, zone) => sum + zone.agents.length, 0), 'agent')}>
      <div class="zones">${zones.map((zone) => html`<div class="zone" key=${zone.zone}><h3>${zone.zone || place(zone)} <span class="soft num">${number(zone.agents.length)}</span></h3><${Blocks} agents=${zone.agents} by=${by} setOver=${setOver} count=${count} /></div>`)}</div><//>`)}
    ${over && html`<${Card} key=${over.agent.id} over=${over} />`}</div>`;
}

/** Blocks are drawn on a canvas: ten thousand of them are one element. The list for keyboards and screen readers is the page of agents. */
function Blocks({ agents, by, setOver, count }) {
  const canvas = useRef(null);
  const [, size, gap] = SIZES.find(([most]) => count <= most);
  const [width, setWidth] = useState(800);
  const across = Math.max(1, Math.floor((width + gap) / (size + gap)));
  const height = Math.ceil(agents.length / across) * (size + gap) - gap;
  useEffect(() => {
    const watch = new ResizeObserver(([entry]) => setWidth(Math.floor(entry.contentRect.width)));
    watch.observe(canvas.current.parentElement);
    return () => watch.disconnect();
  }, []);
  useEffect(() => draw(canvas.current, agents, by, { size, gap, across, width, height }), [agents, by, width, size]);
  useEffect(() => {
    const again = () => draw(canvas.current, agents, by, { size, gap, across, width, height });
    const watch = new MutationObserver(again);
    watch.observe(document.documentElement, { attributes: true, attributeFilter: ['data-theme'] });
    return () => watch.disconnect();
  });
  const at = (event) => {
    const box = canvas.current.getBoundingClientRect();
    const [x, y] = [Math.floor((event.clientX - box.left) / (size + gap)), Math.floor((event.clientY - box.top) / (size + gap))];
    return x < across ? agents[y * across + x] : undefined;
  };
  const move = (event) => {
    const agent = at(event);
    setOver(agent ? { agent, x: event.clientX, y: event.clientY } : null);
  };
  const used = agents.reduce((sum, agent) => sum + agent[`${by}_used`], 0);
  const total = agents.reduce((sum, agent) => sum + agent[by], 0);
  return html`<div class="blocks"><canvas ref=${canvas} role="img" aria-label=${`${number(agents.length)} agents, ${percent(used, total)} used`} onpointermove=${move} onpointerleave=${() => setOver(null)}
    onclick=${(event) => { const agent = at(event); if (agent) location.hash = agentPath(agent.id).slice(1); }}></canvas></div>`;
}

function draw(canvas, agents, by, { size, gap, across, width, height }) {
  if (!canvas) return;
  const scale = devicePixelRatio || 1;
  Object.assign(canvas, { width: width * scale, height: height * scale });
  canvas.style.height = `${height}px`;
  canvas.style.width = `${width}px`;
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  const [track, used, offered, bad, line] = ['--track', '--used', '--offered', '--bad', '--line'].map(colour);
  const brush = canvas.getContext('2d');
  brush.setTransform(scale, 0, 0, scale, 0, 0);
  brush.clearRect(0, 0, width, height);
  agents.forEach((agent, index) => {
    const [x, y] = [(index % across) * (size + gap), Math.floor(index / across) * (size + gap)];
    const part = (name) => (agent[by] > 0 ? Math.min(1, agent[`${by}_${name}`] / agent[by]) * size : 0);
    brush.fillStyle = track;
    brush.fillRect(x, y, size, size);
    const [ofUsed, ofOffered] = [part('used'), part('offered')];
    brush.fillStyle = used;
    brush.fillRect(x, y + size - ofUsed, size, ofUsed);
    brush.fillStyle = offered;
    brush.fillRect(x, y + size - ofUsed - ofOffered, size, ofOffered);
    // Away: a frame and a stroke through it, so that it is not told by colour alone.
    brush.strokeStyle = agent.state === 'active' ? line : bad;
    brush.lineWidth = agent.state === 'active' ? 1 : 2;
    brush.strokeRect(x + 0.5, y + 0.5, size - 1, size - 1);
    if (agent.state !== 'active') {
      brush.beginPath();
      brush.moveTo(x + 2, y + size - 2);
      brush.lineTo(x + size - 2, y + 2);
      brush.stroke();
    }
  });
}

function Card({ over: { agent, x, y } }) {
  const [tasks, setTasks] = useState(null);
  useEffect(() => {
    let gone = false;
    const timer = setTimeout(() => read(`/ui/tasks?agent=${encodeURIComponent(agent.id)}&limit=${SHOWN_TASKS}&state=TASK_RUNNING,TASK_STARTING,TASK_STAGING,TASK_KILLING`).then(({ data }) => gone || setTasks(data)).catch(() => {}), 120);
    return () => { gone = true; clearTimeout(timer); };
  }, [agent.id]);
  const place = { left: `${Math.min(x + 14, innerWidth - 320)}px`, top: `${Math.min(y + 14, innerHeight - 240)}px` };
  return html`<div class="card" style=${place} role="status"><p><b>${agent.host}</b> <${State} state=${agent.state} /></p>
    <p class="num soft">${number(agent.cpus_used)} of ${number(agent.cpus)} CPUs, ${megabytes(agent.mem_used)} of ${megabytes(agent.mem)}; ${number(agent.tasks)} tasks</p>
    ${tasks?.rows.length > 0 && html`<ul>${tasks.rows.map((task) => html`<li key=${taskPath(task)}><span class="mono">${task.name || task.id}</span></li>`)}${tasks.total > SHOWN_TASKS && html`<li class="soft">and ${number(tasks.total - SHOWN_TASKS)} more</li>`}</ul>`}</div>`;
}
