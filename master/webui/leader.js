// Following the leader: a standby sends the page on, and when this master is gone another one of the cluster is looked for.

const PROBE_MS = 2000;
let masters = [];
/** Those that the page's policy lets it ask: who stood for election when it was loaded. */
let askable = null;

/** Remembers where the masters are (`host:port`, the leader first), for the time when this one does not answer. */
export function remember(list) {
  masters = (list ?? []).filter(Boolean);
  if (masters.length) askable ??= new Set(masters);
}

async function answers(address) {
  try {
    await fetch(`${location.protocol}//${address}/health`, { mode: 'no-cors', cache: 'no-store', signal: AbortSignal.timeout(PROBE_MS) });
    return true;
  } catch {
    return false;
  }
}

/**
 * Whether another master leads: then the page goes there, with its address. False when this one leads, or names a leader that
 * does not answer; null when this one does not answer itself.
 */
export async function leaderMoved() {
  try {
    const response = await fetch('/ui/overview', { redirect: 'manual', cache: 'no-store', signal: AbortSignal.timeout(PROBE_MS) });
    if (response.type !== 'opaqueredirect') return false;
    remember((await (await fetch('/ui/masters', { cache: 'no-store', signal: AbortSignal.timeout(PROBE_MS) })).json()).masters.map((master) => master.address));
  } catch {
    return null;
  }
  const leader = masters[0];
  if (leader && askable.has(leader) && !(await answers(leader))) return false;
  // `/redirect` leads to the leader's page, and the browser takes along where this one was.
  location.replace(`/redirect${location.hash}`);
  return true;
}

/** Looks for a master that lives, and goes to it: if it does not lead, it sends the page on. */
export async function follow() {
  for (const address of masters.filter((address) => address !== location.host)) {
    if (await answers(address)) {
      location.replace(`${location.protocol}//${address}/${location.hash}`);
      return true;
    }
  }
  return false;
}
