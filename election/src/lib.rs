//! Who leads: election of masters in ZooKeeper, and detection of the leader for everybody else.
//!
//! Begin with [`Detector`], which agents, frameworks and tools follow, and [`Leadership`], what a master that leads has.
//! The decisions are in `mezzo-election-core`.
#![forbid(unsafe_code)]

mod connect;
mod detector;

pub use connect::{Acl, ConnectError, connect};
pub use detector::{Detector, DetectorError, source};
pub use mezzo_election_core::{Credentials, Source, SourceError, ZkUrl, ZkUrlError, address_of};
pub use zookeeper_client::Client;

/// What a master has that leads: everything that it writes while it does is to be fenced on `znode`.
#[derive(Clone, Debug)]
pub struct Leadership {
    /// The session that holds the election znode.
    pub client: Client,
    /// The absolute path of the master's own election znode. It is gone as soon as another may lead: a `multi` that checks
    /// it (`CheckWriter` on version [`Leadership::ZNODE_VERSION`]) takes no effect from then on.
    pub znode: String,
    /// The zxid that made the znode: greater than the term of each leader before it.
    pub term: u64,
}

impl Leadership {
    /// The znode is never written to after it was made.
    pub const ZNODE_VERSION: i32 = 0;
}
