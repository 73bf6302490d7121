// Who looks: a master may ask for a principal and its secret. The session that they open is a cookie that no script sees.
import { html, useEffect, useRef, useState } from './vendor/preact-htm.js';

/** `asked`: whether the master asks at all; `principal`: who has a session; `refused`: something was not answered without one. */
export const who = { asked: false, principal: null, refused: false };
const listeners = new Set();

function change(what) {
  Object.assign(who, what);
  for (const listener of [...listeners]) listener();
}

/** Something was answered 401. */
export const refused = () => { if (!who.refused) change({ asked: true, refused: true }); };

/** Whether the master asks who looks. It is told to anybody. */
export async function look() {
  try {
    const { asked, principal } = await (await fetch('/ui/session', { cache: 'no-store' })).json();
    change({ asked, principal, ...(principal ? { refused: false } : {}) });
  } catch { /* the page says by itself that nobody answers */ }
}

export function useWho() {
  const [, redraw] = useState(0);
  useEffect(() => {
    const listener = () => redraw((count) => count + 1);
    listeners.add(listener);
    return () => listeners.delete(listener);
  }, []);
  return who;
}

async function logOut() {
  await fetch('/ui/logout', { method: 'POST' });
  location.reload();
}

/** Who has a session, and the way out; the way in for who has none and needs none to look. */
export function Who({ enter }) {
  const { asked, principal, refused: closed } = useWho();
  if (!asked || closed) return null;
  if (principal) return html`<button type="button" class="who" onclick=${logOut} title="Log out">${principal} · log out</button>`;
  return html`<button type="button" class="who" onclick=${enter}>Log in</button>`;
}

/** The form. Everything else is read anew once it has opened a session. */
export function LogIn() {
  const [error, setError] = useState(null);
  const [busy, setBusy] = useState(false);
  const name = useRef(null);
  useEffect(() => name.current.focus(), []);
  const send = async (event) => {
    event.preventDefault();
    const { principal, secret } = event.target.elements;
    setBusy(true);
    try {
      const response = await fetch('/ui/login', { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ principal: principal.value, secret: secret.value }) });
      if (response.ok) return location.reload();
      setError((await response.text()).slice(0, 200) || `The master answered ${response.status}.`);
    } catch {
      setError('The master does not answer.');
    }
    setBusy(false);
    secret.value = '';
    secret.focus();
    return undefined;
  };
  return html`<section class="panel login"><h1>Log in</h1><p>This cluster asks who you are: a principal and the secret that its operator gave it.</p>
    <form onsubmit=${send}><label>Principal <input name="principal" autocomplete="username" required ref=${name} /></label>
      <label>Secret <input name="secret" type="password" autocomplete="current-password" required /></label>
      ${error && html`<p class="error" role="alert">${error}</p>`}
      <p class="buttons"><button class="solid" disabled=${busy}>Log in</button></p></form></section>`;
}
