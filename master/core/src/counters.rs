//! Plain numbers behind Mesos' metric names (src/master/metrics.cpp).

use std::collections::BTreeMap;

use mezzo_api::v1::{
    TaskState,
    task_status::{Reason, Source},
};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident => $text:literal,)*) => {
        /// A counter or gauge of a fixed name.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Counter {
            $(#[doc = concat!("`", $text, "`")] $name,)*
        }

        const NAMES: &[&str] = &[$($text,)*];
    };
}

counters! {
    MessagesRegisterFramework => "master/messages_register_framework",
    MessagesReregisterFramework => "master/messages_reregister_framework",
    MessagesUnregisterFramework => "master/messages_unregister_framework",
    MessagesDeactivateFramework => "master/messages_deactivate_framework",
    MessagesKillTask => "master/messages_kill_task",
    MessagesStatusUpdateAcknowledgement => "master/messages_status_update_acknowledgement",
    MessagesOperationStatusUpdateAcknowledgement => "master/messages_operation_status_update_acknowledgement",
    MessagesResourceRequest => "master/messages_resource_request",
    MessagesLaunchTasks => "master/messages_launch_tasks",
    MessagesDeclineOffers => "master/messages_decline_offers",
    MessagesReviveOffers => "master/messages_revive_offers",
    MessagesSuppressOffers => "master/messages_suppress_offers",
    MessagesReconcileOperations => "master/messages_reconcile_operations",
    MessagesReconcileTasks => "master/messages_reconcile_tasks",
    MessagesFrameworkToExecutor => "master/messages_framework_to_executor",
    MessagesExecutorToFramework => "master/messages_executor_to_framework",
    MessagesRegisterSlave => "master/messages_register_slave",
    MessagesReregisterSlave => "master/messages_reregister_slave",
    MessagesUnregisterSlave => "master/messages_unregister_slave",
    MessagesStatusUpdate => "master/messages_status_update",
    MessagesOperationStatusUpdate => "master/messages_operation_status_update",
    MessagesExitedExecutor => "master/messages_exited_executor",
    MessagesUpdateSlave => "master/messages_update_slave",
    MessagesAuthenticate => "master/messages_authenticate",
    DroppedMessages => "master/dropped_messages",
    ValidFrameworkToExecutorMessages => "master/valid_framework_to_executor_messages",
    InvalidFrameworkToExecutorMessages => "master/invalid_framework_to_executor_messages",
    ValidExecutorToFrameworkMessages => "master/valid_executor_to_framework_messages",
    InvalidExecutorToFrameworkMessages => "master/invalid_executor_to_framework_messages",
    ValidStatusUpdates => "master/valid_status_updates",
    InvalidStatusUpdates => "master/invalid_status_updates",
    ValidStatusUpdateAcknowledgements => "master/valid_status_update_acknowledgements",
    InvalidStatusUpdateAcknowledgements => "master/invalid_status_update_acknowledgements",
    ValidOperationStatusUpdates => "master/valid_operation_status_updates",
    InvalidOperationStatusUpdates => "master/invalid_operation_status_updates",
    ValidOperationStatusUpdateAcknowledgements => "master/valid_operation_status_update_acknowledgements",
    InvalidOperationStatusUpdateAcknowledgements => "master/invalid_operation_status_update_acknowledgements",
    SlaveRegistrations => "master/slave_registrations",
    SlaveReregistrations => "master/slave_reregistrations",
    SlaveRemovals => "master/slave_removals",
    SlaveRemovalsUnhealthy => "master/slave_removals/reason_unhealthy",
    SlaveRemovalsUnregistered => "master/slave_removals/reason_unregistered",
    SlaveRemovalsRegistered => "master/slave_removals/reason_registered",
    RecoverySlaveRemovals => "master/recovery_slave_removals",
    SlaveShutdownsScheduled => "master/slave_shutdowns_scheduled",
    SlaveShutdownsCompleted => "master/slave_shutdowns_completed",
    SlaveShutdownsCanceled => "master/slave_shutdowns_canceled",
    SlaveRemovalsMarkedGone => "master/slave_removals/reason_marked_gone",
    SlavesAddressUnreachable => "master/slaves_address_unreachable",
    SlaveUnreachableScheduled => "master/slave_unreachable_scheduled",
    SlaveUnreachableCompleted => "master/slave_unreachable_completed",
    SlaveUnreachableCanceled => "master/slave_unreachable_canceled",
    TasksFinished => "master/tasks_finished",
    TasksFailed => "master/tasks_failed",
    TasksKilled => "master/tasks_killed",
    TasksLost => "master/tasks_lost",
    TasksError => "master/tasks_error",
    TasksDropped => "master/tasks_dropped",
    TasksGone => "master/tasks_gone",
    TasksGoneByOperator => "master/tasks_gone_by_operator",
    TasksStaging => "master/tasks_staging",
    TasksStarting => "master/tasks_starting",
    TasksRunning => "master/tasks_running",
    TasksKilling => "master/tasks_killing",
    TasksUnreachable => "master/tasks_unreachable",
    OutstandingOffers => "master/outstanding_offers",
    AllocationRuns => "allocator/mesos/allocation_runs",
}

/// The numbers. Gauges are the ones that go down again: `tasks_<state>` of tasks that have not ended, and
/// `outstanding_offers`.
#[derive(Clone, Debug)]
pub struct Counters {
    fixed: Vec<i64>,
    // master/task_<state>/source_<source>/reason_<reason>: made on demand.
    reasons: BTreeMap<(TaskState, Source, Reason), (String, i64)>,
}

impl Default for Counters {
    fn default() -> Self {
        Self { fixed: vec![0; NAMES.len()], reasons: BTreeMap::new() }
    }
}

impl Counters {
    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, i64)> {
        let fixed = NAMES.iter().copied().zip(self.fixed.iter().copied());
        fixed.chain(self.reasons.values().map(|(name, value)| (name.as_str(), *value)))
    }

    /// The value of one.
    pub fn get(&self, counter: Counter) -> i64 {
        self.fixed[counter as usize]
    }

    pub(crate) fn increment(&mut self, counter: Counter) {
        self.fixed[counter as usize] += 1;
    }

    pub(crate) fn add(&mut self, counter: Counter, difference: i64) {
        self.fixed[counter as usize] += difference;
    }

    pub(crate) fn set(&mut self, counter: Counter, value: usize) {
        self.fixed[counter as usize] = i64::try_from(value).unwrap_or(i64::MAX);
    }

    /// A task came to an end, or was lost before it began.
    pub(crate) fn task_ended(&mut self, state: TaskState, source: Source, reason: Option<Reason>) {
        if let Some(counter) = terminal_counter(state) {
            self.increment(counter);
        }
        if let Some(reason) = reason {
            let entry =
                self.reasons.entry((state, source, reason)).or_insert_with(|| (reason_name(state, source, reason), 0));
            entry.1 += 1;
        }
    }

    /// A task that has not ended changed its state (`None`: it was not there before, or is there no more).
    pub(crate) fn task_moved(&mut self, from: Option<TaskState>, to: Option<TaskState>) {
        if let Some(counter) = from.and_then(active_gauge) {
            self.fixed[counter as usize] -= 1;
        }
        if let Some(counter) = to.and_then(active_gauge) {
            self.increment(counter);
        }
    }
}

fn terminal_counter(state: TaskState) -> Option<Counter> {
    match state {
        TaskState::TaskFinished => Some(Counter::TasksFinished),
        TaskState::TaskFailed => Some(Counter::TasksFailed),
        TaskState::TaskKilled => Some(Counter::TasksKilled),
        TaskState::TaskLost => Some(Counter::TasksLost),
        TaskState::TaskError => Some(Counter::TasksError),
        TaskState::TaskDropped => Some(Counter::TasksDropped),
        TaskState::TaskGone => Some(Counter::TasksGone),
        TaskState::TaskGoneByOperator => Some(Counter::TasksGoneByOperator),
        TaskState::TaskStaging
        | TaskState::TaskStarting
        | TaskState::TaskRunning
        | TaskState::TaskKilling
        | TaskState::TaskUnreachable
        | TaskState::TaskUnknown => None,
    }
}

fn active_gauge(state: TaskState) -> Option<Counter> {
    match state {
        TaskState::TaskStaging => Some(Counter::TasksStaging),
        TaskState::TaskStarting => Some(Counter::TasksStarting),
        TaskState::TaskRunning => Some(Counter::TasksRunning),
        TaskState::TaskKilling => Some(Counter::TasksKilling),
        _ => None,
    }
}

/// The v0 names are kept: slave, not agent (src/master/metrics.cpp, incrementTasksStates).
fn reason_name(state: TaskState, source: Source, reason: Reason) -> String {
    let state = state.as_str_name().to_ascii_lowercase();
    let source = source.as_str_name().to_ascii_lowercase().replace("agent", "slave");
    let reason = reason.as_str_name().to_ascii_lowercase().replace("agent", "slave");
    format!("master/{state}/{source}/{reason}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_mesos() {
        let mut counters = Counters::default();
        counters.task_ended(TaskState::TaskLost, Source::Master, Some(Reason::AgentRemoved));
        counters.task_moved(None, Some(TaskState::TaskRunning));
        let all: BTreeMap<_, _> = counters.iter().collect();
        assert_eq!(all["master/task_lost/source_master/reason_slave_removed"], 1);
        assert_eq!(all["master/tasks_lost"], 1);
        assert_eq!(all["master/tasks_running"], 1);
        assert_eq!(all["master/messages_launch_tasks"], 0);
    }
}
