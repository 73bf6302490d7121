//! Looks at tasks over the network, for the core: each in a task of its own, told once unless it is ended first.

use std::{collections::HashMap, fs::File, net::SocketAddr};

use mezzo_agent_core::container::{Outcome, Probe};
use mezzo_api::ids::ContainerId;
use mezzo_web::{Client, Verify};
use nix::sched::{CloneFlags, setns};
use tokio::{net::TcpStream, runtime::Handle as Runtime, sync::oneshot, task::AbortHandle};

use crate::{
    containerizer::Containerizer,
    shell::{Handle, Input},
};

/// Those that go on.
pub(crate) struct Probes {
    runtime: Runtime,
    handle: Handle,
    containers: Containerizer,
    client: Client,
    running: HashMap<ContainerId, AbortHandle>,
}

impl Probes {
    /// None yet; they run on the current runtime.
    pub(crate) fn new(handle: Handle, containers: Containerizer) -> Self {
        // A task's certificate is its own affair, as for curl -k (src/checks/checker_process.cpp).
        let client = Client::new(Verify::Nothing);
        Self { runtime: Runtime::current(), handle, containers, client, running: HashMap::new() }
    }

    /// Looks at a task, from within the network of the container `inside` if the task has not the host's.
    pub(crate) fn begin(&mut self, id: ContainerId, probe: Probe, inside: Option<ContainerId>) {
        let (client, handle, name, containers) =
            (self.client.clone(), self.handle.clone(), id.clone(), self.containers.clone());
        let task = self.runtime.spawn(async move {
            let outcome = match inside {
                None => see(&client, probe).await,
                Some(container) => see_from(&containers, container, probe).await,
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

async fn see(client: &Client, probe: Probe) -> Outcome {
    match probe {
        Probe::Http { url } => look(client, &url).await,
        Probe::Tcp { address } => connect(address).await,
    }
}

/// A thread enters the network and does not come back: all connections of its runtime begin there.
async fn see_from(containers: &Containerizer, container: ContainerId, probe: Probe) -> Outcome {
    let failed =
        |error: &dyn std::fmt::Display| Outcome::Error(format!("cannot look from within the container: {error}"));
    let Some(processes) = containers.processes(container).await else {
        return Outcome::Error("the container has ended".into());
    };
    let network = match File::open(format!("/proc/{}/ns/net", processes.task.pid)) {
        Ok(network) if processes.task.stat().is_some() => network,
        Ok(_) => return Outcome::Error("the container has ended".into()),
        Err(error) => return failed(&error),
    };
    let (mut answer, seen) = oneshot::channel();
    let thread = std::thread::Builder::new().name("probe".into()).stack_size(512 * 1024).spawn(move || {
        let outcome = enter(network).map(|runtime| {
            runtime.block_on(async {
                let client = Client::new(Verify::Nothing);
                tokio::select! {
                    outcome = see(&client, probe) => outcome,
                    () = answer.closed() => Outcome::Error("nobody waits for it".into()),
                }
            })
        });
        let _ = answer.send(outcome.unwrap_or_else(|error| Outcome::Error(error.to_string())));
    });
    match thread {
        Ok(_) => seen.await.unwrap_or_else(|error| failed(&error)),
        Err(error) => failed(&error),
    }
}

/// The calling thread works in this network from now on.
fn enter(network: File) -> std::io::Result<tokio::runtime::Runtime> {
    setns(network, CloneFlags::CLONE_NEWNET)?;
    tokio::runtime::Builder::new_current_thread().enable_all().build()
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
