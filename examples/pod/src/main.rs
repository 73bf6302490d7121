//! A pod: tasks that are placed together, live and die together, and share a directory. One writes a page, its sidecar
//! waits for it and counts its words. No executor of one's own is needed: the agent has one.
//!
//! ```sh
//! mezzo local &
//! cargo run -p example-pod
//! ```

use std::collections::BTreeMap;

use anyhow::Result;
use clap::Parser;
use mezzo_sdk::{
    Context, Scheduler, SchedulerDriver,
    offers::{carve, refuse_for},
    resources::Resources,
    scheduler::{Subscribed, calls},
    store::MemoryStore,
    supervisor,
    v1::{self, TaskState, executor_info, volume},
};

/// Runs a pod of two tasks to its end.
#[derive(Parser)]
struct Arguments {
    /// Where masters are.
    #[arg(long, default_value = "127.0.0.1:5050", env = "MESOS_MASTER")]
    master: String,
}

/// Of the pod's own process, and of each task.
const EXECUTOR: &str = "cpus:0.1;mem:32;disk:10";
const TASK: &str = "cpus:0.1;mem:32";

/// What runs in the pod. `shared` is one directory for both.
const TASKS: [(&str, &str); 2] = [
    ("writer", "sleep 1; echo one two three > shared/page.tmp; mv shared/page.tmp shared/page"),
    ("sidecar", "until [ -e shared/page ]; do sleep 0.1; done; test $(wc -w < shared/page) -eq 3"),
];

#[derive(Default)]
struct Pod {
    framework_id: Option<v1::FrameworkId>,
    /// By task, once it is launched.
    states: BTreeMap<String, TaskState>,
}

impl Pod {
    /// The pod on this offer, if it holds it.
    fn on(&self, offer: &v1::Offer) -> Option<v1::offer::Operation> {
        let mut left = Resources::from_protos(&offer.resources).ok()?;
        let mut cut = |text: &str| Some(carve(&mut left, &Resources::parse(text, "*").ok()?, 0, 0)?.resources);
        let executor = v1::ExecutorInfo {
            executor_id: v1::ExecutorId { value: "pod".into() },
            framework_id: self.framework_id.clone(), // a must in a group
            r#type: Some(executor_info::Type::Default as i32),
            resources: cut(EXECUTOR)?,
            ..Default::default()
        };
        let mut tasks = Vec::new();
        for (name, command) in TASKS {
            tasks.push(v1::TaskInfo {
                name: name.into(),
                task_id: v1::TaskId { value: name.into() },
                agent_id: offer.agent_id.clone(),
                resources: cut(TASK)?,
                command: Some(v1::CommandInfo { value: Some(command.into()), ..Default::default() }),
                container: Some(Box::new(with_shared_directory())),
                ..Default::default()
            });
        }
        Some(calls::launch_group(executor, tasks))
    }
}

/// `shared` in the task's sandbox is a directory of the pod's.
fn with_shared_directory() -> v1::ContainerInfo {
    let path = volume::source::SandboxPath {
        r#type: Some(volume::source::sandbox_path::Type::Parent as i32),
        path: "shared".into(),
    };
    let source = volume::Source {
        r#type: Some(volume::source::Type::SandboxPath as i32),
        sandbox_path: Some(path),
        ..Default::default()
    };
    let shared = v1::Volume {
        mode: volume::Mode::Rw as i32,
        container_path: "shared".into(),
        source: Some(source),
        ..Default::default()
    };
    v1::ContainerInfo { r#type: v1::container_info::Type::Mesos as i32, volumes: vec![shared], ..Default::default() }
}

impl Scheduler for Pod {
    fn subscribed(&mut self, _: &mut Context<'_>, subscribed: &Subscribed) {
        self.framework_id = Some(subscribed.framework_id.clone());
    }

    fn offered(&mut self, context: &mut Context<'_>, offers: Vec<v1::Offer>) {
        for offer in offers {
            match self.on(&offer).filter(|_| self.states.is_empty()) {
                Some(pod) => {
                    println!("the pod goes to {}", offer.hostname);
                    self.states.extend(TASKS.map(|(name, _)| (name.to_owned(), TaskState::TaskStaging)));
                    context.accept([offer.id], vec![pod], None);
                }
                None => context.decline([offer.id], refuse_for(std::time::Duration::from_secs(30))),
            }
        }
    }

    fn updated(&mut self, context: &mut Context<'_>, status: &v1::TaskStatus) {
        println!("{}: {} {}", status.task_id.value, status.state().as_str_name(), status.message());
        self.states.insert(status.task_id.value.clone(), status.state());
        let going = |state: &TaskState| {
            matches!(
                state,
                TaskState::TaskStaging | TaskState::TaskStarting | TaskState::TaskRunning | TaskState::TaskKilling
            )
        };
        if !self.states.values().any(going) {
            context.tear_down();
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    tracing_subscriber::fmt().with_env_filter("warn").with_writer(std::io::stderr).init();
    let mut info = supervisor::framework_info("pod");
    info.failover_timeout = Some(0.0); // nothing is kept: without this program the pod is of no use
    let run = SchedulerDriver::builder(info).master(&arguments.master).scheduler(Pod::default(), MemoryStore::new());
    let (pod, ended) = run.run().await?;
    let finished =
        pod.states.len() == TASKS.len() && pod.states.values().all(|state| *state == TaskState::TaskFinished);
    anyhow::ensure!(finished, "the pod did not finish ({ended:?}): {:?}", pod.states);
    Ok(())
}
