//! The executor's driver.

use mezzo_api::{
    codec::Encoding,
    v1::{
        self, TaskInfo, TaskState, TaskStatus,
        executor::{Call, Event as AgentEvent, call, event},
    },
};
use mezzo_sdk::executor::{EndReason, Event, Events, Executor, ExecutorDriver};

use super::server::{Received, Server, Subscription, soon};

fn is_subscribe(request: &Received) -> bool {
    request.read::<Call>().r#type() == call::Type::Subscribe
}

fn driver(agent: &Server, checkpoint: &str) -> ExecutorDriver {
    let (pid, checkpoint) = (format!("slave(1)@{}", agent.address), checkpoint.to_owned());
    ExecutorDriver::from_variables(move |name| {
        Some(match name {
            "MESOS_SLAVE_PID" => pid.clone(),
            "MESOS_FRAMEWORK_ID" => "F".to_owned(),
            "MESOS_EXECUTOR_ID" => "E".to_owned(),
            "MESOS_CHECKPOINT" => checkpoint.clone(),
            "MESOS_SUBSCRIPTION_BACKOFF_MAX" => "50ms".to_owned(),
            _ => return None,
        })
    })
    .unwrap()
    .without_watchdog()
}

fn subscribed() -> AgentEvent {
    let mut subscribed = event::Subscribed::default();
    subscribed.agent_info.hostname = "h".into();
    AgentEvent {
        r#type: Some(event::Type::Subscribed as i32),
        subscribed: Some(Box::new(subscribed)),
        ..Default::default()
    }
}

fn launch(task: &str) -> AgentEvent {
    let task = TaskInfo { task_id: v1::TaskId { value: task.into() }, ..Default::default() };
    AgentEvent {
        r#type: Some(event::Type::Launch as i32),
        launch: Some(Box::new(event::Launch { task })),
        ..Default::default()
    }
}

fn acknowledged(status: &TaskStatus) -> AgentEvent {
    let acknowledged =
        event::Acknowledged { task_id: status.task_id.clone(), uuid: status.uuid.clone().unwrap_or_default() };
    AgentEvent {
        r#type: Some(event::Type::Acknowledged as i32),
        acknowledged: Some(acknowledged),
        ..Default::default()
    }
}

fn status(task: &str, state: TaskState) -> TaskStatus {
    TaskStatus { task_id: v1::TaskId { value: task.into() }, state: state as i32, ..Default::default() }
}

async fn subscribe(agent: &mut Server, driver: ExecutorDriver) -> (Executor, Events, Subscription) {
    let (executor, mut events) = driver.start();
    let subscription = agent.subscription().await;
    subscription.accept("unused");
    subscription.send(&subscribed());
    assert!(matches!(soon(events.recv()).await, Some(Event::Subscribed(_))));
    (executor, events, subscription)
}

#[tokio::test]
async fn runs_a_task_in_both_encodings() {
    for encoding in [Encoding::Json, Encoding::Protobuf] {
        let mut agent = Server::start(is_subscribe).await;
        let driver = driver(&agent, "0").encoding(encoding);
        let (executor, mut events, subscription) = subscribe(&mut agent, driver).await;
        assert_eq!(subscription.request.path, "/slave(1)/api/v1/executor");
        assert_eq!(subscription.request.encoding(), encoding);
        subscription.send(&launch("t"));
        assert!(matches!(soon(events.recv()).await, Some(Event::Launch(task)) if task.task_id.value == "t"));
        executor.update(status("t", TaskState::TaskRunning));
        executor.update(status("t", TaskState::TaskFinished));
        executor.message("hello");
        for state in [TaskState::TaskRunning, TaskState::TaskFinished] {
            let call: Call = agent.call().await.read();
            let update = call.update.unwrap().status;
            assert_eq!((update.state(), update.uuid.as_ref().map(bytes::Bytes::len)), (state, Some(16)));
            subscription.send(&acknowledged(&update));
            assert!(matches!(soon(events.recv()).await, Some(Event::Acknowledged { .. })));
        }
        assert_eq!(agent.call().await.read::<Call>().message.unwrap().data, "hello");
        soon(executor.drained()).await;
    }
}

#[tokio::test]
async fn survives_a_restart_of_the_agent_with_what_was_not_acknowledged() {
    let mut agent = Server::start(is_subscribe).await;
    let (executor, mut events, subscription) = {
        let driver = driver(&agent, "1");
        subscribe(&mut agent, driver).await
    };
    subscription.send(&launch("t"));
    soon(events.recv()).await;
    executor.update(status("t", TaskState::TaskRunning));
    agent.call().await;
    subscription.break_off();
    assert!(matches!(soon(events.recv()).await, Some(Event::Disconnected { .. })));
    executor.update(status("t", TaskState::TaskFinished));
    agent.subscription().await.refuse(503, vec![], "Agent has not finished recovery");
    let subscription = agent.subscription().await;
    let subscribe = subscription.request.read::<Call>().subscribe.unwrap();
    assert_eq!(subscribe.unacknowledged_tasks.len(), 1);
    let updates: Vec<_> = subscribe.unacknowledged_updates.iter().map(|update| update.status.clone()).collect();
    assert_eq!(
        updates.iter().map(TaskStatus::state).collect::<Vec<_>>(),
        [TaskState::TaskRunning, TaskState::TaskFinished]
    );
    subscription.accept("unused");
    subscription.send(&subscribed());
    for update in &updates {
        subscription.send(&acknowledged(update));
    }
    soon(executor.drained()).await;
}

#[tokio::test]
async fn without_checkpointing_it_shuts_down_when_the_agent_goes() {
    let mut agent = Server::start(is_subscribe).await;
    let (executor, mut events, subscription) = {
        let driver = driver(&agent, "0");
        subscribe(&mut agent, driver).await
    };
    executor.update(status("t", TaskState::TaskRunning));
    agent.call().await;
    subscription.break_off();
    assert!(matches!(soon(events.recv()).await, Some(Event::Shutdown(EndReason::Disconnected(_)))));
    assert_eq!(soon(events.recv()).await, None);
    soon(executor.drained()).await; // nothing more can be acknowledged
}
