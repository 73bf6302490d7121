//! How fast virtual time runs: ten agents, a framework that keeps a hundred one-minute tasks running, no faults, every
//! invariant checked at every step.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{computed, figure};
use crate::{
    fault::Mix,
    plan::{Plan, Wishes},
    run,
};

const TASKS: usize = 100;

pub(super) fn steady(print: &mut dyn FnMut(String)) {
    let wishes = Wishes { agents: Some(10), frameworks: Some(1), mix: Mix::NONE };
    let plan = Plan {
        tasks: TASKS,
        task_time: Some(Duration::from_secs(60)),
        troubled: Duration::from_secs(3600),
        settling: Duration::from_secs(240),
        ..Plan::new(1, wishes)
    };
    let (begin, computing) = (Instant::now(), computed());
    let report = run::run(&plan, None);
    let took = (computed() - computing).as_secs_f64();
    let passed = begin.elapsed().as_secs_f64();
    let simulated = report.simulated.elapsed().as_secs_f64();
    let parameters = json!({
        "agents": plan.agents,
        "tasks": TASKS,
        "steps": report.steps,
        "simulated_s": simulated,
        "passed_s": (passed * 1000.0).round() / 1000.0,
        "well": report.result.is_ok(),
    });
    print(figure("virtual seconds a second", simulated / took, "s/s", parameters));
}
