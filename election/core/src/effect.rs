//! What a contender asks for.

use std::time::Duration;

use mezzo_api::v1;

/// The effects of one step, in order.
pub type Effects = Vec<Effect>;

/// What is to be done, or to be known.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Open a session: [`Contender::opened`](crate::Contender::opened) or [`ended`](crate::Contender::ended) follows.
    Open,
    /// Close it, and with it whatever is under way; nothing of it is told any more.
    Close,
    /// Make the candidate's znode, ephemeral and sequential: [`joined`](crate::Contender::joined) follows.
    Join(Box<v1::MasterInfo>),
    /// Watch the masters' path and the challenges, and tell what is there now and after each change.
    Watch,
    /// Read another candidate's data: [`read`](crate::Contender::read) follows.
    Read(String),
    /// Remove a znode that an earlier life of this master left behind.
    Remove(String),
    /// Ask ZooKeeper, not behind what it has already done, whether the own znode is there.
    Confirm,
    /// Look at this candidate's address, and go on doing so: [`probed`](crate::Contender::probed) follows at each change,
    /// and each time it was looked at in vain.
    Probe {
        /// The candidate's znode.
        name: String,
        /// Who should be there.
        info: Box<v1::MasterInfo>,
    },
    /// Stop looking.
    StopProbing,
    /// Challenge this candidate: [`challenged`](crate::Contender::challenged) follows.
    Challenge(String),
    /// Answer the challenge that stands.
    Answer,
    /// Remove this candidate's znode if the challenge against it is still unanswered:
    /// [`deposed`](crate::Contender::deposed) follows.
    Depose(String),
    /// Begin a term, fenced on the own znode: greater than each before it, and than the time in seconds, so that agents that
    /// have seen the terms of an ensemble that was lost take this master for the newer leader all the same.
    /// [`begun`](crate::Contender::begun) follows.
    Begin,
    /// This master leads.
    Lead {
        /// Its znode.
        name: String,
        /// Its term.
        term: u64,
        /// The id of this candidacy.
        id: String,
    },
    /// The leader may act until this moment, and not at all if it has passed.
    Lease {
        /// On the clock of the inputs.
        until: Duration,
    },
    /// It leads no more.
    StepDown(Reason),
    /// Another one leads, or nobody does.
    Follow(Option<Box<v1::MasterInfo>>),
}

/// A candidate's own znode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    /// Its name below the masters' path.
    pub name: String,
    /// The zxid that made it.
    pub czxid: i64,
}

/// How a session ended, or did not begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Ended {
    /// ZooKeeper ended it, or the client after the same time.
    #[error("the session with ZooKeeper expired")]
    Expired,
    /// No server answers.
    #[error("ZooKeeper cannot be reached")]
    Unreachable,
    /// The credentials are not taken.
    #[error("ZooKeeper refuses the credentials")]
    Refused,
}

/// Why a leader leads no more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// Its session is over.
    #[error("{0}")]
    Session(Ended),
    /// ZooKeeper did not answer for the lease's time.
    #[error("ZooKeeper has not answered for {:.1} s, so that another master may lead", .0.as_secs_f64())]
    Silence(Duration),
    /// Its znode is gone.
    #[error("its znode was removed: another master leads")]
    Removed,
    /// It cannot do a leader's work; its log says why.
    #[error("it cannot do a leader's work")]
    Unfit,
    /// The process ends.
    #[error("the master stops")]
    Stopped,
}
