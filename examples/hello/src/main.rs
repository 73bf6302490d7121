//! The smallest framework: takes the first offer that suffices, runs one task on it, tells how it went.
//!
//! ```sh
//! mezzo local &
//! cargo run -p hello -- 127.0.0.1:5050
//! ```

use anyhow::bail;
use mezzo_sdk::{Event, SchedulerDriver, resources::Resources, v1};

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let master = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:5050".to_owned());
    let info = v1::FrameworkInfo { user: whoami(), name: "hello".into(), ..Default::default() };
    let (scheduler, mut events) = SchedulerDriver::builder(info).master(master).build()?;
    let needs = Resources::parse("cpus:0.1;mem:32", "*")?;
    let mut launched = false;

    while let Some(event) = events.recv().await {
        match event {
            Event::Subscribed(subscribed) => println!("subscribed as {}", subscribed.framework_id.value),
            Event::Offers(offers) => {
                for offer in offers {
                    let suffices = Resources::from_protos(&offer.resources)?.contains(&needs);
                    if launched || !suffices {
                        scheduler.decline([offer.id], None);
                        continue;
                    }
                    launched = true;
                    println!("taking the offer of {}", offer.hostname);
                    scheduler.launch([offer.id], vec![task(offer.agent_id, &needs)], None);
                }
            }
            Event::Update(status) => {
                println!("{}: {} {}", status.task_id.value, status.state().as_str_name(), status.message());
                match status.state() {
                    v1::TaskState::TaskStarting | v1::TaskState::TaskRunning => {}
                    v1::TaskState::TaskFinished => return Ok(scheduler.teardown().await?),
                    other => bail!("the task ended as {}", other.as_str_name()),
                }
            }
            Event::Retrying { reason, .. } => println!("{reason}; trying again"),
            Event::Ended(reason) => bail!("{reason}"),
            _ => {}
        }
    }
    Ok(())
}

fn task(agent_id: v1::AgentId, needs: &Resources) -> v1::TaskInfo {
    let command = Some(v1::CommandInfo { value: Some("echo hello".into()), ..Default::default() });
    let (task_id, resources) = (v1::TaskId { value: "hello-1".into() }, needs.to_protos());
    v1::TaskInfo { name: "hello".into(), task_id, agent_id, resources, command, ..Default::default() }
}

fn whoami() -> String {
    std::env::var("USER").unwrap_or_else(|_| "root".to_owned())
}
