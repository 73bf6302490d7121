//! From the flags to a master at work, and to its end.

use std::{ffi::OsString, io, net::SocketAddr, process::ExitCode, sync::Arc, time::Duration};

use mezzo_master_core::input::{AllocatorConfig, Config, Lifecycle};
use mezzo_server::{
    files::Files,
    flags::{DiscoveryError, DomainError},
    logs::Logs,
};
use tokio::{
    net::{TcpListener, TcpSocket},
    signal::unix::{SignalKind, signal},
    sync::{oneshot, watch},
};

use crate::{
    flags::{Flags, Registry},
    http::{self, App},
    identity::Identity,
    link::Links,
    registry::{Embedded, Memory, Opened, RegistryFailure},
    server::{self, CoreHandle, Input, Running, ShellError},
    view::Published,
};

/// HEARTBEAT events go out this often (src/master/constants.hpp).
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(15);
/// Threads that serve connections.
const WORKERS: usize = 2;
const STACK_BYTES: usize = 1024 * 1024;

/// Why a master did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The embedded registry has no place.
    #[error(
        "--work_dir is needed: the directory that keeps the registry, e.g. --work_dir=/var/lib/mezzo-master (or \
         --registry=in_memory, which forgets all agents at each start)"
    )]
    NoWorkDir,
    /// The address to listen on is not known.
    #[error(transparent)]
    Discovery(#[from] DiscoveryError),
    /// Region and zone make no sense.
    #[error(transparent)]
    Domain(#[from] DomainError),
    /// The registry is of no use.
    #[error(transparent)]
    Registry(Box<dyn std::error::Error + Send + Sync>),
    /// The address is taken or not of this host.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// `--ip` and `--port`.
        address: SocketAddr,
        /// What the operating system says.
        error: io::Error,
    },
    /// A thread did not start.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
}

/// A master at work. Dropping it without [`Master::stop`] leaves its core running until the process ends.
#[derive(Debug)]
pub struct Master {
    address: SocketAddr,
    url: String,
    core: CoreHandle,
    stop: watch::Sender<bool>,
    ended: oneshot::Receiver<Result<(), ShellError>>,
    serving: tokio::task::JoinHandle<()>,
}

impl Master {
    /// Opens the registry, starts the core, and listens.
    ///
    /// # Errors
    /// If the registry cannot be used, or the address cannot be listened on.
    pub async fn start(mut flags: Flags) -> Result<Self, StartError> {
        if let Some(command) = &flags.ip_discovery_command {
            flags.ip = mezzo_server::flags::discovered_ip(command)?;
        }
        let domain = flags.fault_domain()?;
        let address = SocketAddr::new(flags.ip, flags.port);
        let listener = listen(address).map_err(|error| StartError::Listen { address, error })?;
        let address = listener.local_addr().map_err(|error| StartError::Listen { address, error })?;
        let opened = open(&flags)?;
        let identity = Identity::new(&flags, address, domain);
        let published = Arc::new(Published::new(&opened.recovered));
        let links = Arc::new(Links::new(opened.term));
        let config = config(&flags, &identity, opened.term);
        tracing::info!(
            term = opened.term,
            agents = opened.recovered.agents.len(),
            unreachable = opened.recovered.unreachable.len(),
            "the registry is read"
        );
        let Running { core, ended } =
            server::start(config, opened, Arc::clone(&published), Arc::clone(&links)).map_err(StartError::Thread)?;
        let url = format!("http://{}", identity.authority());
        let (stop, stopped) = watch::channel(false);
        let files = shown_files(&flags);
        let app = App {
            core: core.clone(),
            published,
            links,
            identity,
            file_router: mezzo_server::files::router(files.clone()),
            files,
            flags,
            rendered: Default::default(),
        };
        let serving = tokio::spawn(http::serve(Arc::new(app), listener, stopped));
        Ok(Self { address, url, core, stop, ended, serving })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What people type to see its page.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Waits until the master fails, which it does when it cannot do its work any more.
    ///
    /// # Errors
    /// Always, unless it was stopped.
    pub async fn failed(&mut self) -> anyhow::Result<()> {
        match (&mut self.ended).await {
            Ok(result) => Ok(result?),
            Err(_) => Err(ShellError::Panicked.into()),
        }
    }

    /// Ends all connections and the core, and waits for it.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        let _ = self.serving.await;
        if self.core.send(Input::Stop).await.is_ok() {
            let _ = self.ended.await;
        }
    }
}

/// The whole program: reads the flags from `arguments` (the program's name first) and the environment, and serves until
/// SIGTERM or SIGINT.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let flags = match Flags::parse_from_environment(arguments) {
        Ok(flags) => flags,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(u8::from(error.use_stderr()));
        }
    };
    let log_file = Logs::file_in(flags.log_dir.as_deref(), "mezzo-master");
    let logs = log_file.and_then(|file| Logs::start(flags.logging_level, flags.quiet, file.as_deref()));
    let logs = match logs {
        Ok(logs) => logs,
        Err(error) => {
            eprintln!("mezzo-master: cannot write the log (--log_dir): {error}");
            return ExitCode::FAILURE;
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .max_blocking_threads(4)
        .thread_keep_alive(Duration::from_secs(2))
        .thread_stack_size(STACK_BYTES)
        .enable_all()
        .build();
    let result = runtime.map_err(anyhow::Error::from).and_then(|runtime| runtime.block_on(run(flags)));
    if let Some(logs) = logs {
        logs.flush();
    }
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mezzo-master: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
/// If the master does not start, or cannot do its work any more.
pub async fn run(flags: Flags) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut master = Master::start(flags).await?;
    tracing::info!(address = %master.address(), url = master.url(), "the master serves");
    tokio::select! {
        result = master.failed() => return result,
        _ = terminate.recv() => tracing::info!("SIGTERM: the master stops"),
        _ = interrupt.recv() => tracing::info!("SIGINT: the master stops"),
    }
    master.stop().await;
    Ok(())
}

/// The log, if it goes to a file.
fn shown_files(flags: &Flags) -> Files {
    let files = Files::default();
    let own_log = flags.log_dir.as_ref().map(|directory| directory.join("mezzo-master.INFO"));
    if let Some(log) = flags.external_log_file.clone().or(own_log) {
        files.attach("/master/log", log);
    }
    files
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(1024)
}

fn open(flags: &Flags) -> Result<Opened, StartError> {
    let failed = |failure: RegistryFailure| StartError::Registry(failure.into());
    match (flags.registry, &flags.work_dir) {
        (Registry::InMemory, _) => Ok(Memory::open()),
        (Registry::Embedded, Some(work_dir)) => Embedded::open(work_dir).map_err(failed),
        (Registry::Embedded, None) => Err(StartError::NoWorkDir),
    }
}

fn config(flags: &Flags, identity: &Identity, term: u64) -> Config {
    Config {
        master_id: identity.id().to_owned(),
        term,
        master_info: identity.info.clone(),
        allocation_interval: flags.allocation_interval,
        agent_ping_timeout: flags.agent_ping_timeout,
        max_agent_ping_timeouts: flags.max_agent_ping_timeouts,
        agent_reregister_timeout: flags.agent_reregister_timeout,
        lifecycle: Lifecycle {
            removal_rate_limit: flags.agent_removal_rate_limit.map(|rate| rate.0),
            recovery_removal_limit: flags.recovery_agent_removal_limit,
            registry_gc_interval: flags.registry_gc_interval,
            registry_max_agent_age: flags.registry_max_agent_age,
            registry_max_agent_count: flags.registry_max_agent_count,
            require_agent_domain: flags.require_agent_domain,
        },
        offer_timeout: flags.offer_timeout.0,
        heartbeat_interval: HEARTBEAT_INTERVAL,
        max_completed_frameworks: flags.max_completed_frameworks,
        max_completed_tasks_per_framework: flags.max_completed_tasks_per_framework,
        max_unreachable_tasks_per_framework: flags.max_unreachable_tasks_per_framework,
        roles: flags.roles.clone(),
        root_submissions: flags.root_submissions,
        filter_gpu_resources: flags.filter_gpu_resources,
        min_allocatable_resources: flags.min_allocatable_resources.0.clone(),
        allocator: AllocatorConfig {
            role_sorter: flags.role_sorter,
            framework_sorter: flags.framework_sorter,
            fair_sharing_excluded: flags.fair_sharing_excluded_resource_names.clone().unwrap_or_default(),
            agent_recovery_factor: flags.allocator_agent_recovery_factor,
            recovery_timeout: flags.allocator_recovery_timeout,
        },
    }
}
