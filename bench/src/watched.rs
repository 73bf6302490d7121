//! How much later tasks are launched while many look on: on a real master with many played agents and tasks on real links, and
//! beside them a real agent that really runs tasks.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use mezzo_master::stand_in::Load;
use mezzo_sdk::Encoding;
use tokio::sync::watch;

use crate::{
    cluster::Cluster,
    failover,
    figure::{Figure, percentile},
    framework::{Framework, Wanted},
    latency, links, process,
};

/// How often it is measured with the crowd and without it, in turn.
const ROUNDS: usize = 4;
/// Of the agent where tasks are launched.
const RESOURCES: &str = "cpus:4;mem:4096;disk:1024;ports:[31000-32000]";
/// How long the crowd may take to be there: each wants the whole state first.
const CROWD_WITHIN: Duration = Duration::from_secs(300);

/// What is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// What is made up.
    pub(crate) load: Load,
    /// Samples of the latency in each round.
    pub(crate) samples: usize,
    /// Who reads the state once a second.
    pub(crate) pollers: usize,
    /// Who subscribes to events.
    pub(crate) subscribers: usize,
}

/// ACCEPT to TASK_RUNNING on a real agent of a large cluster, with the crowd and without it.
pub(crate) async fn measure(plan: Plan, json: bool) -> Result<()> {
    let Load { agents, tasks, .. } = plan.load;
    let each = tasks / agents.max(1);
    // They have exactly what their tasks hold: nothing of them is offered.
    let resources = format!("cpus:{};mem:{}", each as f64 / 10.0, each * 64);
    let mut cluster = Cluster::start(0, RESOURCES)?;
    let (_same, leader) = watch::channel(Some(cluster.address.clone()));
    let all = links::play(&leader, agents, each, &resources)?;
    failover::all(&all).await?;
    // Agents tell of their tasks to a master that does not know them.
    cluster.kill_master()?;
    failover::wait("without their master", || all.registered() == 0).await?;
    cluster.start_master()?;
    failover::all(&all).await?;
    let wanted = Wanted { argv: vec!["true".into()], cpus: 0.1, mem: 32.0 };
    let mut framework = Framework::start(&cluster.address, Encoding::Protobuf, wanted.clone()).await?;
    // The master's own part first: the agent is played, and answers at once.
    let played = links::play(&leader, 1, 0, RESOURCES)?;
    failover::all(&played).await?;
    in_turn("master", &cluster, &mut framework, plan, json).await?;
    drop((framework, played));
    cluster.add_agent().await?;
    let mut framework = Framework::start(&cluster.address, Encoding::Protobuf, wanted).await?;
    in_turn("scheduling", &cluster, &mut framework, plan, json).await
}

/// With the crowd and without it, in turn.
async fn in_turn(name: &str, cluster: &Cluster, framework: &mut Framework, plan: Plan, json: bool) -> Result<()> {
    let Load { agents, tasks, .. } = plan.load;
    latency::sample(framework, plan.samples / 10).await?;
    let (mut alone, mut watched) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        alone.extend(latency::sample(framework, plan.samples).await?);
        let crowd = Crowd::gather(&cluster.address, plan).await?;
        watched.extend(latency::sample(framework, plan.samples).await?);
        crowd.go(json)?;
    }
    let print = |case: &str, value: f64, unit: &'static str| {
        Figure::new("watched", case, value, unit)
            .with("agents", agents)
            .with("tasks", tasks)
            .with("pollers", plan.pollers)
            .with("subscribers", plan.subscribers)
            .with("samples", plan.samples * ROUNDS)
            .print(json);
    };
    for (part, share) in [("p50", 0.5), ("p99", 0.99)] {
        let [before, during] = [&mut alone, &mut watched].map(|times| {
            times.sort_by(f64::total_cmp);
            percentile(times, share)
        });
        print(&format!("{name}_alone_{part}"), before, "ms");
        print(&format!("{name}_watched_{part}"), during, "ms");
        print(&format!("{name}_change_{part}"), (during / before - 1.0) * 100.0, "percent");
    }
    #[expect(clippy::cast_precision_loss, reason = "kilobytes, to be read")]
    print("master_rss", process::memory(cluster.master.id())?.rss as f64 / 1024.0, "MiB");
    Ok(())
}

/// Those who look on: a process of its own that runs when nobody else would, as if they were on other machines.
struct Crowd(Child);

impl Crowd {
    async fn gather(address: &str, plan: Plan) -> Result<Self> {
        let mut child = Command::new("chrt")
            .args(["--idle", "0"])
            .arg(std::env::current_exe()?)
            .args(["look-on", address, &plan.pollers.to_string(), &plan.subscribers.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = child.stdout.take().context("its output is a pipe")?;
        let crowd = Self(child);
        let ready = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            let mut lines = BufReader::new(stdout);
            lines.read_line(&mut line).map(|_| (line, lines))
        });
        let (line, lines) = tokio::time::timeout(CROWD_WITHIN, ready).await.context("the crowd is not there")???;
        if line.trim() != "ready" {
            bail!("the crowd says {line:?}");
        }
        // What it says at its end goes on from here.
        std::thread::spawn(move || lines.lines().map_while(Result::ok).for_each(|line| println!("{line}")));
        Ok(crowd)
    }

    /// Sends them away; they print what they saw.
    fn go(mut self, json: bool) -> Result<()> {
        use std::io::Write;
        let mut stdin = self.0.stdin.take().context("its input is a pipe")?;
        stdin.write_all(if json { b"json\n" } else { b"text\n" })?;
        drop(stdin);
        self.0.wait()?;
        Ok(())
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
