//! Compiles our .proto files to Rust (no `protoc` is needed): prost's types, and beside them what Mesos' JSON
//! needs, which is a writer for each message and tables of their fields for the one reader.

#[path = "build/names.rs"]
mod names;
#[path = "build/tables.rs"]
mod tables;
#[path = "build/writers.rs"]
mod writers;

use std::{error::Error, fs, path::PathBuf};

const ROOT: &str = "proto";
const FILES: &[&str] = &[
    "mesos/v1/mesos.proto",
    "mesos/v1/scheduler/scheduler.proto",
    "mesos/v1/executor/executor.proto",
    "mesos/v1/agent/agent.proto",
    "mesos/v1/master/master.proto",
    "mesos/v1/maintenance/maintenance.proto",
    "mesos/v1/allocator/allocator.proto",
    "mesos/v1/quota/quota.proto",
    "mesos/v1/resource_provider/resource_provider.proto",
    "mezzo/link.proto",
    "mezzo/registry.proto",
];

/// Fields that are seldom there and large, or much larger than their siblings: without a box of its own a `Resource`
/// would take 1,200 bytes for the disk that few have, and a PING to an agent 7,300 for the operation that it is not.
const BOXED: &[&str] = &[
    ".mesos.v1.ExecutorInfo.container",
    ".mesos.v1.Resource.disk",
    ".mesos.v1.Task.check",
    ".mesos.v1.Task.container",
    ".mesos.v1.Task.health_check",
    ".mesos.v1.TaskInfo.check",
    ".mesos.v1.TaskInfo.container",
    ".mesos.v1.TaskInfo.executor",
    ".mesos.v1.TaskInfo.health_check",
    ".mesos.v1.executor.Event.launch",
    ".mesos.v1.executor.Event.launch_group",
    ".mesos.v1.executor.Event.subscribed",
    ".mesos.v1.scheduler.Call.subscribe",
    ".mesos.v1.scheduler.Call.update_framework",
    ".mesos.v1.scheduler.Event.subscribed",
    ".mesos.v1.scheduler.Event.update_operation_status",
    ".mesos.v1.Offer.Operation.launch_group",
    ".mesos.v1.Offer.Operation.grow_volume",
    ".mesos.v1.Offer.Operation.shrink_volume",
    ".mesos.v1.Offer.Operation.create_disk",
    ".mesos.v1.Offer.Operation.destroy_disk",
    ".mezzo.link.ToAgent.message.run_task",
    ".mezzo.link.ToAgent.message.run_task_group",
    ".mezzo.link.ToAgent.message.apply_operation",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed={ROOT}");
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=build");
    let descriptors = protox::compile(FILES, [ROOT])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let messages = names::messages(&descriptors);
    fs::write(out.join("tables.rs"), tables::generate(&descriptors, &messages))?;
    fs::write(out.join("writers.rs"), writers::generate(&descriptors, &messages))?;
    let mut config = prost_build::Config::new();
    BOXED.iter().for_each(|field| {
        config.boxed(field);
    });
    config
        .btree_map(["."]) // stable output: the same message always gives the same bytes
        .bytes(["."])
        .compile_well_known_types() // so that they know our JSON too
        .include_file("all.rs")
        .out_dir(&out)
        .compile_fds(descriptors)?;
    Ok(())
}
