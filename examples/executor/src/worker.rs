//! The executor: squares what it is given, and ends when it is told to.

use anyhow::Result;
use mezzo_sdk::{
    ExecutorDriver,
    executor::Event,
    v1::{TaskInfo, TaskState, TaskStatus},
};

pub(crate) async fn work() -> Result<()> {
    let (executor, mut events) = ExecutorDriver::from_environment()?.start();
    while let Some(event) = events.recv().await {
        match event {
            Event::Launch(task) => {
                executor.update(status(&task, TaskState::TaskRunning));
                executor.update(square(&task));
            }
            Event::Shutdown(reason) => {
                println!("{reason}");
                break;
            }
            _ => {}
        }
    }
    executor.drained().await; // the agent has everything that was reported
    Ok(())
}

fn square(task: &TaskInfo) -> TaskStatus {
    let given = String::from_utf8_lossy(task.data.as_deref().unwrap_or_default()).parse::<u64>();
    match given.ok().and_then(|number| number.checked_mul(number)) {
        Some(square) => TaskStatus { data: Some(square.to_string().into()), ..status(task, TaskState::TaskFinished) },
        None => TaskStatus { message: Some("no number, or too large".into()), ..status(task, TaskState::TaskFailed) },
    }
}

fn status(task: &TaskInfo, state: TaskState) -> TaskStatus {
    TaskStatus { task_id: task.task_id.clone(), state: state as i32, ..Default::default() }
}
