//! Load generators. Each case starts a fresh cluster of the real binaries beside this one, measures, prints its
//! figures and ends the cluster. The figures hold for the machine they were taken on; `docs/performance.md` says which.
#![forbid(unsafe_code)]

mod agent;
mod allocator;
mod cluster;
mod containers;
mod failover;
mod figure;
mod framework;
mod images;
mod latency;
mod links;
mod memory;
mod page;
mod plot;
mod process;
mod reads;
mod registry;
mod run;
mod sdk;
mod seen;
mod throughput;
mod watched;

use std::time::Duration;

use anyhow::Result;
use clap::{Parser, ValueEnum};
use mezzo_master::stand_in::Load;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Bench {
    /// An agent with many command tasks: memory and CPU when nothing happens, its restart.
    Agent,
    /// Tasks per second, ACCEPT to TASK_FINISHED, of `true` on one agent.
    Throughput,
    /// Containers of an image that is there, launched and destroyed, per second (as root).
    Images,
    /// The same two with cgroups and namespaces (as root).
    Containers,
    /// ACCEPT to TASK_RUNNING on an idle cluster.
    Latency,
    /// Resident memory: idle master, idle agent, each running command task.
    Memory,
    /// Masters that are killed or frozen, with a standby and without: until all agents are back and something is offered, over
    /// real sockets (package `zookeeper`).
    Failover,
    /// A registry of many agents in ZooKeeper, written and read (package `zookeeper`).
    Registry,
    /// `mezzo run true`, end to end.
    Run,
    /// The web page on a large cluster that is made up.
    Page,
    /// What reading costs: the state of a large cluster, and subscribers that do not read.
    Reads,
    /// Launches on a large cluster while many look on, and while nobody does.
    Watched,
    /// The allocator alone: Mesos' own workloads (no cluster is started).
    Allocator,
    /// The master's core alone, with 50,000 agents: memory, and how soon what is freed is offered (JSON lines).
    Core,
    /// The SDK's driver alone: statuses per second, and memory of the smallest framework.
    Sdk,
}

/// Measures a fresh local cluster of real processes.
#[derive(Parser)]
struct Arguments {
    /// Which benchmark; all of them when none is named.
    name: Option<Bench>,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
    /// Tasks for throughput.
    #[arg(long, default_value_t = 5000)]
    tasks: usize,
    /// Containers for images.
    #[arg(long, default_value_t = 1000)]
    containers: usize,
    /// Samples for latency and run.
    #[arg(long, default_value_t = 200)]
    samples: usize,
    /// Small allocator cases only.
    #[arg(long)]
    quick: bool,
    /// Statuses for sdk.
    #[arg(long, default_value_t = 400_000)]
    updates: usize,
    /// Tasks that run while memory is measured; 1000 for agent.
    #[arg(long)]
    running: Option<usize>,
    /// Agents for failover.
    #[arg(long, default_value_t = 2000)]
    agents: usize,
    /// Tasks of each of them.
    #[arg(long, default_value_t = 5)]
    tasks_per_agent: usize,
    /// Agents in the registry.
    #[arg(long, default_value_t = 50_000)]
    known: usize,
    /// Who reads the state once a second, for watched.
    #[arg(long, default_value_t = 100)]
    pollers: usize,
    /// Who subscribes to events, for watched.
    #[arg(long, default_value_t = 100)]
    subscribers: usize,
    /// Agents that the page shows, and of reads and watched.
    #[arg(long, default_value_t = 10_000)]
    page_agents: usize,
    /// Tasks that the page shows, and of reads and watched.
    #[arg(long, default_value_t = 100_000)]
    page_tasks: usize,
    /// Seconds for which the page is watched while tasks change.
    #[arg(long, default_value_t = 20)]
    page_seconds: u64,
}

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.first().is_some_and(|word| word == "serve-page") {
        // With as many threads as a master has.
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        return runtime.block_on(page::serve(&words[1..]));
    }
    if words.first().is_some_and(|word| word == "plot") {
        return plot::plot(&words[1..]);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    if words.first().is_some_and(|word| word == "look-on") {
        return runtime.block_on(reads::look_on(&words[1..]));
    }
    runtime.block_on(measure())
}

async fn measure() -> Result<()> {
    let arguments = Arguments::parse();
    let chosen = |bench: Bench| arguments.name.is_none_or(|name| name == bench);
    if chosen(Bench::Core) {
        // First, while this process has no memory that was used before.
        mezzo_sim::scale::run(&["memory", "offered"].map(str::to_owned), &mut |line| println!("{line}"))?;
    }
    if chosen(Bench::Memory) {
        memory::measure(arguments.running.unwrap_or(500), arguments.json).await?;
    }
    if chosen(Bench::Agent) {
        agent::measure(arguments.running.unwrap_or(1000), arguments.json).await?;
    }
    if chosen(Bench::Latency) {
        latency::measure(arguments.samples, arguments.json).await?;
    }
    if chosen(Bench::Throughput) {
        throughput::measure(arguments.tasks, arguments.json).await?;
    }
    if chosen(Bench::Images) {
        images::measure(arguments.containers, arguments.json).await?;
    }
    if chosen(Bench::Containers) {
        containers::measure(arguments.tasks, arguments.samples, arguments.json).await?;
    }
    if chosen(Bench::Failover) {
        failover::measure(arguments.agents, arguments.tasks_per_agent, arguments.json).await?;
    }
    if chosen(Bench::Registry) {
        registry::measure(arguments.known, arguments.json).await?;
    }
    if chosen(Bench::Allocator) {
        allocator::measure(arguments.json, arguments.quick);
    }
    if chosen(Bench::Sdk) {
        sdk::measure(arguments.updates, arguments.json)?;
    }
    if chosen(Bench::Run) {
        run::measure(arguments.samples.min(50), arguments.json)?;
    }
    let load = Load { agents: arguments.page_agents, tasks: arguments.page_tasks, changes_per_second: 500 };
    if chosen(Bench::Reads) {
        reads::measure(load, arguments.json).await?;
    }
    if chosen(Bench::Watched) {
        let Arguments { pollers, subscribers, .. } = arguments;
        let plan = watched::Plan { load, samples: arguments.samples.max(500), pollers, subscribers };
        watched::measure(plan, arguments.json).await?;
    }
    if chosen(Bench::Page) {
        page::measure(load, Duration::from_secs(arguments.page_seconds), arguments.json)?;
        seen::measure(arguments.json).await?;
    }
    Ok(())
}
