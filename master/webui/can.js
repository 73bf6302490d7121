// Which calls this master carries out: each is tried once in a form that can change nothing, and a 501 says that it cannot.
import { useEffect, useState } from './vendor/preact-htm.js';
import { operator } from './live.js';

const NOBODY = { value: 'nobody' };
const HARMLESS = {
  DRAIN_AGENT: { drain_agent: { agent_id: NOBODY } },
  DEACTIVATE_AGENT: { deactivate_agent: { agent_id: NOBODY } },
  REACTIVATE_AGENT: { reactivate_agent: { agent_id: NOBODY } },
  MARK_AGENT_GONE: { mark_agent_gone: { agent_id: NOBODY } },
  UPDATE_QUOTA: { update_quota: { quota_configs: [{ role: '/' }] } },
  UPDATE_WEIGHTS: { update_weights: { weight_infos: [{ role: '/', weight: -1 }] } },
  UPDATE_MAINTENANCE_SCHEDULE: { update_maintenance_schedule: { schedule: { windows: [{ machine_ids: [], unavailability: { start: { nanoseconds: 0 } } }] } } },
};
const known = new Map();

function ask(type) {
  if (!known.has(type)) {
    known.set(type, operator({ type, ...HARMLESS[type] }, true).then(() => true, (error) => {
      if (error.status >= 400) return error.status !== 501;
      known.delete(type); // no answer says nothing
      return false;
    }));
  }
  return known.get(type);
}

/** `{ DRAIN_AGENT: true, … }`; false until it is known. */
export function useCan(...types) {
  const [can, setCan] = useState({});
  useEffect(() => {
    let gone = false;
    for (const type of types) ask(type).then((yes) => gone || setCan((before) => ({ ...before, [type]: yes })));
    return () => { gone = true; };
  }, []);
  return can;
}
