//! What a framework declined is not offered to it again before its filter expires, unless it asks; and who suppresses
//! gets no offers (docs/scheduler-http-api.md of apache/mesos, DECLINE and SUPPRESS; refuse_seconds is 5 s by default).

use std::{collections::BTreeMap, time::Duration};

use mezzo_api::{ids::AgentId, resources::Resources, v1::scheduler::call};
use mezzo_master_core::{effect::Change, input::StreamId};

use super::{Books, Invariant, books::is_stream};
use crate::{fact::Fact, ids::ProcessId, time::Moment, world::World};

#[derive(Debug)]
struct Declined {
    stream: StreamId,
    role: String,
    resources: Resources,
    until: Moment,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Wishes {
    declined: BTreeMap<(ProcessId, String, AgentId), Vec<Declined>>,
}

/// The longest that Mesos takes.
const LONGEST: f64 = 31_536_000.0;
const DEFAULT: f64 = 5.0;

impl Wishes {
    fn decline(&mut self, process: ProcessId, call: &mezzo_api::v1::scheduler::Call, books: &Books, now: Moment) {
        let (Some(decline), Some(master)) = (&call.decline, books.masters.get(&process)) else { return };
        let id = call.framework_id.as_ref().map_or("", |id| id.value.as_str());
        let Some(stream) = master.frameworks.get(id).and_then(|framework| framework.stream) else { return };
        let refused = decline.filters.as_ref().and_then(|filters| filters.refuse_seconds).unwrap_or(DEFAULT);
        let refused = if refused.is_nan() || refused < 0.0 { DEFAULT } else { refused.min(LONGEST) };
        let until = now + Duration::from_secs_f64(refused * 0.999);
        for offer in &decline.offer_ids {
            let Some(offer) = master.offers.get(offer.value.as_str()) else { continue };
            if offer.framework_id.as_str() != id {
                continue;
            }
            let filter = Declined { stream, role: offer.role.to_string(), resources: offer.resources.clone(), until };
            self.declined.entry((process, id.to_owned(), offer.agent_id.clone())).or_default().push(filter);
        }
    }
}

impl Invariant for Wishes {
    fn name(&self) -> &'static str {
        "wishes"
    }

    #[inline]
    fn see(&mut self, fact: &Fact, books: &Books, world: &World) -> Result<(), String> {
        match fact {
            Fact::Called(process, _, stream_id, call) => {
                let id = call.framework_id.as_ref().map_or("", |id| id.value.as_str());
                let framework = books.masters.get(process).and_then(|master| master.frameworks.get(id));
                let current = framework.and_then(|framework| framework.stream);
                if !is_stream(current, stream_id) {
                    return Ok(());
                }
                match call.r#type() {
                    call::Type::Decline => self.decline(*process, call, books, world.now),
                    call::Type::Revive | call::Type::UpdateFramework => {
                        self.declined.retain(|(_, framework, _), _| framework != id);
                    }
                    _ => {}
                }
            }
            Fact::LinkDown(process, link) => {
                // Filters may go with the agent's connection.
                let agent = books.masters.get(process).and_then(|master| master.links.get(link));
                self.declined.retain(|(master, _, of), _| master != process || Some(of) != agent);
            }
            Fact::MasterEnded { master, .. } => self.declined.retain(|(of, ..), _| of != master),
            Fact::Published(process, change) => {
                if let Change::AgentRemoved(id, _) = &**change {
                    self.declined.retain(|(_, _, agent), _| agent != id);
                }
                let Change::Offer(offer) = &**change else { return Ok(()) };
                let master = books.masters.get(process);
                let framework = master.and_then(|master| master.frameworks.get(offer.framework_id.as_str()));
                let Some(framework) = framework else { return Ok(()) };
                if framework.suppressed {
                    return Err(format!("offer {} goes to a framework that wants none", offer.id));
                }
                let key = (*process, offer.framework_id.to_string(), offer.agent_id.clone());
                let Some(declined) = self.declined.get_mut(&key) else { return Ok(()) };
                declined.retain(|declined| declined.until > world.now && framework.stream == Some(declined.stream));
                if declined
                    .iter()
                    .any(|declined| *declined.role == *offer.role && declined.resources.contains(&offer.resources))
                {
                    return Err(format!("offer {} is of what was declined", offer.id));
                }
            }
            _ => {}
        }
        Ok(())
    }
}
