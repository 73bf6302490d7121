//! The reference model: a task's life as its framework sees it, beside the real thing.
//!
//! For each task that a framework launched the model knows which statuses may follow. It is written from Mesos'
//! description (docs/scheduler-http-api.md, docs/task-state-reasons.md, docs/reconciliation.md,
//! docs/high-availability-framework-guide.md of apache/mesos), not from our code.
//!
//! 1. A status that an agent or executor made has a uuid; one that the master made has none.
//! 2. Statuses with a uuid come in the order in which the agent recorded them, none is left out, and none comes again
//!    once a later one of its task has come.
//! 3. What an agent or executor called over is over: no later status says that the task is alive.
//! 4. States that a framework did not say it understands are not sent to it.
//! 5. A status speaks of a task that its framework launched, or asked about.

use std::collections::BTreeMap;

use foldhash::{HashMap, HashMapExt};
use mezzo_api::v1::{
    TaskState, TaskStatus,
    scheduler::{call, event},
    task_status::{Reason, Source},
};

use super::{Books, Invariant};
use crate::{
    fact::{self, End, Fact},
    record::uuid,
    world::World,
};

#[derive(Debug, Default)]
struct Task {
    /// Its framework launched it, or asked about it.
    mentioned: bool,
    /// Uuids in the order in which the agent recorded them.
    recorded: Vec<[u8; 16]>,
    /// The place in `recorded` of the last one that came.
    came: Option<usize>,
    /// The terminal state that an agent or executor reported.
    over: Option<TaskState>,
    /// A power cut may have taken records with it.
    torn: bool,
    /// Its framework was ended on its agent while something was not acknowledged.
    voided: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Lifecycle {
    /// By framework.
    tasks: BTreeMap<String, HashMap<String, Task>>,
}

impl Invariant for Lifecycle {
    fn name(&self) -> &'static str {
        "lifecycle"
    }

    #[inline]
    fn see(&mut self, fact: &Fact, books: &Books, _world: &World) -> Result<(), String> {
        match fact {
            Fact::Sent(_, call) => {
                let framework = call.framework_id.as_ref().map_or("", |id| id.value.as_str());
                let launched = fact::launched(call).map(|task| &task.task_id.value);
                let asked =
                    call.reconcile.iter().flat_map(|reconcile| &reconcile.tasks).map(|task| &task.task_id.value);
                let killed = call.kill.iter().map(|kill| &kill.task_id.value);
                if matches!(call.r#type(), call::Type::Accept | call::Type::Reconcile | call::Type::Kill) {
                    let tasks = self.of(framework);
                    launched.chain(asked).chain(killed).for_each(|id| task(tasks, id).mentioned = true);
                }
                Ok(())
            }
            Fact::Recorded(_, record, _) => {
                if let Some(ended) = &record.says.framework_shutdown {
                    // What was not acknowledged is void, and so is the promise about it.
                    let own = self.of(&ended.value).values_mut();
                    own.for_each(|task| (task.torn, task.voided) = (true, true));
                }
                if let Some(update) = &record.says.update {
                    let uuid = uuid(update.status.uuid.as_deref().unwrap_or_default());
                    let tasks = self.of(&update.framework_id.value);
                    task(tasks, &update.status.task_id.value).recorded.push(uuid);
                }
                Ok(())
            }
            Fact::AgentEnded { how: End::PowerCut, lost, .. } if *lost > 0 => {
                self.tasks.values_mut().flat_map(HashMap::values_mut).for_each(|task| task.torn = true);
                Ok(())
            }
            Fact::Delivered { id: framework, event, of_leader, .. } if event.r#type() == event::Type::Update => {
                let (Some(framework), Some(update)) = (framework, &event.update) else { return Ok(()) };
                self.updated(framework, &update.status, *of_leader, books)
            }
            _ => Ok(()),
        }
    }
}

impl Lifecycle {
    fn updated(&mut self, framework: &str, status: &TaskStatus, of_leader: bool, books: &Books) -> Result<(), String> {
        self.fits(framework, status, of_leader, books).map_err(|why| format!("{}: {why}", fact::status(status)))
    }

    fn of(&mut self, framework: &str) -> &mut HashMap<String, Task> {
        if !self.tasks.contains_key(framework) {
            self.tasks.insert(framework.to_owned(), HashMap::new());
        }
        self.tasks.get_mut(framework).expect("it was put there")
    }

    fn fits(&mut self, framework: &str, status: &TaskStatus, of_leader: bool, books: &Books) -> Result<(), String> {
        let by_master = status.source() == Source::Master;
        if by_master == status.uuid.is_some() {
            return Err("a uuid is for what agents and executors say, and for all of that".to_owned());
        }
        understood(framework, status, books)?;
        let task = task(self.of(framework), &status.task_id.value);
        if !task.mentioned {
            return Err("the framework never spoke of this task".to_owned());
        }
        // A hostile client uses ids again: each use is another life.
        if status.task_id.value.starts_with('h') {
            return Ok(());
        }
        if let Some(bytes) = &status.uuid {
            task.in_order(&uuid(bytes))?;
        }
        if let Some(over) = task.over {
            let alive = matches!(
                status.state(),
                TaskState::TaskStaging | TaskState::TaskStarting | TaskState::TaskRunning | TaskState::TaskKilling
            );
            // A master that leads no more and does not know it tells what it knew.
            let other = status.uuid.is_some() && status.state() != over && !task.voided;
            if alive && of_leader || other {
                return Err(format!("the task was reported {} before", over.as_str_name()));
            }
        }
        if status.uuid.is_some() && mezzo_agent_core::is_terminal(status.state()) {
            task.over = Some(status.state());
        }
        Ok(())
    }
}

fn task<'a>(tasks: &'a mut HashMap<String, Task>, id: &str) -> &'a mut Task {
    if !tasks.contains_key(id) {
        tasks.insert(id.to_owned(), Task::default());
    }
    tasks.get_mut(id).expect("it was put there")
}

impl Task {
    fn in_order(&mut self, uuid: &[u8; 16]) -> Result<(), String> {
        if self.torn {
            return Ok(());
        }
        let place = self.recorded.iter().position(|recorded| recorded == uuid);
        let place = place.ok_or_else(|| "no agent has recorded it".to_owned())?;
        let next = self.came.map_or(0, |came| came + 1);
        match place.cmp(&next) {
            std::cmp::Ordering::Greater => Err(format!("it comes before {}", fact::uuid(&self.recorded[next]))),
            std::cmp::Ordering::Equal => {
                self.came = Some(place);
                Ok(())
            }
            std::cmp::Ordering::Less if Some(place) == self.came => Ok(()), // again, since it is not acknowledged
            std::cmp::Ordering::Less => Err("a later one of its task has come before".to_owned()),
        }
    }
}

/// Whether the framework has said that it understands this state (docs/high-availability-framework-guide.md).
fn understood(framework: &str, status: &TaskStatus, books: &Books) -> Result<(), &'static str> {
    let aware = books.partition_aware.contains(framework);
    match status.state() {
        TaskState::TaskUnreachable
        | TaskState::TaskDropped
        | TaskState::TaskGone
        | TaskState::TaskGoneByOperator
        | TaskState::TaskUnknown
            if !aware =>
        {
            Err("for frameworks that are PARTITION_AWARE")
        }
        TaskState::TaskLost if aware && status.reason() != Reason::AgentRemoved => {
            Err("for frameworks that are not PARTITION_AWARE")
        }
        TaskState::TaskKilling if !books.killing_state.contains(framework) => {
            Err("for frameworks with TASK_KILLING_STATE")
        }
        TaskState::TaskStaging if !matches!(status.reason(), Reason::Reconciliation | Reason::AgentReregistered) => {
            Err("said only of tasks that the master has, when it is asked or they come back")
        }
        _ => Ok(()),
    }
}
