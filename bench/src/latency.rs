//! ACCEPT to TASK_RUNNING on an idle cluster, one task at a time.

use std::time::Instant;

use anyhow::{Result, bail};
use mezzo_sdk::{Encoding, Event, v1};

use crate::{
    cluster::Cluster,
    figure::{Figure, percentile},
    framework::{Framework, Wanted, is_terminal},
};

pub(crate) async fn measure(samples: usize, json: bool) -> Result<()> {
    let cluster = Cluster::start(1, "cpus:4;mem:4096;disk:1024;ports:[31000-32000]")?;
    let running_ms = times_ms(&cluster, samples).await?;
    for (case, share) in [("accept_to_running_p50", 0.5), ("accept_to_running_p99", 0.99)] {
        Figure::new("latency", case, percentile(&running_ms, share), "ms").with("samples", samples).print(json);
    }
    Ok(())
}

/// The times of so many tasks, in order.
pub(crate) async fn times_ms(cluster: &Cluster, samples: usize) -> Result<Vec<f64>> {
    let wanted = Wanted { argv: vec!["true".into()], cpus: 0.1, mem: 32.0 };
    let mut framework = Framework::start(&cluster.address, Encoding::Protobuf, wanted).await?;
    let mut running_ms = sample(&mut framework, samples).await?;
    framework.scheduler.teardown().await?;
    running_ms.sort_by(f64::total_cmp);
    Ok(running_ms)
}

/// Milliseconds from ACCEPT to TASK_RUNNING of so many tasks, one after the other.
pub(crate) async fn sample(framework: &mut Framework, samples: usize) -> Result<Vec<f64>> {
    let mut running_ms = Vec::with_capacity(samples);
    for _ in 0..samples {
        running_ms.push(one(framework).await?);
    }
    Ok(running_ms)
}

async fn one(framework: &mut Framework) -> Result<f64> {
    let offer = framework.offer().await?;
    let start = Instant::now();
    framework.launch(&offer, 1);
    let mut running = None;
    loop {
        let status = match framework.event().await? {
            Event::Update(status) => status,
            Event::Offers(offers) => {
                framework.keep(offers);
                continue;
            }
            _ => continue,
        };
        let elapsed_ms = start.elapsed().as_secs_f64() * 1000.0;
        match (status.state(), running) {
            (v1::TaskState::TaskRunning, None) => running = Some(elapsed_ms),
            (v1::TaskState::TaskFinished, Some(elapsed)) => return Ok(elapsed),
            (state, _) if is_terminal(state) => bail!("the task ended as {state:?}: {:?}", status.message),
            _ => {}
        }
    }
}
