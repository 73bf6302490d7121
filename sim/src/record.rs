//! The records of an agent's checkpoint, as far as an onlooker needs to read them (agent/core/src/record.rs; fields
//! that are not listed are skipped).

use bytes::Bytes;
use mezzo_api::v1;
use prost::Message;

/// One record.
#[derive(Clone, PartialEq, Message)]
pub struct Record {
    /// The highest term that was seen.
    #[prost(uint64, optional, tag = "4")]
    pub term: Option<u64>,
    /// The framework is being ended on the agent: nobody will acknowledge its updates.
    #[prost(message, optional, tag = "6")]
    pub framework_shutdown: Option<v1::FrameworkId>,
    /// An update was received.
    #[prost(message, optional, tag = "15")]
    pub update: Option<Update>,
    /// The oldest update of a task was acknowledged.
    #[prost(message, optional, tag = "16")]
    pub acknowledged: Option<Acknowledged>,
}

/// See [`Record::update`].
#[derive(Clone, PartialEq, Message)]
pub struct Update {
    /// Whose.
    #[prost(message, required, tag = "1")]
    pub framework_id: v1::FrameworkId,
    /// What.
    #[prost(message, required, tag = "2")]
    pub status: Status,
}

/// What invariants look at of a `v1::TaskStatus`.
#[derive(Clone, PartialEq, Message)]
pub struct Status {
    /// Of which task.
    #[prost(message, required, tag = "1")]
    pub task_id: v1::TaskId,
    /// What it is now.
    #[prost(enumeration = "v1::TaskState", required, tag = "2")]
    pub state: i32,
    /// Whose word it is.
    #[prost(enumeration = "v1::task_status::Source", optional, tag = "9")]
    pub source: Option<i32>,
    /// Why.
    #[prost(enumeration = "v1::task_status::Reason", optional, tag = "10")]
    pub reason: Option<i32>,
    /// In which executor.
    #[prost(message, optional, tag = "7")]
    pub executor_id: Option<v1::ExecutorId>,
    /// Its own name.
    #[prost(bytes = "bytes", optional, tag = "11")]
    pub uuid: Option<Bytes>,
    /// In which container.
    #[prost(message, optional, tag = "13")]
    pub container_status: Option<ContainerStatus>,
}

/// See [`Status::container_status`].
#[derive(Clone, PartialEq, Message)]
pub struct ContainerStatus {
    /// Which.
    #[prost(message, optional, tag = "4")]
    pub container_id: Option<v1::ContainerId>,
}

/// See [`Record::acknowledged`].
#[derive(Clone, PartialEq, Message)]
pub struct Acknowledged {
    /// Whose.
    #[prost(message, required, tag = "1")]
    pub framework_id: v1::FrameworkId,
    /// Of which task.
    #[prost(message, required, tag = "2")]
    pub task_id: v1::TaskId,
    /// Of which update.
    #[prost(bytes = "bytes", required, tag = "3")]
    pub uuid: Bytes,
}

/// The 16 bytes of a uuid, apart from the record that they came in; of anything else as many as it has.
pub fn uuid(bytes: &[u8]) -> [u8; 16] {
    let mut uuid = [0; 16];
    let length = bytes.len().min(16);
    uuid[..length].copy_from_slice(&bytes[..length]);
    uuid
}

/// A record as it was written, read once for all who look at it.
#[derive(Clone, Debug)]
pub struct Written {
    /// What was written.
    pub bytes: Bytes,
    /// What it says.
    pub says: Record,
}

impl Written {
    /// Reads a record.
    pub fn new(bytes: Bytes) -> Self {
        let says = Record::decode(bytes.clone()).unwrap_or_default();
        Self { bytes, says }
    }
}
