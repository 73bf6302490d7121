//! Resident memory: idle master, idle agent, and what each running command task adds to its agent's host.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use mezzo_sdk::{Encoding, Event, v1};

use crate::{
    cluster::Cluster,
    figure::Figure,
    framework::{Framework, Wanted, is_terminal},
    process::{self, Memory},
};

const SETTLED_AFTER: Duration = Duration::from_secs(2);
/// What supervisors call themselves.
pub(crate) const SUPERVISOR: &str = "mezzo-container";
pub(crate) const KIB_PER_MB: f64 = 1024.0;

pub(crate) async fn measure(running: usize, json: bool) -> Result<()> {
    let cluster = Cluster::start(1, "cpus:64;mem:65536;disk:1024;ports:[31000-32000]")?;
    tokio::time::sleep(SETTLED_AFTER).await; // what start-up needed is given back
    let (master, agent) = (cluster.master.id(), cluster.agents[0].id());
    let idle = process::memory(agent)?;
    print("idle_master", process::memory(master)?, json);
    print("idle_agent", idle, json);

    let before = process::named(SUPERVISOR);
    let wanted = Wanted { argv: vec!["sleep".into(), "600".into()], cpus: 0.01, mem: 1.0 };
    let mut framework = Framework::start(&cluster.address, Encoding::Protobuf, wanted).await?;
    start_all(&mut framework, running).await?;
    tokio::time::sleep(SETTLED_AFTER).await;
    print("agent_with_tasks", process::memory(agent)?, json);
    print("master_with_tasks", process::memory(master)?, json);
    // Supervisors leave the agent's process tree, so that its death spares them: they are known by what was not there before.
    let supervisors: Vec<Memory> =
        process::named(SUPERVISOR).difference(&before).filter_map(|&pid| process::memory(pid).ok()).collect();
    ensure!(supervisors.len() >= running, "{} supervisors for {running} tasks", supervisors.len());
    let count = supervisors.len() as u64;
    let mean = Memory {
        rss: supervisors.iter().map(|memory| memory.rss).sum::<u64>() / count,
        pss: supervisors.iter().map(|memory| memory.pss).sum::<u64>() / count,
    };
    let added = process::memory(agent)?.rss.saturating_sub(idle.rss) as f64 / running as f64 / KIB_PER_MB;
    print("supervisor_mean", mean, json);
    Figure::new("memory", "per_running_task", mean.rss as f64 / KIB_PER_MB + added, "MB")
        .with("tasks", running)
        .with("supervisor_rss_mb", mean.rss as f64 / KIB_PER_MB)
        .with("agent_growth_mb", added)
        .print(json);
    framework.scheduler.teardown().await?;
    Ok(())
}

pub(crate) async fn start_all(framework: &mut Framework, running: usize) -> Result<()> {
    let (mut launched, mut up) = (0, 0);
    while up < running {
        match framework.event().await? {
            Event::Offers(offers) => {
                for offer in offers {
                    let count = framework.fits(&offer)?.min(running - launched);
                    launched += count;
                    if count > 0 {
                        framework.launch(&offer, count);
                    }
                }
            }
            Event::Update(status) if status.state() == v1::TaskState::TaskRunning => up += 1,
            Event::Update(status) if is_terminal(status.state()) => {
                bail!("a task that should run ended as {:?}: {:?}", status.state(), status.message)
            }
            _ => {}
        }
    }
    Ok(())
}

fn print(case: &str, memory: Memory, json: bool) {
    Figure::new("memory", case, memory.rss as f64 / KIB_PER_MB, "MB")
        .with("pss_mb", (memory.pss as f64 / KIB_PER_MB * 1000.0).round() / 1000.0)
        .print(json);
}
