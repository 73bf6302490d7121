//! Subscribers that never read: what they cost, and when they are cut off.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use mezzo_master::stand_in::Load;

use super::{Server, crowd};
use crate::{figure::Figure, process};

/// So many at once.
const SILENT: usize = 10;
/// Changes come faster than on a quiet day, so that it does not take long.
const CHANGES_PER_SECOND: usize = 5000;
/// They must be gone by then.
const CUT_WITHIN: Duration = Duration::from_secs(180);
/// `TCP_ESTABLISHED` in `/proc/net/tcp`.
const ESTABLISHED: &str = "01";

pub(super) async fn measure(load: Load, json: bool) -> Result<()> {
    let load = Load { changes_per_second: CHANGES_PER_SECOND, ..load };
    let server = Server::start(load)?;
    // All that a reader of the same state needs is there before.
    drop(crowd::Client::connect(server.address).await?.subscribe().await?);
    let before = process::memory(server.pid())?.rss;
    let start = Instant::now();
    let silent = (0..SILENT).map(|_| crowd::silent(server.address)).collect::<Result<Vec<_>>>()?;
    let mut most = before;
    while open(&server, &silent)? > 0 {
        most = most.max(process::memory(server.pid())?.rss);
        if start.elapsed() > CUT_WITHIN {
            bail!("{} of {SILENT} silent subscribers are still there after {CUT_WITHIN:?}", open(&server, &silent)?);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let cut_after = start.elapsed().as_secs_f64();
    let print = |case: &str, value: f64, unit: &'static str| {
        Figure::new("reads", case, value, unit)
            .with("subscribers", SILENT)
            .with("tasks", load.tasks)
            .with("changes_per_second", load.changes_per_second)
            .print(json);
    };
    print("silent_cut_after", cut_after, "s");
    #[expect(clippy::cast_precision_loss, reason = "kilobytes, to be read")]
    print("silent_memory_at_most", most.saturating_sub(before) as f64 / 1024.0, "MiB");
    Ok(())
}

/// How many of these connections the server has not closed: what it sent before may still be on its way then.
fn open(server: &Server, silent: &[TcpStream]) -> Result<usize> {
    let table = fs::read_to_string("/proc/net/tcp")?;
    let mut open = 0;
    for stream in silent {
        let (ours, theirs) = (in_hex(stream.local_addr()?)?, in_hex(server.address)?);
        open += usize::from(table.lines().any(|line| {
            let fields: Vec<&str> = line.split_ascii_whitespace().collect();
            fields.get(1..4) == Some(&[theirs.as_str(), ours.as_str(), ESTABLISHED])
        }));
    }
    Ok(open)
}

/// As the kernel's table has it.
fn in_hex(address: SocketAddr) -> Result<String> {
    let SocketAddr::V4(address) = address else { bail!("loopback is IPv4 here") };
    let [a, b, c, d] = address.ip().octets();
    Ok(format!("{:08X}:{:04X}", u32::from_le_bytes([a, b, c, d]), address.port()))
}
