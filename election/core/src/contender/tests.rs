use super::*;
use crate::{
    candidate::{encode, fixed},
    challenge::{Deposed, Made, PATIENCE, Verdict},
};

const TIMEOUT: Duration = Duration::from_secs(6);
const LEASE: Duration = Duration::from_secs(4);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A contender with its effects.
struct One {
    contender: Contender,
    out: Effects,
}

impl One {
    fn new() -> Self {
        let config = Config { info: fixed("10.0.0.1", 5050), former: vec!["former".into()], challenge: true };
        let mut out = Effects::new();
        let contender = Contender::new(config, ms(0), &mut out);
        let mut one = Self { contender, out };
        one.expect(&[Effect::Open]);
        one
    }

    fn does(&mut self, what: impl FnOnce(&mut Contender, &mut Effects)) {
        what(&mut self.contender, &mut self.out);
        self.contender.check();
    }

    fn taken(&mut self) -> Effects {
        std::mem::take(&mut self.out)
    }

    #[track_caller]
    fn expect(&mut self, effects: &[Effect]) {
        assert_eq!(self.taken(), effects);
    }

    fn join(&mut self, at: u64, name: &str, others: &[&str]) {
        self.does(|contender, out| {
            contender.opened(ms(at), TIMEOUT, format!("id-{name}"), out);
            contender.joined(ms(at), Some(Joined { name: name.into(), czxid: 1 }), out);
        });
        let taken = self.taken();
        assert!(matches!(&taken[..], [Effect::Join(_), Effect::Watch]), "{taken:?}");
        self.children(at, &[others, &[name]].concat());
    }

    fn children(&mut self, at: u64, children: &[&str]) {
        let children: Vec<String> = children.iter().map(|child| (*child).to_owned()).collect();
        self.does(|contender, out| contender.children(ms(at), &children, out));
    }

    /// A leader with a lease.
    fn leader() -> Self {
        let mut one = Self::new();
        one.join(0, "json.info_5", &["json.info_7"]);
        one.expect(&[Effect::Begin]);
        one.does(|contender, out| contender.begun(ms(0), Some(7), out));
        one.expect(&[lead("json.info_5", 7), Effect::Confirm]);
        one.does(|contender, out| contender.confirmed(ms(10), ms(0), true, out));
        one.expect(&[until(410)]);
        one
    }

    /// A standby that follows `info`.
    fn standby(info: v1::MasterInfo) -> Self {
        let mut one = Self::new();
        one.join(0, "json.info_5", &["json.info_3"]);
        one.expect(&[Effect::Read("json.info_3".into())]);
        one.does(|contender, out| contender.read(ms(0), "json.info_3", Some(&encode(&info)), out));
        one
    }
}

fn lead(name: &str, term: u64) -> Effect {
    Effect::Lead { name: name.into(), term, id: format!("id-{name}") }
}

fn until(at: u64) -> Effect {
    Effect::Lease { until: ms(at) }
}

fn other() -> v1::MasterInfo {
    v1::MasterInfo { id: "other".into(), ..fixed("10.0.0.2", 5050) }
}

#[test]
fn the_first_leads_and_acts_only_once_zookeeper_says_so() {
    let mut one = One::leader();
    one.does(|contender, out| contender.tick(ms(110), out));
    one.expect(&[until(510)]);
    one.does(|contender, out| contender.tick(ms(600), out));
    // The clock was not looked at for 490 ms.
    one.expect(&[until(600), Effect::Confirm]);
    one.does(|contender, out| contender.confirmed(ms(650), ms(590), true, out));
    assert_eq!(one.taken(), [], "an answer to an older question");
    one.does(|contender, out| contender.confirmed(ms(660), ms(600), true, out));
    one.expect(&[until(1060)]);
}

#[test]
fn whoever_cannot_lead_lets_another_one() {
    let mut one = One::new();
    one.join(0, "json.info_5", &[]);
    one.expect(&[Effect::Begin]);
    one.does(|contender, out| contender.begun(ms(10), None, out));
    one.expect(&[Effect::Follow(None), Effect::Close]);
    assert_eq!(one.contender.deadline(), Some(ms(1010)));

    let mut one = One::leader();
    one.does(|contender, out| contender.resign(ms(100), out));
    one.expect(&[Effect::StepDown(Reason::Unfit), Effect::Close]);
    assert_eq!(one.contender.deadline(), Some(ms(1100)));
}

#[test]
fn an_answer_that_never_comes_is_not_waited_for() {
    let mut one = One::new();
    one.does(|contender, out| contender.opened(ms(0), TIMEOUT, "a".into(), out));
    one.taken();
    assert_eq!(one.contender.deadline(), Some(TIMEOUT));
    one.does(|contender, out| contender.tick(TIMEOUT, out));
    one.expect(&[Effect::Follow(None), Effect::Close]);

    let mut one = One::new();
    one.join(100, "json.info_5", &[]);
    one.expect(&[Effect::Begin]);
    assert_eq!(one.contender.deadline(), Some(ms(100) + TIMEOUT));
    one.does(|contender, out| contender.tick(ms(100) + TIMEOUT, out));
    one.expect(&[Effect::Follow(None), Effect::Close]);
}

#[test]
fn a_leader_without_zookeeper_steps_down_before_its_session_ends() {
    let mut one = One::leader();
    one.does(|contender, out| contender.connection(ms(100), false, out));
    one.expect(&[until(100)]);
    let mut now = ms(100);
    let mut effects = Effects::new();
    while let Some(deadline) = one.contender.deadline().filter(|_| one.contender.leads()) {
        now = now.max(deadline);
        one.does(|contender, out| contender.tick(now, out));
        effects.extend(one.taken());
        assert!(now <= LEASE, "{now:?}");
    }
    assert_eq!(now, LEASE);
    assert_eq!(effects[effects.len() - 2..], [Effect::StepDown(Reason::Silence(LEASE)), Effect::Close]);
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Lease { .. })), "{effects:?}");
    one.does(|contender, out| contender.tick(now, out));
    one.expect(&[Effect::Open]);
}

#[test]
fn a_leader_goes_on_when_its_connection_is_back_in_time() {
    let mut one = One::leader();
    one.does(|contender, out| {
        contender.connection(ms(100), false, out);
        contender.connection(ms(150), true, out);
    });
    one.expect(&[until(100), Effect::Confirm]);
    one.does(|contender, out| contender.confirmed(ms(160), ms(150), true, out));
    one.expect(&[until(560)]);
    assert!(one.contender.leads());
}

#[test]
fn a_leader_that_was_frozen_too_long_does_nothing_more() {
    let mut one = One::leader();
    one.does(|contender, out| contender.tick(ms(60_000), out));
    one.expect(&[until(60_000), Effect::StepDown(Reason::Silence(LEASE)), Effect::Close]);
}

#[test]
fn whoever_lost_its_znode_stands_again_as_another() {
    let mut one = One::leader();
    one.children(100, &["json.info_7"]);
    one.expect(&[Effect::StepDown(Reason::Removed), Effect::Close]);
    one.does(|contender, out| contender.tick(ms(100), out));
    one.expect(&[Effect::Open]);
    one.join(110, "json.info_8", &["json.info_7"]);
    one.expect(&[Effect::Read("json.info_7".into())]);

    let mut one = One::leader();
    one.does(|contender, out| contender.confirmed(ms(100), ms(90), false, out));
    one.expect(&[Effect::StepDown(Reason::Removed), Effect::Close]);
    let mut one = One::leader();
    one.does(|contender, out| contender.ended(ms(100), Ended::Expired, out));
    one.expect(&[Effect::StepDown(Reason::Session(Ended::Expired)), Effect::Close]);
}

#[test]
fn a_znode_that_may_have_been_made_goes_with_its_session() {
    let mut one = One::new();
    one.does(|contender, out| {
        contender.opened(ms(0), TIMEOUT, "a".into(), out);
        contender.joined(ms(5), None, out);
    });
    assert_eq!(one.taken()[1..], [Effect::Close]);
    assert_eq!(one.contender.deadline(), Some(ms(105)));
    one.does(|contender, out| contender.tick(ms(105), out));
    one.expect(&[Effect::Open]);
}

#[test]
fn without_zookeeper_it_tries_on_less_and_less_often() {
    let mut one = One::new();
    let mut waits = Vec::new();
    let mut now = ms(0);
    for _ in 0..9 {
        one.does(|contender, out| contender.ended(now, Ended::Unreachable, out));
        one.expect(&[]);
        let at = one.contender.deadline().unwrap();
        waits.push((at - now).as_millis());
        now = at;
        one.does(|contender, out| contender.tick(now, out));
        one.expect(&[Effect::Open]);
    }
    assert_eq!(waits, [100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000]);
}

#[test]
fn a_planned_stop_hands_over_and_is_the_end() {
    let mut one = One::leader();
    one.does(|contender, out| contender.stop(ms(100), out));
    one.expect(&[Effect::StepDown(Reason::Stopped), Effect::Close]);
    assert_eq!(one.contender.deadline(), None);
}

#[test]
fn the_next_in_line_replaces_a_dead_leader_by_challenge() {
    let mut one = One::standby(other());
    let probe = Effect::Probe { name: "json.info_3".into(), info: Box::new(other()) };
    one.expect(&[Effect::Follow(Some(Box::new(other()))), probe]);
    one.does(|contender, out| contender.probed(ms(90), "json.info_3", Verdict::Unknown, out));
    one.does(|contender, out| contender.probed(ms(95), "json.info_2", Verdict::Gone, out));
    one.expect(&[]);
    one.does(|contender, out| contender.probed(ms(100), "json.info_3", Verdict::Gone, out));
    one.expect(&[Effect::Challenge("json.info_3".into())]);
    one.does(|contender, out| {
        contender.challenged(ms(110), Made::Standing, out);
        contender.probed(ms(200), "json.info_3", Verdict::Gone, out);
        contender.tick(ms(609), out);
    });
    one.expect(&[]);
    assert_eq!(one.contender.deadline(), Some(ms(110) + PATIENCE));
    one.does(|contender, out| contender.tick(ms(610), out));
    one.expect(&[Effect::Depose("json.info_3".into())]);
    one.does(|contender, out| contender.deposed(ms(620), Deposed::Yes, out));
    one.children(625, &["json.info_5"]);
    one.expect(&[Effect::StopProbing, Effect::Begin]);
}

#[test]
fn a_leader_answers_challenges_and_is_challenged_less_and_less_often() {
    let mut leader = One::leader();
    leader.does(|contender, out| contender.challenge_seen(ms(20), "json.info_9", out));
    leader.expect(&[]);
    leader.does(|contender, out| contender.challenge_seen(ms(20), "json.info_5", out));
    leader.expect(&[Effect::Answer]);

    let mut one = One::standby(other());
    one.taken();
    let (mut challenges, mut now) = (0, 0);
    while now < 120_000 {
        one.does(|contender, out| contender.probed(ms(now), "json.info_3", Verdict::Gone, out));
        if !one.taken().is_empty() {
            challenges += 1;
            one.does(|contender, out| {
                contender.challenged(ms(now), Made::Standing, out);
                contender.tick(ms(now + 500), out);
                contender.deposed(ms(now + 510), Deposed::No, out);
            });
            one.expect(&[Effect::Depose("json.info_3".into())]);
        }
        now += 250;
    }
    assert_eq!(challenges, 5, "4, 8, 16 and 32 s apart, and then 60 s");
}

#[test]
fn only_the_next_in_line_challenges() {
    let mut one = One::new();
    one.join(0, "json.info_5", &["json.info_3", "json.info_4"]);
    one.does(|contender, out| contender.read(ms(0), "json.info_3", Some(&encode(&other())), out));
    let taken = one.taken();
    assert!(!taken.iter().any(|effect| matches!(effect, Effect::Probe { .. })), "{taken:?}");
    one.children(10, &["json.info_3", "json.info_5"]);
    let taken = one.taken();
    assert!(matches!(&taken[..], [Effect::Probe { name, .. }] if name == "json.info_3"), "{taken:?}");
    one.children(20, &["json.info_3", "json.info_4", "json.info_5"]);
    one.expect(&[Effect::StopProbing]);
}

#[test]
fn what_an_earlier_life_left_behind_is_removed_at_once() {
    let own = v1::MasterInfo { id: "former".into(), ..fixed("10.0.0.1", 5050) };
    let mut one = One::standby(own);
    let taken = one.taken();
    assert!(
        matches!(&taken[..], [Effect::Follow(Some(_)), Effect::Remove(name)] if name == "json.info_3"),
        "{taken:?}"
    );
    // The same id at another address is a copy of the work directory: hands off.
    let mut one = One::standby(v1::MasterInfo { id: "former".into(), ..fixed("10.0.0.2", 5050) });
    assert!(!one.taken().iter().any(|effect| matches!(effect, Effect::Remove(_))));
}
