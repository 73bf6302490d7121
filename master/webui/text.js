// Numbers, times and states as people read them.

const round = new Intl.NumberFormat('en', { maximumFractionDigits: 2 });

export const number = (value) => round.format(value ?? 0);

/** Megabytes, as Mesos counts memory and disk. */
export function megabytes(value) {
  if (!value) return '0';
  if (value >= 1024 * 1024) return `${number(value / 1024 / 1024)} TB`;
  if (value >= 1024) return `${number(value / 1024)} GB`;
  return `${number(value)} MB`;
}

/** How long ago, from seconds since the epoch. */
export function ago(seconds) {
  if (!seconds) return '';
  const passed = Math.max(0, Date.now() / 1000 - seconds);
  if (passed < 90) return `${Math.round(passed)} s ago`;
  if (passed < 5400) return `${Math.round(passed / 60)} min ago`;
  if (passed < 172800) return `${Math.round(passed / 3600)} h ago`;
  return `${Math.round(passed / 86400)} days ago`;
}

export const clock = (seconds) => (seconds ? new Date(seconds * 1000).toLocaleString() : '');

const GOOD = new Set(['TASK_RUNNING', 'TASK_FINISHED']);
const WAIT = new Set(['TASK_STAGING', 'TASK_STARTING', 'TASK_KILLING', 'TASK_UNREACHABLE']);
const OFF = new Set(['TASK_KILLED']);

/** [text, class] of a task's state. */
export function taskState(state) {
  const kind = GOOD.has(state) ? 'good' : WAIT.has(state) ? 'wait' : OFF.has(state) ? 'off' : 'bad';
  return [(state ?? '').replace('TASK_', '').toLowerCase().replaceAll('_', ' '), kind];
}

export const resources = (given) => [
  `${number(given?.cpus)} cpus`, megabytes(given?.mem),
  given?.gpus ? `${number(given.gpus)} gpus` : null, given?.ports ? `ports ${given.ports}` : null,
].filter(Boolean).join(' · ');
