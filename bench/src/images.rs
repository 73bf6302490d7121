//! Containers of an image per second: ACCEPT to TASK_FINISHED of `true`, launched and destroyed, the image being there.

use std::time::Instant;

use anyhow::{Result, ensure};
use mezzo_sdk::Encoding;
use mezzo_tests::images::{Image, Layer, busybox};
use serde_json::json;

use crate::{
    cluster::Cluster,
    figure::Figure,
    framework::{Framework, Wanted},
};

/// Layers of the image, beside its first.
const LAYERS: usize = 4;

pub(crate) async fn measure(containers: usize, json: bool) -> Result<()> {
    let images = tempfile::tempdir()?;
    let upper = (0..LAYERS).map(|number| Layer::default().file(&format!("layer-{number}"), 0o644, "x"));
    let layers = std::iter::once(busybox()).chain(upper).collect();
    Image::new(layers, &json!({"Env": ["PATH=/bin"]})).lay_out(images.path(), "bench:latest");
    let groups = Groups(format!("mezzo-bench-images-{}", std::process::id()));
    let flags = [
        "--image_providers=docker".to_owned(),
        "--isolation=filesystem/linux,namespaces/pid,cgroups/cpu,cgroups/mem".to_owned(),
        format!("--docker_registry=file://{}", images.path().display()),
        format!("--cgroups_root={}", groups.0),
    ];
    let cluster = Cluster::start_with(1, "cpus:4;mem:4096;disk:1024;ports:[31000-32000]", &flags)?;
    let wanted = Wanted { argv: vec!["true".into()], cpus: 0.05, mem: 1.0 };
    let mut framework = Framework::start(&cluster.address, Encoding::Protobuf, wanted).await?.in_image("bench");
    framework.run((containers / 10).max(1)).await?; // the pull, first forks, first pages
    let start = Instant::now();
    let ends = framework.run(containers).await?;
    let seconds = start.elapsed().as_secs_f64();
    ensure!(ends.len() == 1 && ends.contains_key("TASK_FINISHED"), "some tasks did not finish: {ends:?}");
    Figure::new("images", "launch_and_destroy", containers as f64 / seconds, "containers/s")
        .with("containers", containers)
        .with("layers", LAYERS + 1)
        .with("seconds", seconds)
        .print(json);
    framework.scheduler.teardown().await?;
    Ok(())
}

/// The cgroups of the agent: gone when nothing is in them any more.
struct Groups(String);

impl Drop for Groups {
    fn drop(&mut self) {
        let hierarchies = std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
        hierarchies.for_each(|hierarchy| drop(std::fs::remove_dir(hierarchy.path().join(&self.0))));
    }
}
