//! What becomes of tasks.

use std::time::Duration;

use mezzo_api::v1::{self, TaskState, task_status::Reason};
use rand::rngs::SmallRng;
use tracing::{info, warn};

use super::{
    MAX_OUTCOMES, Supervisor,
    group::{Lifetime, Retry},
    is_over,
    leaving::Why,
    slot::{Outcome, Slot, Task},
};
use crate::{backoff, scheduler::Context};

/// How a task's end is to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Finished,
    /// By its own fault.
    Failed,
    /// It cannot run as it is described.
    Invalid,
    /// By the cluster's fault, or somebody's will: it is started again, elsewhere, and it does not count.
    Lost,
}

fn end(status: &v1::TaskStatus) -> Option<End> {
    use TaskState::*;
    Some(match status.state() {
        TaskFailed if by_the_cluster(status.reason()) => End::Lost,
        TaskFinished => End::Finished,
        TaskFailed => End::Failed,
        TaskError => End::Invalid,
        TaskKilled | TaskLost | TaskDropped | TaskGone | TaskGoneByOperator | TaskUnknown => End::Lost,
        TaskStaging | TaskStarting | TaskRunning | TaskKilling | TaskUnreachable => return None,
    })
}

/// Whether a failure for this reason says nothing of the task itself. After a power cut an agent reports its tasks as failed
/// because their executor is gone; what a command does itself has other reasons (src/slave/slave.cpp,
/// sendExecutorTerminatedStatusUpdate).
fn by_the_cluster(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::AgentRestarted
            | Reason::AgentRemoved
            | Reason::AgentDraining
            | Reason::ContainerPreempted
            | Reason::ExecutorReregistrationTimeout
            | Reason::ExecutorTerminated
    )
}

impl Supervisor {
    pub(super) fn update(&mut self, context: &mut Context<'_>, status: &v1::TaskStatus) {
        let id = status.task_id.value.as_str();
        if let Some((group, number)) = self.index.get(id).cloned() {
            return match end(status) {
                Some(end) => self.ended(context, &group, number, status, end),
                None => self.lives(context, &group, number, status),
            };
        }
        if !self.leaving.contains_key(id) {
            if !is_over(status.state()) {
                self.kill_unknown(context, status);
            }
            return;
        }
        if is_over(status.state()) {
            info!(task = id, state = status.state().as_str_name(), "gone");
            self.leaving.remove(id);
        } else {
            self.leaves(context, status);
        }
    }

    /// A task that is to leave is still there.
    fn leaves(&mut self, context: &mut Context<'_>, status: &v1::TaskStatus) {
        let id = status.task_id.value.as_str();
        let Some(leaving) = self.leaving.get_mut(id) else { return };
        if leaving.why == Why::Unreachable && mezzo_api::mutant!("returned-task-kept") {
            return;
        }
        if status.state() == TaskState::TaskUnreachable {
            leaving.kill_at = None;
            return;
        }
        if leaving.why == Why::Unreachable
            && let (Some(group), Some((task, number))) = (leaving.group.clone(), leaving.task.take())
        {
            return self.came_back(context, &group, number, task, status);
        }
        if leaving.kill_at.is_none() {
            self.kill(context, id); // its agent is back
        }
    }

    /// A task whose place was given away is back: it takes the place if that is still free, or goes.
    fn came_back(
        &mut self,
        context: &mut Context<'_>,
        group: &str,
        number: u32,
        mut task: Task,
        status: &v1::TaskStatus,
    ) {
        let id = task.id.clone();
        if let Some(slot) = self.slot(group, number)
            && slot.current.is_none()
            && slot.done.is_none()
        {
            task.unreachable_since = None;
            slot.current = Some(task);
            self.leaving.remove(&id);
            self.index.insert(id.clone(), (group.to_owned(), number));
            info!(group, slot = number, task = id, "came back before another was started: it stays");
            self.store_slot(context, group, number);
            self.lives(context, group, number, status);
        } else {
            info!(group, slot = number, task = id, "came back, but another has its place: killing");
            self.kill(context, &id);
        }
    }

    fn lives(&mut self, context: &mut Context<'_>, group: &str, number: u32, status: &v1::TaskStatus) {
        let now = context.now().mono;
        let id = status.task_id.value.as_str();
        let Some(task) = self.slot(group, number).and_then(|slot| slot.task_mut(id)) else { return };
        let (before, was_healthy) = (task.state, task.healthy);
        if status.state() == TaskState::TaskUnreachable {
            if task.unreachable_since.is_none() {
                task.unreachable_since = Some(now);
                task.state = TaskState::TaskUnreachable;
                warn!(group, slot = number, task = id, host = task.place.hostname, "unreachable");
            }
            return;
        }
        if task.unreachable_since.take().is_some() {
            info!(group, slot = number, task = id, host = task.place.hostname, "reachable again");
        }
        task.state = status.state();
        task.healthy = status.healthy.or(task.healthy);
        if task.state == TaskState::TaskRunning {
            task.running_since.get_or_insert(now);
            if before != TaskState::TaskRunning {
                info!(group, slot = number, task = id, host = task.place.hostname, ports = ?task.ports, "running");
            }
        }
        if task.healthy != was_healthy {
            match task.healthy {
                Some(true) => info!(group, slot = number, task = id, "healthy"),
                _ => warn!(group, slot = number, task = id, reason = status.message(), "not healthy"),
            }
        }
    }

    fn ended(&mut self, context: &mut Context<'_>, group: &str, number: u32, status: &v1::TaskStatus, end: End) {
        let now = context.now().mono;
        let id = status.task_id.value.as_str();
        self.index.remove(id);
        let Some(state) = self.groups.get_mut(group) else { return };
        let (lifetime, retry) = (state.group.lifetime, state.group.retry);
        let Some(slot) = state.slots.get_mut(&number) else { return };
        let Some(task) = slot.take(id) else { return };
        if let Lifetime::Job { attempts } = lifetime {
            slot.attempts += u32::from(end != End::Lost);
            let over = match end {
                End::Finished | End::Invalid => true,
                End::Failed => slot.attempts >= attempts,
                End::Lost => false,
            };
            if over {
                let outcome = outcome(group, number, slot, &task, status, end);
                info!(group, slot = number, task = id, state = outcome.state, attempts = outcome.attempts, "done");
                slot.done = Some(outcome.clone());
                self.outcomes.push_back(outcome);
                if self.outcomes.len() > MAX_OUTCOMES {
                    self.outcomes.pop_front();
                }
                return self.store_slot(context, group, number);
            }
        }
        let wait = wait(&retry, slot, &task, end, now, &mut self.rng);
        slot.launch_at = now + wait;
        slot.avoid = (end != End::Finished).then(|| (task.place.agent_id.clone(), now + wait + self.config.avoid));
        warn!(
            group,
            slot = number,
            task = id,
            host = task.place.hostname,
            state = status.state().as_str_name(),
            reason = status.message(),
            ?wait,
            "ended: starting it again"
        );
        self.store_slot(context, group, number);
    }

    /// Gives the places of tasks that cannot be reached to others.
    pub(super) fn give_up_unreachable(&mut self, now: Duration) {
        let mut given_up = Vec::new();
        for (name, state) in &mut self.groups {
            let grace = state.group.unreachable_grace;
            for (number, slot) in &mut state.slots {
                let over = |task: &mut Task| task.unreachable_since.is_some_and(|since| since + grace <= now);
                let taken = [slot.current.take_if(over), slot.next.take_if(over)];
                for task in taken.into_iter().flatten() {
                    slot.launch_at = now;
                    info!(group = name, slot = number, task = task.id, "given up: another is started elsewhere");
                    given_up.push((name.clone(), *number, task));
                }
            }
        }
        for (name, number, task) in given_up {
            self.give_up(&name, number, task);
        }
    }
}

/// No longer a wait for what was lost before it ran: that is nobody's fault, but may go in circles.
const LOST_MAX: Duration = Duration::from_secs(10);

/// How long to wait until another is started; counts the setback.
fn wait(retry: &Retry, slot: &mut Slot, task: &Task, end: End, now: Duration, rng: &mut SmallRng) -> Duration {
    let ran = task.running_since.map(|since| now.saturating_sub(since));
    if ran.is_some_and(|time| time >= retry.stable_after) {
        slot.setbacks = 0; // it had proved itself
    }
    if end == End::Lost && ran.is_some() {
        return Duration::ZERO;
    }
    slot.setbacks = slot.setbacks.saturating_add(1);
    let growing = backoff::after(retry.policy(), slot.setbacks - 1, rng);
    match end {
        End::Lost if slot.setbacks == 1 => Duration::ZERO,
        End::Lost => growing.min(LOST_MAX),
        End::Invalid => retry.max,
        End::Finished | End::Failed => growing,
    }
}

fn outcome(group: &str, number: u32, slot: &Slot, task: &Task, status: &v1::TaskStatus, end: End) -> Outcome {
    Outcome {
        group: group.to_owned(),
        slot: number,
        task_id: task.id.clone(),
        succeeded: end == End::Finished,
        state: status.state().as_str_name().to_owned(),
        message: status.message().to_owned(),
        attempts: slot.attempts,
        hostname: task.place.hostname.clone(),
    }
}
