//! What the scenarios are made of: settings, frameworks, agents, tasks, calls.

use std::time::{Duration, UNIX_EPOCH};

use mezzo_api::{
    link,
    resources::Resources,
    time::Now,
    v1::{
        self, AgentInfo, FrameworkInfo, TaskInfo,
        framework_info::capability::Type as Capability,
        offer::{Operation, operation},
        scheduler::{Call, call},
    },
};

use crate::input::{Config, Lifecycle};

pub(crate) const MASTER: &str = "m";
pub(crate) const AGENT_RESOURCES: &str = "cpus:4;mem:4096;disk:10000;ports:[31000-32000]";

pub(crate) fn config() -> Config {
    Config {
        master_id: MASTER.into(),
        term: 1,
        master_info: v1::MasterInfo { id: MASTER.into(), ip: 0, port: 5050, ..Default::default() },
        allocation_interval: Duration::from_secs(1),
        agent_ping_timeout: Duration::from_secs(15),
        max_agent_ping_timeouts: 5,
        agent_reregister_timeout: Duration::from_secs(600),
        lifecycle: Lifecycle::default(),
        offer_timeout: Some(Duration::from_secs(120)),
        heartbeat_interval: Duration::from_secs(15),
        max_completed_frameworks: 3,
        max_completed_tasks_per_framework: 5,
        max_unreachable_tasks_per_framework: 5,
        roles: None,
        root_submissions: true,
        filter_gpu_resources: true,
        min_allocatable_resources: vec![vec![("cpus".into(), 0.01)], vec![("mem".into(), 32.0)]],
        allocator: crate::input::AllocatorConfig::default(),
    }
}

pub(crate) fn at(mono: Duration) -> Now {
    Now { mono, wall: UNIX_EPOCH + Duration::from_secs(1_000_000) + mono }
}

pub(crate) fn framework(roles: &[&str], capabilities: &[Capability]) -> FrameworkInfo {
    let capability = |kind: &Capability| v1::framework_info::Capability { r#type: Some((*kind).into()) };
    FrameworkInfo {
        user: "root".into(),
        name: "test".into(),
        roles: roles.iter().map(ToString::to_string).collect(),
        capabilities: capabilities.iter().chain([&Capability::MultiRole]).map(capability).collect(),
        failover_timeout: Some(60.0),
        ..Default::default()
    }
}

/// A framework of today.
pub(crate) fn modern(role: &str) -> FrameworkInfo {
    framework(&[role], &[Capability::PartitionAware, Capability::ReservationRefinement])
}

/// A framework without any capability.
#[allow(deprecated)]
pub(crate) fn plain(role: &str) -> FrameworkInfo {
    FrameworkInfo {
        user: "root".into(),
        name: "plain".into(),
        role: Some(role.into()),
        failover_timeout: Some(60.0),
        ..Default::default()
    }
}

pub(crate) fn agent_info(resources: &str) -> AgentInfo {
    AgentInfo {
        hostname: "host".into(),
        port: Some(5051),
        resources: Resources::parse(resources, "*").unwrap().to_protos(),
        ..Default::default()
    }
}

pub(crate) fn register(info: &AgentInfo) -> link::Register {
    use v1::agent_info::{Capability, capability::Type};
    let all = [Type::MultiRole, Type::HierarchicalRole, Type::ReservationRefinement, Type::TaskResourceLimits];
    link::Register {
        agent: info.clone(),
        version: "1.11.0".into(),
        capabilities: all.map(|kind| Capability { r#type: Some(kind.into()) }).to_vec(),
        ..Default::default()
    }
}

pub(crate) fn resources(text: &str) -> Vec<v1::Resource> {
    Resources::parse(text, "*").unwrap().to_protos()
}

pub(crate) fn task(id: &str, offer: &v1::Offer) -> TaskInfo {
    TaskInfo {
        name: id.into(),
        task_id: v1::TaskId { value: id.into() },
        agent_id: offer.agent_id.clone(),
        resources: resources("cpus:0.1;mem:32"),
        command: Some(v1::CommandInfo { value: Some("true".into()), ..Default::default() }),
        ..Default::default()
    }
}

pub(crate) fn custom_executor(id: &str) -> v1::ExecutorInfo {
    v1::ExecutorInfo {
        executor_id: v1::ExecutorId { value: id.into() },
        command: Some(v1::CommandInfo { value: Some("run".into()), ..Default::default() }),
        resources: resources("cpus:0.5;mem:64"),
        ..Default::default()
    }
}

pub(crate) fn launch(tasks: Vec<TaskInfo>) -> Operation {
    Operation {
        r#type: Some(operation::Type::Launch.into()),
        launch: Some(operation::Launch { task_infos: tasks }),
        ..Default::default()
    }
}

pub(crate) fn filters(refuse: f64) -> Option<v1::Filters> {
    Some(v1::Filters { refuse_seconds: Some(refuse) })
}

pub(crate) fn accept(offers: &[&v1::Offer], operations: Vec<Operation>, refuse: f64) -> Call {
    let offer_ids = offers.iter().map(|offer| offer.id.clone()).collect();
    Call {
        r#type: Some(call::Type::Accept.into()),
        accept: Some(call::Accept { offer_ids, operations, filters: filters(refuse) }),
        ..Default::default()
    }
}

pub(crate) fn decline(offers: &[&v1::Offer], refuse: Option<f64>) -> Call {
    let offer_ids = offers.iter().map(|offer| offer.id.clone()).collect();
    Call {
        r#type: Some(call::Type::Decline.into()),
        decline: Some(call::Decline { offer_ids, filters: refuse.and_then(filters) }),
        ..Default::default()
    }
}

pub(crate) fn bare(kind: call::Type) -> Call {
    Call { r#type: Some(kind.into()), ..Default::default() }
}

pub(crate) fn revive(roles: &[&str]) -> Call {
    let roles = roles.iter().map(ToString::to_string).collect();
    Call { revive: Some(call::Revive { roles }), ..bare(call::Type::Revive) }
}

pub(crate) fn suppress(roles: &[&str]) -> Call {
    let roles = roles.iter().map(ToString::to_string).collect();
    Call { suppress: Some(call::Suppress { roles }), ..bare(call::Type::Suppress) }
}

pub(crate) fn kill(task: &str, agent: Option<&str>) -> Call {
    let kill = call::Kill {
        task_id: v1::TaskId { value: task.into() },
        agent_id: agent.map(|id| v1::AgentId { value: id.into() }),
        kill_policy: None,
    };
    Call { kill: Some(kill), ..bare(call::Type::Kill) }
}

pub(crate) fn reconcile(tasks: &[(&str, Option<&str>)]) -> Call {
    let question = |(task, agent): &(&str, Option<&str>)| call::reconcile::Task {
        task_id: v1::TaskId { value: (*task).into() },
        agent_id: agent.map(|id| v1::AgentId { value: id.into() }),
    };
    let reconcile = call::Reconcile { tasks: tasks.iter().map(question).collect() };
    Call { reconcile: Some(reconcile), ..bare(call::Type::Reconcile) }
}

pub(crate) fn text(resources: &[v1::Resource]) -> String {
    Resources::from_protos(resources).unwrap().to_string()
}
