// A directory of an agent's, through the master.
import { html } from '../vendor/preact-htm.js';
import { agentPath, bytes, filePath, filesPath, shortId, through } from '../format.js';
import { useRead } from '../live.js';
import { Ago, Answer, Crumbs, Empty, Panel } from '../parts.js';

const EVERY_MS = 3000;

/** The way to a directory, each step a link. A sandbox begins at its run. */
export function crumbsOf(agent, dir) {
  const parts = dir.split('/');
  const run = parts.indexOf('runs');
  const first = run >= 0 ? run + 2 : 1;
  const root = parts.slice(0, first).join('/');
  return [[run >= 0 ? `sandbox of ${parts[run - 1]}` : 'files', filesPath(agent, root)], ...parts.slice(first).map((part, index) => [part, filesPath(agent, parts.slice(0, first + index + 1).join('/'))])];
}

export function Files({ agent, dir }) {
  const listing = useRead(dir ? through(agent, `/files/browse?path=${encodeURIComponent(dir)}`) : through(agent, '/files/debug'), EVERY_MS);
  const way = dir ? crumbsOf(agent, dir) : [['files', '']];
  return html`<${Crumbs} of=${[['Agents', '#/agents'], [shortId(agent), agentPath(agent)], ...way.slice(0, -1), [way.at(-1)[0]]]} />
    <h1>${dir ? way.at(-1)[0] : 'Files of this agent'}</h1>
    <${Panel} title="Files" flush><${Answer} of=${listing}>${(data) => (dir ? html`<${Listing} agent=${agent} entries=${data} />` : html`<${Roots} agent=${agent} paths=${Object.keys(data)} />`)}<//><//>`;
}

function Listing({ agent, entries }) {
  if (!entries.length) return html`<${Empty}>Nothing is in this directory.<//>`;
  const sorted = [...entries].sort((a, b) => (b.mode[0] === 'd') - (a.mode[0] === 'd') || a.path.localeCompare(b.path));
  return html`<div class="scroll" tabindex="0" role="region" aria-label="Files"><table><thead><tr><th scope="col">Name</th><th scope="col">Size</th><th scope="col">Changed</th><th scope="col">Mode</th><th scope="col">Owner</th><th scope="col"><span class="hidden">Download</span></th></tr></thead><tbody>${sorted.map((entry) => {
    const isDir = entry.mode[0] === 'd';
    const name = entry.path.split('/').at(-1);
    return html`<tr key=${entry.path}><td><a class="mono" href=${isDir ? filesPath(agent, entry.path) : filePath(agent, entry.path)}>${name}${isDir && '/'}</a></td><td class="num">${isDir ? '' : bytes(entry.size)}</td><td><${Ago} at=${entry.mtime} /></td><td class="mono soft">${entry.mode}</td><td class="soft">${entry.uid}</td>
      <td>${!isDir && html`<a href=${through(agent, `/files/download?path=${encodeURIComponent(entry.path)}`)} download aria-label=${`Download ${name}`}>Download</a>`}</td></tr>`;
  })}</tbody></table></div>`;
}

function Roots({ agent, paths }) {
  const [logs, dirs] = [paths.filter((one) => one.endsWith('/log')).sort(), paths.filter((one) => !one.endsWith('/log')).sort()];
  if (!paths.length) return html`<${Empty}>This agent shows no files.<//>`;
  return html`<ul class="plain">${logs.map((one) => html`<li key=${one}><a href=${filePath(agent, one)}>the agent’s log</a></li>`)}
    ${dirs.map((one) => html`<li key=${one}><a class="mono" href=${filesPath(agent, one)}>${one}</a> ${one === '/frameworks' && html`<span class="soft">sandboxes, by framework and executor</span>`}</li>`)}</ul>`;
}
