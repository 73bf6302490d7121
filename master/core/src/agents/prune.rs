//! Agents that have been unreachable or gone for long are forgotten, so that the registry does not grow for ever
//! (src/master/master.cpp, doRegistryGc).

use std::{
    collections::BTreeSet,
    time::{Duration, UNIX_EPOCH},
};

use mezzo_api::{ids::AgentId, time::Now};

use super::removals::BATCH;
use crate::{core::Core, effect::Effects, registry::RegistryOp, timers::Timer, writes::Pending};

impl Core {
    /// It is time to look.
    pub(crate) fn on_registry_gc(&mut self, now: Now, out: &mut Effects) {
        self.timers.set(now.mono + self.config.lifecycle.registry_gc_interval, Timer::RegistryGc);
        let unreachable = self.agents.unreachable.iter().map(|(id, since)| (*since, id));
        let mut old: Vec<AgentId> = self.too_old(now, unreachable.collect());
        old.extend(self.too_old(now, self.agents.gone.iter().map(|(id, since)| (*since, id)).collect()));
        old.retain(|id| !self.agents.writing.contains_key(id));
        if old.is_empty() {
            return;
        }
        tracing::info!(agents = old.len(), "forgetting agents that have been unreachable or gone for long");
        for part in old.chunks(BATCH) {
            for id in part {
                self.agents.writing.insert(id.clone(), None);
            }
            let mut ops: Vec<RegistryOp> = part.iter().map(|id| RegistryOp::PruneAgent(id.clone())).collect();
            part.iter().for_each(|id| self.drop_standing(id, &mut ops));
            self.write(ops, Pending::Prune(part.to_vec()), out);
        }
    }

    /// Those beyond the age or, the oldest first, beyond the number.
    fn too_old(&self, now: Now, list: BTreeSet<(i64, &AgentId)>) -> Vec<AgentId> {
        let lifecycle = &self.config.lifecycle;
        let excess = list.len().saturating_sub(lifecycle.registry_max_agent_count);
        let age = |since: i64| {
            let since = UNIX_EPOCH + Duration::from_nanos(u64::try_from(since).unwrap_or(0));
            now.wall.duration_since(since).unwrap_or_default()
        };
        let old = list.into_iter().enumerate();
        let old = old.filter(|(index, (since, _))| *index < excess || age(*since) > lifecycle.registry_max_agent_age);
        old.map(|(_, (_, id))| id.clone()).collect()
    }

    /// The registry has forgotten them.
    pub(crate) fn finish_prune(&mut self, now: Now, agents: &[AgentId], out: &mut Effects) {
        for id in agents {
            self.mark(id, None);
            self.forget_standing(id);
            self.end_write_of(now, id, out);
        }
    }
}
