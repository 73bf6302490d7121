//! Quota and weights: checked, written down, followed by rescissions, found again by the next leader.

use mezzo_api::v1::{WeightInfo, quota::QuotaConfig, quota::QuotaRequest, value::Scalar};

use super::*;

fn config_of(role: &str, guarantees: &[(&str, f64)], limits: &[(&str, f64)]) -> QuotaConfig {
    let map = |amounts: &[(&str, f64)]| {
        amounts.iter().map(|(name, value)| ((*name).to_owned(), Scalar { value: *value })).collect()
    };
    QuotaConfig { role: role.into(), guarantees: map(guarantees), limits: map(limits) }
}

fn update(configs: Vec<QuotaConfig>, force: bool) -> OperatorCall {
    OperatorCall::UpdateQuota { configs, force }
}

fn weights(pairs: &[(&str, f64)]) -> OperatorCall {
    let weight = |(role, weight): &(&str, f64)| WeightInfo { role: Some((*role).into()), weight: *weight };
    OperatorCall::UpdateWeights(pairs.iter().map(weight).collect())
}

#[test]
fn quota_that_cannot_be_is_refused_and_changes_nothing() {
    let mut world = World::new();
    let scheduler = world.subscribe(modern("dev"));
    world.agent(AGENT_RESOURCES);
    let offer = world.offer(&scheduler);
    world.launch(&scheduler, &offer, vec![task("t", &offer)], 60.0);
    for (config, text) in [
        (
            config_of("q", &[("cpus", 3.0)], &[("cpus", 2.0)]),
            "Invalid QuotaConfig: 'QuotaConfig.guarantees' { cpus: 3 } is not contained within the 'QuotaConfig.limits' { cpus: 2 }",
        ),
        (
            config_of("q", &[], &[("cpus", -2.0)]),
            "Invalid QuotaConfig: Invalid limit configuration {'cpus': -2}: Negative values not supported",
        ),
        (
            config_of("q", &[("cpus", f64::NAN)], &[]),
            "Invalid QuotaConfig: Invalid guarantee configuration {'cpus': NaN}: NaN not supported",
        ),
        (
            config_of("q", &[], &[("cpus", 1e30)]),
            "Invalid QuotaConfig: Invalid 'QuotaConfig.limits': {'cpus': 1000000000000000000000000000000} is invalid: values greater than 1 trillion (1000000000000) are not supported",
        ),
        (
            config_of("q", &[("cpus", 1000.0)], &[("cpus", 1000.0)]),
            "Invalid QuotaConfig: total quota guarantees 'cpus:1000' exceed cluster capacity 'cpus:4; disk:10000; mem:4096' (use 'force' flag to bypass this check)",
        ),
        (config_of("a/b", &[], &[]), "Updating quota on nested role 'a/b' is not supported yet"),
        (
            config_of("dev", &[], &[("cpus", 0.01)]),
            "Invalid QuotaConfig: Role 'dev' is already consuming 'cpus:0.1; mem:32'; this is more than the requested limits 'cpus:0.01' (use 'force' flag to bypass this check)",
        ),
    ] {
        let fine = config_of("fine", &[], &[("cpus", 1.0)]);
        assert_eq!(world.answered(update(vec![fine, config], false)), Answer::new(400, text));
    }
    assert!(world.view.quotas.is_empty() && world.writes.is_empty());
    let ops = world.ordered(update(vec![config_of("dev", &[], &[("cpus", 0.01)])], true));
    assert_eq!(ops, [RegistryOp::PutQuota(Box::new(config_of("dev", &[], &[("cpus", 0.01)])))]);
}

#[test]
fn a_limit_takes_offers_back_and_reset_quota_stays_listed() {
    let mut world = World::new();
    let scheduler = world.subscribe(modern("dev"));
    world.agent(AGENT_RESOURCES);
    world.offer(&scheduler);
    world.ordered(update(vec![config_of("dev", &[], &[("cpus", 1.0)])], false));
    let events = world.events(scheduler.stream);
    assert!(matches!(&events[..], [event, ..] if event.rescind.is_some()), "{events:?}");
    assert_eq!(world.ordered(update(vec![config_of("dev", &[], &[])], false)), [RegistryOp::RemoveQuota("dev".into())]);
    assert!(world.view.quotas.contains_key("dev"));
}

#[test]
fn a_guarantee_takes_offers_of_others_back() {
    let mut world = World::new();
    world.agent(AGENT_RESOURCES);
    world.agent(AGENT_RESOURCES);
    let scheduler = world.subscribe(modern("dev"));
    assert_eq!(world.offers(&scheduler).len(), 2);
    world.ordered(update(vec![config_of("vip", &[("cpus", 3.0)], &[])], false));
    let rescinded = world.events(scheduler.stream).iter().filter(|event| event.rescind.is_some()).count();
    assert_eq!(rescinded, 1, "one agent is enough");
}

#[test]
fn the_older_calls_set_and_remove() {
    let mut world = World::new();
    world.agent(AGENT_RESOURCES);
    let request = |role: &str, text: &str| {
        OperatorCall::SetQuota(Box::new(QuotaRequest {
            force: None,
            role: Some(role.into()),
            guarantee: resources(text),
        }))
    };
    let failed = |text: &str| Answer::new(400, format!("Failed to validate set quota request: {text}"));
    assert_eq!(world.answered(request("q", "")), failed("QuotaInfo with empty 'guarantee'"));
    assert_eq!(
        world.answered(request("", "cpus:1")),
        failed("QuotaInfo with invalid role: Role names cannot be the empty string")
    );
    assert_eq!(world.answered(request("q", "ports:[1-2]")), failed("QuotaInfo must not include non-scalar resources"));
    assert_eq!(world.answered(request("q", "cpus(x):1")), failed("QuotaInfo must not contain any ReservationInfo"));
    assert_eq!(world.answered(request("q", "cpus:999")).status, 409);
    world.ordered(request("q", "cpus:1"));
    assert_eq!(world.answered(request("q", "cpus:1")), failed("Cannot set quota for role 'q' which already has quota"));
    assert_eq!(world.view.quotas["q"], config_of("q", &[("cpus", 1.0)], &[("cpus", 1.0)]));
    let remove =
        |role: &str| OperatorCall::RemoveQuota { role: role.into(), path: Some(format!("/master/quota/{role}")) };
    assert_eq!(
        world.answered(remove("nope")),
        Answer::new(400, "Failed to remove quota for path '/master/quota/nope': Role 'nope' has no quota set")
    );
    assert_eq!(world.ordered(remove("q")), [RegistryOp::RemoveQuota("q".into())]);
    assert!(world.view.quotas.is_empty());
}

#[test]
fn weights_are_checked_written_and_void_all_offers() {
    let mut world = World::new();
    let scheduler = world.subscribe(modern("dev"));
    world.agent(AGENT_RESOURCES);
    world.offer(&scheduler);
    for (role, weight, text) in [
        ("dev", 0.0, " for role 'dev': Invalid weight '0': Weights must be positive"),
        ("dev", -1.0, " for role 'dev': Invalid weight '-1': Weights must be positive"),
        ("", 1.0, ": Invalid role '': Role names cannot be the empty string"),
        (
            "a b",
            1.0,
            ": Invalid role 'a b': Role component 'a b' is invalid because it contains backspace or whitespace",
        ),
    ] {
        let answer = Answer::new(400, format!("Failed to validate update weights request JSON{text}"));
        assert_eq!(world.answered(weights(&[("fine", 2.0), (role, weight)])), answer);
    }
    assert_eq!(world.ordered(weights(&[("other", 3.0)])), [RegistryOp::PutWeight("other".into(), 3.0)]);
    assert!(world.events(scheduler.stream).is_empty(), "nobody is in that role");
    world.ordered(weights(&[("dev", 1.5)]));
    let events = world.events(scheduler.stream);
    assert!(matches!(&events[..], [event, ..] if event.rescind.is_some()), "{events:?}");
}

#[test]
fn the_next_leader_knows_quota_and_weights() {
    let recovered = Recovered {
        quotas: vec![config_of("q", &[("cpus", 1.0)], &[("cpus", 2.0)])],
        weights: vec![("dev".into(), 2.5)],
        ..Default::default()
    };
    let world = World::with(config(), recovered);
    assert_eq!(world.view.quotas["q"].limits["cpus"].value, 2.0);
    assert_eq!(world.view.weights["dev"], 2.5);
    assert!(world.core.allocator.quota("q").is_some());
}

#[test]
fn who_waits_for_a_write_of_a_deposed_leader_is_told() {
    let mut world = World::new();
    let request = world.ask(weights(&[("dev", 2.0)]));
    world.write_failed(RegistryError::Fenced);
    assert_eq!(world.replies.remove(&request), Some(Answer::new(503, "No leader elected")));
}
