//! Why somebody is not offered something: for each agent every reason, grouped and counted. An inquiry goes through the
//! agents in slices, so that it never holds up what is urgent.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use mezzo_api::{
    ids::AgentId,
    resources::{Resource, Resources, Scalar, Value},
};

use super::{
    Allocator, Quantities,
    agents::{Agent, Bars},
    amounts::Name,
    clients::{Client, ClientKey},
    filters::slot_of,
    rules::{is_for, meets},
    tree::{Role, RoleKey},
};
use crate::{
    keys::{AgentKey, FrameworkKey},
    validate::constraints::ConstraintFilter,
};

/// Agents that are named for a reason.
const EXAMPLES: usize = 5;

/// What somebody wants to know.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    pub(crate) framework: FrameworkKey,
    pub(crate) role: String,
    /// What a single offer should hold; nothing is "anything that may be offered".
    pub(crate) wanted: Resources,
    /// Agents beside which others are of no interest.
    pub(crate) constraints: Option<Arc<ConstraintFilter>>,
}

/// Why an agent is not being offered.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reason {
    /// It is not connected, or is being removed.
    Inactive,
    /// The operator's whitelist does not name it.
    NotListed,
    /// The framework lacks a capability that the agent asks for.
    Capability(&'static str),
    /// The agent lacks one that the framework's role asks for.
    AgentCapability(&'static str),
    /// It is in another region than the master.
    Domain,
    /// The framework's offer constraints exclude it.
    Constraint,
    /// Those of the question do.
    AskedConstraint,
    /// The framework refused it before.
    Filter,
    /// It does not have as much.
    TooSmall,
    /// What would be needed is reserved for another role.
    Reserved(String),
    /// What would be needed is used by tasks.
    InUse,
    /// What would be needed is in an outstanding offer.
    Offered(FrameworkKey),
    /// The quota of this role does not allow more.
    Limit(String),
    /// It is kept free for roles whose guarantees are not met.
    Promised,
    /// What is left is less than the least that is offered.
    BelowMinimum,
}

/// Agents for which one reason holds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Group {
    pub(crate) agents: usize,
    pub(crate) examples: Vec<AgentKey>,
    /// When the first of their filters ends.
    pub(crate) first_end: Option<Duration>,
    /// The least that any of them lacks.
    pub(crate) least: Option<Quantities>,
}

/// The agent that comes nearest.
#[derive(Clone, Debug)]
pub(crate) struct Nearest {
    pub(crate) agent: AgentKey,
    pub(crate) reasons: Vec<Reason>,
    pub(crate) lacks: Quantities,
    distance: (usize, u64),
}

/// One on the way from the top of the tree to the role.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) role: String,
    pub(crate) share: f64,
    pub(crate) weight: f64,
    /// The name of which it has the largest part.
    pub(crate) dominant: Option<String>,
    /// Its place among those beside it that want offers, from 1; `None` if nobody in it does.
    pub(crate) place: Option<usize>,
    pub(crate) of: usize,
    pub(crate) consumed: Quantities,
    pub(crate) quota: Option<super::Quota>,
}

/// Where the framework and its role stand.
#[derive(Clone, Debug)]
pub(crate) struct Standing {
    pub(crate) subscribed: bool,
    pub(crate) active: bool,
    pub(crate) suppressed: bool,
    pub(crate) steps: Vec<Step>,
    /// The framework's share, and its place among those of its role that want offers.
    pub(crate) share: f64,
    pub(crate) place: Option<usize>,
    pub(crate) of: usize,
    /// What is free and counts against quota, and what of it is kept for guarantees.
    pub(crate) headroom: Quantities,
    pub(crate) promised: Quantities,
}

/// A question under way.
#[derive(Debug)]
pub(crate) struct Inquiry {
    pub(crate) question: Question,
    left: Vec<AgentKey>,
    /// Agents that were looked at, and those of which nothing keeps the framework: it is a matter of its turn.
    pub(crate) agents: usize,
    pub(crate) free: Vec<AgentKey>,
    pub(crate) free_agents: usize,
    pub(crate) groups: BTreeMap<Reason, Group>,
    pub(crate) nearest: Option<Nearest>,
}

/// What is known of one agent.
struct Finding {
    reasons: Vec<Reason>,
    filter_ends: Option<Duration>,
    lacks: Quantities,
}

impl Inquiry {
    /// Whether every agent was looked at.
    pub(crate) fn is_done(&self) -> bool {
        self.left.is_empty()
    }

    fn enter(&mut self, key: AgentKey, finding: Finding) {
        self.agents += 1;
        if finding.reasons.is_empty() {
            self.free_agents += 1;
            if self.free.len() < EXAMPLES {
                self.free.push(key);
            }
            return;
        }
        for reason in &finding.reasons {
            let group = self.groups.entry(reason.clone()).or_default();
            group.agents += 1;
            if group.examples.len() < EXAMPLES {
                group.examples.push(key);
            }
            if *reason == Reason::Filter {
                group.first_end = [group.first_end, finding.filter_ends].into_iter().flatten().min();
            }
            if reason.is_about_amounts() && !finding.lacks.is_empty() {
                let better = group.least.as_ref().is_none_or(|least| {
                    distance(&finding.lacks, &self.question.wanted) < distance(least, &self.question.wanted)
                });
                if better {
                    group.least = Some(finding.lacks.clone());
                }
            }
        }
        let distance = (finding.reasons.len(), distance(&finding.lacks, &self.question.wanted));
        if self.nearest.as_ref().is_none_or(|nearest| distance < nearest.distance) {
            self.nearest = Some(Nearest { agent: key, reasons: finding.reasons, lacks: finding.lacks, distance });
        }
    }
}

impl Reason {
    fn is_about_amounts(&self) -> bool {
        matches!(
            self,
            Self::TooSmall | Self::Reserved(_) | Self::InUse | Self::Offered(_) | Self::Limit(_) | Self::Promised
        )
    }
}

/// How far off the lacking amounts are, in millionths of what is wanted.
fn distance(lacks: &Quantities, wanted: &Resources) -> u64 {
    let part = |(name, amount): (&str, Scalar)| {
        let wanted = wanted.scalar(name).as_f64();
        if wanted > 0.0 { amount.as_f64() / wanted } else { amount.as_f64() }
    };
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // saturates
    let millionths = (lacks.iter().map(part).sum::<f64>() * 1e6) as u64;
    millionths
}

/// What of the wanted amounts is not there, over all kinds of a name; and whether anything is not, ports included.
fn lacking(there: &Resources, wanted: &Resources) -> (Quantities, bool) {
    let names = wanted.names();
    let short = |name: &&str| {
        let amount = wanted.scalar(name) - there.scalar(name);
        ((*name).to_owned(), amount)
    };
    let lacks: Quantities = names.iter().map(short).collect();
    let no_numbers = wanted.iter().any(|resource| match resource.value() {
        Value::Scalar(_) => false,
        Value::Ranges(ranges) => !there.ranges(resource.name()).contains(ranges),
        Value::Set(items) => !items.iter().all(|item| has_item(there, resource.name(), item)),
    });
    let any = no_numbers || !lacks.is_empty();
    (lacks, any)
}

fn has_item(there: &Resources, name: &str, item: &String) -> bool {
    let of_name = there.iter().filter(|resource| resource.name() == name);
    of_name.into_iter().any(|resource| matches!(resource.value(), Value::Set(items) if items.contains(item)))
}

impl Allocator {
    /// Begins an inquiry; `None` if the framework has nothing to do with the role.
    pub(crate) fn inquire(&self, question: Question) -> Option<Inquiry> {
        self.clients.find(question.framework, &question.role)?;
        let mut left: Vec<AgentKey> = self.agents.keys().collect();
        left.reverse();
        Some(Inquiry {
            question,
            left,
            agents: 0,
            free: Vec::new(),
            free_agents: 0,
            groups: BTreeMap::new(),
            nearest: None,
        })
    }

    /// Looks at some more agents. `offers` tells the outstanding offers of an agent.
    pub(crate) fn go_on(
        &self,
        inquiry: &mut Inquiry,
        agents: usize,
        offers: &impl Fn(AgentKey) -> Vec<(FrameworkKey, Resources)>,
    ) {
        let client_key = self.clients.find(inquiry.question.framework, &inquiry.question.role);
        let Some((client_key, client)) = client_key.and_then(|key| Some((key, self.clients.get(key)?))) else {
            inquiry.left.clear(); // the framework is gone
            return;
        };
        for _ in 0..agents {
            let Some(key) = inquiry.left.pop() else { return };
            if let Some(agent) = self.agents.get(key) {
                let finding = self.look_at(&inquiry.question, (client_key, client), key, agent, &offers(key));
                inquiry.enter(key, finding);
            }
        }
    }

    /// Where the framework and its role stand just now.
    pub(crate) fn standing(&self, question: &Question) -> Option<Standing> {
        let client_key = self.clients.find(question.framework, &question.role)?;
        let client = self.clients.get(client_key)?;
        let role = self.tree.get(client.role);
        let mut steps: Vec<Step> = self.tree.path(client.role).map(|key| self.step(key)).collect();
        steps.reverse();
        Some(Standing {
            subscribed: client.subscribed,
            active: client.active,
            suppressed: client.suppressed,
            steps,
            share: client.share(),
            place: role.clients.iter().position(|(_, key)| *key == client_key).map(|at| at + 1),
            of: role.clients.len(),
            headroom: self.quantities(&self.headroom),
            promised: self.quantities(self.tree.required()),
        })
    }

    /// An agent's id and host name.
    pub(crate) fn agent_names(&self, key: AgentKey) -> Option<(&str, &str)> {
        let info = &self.agents.get(key)?.info;
        Some((info.id().map_or("", AgentId::as_str), info.hostname()))
    }

    fn step(&self, key: RoleKey) -> Step {
        let role = self.tree.get(key);
        let (place, of) = self.tree.place(key);
        let dominant = self.totals.dominant(&role.held.taken).map(|name| self.names.text(name).to_owned());
        Step {
            role: role.name.to_string(),
            share: role.share(),
            weight: role.weight,
            dominant,
            place,
            of,
            consumed: self.consumed(&role.name),
            quota: role.quota.as_ref().map(|bound| bound.as_set.clone()),
        }
    }

    fn look_at(
        &self,
        question: &Question,
        (_, client): (ClientKey, &Client),
        key: AgentKey,
        agent: &Agent,
        offers: &[(FrameworkKey, Resources)],
    ) -> Finding {
        let mut reasons = Vec::new();
        self.look_at_agent(question, client, key, agent, &mut reasons);
        let role = &question.role;
        let bundle = self.explained_offer(client, role, agent);
        let filter_ends = client.filters.covered_until(key, &agent.references, &bundle).filter(|_| !bundle.is_empty());
        if filter_ends.is_some() {
            reasons.push(Reason::Filter);
        }
        let lacks = self.look_at_amounts(question, client, agent, offers, &bundle, &mut reasons);
        Finding { reasons, filter_ends, lacks }
    }

    /// What has nothing to do with amounts.
    fn look_at_agent(
        &self,
        question: &Question,
        client: &Client,
        key: AgentKey,
        agent: &Agent,
        reasons: &mut Vec<Reason>,
    ) {
        let barred = client.barred_by.common(self.bars(agent));
        let kinds = [
            (!agent.active, Reason::Inactive),
            (!agent.listed, Reason::NotListed),
            (barred.has(Bars::WITHOUT_GPUS), Reason::Capability("GPU_RESOURCES")),
            (barred.has(Bars::OF_ONE_REGION), Reason::Domain),
            (barred.has(Bars::MULTI_ROLE), Reason::AgentCapability("MULTI_ROLE")),
            (barred.has(Bars::NESTED_ROLE), Reason::AgentCapability("HIERARCHICAL_ROLE")),
            (!Self::allowed(client, &question.role, slot_of(key), agent), Reason::Constraint),
        ];
        reasons.extend(kinds.into_iter().filter(|(is, _)| *is).map(|(_, reason)| reason));
        if question.constraints.as_ref().is_some_and(|asked| !asked.allows(&question.role, &agent.info)) {
            reasons.push(Reason::AskedConstraint);
        }
    }

    /// What keeps the wanted amounts from the framework: the first thing that does, from the agent's size to the least
    /// that is offered. The answer is what lacks.
    fn look_at_amounts(
        &self,
        question: &Question,
        client: &Client,
        agent: &Agent,
        offers: &[(FrameworkKey, Resources)],
        bundle: &Resources,
        reasons: &mut Vec<Reason>,
    ) -> Quantities {
        let (wanted, role) = (&question.wanted, question.role.as_str());
        let (lacks, any) = lacking(&agent.total, wanted);
        if any {
            reasons.push(Reason::TooSmall);
            return lacks;
        }
        let mine = |resources: &Resources| resources.filter(|resource| is_for(resource, role, client.takes));
        let (lacks, any) = lacking(&mine(&agent.total), wanted);
        if any {
            self.blame_reservations(client, role, agent, &lacks, reasons);
            return lacks;
        }
        let minimum = client.minimum.as_deref().unwrap_or(&self.min_allocatable);
        let enough = |there: &Resources| {
            let (lacks, any) = lacking(there, wanted);
            (lacks, any || !meets(there, minimum))
        };
        let (lacks, short) = enough(&mine(&agent.available));
        if short {
            let mut free = mine(&agent.available);
            for (framework, offered) in offers {
                let offered = mine(offered);
                if !offered.is_empty() {
                    free += &offered;
                    reasons.push(Reason::Offered(*framework));
                }
            }
            reasons.dedup();
            if enough(&free).1 {
                reasons.push(if agent.taken().is_empty() { Reason::BelowMinimum } else { Reason::InUse });
            }
            return lacks;
        }
        let (lacks, short) = enough(bundle);
        if short {
            reasons.push(self.blame_quota(client, wanted, &lacks));
        }
        lacks
    }

    fn blame_reservations(
        &self,
        client: &Client,
        role: &str,
        agent: &Agent,
        lacks: &Quantities,
        reasons: &mut Vec<Reason>,
    ) {
        let lacking = |resource: &&Resource| !lacks.get(resource.name()).is_zero();
        for resource in agent.total.iter().filter(lacking) {
            if let Some(other) = resource.reservation_role().filter(|_| !resource.is_allocatable_to(role)) {
                reasons.push(Reason::Reserved(other.to_owned()));
            } else if resource.is_revocable() && !client.takes.revocable {
                reasons.push(Reason::Capability("REVOCABLE_RESOURCES"));
            } else if resource.is_shared() && !client.takes.shared {
                reasons.push(Reason::Capability("SHARED_RESOURCES"));
            } else if resource.has_refined_reservations() && !client.takes.refined {
                reasons.push(Reason::Capability("RESERVATION_REFINEMENT"));
            }
        }
        reasons.sort();
        reasons.dedup();
    }

    /// The nearest role whose limit does not allow what is wanted; without one it is kept for guarantees.
    fn blame_quota(&self, client: &Client, wanted: &Resources, lacks: &Quantities) -> Reason {
        let reached = |role: &Role, (name, limit): &(Name, Scalar)| {
            let (text, room) = (self.names.text(*name), *limit - role.consumed(*name));
            if lacks.is_empty() {
                room <= Scalar::ZERO
            } else {
                lacks.get(text) > Scalar::ZERO && wanted.scalar(text) > room
            }
        };
        let limits = |role: &&Role| {
            role.quota.as_ref().is_some_and(|bound| bound.limits.iter().any(|limit| reached(role, limit)))
        };
        let mut path = self.tree.path(client.role).map(|key| self.tree.get(key));
        path.find(limits).map_or(Reason::Promised, |role| Reason::Limit(role.name.to_string()))
    }

    /// What the client would be offered of the agent if it were its turn.
    fn explained_offer(&self, client: &Client, role: &str, agent: &Agent) -> Resources {
        let mine = agent.available.filter(|resource| is_for(resource, role, client.takes));
        self.within_quota(client.role, &mine)
    }
}
