// Following the leader: a standby sends the page on, and when this master is gone another one of the cluster is looked for.

const PROBE_MS = 2000;
let masters = [];

/** Remembers where the other masters are (`host:port`), for the time when this one does not answer. */
export function remember(list) {
  masters = (list ?? []).filter((address) => address && address !== location.host);
}

/** True when this master answers that another one leads: then the page goes there, with its address. */
export async function leaderMoved() {
  try {
    const response = await fetch('/ui/overview', { redirect: 'manual', cache: 'no-store', signal: AbortSignal.timeout(PROBE_MS) });
    if (response.type !== 'opaqueredirect') return false;
  } catch {
    return false;
  }
  // `/redirect` leads to the leader's page, and the browser takes along where this one was.
  location.replace(`/redirect${location.hash}`);
  return true;
}

/** Looks for a master that lives, and goes to it: if it does not lead, it sends the page on. */
export async function follow() {
  for (const address of masters) {
    try {
      await fetch(`${location.protocol}//${address}/health`, { mode: 'no-cors', cache: 'no-store', signal: AbortSignal.timeout(PROBE_MS) });
      location.replace(`${location.protocol}//${address}/${location.hash}`);
      return true;
    } catch { /* that one does not answer either */ }
  }
  return false;
}
