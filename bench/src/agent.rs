//! An agent with many command tasks: what it and its supervisors take when nothing happens, and how soon a restarted one
//! serves again.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use mezzo_sdk::Encoding;

use crate::{
    cluster::{Cluster, get},
    figure::{Figure, percentile},
    framework::{Framework, Wanted},
    memory::{KIB_PER_MB, SUPERVISOR, start_all},
    process,
};

/// What start-up and a burst of tasks needed is given back by then: the agent looks at its disk each minute.
const SETTLED_AFTER: Duration = Duration::from_secs(65);
const IDLE: Duration = Duration::from_secs(30);
const RESTARTS: usize = 5;
const SERVES_WITHIN: Duration = Duration::from_secs(60);

pub(crate) async fn measure(running: usize, json: bool) -> Result<()> {
    let mut cluster = Cluster::start(1, "cpus:64;mem:65536;disk:1024;ports:[31000-32000]")?;
    let before = process::named(SUPERVISOR);
    let wanted = Wanted { argv: vec!["sleep".into(), "3600".into()], cpus: 0.01, mem: 1.0 };
    let mut framework = Framework::start(&cluster.address, Encoding::Protobuf, wanted).await?;
    let start = Instant::now();
    start_all(&mut framework, running).await?;
    let figure = |case: &str, value: f64, unit: &'static str| {
        Figure::new("agent", case, value, unit).with("tasks", running).print(json);
    };
    figure("all_running", start.elapsed().as_secs_f64(), "s");
    tokio::time::sleep(SETTLED_AFTER).await;

    let supervisors: Vec<_> =
        process::named(SUPERVISOR).difference(&before).filter_map(|&pid| process::memory(pid).ok()).collect();
    ensure!(supervisors.len() >= running, "{} supervisors for {running} tasks", supervisors.len());
    for (name, of) in [("rss", true), ("pss", false)] {
        let mut all: Vec<f64> =
            supervisors.iter().map(|memory| if of { memory.rss } else { memory.pss } as f64 / KIB_PER_MB).collect();
        all.sort_by(f64::total_cmp);
        figure(&format!("supervisor_{name}_p50"), percentile(&all, 0.5), "MB");
        figure(&format!("supervisor_{name}_max"), percentile(&all, 1.0), "MB");
    }
    idle(&cluster, "", &figure).await?;

    let mut took = Vec::with_capacity(RESTARTS);
    for _ in 0..RESTARTS {
        let start = Instant::now();
        cluster.restart_agent(0)?;
        wait_until_serving(&cluster, running).await?;
        took.push(start.elapsed().as_secs_f64());
    }
    took.sort_by(f64::total_cmp);
    figure("restart_p50", percentile(&took, 0.5), "s");
    figure("restart_max", percentile(&took, 1.0), "s");
    tokio::time::sleep(SETTLED_AFTER).await;
    idle(&cluster, "_restarted", &figure).await?;
    framework.scheduler.teardown().await?;
    Ok(())
}

async fn idle(cluster: &Cluster, when: &str, figure: &impl Fn(&str, f64, &'static str)) -> Result<()> {
    let agent = cluster.agents[0].id();
    let memory = process::memory(agent)?;
    figure(&format!("agent_rss{when}"), memory.rss as f64 / KIB_PER_MB, "MB");
    figure(&format!("agent_pss{when}"), memory.pss as f64 / KIB_PER_MB, "MB");
    let before = process::cpu_secs(agent)?;
    tokio::time::sleep(IDLE).await;
    let share = (process::cpu_secs(agent)? - before) / IDLE.as_secs_f64() * 100.0;
    figure(&format!("agent_idle_cpu{when}"), share, "%");
    Ok(())
}

/// Until the agent answers, has taken over all its tasks, and is registered.
async fn wait_until_serving(cluster: &Cluster, running: usize) -> Result<()> {
    let deadline = Instant::now() + SERVES_WITHIN;
    let number = |metrics: &serde_json::Value, name: &str| metrics[name].as_f64().unwrap_or_default();
    loop {
        let answer = get(&cluster.agent_address(0), "/metrics/snapshot").ok();
        let metrics: serde_json::Value = answer.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
        let tasks = number(&metrics, "slave/tasks_running");
        if number(&metrics, "slave/registered") == 1.0 && tasks >= running as f64 {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "not serving within {SERVES_WITHIN:?}: {tasks} tasks run");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
