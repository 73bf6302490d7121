//! What agents, frameworks and tools follow: who leads.

use std::{path::PathBuf, time::Duration};

use mezzo_api::v1::MasterInfo;
use mezzo_election_core::{Detection, Next, Source, SourceError, ZkUrl, fixed};
use tokio::sync::watch;
use zookeeper_client::{Client, Error, EventType, OneshotWatcher, SessionState};

use crate::connect::connect;

/// Detectors' sessions (src/master/constants.hpp, src/sched/sched.cpp).
const SESSION_TIMEOUT: Duration = Duration::from_secs(10);
/// After a session that ended or did not come about, the next one is tried after this …
const RETRY_MIN: Duration = Duration::from_millis(250);
/// … doubling up to this.
const RETRY_MAX: Duration = Duration::from_secs(10);

/// Why there is nothing to follow.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DetectorError {
    /// The text says nothing of masters.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The file that the text names cannot be read.
    #[error("{path}: {detail}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        detail: String,
    },
}

/// Reads where masters are: `zk://…`, `host:port`, a list of these with commas, or `file:///path` of a file that holds one
/// of them.
///
/// # Errors
/// If the text, or the file's, says nothing of masters.
pub fn source(text: &str) -> Result<Source, DetectorError> {
    match text.trim().strip_prefix("file://") {
        Some(path) => Ok(read_file(path)?.parse()?),
        None => Ok(text.parse()?),
    }
}

/// What a file that tells of masters holds.
///
/// # Errors
/// If it cannot be read.
pub fn read_file(path: &str) -> Result<String, DetectorError> {
    std::fs::read_to_string(path).map_err(|error| DetectorError::File { path: path.into(), detail: error.to_string() })
}

/// Follows the leader. With ZooKeeper it keeps a session of its own; while ZooKeeper cannot be reached, the last leader
/// that was known stays the one to be dialled: a lost ZooKeeper is no lost leader.
#[derive(Debug)]
pub struct Detector {
    leader: watch::Receiver<Option<MasterInfo>>,
    listed: Option<Listed>,
    told: bool,
    /// Ends the session when it is dropped.
    _alive: Option<tokio::task::AbortHandle>,
}

#[derive(Debug)]
struct Listed {
    masters: Vec<(String, u16)>,
    at: usize,
    present: watch::Sender<Option<MasterInfo>>,
}

impl Detector {
    /// Begins to follow.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn new(source: Source) -> Self {
        match source {
            Source::ZooKeeper(url) => {
                let (present, leader) = watch::channel(None);
                let task = tokio::spawn(follow(url, present));
                Self { leader, listed: None, told: false, _alive: Some(task.abort_handle()) }
            }
            Source::Listed(masters) => {
                let first = masters.first().map(|(host, port)| fixed(host, *port));
                let (present, leader) = watch::channel(first);
                Self { leader, listed: Some(Listed { masters, at: 0, present }), told: false, _alive: None }
            }
        }
    }

    /// Waits until another one leads than this told before, or nobody does; the first call tells the first leader at once
    /// when it is known.
    pub async fn changed(&mut self) -> Option<MasterInfo> {
        if !self.told {
            self.told = true;
            let present = self.leader.borrow_and_update().clone();
            if present.is_some() {
                return present;
            }
        }
        match self.leader.changed().await {
            Ok(()) => self.leader.borrow_and_update().clone(),
            Err(_) => std::future::pending().await, // a fixed one never changes
        }
    }

    /// Who leads, as far as known.
    pub fn leader(&self) -> Option<MasterInfo> {
        self.leader.borrow().clone()
    }

    /// Whether it is told by ZooKeeper who leads, rather than who may be asked.
    pub fn knows(&self) -> bool {
        self.listed.is_none()
    }

    /// The present one could not be reached. Of a list, [`Detector::leader`] is then the next one; ZooKeeper knows better.
    /// Whether it may be tried at once: not all of the list have failed since it was so the last time.
    pub fn failed(&mut self) -> bool {
        let Some(listed) = &mut self.listed else { return false };
        listed.at = (listed.at + 1) % listed.masters.len();
        let (host, port) = &listed.masters[listed.at];
        listed.present.send_replace(Some(fixed(host, *port)));
        self.leader.mark_unchanged();
        listed.at != 0
    }
}

impl Drop for Detector {
    fn drop(&mut self) {
        if let Some(task) = &self._alive {
            task.abort();
        }
    }
}

/// One session after the other.
async fn follow(url: ZkUrl, present: watch::Sender<Option<MasterInfo>>) {
    let mut detection = Detection::default();
    let mut retry = RETRY_MIN;
    loop {
        match connect(&url, SESSION_TIMEOUT).await {
            Ok(client) => {
                let error = session(&client, url.path(), &mut detection, &present, &mut retry).await;
                tracing::warn!(%url, "the session with ZooKeeper ended ({error}); opening another one");
            }
            Err(error) => tracing::warn!(%url, "no session with ZooKeeper: {error}; trying on"),
        }
        tokio::time::sleep(retry).await;
        retry = (retry * 2).min(RETRY_MAX);
    }
}

/// Follows within one session, until its end.
async fn session(
    client: &Client,
    path: &str,
    detection: &mut Detection,
    present: &watch::Sender<Option<MasterInfo>>,
    retry: &mut Duration,
) -> Error {
    loop {
        let watcher = match look(client, path, detection).await {
            Ok(watcher) => watcher,
            Err(error) if is_end(client, &error) => return error,
            Err(error) => {
                tracing::warn!(path, "ZooKeeper does not tell who leads: {error}");
                tokio::time::sleep(*retry).await;
                *retry = (*retry * 2).min(RETRY_MAX);
                continue;
            }
        };
        *retry = RETRY_MIN;
        if let Some(leader) = detection.news() {
            match &leader {
                Some(info) => tracing::info!(id = info.id, pid = info.pid(), "a new leading master"),
                None => tracing::warn!(path, "no master leads"),
            }
            present.send_replace(leader);
        }
        let event = watcher.changed().await;
        if event.event_type == EventType::Session && event.session_state.is_terminated() {
            return Error::SessionExpired;
        }
    }
}

/// Reads children and leader; the watcher tells of the next change. While nobody made the path, its making is watched.
async fn look(client: &Client, path: &str, detection: &mut Detection) -> Result<OneshotWatcher, Error> {
    loop {
        match client.list_and_watch_children(path).await {
            Ok((children, watcher)) => {
                if let Next::Read(name) = detection.children(children.iter().map(String::as_str)) {
                    match client.get_data(&format!("{path}/{name}")).await {
                        Ok((data, _)) => detection.read(&name, Some(&data)),
                        Err(Error::NoNode) => detection.read(&name, None),
                        Err(error) => return Err(error),
                    }
                }
                return Ok(watcher);
            }
            Err(Error::NoNode) => {
                detection.children([]);
                if let (None, watcher) = client.check_and_watch_stat(path).await? {
                    return Ok(watcher);
                }
            }
            Err(error) => return Err(error),
        }
    }
}

/// Whether the session is over, rather than one question without an answer.
fn is_end(client: &Client, error: &Error) -> bool {
    matches!(error, Error::SessionExpired | Error::AuthFailed | Error::ClientClosed)
        || matches!(client.state(), SessionState::Expired | SessionState::AuthFailed | SessionState::Closed)
}

#[cfg(test)]
mod tests {
    use mezzo_election_core::address_of;

    use super::*;

    #[tokio::test]
    async fn a_list_is_gone_through() {
        let mut detector = Detector::new(source("m1:1,m2:2").unwrap());
        assert!(detector.changed().await.is_some());
        for (host, port, at_once) in [("m1", 1, true), ("m2", 2, false), ("m1", 1, true)] {
            assert_eq!(address_of(&detector.leader().unwrap()), (host.to_owned(), port));
            assert_eq!(detector.failed(), at_once);
        }
    }

    #[tokio::test]
    async fn a_single_master_is_told_once() {
        let mut detector = Detector::new(source("m1:1").unwrap());
        assert!(detector.changed().await.is_some());
        assert!(!detector.failed());
        let more = tokio::time::timeout(Duration::from_millis(20), detector.changed()).await;
        assert!(more.is_err(), "{more:?}");
    }

    #[test]
    fn a_file_may_hold_it() {
        let path = std::env::temp_dir().join(format!("mezzo-master-{}", std::process::id()));
        std::fs::write(&path, "zk://user:secret@z1:2181/mezzo\n").unwrap();
        let read = source(&format!("file://{}", path.display()));
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(read, Ok(Source::ZooKeeper(url)) if url.path() == "/mezzo"));
        assert!(source("file:///no/such/file").unwrap_err().to_string().contains("/no/such/file"));
    }
}
