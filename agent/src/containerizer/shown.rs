//! Volumes that come to a container that runs, with a later task of its executor, and go with the task.

use std::path::{Path, PathBuf};

use mezzo_agent_core::volumes::VolumeLink;
use mezzo_api::ids::ContainerId;
use mezzo_executor::{
    jail::late::{self, Late},
    process::Identity,
};

use super::actor::Actor;
use crate::volumes;

/// What is to be shown, or to be shown no more.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) container: ContainerId,
    /// On the host.
    pub(super) sandbox: PathBuf,
    pub(super) links: Vec<VolumeLink>,
    pub(super) present: bool,
}

/// Who waits for it.
pub(super) type Shown = std::sync::mpsc::SyncSender<Result<(), String>>;

impl Actor {
    /// By mounts where the container has its own, else by links. Answers when it is done.
    pub(super) fn show(&self, change: Change, done: Shown) {
        let Some(chain) = self.chain.clone().filter(|chain| chain.abilities().mounts) else {
            tokio::task::spawn_blocking(move || {
                let linked = volumes::link(&change.sandbox, &change.links, change.present);
                let _ = done.send(linked.map_err(|error| error.to_string()));
            });
            return;
        };
        let Some(processes) = self.processes_of(&change.container) else { return }; // its mounts went with it
        let has_root = self.containers.get(&change.container).is_some_and(|container| container.kept.has_root);
        let seen = if has_root { chain.sandbox_directory().to_path_buf() } else { change.sandbox.clone() };
        tokio::task::spawn_blocking(move || {
            let _ = done.send(mount(processes.task, &seen, &change));
        });
    }
}

fn mount(process: Identity, seen: &Path, change: &Change) -> Result<(), String> {
    if change.present {
        let given = change.links.iter().try_for_each(|link| volumes::give(&change.sandbox, link));
        given.map_err(|error| error.to_string())?;
    }
    let late = |link: &VolumeLink| Late {
        source: link.source.clone(),
        target: link.container_path.clone().into(),
        read_only: link.read_only,
    };
    late::change(process, seen, change.links.iter().map(late).collect(), change.present)
}
