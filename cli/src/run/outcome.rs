//! The exit code that a task's last status means.

use mezzo_api::signals;
use mezzo_sdk::v1::{TaskState, TaskStatus};

/// A task that was lost, refused, or failed without an exit status.
const FAILED: u8 = 1;

/// The exit code for the end of a task; `None` while it goes on.
pub(super) fn exit_code(status: &TaskStatus) -> Option<u8> {
    match status.state() {
        TaskState::TaskFinished => Some(0),
        TaskState::TaskFailed | TaskState::TaskKilled => Some(of_message(status.message())),
        TaskState::TaskError
        | TaskState::TaskLost
        | TaskState::TaskDropped
        | TaskState::TaskGone
        | TaskState::TaskGoneByOperator
        | TaskState::TaskUnknown => Some(FAILED),
        TaskState::TaskStaging
        | TaskState::TaskStarting
        | TaskState::TaskRunning
        | TaskState::TaskKilling
        | TaskState::TaskUnreachable => None,
    }
}

/// Reads `Command exited with status N` and `Command terminated with signal NAME` (src/launcher/executor.cpp).
fn of_message(message: &str) -> u8 {
    if let Some(rest) = message.strip_prefix("Command exited with status ") {
        let digits = rest.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
        return digits.parse().ok().filter(|status| *status != 0).unwrap_or(FAILED);
    }
    if let Some(rest) = message.strip_prefix("Command terminated with signal ") {
        let longest = signals::NAMES
            .iter()
            .enumerate()
            .filter(|(_, name)| rest.starts_with(**name))
            .max_by_key(|(_, name)| name.len());
        return longest.and_then(|(at, _)| u8::try_from(128 + 1 + at).ok()).unwrap_or(FAILED);
    }
    FAILED
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(state: TaskState, message: &str) -> Option<u8> {
        exit_code(&TaskStatus { state: state as i32, message: Some(message.to_owned()), ..Default::default() })
    }

    #[test]
    fn the_tasks_own_code_is_ours() {
        assert_eq!(code(TaskState::TaskFinished, "Command exited with status 0"), Some(0));
        assert_eq!(code(TaskState::TaskFailed, "Command exited with status 3"), Some(3));
        assert_eq!(code(TaskState::TaskFailed, "Command exited with status 255"), Some(255));
        assert_eq!(code(TaskState::TaskFailed, "Command exited with status 127; more"), Some(127));
    }

    #[test]
    fn signals_are_128_and_their_number() {
        for (text, number) in
            [("Killed", 9), ("Terminated", 15), ("Segmentation fault (core dumped)", 11), ("Stopped (tty input)", 21)]
        {
            let message = format!("Command terminated with signal {text}");
            assert_eq!(code(TaskState::TaskFailed, &message), Some(128 + number), "{text}");
            assert_eq!(code(TaskState::TaskKilled, &message), Some(128 + number), "{text}");
        }
    }

    #[test]
    fn what_has_no_code_is_1_and_what_goes_on_is_none() {
        assert_eq!(code(TaskState::TaskFailed, "Executor terminated"), Some(1));
        assert_eq!(code(TaskState::TaskFailed, "Command exited with status 0"), Some(1));
        assert_eq!(code(TaskState::TaskFailed, "Command exited with status 256"), Some(1));
        assert_eq!(code(TaskState::TaskFailed, "Command terminated with signal Real-time signal 3"), Some(1));
        assert_eq!(code(TaskState::TaskLost, ""), Some(1));
        assert_eq!(code(TaskState::TaskError, "no"), Some(1));
        assert_eq!(code(TaskState::TaskRunning, ""), None);
        assert_eq!(code(TaskState::TaskUnreachable, ""), None);
    }
}
