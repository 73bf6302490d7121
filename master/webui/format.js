// Numbers, times and states as people read them.

const round = new Intl.NumberFormat('en', { maximumFractionDigits: 2 });
const short = new Intl.NumberFormat('en', { maximumFractionDigits: 1 });

export const number = (value) => round.format(value ?? 0);

/** `1 agent`, `2 agents`. */
export const counted = (count, what) => `${number(count)} ${what}${count === 1 ? '' : 's'}`;

/** Megabytes, as Mesos counts memory and disk. */
export function megabytes(value) {
  if (!value) return '0';
  if (Math.abs(value) >= 1024 * 1024) return `${short.format(value / 1024 / 1024)} TB`;
  if (Math.abs(value) >= 1024) return `${short.format(value / 1024)} GB`;
  return `${short.format(value)} MB`;
}

/** Bytes of a file. */
export function bytes(value) {
  if (value < 1024) return `${value} B`;
  if (value < 1024 * 1024) return `${short.format(value / 1024)} kB`;
  return megabytes(value / 1024 / 1024);
}

export const percent = (part, whole) => (whole > 0 ? `${Math.round((part / whole) * 100)} %` : '–');

/** How long ago, from seconds since the epoch. */
export function ago(seconds) {
  if (!seconds) return '';
  const passed = Date.now() / 1000 - seconds;
  if (passed < -1.5) return `in ${duration(-passed)}`;
  return passed < 1.5 ? 'now' : `${duration(passed)} ago`;
}

/** A time span in its largest unit that fits. */
export function duration(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} days`;
}

export const clock = (seconds) => (seconds ? new Date(seconds * 1000).toLocaleString([], { hourCycle: 'h23' }) : '');
export const time = (seconds) => (seconds ? new Date(seconds * 1000).toLocaleTimeString([], { hourCycle: 'h23' }) : '');

/** The four amounts that every agent and task has: key, name, how it is written. */
export const AMOUNTS = [['cpus', 'CPUs', number], ['mem', 'Memory', megabytes], ['disk', 'Disk', megabytes], ['gpus', 'GPUs', number]];

export function resources(given) {
  const amounts = AMOUNTS.filter(([key]) => given?.[key]).map(([key, name, text]) => `${text === number ? counted(given[key], name.slice(0, -1)) : text(given[key])}${key === 'disk' ? ' disk' : ''}`);
  const others = Object.entries(given ?? {}).filter(([key]) => !AMOUNTS.some(([known]) => known === key)).map(([key, value]) => `${key} ${value}`);
  return [...amounts, ...others].join(' · ') || 'nothing';
}

// A sign of its own for each kind of state: colour is never the only way to tell them apart.
const KINDS = {
  good: '●', done: '✓', wait: '◌', bad: '✕', off: '■', away: '○',
};
const STATES = {
  TASK_RUNNING: 'good', TASK_FINISHED: 'done', TASK_STAGING: 'wait', TASK_STARTING: 'wait', TASK_KILLING: 'wait', TASK_KILLED: 'off',
  TASK_UNREACHABLE: 'away', TASK_UNKNOWN: 'away', active: 'good', away: 'away', unreachable: 'away', expected: 'wait', deactivated: 'off', draining: 'wait',
  drained: 'off', disconnected: 'away', recovered: 'wait', completed: 'done', leading: 'good', standby: 'wait',
};

/** [sign, text, kind] of a state of a task, agent or framework. */
export function stateOf(state) {
  const kind = STATES[state] ?? 'bad';
  return [KINDS[kind], (state ?? 'unknown').replace('TASK_', '').toLowerCase().replaceAll('_', ' '), kind];
}

/** REASON_COMMAND_EXECUTOR_FAILED → command executor failed. */
export const reason = (name) => (name ?? '').replace(/^(REASON|SOURCE)_/, '').toLowerCase().replaceAll('_', ' ');

/** The part of an id that tells it from its like: what follows the master's uuid. */
export const shortId = (id) => (id ?? '').replace(/^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}-/, '');

export const path = (...parts) => `#/${parts.map(encodeURIComponent).join('/')}`;
export const taskPath = (task) => path('tasks', task.framework_id, task.id);
export const agentPath = (id) => path('agents', id);
export const frameworkPath = (id) => path('frameworks', id);
export const filesPath = (agent, dir) => `${path('agents', agent, 'files')}?path=${encodeURIComponent(dir)}`;
export const filePath = (agent, file) => `${path('agents', agent, 'file')}?path=${encodeURIComponent(file)}`;

/** An agent's own endpoint, through the master: the browser never needs to reach the agent. */
export const through = (agent, endpoint) => `/agent/${encodeURIComponent(agent)}${endpoint}`;
export const sandbox = (task) => `/frameworks/${task.framework_id}/executors/${task.executor_id || task.id}/runs/latest`;
