//! The smallest custom executor: "runs" a task by sending its data back to the framework, and finishes it.

use mezzo_sdk::{
    ExecutorDriver,
    executor::Event,
    v1::{TaskId, TaskState, TaskStatus},
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (executor, mut events) = ExecutorDriver::from_environment()?.start();
    let report = |task_id: &TaskId, state: TaskState| {
        executor.update(TaskStatus { task_id: task_id.clone(), state: state as i32, ..Default::default() });
    };
    while let Some(event) = events.recv().await {
        match event {
            Event::Launch(task) => {
                println!("running {}", task.task_id.value);
                report(&task.task_id, TaskState::TaskRunning);
                executor.message(task.data.unwrap_or_default());
                report(&task.task_id, TaskState::TaskFinished);
            }
            Event::Shutdown(reason) => {
                println!("{reason}");
                break;
            }
            _ => {}
        }
    }
    executor.drained().await;
    Ok(())
}
