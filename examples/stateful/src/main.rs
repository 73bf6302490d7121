//! A journal on a persistent volume: what was written stays where it is, whatever becomes of tasks, of this program and of
//! masters and agents.
//!
//! ```sh
//! mezzo local &
//! cargo run -p example-stateful -- one two    # reserves, makes a volume, writes two entries
//! cargo run -p example-stateful -- three      # days later: the volume is found again, with both
//! cargo run -p example-stateful -- --destroy  # and given back, with all that is on it
//! ```

mod journal;
mod volume;

use std::path::PathBuf;

use anyhow::Result;
use clap::Parser;
use mezzo_sdk::{SchedulerDriver, store::FileStore, supervisor, v1};

use journal::Journal;

/// Writes entries into a journal that stays.
#[derive(Parser)]
struct Arguments {
    /// What to write, each by a task of its own.
    entries: Vec<String>,
    /// Destroy the volume, give the reservation back and leave.
    #[arg(long, conflicts_with = "entries")]
    destroy: bool,
    /// Where masters are.
    #[arg(long, default_value = "127.0.0.1:5050", env = "MESOS_MASTER")]
    master: String,
    /// Where this program keeps what it must not forget: its id, and where the volume is.
    #[arg(long, default_value = "journal.state")]
    state: PathBuf,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    tracing_subscriber::fmt().with_env_filter("warn").with_writer(std::io::stderr).init();
    let journal = Journal::new(arguments.entries, arguments.destroy);
    let info = v1::FrameworkInfo { roles: vec![volume::ROLE.into()], ..supervisor::framework_info("journal") };
    let store = FileStore::open(&arguments.state)?;
    let run = SchedulerDriver::builder(info).master(&arguments.master).scheduler(journal, store);
    let (journal, ended) = run.run().await?;
    anyhow::ensure!(journal.is_done(), "ended before its time: {ended:?}");
    Ok(())
}
