//! Load generators. Each case starts a fresh cluster of the real binaries beside this one, measures, prints its
//! figures and ends the cluster. The figures hold for the machine they were taken on; `docs/performance.md` says which.
#![forbid(unsafe_code)]

mod allocator;
mod cluster;
mod failover;
mod figure;
mod framework;
mod latency;
mod links;
mod memory;
mod process;
mod registry;
mod run;
mod sdk;
mod throughput;

use anyhow::Result;
use clap::{Parser, ValueEnum};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Bench {
    /// Tasks per second, ACCEPT to TASK_FINISHED, of `true` on one agent.
    Throughput,
    /// ACCEPT to TASK_RUNNING on an idle cluster.
    Latency,
    /// Resident memory: idle master, idle agent, each running command task.
    Memory,
    /// `kill -9` of a master and a new one: until all its agents are back, over real sockets.
    Failover,
    /// A registry of many agents in ZooKeeper, written and read (package `zookeeper`).
    Registry,
    /// `mezzo run true`, end to end.
    Run,
    /// The allocator alone: Mesos' own workloads (no cluster is started).
    Allocator,
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
    /// Samples for latency and run.
    #[arg(long, default_value_t = 200)]
    samples: usize,
    /// Small allocator cases only.
    #[arg(long)]
    quick: bool,
    /// Statuses for sdk.
    #[arg(long, default_value_t = 400_000)]
    updates: usize,
    /// Tasks that run while memory is measured.
    #[arg(long, default_value_t = 500)]
    running: usize,
    /// Agents for failover.
    #[arg(long, default_value_t = 2000)]
    agents: usize,
    /// Tasks of each of them.
    #[arg(long, default_value_t = 5)]
    tasks_per_agent: usize,
    /// Agents in the registry.
    #[arg(long, default_value_t = 50_000)]
    known: usize,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let chosen = |bench: Bench| arguments.name.is_none_or(|name| name == bench);
    if chosen(Bench::Memory) {
        memory::measure(arguments.running, arguments.json).await?;
    }
    if chosen(Bench::Latency) {
        latency::measure(arguments.samples, arguments.json).await?;
    }
    if chosen(Bench::Throughput) {
        throughput::measure(arguments.tasks, arguments.json).await?;
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
    Ok(())
}
