//! The one who knows which containers calls were for.

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    time::Duration,
};

use mezzo_agent_core::{
    container::{ContainerEvent, Launch, Stop},
    view::{ExecutorState, View},
};
use mezzo_api::ids::ContainerId;
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use super::{Calls, ContainerPath, Found, Kind, Launched, Meta, Owner, Request, Store, Subject, Termination};
use crate::{
    containerizer::{Containerizer, Told},
    shell::Handle,
};

/// A session that nobody reads, since its agent was restarted or its reader went, lives so long.
const UNREAD_LIFE: Duration = Duration::from_secs(60);
/// How often it is looked whether roots are gone and sessions unread.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// So many ended ones are remembered; then the oldest goes.
const MAX_ENDED: usize = 1000;

type Answer = oneshot::Sender<Result<Launched, String>>;

#[derive(Debug)]
enum Stage {
    Launching(Option<Answer>),
    Running,
    /// With the order of ends.
    Ended(Termination, u64),
}

#[derive(Debug)]
struct Entry {
    meta: Meta,
    stage: Stage,
    waiters: Vec<oneshot::Sender<Termination>>,
    readers: usize,
    /// Its launch's connection ends it.
    owned: bool,
    /// Since when nobody reads it.
    unread: Instant,
}

impl Entry {
    fn has_ended(&self) -> bool {
        matches!(self.stage, Stage::Ended(..))
    }

    fn found(&self) -> Found {
        Found { meta: self.meta.clone(), ended: self.has_ended() }
    }
}

/// Owns what is known.
#[derive(Debug)]
pub(crate) struct Actor {
    containers: Containerizer,
    handle: Handle,
    store: Store,
    requests: mpsc::WeakUnboundedSender<Request>,
    entries: BTreeMap<ContainerPath, Entry>,
    /// Who waits for the ends of the core's own.
    foreign: HashMap<ContainerId, Vec<oneshot::Sender<Termination>>>,
    ends: u64,
}

impl Actor {
    /// With what an earlier agent knew.
    pub(crate) fn new(
        containers: Containerizer,
        handle: Handle,
        store: Store,
        calls: &Calls,
        found: Vec<(Meta, Option<Termination>)>,
    ) -> Self {
        let entry = |meta: Meta, ended: Option<Termination>| Entry {
            stage: ended.map_or(Stage::Running, |ended| Stage::Ended(ended, 0)),
            meta,
            waiters: Vec::new(),
            readers: 0,
            owned: false,
            unread: Instant::now(),
        };
        let entries = found.into_iter().map(|(meta, ended)| (meta.path.clone(), entry(meta, ended))).collect();
        let requests = calls.requests.downgrade();
        Self { containers, handle, store, requests, entries, foreign: HashMap::new(), ends: 0 }
    }

    /// Serves until the agent ends.
    pub(crate) async fn run(
        mut self,
        mut requests: mpsc::UnboundedReceiver<Request>,
        mut told: mpsc::UnboundedReceiver<Told>,
    ) {
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                Some(told) = told.recv() => self.hear(told),
                request = requests.recv() => match request {
                    Some(request) => self.handle(request),
                    None => return,
                },
                _ = look.tick(), if !self.entries.is_empty() || !self.foreign.is_empty() => self.look().await,
            }
        }
    }

    fn handle(&mut self, request: Request) {
        match request {
            Request::Launch(what, answer) => {
                let (meta, launch) = *what;
                self.launch(meta, launch, answer);
            }
            Request::Wait(Subject::Own(id), answer) => {
                let waiters = self.foreign.entry(id).or_default();
                waiters.retain(|waiter| !waiter.is_closed());
                waiters.push(answer);
            }
            Request::Wait(Subject::Called(path), answer) => match self.entries.get_mut(&path) {
                Some(Entry { stage: Stage::Ended(ended, _), .. }) => drop(answer.send(ended.clone())),
                Some(entry) => entry.waiters.push(answer),
                None => {}
            },
            Request::Find(path, answer) => drop(answer.send(self.entries.get(&path).map(Entry::found))),
            Request::List(answer) => {
                let living = self.entries.values().filter(|entry| !entry.has_ended());
                let _ = answer.send(living.map(Entry::found).collect());
            }
            Request::Destroy(path) => self.destroy(&path),
            Request::Remove(path, answer) => drop(answer.send(self.remove(&path))),
            Request::Reader(path, reads) => self.reader(&path, reads),
        }
    }

    fn launch(&mut self, meta: Meta, launch: Launch, answer: Answer) {
        if self.entries.get(&meta.path).is_some_and(|entry| !entry.has_ended()) {
            let _ = answer.send(Ok(Launched::Already));
            return;
        }
        let parent = meta.path.parent().and_then(|parent| self.entries.get(&parent));
        if let Some(parent) = parent.filter(|parent| parent.has_ended()) {
            let _ = answer.send(Err(format!("Parent container {} does not exist", parent.meta.path)));
            return;
        }
        if let Err(error) = self.store.write(&meta, None) {
            let _ = answer.send(Err(format!("Failed to write down the container: {error}")));
            return;
        }
        tracing::info!(container = %meta.path, kind = meta.kind.name(), "launching a container that a call is for");
        let entry = Entry {
            owned: meta.kind == Kind::Session,
            stage: Stage::Launching(Some(answer)),
            waiters: Vec::new(),
            readers: 0,
            unread: Instant::now(),
            meta,
        };
        self.entries.insert(entry.meta.path.clone(), entry);
        self.containers.launch(launch);
    }

    fn reader(&mut self, path: &ContainerPath, reads: bool) {
        let Some(entry) = self.entries.get_mut(path) else { return };
        entry.readers = if reads { entry.readers + 1 } else { entry.readers.saturating_sub(1) };
        entry.unread = Instant::now();
    }

    /// Kills it, if it lives, and all within it.
    fn destroy(&mut self, path: &ContainerPath) {
        let living = |entry: &&Entry| !entry.has_ended();
        let within = self.entries.values().filter(living).filter(|entry| entry.meta.path.is_within(path));
        let own = self.entries.get(path).filter(living);
        for entry in within.chain(own) {
            self.containers.stop(entry.meta.path.id(), Stop::Kill);
        }
    }

    fn remove(&mut self, path: &ContainerPath) -> Result<Option<Meta>, &'static str> {
        if self.entries.get(path).is_some_and(|entry| !entry.has_ended()) {
            return Err("Nested container has not terminated yet");
        }
        Ok(self.forget(path))
    }

    fn forget(&mut self, path: &ContainerPath) -> Option<Meta> {
        let entry = self.entries.remove(path)?;
        if let Err(error) = self.store.remove(path) {
            tracing::warn!(container = %path, "cannot forget a container: {error}");
        }
        Some(entry.meta)
    }

    fn hear(&mut self, told: Told) {
        match told {
            Told::Called(id, event) => {
                let path = self.entries.keys().find(|path| path.to_string() == id.as_str()).cloned();
                if let Some(path) = path {
                    self.event(&path, event);
                }
            }
            Told::Ended(id, status) => {
                for waiter in self.foreign.remove(&id).unwrap_or_default() {
                    let _ = waiter.send(Termination { status, limitation: None });
                }
                let around = |path: &ContainerPath| path.parts().iter().any(|part| part == id.as_str());
                let within: Vec<_> = self.entries.keys().filter(|path| around(path)).cloned().collect();
                within.iter().for_each(|path| self.destroy(path));
            }
        }
    }

    fn event(&mut self, path: &ContainerPath, event: ContainerEvent) {
        let Some(entry) = self.entries.get_mut(path) else { return };
        match event {
            ContainerEvent::Running { .. } => {
                if let Stage::Launching(answer) = std::mem::replace(&mut entry.stage, Stage::Running)
                    && let Some(answer) = answer
                {
                    // If nobody waits for it any more, it ends by being dropped here.
                    let session = entry.meta.kind == Kind::Session;
                    let owner = session.then(|| Owner { requests: self.requests.clone(), path: path.clone() });
                    let _ = answer.send(Ok(Launched::New(owner)));
                }
            }
            ContainerEvent::Failed { message } => {
                if let Stage::Launching(Some(answer)) = std::mem::replace(&mut entry.stage, Stage::Running) {
                    let _ = answer.send(Err(message));
                }
                self.ended(path, Termination::default());
                self.forget(path);
            }
            ContainerEvent::Exited { status } => self.ended(path, Termination { status, limitation: None }),
            ContainerEvent::Limited { status, limitation } => {
                self.ended(path, Termination { status, limitation: Some(limitation) });
            }
        }
    }

    fn ended(&mut self, path: &ContainerPath, termination: Termination) {
        self.ends += 1;
        let Some(entry) = self.entries.get_mut(path) else { return };
        entry.stage = Stage::Ended(termination.clone(), self.ends);
        tracing::info!(container = %path, status = ?termination.status, "a container that a call was for has ended");
        if let Err(error) = self.store.write(&entry.meta, Some(&termination)) {
            tracing::warn!(container = %path, "cannot write down the end of a container: {error}");
        }
        for waiter in std::mem::take(&mut entry.waiters) {
            let _ = waiter.send(termination.clone());
        }
        let alone = entry.meta.kind == Kind::Standalone;
        self.containers.forget(path.id());
        self.destroy(path);
        if alone {
            self.forget(path);
        }
        self.limit_ended();
    }

    fn limit_ended(&mut self) {
        let ended = |entry: &Entry| match entry.stage {
            Stage::Ended(_, order) => Some((order, entry.meta.path.clone())),
            Stage::Launching(_) | Stage::Running => None,
        };
        let all: Vec<_> = self.entries.values().filter_map(ended).collect();
        if all.len() > MAX_ENDED
            && let Some((_, oldest)) = all.into_iter().min()
        {
            self.forget(&oldest);
        }
    }

    /// Ends what nobody reads, and what has lost its root.
    async fn look(&mut self) {
        let Some(view) = self.handle.view().await.filter(|view| !view.recovering) else { return };
        // Containers of pods have no process whose end would be told.
        let living = |id: &ContainerId| {
            let mut executors = view.frameworks.iter().flat_map(|framework| &framework.executors);
            executors.any(|executor| {
                executor.container_id == *id && executor.state != ExecutorState::Terminated
                    || executor.nested.contains(id)
            })
        };
        let gone: Vec<_> = self.foreign.keys().filter(|id| !living(id)).cloned().collect();
        for waiter in gone.iter().filter_map(|id| self.foreign.remove(id)).flatten() {
            let _ = waiter.send(Termination::default());
        }
        let now = Instant::now();
        let mut condemned = Vec::new();
        for entry in self.entries.values() {
            let path = &entry.meta.path;
            let unread = entry.meta.kind == Kind::Session
                && !entry.owned
                && entry.readers == 0
                && now.duration_since(entry.unread) >= UNREAD_LIFE;
            if !self.has_root(&view, path) || unread && !entry.has_ended() {
                condemned.push((path.clone(), entry.has_ended()));
            }
        }
        for (path, ended) in condemned {
            if ended {
                self.forget(&path);
            } else {
                tracing::info!(container = %path, "ending a container that nobody reads, or whose root is gone");
                self.destroy(&path);
            }
        }
    }

    fn has_root(&self, view: &View, path: &ContainerPath) -> bool {
        let root = path.root();
        let mut executors = view.frameworks.iter().flat_map(|framework| &framework.executors);
        let own = executors
            .any(|executor| executor.container_id.as_str() == root && executor.state != ExecutorState::Terminated);
        own || self
            .entries
            .iter()
            .any(|(other, entry)| entry.meta.kind == Kind::Standalone && other.root() == root && !entry.has_ended())
    }
}

/// Where a container within `root` has its sandbox (src/slave/containerizer/mesos/paths.cpp, getSandboxPath).
pub(crate) fn sandbox_within(root: &std::path::Path, path: &ContainerPath) -> PathBuf {
    path.parts()[1..].iter().fold(root.to_path_buf(), |at, part| at.join("containers").join(part))
}
