//! Random clusters, step by step, beside the oracle: the same offers, the same shares, the same quota decisions; and after
//! each step every invariant.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use mezzo_api::{
    codec::{Encoding, decode},
    resources::{Resource, Resources, Scalar, Value},
    v1::{
        self, AgentInfo,
        scheduler::{
            AttributeConstraint, OfferConstraints,
            attribute_constraint::{Predicate, Selector, predicate, selector},
            offer_constraints::{RoleConstraints, role_constraints::Group},
        },
    },
};
use rand::{Rng, SeedableRng, rngs::SmallRng, seq::IndexedRandom};
use slotmap::SlotMap;

use super::{
    super::{Allocator, FrameworkOptions, Limits, Quantities, Quota, config, unallocated},
    model::{Agent, Filter, Framework, Held, Model},
};
use crate::{
    description::Description,
    frameworks::Capabilities,
    input::AllocatorConfig,
    keys::{AgentKey, FrameworkKey},
    validate::constraints::ConstraintFilter,
};

const ROLES: [&str; 8] = ["*", "a", "a/b", "a/b/c", "a/d", "b", "b/a", "c"];
const ZONES: [&str; 2] = ["north", "south"];

pub(super) struct Walk {
    rng: SmallRng,
    now: Duration,
    allocator: Allocator,
    model: Model,
    framework_keys: SlotMap<FrameworkKey, ()>,
    agent_keys: SlotMap<AgentKey, ()>,
    number: usize,
}

impl Walk {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            rng: SmallRng::seed_from_u64(seed),
            now: Duration::from_secs(1000),
            allocator: Allocator::new(&config(AllocatorConfig::default()), seed),
            model: Model::default(),
            framework_keys: SlotMap::with_key(),
            agent_keys: SlotMap::with_key(),
            number: 0,
        }
    }

    pub(super) fn step(&mut self) {
        self.now += Duration::from_millis(1);
        match self.rng.random_range(0..100) {
            0..8 => self.add_agent(),
            8..10 => self.remove_agent(),
            10..14 => self.change_agent(),
            14..16 => self.list_agents(),
            16..24 => self.put_framework(),
            24..26 => self.remove_framework(),
            26..29 => self.connect_or_not(),
            29..35 => self.suppress_or_revive(),
            35..55 => self.give_back(),
            55..61 => self.convert(),
            61..63 => self.take(),
            63..71 => self.set_quota(),
            71..74 => self.set_weight(),
            74..77 => self.jump(),
            _ => {}
        }
        self.model.forget();
        self.allocator.check_touched(&mut Vec::new());
        self.allocator.check();
        self.allocator.checked_agrees();
        self.run();
        self.model.forget();
        self.allocator.check_touched(&mut Vec::new());
        self.allocator.check();
        self.compare();
    }

    fn run(&mut self) {
        self.now += Duration::from_millis(5);
        self.allocator.end_filters(self.now);
        let before: Vec<_> = self.model.agents.keys().copied().collect();
        let surplus = |walk: &Self| -> Vec<bool> {
            let names = ["cpus", "mem", "disk"];
            let of = |name: &str| {
                let number = walk.allocator.names.find(name);
                number.is_none_or(|number| {
                    walk.allocator.headroom.get(number) >= walk.allocator.tree.required().get(number)
                })
            };
            names.map(of).to_vec()
        };
        let kept = surplus(self);
        let batch = self.allocator.next_batch(self.now);
        assert!(batch.iter().all(|agent| before.contains(agent)), "agents that are there");
        let expected = self.model.serve(&batch);
        let made = self.allocator.serve(self.now, &batch);
        assert_eq!(made.len(), expected.len(), "offers: {made:#?}\nexpected: {expected:#?}");
        for (allocation, (framework, role, agent, resources)) in made.iter().zip(&expected) {
            assert_eq!(
                (allocation.framework, &*allocation.role, allocation.agent, &unallocated(&allocation.resources)),
                (*framework, role.as_str(), *agent, resources),
                "offers: {made:#?}\nexpected: {expected:#?}"
            );
            self.no_limit_is_passed(role, resources);
        }
        for (before, after) in kept.into_iter().zip(surplus(self)) {
            assert!(after || !before, "what was kept for guarantees was given away");
        }
    }

    /// What counts and was just given is within the limits of the role and of those above it.
    fn no_limit_is_passed(&self, role: &str, given: &Resources) {
        let counted = given.filter(super::super::rules::counts);
        for above in std::iter::once(role).chain(mezzo_api::roles::ancestors(role)) {
            let Some(quota) = self.model.quotas.get(above) else { continue };
            for (name, limit) in quota.limits.iter() {
                let consumed = self.allocator.consumed(above).get(name);
                assert!(
                    counted.scalar(name).is_zero() || consumed <= limit,
                    "{above} has {consumed} of {limit} {name}"
                );
            }
        }
    }

    fn compare(&mut self) {
        self.allocator.refresh_shares(self.now);
        let mut order = Vec::new();
        self.allocator.tree.in_order(&mut |_, role| -> Option<()> {
            let clients = role.clients.iter().filter_map(|(_, client)| self.allocator.clients.get(*client));
            order.extend(clients.map(|client| (role.name.to_string(), client.framework)));
            None
        });
        assert_eq!(order, self.model.in_order(), "the order; served by the oracle: {:#?}", self.model.served);
        for agent in self.model.agents.keys() {
            assert_eq!(self.allocator.available(*agent), Some(&self.model.available(*agent)), "free of {agent:?}");
        }
        for role in ROLES {
            let consumed = self.model.consumed(role).into_iter().collect::<Quantities>();
            assert_eq!(self.allocator.consumed(role), consumed, "consumed by {role}");
            if let Some(key) = self.allocator.tree.find(role) {
                let role = self.allocator.tree.get(key);
                assert_eq!(role.share(), self.model.role_share(&role.name), "share of {}", role.name);
                let served = self.model.served.get(&*role.name).copied().unwrap_or_default();
                assert_eq!(role.held.served, served, "how often {} was served", role.name);
            }
        }
        assert_eq!(self.allocator.total(), self.model.totals().into_iter().collect(), "the cluster");
    }

    fn agent(&mut self) -> Option<AgentKey> {
        let keys: Vec<AgentKey> = self.model.agents.keys().copied().collect();
        keys.choose(&mut self.rng).copied()
    }

    fn framework(&mut self) -> Option<FrameworkKey> {
        let keys: Vec<FrameworkKey> = self.model.frameworks.keys().copied().collect();
        keys.choose(&mut self.rng).copied()
    }

    fn role(&mut self) -> String {
        (*ROLES.choose(&mut self.rng).unwrap()).to_owned()
    }

    /// Some of everything.
    fn resources(&mut self) -> Resources {
        let mut text = format!(
            "cpus:{};mem:{};disk:{};ports:[31000-31009]",
            self.rng.random_range(0..8),
            self.rng.random_range(0..4) * 100,
            self.rng.random_range(0..3) * 50,
        );
        for _ in 0..self.rng.random_range(0..3) {
            let role = *ROLES[1..].choose(&mut self.rng).unwrap();
            text += &format!(";cpus({role}):{};mem({role}):64", self.rng.random_range(1..4));
        }
        let mut resources = Resources::parse(&text, "*").unwrap();
        let extras = [
            r#"{"name":"cpus","type":"SCALAR","scalar":{"value":2},"revocable":{}}"#,
            r#"{"name":"gpus","type":"SCALAR","scalar":{"value":1}}"#,
            r#"{"name":"disk","type":"SCALAR","scalar":{"value":40},
                "disk":{"source":{"type":"MOUNT","mount":{"root":"/m"}}}}"#,
            r#"{"name":"disk","type":"SCALAR","scalar":{"value":10},"shared":{},
                "reservations":[{"type":"DYNAMIC","role":"a"}],
                "disk":{"persistence":{"id":"v"},"volume":{"container_path":"v","mode":"RW"}}}"#,
            r#"{"name":"mem","type":"SCALAR","scalar":{"value":64},
                "reservations":[{"type":"STATIC","role":"a"},{"type":"DYNAMIC","role":"a/b"}]}"#,
        ];
        for extra in extras {
            if self.rng.random_bool(0.15) {
                let extra: v1::Resource = decode(Encoding::Json, extra.as_bytes()).unwrap();
                resources += &Resources::from_protos(&[extra]).unwrap();
            }
        }
        resources
    }

    fn add_agent(&mut self) {
        if self.model.agents.len() >= 8 {
            return;
        }
        self.number += 1;
        let zone = (*ZONES.choose(&mut self.rng).unwrap()).to_owned();
        let hostname = format!("h{}", self.number % 4);
        let attribute = v1::Attribute {
            name: "zone".into(),
            r#type: v1::value::Type::Text.into(),
            text: Some(v1::value::Text { value: zone.clone() }),
            ..Default::default()
        };
        let info = AgentInfo { hostname: hostname.clone(), attributes: vec![attribute], ..Default::default() };
        let total = Arc::new(self.resources());
        let key = self.agent_keys.insert(());
        self.allocator.add_agent(self.now, key, Description::new(&info), total.clone(), true);
        self.model.agents.insert(key, Agent { hostname, zone, total, active: true });
    }

    fn remove_agent(&mut self) {
        let Some(key) = self.agent() else { return };
        self.release(|held| held.agent == key);
        self.allocator.remove_agent(key);
        self.agent_keys.remove(key);
        self.model.agents.remove(&key);
        self.model.filters.retain(|filter| filter.agent != key);
    }

    fn change_agent(&mut self) {
        let Some(key) = self.agent() else { return };
        let agent = self.model.agents.get_mut(&key).unwrap();
        if self.rng.random_bool(0.5) {
            agent.active = !agent.active;
            let active = agent.active;
            self.allocator.set_agent_active(self.now, key, active);
            return;
        }
        // More of what it has, so that what is taken of it stays there.
        let more = Resources::parse("cpus:1;mem:32;cpus(b):1", "*").unwrap();
        let total = Arc::new(&*agent.total + &more);
        agent.total = total.clone();
        self.allocator.update_total(self.now, key, total);
    }

    fn list_agents(&mut self) {
        let all: BTreeSet<String> = (0..4).filter(|_| self.rng.random_bool(0.7)).map(|n| format!("h{n}")).collect();
        let listed = self.rng.random_bool(0.5).then_some(all);
        self.model.whitelist = listed.clone();
        self.allocator.set_whitelist(self.now, listed);
    }

    fn put_framework(&mut self) {
        let known = self.framework().filter(|_| self.rng.random_bool(0.4) || self.model.frameworks.len() >= 6);
        let key = known.unwrap_or_else(|| self.framework_keys.insert(()));
        let id = self.model.frameworks.get(&key).map(|known| known.id.clone());
        let id = id.unwrap_or_else(|| {
            self.number += 1;
            format!("f{:04}", self.rng.random_range(0..10) * 1000 + self.number)
        });
        let mut roles: BTreeSet<String> = BTreeSet::new();
        for _ in 0..self.rng.random_range(1..4) {
            roles.insert(self.role());
        }
        let suppressed = roles.iter().filter(|_| self.rng.random_bool(0.1)).cloned().collect();
        let mut flip = || self.rng.random_bool(0.5);
        let capabilities = Capabilities {
            partition_aware: true,
            multi_role: true,
            reservation_refinement: flip(),
            gpu_resources: flip(),
            revocable_resources: flip(),
            shared_resources: flip(),
            region_aware: true,
        };
        let zone = self.rng.random_bool(0.2).then(|| (*ZONES.choose(&mut self.rng).unwrap()).to_owned());
        let framework = Framework { id: id.clone(), roles, suppressed, capabilities, active: true, zone };
        let options = FrameworkOptions {
            id: id.as_str().into(),
            roles: framework.roles.clone(),
            suppressed: framework.suppressed.clone(),
            capabilities,
            min_allocatable: Default::default(),
            constraints: framework.zone.as_ref().map(|zone| Arc::new(only(zone, &framework.roles))),
        };
        self.allocator.put_framework(self.now, key, true, options);
        let roles = framework.roles.clone();
        self.model.frameworks.insert(key, framework);
        self.model.filters.retain(|filter| filter.framework != key || roles.contains(&filter.role));
    }

    fn remove_framework(&mut self) {
        let Some(key) = self.framework() else { return };
        self.release(|held| held.framework == key);
        self.allocator.remove_framework(self.now, key);
        self.framework_keys.remove(key);
        self.model.frameworks.remove(&key);
        self.model.filters.retain(|filter| filter.framework != key);
        self.model.client_served.retain(|(framework, _), _| *framework != key);
    }

    fn connect_or_not(&mut self) {
        let Some(key) = self.framework() else { return };
        let framework = self.model.frameworks.get_mut(&key).unwrap();
        framework.active = !framework.active;
        if !framework.active {
            self.model.filters.retain(|filter| filter.framework != key);
        }
        let active = self.model.frameworks[&key].active;
        self.allocator.set_framework_active(self.now, key, active);
    }

    fn suppress_or_revive(&mut self) {
        let Some(key) = self.framework() else { return };
        let (suppresses, all) = (self.rng.random_bool(0.4), self.rng.random_bool(0.5));
        let framework = self.model.frameworks.get_mut(&key).unwrap();
        let roles: BTreeSet<String> = framework.roles.iter().take(if all { 9 } else { 1 }).cloned().collect();
        if suppresses {
            framework.suppressed.extend(roles.iter().cloned());
            self.allocator.suppress(self.now, key, &roles);
        } else {
            framework.suppressed.retain(|role| !roles.contains(role));
            self.model.filters.retain(|filter| filter.framework != key || !roles.contains(&filter.role));
            self.allocator.revive(self.now, key, &roles);
        }
    }

    /// Everything of a kind is given back, without filters.
    fn release(&mut self, of: impl Fn(&Held) -> bool) {
        let (gone, kept) = std::mem::take(&mut self.model.held).into_iter().partition(of);
        self.model.held = kept;
        let gone: Vec<Held> = gone;
        for held in gone {
            self.allocator.give_back(self.now, held.framework, held.agent, &allocated(&held), None);
        }
    }

    /// An offer is declined, a task ends, or a part of an offer is not used.
    fn give_back(&mut self) {
        if self.model.held.is_empty() {
            return;
        }
        let at = self.rng.random_range(0..self.model.held.len());
        let mut held = self.model.held.swap_remove(at);
        if self.rng.random_bool(0.5) {
            let part: Resources = held.resources.iter().filter(|_| self.rng.random_bool(0.5)).cloned().collect();
            let rest = &held.resources - &part;
            if !rest.is_empty() && !part.is_empty() {
                self.model.held.push(Held { resources: rest, ..held.clone() });
                held.resources = part;
            }
        }
        let filter = self.rng.random_bool(0.6).then(|| self.rng.random_bool(0.5));
        let duration = filter.map(|short| Duration::from_secs(if short { 5 } else { 1_000_000 }));
        let subscribed =
            self.model.frameworks.get(&held.framework).is_some_and(|framework| framework.roles.contains(&held.role));
        if let Some(short) = filter.filter(|_| subscribed) {
            let Held { framework, role, agent, resources } = held.clone();
            self.model.filters.push(Filter { framework, role, agent, refused: resources, short });
        }
        self.allocator.give_back(self.now, held.framework, held.agent, &allocated(&held), duration);
    }

    /// A framework reserves some of what it has.
    fn convert(&mut self) {
        let reservable = |held: &&mut Held| held.role != "*" && held.resources.iter().any(is_plain_cpus);
        let mut candidates: Vec<&mut Held> = self.model.held.iter_mut().filter(|held| reservable(held)).collect();
        if candidates.is_empty() {
            return;
        }
        let at = self.rng.random_range(0..candidates.len());
        let held = &mut candidates[at];
        let consumed = Resources::from(
            held.resources
                .iter()
                .find(|resource| is_plain_cpus(resource))
                .unwrap()
                .with_value(Value::Scalar(Scalar::from_f64(0.5).min(held.resources.filter(is_plain_cpus).cpus()))),
        );
        let reservation = v1::resource::ReservationInfo {
            r#type: Some(v1::resource::reservation_info::Type::Dynamic.into()),
            role: Some(held.role.clone()),
            ..Default::default()
        };
        let converted = consumed.push_reservation(&reservation);
        held.resources = &(&held.resources - &consumed) + &converted;
        let (framework, role, agent) = (held.framework, held.role.clone(), held.agent);
        let known = self.model.agents.get_mut(&agent).unwrap();
        known.total = Arc::new(&(&*known.total - &consumed) + &converted);
        let marked = |resources: &Resources| {
            let mut marked = resources.clone();
            marked.allocate(&role);
            marked
        };
        self.model.count(framework, &role);
        self.allocator.convert(self.now, framework, agent, &marked(&consumed), &marked(&converted));
    }

    /// A task comes with its agent.
    fn take(&mut self) {
        let (Some(agent), Some(framework)) = (self.agent(), self.framework()) else { return };
        let Some(role) = self.model.frameworks[&framework].roles.iter().next().cloned() else { return };
        let resources = self.model.available(agent).filter(is_plain_cpus);
        if resources.is_empty() {
            return;
        }
        let held = Held { framework, role, agent, resources };
        self.allocator.take(self.now, framework, agent, &allocated(&held));
        self.model.hold(held);
    }

    fn set_quota(&mut self) {
        let role = self.role();
        if self.rng.random_bool(0.3) {
            self.allocator.clear_quota(self.now, &role);
            self.model.quotas.remove(&role);
            return;
        }
        let amounts = |walk: &mut Self, most: i32| -> Vec<(String, Scalar)> {
            let mut some = Vec::new();
            for (name, unit) in [("cpus", 0.5), ("mem", 32.0), ("disk", 25.0)] {
                if walk.rng.random_bool(0.5) {
                    let amount = f64::from(walk.rng.random_range(0..most)) * unit;
                    some.push((name.to_owned(), Scalar::from_f64(amount)));
                }
            }
            some
        };
        let guarantees: Quantities = amounts(self, 8).into_iter().collect();
        let limits: Limits = amounts(self, 20)
            .into_iter()
            .map(|(name, limit)| {
                let limit = limit.max(guarantees.get(&name));
                (name, limit)
            })
            .collect();
        self.allocator.set_quota(self.now, &role, guarantees.clone(), limits.clone());
        self.model.quotas.insert(role, Quota { guarantees, limits });
    }

    fn set_weight(&mut self) {
        let role = self.role();
        let weight = *[0.5, 1.0, 2.0, 3.0].choose(&mut self.rng).unwrap();
        self.allocator.set_weight(self.now, &role, weight);
        self.model.weights.insert(role, weight);
    }

    /// Short filters end.
    fn jump(&mut self) {
        self.now += Duration::from_secs(20);
        self.model.filters.retain(|filter| !filter.short);
    }
}

fn is_plain_cpus(resource: &Resource) -> bool {
    resource.name() == "cpus" && resource.is_unreserved() && !resource.is_revocable()
}

fn allocated(held: &Held) -> Resources {
    let mut resources = held.resources.clone();
    resources.allocate(&held.role);
    resources
}

/// Constraints that allow agents of one zone.
fn only(zone: &str, roles: &BTreeSet<String>) -> ConstraintFilter {
    let constraint = AttributeConstraint {
        selector: Selector { selector: Some(selector::Selector::AttributeName("zone".into())) },
        predicate: Predicate {
            predicate: Some(predicate::Predicate::TextEquals(predicate::TextEquals { value: zone.to_owned() })),
        },
    };
    let constraints = RoleConstraints { groups: vec![Group { attribute_constraints: vec![constraint] }] };
    let role_constraints = roles.iter().map(|role| (role.clone(), constraints.clone())).collect();
    ConstraintFilter::new(&OfferConstraints { role_constraints }).unwrap()
}
