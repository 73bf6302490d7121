//! Scenarios: what a supervisor asks for, step by step.

use std::time::SystemTime;

use mezzo_api::{resources::Resources, time::Now, v1::scheduler::Call};

use super::*;
use crate::{
    address::Address,
    scheduler::{Act, calls},
};

struct Bench {
    supervisor: Supervisor,
    mono: Duration,
    store: BTreeMap<String, Bytes>,
    calls: Vec<Call>,
    next_offer: u32,
}

fn second(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn web(count: u32) -> Group {
    Group::new("web", "serve $PORT", "cpus:1;mem:100").unwrap().count(count).ports(1)
}

impl Bench {
    fn new() -> Self {
        let mut bench = Self::stopped(BTreeMap::new(), 1);
        bench.subscribe(false);
        bench.calls.clear();
        bench
    }

    /// With a group, and nothing left over.
    fn with(group: Group) -> Self {
        let mut bench = Self::new();
        bench.step(|supervisor, context| supervisor.set(context, group).unwrap());
        bench.calls.clear();
        bench
    }

    fn stopped(store: BTreeMap<String, Bytes>, seed: u64) -> Self {
        let supervisor = Supervisor::new(Config::default(), seed);
        let mut bench = Self { supervisor, mono: second(100), store, calls: Vec::new(), next_offer: 0 };
        let stored = bench.store.clone();
        bench.step(|supervisor, context| supervisor.restored(context, &stored));
        bench
    }

    /// The program is killed and started again.
    fn restart(self) -> Self {
        let mut bench = Self::stopped(self.store, self.supervisor.index.len() as u64 + 77);
        bench.subscribe(true);
        bench
    }

    fn subscribe(&mut self, again: bool) {
        let subscribed = Subscribed {
            framework_id: v1::FrameworkId { value: "F".into() },
            master: None,
            address: Address { host: "m".into(), port: 1 },
            again,
        };
        self.step(|supervisor, context| supervisor.subscribed(context, &subscribed));
    }

    fn step<R>(&mut self, act: impl FnOnce(&mut Supervisor, &mut Context<'_>) -> R) -> R {
        let now = Now { mono: self.mono, wall: SystemTime::UNIX_EPOCH + self.mono };
        let mut acts = Vec::new();
        let result = act(&mut self.supervisor, &mut Context::new(now, &mut acts));
        for act in acts {
            match act {
                Act::Put { key, value } => drop(self.store.insert(key, value)),
                Act::Remove { key } => drop(self.store.remove(&key)),
                Act::Call(call) => {
                    for task in calls::launched(&call) {
                        let stored = self
                            .store
                            .values()
                            .any(|value| String::from_utf8_lossy(value).contains(&task.task_id.value));
                        assert!(stored, "{} is launched before it is stored", task.task_id.value);
                    }
                    self.calls.push(*call);
                }
                Act::Stop => panic!("not asked for"),
            }
        }
        assert!(
            self.supervisor.deadline().is_none_or(|at| at > self.mono),
            "a deadline that has passed: it would spin"
        );
        result
    }

    fn wait(&mut self, time: Duration) {
        let until = self.mono + time;
        while let Some(at) = self.supervisor.deadline().filter(|at| *at <= until) {
            self.mono = self.mono.max(at);
            self.step(|supervisor, context| supervisor.due(context));
        }
        self.mono = until;
    }

    fn offer(&mut self, agents: &[&str]) {
        self.offer_of(agents, "cpus:4;mem:4000;ports:[8000-8009]");
    }

    fn offer_of(&mut self, agents: &[&str], resources: &str) {
        let offers = agents
            .iter()
            .map(|agent| {
                self.next_offer += 1;
                v1::Offer {
                    id: v1::OfferId { value: format!("O{}", self.next_offer) },
                    agent_id: v1::AgentId { value: (*agent).into() },
                    hostname: format!("host-{agent}"),
                    resources: Resources::parse(resources, "*").unwrap().to_protos(),
                    ..Default::default()
                }
            })
            .collect();
        self.step(|supervisor, context| supervisor.offered(context, offers));
    }

    fn update(&mut self, task: &v1::TaskInfo, state: TaskState) {
        self.report(task, state, None);
    }

    fn report(&mut self, task: &v1::TaskInfo, state: TaskState, healthy: Option<bool>) {
        let status = v1::TaskStatus {
            task_id: task.task_id.clone(),
            agent_id: Some(task.agent_id.clone()),
            state: state as i32,
            healthy,
            ..Default::default()
        };
        self.step(|supervisor, context| supervisor.updated(context, &status));
    }

    fn launched(&mut self) -> Vec<v1::TaskInfo> {
        let taken: Vec<Call> = self.calls.extract_if(.., |call| call.accept.is_some()).collect();
        taken.iter().flat_map(calls::launched).cloned().collect()
    }

    /// Launched on this one agent, and running.
    fn run_on(&mut self, agents: &[&str]) -> Vec<v1::TaskInfo> {
        self.offer(agents);
        let tasks = self.launched();
        for task in &tasks {
            self.update(task, TaskState::TaskRunning);
        }
        tasks
    }

    fn killed(&mut self) -> Vec<String> {
        let taken: Vec<Call> = self.calls.extract_if(.., |call| call.kill.is_some()).collect();
        taken.into_iter().filter_map(|call| call.kill).map(|kill| kill.task_id.value).collect()
    }

    fn declined(&mut self) -> Vec<(usize, f64)> {
        let taken: Vec<Call> = self.calls.extract_if(.., |call| call.decline.is_some()).collect();
        let declines = taken.into_iter().filter_map(|call| call.decline);
        declines.map(|decline| (decline.offer_ids.len(), decline.filters.unwrap().refuse_seconds.unwrap())).collect()
    }

    fn count(&mut self, has: fn(&Call) -> bool) -> usize {
        self.calls.extract_if(.., |call| has(call)).count()
    }

    fn ids(tasks: &[v1::TaskInfo]) -> Vec<String> {
        tasks.iter().map(|task| task.task_id.value.clone()).collect()
    }

    fn summary(&self) -> Summary {
        self.supervisor.summary("web").unwrap()
    }
}

fn variable<'a>(task: &'a v1::TaskInfo, name: &str) -> Option<&'a str> {
    let variables = &task.command.as_ref()?.environment.as_ref()?.variables;
    variables.iter().find(|variable| variable.name == name)?.value.as_deref()
}

#[test]
fn fills_places_spread_over_agents_with_ports() {
    let mut bench = Bench::with(web(3));
    bench.offer(&["a", "b"]);
    let tasks = bench.launched();
    assert_eq!(tasks.len(), 3);
    let on = |agent: &str| tasks.iter().filter(|task| task.agent_id.value == agent).count();
    assert_eq!((on("a"), on("b")), (2, 1));
    let mut ports: Vec<_> =
        tasks.iter().map(|task| (task.agent_id.value.clone(), variable(task, "PORT").unwrap().to_owned())).collect();
    ports.sort();
    ports.dedup();
    assert_eq!(ports.len(), 3, "no port twice on an agent");
    assert_eq!(variable(&tasks[0], "PORT"), variable(&tasks[0], "PORT0"));
    for task in &tasks {
        bench.update(task, TaskState::TaskRunning);
    }
    assert_eq!((bench.summary().ready, bench.summary().waiting), (3, 0));
}

#[test]
fn wants_no_offers_while_nothing_waits() {
    let mut bench = Bench::new();
    bench.step(|supervisor, context| supervisor.due(context));
    bench.offer(&["a"]);
    assert_eq!(bench.declined(), [(1, 3600.0)]);
    bench.step(|supervisor, context| supervisor.set(context, web(1)).unwrap());
    assert_eq!(bench.count(|call| call.revive.is_some()), 1, "what was refused may do now");
    let task = bench.run_on(&["a"]).remove(0);
    assert_eq!(bench.count(|call| call.suppress.is_some()), 1);
    bench.update(&task, TaskState::TaskLost);
    bench.wait(second(1));
    assert_eq!(bench.count(|call| call.revive.is_some()), 1);
}

#[test]
fn an_offer_that_does_not_do_is_refused_for_a_while() {
    let mut bench = Bench::with(web(1));
    bench.offer_of(&["a"], "cpus:0.5;mem:4000;ports:[1-9]");
    assert!(bench.declined().is_empty(), "kept: another of the same agent may come");
    bench.wait(second(6));
    assert_eq!(bench.declined(), [(1, 30.0)]);
    bench.offer_of(&["a"], "cpus:0.5;mem:50;ports:[1-9]");
    bench.offer_of(&["a"], "cpus:0.5;mem:50");
    assert_eq!(bench.launched().len(), 1, "two offers of an agent are used together");
}

#[test]
fn what_fails_is_started_again_elsewhere_after_growing_waits() {
    let mut bench = Bench::with(web(1));
    let mut task = bench.run_on(&["a", "b"]).remove(0);
    let mut waited = Vec::new();
    for _ in 0..4 {
        let before = task.agent_id.clone();
        bench.update(&task, TaskState::TaskFailed);
        let begun = bench.mono;
        bench.offer(&["a", "b"]);
        while bench.summary().waiting > 0 {
            bench.wait(Duration::from_millis(100));
            bench.offer(&["a", "b"]);
        }
        waited.push(bench.mono - begun);
        task = bench.launched().remove(0);
        assert_ne!(task.agent_id, before);
        bench.update(&task, TaskState::TaskRunning);
    }
    assert!(waited[0] <= second(2) && waited[3] >= second(4), "{waited:?}");
    bench.wait(second(61));
    bench.update(&task, TaskState::TaskFailed);
    bench.wait(second(2));
    bench.offer(&["a"]);
    bench.wait(second(6));
    assert_eq!(bench.launched().len(), 1, "it had proved itself, and there is no other agent in the long run");
}

#[test]
fn what_is_lost_again_and_again_is_not_made_to_wait() {
    let mut bench = Bench::with(web(1));
    for _ in 0..10 {
        let task = bench.run_on(&["a", "b"]).remove(0);
        bench.update(&task, TaskState::TaskLost);
        assert_eq!(bench.supervisor.waiting(bench.mono), 1);
    }
    for _ in 0..10 {
        bench.wait(second(11));
        bench.offer(&["a", "b"]);
        let task = bench.launched().remove(0); // dropped before it ran: that may go in circles
        bench.update(&task, TaskState::TaskDropped);
    }
    assert_eq!(bench.supervisor.waiting(bench.mono), 0);
}

#[test]
fn what_cannot_be_reached_is_started_elsewhere_and_killed_when_it_comes_back() {
    let mut bench = Bench::with(web(1));
    let old = bench.run_on(&["a"]).remove(0);
    bench.update(&old, TaskState::TaskUnreachable);
    let new = bench.run_on(&["b"]).remove(0);
    assert!(bench.killed().is_empty());
    bench.update(&old, TaskState::TaskRunning);
    assert_eq!(bench.killed(), std::slice::from_ref(&old.task_id.value));
    bench.wait(second(11));
    assert_eq!(bench.killed(), std::slice::from_ref(&old.task_id.value), "said again");
    bench.update(&old, TaskState::TaskKilled);
    bench.wait(second(300));
    assert!(bench.killed().is_empty());
    assert_eq!(bench.supervisor.instances("web")[0].task_id, new.task_id.value);
    assert_eq!(bench.supervisor.leaving(), 0);
}

#[test]
fn what_comes_back_before_another_was_started_stays() {
    let mut bench = Bench::with(web(1));
    let task = bench.run_on(&["a"]).remove(0);
    bench.update(&task, TaskState::TaskUnreachable);
    assert_eq!(bench.summary().waiting, 1);
    bench.update(&task, TaskState::TaskRunning);
    assert_eq!((bench.summary().waiting, bench.summary().ready), (0, 1));
    bench.offer(&["b"]);
    assert!(bench.launched().is_empty() && bench.killed().is_empty());
}

#[test]
fn an_absence_within_the_grace_changes_nothing() {
    let mut group = web(1);
    group.unreachable_grace = second(60);
    let mut bench = Bench::with(group);
    let task = bench.run_on(&["a"]).remove(0);
    bench.update(&task, TaskState::TaskUnreachable);
    bench.offer(&["b"]);
    bench.wait(second(59));
    assert!(bench.launched().is_empty());
    bench.wait(second(2));
    bench.offer(&["b"]);
    assert_eq!(bench.launched().len(), 1);
}

#[test]
fn a_task_that_nothing_is_known_of_is_killed() {
    let mut bench = Bench::with(web(1));
    let stranger = v1::TaskInfo { task_id: v1::TaskId { value: "stranger".into() }, ..Default::default() };
    bench.update(&stranger, TaskState::TaskRunning);
    assert_eq!(bench.killed(), ["stranger"]);
    bench.update(&stranger, TaskState::TaskKilled);
    bench.update(&stranger, TaskState::TaskLost);
    bench.wait(second(100));
    assert!(bench.killed().is_empty());
}

#[test]
fn scales_up_and_down() {
    let mut bench = Bench::with(web(1));
    bench.run_on(&["a"]);
    bench.step(|supervisor, context| supervisor.scale(context, "web", 3).unwrap());
    let more = bench.run_on(&["a", "b"]);
    assert_eq!(more.len(), 2);
    bench.step(|supervisor, context| supervisor.scale(context, "web", 1).unwrap());
    let mut killed = bench.killed();
    killed.sort();
    let mut expected = Bench::ids(&more);
    expected.sort();
    assert_eq!(killed, expected);
    assert_eq!(bench.store.keys().collect::<Vec<_>>(), ["group/web", "slot/web/0"]);
    let error = bench.step(|supervisor, context| supervisor.scale(context, "nothing", 1));
    assert_eq!(error, Err(GroupError::Unknown("nothing".into())));
    bench.step(|supervisor, context| supervisor.remove(context, "web").unwrap());
    assert!(bench.store.is_empty());
    assert_eq!(bench.killed().len(), 1);
}

#[test]
fn a_new_run_of_the_program_knows_everything() {
    let mut bench = Bench::with(web(2));
    let tasks = bench.run_on(&["a", "b"]);
    let mut bench = bench.restart();
    let mut known: Vec<String> = bench.supervisor.known_tasks().into_iter().map(|task| task.task_id.value).collect();
    known.sort();
    let mut expected = Bench::ids(&tasks);
    expected.sort();
    assert_eq!(known, expected);
    bench.offer(&["a"]);
    assert!(bench.launched().is_empty(), "what became of them is not known yet");
    bench.update(&tasks[0], TaskState::TaskRunning);
    bench.update(&tasks[1], TaskState::TaskGone);
    bench.offer(&["a"]);
    let new = bench.launched();
    assert_eq!(new.len(), 1);
    assert!(!expected.contains(&new[0].task_id.value));
}

#[test]
fn a_removed_framework_begins_anew() {
    let mut bench = Bench::with(web(2));
    bench.run_on(&["a", "b"]);
    bench.subscribe(false);
    assert_eq!(bench.summary().waiting, 2);
    assert_eq!(bench.run_on(&["a"]).len(), 2);
}

#[test]
fn a_changed_task_replaces_the_old_ones_one_by_one() {
    let mut bench = Bench::with(web(3));
    let old = bench.run_on(&["a", "b", "c"]);
    let mut changed = web(3);
    changed.task.command.as_mut().unwrap().value = Some("serve better".into());
    bench.step(|supervisor, context| supervisor.set(context, changed).unwrap());
    for round in 0..3 {
        let killed = bench.killed();
        assert_eq!(killed.len(), 1, "round {round}");
        let task = old.iter().find(|task| task.task_id.value == killed[0]).unwrap();
        bench.update(task, TaskState::TaskKilled);
        bench.offer(&["a"]);
        let new = bench.launched().remove(0);
        assert_eq!(new.command.as_ref().unwrap().value.as_deref(), Some("serve better"));
        assert!(bench.killed().is_empty(), "the next one follows when this one is ready");
        bench.update(&new, TaskState::TaskRunning);
    }
    assert!(bench.killed().is_empty());
    assert_eq!((bench.summary().outdated, bench.summary().ready), (0, 3));
}

#[test]
fn start_first_kills_the_old_one_when_the_new_one_is_healthy() {
    let check = v1::HealthCheck {
        r#type: Some(v1::health_check::Type::Http as i32),
        http: Some(v1::health_check::HttpCheckInfo { port: 0, ..Default::default() }),
        ..Default::default()
    };
    let group = web(1).health_check(check).change(Change { at_once: 1, order: Order::StartFirst });
    let mut bench = Bench::with(group);
    let old = bench.run_on(&["a"]).remove(0);
    assert_eq!(
        old.health_check.as_ref().unwrap().http.as_ref().unwrap().port.to_string(),
        variable(&old, "PORT").unwrap()
    );
    assert_eq!(bench.summary().ready, 0, "it is not known to be healthy");
    bench.report(&old, TaskState::TaskRunning, Some(true));
    assert_eq!(bench.summary().ready, 1);
    bench.step(|supervisor, context| supervisor.restart(context, "web").unwrap());
    let new = bench.run_on(&["a"]).remove(0);
    assert!(bench.killed().is_empty());
    bench.report(&new, TaskState::TaskRunning, Some(true));
    assert_eq!(bench.killed(), std::slice::from_ref(&old.task_id.value));
    assert_eq!((bench.summary().ready, bench.summary().outdated), (1, 0));
}

#[test]
fn jobs_end_and_are_tried_so_often() {
    let mut bench = Bench::new();
    let group = Group::new("job", "work", "cpus:1;mem:10").unwrap().count(2).job(2);
    bench.step(|supervisor, context| supervisor.set(context, group).unwrap());
    let tasks = bench.run_on(&["a"]);
    bench.update(&tasks[0], TaskState::TaskFinished);
    bench.update(&tasks[1], TaskState::TaskLost);
    let again = bench.run_on(&["a"]).remove(0);
    bench.update(&again, TaskState::TaskFailed);
    bench.wait(second(10));
    let last = bench.run_on(&["a"]).remove(0);
    bench.update(&last, TaskState::TaskFailed);
    let outcomes = bench.supervisor.take_outcomes();
    assert_eq!(
        outcomes.iter().map(|outcome| (outcome.succeeded, outcome.attempts)).collect::<Vec<_>>(),
        [(true, 1), (false, 2)]
    );
    let mut bench = bench.restart();
    bench.offer(&["a"]);
    assert!(bench.launched().is_empty());
    assert_eq!(bench.supervisor.outcomes("job").len(), 2, "remembered");
}

#[test]
fn constraints_are_kept() {
    let mut bench = Bench::with(web(2).constraint(Constraint::Unique(Field::Hostname)));
    bench.offer(&["a"]);
    assert_eq!(bench.launched().len(), 1);
    bench.offer(&["a", "b"]);
    let second = bench.launched();
    assert_eq!(second.len(), 1);
    assert_eq!(second[0].agent_id.value, "b");
}

#[test]
fn refuses_what_cannot_be() {
    let mut bench = Bench::new();
    let mut set = |group: Group| bench.step(|supervisor, context| supervisor.set(context, group));
    assert!(matches!(set(Group::new("a b", "x", "cpus:1").unwrap()), Err(GroupError::Name(_))));
    assert!(matches!(set(Group::new("a", "x", "").unwrap()), Err(GroupError::NoResources(_))));
    assert!(matches!(
        set(Group::of("a", v1::TaskInfo { resources: web(1).task.resources, ..Default::default() })),
        Err(GroupError::NothingToRun(_))
    ));
    assert!(matches!(set(web(1).job(0)), Err(GroupError::Zero { .. })));
    assert!(matches!(
        set(web(1).constraint(Constraint::Like(Field::Zone, "[".into()))),
        Err(GroupError::Constraint { .. })
    ));
    assert!(matches!(Group::new("a", "x", "cpus"), Err(GroupError::Resources { .. })));
    assert_eq!(bench.supervisor.groups().count(), 0);
}

#[test]
fn records_that_cannot_be_read_are_passed_over() {
    let bench = Bench::with(web(1));
    let mut store = bench.store.clone();
    store.insert("group/bad".into(), Bytes::from_static(b"{"));
    store.insert("slot/web/x".into(), Bytes::from_static(b"{}"));
    store.insert("other".into(), Bytes::from_static(b""));
    let bench = Bench::stopped(store, 3);
    assert_eq!(bench.supervisor.groups().count(), 1);
    assert_eq!(bench.supervisor.group("web"), Some(&web(1)));
}
