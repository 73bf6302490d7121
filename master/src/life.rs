//! A master's life: it leads for as long as it stands alone, or stands by and leads in turn as the election has it.

use std::{path::Path, sync::Arc, time::Duration};

use mezzo_election::{Election, Event, Leadership, Lease, Options, Reason, ZkUrl};
use mezzo_master_core::input::{AllocatorConfig, Config, Lifecycle};
use tokio::{
    sync::{oneshot, watch},
    task::JoinHandle,
};

use crate::{
    flags::{Flags, Registry},
    http::{self, App, Node, Role},
    identity::Identity,
    link::Links,
    registry::{Embedded, Memory, Opened, RegistryFailure, ZooKeeper},
    run::StartError,
    server::{self, CoreHandle, Input, Running, ShellError},
    view::Published,
    whitelist::Whitelist,
};

/// HEARTBEAT events go out this often (src/master/constants.hpp).
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(15);

/// A master that does nothing yet.
pub(crate) struct Life {
    node: Arc<Node>,
    identity: Identity,
    whitelist: Option<Arc<Whitelist>>,
}

/// One leadership at work.
pub(crate) struct Leading {
    core: CoreHandle,
    ended: oneshot::Receiver<Result<(), ShellError>>,
}

/// A leadership that reads the registry.
struct Opening {
    task: JoinHandle<Result<Opened, StartError>>,
    identity: Identity,
    lease: Lease,
}

/// What an elected master does at present.
enum Doing {
    StandBy,
    Open(Box<Opening>),
    Lead(Leading),
}

/// What happens to it.
enum Happening {
    Stop,
    Election(Event),
    Opened(Result<Opened, StartError>),
    /// The core ended as it should: the lease did.
    Ended,
    Failed(ShellError),
}

impl Life {
    /// For the doors of `node`.
    pub(crate) fn new(node: Arc<Node>, identity: Identity, whitelist: Option<Whitelist>) -> Self {
        Self { node, identity, whitelist: whitelist.map(Arc::new) }
    }

    /// Leads at once, and for ever.
    pub(crate) async fn alone(self) -> Result<Leading, StartError> {
        let opened = open(&self.node.flags, None).await?;
        self.lead(opened, self.identity.clone(), Lease::standing())
    }

    /// Stands for election until it is stopped.
    pub(crate) async fn elected(self, url: ZkUrl, mut stop: watch::Receiver<bool>) -> Result<(), ShellError> {
        let flags = &self.node.flags;
        let options =
            Options { url: url.clone(), session_timeout: flags.zk_session_timeout, info: self.identity.info.clone() };
        tracing::info!(%url, "standing for election");
        let mut election = Election::start(options, flags.work_dir.as_deref().map(Path::new));
        let mut doing = Doing::StandBy;
        loop {
            doing = match happening(&mut election, &mut doing, &mut stop).await {
                Happening::Stop => break,
                Happening::Election(event) => self.follow(event, doing, &url).await,
                Happening::Opened(Ok(opened)) => self.opened(opened, doing, &mut election),
                Happening::Opened(Err(error)) => {
                    tracing::error!("elected, but the registry cannot be read: {error}");
                    election.resign();
                    Doing::StandBy
                }
                Happening::Ended => Doing::StandBy, // the election is about to say why
                Happening::Failed(error) => {
                    tracing::error!("this master cannot lead any more: {error}");
                    self.node.set(Role::Standby(None));
                    election.resign();
                    Doing::StandBy
                }
            };
        }
        self.node.set(Role::Standby(None));
        stand_down(doing).await;
        election.stopped().await;
        Ok(())
    }

    async fn follow(&self, event: Event, doing: Doing, url: &ZkUrl) -> Doing {
        match event {
            Event::Follow(leader) => {
                match &leader {
                    Some(leader) => {
                        tracing::info!(id = leader.id, pid = leader.pid(), "standing by; another master leads")
                    }
                    None => tracing::info!("standing by; no leader is known"),
                }
                self.node.set(Role::Standby(leader.map(Arc::new)));
                doing
            }
            Event::Masters(masters) => {
                self.node.set_masters(masters);
                doing
            }
            Event::Lead { leadership, lease, id } => {
                let identity = self.identity.elected(id);
                self.node.set(Role::Recovering(Arc::new(identity.info.clone())));
                let (flags, url) = (self.node.flags.clone(), url.clone());
                let task = tokio::spawn(async move { open(&flags, Some((&leadership, &url))).await });
                Doing::Open(Box::new(Opening { task, identity, lease }))
            }
            Event::StepDown(reason, done) => {
                match &reason {
                    Reason::Stopped => tracing::info!("leading no more: {reason}"),
                    _ => tracing::warn!("leading no more: {reason}"),
                }
                self.node.set(Role::Standby(None));
                stand_down(doing).await;
                drop(done);
                Doing::StandBy
            }
        }
    }

    fn opened(&self, opened: Opened, doing: Doing, election: &mut Election) -> Doing {
        let Doing::Open(opening) = doing else { return doing };
        match self.lead(opened, opening.identity, opening.lease) {
            Ok(leading) => Doing::Lead(leading),
            Err(error) => {
                tracing::error!("elected, but not able to lead: {error}");
                election.resign();
                Doing::StandBy
            }
        }
    }

    /// Starts a core, and opens the doors to it.
    fn lead(&self, opened: Opened, identity: Identity, lease: Lease) -> Result<Leading, StartError> {
        let term = opened.term;
        tracing::info!(
            term,
            agents = opened.recovered.agents.len(),
            unreachable = opened.recovered.unreachable.len(),
            "the registry is read"
        );
        let flags = self.node.flags.clone();
        let published = Arc::new(Published::new(&opened.recovered));
        let links = Arc::new(Links::new(term));
        let config = config(&flags, &identity, term);
        let Running { core, ended } =
            server::start(config, opened, Arc::clone(&published), Arc::clone(&links), lease.clone())
                .map_err(StartError::Thread)?;
        tracing::info!(term, id = identity.id(), "leading");
        if let Some(whitelist) = &self.whitelist {
            Arc::clone(whitelist).follow(core.clone());
        }
        let app = App {
            core: core.clone(),
            published,
            links,
            identity,
            flags,
            files: self.node.files.clone(),
            file_router: self.node.file_router.clone(),
            rendered: Default::default(),
            joining: Default::default(),
            page: Default::default(),
            lease,
        };
        let app = Arc::new(app);
        tokio::spawn(http::Page::sample(Arc::downgrade(&app)));
        self.node.set(Role::Leading(app));
        Ok(Leading { core, ended })
    }
}

impl Leading {
    /// Leads until it fails or is stopped.
    pub(crate) async fn run(mut self, mut stop: watch::Receiver<bool>) -> Result<(), ShellError> {
        tokio::select! {
            result = &mut self.ended => return result.unwrap_or(Err(ShellError::Panicked)),
            _ = stop.wait_for(|stop| *stop) => {}
        }
        self.stop().await;
        Ok(())
    }

    async fn stop(self) {
        if self.core.send(Input::Stop).await.is_ok() {
            let _ = self.ended.await;
        }
    }
}

async fn stand_down(doing: Doing) {
    match doing {
        Doing::Lead(leading) => leading.stop().await,
        Doing::Open(opening) => opening.task.abort(),
        Doing::StandBy => {}
    }
}

async fn happening(election: &mut Election, doing: &mut Doing, stop: &mut watch::Receiver<bool>) -> Happening {
    let own = async {
        match doing {
            Doing::StandBy => std::future::pending().await,
            Doing::Open(opening) => match (&mut opening.task).await {
                Ok(result) => Happening::Opened(result),
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            },
            Doing::Lead(leading) => match (&mut leading.ended).await {
                Ok(Err(error)) => Happening::Failed(error),
                Err(_) => Happening::Failed(ShellError::Panicked),
                Ok(Ok(())) => Happening::Ended,
            },
        }
    };
    tokio::select! {
        biased;
        _ = stop.wait_for(|stop| *stop) => Happening::Stop,
        event = election.next() => Happening::Election(event),
        happening = own => happening,
    }
}

async fn open(flags: &Flags, leadership: Option<(&Leadership, &ZkUrl)>) -> Result<Opened, StartError> {
    let failed = |failure: RegistryFailure| StartError::Registry(failure.into());
    let opened = match (flags.registry(), &flags.work_dir) {
        (Registry::InMemory, _) => Memory::open(),
        (Registry::Embedded, Some(work_dir)) => Embedded::open(work_dir).map_err(failed)?,
        (Registry::Embedded, None) => return Err(StartError::NoWorkDir),
        (Registry::ZooKeeper, _) => match leadership {
            Some((leadership, url)) => ZooKeeper::lead(leadership, url).await.map_err(failed)?,
            None => return Err(StartError::NoEnsemble),
        },
    };
    // The election's terms grow from leader to leader; a registry of one master knows its own only.
    Ok(match leadership {
        Some((leadership, _)) => Opened { term: leadership.term, ..opened },
        None => opened,
    })
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
