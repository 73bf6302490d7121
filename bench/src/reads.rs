//! What reading costs: how soon a large cluster's state is told, and what a subscriber that never reads costs, on a cluster that
//! is made up ([`mezzo_master::stand_in`]).

mod crowd;
mod silent;

use std::{
    net::SocketAddr,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use mezzo_master::stand_in::Load;

pub(crate) use crowd::look_on;

use crate::{
    figure::{Figure, percentile},
    process,
};

/// Reads of each kind.
const READS: usize = 30;
/// Longer than the time between two changes of what is made up.
const NEXT_VERSION: Duration = Duration::from_millis(60);

/// Measures all of it.
pub(crate) async fn measure(load: Load, json: bool) -> Result<()> {
    endpoints(load, json).await?;
    silent::measure(load, json).await
}

/// A process of ours that serves what is made up.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Server {
    pub(crate) fn start(load: Load) -> Result<Self> {
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let child = Command::new(std::env::current_exe()?)
            .arg("serve-page")
            .arg(address.to_string())
            .args([load.agents, load.tasks, load.changes_per_second].map(|number| number.to_string()))
            .stdin(Stdio::null())
            .spawn()?;
        let server = Self { child, address };
        mezzo_tests::wait::until_true("the stand-in serves", || std::net::TcpStream::connect(address).is_ok());
        Ok(server)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Each read, one after the other, on a connection that is kept, while tasks change.
async fn endpoints(load: Load, json: bool) -> Result<()> {
    let server = Server::start(load)?;
    for (case, path, packed, count) in [
        ("state", "/state", false, READS),
        ("state_gzip", "/state", true, READS),
        ("state_summary", "/state-summary", false, READS),
        ("slaves", "/slaves", false, READS),
        ("tasks_limit_100", "/tasks?limit=100", false, READS * 10),
        ("tasks_limit_100_offset_50000", "/tasks?limit=100&offset=50000", false, READS * 10),
    ] {
        let mut client = crowd::Client::connect(server.address).await?;
        let (mut times, mut bytes) = (Vec::with_capacity(count), 0);
        for _ in 0..count {
            // By then there is a new version: what was written before is of no use.
            tokio::time::sleep(NEXT_VERSION).await;
            let start = Instant::now();
            bytes = client.get(path, packed).await.with_context(|| path.to_owned())?;
            times.push(start.elapsed().as_secs_f64() * 1000.0);
        }
        let print = |case: String, value, unit| {
            Figure::new("reads", case, value, unit)
                .with("agents", load.agents)
                .with("tasks", load.tasks)
                .with("changes_per_second", load.changes_per_second)
                .print(json);
        };
        print(format!("{case}_first"), times[0], "ms");
        times.sort_by(f64::total_cmp);
        print(format!("{case}_p50"), percentile(&times, 0.5), "ms");
        print(format!("{case}_p99"), percentile(&times, 0.99), "ms");
        #[expect(clippy::cast_precision_loss, reason = "bytes, to be read")]
        print(format!("{case}_body"), bytes as f64 / 1_048_576.0, "MiB");
    }
    #[expect(clippy::cast_precision_loss, reason = "kilobytes, to be read")]
    let resident = process::memory(server.pid())?.rss as f64 / 1024.0;
    Figure::new("reads", "master_rss_after_reads", resident, "MiB").with("tasks", load.tasks).print(json);
    Ok(())
}
