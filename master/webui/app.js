// The page: asks the master once a second, draws what changed. All of it comes from endpoints that any Mesos tool can read.
import { fill, h } from './dom.js';
import { overview } from './overview.js';
import { taskPage } from './task.js';

const PERIOD_MS = 1000;
const SHOWN_TASKS = 200;
const main = document.getElementById('main');
const link = document.getElementById('link');
let page = null;
let drawn = '';

async function ask(path) {
  const response = await fetch(path, { headers: { Accept: 'application/json' }, cache: 'no-cache' });
  if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`);
  return response.json();
}

function route() {
  const parts = location.hash.slice(2).split('/').map(decodeURIComponent);
  page?.leave?.();
  page = parts[0] === 'task' && parts.length === 3 ? taskPage(parts[1], parts[2], ask) : overview();
  drawn = '';
  fill(main, page.element);
  refresh();
}

function status(text, kind) {
  if (link.textContent !== text) link.textContent = text;
  link.className = `pill ${kind}`;
}

let asking = false;
async function refresh() {
  if (asking) return;
  asking = true;
  const shown = page;
  try {
    const [summary, tasks] = await Promise.all([ask('/state-summary'), ask(`/tasks?limit=${SHOWN_TASKS}`)]);
    status('live', 'live');
    document.getElementById('cluster').textContent = [summary.cluster, summary.hostname].filter(Boolean).join(' · ');
    const picture = JSON.stringify([summary, tasks]);
    const changed = picture !== drawn;
    drawn = picture;
    if (shown === page) await shown.update({ summary, tasks: tasks.tasks ?? [] }, changed);
  } catch (error) {
    status('the master does not answer', 'lost');
    console.warn(error);
  } finally {
    asking = false;
  }
}

addEventListener('hashchange', route);
addEventListener('visibilitychange', () => document.hidden || refresh());
setInterval(() => document.hidden || refresh(), PERIOD_MS);
ask('/version').then((version) => {
  const own = version.mezzo_version ? `Mezzo ${version.mezzo_version}, ` : '';
  fill(document.getElementById('version'), h('span', {}, `${own}protocol of Mesos ${version.version}`));
}).catch(() => {});
route();
