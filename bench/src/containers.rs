//! Tasks per second and ACCEPT to TASK_RUNNING by how the agent keeps containers from one another. Needs root.

use std::{fs, path::PathBuf};

use anyhow::{Result, ensure};
use mezzo_sdk::Encoding;

use crate::{
    cluster::Cluster,
    figure::{Figure, percentile},
    latency, throughput,
};

const RESOURCES: &str = "cpus:4;mem:4096;disk:1024;ports:[31000-32000]";

/// Isolators, and what they are called here.
const CASES: [(&str, &str); 4] = [
    ("none", "posix/cpu,posix/mem"),
    ("cgroups", "cgroups/cpu,cgroups/mem,cgroups/pids"),
    ("namespaces", "filesystem/linux,namespaces/pid"),
    ("all", "cgroups/cpu,cgroups/mem,cgroups/pids,filesystem/linux,namespaces/pid,namespaces/ipc"),
];

pub(crate) async fn measure(tasks: usize, samples: usize, json: bool) -> Result<()> {
    ensure!(nix::unistd::geteuid().is_root(), "containers are isolated by root only: run this as root");
    for (case, isolation) in CASES {
        let groups = Groups(format!("mezzo-bench-{}", std::process::id()));
        let flags = [format!("--isolation={isolation}"), format!("--cgroups_root={}", groups.0)];
        let cluster = Cluster::start_with(1, RESOURCES, &flags)?;
        let seconds = throughput::seconds_of(&cluster, Encoding::Protobuf, tasks).await?;
        Figure::new("containers", format!("{case}_rate"), tasks as f64 / seconds, "tasks/s")
            .with("isolation", isolation)
            .with("tasks", tasks)
            .print(json);
        let times = latency::times_ms(&cluster, samples).await?;
        for (name, share) in [("p50", 0.5), ("p99", 0.99)] {
            Figure::new("containers", format!("{case}_running_{name}"), percentile(&times, share), "ms")
                .with("isolation", isolation)
                .with("samples", samples)
                .print(json);
        }
        drop(cluster);
        groups.check()?;
    }
    Ok(())
}

/// The cgroups of a case's agent.
struct Groups(String);

impl Groups {
    fn roots(&self) -> Vec<PathBuf> {
        let hierarchies = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten().map(|entry| entry.path());
        let all = hierarchies.chain([PathBuf::from("/sys/fs/cgroup")]).map(|path| path.join(&self.0));
        all.filter(|path| path.is_dir()).collect()
    }

    /// Nothing was left in them.
    fn check(&self) -> Result<()> {
        for root in self.roots() {
            let left = fs::read_dir(&root)?.flatten().filter(|entry| entry.path().is_dir()).count();
            ensure!(left == 0, "{left} cgroups were left in {}", root.display());
        }
        Ok(())
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        self.roots().iter().for_each(|root| drop(fs::remove_dir(root)));
    }
}
