//! `mezzo run true`, from the start of the command to its end.

use std::{
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context, Result, ensure};

use crate::{
    cluster::{Cluster, binary},
    figure::{Figure, percentile},
};

pub(crate) fn measure(samples: usize, json: bool) -> Result<()> {
    let cluster = Cluster::start(1, "cpus:4;mem:4096;disk:1024;ports:[31000-32000]")?;
    let mezzo = binary("mezzo")?;
    let mut took_ms = Vec::with_capacity(samples);
    for _ in 0..samples {
        let start = Instant::now();
        let output = Command::new(&mezzo)
            .args(["run", &format!("--master={}", cluster.address), "--", "true"])
            .stdin(Stdio::null())
            .output()
            .context("mezzo run does not start")?;
        took_ms.push(start.elapsed().as_secs_f64() * 1000.0);
        ensure!(
            output.status.success(),
            "mezzo run true: {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
    }
    took_ms.sort_by(f64::total_cmp);
    for (case, share) in [("mezzo_run_true_p50", 0.5), ("mezzo_run_true_p99", 0.99)] {
        Figure::new("run", case, percentile(&took_ms, share), "ms").with("samples", samples).print(json);
    }
    Ok(())
}
