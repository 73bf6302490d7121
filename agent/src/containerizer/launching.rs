//! From a launch to the zygote: preparing, queueing, handing over, and over again when the zygote dies.

use std::{
    borrow::Cow,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use mezzo_agent_core::{
    container::{Command, ContainerEvent, Enter, Launch, Scope},
    network::Network,
};
use mezzo_api::ids::ContainerId;
use mezzo_executor::{
    frame::{self, Credentials},
    io,
    jail::{Jail, Namespace, Plug},
    process::Identity,
    sandbox,
    tree::Watched,
};
use tokio_util::sync::CancellationToken;

use super::{
    Config, IO_DIRECTORY, StartError,
    actor::{Actor, Phase, Request},
    calls,
    likeness::Likeness,
    pod,
    user::Own,
    zygote::Zygote,
};
use crate::{
    failpoint,
    fetcher::Fetcher,
    images::{Furnished, Images},
    network::Networks,
    volumes,
};

/// Launches that are with the zygote at a time: enough to keep every core busy, few enough that a burst of thousands
/// does not make all of them slow.
const MAX_STARTING: usize = 64;

/// How often a launch is given to another zygote after its zygote died over it.
const MAX_ATTEMPTS: u8 = 3;

/// A zygote that dies sooner than this is not started again before the next launch.
const ZYGOTE_LIFE: Duration = Duration::from_secs(1);

/// Longest name of a host (HOST_NAME_MAX).
const MAX_HOSTNAME: usize = 64;

impl Actor {
    pub(super) fn launch(&mut self, mut launch: Box<Launch>) {
        let id = launch.container_id.clone();
        if self.containers.contains_key(&id) {
            tracing::error!(container = %id, "ignored a second launch of the same container");
            return;
        }
        let cancel = CancellationToken::new();
        self.add(id.clone(), None, Phase::Preparing(cancel.clone())).called = launch.called.is_some();
        let entered = match self.entered(&launch) {
            Ok(entered) => entered,
            Err(message) => return self.end(&id, ContainerEvent::Failed { message }),
        };
        if launch.uris.is_empty()
            && launch.volumes.is_empty()
            && launch.nested.is_none()
            && launch.image.is_none()
            && launch.network.is_none()
            && !matches!(launch.enter.as_deref(), Some(Enter { scope: Scope::AsItself(_), .. }))
            && launch.called.as_ref().is_none_or(|called| called.root.is_none())
            && self.own.is(launch.user.as_deref())
        {
            return self.prepared(&launch, Ok(Ready { entered, ..Ready::default() }));
        }
        let requests = self.requests.clone();
        let means = Means {
            own: self.own.clone(),
            fetcher: self.fetcher.clone(),
            images: self.config.images.clone(),
            networks: self.config.networks.clone(),
            runtime_dir: self.config.runtime_dir.clone(),
        };
        let shown = if self.chain.as_ref().is_some_and(|chain| chain.abilities().mounts) {
            Shown::Mounted
        } else {
            Shown::Linked
        };
        tokio::spawn(async move {
            let result = prepare(&mut launch, means, &cancel, shown, entered).await;
            if let Some(requests) = requests.upgrade() {
                let _ = requests.send(Request::Prepared(launch, result));
            }
        });
    }

    /// The process of the container that a launch enters.
    fn entered(&self, launch: &Launch) -> Result<Option<Entered>, String> {
        let Some(Enter { container, .. }) = launch.enter.as_deref() else { return Ok(None) };
        match self.processes_of(container) {
            Some(processes) => {
                let has_root = self.containers.get(container).is_some_and(|container| container.kept.has_root);
                let seen = self.chain.as_ref().map(|chain| chain.sandbox_directory().to_path_buf());
                Ok(Some(Entered { process: processes.task, directory: seen.filter(|_| has_root) }))
            }
            None => Err(format!("The container {container} has ended")),
        }
    }

    pub(super) fn prepared(&mut self, launch: &Launch, result: Result<Ready, String>) {
        let id = &launch.container_id;
        let Some(container) = self.containers.get_mut(id) else { return };
        let number = container.number;
        if container.stop.is_some() {
            let message = "Container was stopped while it was being prepared".to_owned();
            return self.end(id, ContainerEvent::Failed { message });
        }
        failpoint::pass("prepared");
        let slot = self.slots.take();
        container.slot = Some(slot);
        container.kept.of(launch);
        container.kept.has_root = result.as_ref().is_ok_and(|ready| ready.furnished.is_some());
        let frame = result.and_then(|Ready { credentials, furnished, plug, entered }| {
            let root = furnished.as_ref().map(|furnished| furnished.root());
            let mut jail = self.chain.as_ref().map_or(Ok(None), |chain| chain.prepare(launch, root))?;
            if let Some(furnished) = furnished {
                furnished.complete(jail.get_or_insert_default());
            }
            if launch.network.is_some() {
                connect(id, plug, jail.get_or_insert_default());
            }
            let confined = (credentials.as_ref(), jail.as_ref());
            encode(launch, (number, slot), confined, &self.config, entered.as_ref())
        });
        match frame {
            Ok(frame) => {
                container.phase = Phase::Queued(frame);
                self.queue.push_back(number);
            }
            Err(message) => self.end(id, ContainerEvent::Failed { message }),
        }
    }

    /// Gives the zygote what waits, as far as it may have it.
    pub(super) fn pump(&mut self) {
        while self.starting < MAX_STARTING && !self.queue.is_empty() {
            let Err(error) = self.ensure_zygote() else {
                let Some(number) = self.queue.pop_front() else { return };
                self.hand_over(number);
                continue;
            };
            tracing::error!("cannot start containers: {error}");
            for number in std::mem::take(&mut self.queue) {
                if let Some(id) = self.numbers.get(&number).cloned() {
                    self.end(&id, ContainerEvent::Failed { message: error.to_string() });
                }
            }
        }
    }

    fn hand_over(&mut self, number: u64) {
        let Some(container) = self.numbers.get(&number).and_then(|id| self.containers.get_mut(id)) else { return };
        let (frame, attempts) = match std::mem::replace(&mut container.phase, Phase::Ended) {
            Phase::Queued(frame) => (frame, 1),
            Phase::Starting { frame, attempts } => (frame, attempts + 1),
            other => return container.phase = other,
        };
        if let Some(zygote) = &mut self.zygote {
            zygote.send(&frame);
        }
        failpoint::pass("handed-over");
        container.phase = Phase::Starting { frame, attempts };
        self.starting += 1;
    }

    fn ensure_zygote(&mut self) -> Result<(), StartError> {
        if self.zygote.is_none() {
            self.zygote = Some(Zygote::start(&self.config.executor, &self.records_path)?);
        }
        Ok(())
    }

    /// Its supervisors go on. What it had not begun goes to the next one.
    pub(super) fn zygote_ended(&mut self) {
        let Some(mut zygote) = self.zygote.take() else { return };
        zygote.drain().into_iter().for_each(|packet| self.hear(packet));
        let mut unfinished: Vec<u64> = self
            .containers
            .values()
            .filter(|container| matches!(container.phase, Phase::Starting { .. }))
            .map(|container| container.number)
            .collect();
        unfinished.sort_unstable_by_key(|number| std::cmp::Reverse(*number));
        tracing::warn!(unfinished = unfinished.len(), "the zygote ended; running containers are not affected");
        let soon = zygote.started.elapsed() < ZYGOTE_LIFE;
        drop(zygote);
        self.starting = 0;
        for number in unfinished {
            self.begin_again(number, soon);
        }
    }

    fn begin_again(&mut self, number: u64, soon: bool) {
        let Some(id) = self.numbers.get(&number).cloned() else { return };
        if let Some(record) = self.record_of(&id) {
            return self.take_over(&id, record, Watched::UntilNow);
        }
        let Some(Phase::Starting { attempts, .. }) = self.containers.get(&id).map(|container| &container.phase) else {
            return;
        };
        if *attempts >= MAX_ATTEMPTS || (soon && *attempts > 1) {
            let message = format!("mezzo-executor died {attempts} times while it started the container");
            return self.end(&id, ContainerEvent::Failed { message });
        }
        self.queue.push_front(number);
    }
}

fn encode<'a>(
    launch: &'a Launch,
    (number, slot): (u64, u32),
    (credentials, jail): (Option<&Credentials>, Option<&Jail>),
    config: &Config,
    entered: Option<&'a Entered>,
) -> Result<Vec<u8>, String> {
    let id = &launch.container_id;
    let socket = config.runtime_dir.join(IO_DIRECTORY).join(io::socket_name(id.as_str()));
    let io = launch.io.map(|io| frame::Io {
        socket: &socket,
        terminal: io.terminal.map(|(rows, columns)| frame::Window { rows, columns }),
        unread: if io.session { frame::Unread::Held } else { frame::Unread::Filed },
    });
    let enter = launch.enter.as_deref().zip(entered).map(|(enter, entered)| {
        let scope = match &enter.scope {
            Scope::Inside(directory) => frame::Scope::Inside(directory),
            Scope::AsItself(_) => frame::Scope::Inside(entered.directory.as_deref().unwrap_or(&launch.sandbox)),
            Scope::Beside => frame::Scope::Beside,
        };
        frame::Enter { process: entered.process, scope }
    });
    let command = match &launch.command {
        Command::Shell(text) => frame::Command::Shell(text),
        Command::Exec { file, arguments } => frame::Command::Exec(file, arguments),
        Command::Image(_) => return Err(format!("Cannot start container '{id}': it has no image to run")),
    };
    let environment = seen_by(launch, jail);
    let launch = frame::Launch {
        number,
        slot,
        container: id.as_str(),
        sandbox: &launch.sandbox,
        credentials,
        command,
        environment: &environment,
        rotation: config.rotation,
        patience: Some(config.recovery_timeout),
        jail,
        io,
        enter,
    };
    let mut bytes = Vec::new();
    match frame::encode(&mut bytes, &launch) {
        Ok(()) => Ok(bytes),
        Err(error) => Err(format!("Cannot start container '{id}': {error}")),
    }
}

/// The environment names the sandbox where the container sees it.
fn seen_by<'a>(launch: &'a Launch, jail: Option<&Jail>) -> Cow<'a, [(String, String)]> {
    let mut environment = Cow::from(&launch.environment);
    if let Some(inside) = jail.and_then(|jail| jail.sandbox.as_ref()) {
        for (_, value) in environment.to_mut().iter_mut().filter(|(name, _)| name == "MESOS_SANDBOX") {
            *value = inside.display().to_string();
        }
    }
    environment
}

/// A network of its own, and what comes with it: as with Docker its host is named after it, if it has no other name.
fn connect(id: &ContainerId, plug: Option<Plug>, jail: &mut Jail) {
    jail.namespaces.push(Namespace::Net);
    jail.network = plug;
    if jail.hostname.is_none() {
        jail.namespaces.push(Namespace::Uts);
        jail.hostname = Some(id.as_str().chars().take(MAX_HOSTNAME).collect());
    }
}

/// How a container sees its persistent volumes.
#[derive(Clone, Copy)]
enum Shown {
    /// By links in its sandbox.
    Linked,
    /// By mounts of its own.
    Mounted,
}

/// What a launch is prepared with.
struct Means {
    own: Own,
    fetcher: Arc<Fetcher>,
    images: Option<Images>,
    networks: Option<Networks>,
    runtime_dir: PathBuf,
}

/// What preparing has brought.
#[derive(Debug, Default)]
pub(super) struct Ready {
    credentials: Option<Credentials>,
    furnished: Option<Box<Furnished>>,
    plug: Option<Plug>,
    /// The process whose surroundings are entered.
    entered: Option<Entered>,
}

/// A container that is entered.
#[derive(Debug)]
pub(super) struct Entered {
    process: Identity,
    /// Where its process began, as it sees it.
    directory: Option<PathBuf>,
}

/// Looks the user up, gets the image, and fetches what is to be fetched.
async fn prepare(
    launch: &mut Launch,
    means: Means,
    cancel: &CancellationToken,
    shown: Shown,
    mut entered: Option<Entered>,
) -> Result<Ready, String> {
    let Means { own, fetcher, images, networks, runtime_dir } = means;
    let (users, user) = (own.clone(), launch.user.clone());
    let looked_up = tokio::task::spawn_blocking(move || look_up(&users, user.as_ref())).await;
    let mut credentials = looked_up.map_err(|error| error.to_string())??;
    if let (Some(enter), Some(entered)) = (&launch.enter, &mut entered)
        && let Scope::AsItself(on_top) = &enter.scope
    {
        let named = launch.user.is_some();
        let likeness = Likeness::of(entered.process.pid).await;
        if !named {
            credentials = likeness.credentials;
        }
        if let Some((sandbox, mut environment)) = likeness.seen {
            for (name, value) in on_top {
                environment.retain(|(known, _)| known != name);
                environment.push((name.clone(), value.clone()));
            }
            entered.directory = Some(sandbox);
            launch.environment = environment;
        }
    }
    let mut furnished = None;
    if let (Some(images), true) = (images, launch.image.is_some()) {
        (credentials, furnished) = images.furnish(launch, credentials, &runtime_dir, cancel).await?;
    }
    let (sandbox, of_task) = (launch.sandbox.clone(), credentials.clone());
    let (fetches, mounts) = (!launch.uris.is_empty(), !launch.volumes.is_empty());
    let nested = launch.nested.clone();
    let root = launch.called.as_ref().and_then(|called| called.root.clone());
    let parent = tokio::task::spawn_blocking(move || {
        let credentials = of_task;
        let parent = match &nested {
            Some(nested) => look_up(&own, nested.parent_user.as_ref())?,
            None => None,
        };
        if let Some(nested) = &nested {
            pod::make_sandboxes(nested, &sandbox, owner(parent.as_ref()), owner(credentials.as_ref()))
                .map_err(|error| error.to_string())?;
        } else if let Some(root) = &root {
            calls::make_sandbox(root, &sandbox, owner(credentials.as_ref())).map_err(|error| error.to_string())?;
        } else if fetches || mounts {
            sandbox::create(&sandbox, owner(credentials.as_ref())).map_err(|error| error.to_string())?;
        }
        Ok::<_, String>(parent)
    })
    .await
    .map_err(|error| error.to_string())??;
    if let Some(nested) = launch.nested.as_ref().filter(|nested| !nested.volumes.is_empty()) {
        pod::share(nested, &launch.sandbox, parent, credentials.clone()).await?;
    }
    if fetches {
        let begun = Instant::now();
        fetcher
            .fetch(&launch.container_id, &launch.uris, &launch.sandbox, credentials.as_ref(), cancel)
            .await
            .map_err(|error| error.to_string())?;
        tracing::info!(container = %launch.container_id, uris = launch.uris.len(), took = ?begun.elapsed(), "fetched");
    }
    if mounts {
        let (sandbox, links) = (launch.sandbox.clone(), launch.volumes.clone());
        let linked = tokio::task::spawn_blocking(move || match shown {
            Shown::Linked => volumes::link(&sandbox, &links, true),
            Shown::Mounted => links.iter().try_for_each(|link| volumes::give(&sandbox, link)),
        })
        .await;
        linked.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
    }
    let plug = match (&launch.network, networks) {
        (Some(Network::Bridge(mappings)), Some(networks)) => {
            let joined = networks.join(launch.container_id.as_str(), mappings).await;
            Some(joined.map_err(|error| error.to_string())?)
        }
        (Some(Network::Bridge(_)), None) => return Err("This agent has no bridge for containers".to_owned()),
        (Some(Network::Alone) | None, _) => None,
    };
    Ok(Ready { credentials, furnished, plug, entered })
}

fn look_up(own: &Own, user: Option<&String>) -> Result<Option<Credentials>, String> {
    user.map_or(Ok(None), |user| own.credentials(user).map_err(|error| error.to_string()))
}

fn owner(credentials: Option<&Credentials>) -> Option<(u32, u32)> {
    credentials.map(|credentials| (credentials.uid, credentials.gid))
}
