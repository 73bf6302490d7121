//! How soon a restarted master has its agents back, over real sockets.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

use crate::{cluster::Cluster, figure::Figure, links};

/// Longer it may not take.
const WITHIN: Duration = Duration::from_secs(120);

/// `kill -9` of the master of so many agents, each with so many tasks, then a new one at once.
pub(crate) async fn measure(agents: usize, tasks: usize, json: bool) -> Result<()> {
    let mut cluster = Cluster::start(0, "")?;
    let registered = links::play(&cluster.address, agents, tasks);
    let begun = Instant::now();
    wait("registered", || registered.load(Ordering::Relaxed) == agents).await?;
    let first = begun.elapsed().as_secs_f64();
    cluster.kill_master()?;
    wait("without their master", || registered.load(Ordering::Relaxed) == 0).await?;
    let started = Instant::now();
    cluster.start_master()?;
    wait("registered again", || registered.load(Ordering::Relaxed) == agents).await?;
    let took = started.elapsed().as_secs_f64();
    let figure = |case: &str, value| {
        Figure::new("failover", case, value, "s").with("agents", agents).with("tasks_per_agent", tasks)
    };
    figure("first registration, durable", first).print(json);
    figure("master's start to all agents back", took).print(json);
    Ok(())
}

async fn wait(what: &str, done: impl Fn() -> bool) -> Result<()> {
    let begun = Instant::now();
    while !done() {
        if begun.elapsed() > WITHIN {
            bail!("not all agents are {what} after {WITHIN:?}");
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}
