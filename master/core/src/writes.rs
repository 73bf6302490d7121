//! Registry writes in flight: what was asked, and what follows when it is durable.

use std::{collections::BTreeMap, time::Duration};

use mezzo_api::{ids::AgentId, time::Now};

use crate::{
    agents::{Admission, Removal, Restanding, Return},
    core::Core,
    effect::{Answer, Effect, Effects},
    input::{RequestId, Ticket},
    keys::FrameworkKey,
    maintenance::Planned,
    quota::Granted,
    registry::{RegistryError, RegistryOp},
    timers::Timer,
    weights::Weighed,
};

/// A write with an unknown outcome is made again after this.
const RETRY: Duration = Duration::from_millis(250);

/// What follows a write.
#[derive(Debug)]
pub(crate) enum Pending {
    /// An agent without an id gets one.
    Admit(Box<Admission>),
    /// An agent with an id is back.
    Return(Box<Return>),
    /// An agent ceases to be registered.
    Remove(Removal),
    /// Agents of the registry that did not come back, and since when they count as unreachable.
    RecoveredUnreachable(Vec<AgentId>, i64),
    /// An agent that was not there is gone, and who asked for it.
    Gone {
        /// Which.
        agent: AgentId,
        /// Since when, in nanoseconds since the epoch.
        since: i64,
        /// Who asked.
        request: RequestId,
    },
    /// Agents of long ago are forgotten.
    Prune(Vec<AgentId>),
    /// What an operator wants of an agent.
    Standing(Box<Restanding>),
    /// A framework comes to its end.
    Complete(FrameworkKey),
    /// Quota is set.
    Quota(Granted),
    /// A role has none any more.
    QuotaRemoved(RequestId, String),
    /// Weights are set.
    Weights(Weighed),
    /// The maintenance schedule is changed.
    Maintenance(Planned),
    /// Nothing.
    Forget,
}

#[derive(Debug)]
struct Write {
    ops: Vec<RegistryOp>,
    pending: Pending,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Writes {
    in_flight: BTreeMap<Ticket, Write>,
    next: u64,
}

impl Writes {
    pub(crate) fn pending(&self) -> impl Iterator<Item = &Pending> {
        self.in_flight.values().map(|write| &write.pending)
    }
}

impl Core {
    /// Asks for a durable change.
    pub(crate) fn write(&mut self, ops: Vec<RegistryOp>, pending: Pending, out: &mut Effects) {
        let ticket = Ticket(self.writes.next);
        self.writes.next += 1;
        out.push(Effect::Write(ticket, ops.clone()));
        self.writes.in_flight.insert(ticket, Write { ops, pending });
    }

    pub(crate) fn on_registry(
        &mut self,
        now: Now,
        ticket: Ticket,
        result: Result<(), RegistryError>,
        out: &mut Effects,
    ) {
        let result = match result {
            Err(RegistryError::Unknown) if mezzo_api::mutant!("unknown-outcome-taken-for-success") => Ok(()),
            Err(RegistryError::Fenced) if mezzo_api::mutant!("fence-ignored") => Err(RegistryError::Unknown),
            result => result,
        };
        match result {
            Err(RegistryError::Unknown) if mezzo_api::mutant!("unknown-outcome-forgotten") => {}
            Err(RegistryError::Fenced) => {
                self.refuse_removals(out);
                self.refuse_operators(out);
                self.refuse_ends_of_agents(out);
                self.refuse_restandings(out);
                tracing::warn!("the registry refused a write: this master leads no more");
                self.deposed = true;
            }
            Err(RegistryError::Unknown) => {
                if self.writes.in_flight.contains_key(&ticket) {
                    self.timers.set(now.mono + RETRY, Timer::Retry(ticket));
                }
            }
            Ok(()) => {
                let Some(write) = self.writes.in_flight.remove(&ticket) else { return };
                match write.pending {
                    Pending::Admit(admission) => self.admit(now, *admission, out),
                    Pending::Return(back) => self.readmit(now, *back, out),
                    Pending::Remove(removal) => self.finish_removal_of_agent(now, &removal, out),
                    Pending::RecoveredUnreachable(agents, since) => self.give_up(now, agents, since, out),
                    Pending::Gone { agent, since, request } => self.finish_gone(now, &agent, since, request, out),
                    Pending::Prune(agents) => self.finish_prune(now, &agents, out),
                    Pending::Standing(change) => self.restood(now, *change, out),
                    Pending::Complete(framework) => self.complete_framework(now, framework, out),
                    Pending::Quota(granted) => self.grant_quota(now, granted, out),
                    Pending::QuotaRemoved(request, role) => self.drop_quota(now, request, &role, out),
                    Pending::Weights(weighed) => self.weigh(now, weighed, out),
                    Pending::Maintenance(planned) => self.maintain(now, planned, out),
                    Pending::Forget => {}
                }
            }
        }
    }

    /// This master leads no more: operators who wait for a write hear so.
    fn refuse_operators(&mut self, out: &mut Effects) {
        for write in self.writes.in_flight.values() {
            let request = match &write.pending {
                Pending::Quota(granted) => granted.request(),
                Pending::QuotaRemoved(request, _) => *request,
                Pending::Weights(weighed) => weighed.request(),
                Pending::Maintenance(planned) => planned.request(),
                Pending::Admit(_)
                | Pending::Return(_)
                | Pending::Remove(_)
                | Pending::RecoveredUnreachable(..)
                | Pending::Complete(_)
                | Pending::Gone { .. }
                | Pending::Standing(_)
                | Pending::Prune(_)
                | Pending::Forget => continue,
            };
            out.push(Effect::Reply(request, Answer::new(503, "No leader elected")));
        }
    }

    pub(crate) fn on_retry(&mut self, ticket: Ticket, out: &mut Effects) {
        if let Some(write) = self.writes.in_flight.get(&ticket) {
            out.push(Effect::Write(ticket, write.ops.clone()));
        }
    }
}
