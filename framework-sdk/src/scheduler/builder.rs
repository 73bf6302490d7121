//! How a driver is made.

use base64::Engine;
use mezzo_api::{codec::Encoding, v1};
use mezzo_election::{Detector, DetectorError};
use mezzo_sdk_core::{
    address::{Address, AddressError},
    backoff::BackoffPolicy,
    scheduler::{Config, Masters, ReconcilePolicy, WhenRemoved},
};
use tokio::sync::mpsc;

use super::{Events, Handle, run};

/// Makes schedulers' drivers.
#[derive(Debug)]
pub struct SchedulerDriver(());

impl SchedulerDriver {
    /// Begins a driver for this framework. An id in it means failover: the framework had it before.
    pub fn builder(framework: v1::FrameworkInfo) -> Builder {
        Builder {
            config: Config::new(framework, Masters::Listed(Vec::new())),
            master: String::new(),
            encoding: Encoding::Protobuf,
            acknowledge: true,
            authorization: None,
            #[cfg(feature = "tls")]
            tls: None,
            pipelining: DEFAULT_PIPELINING,
            max_event_bytes: DEFAULT_MAX_EVENT_BYTES,
        }
    }
}

const DEFAULT_PIPELINING: usize = 128;
/// Offers of a large cluster come in one event.
const DEFAULT_MAX_EVENT_BYTES: usize = 256 * 1024 * 1024;

/// A driver to be.
#[derive(Clone, Debug)]
#[must_use = "nothing happens until `build`"]
pub struct Builder {
    config: Config,
    master: String,
    encoding: Encoding,
    acknowledge: bool,
    authorization: Option<String>,
    #[cfg(feature = "tls")]
    tls: Option<crate::tls::Tls>,
    pipelining: usize,
    max_event_bytes: usize,
}

/// Why a driver cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The masters cannot be read.
    #[error("master: {0}")]
    Master(#[from] AddressError),
    /// `https://`, but nobody has said whom to trust.
    #[error("master: '{0}' asks for TLS: build the SDK with its feature `tls` and call `tls` on the builder")]
    Tls(String),
    /// What tells of the masters cannot be read.
    #[error("master: {0}")]
    Detector(#[from] DetectorError),
}

/// The driver's own settings, beside those of its core.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) encoding: Encoding,
    pub(super) authorization: Option<String>,
    #[cfg(feature = "tls")]
    pub(super) tls: Option<crate::tls::Tls>,
    pub(super) pipelining: usize,
    pub(super) max_event_bytes: usize,
}

impl Builder {
    /// Where masters are: `host:port`, `http://host:port`, or several of them with commas between (whoever does not lead
    /// redirects to the leader); `zk://[user:password@]host:port[,host:port]/path`, where ZooKeeper tells who leads; or
    /// `file:///path` of a file that holds one of these.
    pub fn master(mut self, master: impl Into<String>) -> Self {
        self.master = master.into();
        self
    }

    /// Protobuf unless said otherwise.
    pub fn encoding(mut self, encoding: Encoding) -> Self {
        self.encoding = encoding;
        self
    }

    /// The framework's id from before: take over (fail over) with it.
    pub fn framework_id(mut self, id: impl Into<String>) -> Self {
        self.config.framework.id = Some(v1::FrameworkId { value: id.into() });
        self
    }

    /// HTTP basic authentication.
    pub fn credentials(mut self, principal: &str, secret: &str) -> Self {
        let pair = base64::engine::general_purpose::STANDARD.encode(format!("{principal}:{secret}"));
        self.authorization = Some(format!("Basic {pair}"));
        self
    }

    /// Masters are spoken to over TLS: those that a redirect or a detector names, too.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, tls: crate::tls::Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// No offers for these roles until they are revived.
    pub fn suppressed_roles(mut self, roles: Vec<String>) -> Self {
        self.config.suppressed_roles = roles;
        self
    }

    /// Which agents may be offered at all.
    pub fn offer_constraints(mut self, constraints: v1::scheduler::OfferConstraints) -> Self {
        self.config.offer_constraints = Some(constraints);
        self
    }

    /// Statuses are acknowledged by [`Handle::acknowledge`] only: for frameworks that store them first.
    pub fn acknowledge_by_hand(mut self) -> Self {
        self.acknowledge = false;
        self
    }

    /// Whether statuses are acknowledged by themselves.
    pub(super) fn acknowledges(&self) -> bool {
        self.acknowledge
    }

    /// Tasks of an earlier run of this program: the driver asks what became of them. Running a
    /// [`Scheduler`](super::Scheduler) does that by itself.
    pub fn known_tasks(mut self, tasks: Vec<v1::scheduler::call::reconcile::Task>) -> Self {
        self.config.known_tasks = tasks;
        self
    }

    /// When and how to ask what became of tasks.
    pub fn reconcile(mut self, policy: ReconcilePolicy) -> Self {
        self.config.reconcile = policy;
        self
    }

    /// Waits between attempts to subscribe.
    pub fn backoff(mut self, policy: BackoffPolicy) -> Self {
        self.config.backoff = policy;
        self
    }

    /// What to do when the master has removed the framework.
    pub fn when_removed(mut self, policy: WhenRemoved) -> Self {
        self.config.when_removed = policy;
        self
    }

    /// So many calls may wait for their answers at a time (128 unless said otherwise); 1 for servers that cannot take
    /// several requests at once on a connection.
    pub fn pipelining(mut self, depth: usize) -> Self {
        self.pipelining = depth;
        self
    }

    /// A longer event breaks the connection (256 MiB unless said otherwise).
    pub fn max_event_bytes(mut self, limit: usize) -> Self {
        self.max_event_bytes = limit;
        self
    }

    /// Starts the driver; it dials at once. It ends when it is torn down, when the master ends the subscription for
    /// good, or when handle and events are dropped (the framework then stays registered for its failover timeout).
    ///
    /// # Errors
    /// If the masters cannot be read.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn build(mut self) -> Result<(Handle, Events), BuildError> {
        let detector = self.detector()?;
        self.config.masters = match &detector {
            Some(_) => Masters::Detected,
            None => Masters::Listed(self.masters()?),
        };
        let settings = Settings {
            encoding: self.encoding,
            authorization: self.authorization,
            #[cfg(feature = "tls")]
            tls: self.tls,
            pipelining: self.pipelining,
            max_event_bytes: self.max_event_bytes,
        };
        let (commands, from_framework) = mpsc::unbounded_channel();
        let (to_framework, events) = mpsc::channel(1);
        tokio::spawn(run::Driver::new(self.config, settings, detector, from_framework, to_framework).run());
        let scheduler = Handle::new(commands.clone());
        Ok((scheduler, Events::new(events, commands, self.acknowledge)))
    }

    /// One that asks ZooKeeper, if that is where masters are found. What a file holds takes its place.
    fn detector(&mut self) -> Result<Option<Detector>, BuildError> {
        if let Some(path) = self.master.trim().strip_prefix("file://") {
            self.master = mezzo_election::read_file(path)?;
        }
        if !self.master.trim_start().starts_with("zk://") {
            return Ok(None);
        }
        Ok(Some(Detector::new(mezzo_election::source(&self.master)?)))
    }

    /// The list, without `https://`, which is only good with TLS.
    fn masters(&self) -> Result<Vec<Address>, BuildError> {
        #[cfg(feature = "tls")]
        let secure = self.tls.is_some();
        #[cfg(not(feature = "tls"))]
        let secure = false;
        let plain = self.master.split(',').map(|one| match one.trim().strip_prefix("https://") {
            Some(_) if !secure => Err(BuildError::Tls(one.trim().to_owned())),
            Some(rest) => Ok(rest.to_owned()),
            None => Ok(one.to_owned()),
        });
        let plain = plain.collect::<Result<Vec<_>, _>>()?.join(",");
        Ok(Address::parse_list(&plain)?)
    }
}
