//! `mezzo task exec` and `mezzo task attach`: a terminal, or pipes, to a container, through the master.

mod input;
mod terminal;
mod wire;

use std::io::{IsTerminal, Write};
use std::time::Duration;

use bytes::Bytes;
use mezzo_api::v1::agent::process_io::data;
use mezzo_api::v1::{self, container_info};
use serde_json::Value;
use tokio::sync::mpsc;

use super::{Cluster, Failure, show, tasks};
use crate::http::escape;
use input::{Detached, Keys, Said};
use terminal::Raw;
use wire::{Agent, Answered, Output, WireError};

/// The session or the task cannot be reached, or was never begun.
pub(super) const OWN_FAILURE: u8 = 125;
/// A connection that breaks is made anew for so long: an agent is restarted meanwhile.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(300);

/// How a command is run in a task.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ways {
    /// What is typed here goes there.
    pub(super) interactive: bool,
    /// It gets a terminal.
    pub(super) terminal: bool,
}

/// Why a session fails.
#[derive(Debug, thiserror::Error)]
pub(super) enum SessionError {
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error("the agent refuses ({status}): {text}")]
    Refused { status: u16, text: String },
    #[error("task {0} does not run ({1}): a command can be run in one that does")]
    NotRunning(String, String),
    #[error("nothing is known of the container of task {0} yet; try again")]
    NoContainer(String),
    #[error("--tty needs a terminal as standard input; without one, leave it away")]
    NoTerminal,
    #[error("the connection was lost, and the session is not to be found again: {0}")]
    Lost(String),
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// Where a task runs.
struct Place {
    agent: Agent,
    container: v1::ContainerId,
    has_terminal: bool,
}

async fn place(
    cluster: &mut Cluster,
    task: &str,
    framework: Option<&str>,
) -> Result<Result<Place, SessionError>, Failure> {
    let found = tasks::find(cluster, task, framework, true).await?;
    let (id, state) = (show::text(&found, "id"), show::text(&found, "state"));
    if state != "TASK_RUNNING" {
        return Ok(Err(SessionError::NotRunning(id, state)));
    }
    let statuses = show::list(&found, "statuses").iter().rev();
    let container = statuses.filter_map(|status| status.pointer("/container_status/container_id")).next();
    let Some(container) = container.and_then(container_id) else { return Ok(Err(SessionError::NoContainer(id))) };
    let path = format!("/agent/{}/api/v1", escape(&show::text(&found, "slave_id")));
    let agent = Agent::new(cluster.leader().await?, path);
    let has_terminal = found.pointer("/container/tty_info").is_some();
    Ok(Ok(Place { agent, container, has_terminal }))
}

fn container_id(value: &Value) -> Option<v1::ContainerId> {
    let parent = value.get("parent").and_then(container_id).map(Box::new);
    Some(v1::ContainerId { value: value.get("value")?.as_str()?.to_owned(), parent })
}

/// Runs a command in a task; its exit code.
pub(super) async fn exec(
    cluster: &mut Cluster,
    task: &str,
    framework: Option<&str>,
    ways: Ways,
    command: Vec<String>,
) -> Result<Result<u8, SessionError>, Failure> {
    let place = match place(cluster, task, framework).await? {
        Ok(place) => place,
        Err(error) => return Ok(Err(error)),
    };
    Ok(run(place, ways, command).await)
}

async fn run(place: Place, ways: Ways, command: Vec<String>) -> Result<u8, SessionError> {
    if ways.terminal && !std::io::stdin().is_terminal() {
        return Err(SessionError::NoTerminal);
    }
    let id = v1::ContainerId { value: uuid::Uuid::new_v4().to_string(), parent: Some(Box::new(place.container)) };
    let container = ways.terminal.then(|| v1::ContainerInfo {
        r#type: container_info::Type::Mesos as i32,
        tty_info: Some(v1::TtyInfo { window_size: terminal::size() }),
        ..v1::ContainerInfo::default()
    });
    let command = v1::CommandInfo {
        value: command.first().cloned(),
        arguments: command,
        shell: Some(false),
        ..v1::CommandInfo::default()
    };
    let call = wire::launch(&id, command, container);
    let output = granted(place.agent.output(&call).await?).await?;
    let raw = if ways.terminal { Some(Raw::enter()?) } else { None };
    let keys = if ways.terminal { Keys::Terminal } else { Keys::Plain };
    let said = input::listen(ways.interactive, keys);
    let mut session = Session { agent: place.agent, id, output: Some(output) };
    unless_signalled(raw, async {
        match session.converse(said, keys).await? {
            End::Detached => Ok(0),
            End::Over => session.exit_code().await,
        }
    })
    .await
}

/// The exit code of a session, or of a signal that ends it; the terminal is as before then.
async fn unless_signalled(
    mut raw: Option<Raw>,
    session: impl Future<Output = Result<u8, SessionError>>,
) -> Result<u8, SessionError> {
    let signalled = async {
        match &mut raw {
            Some(raw) => raw.signalled().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        code = session => code,
        code = signalled => Ok(code),
    }
}

/// Shows what a task writes, and gives it what is typed here if it has a terminal; its exit code.
pub(super) async fn attach(
    cluster: &mut Cluster,
    task: &str,
    framework: Option<&str>,
    no_stdin: bool,
) -> Result<Result<u8, SessionError>, Failure> {
    let place = match place(cluster, task, framework).await? {
        Ok(place) => place,
        Err(error) => return Ok(Err(error)),
    };
    Ok(join(place, no_stdin).await)
}

async fn join(place: Place, no_stdin: bool) -> Result<u8, SessionError> {
    let output = granted(place.agent.output(&wire::attach_output(&place.container)).await?).await?;
    // Asked for now: when it has ended the agent knows nothing of it any more.
    let waiting = {
        let (agent, id) = (place.agent.clone(), place.container.clone());
        tokio::spawn(async move { agent.wait(&id).await })
    };
    let here = std::io::stdin().is_terminal();
    let raw = if place.has_terminal && here && !no_stdin { Some(Raw::enter()?) } else { None };
    let keys = if raw.is_some() { Keys::Terminal } else { Keys::Plain };
    // Without a terminal a task has no standard input that could be given anything.
    let said = if place.has_terminal { input::listen(!no_stdin, keys) } else { input::silence() };
    let mut session = Session { agent: place.agent, id: place.container, output: Some(output) };
    unless_signalled(raw, async {
        Ok(match session.converse(said, keys).await? {
            End::Detached => 0,
            End::Over => match tokio::time::timeout(PATIENCE, waiting).await {
                Ok(Ok(Ok(Answered::Status(Some(status))))) => exit_code(status),
                _ => 0,
            },
        })
    })
    .await
}

async fn granted(output: Output) -> Result<Output, SessionError> {
    if output.status() == 200 {
        return Ok(output);
    }
    let status = output.status();
    Err(SessionError::Refused { status, text: output.rest().await })
}

/// How a conversation ended.
enum End {
    /// The container's output is at its end.
    Over,
    /// The detach keys were typed.
    Detached,
}

struct Session {
    agent: Agent,
    id: v1::ContainerId,
    output: Option<Output>,
}

impl Session {
    /// Shows output and gives input until either ends it.
    async fn converse(&mut self, said: mpsc::Receiver<Said>, keys: Keys) -> Result<End, SessionError> {
        let resizes = if keys == Keys::Terminal { terminal::resizes() } else { None };
        let giving = input::give(self.agent.clone(), self.id.clone(), said, resizes);
        let mut giving = std::pin::pin!(giving);
        let mut given = false;
        loop {
            let shown = {
                // Kept while the other ends: what is half written must not be overtaken.
                let mut shown = std::pin::pin!(self.show());
                loop {
                    tokio::select! {
                        shown = &mut shown => break shown,
                        detached = &mut giving, if !given => match detached {
                            Some(Detached) => return Ok(End::Detached),
                            None => given = true,
                        },
                    }
                }
            };
            match shown {
                Ok(()) => return Ok(End::Over),
                Err(SessionError::Wire(error)) => {
                    if !self.again(&error).await? {
                        return Ok(End::Over);
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Shows what comes, until its end.
    async fn show(&mut self) -> Result<(), SessionError> {
        let Some(output) = &mut self.output else { return Ok(()) };
        while let Some((of, bytes)) = output.next().await? {
            write(of, bytes).await?;
        }
        Ok(())
    }

    /// The connection broke: the session may be there still, when its agent or the master is back. `false`: it has ended.
    async fn again(&mut self, broken: &WireError) -> Result<bool, SessionError> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let mut problem = broken.to_string();
        while tokio::time::Instant::now() < deadline {
            tokio::time::sleep(PAUSE).await;
            match self.agent.output(&wire::attach_output(&self.id)).await {
                Ok(output) if output.status() == 200 => {
                    self.output = Some(output);
                    return Ok(true);
                }
                Ok(output) => {
                    problem = output.rest().await;
                    if problem.starts_with("Container ") || problem.starts_with("Unknown container ") {
                        return Ok(false);
                    }
                }
                Err(error) => problem = error.to_string(),
            }
        }
        Err(SessionError::Lost(problem))
    }

    async fn exit_code(&self) -> Result<u8, SessionError> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let problem = match self.agent.wait(&self.id).await {
                Ok(Answered::Status(Some(status))) => return Ok(exit_code(status)),
                Ok(Answered::Status(None)) => "nobody knows how it ended".to_owned(),
                Ok(Answered::Refused { status, text }) if status == 404 && text.starts_with("Container ") => text,
                Ok(Answered::Refused { text, .. }) if tokio::time::Instant::now() >= deadline => text,
                Err(error) if tokio::time::Instant::now() >= deadline => error.to_string(),
                Ok(Answered::Refused { .. }) | Err(_) => {
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            return Err(SessionError::Lost(problem));
        }
    }
}

/// Off the runtime's thread: whoever reads us may be slow.
async fn write(of: data::Type, bytes: Bytes) -> std::io::Result<()> {
    let written = tokio::task::spawn_blocking(move || {
        if of == data::Type::Stderr {
            let mut to = std::io::stderr().lock();
            to.write_all(&bytes).and_then(|()| to.flush())
        } else {
            let mut to = std::io::stdout().lock();
            to.write_all(&bytes).and_then(|()| to.flush())
        }
    });
    written.await.map_err(std::io::Error::other)?
}

/// As a shell has it: 128 and the signal for what was killed.
fn exit_code(status: i32) -> u8 {
    let code = if status & 0x7f == 0 { (status >> 8) & 0xff } else { 128 + (status & 0x7f) };
    u8::try_from(code).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_become_a_shells_codes() {
        assert_eq!([0, 10 << 8, 255 << 8, 9, 2].map(exit_code), [0, 10, 255, 137, 130]);
    }

    #[test]
    fn containers_within_others_are_understood() {
        let id = container_id(&serde_json::json!({"value": "b", "parent": {"value": "a"}})).unwrap();
        assert_eq!((id.value.as_str(), id.parent.unwrap().value.as_str()), ("b", "a"));
        assert!(container_id(&serde_json::json!({})).is_none());
    }
}
