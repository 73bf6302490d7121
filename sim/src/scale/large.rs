//! A cluster of fifty thousand agents: what the core, its allocator with it, holds of it, and how soon what is freed there is
//! offered to somebody.

use std::time::{Duration, Instant};

use mezzo_api::{
    link::{self, from_agent},
    v1::{self, TaskState, task_status::Source},
};
use mezzo_master_core::{input::LinkId, registry::Recovered};
use serde_json::json;

use super::{
    failover::{TASKS_PER_AGENT, report},
    figure,
    master::{Driver, agent_id, agent_info, framework_id, link_of},
    resident_bytes,
};

const AGENTS: u32 = 50_000;
const FRAMEWORKS: u32 = 1_000;
/// Agents of which something is freed, one after the other.
const SAMPLES: u32 = 2_000;
/// Agents speak one after the other; none is given up meanwhile.
const BETWEEN: Duration = Duration::from_micros(100);

/// Bytes for each agent, with an outstanding offer of it, and for each of ten running tasks of each agent. A task has ten
/// labels, together a hundred bytes.
pub(super) fn memory(print: &mut dyn FnMut(String)) {
    let before = resident_bytes();
    let mut driver = frameworks();
    for agent in 0..AGENTS {
        let empty = link::Reregister { frameworks: Vec::new(), tasks: Vec::new(), ..report(agent, 0) };
        // They come back over other links, with tasks.
        say(&mut driver, LinkId((AGENTS + agent).into()), empty);
    }
    come_to_rest(&mut driver);
    let with_agents = resident_bytes();
    all_report(&mut driver);
    let with_tasks = resident_bytes();
    let parameters = json!({ "agents": AGENTS, "frameworks": FRAMEWORKS, "tasks": AGENTS * TASKS_PER_AGENT });
    for (case, held, count) in [
        ("memory, an agent", with_agents.saturating_sub(before), AGENTS),
        ("memory, a task", with_tasks.saturating_sub(with_agents), AGENTS * TASKS_PER_AGENT),
    ] {
        #[allow(clippy::cast_precision_loss)] // some gigabytes at most
        print(figure(case, held as f64 / f64::from(count), "B", parameters.clone()));
    }
}

/// A task ends: how long until what it had is in an OFFERS event, the time of gathering included.
pub(super) fn offered(print: &mut dyn FnMut(String)) {
    let mut driver = frameworks();
    all_report(&mut driver);
    let mut samples: Vec<f64> = (0..SAMPLES).map(|number| sample(&mut driver, number * (AGENTS / SAMPLES))).collect();
    samples.sort_by(f64::total_cmp);
    let at = |part: f64| {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // an index
        let index = (part * (samples.len() - 1) as f64).round() as usize;
        samples[index]
    };
    let parameters = json!({
        "agents": AGENTS, "frameworks": FRAMEWORKS, "tasks": AGENTS * TASKS_PER_AGENT,
        "p50_ms": at(0.5), "max_ms": at(1.0),
    });
    print(figure("freed until offered, p99", at(0.99), "ms", parameters));
}

fn frameworks() -> Driver {
    let agents = (0..AGENTS).map(|number| agent_info(number, true)).collect();
    let mut driver = Driver::new(Recovered { agents, ..Recovered::default() });
    for framework in 0..FRAMEWORKS {
        driver.subscribe(framework);
    }
    driver
}

fn all_report(driver: &mut Driver) {
    for agent in 0..AGENTS {
        say(driver, link_of(agent), report(agent, 0));
    }
    come_to_rest(driver);
}

fn say(driver: &mut Driver, link: LinkId, report: link::Reregister) {
    driver.now += BETWEEN;
    driver.says_on(link, from_agent::Message::Reregister(report));
    driver.offers.clear();
}

/// Everything that is free is offered.
fn come_to_rest(driver: &mut Driver) {
    driver.now += Duration::from_millis(50);
    driver.batch(|_, _, _| {});
    driver.offers.clear();
}

fn sample(driver: &mut Driver, agent: u32) -> f64 {
    let id = agent_id(agent);
    let begun = driver.now;
    let begin = Instant::now();
    driver.batch(|core, now, out| {
        let message = link::FromAgent { message: Some(ended(agent)) };
        core.agent(now, link_of(agent), message, out);
    });
    while !driver.offers.iter().any(|(_, offer)| offer.agent_id == id) {
        assert!(driver.now - begun < Duration::from_secs(10), "what was freed of agent {agent} is never offered");
        // The shell sleeps until then.
        driver.now = driver.core.deadline().unwrap_or_default().max(driver.now + Duration::from_micros(1));
        driver.batch(|_, _, _| {});
    }
    driver.offers.clear();
    (driver.now - begun + begin.elapsed()).as_secs_f64() * 1000.0
}

fn ended(agent: u32) -> from_agent::Message {
    let status = v1::TaskStatus {
        task_id: v1::TaskId { value: format!("t{agent}-0") },
        state: TaskState::TaskFinished.into(),
        source: Some(Source::Executor.into()),
        agent_id: Some(agent_id(agent)),
        timestamp: Some(1_700_000_001.0),
        uuid: Some(u128::from(agent).to_be_bytes().to_vec().into()),
        ..Default::default()
    };
    from_agent::Message::StatusUpdate(link::StatusUpdate { framework_id: framework_id(0), status, latest_state: None })
}
