//! The programs that this file also is.

use std::{ffi::OsString, path::Path, process::ExitCode};

use crate::operate::args::AGENT_VERBS;
use nix::{
    sys::{prctl, signal::Signal},
    unistd::getppid,
};

/// Set by `mezzo local` for its children: the process that they must not outlive.
pub(crate) const PARENT: &str = "MEZZO_LOCAL_PARENT";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Program {
    Master,
    Agent,
    Executor,
}

/// Runs the program that the first arguments name, if they name one: by the file's name (`mezzo-master`), or as the
/// first word (`mezzo master`).
pub(crate) fn dispatch(arguments: &[OsString]) -> Option<ExitCode> {
    let (program, skip) = program(arguments)?;
    let rest = arguments.iter().skip(skip).cloned();
    Some(match program {
        Program::Master => {
            name_process(c"mezzo-master");
            end_with_parent(Signal::SIGTERM);
            mezzo_master::main(std::iter::once("mezzo-master".into()).chain(rest))
        }
        Program::Agent => {
            name_process(c"mezzo-agent");
            // ends its executors, too
            end_with_parent(Signal::SIGUSR1);
            mezzo_agent::main(std::iter::once("mezzo-agent".into()).chain(rest))
        }
        Program::Executor => mezzo_executor::main(rest),
    })
}

/// The program, and how many arguments named it.
fn program(arguments: &[OsString]) -> Option<(Program, usize)> {
    let called = Path::new(arguments.first()?).file_name()?.to_str()?;
    match called {
        "mezzo-master" | "mesos-master" => return Some((Program::Master, 1)),
        "mezzo-agent" | "mesos-agent" | "mesos-slave" => return Some((Program::Agent, 1)),
        "mezzo-executor" => return Some((Program::Executor, 1)),
        _ => {}
    }
    match arguments.get(1)?.to_str()? {
        "master" => Some((Program::Master, 2)),
        // `mezzo agent list` is a verb, `mezzo agent --master=…` an agent
        "agent" if is_verb(arguments.get(2)) => None,
        "agent" => Some((Program::Agent, 2)),
        "executor" => Some((Program::Executor, 2)),
        _ => None,
    }
}

fn is_verb(word: Option<&OsString>) -> bool {
    word.and_then(|word| word.to_str()).is_some_and(|word| AGENT_VERBS.contains(&word))
}

/// What `ps` and `top` call it.
fn name_process(name: &std::ffi::CStr) {
    let _ = prctl::set_name(name); // only for people
}

/// A child of `mezzo local` gets this signal when that dies, however it dies.
fn end_with_parent(signal: Signal) {
    let Ok(parent) = std::env::var(PARENT) else { return };
    let set = prctl::set_pdeathsig(signal);
    if set.is_err() || parent != getppid().to_string() {
        std::process::exit(1); // it is gone already
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(arguments: &[&str]) -> Option<(Program, usize)> {
        program(&arguments.iter().map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn answers_to_every_name() {
        for (name, expected) in [
            ("/usr/sbin/mesos-master", Program::Master),
            ("mezzo-master", Program::Master),
            ("mezzo-agent", Program::Agent),
            ("./mesos-agent", Program::Agent),
            ("mesos-slave", Program::Agent),
            ("mezzo-executor", Program::Executor),
        ] {
            assert_eq!(named(&[name, "--help"]), Some((expected, 1)), "{name}");
        }
        assert_eq!(named(&["mezzo", "master", "--port=1"]), Some((Program::Master, 2)));
        assert_eq!(named(&["mezzo", "agent"]), Some((Program::Agent, 2)));
        assert_eq!(named(&["mezzo", "executor"]), Some((Program::Executor, 2)));
        for arguments in
            [&["mezzo"][..], &["mezzo", "run", "master"], &["mezzo", "--help"], &["mezzo", "agent", "list"], &[]]
        {
            assert_eq!(named(arguments), None);
        }
    }
}
