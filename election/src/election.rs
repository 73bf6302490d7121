//! The shell around a contender: one task that drives it on ZooKeeper, one session after the other.

use std::{path::Path, time::Duration};

use mezzo_api::v1::MasterInfo;
use mezzo_election_core::{Config, Contender, Effect, Effects, Ended, Joined, Reason, ZkUrl};
use tokio::{
    sync::{mpsc, oneshot},
    task::{AbortHandle, JoinSet},
};
use uuid::Uuid;

use crate::{
    Leadership,
    connect::{Acl, ConnectError, connect},
    former::Former,
    lease::{Lease, LeaseGiver, now},
    probe,
    session::{Session, Told},
};

/// How long a master that stops waits for ZooKeeper.
const LEAVE_WITHIN: Duration = Duration::from_secs(1);
/// How long whoever acts for a leader may take to stop acting, before its znode is given back all the same.
const STOP_WITHIN: Duration = Duration::from_secs(2);
/// When there is nothing to wait for.
const FAR: Duration = Duration::from_secs(3600);

/// How a master stands for election.
#[derive(Clone, Debug)]
pub struct Options {
    /// The ensemble and the masters' path.
    pub url: ZkUrl,
    /// What is asked of ZooKeeper; it may grant another one.
    pub session_timeout: Duration,
    /// Who stands; the id is another one for each candidacy.
    pub info: MasterInfo,
}

/// What becomes of a master.
#[derive(Debug)]
pub enum Event {
    /// It leads: act for it while the lease is valid.
    Lead {
        /// What its writes are fenced on.
        leadership: Leadership,
        /// When it may act.
        lease: Lease,
        /// Its id in this leadership.
        id: String,
    },
    /// It leads no more. Its znode is given back when the sender is used or dropped: stop acting before.
    StepDown(Reason, oneshot::Sender<()>),
    /// It stands by, and this one leads, or nobody does.
    Follow(Option<MasterInfo>),
    /// These stand for election, itself among them.
    Masters(Vec<MasterInfo>),
}

/// A master's part in an election.
#[derive(Debug)]
pub struct Election {
    events: mpsc::UnboundedReceiver<Event>,
    stop: Option<oneshot::Sender<()>>,
    resign: mpsc::UnboundedSender<()>,
    task: tokio::task::JoinHandle<()>,
}

impl Election {
    /// Stands for election. With a directory it remembers its candidacies there, so that a restarted master does not wait
    /// for its own old session.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn start(options: Options, directory: Option<&Path>) -> Self {
        let former = directory.and_then(|directory| {
            Former::open(directory)
                .inspect_err(|error| {
                    tracing::warn!(directory = %directory.display(), "earlier candidacies are not known: {error}");
                })
                .ok()
        });
        let (tell, events) = mpsc::unbounded_channel();
        let (stop, stopped) = oneshot::channel();
        let (resign, resigned) = mpsc::unbounded_channel();
        let task = tokio::spawn(Driver::new(options, former, tell).run(stopped, resigned));
        Self { events, stop: Some(stop), resign, task }
    }

    /// What is new.
    pub async fn next(&mut self) -> Event {
        match self.events.recv().await {
            Some(event) => event,
            None => std::future::pending().await, // it was stopped
        }
    }

    /// This master cannot lead: another one is to. It stands again after a while.
    pub fn resign(&self) {
        let _ = self.resign.send(()); // or it has ended already
    }

    /// Hands over at once; the events that follow from it are to be taken until the end.
    pub fn stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(()); // or it has ended already
        }
    }

    /// Waits until everything is given back, after [`Election::stop`].
    pub async fn stopped(mut self) {
        self.stop();
        while let Some(event) = self.events.recv().await {
            drop(event); // nobody acts any more
        }
        let _ = (&mut self.task).await;
    }
}

impl Drop for Election {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Driver {
    options: Options,
    former: Option<Former>,
    contender: Contender,
    effects: Effects,
    tell: mpsc::UnboundedSender<Event>,
    opening: Option<tokio::task::JoinHandle<Result<zookeeper_client::Client, ConnectError>>>,
    open: Option<Open>,
    lease: Option<LeaseGiver>,
}

/// The present session.
struct Open {
    session: Session,
    told: mpsc::UnboundedReceiver<Told>,
    tasks: JoinSet<()>,
    own: Option<Joined>,
    probing: Option<AbortHandle>,
}

impl Driver {
    fn new(options: Options, former: Option<Former>, tell: mpsc::UnboundedSender<Event>) -> Self {
        let mut effects = Effects::new();
        let config = Config {
            info: options.info.clone(),
            former: former.as_ref().map(|former| former.ids().to_vec()).unwrap_or_default(),
            challenge: true,
        };
        let contender = Contender::new(config, now(), &mut effects);
        Self { options, former, contender, effects, tell, opening: None, open: None, lease: None }
    }

    async fn run(mut self, mut stopped: oneshot::Receiver<()>, mut resigned: mpsc::UnboundedReceiver<()>) {
        let mut stopping = false;
        loop {
            self.carry_out().await;
            if stopping {
                return;
            }
            let wait = self.contender.deadline().map_or(FAR, |deadline| deadline.saturating_sub(now()));
            tokio::select! {
                told = told(&mut self.open) => self.hand_over(told),
                opened = opened(&mut self.opening) => self.opened(opened),
                () = tokio::time::sleep(wait) => {}
                Some(()) = resigned.recv() => self.contender.resign(now(), &mut self.effects),
                _ = &mut stopped => {
                    stopping = true;
                    self.contender.stop(now(), &mut self.effects);
                    continue;
                }
            }
            let now = now();
            if self.contender.deadline().is_some_and(|deadline| deadline <= now) {
                self.contender.tick(now, &mut self.effects);
            }
        }
    }

    fn opened(&mut self, opened: Result<zookeeper_client::Client, ConnectError>) {
        self.opening = None;
        let out = &mut self.effects;
        match opened {
            Ok(client) => {
                let (tell, told) = mpsc::unbounded_channel();
                let timeout = client.session_timeout();
                let url = &self.options.url;
                let session = Session::new(client, Acl::of(url), url.path(), url.beside("_election"), tell);
                let mut tasks = JoinSet::new();
                tasks.spawn(session.clone().watch_state());
                self.open = Some(Open { session, told, tasks, own: None, probing: None });
                self.contender.opened(now(), timeout, Uuid::new_v4().to_string(), out);
            }
            Err(error) => {
                tracing::warn!("{error}; trying on");
                let ended = match error {
                    ConnectError::Unreachable { .. } => Ended::Unreachable,
                    ConnectError::Refused { .. } => Ended::Refused,
                };
                self.contender.ended(now(), ended, out);
            }
        }
    }

    fn hand_over(&mut self, told: Told) {
        let (now, out, contender) = (now(), &mut self.effects, &mut self.contender);
        match told {
            Told::Connection(connected) => {
                tracing::info!(connected, "the connection with ZooKeeper changed");
                contender.connection(now, connected, out);
            }
            Told::Ended(ended) => contender.ended(now, ended, out),
            Told::Joined(joined) => {
                if let Some(open) = &mut self.open {
                    open.own.clone_from(&joined);
                }
                contender.joined(now, joined, out);
            }
            Told::Begun(term) => contender.begun(now, term, out),
            Told::Children(children) => contender.children(now, &children, out),
            Told::Masters(masters) => self.event(Event::Masters(masters)),
            Told::Read(name, data) => contender.read(now, &name, data.as_deref(), out),
            Told::Confirmed { asked, present } => contender.confirmed(now, asked, present, out),
            Told::Probed(name, verdict) => contender.probed(now, &name, verdict, out),
            Told::Challenged(made) => contender.challenged(now, made, out),
            Told::Deposed(deposed) => contender.deposed(now, deposed, out),
            Told::ChallengeSeen(against) => contender.challenge_seen(now, &against, out),
        }
    }

    async fn carry_out(&mut self) {
        for effect in std::mem::take(&mut self.effects) {
            match effect {
                Effect::Open => {
                    let Options { url, session_timeout, .. } = self.options.clone();
                    self.opening = Some(tokio::spawn(async move { connect(&url, session_timeout).await }));
                }
                Effect::Close => self.close().await,
                Effect::Lead { name, term, id } => self.lead(&name, term, id),
                Effect::Lease { until } => {
                    if let Some(lease) = &self.lease {
                        lease.extend(until);
                    }
                }
                Effect::StepDown(reason) => self.step_down(reason).await,
                Effect::Follow(leader) => self.event(Event::Follow(leader.map(|leader| *leader))),
                Effect::Join(info) => {
                    if let Some(former) = &mut self.former
                        && let Err(error) = former.record(&info.id)
                    {
                        tracing::warn!("this candidacy would not be recognised after a restart: {error}");
                    }
                    self.spawn(|session| session.join(*info));
                }
                Effect::Watch => {
                    self.spawn(Session::watch_children);
                    self.spawn(Session::watch_challenges);
                }
                Effect::Read(name) => self.spawn(|session| session.read(name)),
                Effect::Remove(name) => self.spawn(|session| session.remove(name)),
                Effect::Challenge(name) => self.spawn(|session| session.challenge(name)),
                Effect::Begin => self.spawn_with_own(Session::begin),
                Effect::Confirm => self.spawn_with_own(Session::confirm),
                Effect::Answer => self.spawn_with_own(Session::answer),
                Effect::Depose(name) => self.spawn_with_own(|session, own| session.depose(own, name)),
                Effect::Probe { name, info } => self.probe(name, *info),
                Effect::StopProbing => self.stop_probing(),
            }
        }
    }

    fn spawn<F: Future<Output = ()> + Send + 'static>(&mut self, what: impl FnOnce(Session) -> F) {
        if let Some(open) = &mut self.open {
            while open.tasks.try_join_next().is_some() {} // what has ended is forgotten
            open.tasks.spawn(what(open.session.clone()));
        }
    }

    fn spawn_with_own<F: Future<Output = ()> + Send + 'static>(&mut self, what: impl FnOnce(Session, Joined) -> F) {
        if let Some(own) = self.open.as_ref().and_then(|open| open.own.clone()) {
            self.spawn(|session| what(session, own));
        }
    }

    fn probe(&mut self, name: String, info: MasterInfo) {
        self.stop_probing();
        if let Some(open) = &mut self.open {
            let session = open.session.clone();
            let tell = move |verdict| session.tell(Told::Probed(name.clone(), verdict));
            open.probing = Some(open.tasks.spawn(probe::probe(info, tell)));
        }
    }

    fn stop_probing(&mut self) {
        if let Some(probing) = self.open.as_mut().and_then(|open| open.probing.take()) {
            probing.abort();
        }
    }

    fn lead(&mut self, name: &str, term: u64, id: String) {
        let Some(open) = &self.open else { return };
        let leadership = Leadership { client: open.session.client.clone(), znode: open.session.znode(name), term };
        let (giver, lease) = LeaseGiver::new();
        self.lease = Some(giver);
        self.event(Event::Lead { leadership, lease, id });
    }

    async fn step_down(&mut self, reason: Reason) {
        if let Some(lease) = self.lease.take() {
            lease.end();
        }
        let (done, acts_no_more) = oneshot::channel();
        self.event(Event::StepDown(reason, done));
        if tokio::time::timeout(STOP_WITHIN, acts_no_more).await.is_err() {
            tracing::error!("the deposed leader has not stopped in time; its writes are refused from now on");
        }
    }

    async fn close(&mut self) {
        if let Some(mut open) = self.open.take() {
            open.tasks.abort_all();
            open.session.leave(open.own, LEAVE_WITHIN).await;
        }
    }

    fn event(&self, event: Event) {
        let _ = self.tell.send(event); // the election is being dropped
    }
}

async fn told(open: &mut Option<Open>) -> Told {
    match open {
        Some(open) => match open.told.recv().await {
            Some(told) => told,
            None => std::future::pending().await,
        },
        None => std::future::pending().await,
    }
}

async fn opened(
    opening: &mut Option<tokio::task::JoinHandle<Result<zookeeper_client::Client, ConnectError>>>,
) -> Result<zookeeper_client::Client, ConnectError> {
    match opening {
        Some(task) => match task.await {
            Ok(result) => result,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        },
        None => std::future::pending().await,
    }
}
