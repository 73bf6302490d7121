//! The picture of one agent, one framework and its tasks, held against what a real Mesos said of the same
//! (answers of Apache Mesos 1.11.0 to `/slaves`, `/state`, `/state-summary`, `/tasks`, `/roles` and GET_TASKS).

use std::net::{IpAddr, Ipv4Addr};

use mezzo_api::resources::Resources;
use prost::Message;
use serde_json::{Value, json};

use mezzo_master_core::model::{AgentGone, TaskList};

use super::*;
use crate::{flags::Flags, identity::Identity};

const AGENT: &str = "016cf94c-aa92-48b2-b094-ffb08b64ab8b-S2";
const FRAMEWORK: &str = "016cf94c-aa92-48b2-b094-ffb08b64ab8b-0028";

fn resources(text: &str) -> Resources {
    Resources::parse(text, "*").unwrap()
}

fn allocated(text: &str) -> Resources {
    let mut resources = resources(text);
    resources.allocate("*");
    resources
}

pub(crate) fn agent() -> Agent {
    use v1::agent_info::capability::Type;
    Agent {
        id: AGENT.into(),
        info: Description::new(&v1::AgentInfo { hostname: "localhost".into(), ..Default::default() }),
        advertised: (IpAddr::V4(Ipv4Addr::LOCALHOST), 5051),
        peer: IpAddr::V4(Ipv4Addr::LOCALHOST),
        version: "1.11.0".into(),
        mezzo_version: None,
        capabilities: vec![Type::MultiRole, Type::HierarchicalRole],
        registered_time: 1_795_319_580.75,
        reregistered_time: None,
        connected: true,
        active: true,
        standing: Default::default(),
        drain_began: None,
        total: Arc::new(resources("cpus:2;mem:23081;disk:252899;ports:[31000-32000]")),
        used: allocated("cpus:0.1;mem:64"),
        offered: Resources::new(),
        warning: None,
    }
}

pub(crate) fn framework(state: FrameworkState) -> Framework {
    Framework {
        id: FRAMEWORK.into(),
        info: Arc::new(v1::FrameworkInfo {
            user: "root".into(),
            name: "pymesos-test".into(),
            failover_timeout: Some(100.0),
            capabilities: vec![v1::framework_info::Capability {
                r#type: Some(v1::framework_info::capability::Type::GpuResources as i32),
            }],
            ..Default::default()
        }),
        state,
        registered_time: 1_795_319_631.742_796,
        reregistered_time: 1_795_319_631.742_796,
        unregistered_time: if state == FrameworkState::Completed { 1_795_319_700.5 } else { 0.0 },
        used: allocated("cpus:0.1;mem:64"),
        offered: Resources::new(),
        suppressed_roles: vec![],
        offer_constraints: None,
    }
}

fn status(state: v1::TaskState, timestamp: f64) -> v1::TaskStatus {
    v1::TaskStatus { state: state as i32, timestamp: Some(timestamp), ..Default::default() }
}

pub(crate) fn task(id: &str, list: TaskList, states: &[(v1::TaskState, f64)]) -> Task {
    let fixed = v1::Task {
        name: "t".into(),
        task_id: v1::TaskId { value: id.into() },
        framework_id: v1::FrameworkId { value: FRAMEWORK.into() },
        agent_id: v1::AgentId { value: AGENT.into() },
        resources: allocated("cpus:0.1;mem:64").to_protos(),
        ..Default::default()
    };
    Task {
        framework_id: FRAMEWORK.into(),
        id: id.into(),
        agent_id: AGENT.into(),
        list,
        state: states.last().map_or(v1::TaskState::TaskStaging, |(state, _)| *state),
        status_update: Some((v1::TaskState::TaskRunning, bytes::Bytes::from_static(&[1; 16]))),
        statuses: states.iter().map(|(state, timestamp)| status(*state, *timestamp)).collect(),
        fixed: fixed.encode_to_vec().into(),
    }
}

pub(crate) fn picture() -> View {
    let published = Published::new(&Recovered::default());
    published.apply(vec![
        Change::Agent(Arc::new(agent())),
        Change::Framework(Arc::new(framework(FrameworkState::Active))),
        Change::Task(Arc::new(task("t-1", TaskList::Active, &[(v1::TaskState::TaskRunning, 1_795_319_631.0)]))),
    ]);
    published.snapshot()
}

fn parsed(body: &[u8]) -> Value {
    serde_json::from_slice(body).unwrap()
}

fn agent_json() -> Value {
    json!({
        "id": AGENT, "hostname": "localhost", "port": 5051, "attributes": {}, "pid": "slave(1)@127.0.0.1:5051",
        "registered_time": 1_795_319_580.75,
        "resources": { "disk": 252_899.0, "mem": 23081.0, "gpus": 0.0, "cpus": 2.0, "ports": "[31000-32000]" },
        "used_resources": { "disk": 0.0, "mem": 64.0, "gpus": 0.0, "cpus": 0.1 },
        "offered_resources": { "disk": 0.0, "mem": 0.0, "gpus": 0.0, "cpus": 0.0 },
        "reserved_resources": {},
        "unreserved_resources": { "disk": 252_899.0, "mem": 23081.0, "gpus": 0.0, "cpus": 2.0, "ports": "[31000-32000]" },
        "active": true, "deactivated": false, "version": "1.11.0", "capabilities": ["MULTI_ROLE", "HIERARCHICAL_ROLE"],
    })
}

fn task_json() -> Value {
    json!({
        "id": "t-1", "name": "t", "framework_id": FRAMEWORK, "executor_id": "", "slave_id": AGENT, "state": "TASK_RUNNING",
        "resources": { "disk": 0.0, "mem": 64.0, "gpus": 0.0, "cpus": 0.1 }, "role": "*",
        "statuses": [{ "state": "TASK_RUNNING", "timestamp": 1_795_319_631.0 }],
    })
}

fn framework_summary_json() -> Value {
    json!({
        "id": FRAMEWORK, "name": "pymesos-test",
        "used_resources": { "disk": 0.0, "mem": 64.0, "gpus": 0.0, "cpus": 0.1 },
        "offered_resources": { "disk": 0.0, "mem": 0.0, "gpus": 0.0, "cpus": 0.0 },
        "capabilities": ["GPU_RESOURCES"], "hostname": "", "webui_url": "", "active": true, "connected": true,
        "recovered": false,
    })
}

fn merged(mut first: Value, second: Value) -> Value {
    first.as_object_mut().unwrap().extend(second.as_object().unwrap().clone());
    first
}

#[test]
fn agents_as_slaves_shows_them() {
    let full = merged(
        agent_json(),
        json!({
            "reserved_resources_full": {},
            "unreserved_resources_full": [
                { "name": "cpus", "type": "SCALAR", "scalar": { "value": 2.0 }, "role": "*" },
                { "name": "mem", "type": "SCALAR", "scalar": { "value": 23081.0 }, "role": "*" },
                { "name": "disk", "type": "SCALAR", "scalar": { "value": 252_899.0 }, "role": "*" },
                { "name": "ports", "type": "RANGES", "ranges": { "range": [{ "begin": 31000, "end": 32000 }] }, "role": "*" },
            ],
            "used_resources_full": [
                { "name": "cpus", "type": "SCALAR", "scalar": { "value": 0.1 }, "role": "*", "allocation_info": { "role": "*" } },
                { "name": "mem", "type": "SCALAR", "scalar": { "value": 64.0 }, "role": "*", "allocation_info": { "role": "*" } },
            ],
            "offered_resources_full": [],
        }),
    );
    assert_eq!(parsed(&agents(&picture(), None)), json!({ "slaves": [full], "recovered_slaves": [] }));
    assert_eq!(parsed(&agents(&picture(), Some("nope"))), json!({ "slaves": [], "recovered_slaves": [] }));
}

#[test]
fn frameworks_and_tasks_as_state_shows_them() {
    let full = merged(
        framework_summary_json(),
        json!({
            "user": "root", "failover_timeout": 100.0, "checkpoint": false,
            "registered_time": 1_795_319_631.742_796, "unregistered_time": 0.0,
            "resources": { "disk": 0.0, "mem": 64.0, "gpus": 0.0, "cpus": 0.1 }, "role": "*",
            "tasks": [task_json()], "unreachable_tasks": [], "completed_tasks": [], "offers": [], "executors": [],
            "offer_constraints": {},
        }),
    );
    let expected = json!({ "frameworks": [full], "completed_frameworks": [], "unregistered_frameworks": [] });
    let body = frameworks(&picture(), None, None).text();
    assert_eq!(parsed(&body), expected);
    // The order of the members is Mesos' too.
    assert_eq!(String::from_utf8(body).unwrap(), expected.to_string());
}

#[test]
fn the_summary_counts_tasks_on_both_sides() {
    let flags = Flags::default();
    let identity = Identity::new(&flags, "127.0.0.1:5050".parse().unwrap(), None);
    let counts = json!({
        "TASK_STAGING": 0, "TASK_STARTING": 0, "TASK_RUNNING": 1, "TASK_KILLING": 0, "TASK_FINISHED": 0,
        "TASK_KILLED": 0, "TASK_FAILED": 0, "TASK_LOST": 0, "TASK_ERROR": 0, "TASK_UNREACHABLE": 0,
    });
    let agent = merged(merged(agent_json(), counts.clone()), json!({ "framework_ids": [FRAMEWORK] }));
    let framework = merged(merged(framework_summary_json(), counts), json!({ "slave_ids": [AGENT] }));
    let expected = json!({ "hostname": "localhost", "slaves": [agent], "frameworks": [framework] });
    let body = summary(&picture(), Master { identity: &identity, flags: &flags });
    assert_eq!(String::from_utf8(body).unwrap(), expected.to_string());
}

#[test]
fn state_has_mesos_members_in_mesos_order() {
    let flags = Flags::default();
    let identity = Identity::new(&flags, "127.0.0.1:5050".parse().unwrap(), None);
    let state = parsed(&state(&picture(), Master { identity: &identity, flags: &flags }, None).text());
    let members: Vec<&str> = state.as_object().unwrap().keys().map(String::as_str).collect();
    let expected = [
        "version",
        "mezzo_version",
        "build_date",
        "build_time",
        "build_user",
        "start_time",
        "elected_time",
        "id",
        "pid",
        "hostname",
        "capabilities",
        "activated_slaves",
        "deactivated_slaves",
        "unreachable_slaves",
        "leader",
        "leader_info",
        "flags",
        "slaves",
        "recovered_slaves",
        "frameworks",
        "completed_frameworks",
        "orphan_tasks",
        "unregistered_frameworks",
    ];
    assert_eq!(members, expected);
    assert_eq!(state["activated_slaves"].to_string(), "1.0");
    assert_eq!(state["leader"], "master@127.0.0.1:5050");
    assert_eq!(state["slaves"], json!([agent_json()]));
}

#[test]
fn roles_as_mesos_shows_them() {
    let amount = json!({ "cpus": 0.1, "mem": 64.0 });
    let expected = json!({ "roles": [{
        "name": "*", "weight": 1.0, "quota": { "role": "*", "guarantee": {}, "limit": {}, "consumed": amount },
        "resources": amount, "allocated": amount, "offered": {}, "reserved": {}, "frameworks": [FRAMEWORK],
    }] });
    assert_eq!(String::from_utf8(roles(&picture(), None)).unwrap(), expected.to_string());
    let listed = parsed(&roles(&picture(), Some(&["other".to_owned()])));
    assert_eq!(listed["roles"][0]["name"], "other");
}

fn ids(body: &[u8]) -> Vec<String> {
    parsed(body)["tasks"].as_array().unwrap().iter().map(|task| task["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn tasks_are_sorted_and_cut_as_mesos_does() {
    let mut view = picture();
    for (id, list, first) in [("t-2", TaskList::Completed, 3.0), ("t-3", TaskList::Unreachable, 2.0)] {
        view.apply(Change::Task(Arc::new(task(id, list, &[(v1::TaskState::TaskRunning, first)]))));
    }
    view.apply(Change::Task(Arc::new(task("t-4", TaskList::Active, &[]))));
    let query = TaskQuery { framework_id: None, task_id: None, limit: 100, offset: 0, ascending: true };
    assert_eq!(ids(&tasks(&view, &query)), ["t-4", "t-3", "t-2", "t-1"]);
    let descending = TaskQuery { ascending: false, ..query.clone() };
    assert_eq!(ids(&tasks(&view, &descending)), ["t-1", "t-2", "t-3", "t-4"]);
    assert_eq!(ids(&tasks(&view, &TaskQuery { limit: 2, offset: 1, ..query.clone() })), ["t-3", "t-2"]);
    assert_eq!(ids(&tasks(&view, &TaskQuery { limit: u64::MAX, ..query.clone() })).len(), 4);
    assert!(ids(&tasks(&view, &TaskQuery { limit: u64::MAX, offset: 1, ..query.clone() })).is_empty());
    assert!(ids(&tasks(&view, &TaskQuery { offset: 9, ..query.clone() })).is_empty());
    assert_eq!(ids(&tasks(&view, &TaskQuery { task_id: Some("t-3".into()), ..query.clone() })), ["t-3"]);
    assert!(ids(&tasks(&view, &TaskQuery { framework_id: Some("nope".into()), ..query })).is_empty());
}

#[test]
fn tasks_as_messages_carry_everything() {
    let written = Part::Tasks.written(&picture(), mezzo_api::codec::Encoding::Protobuf);
    let tasks = v1::master::response::GetTasks::decode(written.as_slice()).unwrap();
    let task = &tasks.tasks[0];
    assert_eq!(task.state(), v1::TaskState::TaskRunning);
    assert_eq!(task.statuses.len(), 1);
    assert_eq!(task.status_update_state(), v1::TaskState::TaskRunning);
    assert_eq!(task.status_update_uuid().len(), 16);
    assert_eq!(task.name, "t");
}

#[test]
fn what_goes_is_forgotten() {
    let published = Published::new(&Recovered {
        agents: vec![v1::AgentInfo { id: Some(v1::AgentId { value: "a".into() }), ..Default::default() }].into(),
        unreachable: vec![("b".into(), 1)],
        gone: vec![("c".into(), 2)],
        ..Default::default()
    });
    let view = published.snapshot();
    assert_eq!((view.recovered.len(), view.unreachable.len(), view.gone.len(), view.version), (1, 1, 1, 0));
    published.apply(vec![
        Change::RecoveredAgent("a".into(), None),
        Change::Agent(Arc::new(agent())),
        Change::Framework(Arc::new(framework(FrameworkState::Completed))),
        Change::Task(Arc::new(task("t-1", TaskList::Completed, &[]))),
        Change::AgentRemoved(AGENT.into(), AgentGone::Unreachable),
        Change::AgentMarked(AGENT.into(), Some(Mark::Unreachable(3))),
    ]);
    let later = published.snapshot();
    assert_eq!((later.agents.len(), later.recovered.len(), later.unreachable.len(), later.version), (0, 0, 2, 1));
    assert_eq!(later.completed_frameworks().len(), 1);
    assert_eq!(later.present_frameworks().count(), 0);
    published.apply(vec![
        Change::TaskForgotten(FRAMEWORK.into(), "t-1".into()),
        Change::FrameworkForgotten(FRAMEWORK.into()),
        Change::AgentMarked("b".into(), Some(Mark::Gone(4))),
        Change::AgentMarked("c".into(), None),
    ]);
    let last = published.snapshot();
    assert!(last.tasks.is_empty() && last.frameworks.is_empty());
    assert_eq!(last.unreachable.iter().map(|(id, since)| (id.as_str(), *since)).collect::<Vec<_>>(), [(AGENT, 3)]);
    assert_eq!(last.gone.iter().map(|(id, since)| (id.as_str(), *since)).collect::<Vec<_>>(), [("b", 4)]);
    // Who holds an older version keeps it as it was.
    assert_eq!(view.recovered.len(), 1);
    assert_eq!(later.tasks.len(), 1);
}
