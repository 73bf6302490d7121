//! What isolators do with containers that run: limits that change, disks and ports that are looked at.

use std::path::{Path, PathBuf};

use mezzo_agent_core::{
    container::{ContainerEvent, Launch, Stop},
    isolation::{Allotment, Limitation},
};
use mezzo_api::{
    ids::ContainerId,
    v1::{self, task_status::Reason},
};
use mezzo_executor::{jail::cgroup, record};

use super::actor::{Actor, Phase, Request};
use crate::{failpoint, isolation::Standing};

/// What isolators know of a container.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// Its first process.
    pub(super) pid: i32,
    pub(super) sandbox: PathBuf,
    volumes: Vec<PathBuf>,
    allotment: Allotment,
    /// It was made of an image.
    pub(super) has_root: bool,
    /// It is being ended for this.
    limitation: Option<Limitation>,
    /// That is written down.
    pub(super) was_limited: bool,
}

impl Kept {
    /// Takes note of what is launched.
    pub(super) fn of(&mut self, launch: &Launch) {
        self.sandbox.clone_from(&launch.sandbox);
        self.volumes = launch.volumes.iter().map(|link| link.source.clone()).collect();
        self.allotment = launch.isolation.as_ref().map(|isolation| isolation.allotment.clone()).unwrap_or_default();
    }

    /// An earlier life of the agent was about to end it for this.
    pub(super) fn limited(&mut self, limitation: Limitation) {
        self.limitation = Some(limitation);
        self.was_limited = true;
    }

    /// Its end, with what it was ended for.
    pub(super) fn told(&mut self, event: ContainerEvent) -> ContainerEvent {
        match (event, self.limitation.take()) {
            (ContainerEvent::Exited { status }, Some(limitation)) => ContainerEvent::Limited { status, limitation },
            (event, _) => event,
        }
    }
}

/// An end as the record tells it.
pub(super) fn exited(status: i32, limitation: Option<record::Limitation>) -> ContainerEvent {
    let status = Some(status);
    let Some(record::Limitation { bytes, message }) = limitation else { return ContainerEvent::Exited { status } };
    #[allow(clippy::cast_precision_loss)] // bytes of memory
    let megabytes = bytes as f64 / 1_048_576.0;
    let memory = v1::Resource {
        name: "mem".into(),
        r#type: v1::value::Type::Scalar as i32,
        scalar: Some(v1::value::Scalar { value: megabytes }),
        ..v1::Resource::default()
    };
    let limitation = Limitation { reason: Reason::ContainerLimitationMemory, message, resources: vec![memory] };
    ContainerEvent::Limited { status, limitation }
}

/// Ends whatever is in the cgroups of a container whose supervisor is dead, and removes them: those that are its own by
/// their names; those that it shares if nobody else is in them.
pub(super) fn destroy(container: &ContainerId, cgroups: &[PathBuf]) {
    let own = |path: &Path| path.file_name().is_some_and(|name| name == container.as_str());
    for path in cgroups {
        if !own(path) {
            let _ = std::fs::remove_dir(path);
        } else if let Err(error) = cgroup::destroy(path) {
            tracing::error!(%container, path = %path.display(), "cannot remove a cgroup: {error}");
        }
    }
}

impl Actor {
    /// Wakes those who look at running containers, from time to time.
    pub(super) fn watch_running(&self) {
        for (place, interval) in self.chain.iter().flat_map(crate::isolation::Chain::watchers) {
            let requests = self.requests.clone();
            tokio::spawn(async move {
                loop {
                    tokio::time::sleep(interval).await;
                    let Some(requests) = requests.upgrade() else { return };
                    let _ = requests.send(Request::Look(place));
                }
            });
        }
    }

    pub(super) fn allot(&mut self, id: ContainerId, allotment: Allotment) {
        let Some(chain) = self.chain.clone() else { return };
        if let Some(container) = self.containers.get_mut(&id) {
            container.kept.allotment = allotment.clone();
        }
        tokio::task::spawn_blocking(move || chain.allot(&id, &allotment));
    }

    /// Lets one look at what runs, unless it does already.
    pub(super) fn look(&mut self, place: usize) {
        let Some(chain) = self.chain.clone().filter(|_| self.looking.insert(place)) else { return };
        let running = |(id, container): (&ContainerId, &super::actor::Container)| {
            let kept = &container.kept;
            matches!(container.phase, Phase::Running(_)).then(|| Standing {
                id: id.clone(),
                pid: kept.pid,
                sandbox: kept.sandbox.clone(),
                allotment: kept.allotment.clone(),
                volumes: kept.volumes.clone(),
            })
        };
        let running: Vec<Standing> = self.containers.iter().filter_map(running).collect();
        let requests = self.requests.clone();
        tokio::task::spawn_blocking(move || {
            let found = chain.look(place, &running);
            let Some(requests) = requests.upgrade() else { return };
            for (container, limitation) in found {
                let _ = requests.send(Request::Found(container, Box::new(limitation)));
            }
            let _ = requests.send(Request::Looked(place));
        });
    }

    /// A container takes too much: it is ended for that.
    pub(super) fn limit(&mut self, id: &ContainerId, limitation: Limitation) {
        let Some(container) = self.containers.get_mut(id) else { return };
        if !matches!(container.phase, Phase::Running(_)) || container.kept.limitation.is_some() {
            return;
        }
        tracing::info!(container = %id, "ending a container: {}", limitation.message);
        if let Err(error) = self.limits.write(id.as_str(), &limitation) {
            tracing::warn!(container = %id, "cannot write down why the container is ended: {error}");
        }
        container.kept.limited(limitation);
        failpoint::pass("limited");
        self.stop(id, Stop::Kill);
    }
}
