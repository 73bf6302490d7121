//! A custom executor: one process on each agent runs many small tasks, for which a process each would be too much.
//!
//! ```sh
//! mezzo local --agents=2 &
//! cargo run -p example-executor -- 100     # the sum of the squares of 1 … 100, one task for each number
//! ```
//!
//! The program is both: the scheduler here and in `scheduler.rs`, and, started by agents, the executor in `worker.rs`.

mod scheduler;
mod worker;

use anyhow::Result;
use clap::Parser;
use mezzo_sdk::{SchedulerDriver, store::MemoryStore, supervisor};

/// Adds squares up, each of which is a task.
#[derive(Parser)]
struct Arguments {
    /// The last number, or `work`: be the executor.
    last: String,
    /// Where masters are.
    #[arg(long, default_value = "127.0.0.1:5050", env = "MESOS_MASTER")]
    master: String,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    tracing_subscriber::fmt().with_env_filter("warn").with_writer(std::io::stderr).init();
    if arguments.last == "work" {
        return worker::work().await;
    }
    let squares =
        scheduler::Squares::new(arguments.last.parse()?, format!("{} work", std::env::current_exe()?.display()));
    let mut info = supervisor::framework_info("squares");
    info.failover_timeout = Some(0.0); // nothing is kept: without this program the tasks are of no use
    let run = SchedulerDriver::builder(info).master(&arguments.master).scheduler(squares, MemoryStore::new());
    let (squares, ended) = run.run().await?;
    match squares.sum() {
        Some(sum) => println!("{sum}"),
        None => anyhow::bail!("ended before its time: {ended:?}"),
    }
    Ok(())
}
