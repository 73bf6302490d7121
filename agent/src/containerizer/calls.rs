//! What those who serve calls want to know of containers and do to them.

use std::{ffi::OsStr, path::Path};

use mezzo_agent_core::container::Stop;
use mezzo_api::ids::ContainerId;
use mezzo_executor::{
    record::{Processes, Stage},
    sandbox::{self, SandboxError},
};
use rustix::process::Signal;

use super::actor::{Actor, Phase};

impl Actor {
    /// Those of a container that runs.
    pub(super) fn processes_of(&self, id: &ContainerId) -> Option<Processes> {
        if !matches!(self.containers.get(id)?.phase, Phase::Running(_)) {
            return None;
        }
        match self.record_of(id)?.stage {
            Stage::Started { processes, exited: None } => Some(processes),
            Stage::Preparing | Stage::Started { .. } | Stage::Failed { .. } => None,
        }
    }

    /// Sends a signal to its first process; one that has none yet is destroyed (src/slave/containerizer/mesos/
    /// containerizer.cpp, kill). `false`: there is no such container.
    pub(super) fn signal(&mut self, id: &ContainerId, signal: i32) -> Result<bool, String> {
        match self.containers.get(id).map(|container| &container.phase) {
            None | Some(Phase::Sweeping | Phase::Ended) => return Ok(false),
            Some(Phase::Running(_)) => {}
            Some(Phase::Preparing(_) | Phase::Queued(_) | Phase::Starting { .. }) => {
                self.stop(id, Stop::Kill);
                return Ok(true);
            }
        }
        let Some(processes) = self.processes_of(id) else { return Ok(false) };
        send(&processes, signal).map_err(|error| format!("Unable to send signal to container: {error}"))
    }
}

fn send(processes: &Processes, signal: i32) -> Result<bool, String> {
    let text = |error: rustix::io::Errno| {
        let text = std::io::Error::from(error).to_string();
        text.split(" (os error").next().unwrap_or_default().to_owned()
    };
    let signal = Signal::from_named_raw(signal).ok_or_else(|| text(rustix::io::Errno::INVAL))?;
    match processes.task.signal(signal) {
        Ok(()) => Ok(true),
        Err(error) => Err(text(error)),
    }
}

/// Makes a sandbox within `root`: `<root>/containers/<id>`, and so on downwards. No part below the root may be a link.
pub(super) fn make_sandbox(root: &Path, own: &Path, owner: Option<(u32, u32)>) -> Result<(), SandboxError> {
    let mut at = sandbox::create(root, None)?;
    let Ok(below) = own.strip_prefix(root) else { return Ok(()) };
    let mut names = below.iter().filter(|name| *name != OsStr::new("containers")).peekable();
    while let Some(name) = names.next() {
        let owner = owner.filter(|_| names.peek().is_none());
        at = at.create_within("containers", &name.to_string_lossy(), owner)?;
    }
    Ok(())
}
