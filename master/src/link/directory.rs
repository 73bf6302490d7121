//! Which agent is behind which link, and the bulk connections to them.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use hyper::{body::Incoming, client::conn::http2::SendRequest, upgrade::OnUpgrade};
use mezzo_api::{
    ids::AgentId,
    link::{OpenBulk, to_agent},
};
use mezzo_master_core::input::LinkId;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::{BULK_KEEP_ALIVE, LinkSink, handshake};
use crate::outbox;

/// How long an agent may take to open a bulk connection.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection on which an agent serves its endpoints.
pub(crate) type Bulk = SendRequest<Incoming>;

/// Why an agent's endpoints cannot be reached.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReachError {
    /// No agent of this id is linked.
    #[error("No agent with the id '{id}' has a link to this master.")]
    Unknown {
        /// As asked for.
        id: String,
    },
    /// Its link ended meanwhile.
    #[error("The link of agent '{id}' ended; it comes back by itself if the agent lives.")]
    Gone {
        /// As asked for.
        id: String,
    },
    /// It did not dial.
    #[error("The agent '{id}' did not open a connection for this request within {} seconds.", OPEN_TIMEOUT.as_secs())]
    Timeout {
        /// As asked for.
        id: String,
    },
}

/// All links.
#[derive(Debug)]
pub(crate) struct Links {
    term: u64,
    next: AtomicU64,
    agents: Mutex<HashMap<AgentId, Arc<Linked>>>,
    /// Bulk connections that were asked for, by token.
    asked: Mutex<HashMap<String, oneshot::Sender<Bulk>>>,
}

/// One agent's link.
#[derive(Debug)]
struct Linked {
    link: LinkId,
    messages: Weak<outbox::Sender<Box<to_agent::Message>>>,
    bulk: tokio::sync::Mutex<Option<Bulk>>,
}

impl Links {
    /// No links, under a leadership term.
    pub(crate) fn new(term: u64) -> Self {
        Self { term, next: AtomicU64::new(1), agents: Mutex::default(), asked: Mutex::default() }
    }

    /// The leadership term: on every message to agents.
    pub(crate) fn term(&self) -> u64 {
        self.term
    }

    /// A number for a new link.
    pub(crate) fn next_id(&self) -> LinkId {
        LinkId(self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// The core told an agent that it is registered.
    pub(crate) fn up(&self, agent: AgentId, link: LinkId, sink: &LinkSink) {
        let linked = Linked { link, messages: Arc::downgrade(&sink.messages), bulk: tokio::sync::Mutex::default() };
        lock(&self.agents).insert(agent, Arc::new(linked));
    }

    /// A link ended.
    pub(crate) fn down(&self, link: LinkId) {
        lock(&self.agents).retain(|_, linked| linked.link != link);
    }

    /// A connection on which the agent serves its endpoints: the one that is there, or a new one.
    pub(crate) async fn reach(&self, id: &str) -> Result<Bulk, ReachError> {
        let linked =
            lock(&self.agents).get(id).map(Arc::clone).ok_or_else(|| ReachError::Unknown { id: id.to_owned() })?;
        let mut bulk = linked.bulk.lock().await;
        if let Some(open) = bulk.as_ref().filter(|open| !open.is_closed()) {
            return Ok(open.clone());
        }
        let new = self.open(id, &linked).await?;
        Ok(bulk.insert(new).clone())
    }

    async fn open(&self, id: &str, linked: &Linked) -> Result<Bulk, ReachError> {
        let token = Uuid::new_v4().to_string();
        let (sender, connection) = oneshot::channel();
        lock(&self.asked).insert(token.clone(), sender);
        let asked = Asked { links: self, token: token.clone() };
        let message = to_agent::Message::OpenBulk(OpenBulk { token });
        let bytes = message.encoded_len();
        let sent = linked.messages.upgrade().map(|messages| messages.push(Box::new(message), bytes));
        if sent != Some(Ok(())) {
            return Err(ReachError::Gone { id: id.to_owned() });
        }
        let opened = tokio::time::timeout(OPEN_TIMEOUT, connection).await;
        drop(asked);
        match opened {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(_)) => Err(ReachError::Gone { id: id.to_owned() }),
            Err(_) => Err(ReachError::Timeout { id: id.to_owned() }),
        }
    }

    /// Who waits for the bulk connection with this token, if anybody does.
    pub(super) fn asked_for(&self, token: &str) -> Option<oneshot::Sender<Bulk>> {
        lock(&self.asked).remove(token)
    }
}

/// Forgets the token when nobody waits any more.
struct Asked<'a> {
    links: &'a Links,
    token: String,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        lock(&self.links.asked).remove(&self.token);
    }
}

/// A bulk connection from its upgrade to its end.
pub(super) async fn run_bulk(asked: oneshot::Sender<Bulk>, upgrade: OnUpgrade) {
    match handshake(upgrade, Some(BULK_KEEP_ALIVE)).await {
        Ok((sender, connection)) => {
            if asked.send(sender).is_ok()
                && let Err(error) = connection.await
            {
                tracing::debug!(%error, "a bulk connection ended");
            }
        }
        Err(error) => tracing::warn!(%error, "a bulk connection was not opened"),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_agent_without_a_link_is_not_reached() {
        let links = Links::new(1);
        assert!(matches!(links.reach("nobody").await, Err(ReachError::Unknown { .. })));
        let (messages, _queue) = outbox::channel(super::super::LIMITS);
        let sink =
            LinkSink { messages: Arc::new(messages), connection: Default::default(), closing: Default::default() };
        let link = links.next_id();
        links.up("a".into(), link, &sink);
        drop(sink);
        assert!(matches!(links.reach("a").await, Err(ReachError::Gone { .. })));
        assert!(lock(&links.asked).is_empty());
        links.down(link);
        assert!(matches!(links.reach("a").await, Err(ReachError::Unknown { .. })));
    }

    #[tokio::test(start_paused = true)]
    async fn an_agent_that_does_not_dial_is_waited_for_a_while() {
        let links = Links::new(1);
        let (messages, _queue) = outbox::channel(super::super::LIMITS);
        let sink =
            LinkSink { messages: Arc::new(messages), connection: Default::default(), closing: Default::default() };
        links.up("a".into(), links.next_id(), &sink);
        assert!(matches!(links.reach("a").await, Err(ReachError::Timeout { .. })));
        assert!(lock(&links.asked).is_empty());
    }
}
