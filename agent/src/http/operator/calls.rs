//! Calls on containers: launch, wait, kill, remove (src/slave/http.cpp, _launchContainer and its kind).

use std::sync::Arc;

use http::{Response, StatusCode};
use mezzo_agent_core::{
    container::{self, Command, Enter, Io, Launch, Scope},
    image::Image,
    isolation::{Allotment, Isolation, Limitation},
    view::View,
};
use mezzo_api::v1::{
    self,
    agent::{
        Call, Response as Answer, call,
        response::{self, WaitContainer, WaitNestedContainer},
    },
};
use mezzo_server::http::answer;
use rustix::process::Signal;

use super::{
    super::{Body, Door},
    of,
    places::{self, Parent},
};
use crate::called::{ContainerPath, Kind, Launched, Meta, Subject, Termination, sandbox_within};

/// PATH where nothing sets it.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a launch asks for.
pub(super) struct Wanted {
    pub(super) path: ContainerPath,
    pub(super) kind: Kind,
    pub(super) command: v1::CommandInfo,
    pub(super) container: Option<v1::ContainerInfo>,
    /// What it may use: of one that stands alone.
    pub(super) allotment: Option<Allotment>,
}

/// Why there is no container, or nothing done to it.
pub(super) type Refused = (StatusCode, String);

/// Answers a call on a container that has one answer; `None`: it is none of these.
#[allow(deprecated)] // nested container calls are calls like others
pub(super) async fn serve(door: &Arc<Door>, view: &View, call: &Call) -> Option<Result<Answer, Response<Body>>> {
    let kind = call.r#type();
    Some(match kind {
        call::Type::LaunchNestedContainer => {
            let part = call.launch_nested_container.clone().unwrap_or_default();
            let path = ContainerPath::from(&part.container_id);
            let command = part.command.unwrap_or_default();
            let wanted = Wanted { path, kind: Kind::Nested, command, container: part.container, allotment: None };
            Err(launched(launch(door, view, wanted).await))
        }
        call::Type::LaunchContainer => {
            let part = call.launch_container.clone().unwrap_or_default();
            let path = ContainerPath::from(&part.container_id);
            let kind = if path.parent().is_some() { Kind::Nested } else { Kind::Standalone };
            let command = part.command.unwrap_or_default();
            let allotment = Some(Allotment::of(&part.resources, &part.limits)).filter(|_| kind == Kind::Standalone);
            let wanted = Wanted { path, kind, command, container: part.container, allotment };
            Err(launched(launch(door, view, wanted).await))
        }
        call::Type::WaitNestedContainer => {
            let id = call.wait_nested_container.clone().unwrap_or_default().container_id;
            wait(door, view, &id).await.map(|ended| {
                let part = WaitNestedContainer {
                    exit_status: ended.status,
                    state: ended.limitation.as_ref().map(|_| v1::TaskState::TaskFailed as i32),
                    reason: ended.limitation.as_ref().map(|limitation| limitation.reason as i32),
                    limitation: ended.limitation.as_ref().map(resources),
                    message: ended.limitation.map(|limitation| limitation.message),
                };
                Answer { wait_nested_container: Some(part), ..of(response::Type::WaitNestedContainer) }
            })
        }
        call::Type::WaitContainer => {
            let id = call.wait_container.clone().unwrap_or_default().container_id;
            wait(door, view, &id).await.map(|ended| {
                let part = WaitContainer {
                    exit_status: ended.status,
                    state: ended.limitation.as_ref().map(|_| v1::TaskState::TaskFailed as i32),
                    reason: ended.limitation.as_ref().map(|limitation| limitation.reason as i32),
                    limitation: ended.limitation.as_ref().map(resources),
                    message: ended.limitation.map(|limitation| limitation.message),
                };
                Answer { wait_container: Some(part), ..of(response::Type::WaitContainer) }
            })
        }
        call::Type::KillNestedContainer => {
            let part = call.kill_nested_container.clone().unwrap_or_default();
            Err(done(kill(door, view, &part.container_id, part.signal).await))
        }
        call::Type::KillContainer => {
            let part = call.kill_container.clone().unwrap_or_default();
            Err(done(kill(door, view, &part.container_id, part.signal).await))
        }
        call::Type::RemoveNestedContainer => {
            let part = call.remove_nested_container.clone().unwrap_or_default();
            Err(done(remove(door, view, &part.container_id).await))
        }
        call::Type::RemoveContainer => {
            let part = call.remove_container.clone().unwrap_or_default();
            Err(done(remove(door, view, &part.container_id).await))
        }
        _ => return None,
    })
}

fn done(result: Result<(), Refused>) -> Response<Body> {
    match result {
        Ok(()) => answer::empty(StatusCode::OK),
        Err((status, text)) => answer::text(status, text),
    }
}

fn resources(limitation: &Limitation) -> v1::TaskResourceLimitation {
    v1::TaskResourceLimitation { resources: limitation.resources.clone() }
}

fn launched(result: Result<Launched, Refused>) -> Response<Body> {
    match result {
        Ok(Launched::New(_)) => answer::empty(StatusCode::OK),
        Ok(Launched::Already) => answer::empty(StatusCode::ACCEPTED),
        Err((status, text)) => answer::text(status, text),
    }
}

/// Starts a container; done when it runs.
pub(super) async fn launch(door: &Arc<Door>, view: &View, wanted: Wanted) -> Result<Launched, Refused> {
    let bad = |text: String| (StatusCode::BAD_REQUEST, text);
    if places::own(view, &wanted.path).is_some() {
        return Ok(Launched::Already);
    }
    let images = door.flags.images.kinds();
    let (info, image, program) = container::called(images, wanted.container.as_ref(), &wanted.command).map_err(bad)?;
    if image.is_some() && wanted.kind == Kind::Session {
        return Err(bad("A session runs in the image of its container, and has none of its own".to_owned()));
    }
    let what = What { info, image, program };
    let (meta, launch) = match wanted.path.parent() {
        Some(parent) => within(door, view, &parent, &wanted, what).await.map_err(bad)?,
        None => alone(door, &wanted, what).map_err(bad)?,
    };
    door.calls.launch(meta, launch).await.map_err(bad)
}

/// What a launch asks for, understood.
struct What {
    info: Option<v1::ContainerInfo>,
    image: Option<Image>,
    program: Command,
}

fn terminal(container: Option<&v1::ContainerInfo>) -> Option<(u16, u16)> {
    container?.tty_info.as_ref().map(Io::terminal)
}

fn alone(door: &Door, wanted: &Wanted, what: What) -> Result<(Meta, Launch), String> {
    let sandbox = door.flags.work_dir.join("containers").join(wanted.path.root());
    let user = wanted.command.user.clone().filter(|_| door.flags.switch_user);
    let meta = Meta { path: wanted.path.clone(), kind: wanted.kind, sandbox, user };
    let environment = plain(&meta, &wanted.command)?;
    // Without resources it would be kept in nothing at all.
    let allotment = wanted.allotment.clone().filter(|allotment| allotment.cpus > 0.0 && allotment.mem_mb > 0.0);
    if what.image.is_some() && allotment.is_none() {
        return Err("A container that stands alone and has an image needs 'cpus' and 'mem'".to_owned());
    }
    let isolation = allotment.map(|allotment| Isolation { info: what.info.clone(), allotment, pod: None });
    let launch = Launch { environment, isolation: isolation.map(Box::new), ..bare(&meta, wanted, what, None) };
    Ok((meta, launch))
}

async fn within(
    door: &Door,
    view: &View,
    parent: &ContainerPath,
    wanted: &Wanted,
    what: What,
) -> Result<(Meta, Launch), String> {
    let missing = || format!("Parent container {parent} does not exist");
    let around = match places::own(view, parent) {
        Some(own) => Parent::of_own(&own, door.flags.switch_user),
        None => {
            let found = door.calls.find(parent).await.filter(|found| !found.ended).ok_or_else(missing)?;
            Parent::of_called(&found)
        }
    };
    let root = match places::root(view, parent) {
        Some(root) => root.executor.directory.to_path_buf(),
        None => {
            let root = v1::ContainerId { value: parent.root().to_owned(), parent: None };
            door.calls.find(&ContainerPath::from(&root)).await.ok_or_else(missing)?.meta.sandbox
        }
    };
    let sandbox = sandbox_within(&root, &wanted.path);
    let user = wanted.command.user.clone().filter(|_| door.flags.switch_user).or_else(|| around.user.clone());
    let meta = Meta { path: wanted.path.clone(), kind: wanted.kind, sandbox, user };
    let processes = door.containers.processes(around.id.clone()).await;
    if processes.is_none() && !around.is_empty {
        return Err("Unknown parent container pid".to_owned());
    }
    let session = wanted.kind == Kind::Session;
    let inherited = match (&processes, session) {
        (Some(processes), true) => environment_of(processes.task.pid).await,
        _ => Vec::new(),
    };
    let environment = if session && !inherited.is_empty() {
        merged(inherited, &wanted.command)?
    } else if session {
        plain(&Meta { sandbox: around.sandbox.clone(), ..meta.clone() }, &wanted.command)?
    } else {
        plain(&meta, &wanted.command)?
    };
    let directory = environment.iter().find(|(name, _)| name == "MESOS_SANDBOX").map(|(_, value)| value.into());
    let scope = match session {
        true => Scope::Inside(directory.unwrap_or_else(|| around.sandbox.clone())),
        false => Scope::Beside,
    };
    let enter = processes.map(|_| Box::new(Enter { container: around.id.clone(), scope }));
    // A session may do what its container may; who has a root of its own has mounts of its own.
    let isolation = match (session, what.image.is_some()) {
        (true, _) => Some(Isolation { info: around.info, ..Isolation::default() }),
        (false, true) => Some(Isolation { info: what.info.clone(), ..Isolation::default() }),
        (false, false) => None,
    };
    let isolation = isolation.map(Box::new);
    let called = Some(Box::new(container::Called { root: Some(root).filter(|_| !session) }));
    let launch = Launch { environment, enter, isolation, called, ..bare(&meta, wanted, what, terminal_io(wanted)) };
    Ok((meta, launch))
}

/// What holds its input and output: a session's always, another one's if it wants a terminal.
fn terminal_io(wanted: &Wanted) -> Option<Io> {
    let terminal = terminal(wanted.container.as_ref());
    let session = wanted.kind == Kind::Session;
    (session || terminal.is_some()).then_some(Io { terminal, session })
}

fn bare(meta: &Meta, wanted: &Wanted, what: What, io: Option<Io>) -> Launch {
    Launch {
        container_id: meta.path.id(),
        sandbox: meta.sandbox.clone(),
        user: meta.user.clone(),
        command: what.program,
        environment: Vec::new(),
        uris: if wanted.kind == Kind::Session { Vec::new() } else { wanted.command.uris.clone() },
        volumes: Vec::new(),
        nested: None,
        isolation: None,
        image: what.image.map(Box::new),
        network: None,
        enter: None,
        io: io.or_else(|| terminal_io(wanted)),
        called: Some(Box::default()),
    }
}

/// Of a container of its own: its command's variables, and what every container has.
fn plain(meta: &Meta, command: &v1::CommandInfo) -> Result<Vec<(String, String)>, String> {
    let sandbox = meta.sandbox.to_string_lossy().into_owned();
    merged(vec![("MESOS_SANDBOX".to_owned(), sandbox), ("PATH".to_owned(), DEFAULT_PATH.to_owned())], command)
}

fn merged(all: Vec<(String, String)>, command: &v1::CommandInfo) -> Result<Vec<(String, String)>, String> {
    container::environment(all, command.environment.as_ref())
}

/// As the process was given it; a session inherits its container's.
async fn environment_of(pid: i32) -> Vec<(String, String)> {
    let read = tokio::task::spawn_blocking(move || std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default());
    let bytes = read.await.unwrap_or_default();
    let variables = bytes.split(|byte| *byte == 0).filter_map(|variable| {
        let text = String::from_utf8_lossy(variable);
        let (name, value) = text.split_once('=')?;
        (!name.is_empty()).then(|| (name.to_owned(), value.to_owned()))
    });
    variables.collect()
}

/// Waits for the end.
async fn wait(door: &Door, view: &View, id: &v1::ContainerId) -> Result<Termination, Response<Body>> {
    let path = ContainerPath::from(id);
    let subject = match places::own(view, &path) {
        Some(own) => Subject::Own(own.id()),
        None => Subject::Called(path.clone()),
    };
    let ended = door.calls.wait(subject).await;
    ended.ok_or_else(|| answer::text(StatusCode::NOT_FOUND, format!("Container {path} cannot be found")))
}

async fn kill(door: &Door, view: &View, id: &v1::ContainerId, signal: Option<i32>) -> Result<(), Refused> {
    let path = ContainerPath::from(id);
    let signal = signal.unwrap_or(Signal::KILL.as_raw());
    let ids = match places::own(view, &path) {
        Some(own) if own.is_empty() => own.executor.nested.clone(),
        Some(own) => vec![own.id()],
        None => vec![path.id()],
    };
    let mut found = false;
    for id in ids {
        found |= door.containers.signal(id, signal).await.map_err(|text| (StatusCode::INTERNAL_SERVER_ERROR, text))?;
    }
    if found {
        return Ok(());
    }
    Err((StatusCode::NOT_FOUND, format!("Container '{path}' cannot be found (or is already killed)")))
}

async fn remove(door: &Door, view: &View, id: &v1::ContainerId) -> Result<(), Refused> {
    let failed = |text: &str| (StatusCode::INTERNAL_SERVER_ERROR, text.to_owned());
    let path = ContainerPath::from(id);
    if places::own(view, &path).is_some() {
        return Err(failed("Nested container has not terminated yet"));
    }
    let alone = v1::ContainerId { value: path.root().to_owned(), parent: None };
    let root = match places::root(view, &path) {
        Some(own) => Some(own.executor.directory.to_path_buf()),
        None => door.calls.find(&ContainerPath::from(&alone)).await.map(|found| found.meta.sandbox),
    };
    let sandbox = match (root, path.parent()) {
        (Some(root), Some(_)) => sandbox_within(&root, &path),
        (_, None) => door.flags.work_dir.join("containers").join(path.root()),
        (None, Some(_)) => return Err(failed("Unknown root container")),
    };
    door.calls.remove(&path).await.map_err(failed)?;
    let removed = tokio::task::spawn_blocking(move || mezzo_executor::sandbox::remove(&sandbox)).await;
    match removed {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(failed(&format!("Failed to remove the sandbox directory: {error}"))),
        Err(error) => Err(failed(&error.to_string())),
    }
}
