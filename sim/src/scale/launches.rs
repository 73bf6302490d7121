//! Launches through offers: frameworks take whatever they are offered.

use std::time::Duration;

use mezzo_api::{
    link::from_agent,
    v1::{self, scheduler::Call},
};
use mezzo_master_core::{input::StreamId, registry::Recovered};
use mezzo_sdk_core::scheduler::calls;
use serde_json::json;

use super::{
    figure,
    master::{Driver, framework_id, register},
};
use crate::{scheduler::keeper, workload::Program};

const AGENTS: u32 = 10_000;
const TASKS_PER_OFFER: u32 = 5;
const TASKS: u64 = 200_000;

pub(super) fn launches(print: &mut dyn FnMut(String)) {
    for frameworks in [1, 10, 100] {
        let mut driver = Driver::new(Recovered::default());
        for agent in 0..AGENTS {
            driver.agent_says(agent, from_agent::Message::Register(register(agent, false)));
        }
        let streams: Vec<StreamId> = (0..frameworks).map(|number| driver.subscribe(number)).collect();
        driver.took = Duration::ZERO;
        let (mut next, mut rounds) = (0, 0);
        while driver.launched < TASKS && rounds < 1000 {
            rounds += 1;
            driver.now += Duration::from_secs(1);
            driver.batch(|_, _, _| {});
            for (stream, offer) in std::mem::take(&mut driver.offers) {
                let framework = streams.iter().position(|known| *known == stream).unwrap_or_default();
                let call = accept(u32::try_from(framework).unwrap_or_default(), &offer, &mut next);
                driver.call(stream, call);
            }
        }
        #[allow(clippy::cast_precision_loss)] // a rate
        let rate = driver.launched as f64 / driver.took.as_secs_f64();
        let parameters =
            json!({ "agents": AGENTS, "frameworks": frameworks, "tasks": driver.launched, "rounds": rounds });
        print(figure("launches", rate, "tasks/s", parameters));
    }
}

fn accept(framework: u32, offer: &v1::Offer, next: &mut u32) -> Call {
    let tasks = (0..TASKS_PER_OFFER).map(|_| {
        *next += 1;
        v1::TaskInfo {
            name: "task".to_owned(),
            task_id: v1::TaskId { value: format!("t{next}") },
            agent_id: offer.agent_id.clone(),
            resources: vec![keeper::scalar(offer, "cpus", 0.1), keeper::scalar(offer, "mem", 32.0)],
            command: Some(keeper::command(Program::Run { for_ms: 1000, code: 0, stubborn: false })),
            ..Default::default()
        }
    });
    let mut call = calls::accept(
        vec![offer.id.clone()],
        vec![calls::launch(tasks.collect())],
        Some(v1::Filters { refuse_seconds: Some(0.0) }),
    );
    call.framework_id = Some(framework_id(framework));
    call
}
