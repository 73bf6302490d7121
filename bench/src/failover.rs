//! How soon another master has all agents, and offers something, over real sockets.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use mezzo_election::{Detector, listening_at, source};
use mezzo_sdk::{Encoding, Event};
use mezzo_tests::masters::Masters;
use nix::sys::signal::Signal;
use tokio::sync::watch;

use crate::{
    cluster::Cluster,
    figure::Figure,
    framework::{Framework, Wanted},
    links::{self, Agents, Leader},
};

/// Longer it may not take.
const WITHIN: Duration = Duration::from_secs(120);
/// Session timeouts of the masters: one is long enough to show that a killed leader does not wait for it, the other is what a
/// frozen one costs.
const KILLED: Duration = Duration::from_secs(10);
const FROZEN: Duration = Duration::from_secs(4);
/// Leaders that are killed, one after the other.
const ROUNDS: usize = 4;
/// Some more than the time after a challenge in which there is no other one: each round has the same conditions.
const BETWEEN: Duration = Duration::from_secs(6);

/// So many agents, each with so many tasks, and masters that go: by `kill -9` and by a freeze, with a standby and without.
pub(crate) async fn measure(agents: usize, tasks: usize, json: bool) -> Result<()> {
    let scale = Scale { agents, tasks, json };
    alone(scale).await?;
    killed(scale).await?;
    frozen(scale).await
}

#[derive(Clone, Copy)]
struct Scale {
    agents: usize,
    tasks: usize,
    json: bool,
}

impl Scale {
    fn print(self, case: &str, value: f64, session: Option<Duration>) {
        let figure = Figure::new("failover", case, value, "s");
        let figure = figure.with("agents", self.agents).with("tasks_per_agent", self.tasks);
        match session {
            Some(session) => figure.with("session_s", session.as_secs()).print(self.json),
            None => figure.print(self.json),
        }
    }
}

/// `kill -9` of a master that stands alone, then a new one at once.
async fn alone(scale: Scale) -> Result<()> {
    let mut cluster = Cluster::start(0, "")?;
    let (_same, leader) = watch::channel(Some(cluster.address.clone()));
    let agents = links::play(&leader, scale.agents, scale.tasks, links::LARGE)?;
    let begun = Instant::now();
    all(&agents).await?;
    scale.print("first registration, durable", begun.elapsed().as_secs_f64(), None);
    cluster.kill_master()?;
    wait("without their master", || agents.registered() == 0).await?;
    let started = Instant::now();
    cluster.start_master()?;
    all(&agents).await?;
    scale.print("master's start to all agents back", started.elapsed().as_secs_f64(), None);
    Ok(())
}

/// Two masters, three ZooKeeper servers, the agents, and a framework that hears of offers.
struct Place {
    group: Masters,
    agents: Agents,
    framework: Framework,
}

impl Place {
    async fn start(scale: Scale, session: Duration) -> Result<Self> {
        let start = move || Masters::builder().servers(3).agents(0).session(session).start();
        let group = tokio::task::spawn_blocking(start).await?;
        let agents = links::play(&follow(&group.url())?, scale.agents, scale.tasks, links::LARGE)?;
        all(&agents).await?;
        let wanted = Wanted { argv: Vec::new(), cpus: 1.0, mem: 32.0 };
        let framework = Framework::start(&group.url(), Encoding::Protobuf, wanted).await?;
        let mut place = Self { group, agents, framework };
        offered(&mut place.framework).await?;
        Ok(place)
    }

    /// Seconds from now until the next leader's first offer, and until it has all agents.
    async fn takeover(&mut self) -> Result<(f64, f64)> {
        let begun = Instant::now();
        let agents = &self.agents;
        let back = async {
            wait("without their master", || agents.registered() < agents.count).await?;
            all(agents).await?;
            Ok::<_, anyhow::Error>(Instant::now())
        };
        let (offered, back) = tokio::try_join!(offered(&mut self.framework), back)?;
        Ok(((offered - begun).as_secs_f64(), (back - begun).as_secs_f64()))
    }
}

/// Leader after leader, each by `kill -9`; the killed one comes back as standby.
async fn killed(scale: Scale) -> Result<()> {
    let mut place = Place::start(scale, KILLED).await?;
    let (mut offers, mut agents) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let (leader, next) = (round % 2, (round + 1) % 2);
        place.group.masters[leader].part.kill();
        let (offered, back) = place.takeover().await?;
        offers.push(offered);
        agents.push(back);
        place.group.masters[leader].part.start();
        place.group.wait_for_standby(leader, next);
        tokio::time::sleep(BETWEEN).await;
    }
    for (what, mut seconds) in [("first offer of the next leader", offers), ("all agents back", agents)] {
        seconds.sort_by(f64::total_cmp);
        let (least, most) = (seconds[0], seconds[seconds.len() - 1]);
        scale.print(&format!("kill -9 to {what}, least of {ROUNDS}"), least, Some(KILLED));
        scale.print(&format!("kill -9 to {what}, most of {ROUNDS}"), most, Some(KILLED));
    }
    Ok(())
}

/// A leader that is frozen, whose session has to end.
async fn frozen(scale: Scale) -> Result<()> {
    let mut place = Place::start(scale, FROZEN).await?;
    place.group.masters[0].part.signal(Signal::SIGSTOP);
    let (offered, back) = place.takeover().await?;
    place.group.masters[0].part.signal(Signal::SIGCONT);
    scale.print("freeze to first offer of the next leader", offered, Some(FROZEN));
    scale.print("freeze to all agents back", back, Some(FROZEN));
    Ok(())
}

/// When it is subscribed, from now on, and something is offered to it.
async fn offered(framework: &mut Framework) -> Result<Instant> {
    let mut subscribed = false;
    loop {
        match framework.event().await? {
            Event::Subscribed(_) => subscribed = true,
            Event::Offers(_) if subscribed => return Ok(Instant::now()),
            _ => {}
        }
    }
}

/// One detector for all the agents that are played: each real one has its own.
fn follow(url: &str) -> Result<Leader> {
    let source = source(url).context("the ensemble's own URL")?;
    let (tell, leader) = watch::channel(None);
    tokio::spawn(async move {
        let mut detector = Detector::new(source);
        loop {
            let present = detector.changed().await;
            tell.send_replace(present.as_ref().map(listening_at));
        }
    });
    Ok(leader)
}

/// Waits until all of them are registered.
pub(crate) async fn all(agents: &Agents) -> Result<()> {
    wait("registered", || agents.registered() == agents.count).await
}

/// Waits, but not for ever.
pub(crate) async fn wait(what: &str, done: impl Fn() -> bool) -> Result<()> {
    let begun = Instant::now();
    while !done() {
        if begun.elapsed() > WITHIN {
            bail!("not all agents are {what} after {WITHIN:?}");
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}
