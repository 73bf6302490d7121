//! Looks at tasks over the network, for the core: each in a task of its own, told once unless it is ended first.

use std::{collections::HashMap, net::SocketAddr};

use mezzo_agent_core::container::{Outcome, Probe};
use mezzo_api::ids::ContainerId;
use mezzo_web::{Client, Verify};
use tokio::{net::TcpStream, runtime::Handle as Runtime, task::AbortHandle};

use crate::shell::{Handle, Input};

/// Those that go on.
pub(crate) struct Probes {
    runtime: Runtime,
    handle: Handle,
    client: Client,
    running: HashMap<ContainerId, AbortHandle>,
}

impl Probes {
    /// None yet; they run on the current runtime.
    pub(crate) fn new(handle: Handle) -> Self {
        // A task's certificate is its own affair, as for curl -k (src/checks/checker_process.cpp).
        Self { runtime: Runtime::current(), handle, client: Client::new(Verify::Nothing), running: HashMap::new() }
    }

    /// Looks at a task.
    pub(crate) fn begin(&mut self, id: ContainerId, probe: Probe) {
        let (client, handle, name) = (self.client.clone(), self.handle.clone(), id.clone());
        let task = self.runtime.spawn(async move {
            let outcome = match probe {
                Probe::Http { url } => look(&client, &url).await,
                Probe::Tcp { address } => connect(address).await,
            };
            handle.tell(Input::Probed(name, outcome));
        });
        self.running.retain(|_, task| !task.is_finished());
        self.running.insert(id, task.abort_handle());
    }

    /// Nobody waits for it any more.
    pub(crate) fn end(&mut self, id: &ContainerId) {
        if let Some(task) = self.running.remove(id) {
            task.abort();
        }
    }
}

async fn look(client: &Client, url: &str) -> Outcome {
    let address = match url.parse() {
        Ok(address) => address,
        Err(error) => return Outcome::Error(format!("'{url}' is no address: {error}")),
    };
    match client.get(address, None).await {
        Ok(response) => Outcome::Http(response.status().as_u16()),
        Err(error) => Outcome::Error(error.to_string()),
    }
}

/// Mesos' helper tells a refused connection apart from a connection that never came about.
async fn connect(address: SocketAddr) -> Outcome {
    Outcome::Tcp(TcpStream::connect(address).await.is_ok())
}
