//! Tasks per second: ACCEPT to TASK_FINISHED of `true`, real processes, every update acknowledged.

use std::time::Instant;

use anyhow::{Result, ensure};
use mezzo_sdk::Encoding;

use crate::{
    cluster::Cluster,
    figure::Figure,
    framework::{Framework, Wanted},
};

pub(crate) async fn measure(tasks: usize, json: bool) -> Result<()> {
    for (case, encoding) in [("protobuf", Encoding::Protobuf), ("json", Encoding::Json)] {
        let cluster = Cluster::start(1, "cpus:4;mem:4096;disk:1024;ports:[31000-32000]")?;
        let seconds = seconds_of(&cluster, encoding, tasks).await?;
        Figure::new("throughput", case, tasks as f64 / seconds, "tasks/s")
            .with("tasks", tasks)
            .with("agents", 1)
            .with("seconds", seconds)
            .print(json);
    }
    Ok(())
}

/// How long so many tasks take.
pub(crate) async fn seconds_of(cluster: &Cluster, encoding: Encoding, tasks: usize) -> Result<f64> {
    let wanted = Wanted { argv: vec!["true".into()], cpus: 0.01, mem: 1.0 };
    let mut framework = Framework::start(&cluster.address, encoding, wanted).await?;
    framework.run(tasks / 10).await?; // first forks, first pages
    let start = Instant::now();
    let ends = framework.run(tasks).await?;
    let seconds = start.elapsed().as_secs_f64();
    ensure!(ends.len() == 1 && ends.contains_key("TASK_FINISHED"), "some tasks did not finish: {ends:?}");
    framework.scheduler.teardown().await?;
    Ok(seconds)
}
