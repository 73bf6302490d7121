//! Feature by feature, on a small cluster.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use mezzo_api::{
    codec::{Encoding, decode},
    resources::{Resources, Scalar},
    v1::{self, AgentInfo, Unavailability},
};
use slotmap::SlotMap;

use super::super::{Allocation, Allocator, FrameworkOptions, Limits, Question, Reason, unallocated};
use crate::{
    description::Description,
    frameworks::Capabilities,
    input::{AllocatorConfig, Config, Sorter},
    keys::{AgentKey, FrameworkKey},
    tests::config,
};

struct Stage {
    allocator: Allocator,
    now: Duration,
    agents: SlotMap<AgentKey, ()>,
    frameworks: SlotMap<FrameworkKey, String>,
}

const ALL: Capabilities = Capabilities {
    partition_aware: true,
    multi_role: true,
    reservation_refinement: true,
    gpu_resources: false,
    revocable_resources: true,
    shared_resources: true,
    region_aware: false,
};

impl Stage {
    fn new() -> Self {
        Self::with(AllocatorConfig::default())
    }

    fn with(allocator: AllocatorConfig) -> Self {
        let config = Config { allocator, ..config() };
        Self {
            allocator: Allocator::new(&config, 3),
            now: Duration::from_secs(100),
            agents: SlotMap::with_key(),
            frameworks: SlotMap::with_key(),
        }
    }

    fn agent(&mut self, total: Resources) -> AgentKey {
        let key = self.agents.insert(());
        let info = AgentInfo { hostname: format!("h{}", self.agents.len()), ..Default::default() };
        self.allocator.add_agent(self.now, key, Description::new(&info), Arc::new(total), true);
        key
    }

    fn framework(&mut self, role: &str) -> FrameworkKey {
        let key = self.frameworks.insert(role.to_owned());
        let options = FrameworkOptions {
            id: format!("f{}", self.frameworks.len()).into(),
            roles: [role.to_owned()].into(),
            suppressed: Default::default(),
            capabilities: ALL,
            min_allocatable: BTreeMap::new(),
            constraints: None,
        };
        self.allocator.put_framework(self.now, key, true, options);
        key
    }

    fn quota(&mut self, role: &str, guarantees: &str, limits: &str) {
        let amounts = |text: &str| -> Vec<(String, Scalar)> {
            let resources = parse(text);
            resources.quantities().into_iter().map(|(name, amount)| (name.to_owned(), amount)).collect()
        };
        let limits: Limits = amounts(limits).into_iter().collect();
        self.allocator.set_quota(self.now, role, amounts(guarantees).into_iter().collect(), limits);
    }

    /// Everything that is handed out within some milliseconds.
    fn run(&mut self) -> Vec<Allocation> {
        self.pass(Duration::from_millis(10))
    }

    fn pass(&mut self, time: Duration) -> Vec<Allocation> {
        let end = self.now + time;
        let mut made = Vec::new();
        while let Some(due) = self.allocator.due().filter(|due| *due <= end) {
            self.now = due.max(self.now);
            made.extend(self.allocator.run(self.now));
            self.allocator.check();
        }
        self.now = end;
        made
    }

    fn give_back(&mut self, made: &Allocation, filter: Option<Duration>) {
        self.allocator.give_back(self.now, made.framework, made.agent, &made.resources, filter);
    }
}

fn parse(text: &str) -> Resources {
    Resources::parse(text, "*").unwrap()
}

fn json(text: &str) -> Resources {
    let resource: v1::Resource = decode(Encoding::Json, text.as_bytes()).unwrap();
    Resources::from_protos(&[resource]).unwrap()
}

/// What a framework got, over all agents.
fn sum(made: &[Allocation], framework: FrameworkKey) -> Resources {
    let of = made.iter().filter(|made| made.framework == framework).map(|made| unallocated(&made.resources));
    of.fold(Resources::new(), |sum, one| sum + &one)
}

#[test]
fn a_limit_holds_for_the_whole_subtree_exactly() {
    let mut stage = Stage::new();
    stage.quota("eng", "", "cpus:3");
    let (web, other) = (stage.framework("eng/web"), stage.framework("ops"));
    stage.agent(parse("cpus:2;mem:100"));
    stage.agent(parse("cpus:2;mem:100"));
    let made = stage.run();
    assert!(sum(&made, web).cpus() <= Scalar::from_f64(3.0));
    made.iter().for_each(|made| stage.give_back(made, None));
    stage.allocator.suppress(stage.now, other, &["ops".to_owned()].into());
    let made = stage.run();
    assert_eq!(sum(&made, web), parse("cpus:3;mem:200"), "cut to the limit, not left out");
    assert_eq!(stage.allocator.consumed("eng").get("cpus"), Scalar::from_f64(3.0));
}

#[test]
fn a_guarantee_is_kept_free_for_its_role() {
    let mut stage = Stage::new();
    stage.quota("db", "cpus:3;mem:300", "");
    let greedy = stage.framework("batch");
    for _ in 0..4 {
        stage.agent(parse("cpus:1;mem:100"));
    }
    let made = stage.run();
    assert_eq!(sum(&made, greedy), parse("cpus:1;mem:100"), "three of the four agents' worth is kept");
    let db = stage.framework("db");
    let made = stage.run();
    assert_eq!(sum(&made, db), parse("cpus:3;mem:300"));
}

#[test]
fn a_guarantee_above_reaches_those_below() {
    let mut stage = Stage::new();
    stage.quota("eng", "cpus:2", "");
    let (web, other) = (stage.framework("eng/web"), stage.framework("ops"));
    stage.agent(parse("cpus:2;mem:100"));
    let made = stage.run();
    assert_eq!(sum(&made, web).cpus(), Scalar::from_f64(2.0));
    assert!(sum(&made, other).cpus().is_zero());
}

#[test]
fn reservations_count_against_quota_even_when_nobody_uses_them() {
    let mut stage = Stage::new();
    stage.quota("a", "", "cpus:2");
    let a = stage.framework("a");
    stage.agent(parse("cpus(a):2;mem(a):100;cpus:4;mem:100"));
    let made = stage.run();
    assert_eq!(sum(&made, a), parse("cpus(a):2;mem(a):100;mem:100"), "its reservation, and no more cpus");
}

#[test]
fn weights_shift_shares() {
    let mut stage = Stage::new();
    let (light, heavy) = (stage.framework("light"), stage.framework("heavy"));
    stage.allocator.set_weight(stage.now, "heavy", 3.0);
    for _ in 0..8 {
        stage.agent(parse("cpus:1;mem:100"));
    }
    let made = stage.run();
    assert_eq!(sum(&made, heavy).cpus(), Scalar::from_f64(6.0));
    assert_eq!(sum(&made, light).cpus(), Scalar::from_f64(2.0));
}

#[test]
fn siblings_share_what_their_parent_gets() {
    let mut stage = Stage::new();
    let (a, b, flat) = (stage.framework("eng/a"), stage.framework("eng/b"), stage.framework("ops"));
    for _ in 0..8 {
        stage.agent(parse("cpus:1;mem:100"));
    }
    let made = stage.run();
    let cpus = |framework| sum(&made, framework).cpus().as_f64();
    assert_eq!((cpus(a), cpus(b), cpus(flat)), (2.0, 2.0, 4.0));
}

#[test]
fn names_that_are_excluded_do_not_make_shares() {
    let config = AllocatorConfig { fair_sharing_excluded: vec!["licenses".into()], ..AllocatorConfig::default() };
    let mut stage = Stage::with(config);
    let (a, b) = (stage.framework("a"), stage.framework("b"));
    let first = stage.agent(parse("cpus:1;mem:100;licenses:1"));
    stage.allocator.take(stage.now, a, first, &{
        let mut held = parse("licenses:1");
        held.allocate("a");
        held
    });
    stage.agent(parse("cpus:1;mem:100"));
    let made = stage.run();
    assert_eq!((sum(&made, a).cpus(), sum(&made, b).cpus()), (Scalar::from_f64(1.0), Scalar::from_f64(1.0)));
}

#[test]
fn chance_serves_in_proportion_to_weights() {
    let config =
        AllocatorConfig { role_sorter: Sorter::Random, framework_sorter: Sorter::Random, ..AllocatorConfig::default() };
    let mut stage = Stage::with(config);
    let (light, heavy) = (stage.framework("light"), stage.framework("heavy"));
    stage.allocator.set_weight(stage.now, "heavy", 3.0);
    for _ in 0..400 {
        stage.agent(parse("cpus:1;mem:100"));
    }
    let made = stage.run();
    let (light, heavy) = (sum(&made, light).cpus().as_f64(), sum(&made, heavy).cpus().as_f64());
    assert_eq!(light + heavy, 400.0);
    assert!((260.0..340.0).contains(&heavy), "about three quarters: {heavy}");
}

#[test]
fn what_is_shared_is_offered_to_one_at_a_time_and_again_later() {
    let mut stage = Stage::new();
    let volume = r#"{"name":"disk","type":"SCALAR","scalar":{"value":10},"shared":{},
        "reservations":[{"type":"DYNAMIC","role":"a"}],
        "disk":{"persistence":{"id":"v"},"volume":{"container_path":"v","mode":"RW"}}}"#;
    let total = &parse("cpus:1;mem:100") + &json(volume);
    stage.agent(total.clone());
    let (first, second) = (stage.framework("a"), stage.framework("a"));
    let made = stage.run();
    assert_eq!(made.len(), 1, "one of them");
    assert_eq!(unallocated(&made[0].resources), total);
    // The volume is still there for the other, together with whatever is freed.
    let mut freed = parse("cpus:1;mem:100");
    freed.allocate("a");
    stage.allocator.give_back(stage.now, made[0].framework, made[0].agent, &freed, None);
    let again = stage.run();
    assert_eq!(again.len(), 1);
    assert_eq!(again[0].framework, if made[0].framework == first { second } else { first });
    assert_eq!(unallocated(&again[0].resources), total, "the shared volume again");
}

#[test]
fn only_listed_hosts_are_offered() {
    let mut stage = Stage::new();
    stage.allocator.set_whitelist(stage.now, Some(["h2".to_owned()].into()));
    let framework = stage.framework("a");
    stage.agent(parse("cpus:1;mem:100"));
    let second = stage.agent(parse("cpus:2;mem:100"));
    let made = stage.run();
    assert_eq!(made.iter().map(|made| made.agent).collect::<Vec<_>>(), [second]);
    stage.allocator.set_whitelist(stage.now, None);
    assert_eq!(sum(&stage.run(), framework).cpus(), Scalar::from_f64(1.0));
}

#[test]
fn with_quotas_a_new_leader_waits_for_its_agents() {
    let mut stage = Stage::new();
    stage.allocator.recover(stage.now, 4, 0.5, Duration::from_secs(600));
    stage.quota("a", "cpus:1", "");
    stage.framework("b");
    let first = stage.agent(parse("cpus:4;mem:100"));
    stage.allocator.set_agent_active(stage.now, first, true);
    assert!(stage.run().is_empty(), "one of two that are waited for");
    let second = stage.agent(parse("cpus:4;mem:100"));
    stage.allocator.set_agent_active(stage.now, second, true);
    assert_eq!(stage.run().len(), 2);

    let mut stage = Stage::new();
    stage.allocator.recover(stage.now, 4, 0.8, Duration::from_secs(600));
    stage.quota("a", "cpus:1", "");
    stage.framework("b");
    stage.agent(parse("cpus:4;mem:100"));
    assert!(stage.pass(Duration::from_secs(599)).is_empty());
    assert_eq!(stage.pass(Duration::from_secs(2)).len(), 1, "but not for ever");

    let mut stage = Stage::new();
    stage.allocator.recover(stage.now, 4, 0.8, Duration::from_secs(600));
    stage.framework("b");
    stage.agent(parse("cpus:4;mem:100"));
    assert_eq!(stage.run().len(), 1, "without quotas there is nothing to wait for");
}

#[test]
fn holders_are_asked_to_leave_an_agent_that_will_not_be_available() {
    let mut stage = Stage::new();
    let framework = stage.framework("a");
    let agent = stage.agent(parse("cpus:1;mem:100"));
    stage.run();
    assert!(stage.allocator.take_inverse_offers().is_empty());
    let planned = Unavailability { start: v1::TimeInfo { nanoseconds: 7 }, duration: None };
    stage.allocator.set_unavailability(stage.now, agent, Some(planned));
    stage.run();
    let asked = stage.allocator.take_inverse_offers();
    assert_eq!(asked.len(), 1);
    assert_eq!((asked[0].framework, asked[0].agent), (framework, agent));
    assert_eq!(asked[0].unavailability, planned);
    stage.pass(Duration::from_secs(60));
    assert!(stage.allocator.take_inverse_offers().is_empty(), "one is outstanding");
    let wait = Duration::from_secs(10);
    stage.allocator.answer_inverse_offer(stage.now, framework, agent, Some(wait));
    stage.pass(Duration::from_secs(9));
    assert!(stage.allocator.take_inverse_offers().is_empty());
    stage.pass(Duration::from_secs(2));
    assert_eq!(stage.allocator.take_inverse_offers().len(), 1, "again after its time");
    stage.allocator.set_unavailability(stage.now, agent, None);
    stage.pass(Duration::from_secs(60));
    assert!(stage.allocator.take_inverse_offers().is_empty());
}

#[test]
fn many_refusals_of_different_ends_all_hold_and_all_end() {
    let mut stage = Stage::new();
    stage.framework("a");
    for _ in 0..60 {
        stage.agent(parse("cpus:1;mem:100"));
    }
    let made = stage.run();
    assert_eq!(made.len(), 60);
    // More ends than a client has classes, each agent's another one.
    for (at, made) in (1..).zip(&made) {
        stage.give_back(made, Some(Duration::from_secs(10 * at)));
    }
    let begin = stage.now;
    let mut seen = 0;
    while stage.now < begin + Duration::from_secs(700) {
        for again in stage.pass(Duration::from_secs(5)) {
            let at = made.iter().position(|made| made.agent == again.agent).unwrap() as u64 + 1;
            let after = (stage.now - begin).as_secs();
            let latest = 10 * at + 10 * at / 8 + 6;
            assert!((10 * at..=latest).contains(&after), "refused for {} s, offered after {after} s", 10 * at);
            seen += 1;
        }
    }
    assert_eq!(seen, 60);
}

#[test]
fn a_filter_means_what_was_refused_and_not_what_comes_later() {
    let mut stage = Stage::new();
    let framework = stage.framework("a");
    let agent = stage.agent(parse("cpus:4;mem:400"));
    let mut used = parse("cpus:2;mem:200");
    used.allocate("a");
    stage.allocator.take(stage.now, framework, agent, &used);
    let made = stage.run();
    stage.give_back(&made[0], Some(Duration::from_secs(1000)));
    assert!(stage.run().is_empty());
    stage.allocator.give_back(stage.now, framework, agent, &used, None);
    let made = stage.run();
    assert_eq!(sum(&made, framework), parse("cpus:4;mem:400"), "there is more than what was refused");
    // The smaller bundle is still refused.
    stage.allocator.give_back(stage.now, framework, agent, &made[0].resources, None);
    stage.allocator.take(stage.now, framework, agent, &used);
    assert!(stage.run().is_empty());
}

#[test]
fn who_waits_starves_until_he_is_offered_something() {
    let mut stage = Stage::new();
    let none = |_: &str| false;
    stage.framework("a");
    stage.pass(Duration::from_secs(30));
    let starving = stage.allocator.starving(stage.now, &none);
    assert_eq!(starving.len(), 1);
    assert_eq!((starving[0].role.as_str(), starving[0].time, starving[0].share), ("a", Duration::from_secs(30), 0.0));
    stage.agent(parse("cpus:4;mem:400"));
    assert_eq!(stage.run().len(), 1);
    stage.pass(Duration::from_secs(5));
    assert!(stage.allocator.starving(stage.now, &none).is_empty(), "it has its part");
    let b = stage.framework("b");
    stage.pass(Duration::from_secs(7));
    let starving = stage.allocator.starving(stage.now, &none);
    assert_eq!(starving.iter().map(|one| (&*one.role, one.fair)).collect::<Vec<_>>(), [("b", 0.5)]);
    stage.allocator.suppress(stage.now, b, &["b".to_owned()].into());
    assert!(stage.allocator.starving(stage.now, &none).is_empty(), "it wants nothing");
}

/// All reasons why the framework is not offered this of the only agent.
fn reasons(stage: &Stage, framework: FrameworkKey, wanted: &str) -> Vec<Reason> {
    let role = stage.frameworks[framework].clone();
    let question = Question { framework, role, wanted: parse(wanted), constraints: None };
    let mut inquiry = stage.allocator.inquire(question).unwrap();
    while !inquiry.is_done() {
        stage.allocator.go_on(&mut inquiry, 1, &|_| Vec::new());
    }
    let nearest = inquiry.nearest.map(|nearest| nearest.reasons).unwrap_or_default();
    assert_eq!(nearest.len(), inquiry.groups.len(), "one agent: all groups are its own");
    nearest
}

#[test]
fn every_reason_is_told() {
    let mut stage = Stage::new();
    let framework = stage.framework("a");
    let agent = stage.agent(parse("cpus:4;mem:400;cpus(b):4"));
    assert_eq!(reasons(&stage, framework, "cpus:4"), [], "it is a matter of its turn");
    assert_eq!(reasons(&stage, framework, "cpus:9"), [Reason::TooSmall]);
    assert_eq!(reasons(&stage, framework, "cpus:5"), [Reason::Reserved("b".into())]);
    let made = stage.run();
    stage.give_back(&made[0], Some(Duration::from_secs(100)));
    assert_eq!(reasons(&stage, framework, "cpus:4"), [Reason::Filter]);
    stage.allocator.revive(stage.now, framework, &["a".to_owned()].into());
    stage.quota("a", "", "cpus:2");
    assert_eq!(reasons(&stage, framework, "cpus:4"), [Reason::Limit("a".into())]);
    stage.allocator.clear_quota(stage.now, "a");
    stage.quota("c", "cpus:3", "");
    assert_eq!(reasons(&stage, framework, "cpus:4"), [Reason::Promised]);
    stage.allocator.clear_quota(stage.now, "c");
    stage.allocator.set_agent_active(stage.now, agent, false);
    stage.allocator.set_whitelist(stage.now, Some(Default::default()));
    assert_eq!(reasons(&stage, framework, "cpus:4"), [Reason::Inactive, Reason::NotListed]);
}

#[test]
fn agents_bar_those_that_they_are_not_for() {
    let mut stage = Stage::new();
    let framework = stage.framework("a/b");
    let agent = stage.agent(parse("cpus:4;mem:400;gpus:1"));
    stage.allocator.set_agent_abilities(agent, super::super::AgentAbilities::new(&[]));
    assert!(stage.run().is_empty());
    assert_eq!(
        reasons(&stage, framework, ""),
        [
            Reason::Capability("GPU_RESOURCES"),
            Reason::AgentCapability("MULTI_ROLE"),
            Reason::AgentCapability("HIERARCHICAL_ROLE")
        ]
    );
}
