//! What the page is told of one agent, one framework and its tasks.

use serde_json::{Value, json};

use super::*;
use crate::{
    flags::Flags,
    identity::Identity,
    view::{
        Change, Published, Recovered,
        tests::{agent, framework, task},
    },
};
use mezzo_api::v1::TaskState;
use mezzo_master_core::model::{AgentGone, FrameworkState, Mark, TaskList};
use std::sync::Arc;

fn published() -> Published {
    let published = Published::new(&Recovered::default());
    published.apply(vec![
        Change::Agent(Arc::new(agent())),
        Change::Framework(Arc::new(framework(FrameworkState::Active))),
        Change::Task(Arc::new(task("t-1", TaskList::Active, &[(TaskState::TaskRunning, 10.0)]))),
        Change::Task(Arc::new(task("t-2", TaskList::Active, &[(TaskState::TaskRunning, 20.0)]))),
        Change::Task(Arc::new(task(
            "old",
            TaskList::Completed,
            &[(TaskState::TaskRunning, 1.0), (TaskState::TaskFailed, 2.0)],
        ))),
    ]);
    published
}

fn read(view: &View, name: &str, query: &str) -> Option<Value> {
    let read = PageRead::of(name, &Query::parse(query).unwrap())?;
    let flags = Flags::default();
    let identity = Identity::new(&flags, "127.0.0.1:5050".parse().unwrap(), None);
    let samples = [std::sync::Arc::new(view.moment())];
    let body = render(view, Master { identity: &identity, flags: &flags }, &samples, &read)?;
    Some(serde_json::from_slice(&body).unwrap())
}

fn ids(answer: &Value) -> Vec<&str> {
    answer["rows"].as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap()).collect()
}

#[test]
fn tasks_come_in_parts() {
    let view = published().snapshot();
    let tasks = |query: &str| read(&view, "tasks", query).unwrap();
    let all = tasks("");
    assert_eq!((ids(&all), &all["total"]), (vec!["t-2", "t-1", "old"], &json!(3)), "the latest change first");
    assert_eq!(all["counts"], json!({"TASK_RUNNING": 2, "TASK_FAILED": 1}));
    assert_eq!(ids(&tasks("order=asc&limit=1&offset=1")), ["t-1"]);
    let failed = tasks("state=TASK_FAILED");
    assert_eq!((ids(&failed), &failed["total"]), (vec!["old"], &json!(1)));
    assert_eq!(failed["counts"], all["counts"], "what else could be chosen");
    assert_eq!(ids(&tasks("q=T-1+pymesos")), ["t-1"]);
    assert_eq!(ids(&tasks("q=nothing")), [""; 0]);
    assert_eq!(ids(&tasks("sort=id&order=asc")), ["old", "t-1", "t-2"]);
    assert_eq!(ids(&tasks("role=*")).len(), 3);
    assert_eq!(ids(&tasks("framework=other")), [""; 0]);
    assert_eq!(all["rows"][1]["resources"]["cpus"], 0.1);
}

#[test]
fn single_entities_are_told_or_unknown() {
    let view = published().snapshot();
    let framework = view.frameworks.keys().next().unwrap().to_string();
    let agent = view.agents.keys().next().unwrap().to_string();
    let task = read(&view, "task", &format!("framework={framework}&id=old")).unwrap();
    assert_eq!((&task["list"], &task["task"]["statuses"][1]["state"]), (&json!("completed"), &json!("TASK_FAILED")));
    assert_eq!(read(&view, "task", "framework=x&id=old"), None);
    let shown = read(&view, "agent", &format!("id={agent}")).unwrap();
    assert_eq!((&shown["state"], &shown["row"]["tasks"]), (&json!("active"), &json!(2)));
    assert_eq!(shown["frameworks"][0]["name"], "pymesos-test");
    assert_eq!(read(&view, "agent", "id=x"), None);
    let shown = read(&view, "framework", &format!("id={framework}")).unwrap();
    assert_eq!((&shown["row"]["tasks"], &shown["states"]["TASK_FAILED"]), (&json!(2), &json!(1)));
    assert_eq!(read(&view, "framework", "id=x"), None);
    assert_eq!(read(&view, "nothing", ""), None);
}

#[test]
fn the_overview_adds_up_and_tells_what_happened() {
    let published = published();
    let overview = read(&published.snapshot(), "overview", "").unwrap();
    assert_eq!(overview["states"], json!({"TASK_RUNNING": 2, "TASK_FAILED": 1}));
    assert_eq!(overview["now"]["running"], 2);
    assert_eq!(overview["now"]["total"]["cpus"], 2.0);
    assert_eq!(overview["zones"][0]["agents"], 1);
    let told = |overview: &Value| {
        let events = overview["events"].as_array().unwrap().iter();
        events.map(|event| event["what"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(told(&overview), ["task failed", "framework subscribed", "agent registered"]);
    let id = agent().id;
    published.apply(vec![
        Change::AgentRemoved(id.clone(), AgentGone::Unreachable),
        Change::AgentMarked(id.clone(), Some(Mark::Unreachable(1))),
        Change::Task(Arc::new(task("t-1", TaskList::Unreachable, &[(TaskState::TaskUnreachable, 30.0)]))),
        Change::TaskForgotten(framework(FrameworkState::Active).id, "old".into()),
    ]);
    published.apply(vec![Change::Agent(Arc::new(agent())), Change::AgentMarked(id, None)]);
    let overview = read(&published.snapshot(), "overview", "").unwrap();
    assert_eq!(told(&overview)[..3], ["agent is back", "task unreachable", "agent unreachable"]);
    assert_eq!(overview["states"], json!({"TASK_RUNNING": 1, "TASK_UNREACHABLE": 1}));
    published.apply(vec![Change::FrameworkForgotten(framework(FrameworkState::Active).id)]);
    assert_eq!(read(&published.snapshot(), "overview", "").unwrap()["states"], json!({}));
}

#[test]
fn maps_and_histories_name_their_columns() {
    let view = published().snapshot();
    let topology = read(&view, "topology", "").unwrap();
    let agent = &topology["zones"][0]["agents"][0];
    assert_eq!(topology["columns"].as_array().unwrap().len(), agent.as_array().unwrap().len());
    assert_eq!(agent[3], 2, "tasks");
    let history = read(&view, "history", "").unwrap();
    assert_eq!(history["columns"].as_array().unwrap().len(), history["rows"][0].as_array().unwrap().len());
}
