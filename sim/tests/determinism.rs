//! The same seed gives the same trace, byte for byte; another seed another one; and what is found is found again.

use std::collections::BTreeMap;

use mezzo_sim::{
    fault::Mix,
    plan::{Plan, Wishes},
    run, shrink,
};

fn trace(seed: u64) -> String {
    let mut text = String::new();
    let report = run::run(&Plan::new(seed, Wishes::default()), Some(&mut |line| text += &format!("{line}\n")));
    assert_eq!(report.result, Ok(()), "seed {seed}");
    text
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in [3, 8, 52] {
        let first = trace(seed);
        let second = trace(seed);
        assert!(first.lines().count() > 1000, "seed {seed} does something");
        if first != second {
            let differs = first.lines().zip(second.lines()).find(|(one, other)| one != other);
            panic!("seed {seed} gives two traces; they part at {differs:?}");
        }
    }
}

#[test]
fn seeds_differ() {
    assert_ne!(trace(3), trace(4));
}

/// Traces may be compared between machines by these: a change of the cores, or of the simulator, changes them.
#[test]
fn a_trace_does_not_depend_on_threads() {
    let here = trace(8);
    let there = std::thread::spawn(|| trace(8)).join().expect("the run does not panic");
    assert!(here == there);
}

/// Which agent each task was sent to, and which executors of it have ended of themselves: what is launched on one that is
/// just ending is its framework's own bad luck.
#[derive(Default)]
struct Executors {
    tasks: BTreeMap<String, String>,
    ended: BTreeMap<String, f64>,
}

impl Executors {
    fn see(&mut self, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (Some(at), Some(who)) = (words.first().and_then(|at| at.parse().ok()), words.get(1)) else { return };
        if line.contains("EXITED EXECUTOR") && words.get(2) == Some(&"->") {
            self.ended.insert((*who).to_owned(), at);
        }
        if let Some(place) = words.iter().position(|word| *word == "RUN").filter(|_| words.get(2) == Some(&"<-")) {
            let tasks = words[place + 1..].iter().map(|word| word.trim_matches(|c: char| "[],\"".contains(c)));
            self.tasks.extend(tasks.map(|task| (task.to_owned(), (*who).to_owned())));
        }
    }

    /// The task was sent to an agent whose executor ended within a second before it was told to be lost.
    fn ended_under(&self, told: &str) -> bool {
        let words: Vec<&str> = told.split_whitespace().collect();
        let at: f64 = words[0].parse().unwrap_or_default();
        let task = words.iter().position(|word| *word == "update").and_then(|place| words.get(place + 1));
        let ended = task.and_then(|task| self.ended.get(self.tasks.get(*task)?));
        told.contains("because executor_terminated") && ended.is_some_and(|ended| at - ended < 1.0)
    }
}

#[test]
fn without_faults_all_is_well_and_little_is_lost() {
    let wishes = Wishes { mix: Mix::NONE, agents: Some(3), frameworks: Some(2) };
    for seed in 1..=5 {
        let plan = Plan::new(seed, wishes);
        assert!(plan.faults.is_empty());
        let mut lost = Vec::new();
        let mut executors = Executors::default();
        let report = run::run(
            &plan,
            Some(&mut |line: String| {
                executors.see(&line);
                let given_up = line.contains("LOST") || line.contains("DROPPED");
                if line.contains("is told update") && given_up && !executors.ended_under(&line) {
                    lost.push(line);
                }
            }),
        );
        assert_eq!(report.result, Ok(()));
        assert!(lost.is_empty(), "no task is lost when nothing goes wrong: {lost:#?}");
    }
}

#[test]
fn faults_can_be_left_out() {
    let plan = Plan::new(8, Wishes::default());
    let fewer = shrink::only(&plan, &[0]);
    assert_eq!(fewer.faults, plan.faults[..1]);
    assert_eq!(run::run(&fewer, None).result, Ok(()));
}
