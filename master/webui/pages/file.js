// One file: its end as it grows, what is searched for in it, and all of it to keep.
import { html, useState } from '../vendor/preact-htm.js';
import { agentPath, shortId, through } from '../format.js';
import { Crumbs, Panel } from '../parts.js';
import { Tail } from '../tail.js';
import { crumbsOf } from './files.js';

export function File({ agent, file }) {
  const [search, setSearch] = useState('');
  const [turn, setTurn] = useState(-1);
  const [count, setCount] = useState(0);
  const keys = (event) => {
    if (event.key === 'Enter') setTurn(turn + (event.shiftKey ? -1 : 1));
    if (event.key === 'Escape') { setSearch(''); event.target.blur(); }
  };
  const dir = file.slice(0, file.lastIndexOf('/'));
  return html`<${Crumbs} of=${[['Agents', '#/agents'], [shortId(agent), agentPath(agent)], ...crumbsOf(agent, dir), [file.split('/').at(-1)]]} />
    <div class="title"><h1>${file.split('/').at(-1)}</h1><span class="grow"></span><a class="button" href=${through(agent, `/files/download?path=${encodeURIComponent(file)}`)} download>Download</a></div>
    <${Panel} title="Contents" flush actions=${html`<input class="search" type="search" value=${search} placeholder="find in what is shown" aria-label="Find in what is shown" oninput=${(event) => { setSearch(event.target.value); setTurn(-1); }} onkeydown=${keys} />
      ${search && html`<span class="soft num" role="status">${count} found</span><button type="button" aria-label="Previous" onclick=${() => setTurn(turn - 1)}>↑</button><button type="button" aria-label="Next" onclick=${() => setTurn(turn + 1)}>↓</button>`}`}>
      <${Tail} agent=${agent} file=${file} search=${search} turn=${turn} found=${setCount} /><//>`;
}
