//! Tries the addresses that agents advertise: whether frameworks find the agent there. Nothing of ours needs that.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use mezzo_api::ids::AgentId;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Semaphore,
};

use crate::server::{CoreHandle, Input};

/// How long an answer may take.
const WITHIN: Duration = Duration::from_secs(5);
/// As many are tried at a time.
const AT_A_TIME: usize = 64;
/// More than this of an answer is not looked at.
const ANSWER_BYTES: u64 = 4096;
/// An agent says so who it is.
const ID_HEADER: &str = "mezzo-agent-id:";

/// Why an agent is not found where it says it is.
#[derive(Debug, thiserror::Error)]
enum ProbeError {
    #[error("{0}")]
    Connection(#[from] std::io::Error),
    #[error("no answer within {} s", WITHIN.as_secs())]
    Late,
    #[error("what answers there is no agent")]
    NoAgent,
    #[error("another agent answers there, {0}")]
    Another(String),
}

/// The one who tries.
pub(crate) struct Prober {
    runtime: tokio::runtime::Handle,
    core: CoreHandle,
    turns: Arc<Semaphore>,
}

impl Prober {
    /// Works on this runtime.
    pub(crate) fn new(runtime: tokio::runtime::Handle, core: CoreHandle) -> Self {
        Self { runtime, core, turns: Arc::new(Semaphore::new(AT_A_TIME)) }
    }

    /// Tries, and tells the core.
    pub(crate) fn probe(&self, agent: AgentId, address: SocketAddr) {
        let (core, turns) = (self.core.clone(), self.turns.clone());
        self.runtime.spawn(async move {
            let Ok(_turn) = turns.acquire_owned().await else { return };
            let attempt = tokio::time::timeout(WITHIN, attempt(agent.as_str(), address)).await;
            let failure = attempt.unwrap_or(Err(ProbeError::Late)).err().map(|error| error.to_string());
            // A core that has stopped wants to know nothing.
            let _ = core.send(Input::Probed(agent, address, failure)).await;
        });
    }
}

async fn attempt(agent: &str, address: SocketAddr) -> Result<(), ProbeError> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET /health HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES).read_to_end(&mut answer).await?;
    read(agent, &String::from_utf8_lossy(&answer))
}

/// An agent that has no id yet, or is of another make, need not say who it is.
fn read(agent: &str, answer: &str) -> Result<(), ProbeError> {
    let head = answer.split("\r\n\r\n").next().unwrap_or_default();
    let mut lines = head.lines();
    if !lines.next().is_some_and(|status| status.starts_with("HTTP/1.1 200")) {
        return Err(ProbeError::NoAgent);
    }
    let named = lines.find_map(|line| {
        let (name, value) = line.split_at_checked(ID_HEADER.len())?;
        name.eq_ignore_ascii_case(ID_HEADER).then(|| value.trim())
    });
    match named {
        Some(other) if other != agent => Err(ProbeError::Another(other.to_owned())),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn knows_the_agent_from_others() {
        assert!(read("a", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nMezzo-Agent-Id: a\r\n\r\n").is_ok());
        assert!(read("a", "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").is_ok());
        let another = read("a", "HTTP/1.1 200 OK\r\nmezzo-agent-id: b\r\n\r\n").unwrap_err();
        assert_eq!(another.to_string(), "another agent answers there, b");
        for answer in ["", "HTTP/1.1 404 Not Found\r\n\r\n", "SSH-2.0-OpenSSH\r\n"] {
            assert!(matches!(read("a", answer), Err(ProbeError::NoAgent)), "{answer}");
        }
    }

    #[tokio::test]
    async fn an_address_where_nobody_listens_is_no_agents() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        assert!(matches!(attempt("a", address).await, Err(ProbeError::Connection(_))));
    }
}
