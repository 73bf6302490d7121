//! Who leads: election of masters in ZooKeeper, and detection of the leader for everybody else.
//!
//! Begin with [`Detector`], which agents, frameworks and tools follow, and [`Election`], a master's part, with the
//! [`Leadership`] and the [`Lease`] that a leader has.
//! The decisions are in `mezzo-election-core`.
#![forbid(unsafe_code)]

mod connect;
mod detector;
mod election;
mod former;
mod lease;
mod probe;
mod session;

pub use connect::{Acl, ConnectError, connect};
pub use detector::{Detector, DetectorError, read_file, source};
pub use election::{Election, Event, Options};
pub use lease::{Lease, LeaseEnded};
pub use mezzo_api::v1::MasterInfo;
pub use mezzo_election_core::{
    Credentials, Reason, Source, SourceError, ZkUrl, ZkUrlError, address_of, fixed, listening_at,
};
pub use probe::ID_HEADER;
pub use zookeeper_client::{Client, Permission};

/// What a master has that leads: everything that it writes while it does is to be fenced on `znode`.
#[derive(Clone, Debug)]
pub struct Leadership {
    /// The session that holds the election znode.
    pub client: Client,
    /// The absolute path of the master's own election znode. It is gone as soon as another may lead: a `multi` that checks
    /// it (`CheckWriter` on version [`Leadership::ZNODE_VERSION`]) takes no effect from then on.
    pub znode: String,
    /// Greater than the term of each leader before it. It is kept in ZooKeeper, and never less than the time in seconds.
    pub term: u64,
}

impl Leadership {
    /// The znode is never written to after it was made.
    pub const ZNODE_VERSION: i32 = 0;
}
