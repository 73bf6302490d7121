//! A new leader, to which every agent of a large cluster reports (the workload that Mesos published figures of:
//! site/source/blog/2017-12-07-performance-working-group-progress-report.md of apache/mesos), and what it then holds.

use std::time::Duration;

use bytes::Bytes;
use mezzo_api::{
    link::{self, from_agent},
    v1::TaskState,
};
use mezzo_master_core::registry::Recovered;
use prost::Message;
use serde_json::json;

use super::{
    computed, figure,
    master::{Driver, agent_info, framework, framework_id, register, task},
};

pub(super) const TASKS_PER_AGENT: u32 = 10;
const FRAMEWORKS: u32 = 5;
const COMPLETED_PER_AGENT: u32 = 100;

pub(super) fn without_history(print: &mut dyn FnMut(String)) {
    for agents in [10_000, 20_000, 40_000] {
        let failover = measure(agents, 0);
        failover.print("failover", print);
    }
}

pub(super) fn with_history(print: &mut dyn FnMut(String)) {
    measure(40_000, COMPLETED_PER_AGENT).print("failover with history", print);
}

struct Failover {
    agents: u32,
    completed: u32,
    core: Duration,
    decoding: Duration,
}

impl Failover {
    fn print(&self, case: &str, print: &mut dyn FnMut(String)) {
        let parameters = json!({
            "agents": self.agents,
            "tasks": self.agents * TASKS_PER_AGENT,
            "completed_tasks": self.agents * self.completed,
            "frameworks": FRAMEWORKS,
            "decoding_s": (self.decoding.as_secs_f64() * 1000.0).round() / 1000.0,
        });
        print(figure(case, self.core.as_secs_f64(), "s", parameters));
    }
}

fn measure(agents: u32, completed: u32) -> Failover {
    let recovered =
        Recovered { agents: (0..agents).map(|number| agent_info(number, true)).collect(), ..Recovered::default() };
    let mut driver = Driver::new(recovered);
    let mut decoding = Duration::ZERO;
    for agent in 0..agents {
        let message = link::FromAgent { message: Some(from_agent::Message::Reregister(report(agent, completed))) };
        let bytes = Bytes::from(message.encode_to_vec());
        drop(message);
        let begin = computed();
        let decoded = link::FromAgent::decode(bytes);
        decoding += computed() - begin;
        if let Some(message) = decoded.ok().and_then(|message| message.message) {
            // Thousands of agents report within the first seconds.
            driver.now += Duration::from_micros(100);
            driver.agent_says(agent, message);
        }
    }
    Failover { agents, completed, core: driver.took, decoding }
}

fn history(agent: u32, framework: u32, completed: u32) -> link::History {
    let own = (0..completed).filter(|number| number % FRAMEWORKS == framework);
    let tasks = own.map(|number| task(agent, TASKS_PER_AGENT + number, framework, TaskState::TaskFinished));
    let encoded: Vec<u8> = tasks.flat_map(|task| task.encode_length_delimited_to_vec()).collect();
    link::History { framework_id: framework_id(framework), tasks: encoded.into() }
}

pub(super) fn report(agent: u32, completed: u32) -> link::Reregister {
    let tasks = (0..TASKS_PER_AGENT).map(|number| task(agent, number, number % FRAMEWORKS, TaskState::TaskRunning));
    let done = (0..FRAMEWORKS).map(|framework| history(agent, framework, completed));
    link::Reregister {
        register: register(agent, true),
        report: 1,
        last: true,
        frameworks: (0..FRAMEWORKS).map(framework).collect(),
        tasks: tasks.collect(),
        completed_tasks: done.collect(),
        ..Default::default()
    }
}
