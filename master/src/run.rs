//! From the flags to a master at work, and to its end.

use std::{ffi::OsString, io, net::SocketAddr, path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use mezzo_server::{
    files::Files,
    flags::{DiscoveryError, DomainError},
    logs::Logs,
    notify, threads,
};
use tokio::{
    net::{TcpListener, TcpSocket},
    signal::unix::{SignalKind, signal},
    sync::watch,
};

use crate::{
    check,
    flags::Flags,
    http::{self, Node},
    identity::Identity,
    life::Life,
    server::ShellError,
    whitelist::Whitelist,
};

/// Threads that serve connections.
const WORKERS: usize = 2;
const STACK_BYTES: usize = 1024 * 1024;
/// How long a master that stops waits for connections to take what is left for them.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Why a master did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The embedded registry has no place.
    #[error(
        "--work_dir is needed: the directory that keeps the registry, e.g. --work_dir=/var/lib/mezzo-master (or \
         --registry=in_memory, which forgets all agents at each start)"
    )]
    NoWorkDir,
    /// The registry is in an ensemble that was not named.
    #[error("--registry=zookeeper needs --zk, the ensemble that keeps it")]
    NoEnsemble,
    /// The address to listen on is not known.
    #[error(transparent)]
    Discovery(#[from] DiscoveryError),
    /// Region and zone make no sense.
    #[error(transparent)]
    Domain(#[from] DomainError),
    /// The hosts that may be offered are not known.
    #[error("--whitelist={} cannot be read: {error} (a file with one host name on each line)", path.display())]
    Whitelist {
        /// The flag's value.
        path: PathBuf,
        /// What the operating system says.
        error: io::Error,
    },
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
    node: Arc<Node>,
    stop: watch::Sender<bool>,
    life: tokio::task::JoinHandle<Result<(), ShellError>>,
    /// Until connections end, which they do after the core.
    close: watch::Sender<bool>,
    serving: tokio::task::JoinHandle<Option<http::Readers>>,
}

impl Master {
    /// Listens, and leads, or stands for election.
    ///
    /// # Errors
    /// If the address cannot be listened on, or the registry of a master that stands alone cannot be used.
    pub async fn start(mut flags: Flags) -> Result<Self, StartError> {
        if let Some(command) = &flags.ip_discovery_command {
            flags.ip = mezzo_server::flags::discovered_ip(command)?;
        }
        let domain = flags.fault_domain()?;
        let whitelist = open_whitelist(&flags)?;
        let address = SocketAddr::new(flags.ip, flags.port);
        let listener = listen(address).map_err(|error| StartError::Listen { address, error })?;
        let address = listener.local_addr().map_err(|error| StartError::Listen { address, error })?;
        let identity = Identity::new(&flags, address, domain);
        let files = shown_files(&flags);
        let url = format!("http://{}", identity.authority());
        let node = Arc::new(Node::new(flags, identity.start_time, files));
        let life = Life::new(Arc::clone(&node), identity, whitelist);
        let (stop, stopped) = watch::channel(false);
        let life = match node.flags.ensemble().cloned() {
            None => tokio::spawn(life.alone().await?.run(stopped)),
            Some(ensemble) => tokio::spawn(life.elected(ensemble, stopped)),
        };
        let (close, closed) = watch::channel(false);
        let serving = tokio::spawn(http::serve(Arc::clone(&node), listener, closed));
        Ok(Self { address, url, node, stop, life, close, serving })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What people type to see its page.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Waits until the master fails, which one that stands alone does when it cannot do its work any more; others step down.
    ///
    /// # Errors
    /// Always, unless it was stopped.
    pub async fn failed(&mut self) -> anyhow::Result<()> {
        match (&mut self.life).await {
            Ok(result) => Ok(result?),
            Err(_) => Err(ShellError::Panicked.into()),
        }
    }

    /// Hands over to another master if there is one, ends the core and all connections, and waits for it.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        let _ = self.life.await;
        self.close.send_replace(true);
        let _readers = self.serving.await;
        // Whoever does not read what is left for him is not waited for.
        let _ = tokio::time::timeout(LAST_WORDS, self.close.closed()).await;
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
    flags.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    let problems = check::problems(&flags);
    if !problems.is_empty() {
        for problem in problems {
            tracing::error!("{problem}");
            eprintln!("mezzo-master: {problem}");
        }
        if let Some(logs) = logs {
            logs.flush();
        }
        return ExitCode::FAILURE;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .max_blocking_threads(4)
        .thread_keep_alive(Duration::from_secs(2))
        .thread_stack_size(STACK_BYTES)
        .on_thread_start(threads::prompt)
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
    notify::ready();
    let node = Arc::clone(&master.node);
    let watchdog = tokio::spawn(notify::watchdog(move || proof_of_life(Arc::clone(&node))));
    tokio::select! {
        result = master.failed() => return result,
        _ = terminate.recv() => tracing::info!("SIGTERM: the master stops"),
        _ = interrupt.recv() => tracing::info!("SIGINT: the master stops"),
    }
    notify::stopping();
    watchdog.abort();
    master.stop().await;
    Ok(())
}

async fn proof_of_life(node: Arc<Node>) {
    node.proof_of_life().await;
}

pub(crate) fn open_whitelist(flags: &Flags) -> Result<Option<Whitelist>, StartError> {
    let open =
        |path: &PathBuf| Whitelist::open(path).map_err(|error| StartError::Whitelist { path: path.clone(), error });
    flags.whitelist.as_ref().map(open).transpose()
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
