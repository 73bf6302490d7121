//! The policy: as many tasks on each offer as it holds, all in the one executor of that agent; what fails is asked for
//! again.

use std::collections::{BTreeMap, VecDeque};

use mezzo_sdk::{
    Context, Scheduler,
    offers::{carve, refuse_for},
    resources::Resources,
    scheduler::Subscribed,
    v1::{self, TaskState},
};

/// Of a task, and of an executor's own process.
const TASK: &str = "cpus:0.01;mem:1";
const EXECUTOR: &str = "cpus:0.1;mem:32";

pub(crate) struct Squares {
    command: String,
    framework_id: Option<v1::FrameworkId>,
    waiting: VecDeque<u64>,
    /// By task id.
    running: BTreeMap<String, u64>,
    results: BTreeMap<u64, u64>,
    last: u64,
    launches: u64,
}

impl Squares {
    pub(crate) fn new(last: u64, command: String) -> Self {
        Self {
            command,
            framework_id: None,
            waiting: (1..=last).collect(),
            running: BTreeMap::new(),
            results: BTreeMap::new(),
            last,
            launches: 0,
        }
    }

    /// Once every number is done.
    pub(crate) fn sum(&self) -> Option<u64> {
        let done = u64::try_from(self.results.len()) == Ok(self.last);
        done.then(|| self.results.values().sum())
    }

    fn executor(&self, resources: Vec<v1::Resource>) -> v1::ExecutorInfo {
        v1::ExecutorInfo {
            executor_id: v1::ExecutorId { value: "squares".into() },
            framework_id: self.framework_id.clone(),
            r#type: Some(v1::executor_info::Type::Custom as i32),
            command: Some(v1::CommandInfo {
                value: Some(self.command.clone()),
                shell: Some(true),
                ..Default::default()
            }),
            resources,
            ..Default::default()
        }
    }

    fn use_offer(&mut self, context: &mut Context<'_>, offer: v1::Offer) {
        let mut left = Resources::from_protos(&offer.resources).unwrap_or_default();
        let needs = |text: &str| Resources::parse(text, "*").unwrap_or_default();
        let executor = carve(&mut left, &needs(EXECUTOR), 0, 0).map(|carved| self.executor(carved.resources));
        let mut tasks = Vec::new();
        while let Some(executor) = &executor
            && let Some(number) = self.waiting.front().copied()
            && let Some(carved) = carve(&mut left, &needs(TASK), 0, 0)
        {
            self.waiting.pop_front();
            self.launches += 1;
            let id = format!("square-{number}-{}", self.launches);
            self.running.insert(id.clone(), number);
            tasks.push(v1::TaskInfo {
                name: format!("square of {number}"),
                task_id: v1::TaskId { value: id },
                agent_id: offer.agent_id.clone(),
                executor: Some(Box::new(executor.clone())),
                resources: carved.resources,
                data: Some(number.to_string().into()),
                ..Default::default()
            });
        }
        if tasks.is_empty() {
            context.decline([offer.id], refuse_for(std::time::Duration::from_secs(5)));
        } else {
            context.launch([offer.id], tasks, None);
        }
    }
}

impl Scheduler for Squares {
    fn subscribed(&mut self, _: &mut Context<'_>, subscribed: &Subscribed) {
        self.framework_id = Some(subscribed.framework_id.clone());
    }

    fn offered(&mut self, context: &mut Context<'_>, offers: Vec<v1::Offer>) {
        offers.into_iter().for_each(|offer| self.use_offer(context, offer));
    }

    fn updated(&mut self, context: &mut Context<'_>, status: &v1::TaskStatus) {
        let running = matches!(
            status.state(),
            TaskState::TaskStaging | TaskState::TaskStarting | TaskState::TaskRunning | TaskState::TaskKilling
        );
        if running {
            return;
        }
        let Some(number) = self.running.remove(&status.task_id.value) else { return };
        let result = status.data.as_ref().and_then(|data| String::from_utf8_lossy(data).parse().ok());
        match (status.state(), result) {
            (TaskState::TaskFinished, Some(result)) => {
                self.results.insert(number, result);
            }
            _ => {
                self.waiting.push_back(number); // lost or failed: once more
                context.revive();
            }
        }
        if self.sum().is_some() {
            context.tear_down();
        }
    }
}
