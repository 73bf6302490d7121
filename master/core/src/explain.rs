//! EXPLAIN: why a framework is not offered what it waits for. The allocator goes through the agents in slices between
//! the core's other steps.

use std::{collections::VecDeque, sync::Arc};

use mezzo_api::{
    resources::Resources,
    roles,
    time::Now,
    v1::scheduler::{OfferConstraints, offer_constraints::RoleConstraints},
};
use serde_json::{Map, Value, json};

use crate::{
    allocator::{Group, Inquiry, Nearest, Quantities, Question, Reason, Standing},
    core::Core,
    effect::{Answer, Effect, Effects},
    input::RequestId,
    keys::{AgentKey, FrameworkKey},
    validate::constraints::ConstraintFilter,
};

/// Agents that a slice looks at: some hundred microseconds.
const SLICE: usize = 256;

/// Questions under way. More are refused.
const MOST: usize = 64;

/// Why is a framework not offered this?
#[derive(Clone, Debug, Default)]
pub struct Explain {
    /// Whose offers.
    pub framework_id: String,
    /// For which role; may be left out if the framework has one.
    pub role: Option<String>,
    /// What one offer should hold, e.g. `cpus:4;mem:8192`; empty for anything.
    pub resources: String,
    /// Agents beside which others are of no interest, besides the framework's own constraints.
    pub constraints: Option<RoleConstraints>,
}

/// Questions that wait for their end.
#[derive(Debug, Default)]
pub(crate) struct Inquiries(VecDeque<(RequestId, Inquiry)>);

impl Inquiries {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Core {
    pub(crate) fn on_explain(&mut self, request: RequestId, explain: &Explain, out: &mut Effects) {
        let question = self.question(explain).and_then(|question| {
            if self.inquiries.0.len() >= MOST {
                return Err(Answer::new(503, format!("{MOST} questions are being answered: ask again later")));
            }
            let role = question.role.clone();
            let unknown = || Answer::new(400, format!("Framework does not have the role '{role}'"));
            self.allocator.inquire(question).ok_or_else(unknown)
        });
        match question {
            Ok(inquiry) => self.inquiries.0.push_back((request, inquiry)),
            Err(answer) => out.push(Effect::Reply(request, answer)),
        }
    }

    fn question(&self, explain: &Explain) -> Result<Question, Answer> {
        let bad = |text: String| Answer::new(400, text);
        let Some(framework) = self.live_framework(&explain.framework_id) else {
            return Err(Answer::new(404, "No framework found with specified ID"));
        };
        let subscribed = self.frameworks.get(framework).map(|framework| &framework.roles);
        let role = match (&explain.role, subscribed) {
            (Some(role), _) => role.clone(),
            (None, Some(known)) if known.len() == 1 => known.iter().next().cloned().unwrap_or_default(),
            _ => return Err(bad("Missing 'role': the framework has several".to_owned())),
        };
        roles::validate(&role).map_err(|error| bad(error.to_string()))?;
        let wanted =
            Resources::parse(&explain.resources, "*").map_err(|error| bad(format!("Invalid 'resources': {error}")))?;
        let constraints = explain.constraints.clone().map(|constraints| {
            let role_constraints = [(role.clone(), constraints)].into_iter().collect();
            ConstraintFilter::new(&OfferConstraints { role_constraints })
        });
        let constraints =
            constraints.transpose().map_err(|invalid| bad(format!("Invalid 'constraints': {invalid}")))?;
        Ok(Question { framework, role, wanted: wanted.to_unreserved(), constraints: constraints.map(Arc::new) })
    }

    /// Goes on with the oldest question.
    pub(crate) fn go_on_explaining(&mut self, now: Now, out: &mut Effects) {
        let Some((request, mut inquiry)) = self.inquiries.0.pop_front() else { return };
        self.allocator.go_on(&mut inquiry, SLICE, &|agent| self.offers_of(agent));
        if !inquiry.is_done() {
            self.inquiries.0.push_front((request, inquiry));
            return;
        }
        let answer = match self.allocator.standing(&inquiry.question) {
            Some(standing) => Answer::new(200, self.explanation(now, &inquiry, &standing).to_string()),
            None => Answer::new(404, "No framework found with specified ID"),
        };
        out.push(Effect::Reply(request, answer));
    }

    fn offers_of(&self, agent: AgentKey) -> Vec<(FrameworkKey, Resources)> {
        let numbers = self.agents.get(agent).into_iter().flat_map(|agent| &agent.offers);
        let offers = numbers.filter_map(|number| self.offers.get(*number));
        offers
            .map(|offer| {
                let mut resources = offer.view.resources.clone();
                resources.unallocate();
                (offer.framework, resources)
            })
            .collect()
    }

    fn explanation(&self, now: Now, inquiry: &Inquiry, standing: &Standing) -> Value {
        let question = &inquiry.question;
        let framework = self.frameworks.get(question.framework);
        let held = framework.map_or(0, |framework| {
            let of_role =
                |number: &&_| self.offers.get(**number).is_some_and(|offer| *offer.view.role == *question.role);
            framework.offers.iter().filter(of_role).count()
        });
        let reasons: Vec<Value> = inquiry.groups.iter().map(|(reason, group)| self.group(now, reason, group)).collect();
        json!({
            "framework_id": framework.map(|framework| framework.id.as_str()),
            "role": question.role,
            "resources": question.wanted.to_string(),
            "obstacles": self.obstacles(now, standing),
            "outstanding_offers": held,
            "order": order(standing),
            "headroom": { "free": shown(&standing.headroom), "kept_for_guarantees": shown(&standing.promised) },
            "agents": inquiry.agents,
            "free_agents": { "agents": inquiry.free_agents, "examples": self.examples(&inquiry.free),
                "text": "nothing keeps them from the framework but its turn" },
            "reasons": by_count(reasons),
            "nearest": inquiry.nearest.as_ref().map(|nearest| self.nearest(nearest)),
        })
    }

    /// What keeps every agent from the framework.
    fn obstacles(&self, now: Now, standing: &Standing) -> Vec<String> {
        let mut obstacles = Vec::new();
        if !standing.subscribed {
            obstacles.push("the framework does not subscribe to the role any more".to_owned());
        }
        if !standing.active {
            obstacles.push("the framework is not connected".to_owned());
        }
        if standing.suppressed {
            obstacles.push("the framework has suppressed offers for the role".to_owned());
        }
        if let Some(until) = self.allocator.paused_until() {
            let left = until.saturating_sub(now.mono).as_secs();
            obstacles.push(format!(
                "quotas are set and this master waits for its agents to come back, for {left} s at most"
            ));
        }
        obstacles
    }

    fn group(&self, now: Now, reason: &Reason, group: &Group) -> Value {
        let mut shown = self.reason(reason);
        shown.insert("agents".into(), group.agents.into());
        shown.insert("examples".into(), self.examples(&group.examples));
        if let Some(end) = group.first_end {
            let seconds = end.saturating_sub(now.mono).as_secs_f64();
            shown.insert("first_ends_in_secs".into(), seconds.into());
        }
        if let Some(least) = &group.least {
            shown.insert("least_lacking".into(), self::shown(least));
        }
        Value::Object(shown)
    }

    fn reason(&self, reason: &Reason) -> Map<String, Value> {
        let (name, text) = match reason {
            Reason::Inactive => ("inactive", "the agent is not connected, or is leaving".to_owned()),
            Reason::NotListed => ("whitelist", "the agent's host is not on the whitelist".to_owned()),
            Reason::Capability(name) => ("capability", format!("the framework lacks {name}")),
            Reason::AgentCapability(name) => ("agent_capability", format!("the agent lacks {name}")),
            Reason::Domain => {
                ("domain", "the agent is in another region, and the framework lacks REGION_AWARE".to_owned())
            }
            Reason::Constraint => ("constraint", "the framework's offer constraints exclude the agent".to_owned()),
            Reason::AskedConstraint => ("asked_constraint", "the question's constraints exclude the agent".to_owned()),
            Reason::Filter => ("filter", "the framework refused what is free of the agent".to_owned()),
            Reason::TooSmall => ("too_small", "the agent does not have as much".to_owned()),
            Reason::Reserved(role) => ("reserved", format!("it is reserved for role {role}")),
            Reason::InUse => ("in_use", "tasks use it".to_owned()),
            Reason::Offered(framework) => {
                let id = self.frameworks.get(*framework).map_or("", |framework| framework.id.as_str());
                ("offered", format!("it is in an outstanding offer of framework {id}"))
            }
            Reason::Limit(role) => ("limit", format!("the quota limit of role {role} does not allow more")),
            Reason::Promised => ("guarantees", "it is kept free for roles whose guarantees are not met yet".to_owned()),
            Reason::BelowMinimum => ("below_minimum", "it is less than the least that is offered".to_owned()),
        };
        let mut shown = Map::new();
        shown.insert("reason".into(), name.into());
        shown.insert("text".into(), text.into());
        match reason {
            Reason::Reserved(role) | Reason::Limit(role) => drop(shown.insert("role".into(), role.as_str().into())),
            Reason::Offered(framework) => {
                let id = self.frameworks.get(*framework).map(|framework| framework.id.as_str());
                shown.insert("framework_id".into(), id.into());
            }
            Reason::Capability(name) | Reason::AgentCapability(name) => {
                shown.insert("capability".into(), (*name).into());
            }
            _ => {}
        }
        shown
    }

    fn nearest(&self, nearest: &Nearest) -> Value {
        let (id, hostname) = self.allocator.agent_names(nearest.agent).unwrap_or_default();
        json!({
            "agent_id": id,
            "hostname": hostname,
            "lacks": shown(&nearest.lacks),
            "reasons": nearest.reasons.iter().map(|reason| self.reason(reason)).collect::<Vec<_>>(),
        })
    }

    fn examples(&self, agents: &[AgentKey]) -> Value {
        agents.iter().filter_map(|agent| Some(self.allocator.agent_names(*agent)?.0)).collect()
    }
}

fn order(standing: &Standing) -> Value {
    let steps: Vec<Value> = standing
        .steps
        .iter()
        .map(|step| {
            let quota = step.quota.as_ref().map(|quota| {
                let limits: Map<String, Value> =
                    quota.limits.iter().map(|(name, limit)| (name.to_owned(), limit.as_f64().into())).collect();
                json!({ "guarantees": shown(&quota.guarantees), "limits": limits })
            });
            json!({
                "role": step.role,
                "share": step.share,
                "weight": step.weight,
                "dominant_resource": step.dominant,
                "place": step.place,
                "of": step.of,
                "consumed": shown(&step.consumed),
                "quota": quota,
            })
        })
        .collect();
    json!({
        "roles": steps,
        "framework": { "share": standing.share, "place": standing.place, "of": standing.of },
    })
}

fn shown(quantities: &Quantities) -> Value {
    quantities.iter().map(|(name, amount)| (name.to_owned(), Value::from(amount.as_f64()))).collect()
}

/// The most frequent first.
fn by_count(mut reasons: Vec<Value>) -> Vec<Value> {
    reasons.sort_by_key(|reason| std::cmp::Reverse(reason["agents"].as_u64()));
    reasons
}
