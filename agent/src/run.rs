//! Puts an agent together and runs it.

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, anyhow};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use mezzo_agent_core::{
    Core,
    config::Config,
    container::ContainerEvent,
    effect::{Effect, Effects},
    isolation::Abilities,
};
use mezzo_api::ids::ContainerId;
use mezzo_election::Detector;
use mezzo_server::{notify, threads};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};
use tokio_util::sync::CancellationToken;

use crate::{
    called,
    checkpoint::{Checkpoint, WorkDirLock},
    containerizer::{self, Containerizer, Told},
    failpoint, fetcher,
    files::{self, Files},
    flags::{Bytes, Flags},
    gc,
    http::Door,
    identity::{Addresses, describe},
    images::{self, Images},
    isolation::{self, Chain},
    link,
    network::Networks,
    probes::Probes,
    shell::{Clock, Doors, End, Handle, Input, Shell},
    volumes,
};

/// What the core said last is given so long to leave: the link's connection does not tell when it is sent.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// Runs until a signal, the master or damage ends the agent.
///
/// # Errors
/// When it cannot start, or cannot go on.
pub(crate) fn run(flags: Flags) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .thread_stack_size(512 * 1024)
        .build()
        .context("cannot start the runtime")?;
    threads::prompt();
    runtime.block_on(agent(flags))
}

async fn agent(mut flags: Flags) -> Result<()> {
    let started = Instant::now();
    let start_time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
    if let Some(command) = &flags.ip_discovery_command {
        flags.ip = Some(mezzo_server::flags::discovered_ip(command)?);
    }
    fs::create_dir_all(&flags.work_dir).with_context(|| format!("--work_dir={}", flags.work_dir.display()))?;
    flags.work_dir =
        flags.work_dir.canonicalize().with_context(|| format!("--work_dir={}", flags.work_dir.display()))?;
    let meta = flags.work_dir.join("meta");
    name_directories(&mut flags);
    let _lock = WorkDirLock::take(&meta)?;
    let boot_id = boot_id()?;
    let (mut checkpoint, records) = Checkpoint::open(&meta, &boot_id, flags.strict)?;

    let listener = listen(&flags).await?;
    let addresses = Addresses::new(&flags, listener.local_addr().context("the listener has no address")?);
    let mut config = config(&flags, addresses, boot_id)?;
    let chain = isolate(&mut flags, &mut config)?;
    let accounts = chain.accounts();
    let clock = Clock::new();
    let mut first = Vec::new();
    let recovered = Core::recover(config, crate::identity::seed(), clock.now(), records, &mut first)
        .map_err(|error| anyhow!("{error}; {}", way_out(&meta)))?;
    make_volumes(&mut first);
    failpoint::pass("recovered");
    checkpoint.begin(&recovered.core.snapshot(), &new_records(&first))?;
    failpoint::pass("recovery-recorded");

    let (events, container_events) = mpsc::unbounded_channel();
    let images = Images::open(&flags)?;
    let settings = container_config(&flags, chain, images.clone())?;
    let (containers, left) = take_over(settings, events, recovered.containers).await?;
    failpoint::pass("containers-found");

    let files = Files::default();
    let figures = Arc::new(gc::Figures::default());
    let gc_directory = meta.join("gc");
    let journal = gc::Journal::new(gc_directory.clone(), flags.work_dir.clone(), figures.clone())
        .with_context(|| format!("cannot use {}", gc_directory.display()))?;
    let collector = gc::Collector {
        directory: gc_directory,
        work_dir: flags.work_dir.clone(),
        policy: gc::Policy {
            delay: flags.gc_delay,
            headroom: flags.gc_disk_headroom,
            interval: flags.disk_watch_interval,
        },
        files: files.clone(),
        figures: figures.clone(),
    };
    let _collecting = collector.spawn().context("cannot start the thread that deletes old sandboxes")?;

    attach_log(&flags, &files);
    let (handle, inputs) = Handle::new();
    let (calls, io_directory) = left.serve(&containers, &handle);
    let (dialer, bulk) = link::dialer();
    let leader = link::Leader::default();
    let door = Arc::new(Door {
        handle: handle.clone(),
        leader: leader.clone(),
        ip: addresses.published.ip(),
        port: addresses.published.port(),
        start_time,
        recovery_time_secs: started.elapsed().as_secs_f64(),
        garbage: figures,
        images,
        accounts,
        files: files::router(files.clone()),
        attached: files.clone(),
        calls,
        containers: containers.clone(),
        io_directory,
        flags: flags.clone(),
    });
    let shell = Shell {
        core: recovered.core,
        clock,
        checkpoint,
        containers: containers.clone(),
        files,
        garbage: journal,
        dialer,
        probes: Probes::new(handle.clone(), containers),
        doors: Doors::default(),
    };
    let (ended, end) = mpsc::channel(1);
    std::thread::Builder::new()
        .name("core".into())
        .spawn(move || {
            let _ = ended.blocking_send(shell.run(first, inputs, container_events));
        })
        .context("cannot start the core's thread")?;
    tracing::info!(address = %addresses.local, work_dir = %flags.work_dir.display(), "the agent runs");

    tokio::spawn(accept(listener, door.clone()));
    let detector = Detector::new(flags.masters());
    let ending = CancellationToken::new();
    let link = link::Keeper {
        detector,
        backoff: flags.registration_backoff_factor,
        door,
        handle: handle.clone(),
        leader,
        ending: ending.clone(),
    };
    notify::status("looking for the leading master");
    let link = tokio::spawn(link.keep(bulk));
    match until_end(handle, end).await {
        Some(End::Asked) => Ok(()),
        Some(End::Core(reason)) => {
            tracing::info!("the agent ends: {reason}");
            ending.cancel();
            let _ = tokio::time::timeout(LAST_WORDS, link).await;
            Ok(())
        }
        Some(End::Checkpoint(error)) => Err(error.into()),
        None => Err(anyhow!("the core's thread broke down; containers go on")),
    }
}

/// Serves until the core's thread ends; whoever started the agent is told when it is up, that it lives, and that it stops.
async fn until_end(handle: Handle, mut end: mpsc::Receiver<End>) -> Option<End> {
    let signals = tokio::spawn(signals(handle.clone()));
    notify::ready();
    let watchdog = tokio::spawn(notify::watchdog(move || proof_of_life(handle.clone())));
    let end = end.recv().await;
    notify::stopping();
    watchdog.abort();
    signals.abort();
    end
}

/// The core's thread answers. One that has ended is noticed elsewhere.
async fn proof_of_life(handle: Handle) {
    if handle.view().await.is_none() {
        std::future::pending().await
    }
}

/// `/files/…` shows the agent's own log.
fn attach_log(flags: &Flags, files: &Files) {
    let own_log = flags.log_dir.as_ref().map(|directory| directory.join("mezzo-agent.INFO"));
    if let Some(log) = flags.external_log_file.clone().or(own_log) {
        files.attach("/slave/log", log);
    }
}

/// What an earlier agent knew of containers that calls were for.
struct Left {
    store: called::Store,
    known: Vec<called::Known>,
    /// Where the sockets of containers' inputs and outputs are.
    io_directory: PathBuf,
    ends: mpsc::UnboundedReceiver<Told>,
}

impl Left {
    /// Serves calls from now on.
    fn serve(self, containers: &Containerizer, handle: &Handle) -> (called::Calls, PathBuf) {
        let (calls, requests) = called::Calls::new();
        let actor = called::Actor::new(containers.clone(), handle.clone(), self.store, &calls, self.known);
        tokio::spawn(actor.run(requests, self.ends));
        (calls, self.io_directory)
    }
}

/// Starts the containerizer, which takes over what an earlier agent left.
async fn take_over(
    settings: containerizer::Config,
    events: mpsc::UnboundedSender<(ContainerId, ContainerEvent)>,
    own: Vec<ContainerId>,
) -> Result<(Containerizer, Left)> {
    let (store, known) = called::Store::open(&settings.runtime_dir)
        .with_context(|| format!("cannot use the runtime directory '{}'", settings.runtime_dir.display()))?;
    let io_directory = settings.runtime_dir.join(containerizer::IO_DIRECTORY);
    let (told, ends) = mpsc::unbounded_channel();
    let containers = Containerizer::start(settings, events, told).await?;
    let living = known.iter().filter(|(_, ended)| ended.is_none()).map(|(meta, _)| meta.path.id()).collect();
    containers.recover(own, living).await;
    Ok((containers, Left { store, known, io_directory, ends }))
}

/// Volumes whose making or deletion was written down before the agent ended: before anything that may use them.
fn make_volumes(first: &mut Effects) {
    for effect in first.iter() {
        if let Effect::Volume { action, .. } = effect
            && let Err(error) = volumes::carry_out(action)
        {
            tracing::error!("{error}");
        }
    }
    first.retain(|effect| !matches!(effect, Effect::Volume { .. }));
}

/// What recovery wants to have written down.
fn new_records(first: &[Effect]) -> Vec<bytes::Bytes> {
    let records = first.iter().filter_map(|effect| match effect {
        Effect::Record { record, .. } => Some(record.clone()),
        _ => None,
    });
    records.collect()
}

/// `/flags` tells where `mezzo-executor` is looked for, and where downloads are kept.
fn name_directories(flags: &mut Flags) {
    let cache = flags.fetcher_cache_dir.get_or_insert_with(|| flags.work_dir.join("fetch"));
    flags.listed.insert("fetcher_cache_dir".into(), cache.display().to_string());
    if flags.images.kinds().any() {
        flags.listed.insert("docker_store_dir".into(), images::directory(flags).display().to_string());
    }
    let beside = std::env::current_exe().ok().and_then(|own| own.parent().map(Path::to_path_buf));
    if let Some(directory) = flags.launcher_dir.clone().or(beside) {
        flags.listed.insert("launcher_dir".into(), directory.display().to_string());
    }
}

fn way_out(meta: &Path) -> String {
    format!(
        "undo the change, or move {} away to start as a new agent, which ends the containers that it finds",
        meta.join("checkpoint").display()
    )
}

fn boot_id() -> Result<String> {
    const PATH: &str = "/proc/sys/kernel/random/boot_id";
    let text = fs::read_to_string(PATH).with_context(|| format!("cannot read {PATH}"))?;
    Ok(text.trim().to_owned())
}

async fn listen(flags: &Flags) -> Result<TcpListener> {
    let address = SocketAddr::new(flags.ip.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)), flags.port);
    TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}: choose another --port or --ip"))
}

fn config(flags: &Flags, addresses: Addresses, boot_id: String) -> Result<Config> {
    Ok(Config {
        info: describe(flags, addresses)?,
        hostname_is_found: flags.hostname.is_none() && flags.hostname_lookup,
        work_dir: flags.work_dir.clone(),
        ip: addresses.local.ip(),
        port: addresses.local.port(),
        advertise_ip: flags.advertise_ip,
        libprocess_ip: flags.ip.filter(|ip| !ip.is_unspecified()),
        boot_id,
        switch_user: flags.switch_user,
        executor_environment: flags
            .executor_environment_variables
            .iter()
            .flat_map(|variables| variables.0.clone())
            .collect(),
        executor_registration_timeout: flags.executor_registration_timeout,
        executor_reregistration_timeout: flags.executor_reregistration_timeout,
        executor_shutdown_grace_period: flags.executor_shutdown_grace_period,
        recovery_timeout: flags.recovery_timeout,
        recover: flags.recover,
        strict: flags.strict,
        reconfiguration: flags.reconfiguration_policy,
        max_completed_executors_per_framework: flags.max_completed_executors_per_framework,
        abilities: Abilities::default(),
        images: flags.images.kinds(),
        max_completed_frameworks: 50,
    })
}

/// `/var/run/mesos` if it can be written (src/slave/constants.cpp), for one agent of its own; else below the work directory.
fn default_runtime_dir(work_dir: &Path) -> PathBuf {
    work_dir.join("run")
}

/// What keeps containers from one another; the core decides by what it can.
fn isolate(flags: &mut Flags, config: &mut Config) -> Result<Chain> {
    let mut settings = flags.containers.settings(isolation::ports_of(&config.info.resources));
    if config.images.any() {
        if settings.names.all().contains(&isolation::Name::FilesystemPosix) {
            return Err(anyhow!(
                "images need mounts: put filesystem/linux into --isolation, in the place of filesystem/posix"
            ));
        }
        settings.names.add(isolation::Name::FilesystemLinux);
    }
    let chain = Chain::new(&settings)?;
    config.abilities = chain.abilities();
    flags.listed.insert("launcher".into(), chain.launcher().to_string());
    Ok(chain)
}

fn container_config(flags: &Flags, chain: Chain, images: Option<Images>) -> Result<containerizer::Config> {
    let runtime_dir = flags.runtime_dir.clone().unwrap_or_else(|| default_runtime_dir(&flags.work_dir));
    let networks = Networks::open(flags.containers.network(), &runtime_dir)
        .with_context(|| format!("cannot read who has which address, in {}", runtime_dir.display()))?;
    Ok(containerizer::Config {
        images,
        networks: Some(networks),
        runtime_dir,
        executor: containerizer::find_executor(flags.launcher_dir.as_deref())?,
        switch_user: flags.switch_user,
        rotation: rotation(flags),
        recovery_timeout: flags.recovery_timeout,
        isolation: Some(chain),
        fetcher: fetcher::Config {
            frameworks_home: Some(PathBuf::from(&flags.frameworks_home)).filter(|home| !home.as_os_str().is_empty()),
            stall_timeout: flags.fetcher_stall_timeout,
            cache_dir: flags.fetcher_cache_dir.clone(),
            cache_bytes: flags.fetcher_cache_size.0.try_into().unwrap_or(u64::MAX),
        },
    })
}

fn rotation(flags: &Flags) -> Option<containerizer::Rotation> {
    let bytes = |limit: &Option<Bytes>| limit.map_or(0, |limit| u64::try_from(limit.0).unwrap_or(u64::MAX));
    let (stdout_bytes, stderr_bytes) = (bytes(&flags.max_stdout_size), bytes(&flags.max_stderr_size));
    let rotation = containerizer::Rotation { stdout_bytes, stderr_bytes, files: flags.max_rotated_files };
    Some(rotation).filter(|_| stdout_bytes > 0 || stderr_bytes > 0)
}

/// Serves those who dial the agent: executors and tools of this machine.
async fn accept(listener: TcpListener, door: Arc<Door>) {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!("cannot take a connection: {error}");
                if is_lack_of_files(&error) {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                continue;
            }
        };
        let _ = stream.set_nodelay(true);
        let door = door.clone();
        tokio::spawn(async move {
            let service = hyper::service::service_fn(move |request| {
                let door = door.clone();
                async move { Ok::<_, std::convert::Infallible>(door.serve(request, None).await) }
            });
            let mut builder = auto::Builder::new(TokioExecutor::new());
            builder.http1().title_case_headers(true);
            if let Err(error) = builder.serve_connection(TokioIo::new(stream), service).await {
                tracing::debug!("a connection broke: {error}");
            }
        });
    }
}

fn is_lack_of_files(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(23 | 24)) // ENFILE, EMFILE
}

/// SIGTERM and SIGINT end the agent and leave its containers; SIGUSR1 takes the agent out of the cluster.
async fn signals(handle: Handle) {
    let listen = |kind| signal(kind).ok();
    let (Some(mut terminate), Some(mut interrupt), Some(mut unregister)) =
        (listen(SignalKind::terminate()), listen(SignalKind::interrupt()), listen(SignalKind::user_defined1()))
    else {
        tracing::error!("cannot listen to signals");
        return;
    };
    loop {
        tokio::select! {
            _ = terminate.recv() => handle.tell(Input::Exit),
            _ = interrupt.recv() => handle.tell(Input::Exit),
            _ = unregister.recv() => handle.tell(Input::Unregister),
        }
    }
}
