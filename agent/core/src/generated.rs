//! The executor that an agent makes up for a command task (src/slave/slave.cpp, getExecutorInfo).

use std::time::Duration;

use mezzo_api::{ids::FrameworkId, v1};

/// What a command executor takes from its shutdown grace period for itself (libprocess' reap interval and one
/// second more; src/launcher/executor.cpp, shutdown).
pub(crate) const SHUTDOWN_MARGIN: Duration = Duration::from_secs(2);

/// CPUs of a generated executor.
const CPUS: f64 = 0.1;
/// Memory of a generated executor in megabytes.
const MEM_MB: f64 = 32.0;
/// Longer commands are cut in the executor's name.
const NAME_LIMIT: usize = 15;
/// To this many bytes.
const NAME_CUT: usize = 12;

/// The executor of a command task.
#[allow(deprecated)] // `source` is what frameworks of old read
pub(crate) fn executor(framework: &FrameworkId, task: &v1::TaskInfo) -> v1::ExecutorInfo {
    let command = task.command.clone().unwrap_or_default();
    let role = task.resources.iter().find_map(|resource| resource.allocation_info.clone());
    let grace = task.kill_policy.as_ref().and_then(|policy| policy.grace_period.as_ref());
    let margin = i64::try_from(SHUTDOWN_MARGIN.as_nanos()).unwrap_or(i64::MAX);
    v1::ExecutorInfo {
        executor_id: v1::ExecutorId { value: task.task_id.value.clone() },
        framework_id: Some(framework.proto()),
        container: task.container.clone(),
        name: Some(format!("Command Executor (Task: {}) (Command: {})", task.task_id.value, describe(&command))),
        source: Some(task.task_id.value.clone()),
        labels: task.labels.clone(),
        discovery: task.discovery.clone(),
        shutdown_grace_period: grace
            .map(|grace| v1::DurationInfo { nanoseconds: grace.nanoseconds.saturating_add(margin) }),
        command: Some(v1::CommandInfo {
            shell: Some(false),
            value: Some("mesos-executor".into()),
            arguments: vec!["mesos-executor".into()],
            ..command
        }),
        resources: vec![scalar("cpus", CPUS, role.clone()), scalar("mem", MEM_MB, role)],
        ..Default::default()
    }
}

fn describe(command: &v1::CommandInfo) -> String {
    let shell = command.shell.unwrap_or(true);
    match &command.value {
        None if shell => "NO COMMAND".to_string(),
        None => "NO EXECUTABLE".to_string(),
        Some(value) if shell => format!("sh -c '{}'", cut(value.clone())),
        Some(value) => format!("[{}]", cut(format!("{value}, {}", command.arguments.join(", ")))),
    }
}

/// Mesos cuts bytes; a cut inside a character would be no text any more, so it is moved to the character's start.
fn cut(mut text: String) -> String {
    if text.len() > NAME_LIMIT {
        let end = (0..=NAME_CUT).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
        text.truncate(end);
        text.push_str("...");
    }
    text
}

fn scalar(name: &str, value: f64, allocation_info: Option<v1::resource::AllocationInfo>) -> v1::Resource {
    v1::Resource {
        name: name.to_string(),
        r#type: v1::value::Type::Scalar as i32,
        scalar: Some(v1::value::Scalar { value }),
        allocation_info,
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(command: v1::CommandInfo) -> String {
        let task =
            v1::TaskInfo { task_id: v1::TaskId { value: "t".into() }, command: Some(command), ..Default::default() };
        executor(&FrameworkId::from("f"), &task).name.unwrap()
    }

    #[test]
    fn is_named_as_mesos_names_it() {
        let shell = |value: &str| v1::CommandInfo { value: Some(value.into()), ..Default::default() };
        assert_eq!(named(shell("sleep 100")), "Command Executor (Task: t) (Command: sh -c 'sleep 100')");
        assert_eq!(named(shell("echo hi; sleep 5")), "Command Executor (Task: t) (Command: sh -c 'echo hi; sle...')");
        assert_eq!(named(v1::CommandInfo::default()), "Command Executor (Task: t) (Command: NO COMMAND)");
        let argv = v1::CommandInfo {
            shell: Some(false),
            value: Some("/bin/echo".into()),
            arguments: vec!["echo".into(), "hello".into()],
            ..Default::default()
        };
        assert_eq!(named(argv), "Command Executor (Task: t) (Command: [/bin/echo, e...])");
        let none = v1::CommandInfo { shell: Some(false), ..Default::default() };
        assert_eq!(named(none), "Command Executor (Task: t) (Command: NO EXECUTABLE)");
        assert_eq!(named(shell("äöüäöüäöü")), "Command Executor (Task: t) (Command: sh -c 'äöüäöü...')");
    }
}
