//! `/metrics/snapshot`: Mesos' names in byte order (src/slave/metrics.cpp; docs/monitoring.md).

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

use mezzo_agent_core::view::{ExecutorState, ExecutorView, View};
use mezzo_api::{
    resources::Resources,
    v1::{self, TaskState},
};
use mezzo_server::{http::machine::Machine, timer::Timer};
use serde_json::{Value, json};

use super::{Door, state::allocated_to};
use crate::fetcher::FIGURES;

/// `/metrics/snapshot`
pub(super) fn snapshot(door: &Door, view: &View) -> Value {
    json!(collect(door, view))
}

/// All metrics that have a value.
pub(super) fn collect(door: &Door, view: &View) -> BTreeMap<String, f64> {
    let mut out: BTreeMap<String, f64> = BTreeMap::new();
    let mut put = |name: &str, value: f64| {
        out.insert(name.to_owned(), value);
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
    put("slave/uptime_secs", now - door.start_time);
    put("slave/registered", f64::from(u8::from(view.registered)));
    put("slave/recovery_errors", 0.0);
    put("mezzo/agent/draining", f64::from(u8::from(view.draining)));
    put("mezzo/agent/disk_full", f64::from(u8::from(view.disk_full)));
    put("slave/recovery_time_secs", door.recovery_time_secs);
    put("slave/frameworks_active", float(view.frameworks.len() as u64));
    counters(view, &mut put);
    gauges(view, &mut put);
    resources(view, &mut put);
    let figure = |figure: &AtomicU64| float(figure.load(Ordering::Relaxed));
    put("slave/executor_directory_max_allowed_age_secs", figure(&door.garbage.max_age_ms) / 1000.0);
    put("gc/path_removals_failed", figure(&door.garbage.failed));
    put("gc/path_removals_pending", figure(&door.garbage.pending));
    put("gc/path_removals_succeeded", figure(&door.garbage.succeeded));
    put("containerizer/fetcher/task_fetches_failed", figure(&FIGURES.failed));
    put("containerizer/fetcher/task_fetches_succeeded", figure(&FIGURES.succeeded));
    put("containerizer/fetcher/cache_size_total_bytes", figure(&FIGURES.cache_bytes));
    put("containerizer/fetcher/cache_size_used_bytes", figure(&FIGURES.cache_used_bytes));
    if let Some(images) = &door.images {
        let images = images.figures();
        for (name, value) in [
            ("mezzo/images/pulled", &images.pulled),
            ("mezzo/images/pulls_failed", &images.failed),
            ("mezzo/images/hits", &images.hits),
            ("mezzo/images/count", &images.images),
            ("mezzo/images/bytes", &images.bytes),
        ] {
            put(name, figure(value));
        }
        let mut pulls = Timer::with_statistics("containerizer/mesos/provisioner/docker_store/image_pull_ms");
        images.pulls().into_iter().for_each(|took| pulls.record(took));
        let mut told = Vec::new();
        pulls.metrics(&mut told);
        told.iter().for_each(|(name, value)| put(name, *value));
    }
    put("containerizer/mesos/container_destroy_errors", 0.0);
    put("containerizer/mesos/provisioner/bind/remove_rootfs_errors", 0.0);
    put("containerizer/mesos/provisioner/remove_container_errors", 0.0);
    for name in ["subscribed", "events/subscribe", "events/disconnect"] {
        put(&format!("resource_provider_manager/{name}"), 0.0);
    }
    for (name, value) in Machine::read().metrics() {
        put(name, value);
    }
    out
}

fn counters(view: &View, put: &mut impl FnMut(&str, f64)) {
    let counters = &view.counters;
    for (name, value) in [
        ("tasks_finished", counters.tasks_finished),
        ("tasks_failed", counters.tasks_failed),
        ("tasks_killed", counters.tasks_killed),
        ("tasks_lost", counters.tasks_lost),
        ("tasks_gone", counters.tasks_gone),
        ("executors_terminated", counters.executors_terminated),
        ("executors_preempted", 0),
        ("valid_status_updates", counters.valid_status_updates),
        ("invalid_status_updates", counters.invalid_status_updates),
        ("valid_framework_messages", counters.valid_framework_messages),
        ("invalid_framework_messages", counters.invalid_framework_messages),
        ("container_launch_errors", counters.container_launch_errors),
    ] {
        put(&format!("slave/{name}"), float(value));
    }
}

fn gauges(view: &View, put: &mut impl FnMut(&str, f64)) {
    let executors = || view.frameworks.iter().flat_map(|framework| &framework.executors);
    let tasks = |state: TaskState| {
        let of = |executor: &ExecutorView| executor.tasks.iter().filter(|task| task.state() == state).count();
        float(executors().map(of).sum::<usize>() as u64)
    };
    let queued = float(executors().map(|executor| executor.queued.len()).sum::<usize>() as u64);
    put("slave/tasks_staging", queued + tasks(TaskState::TaskStaging));
    put("slave/tasks_starting", tasks(TaskState::TaskStarting));
    put("slave/tasks_running", tasks(TaskState::TaskRunning));
    put("slave/tasks_killing", tasks(TaskState::TaskKilling));
    for (name, state) in [
        ("registering", ExecutorState::Registering),
        ("running", ExecutorState::Running),
        ("terminating", ExecutorState::Terminating),
    ] {
        let count = executors().filter(|executor| executor.state == state).count();
        put(&format!("slave/executors_{name}"), float(count as u64));
    }
}

fn resources(view: &View, put: &mut impl FnMut(&str, f64)) {
    let parse = |protos: &[v1::Resource]| Resources::from_protos(protos).unwrap_or_default();
    let total = parse(&view.info.resources);
    let mut used = Resources::new();
    for executor in view.frameworks.iter().flat_map(|framework| &framework.executors) {
        if executor.state != ExecutorState::Terminated {
            used += &allocated_to(executor);
        }
    }
    for (infix, total, used) in
        [("", total.non_revocable(), used.non_revocable()), ("_revocable", total.revocable(), used.revocable())]
    {
        for name in ["cpus", "gpus", "mem", "disk"] {
            let (all, taken) = (total.scalar(name).as_f64(), used.scalar(name).as_f64());
            put(&format!("slave/{name}{infix}_total"), all);
            put(&format!("slave/{name}{infix}_used"), taken);
            put(&format!("slave/{name}{infix}_percent"), if all > 0.0 { taken / all } else { 0.0 });
        }
    }
}

#[allow(clippy::cast_precision_loss)] // metrics are doubles
fn float(value: u64) -> f64 {
    value as f64
}
