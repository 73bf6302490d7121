// Deep links: everything that a page shows is in its address, `#/tasks?state=TASK_FAILED`.
import { useEffect, useState } from './vendor/preact-htm.js';

function parse() {
  const [path, query = ''] = location.hash.replace(/^#\/?/, '').split('?');
  const decode = (part) => { try { return decodeURIComponent(part); } catch { return part; } };
  return { parts: path.split('/').filter(Boolean).map(decode), query: new URLSearchParams(query), hash: location.hash };
}

export function useRoute() {
  const [route, setRoute] = useState(parse);
  useEffect(() => {
    const listener = () => setRoute(parse());
    addEventListener('hashchange', listener);
    return () => removeEventListener('hashchange', listener);
  }, []);
  return route;
}

/** Puts a value into the address's query, or takes it out; the way back skips it. */
export function setQuery(name, value) {
  const [path, query = ''] = location.hash.split('?');
  const members = new URLSearchParams(query);
  if (value) members.set(name, value);
  else members.delete(name);
  const text = members.toString();
  history.replaceState(null, '', `${path || '#/'}${text ? `?${text}` : ''}`);
  dispatchEvent(new Event('hashchange'));
}
