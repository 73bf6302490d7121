//! Load generators. Each case starts a fresh cluster of the real binaries beside this one, measures, prints its
//! figures and ends the cluster. The figures hold for the machine they were taken on; `docs/performance.md` says which.
#![forbid(unsafe_code)]

mod allocator;
mod cluster;
mod figure;
mod framework;
mod latency;
mod memory;
mod process;
mod run;
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
    /// `mezzo run true`, end to end.
    Run,
    /// The allocator alone: Mesos' own workloads (no cluster is started).
    Allocator,
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
    /// Tasks that run while memory is measured.
    #[arg(long, default_value_t = 500)]
    running: usize,
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
    if chosen(Bench::Allocator) {
        allocator::measure(arguments.json, arguments.quick);
    }
    if chosen(Bench::Run) {
        run::measure(arguments.samples.min(50), arguments.json)?;
    }
    Ok(())
}
