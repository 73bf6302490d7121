//! The checkpoint's records: what the agent must not forget. Each is one protobuf message with the version of the
//! format, so that an older agent refuses what it does not understand rather than misread it.
//!
//! Recovery replays the records of the log in order, so that each variant says what happened, not what is.

use bytes::Bytes;
use mezzo_api::v1;
use prost::{Message, encoding::uint32};

use crate::{core::RecoverError, shared::Shared};

/// The newest version of the format. Raise it when an older agent must not read what a newer one writes.
pub(crate) const VERSION: u32 = 1;

/// One record.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Record {
    #[prost(uint32, required, tag = "1")]
    pub(crate) version: u32,
    #[prost(
        oneof = "Entry",
        tags = "2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 30, 31, 32, 33"
    )]
    pub(crate) entry: Option<Entry>,
}

/// What happened.
#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum Entry {
    /// The agent was registered, or its description changed.
    #[prost(message, tag = "2")]
    Agent(Shared<v1::AgentInfo>),
    /// The agent was started after this boot of the machine.
    #[prost(string, tag = "3")]
    Boot(String),
    /// A master of this leadership term was seen.
    #[prost(uint64, tag = "4")]
    Term(u64),
    /// A framework is known, or its description changed.
    #[prost(message, tag = "5")]
    Framework(Shared<v1::FrameworkInfo>),
    /// The framework is being shut down.
    #[prost(message, tag = "6")]
    FrameworkShutdown(v1::FrameworkId),
    /// Nothing of the framework is left.
    #[prost(message, tag = "7")]
    FrameworkDone(v1::FrameworkId),
    /// A container is about to be launched for an executor.
    #[prost(message, tag = "8")]
    Executor(Executor),
    /// Its first process runs.
    #[prost(message, tag = "9")]
    Started(Started),
    /// A command task is being killed.
    #[prost(message, tag = "10")]
    Kill(Kill),
    /// The executor is being shut down.
    #[prost(message, tag = "11")]
    Shutdown(Shutdown),
    /// Its container is gone.
    #[prost(message, tag = "12")]
    Exited(Container),
    /// All its updates are acknowledged, it is history.
    #[prost(message, tag = "13")]
    Done(Container),
    /// A task was given to an executor.
    #[prost(message, tag = "14")]
    Task(Task),
    /// An update was received.
    #[prost(message, tag = "15")]
    Update(Update),
    /// The framework acknowledged the oldest update of a task.
    #[prost(message, tag = "16")]
    Acknowledged(Acknowledged),
    /// An update stream, whole (snapshots only).
    #[prost(message, tag = "17")]
    Stream(Stream),
    /// History (snapshots only).
    #[prost(message, tag = "18")]
    Completed(Completed),
    /// A container of its own is about to be launched for a task of an executor that the agent plays.
    #[prost(message, tag = "19")]
    Nested(Box<Nested>),
    /// That container is gone, and what follows from its end was decided.
    #[prost(message, tag = "20")]
    NestedExited(Container),
    /// What the health checks of a task have found so far.
    #[prost(message, tag = "21")]
    Health(Health),
    /// The agent is being drained; without a configuration it is so no more.
    #[prost(message, tag = "22")]
    Drain(Drain),
    /// An operation on resources came to its end.
    #[prost(message, tag = "30")]
    Operation(Box<Operation>),
    /// Its status is acknowledged.
    #[prost(bytes, tag = "31")]
    OperationAcknowledged(Bytes),
    /// The directory of a volume is as the operations before say.
    #[prost(string, tag = "32")]
    VolumeSettled(String),
    /// Reservations and volumes, whole (snapshots only).
    #[prost(message, tag = "33")]
    Resources(Resources),
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Executor {
    #[prost(message, required, tag = "1")]
    pub(crate) framework_id: v1::FrameworkId,
    #[prost(message, required, tag = "2")]
    pub(crate) info: Shared<v1::ExecutorInfo>,
    #[prost(string, required, tag = "3")]
    pub(crate) container_id: String,
    #[prost(message, optional, tag = "4")]
    pub(crate) command: Option<Box<Command>>,
    /// It has subscribed once, or needs not to.
    #[prost(bool, required, tag = "5")]
    pub(crate) subscribed: bool,
    /// It is the default executor.
    #[prost(bool, optional, tag = "6")]
    pub(crate) pod: Option<bool>,
}

/// What the agent needs to know of a task to play its executor.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Command {
    #[prost(int64, optional, tag = "1")]
    pub(crate) grace_ns: Option<i64>,
    #[prost(int64, optional, tag = "2")]
    pub(crate) max_completion_ns: Option<i64>,
    /// The type of its check; beside `check_info` for agents that know no more.
    #[prost(int32, optional, tag = "3")]
    pub(crate) check: Option<i32>,
    #[prost(message, optional, tag = "4")]
    pub(crate) health_check: Option<v1::HealthCheck>,
    #[prost(message, optional, tag = "5")]
    pub(crate) check_info: Option<v1::CheckInfo>,
    /// Of a task with a container of its own.
    #[prost(message, optional, tag = "6")]
    pub(crate) command: Option<v1::CommandInfo>,
    /// The role of its resources.
    #[prost(string, optional, tag = "7")]
    pub(crate) role: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Nested {
    #[prost(message, required, tag = "1")]
    pub(crate) framework_id: v1::FrameworkId,
    #[prost(message, required, tag = "2")]
    pub(crate) executor_id: v1::ExecutorId,
    /// The executor's.
    #[prost(string, required, tag = "3")]
    pub(crate) parent_id: String,
    #[prost(string, required, tag = "4")]
    pub(crate) container_id: String,
    #[prost(message, required, tag = "5")]
    pub(crate) task_id: v1::TaskId,
    /// Numbers the groups of an executor.
    #[prost(uint32, required, tag = "6")]
    pub(crate) group: u32,
    #[prost(message, required, tag = "7")]
    pub(crate) command: Command,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Health {
    #[prost(message, required, tag = "1")]
    pub(crate) framework_id: v1::FrameworkId,
    #[prost(message, required, tag = "2")]
    pub(crate) task_id: v1::TaskId,
    /// Failures since the last success.
    #[prost(uint32, required, tag = "3")]
    pub(crate) failures: u32,
    /// It was healthy once.
    #[prost(bool, required, tag = "4")]
    pub(crate) succeeded: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Drain {
    #[prost(message, optional, tag = "1")]
    pub(crate) config: Option<v1::DrainConfig>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Started {
    #[prost(message, required, tag = "1")]
    pub(crate) framework_id: v1::FrameworkId,
    #[prost(message, required, tag = "2")]
    pub(crate) executor_id: v1::ExecutorId,
    #[prost(string, required, tag = "3")]
    pub(crate) container_id: String,
    /// `None` when it is only known that it ran.
    #[prost(int32, optional, tag = "4")]
    pub(crate) pid: Option<i32>,
    /// Seconds since the epoch.
    #[prost(double, required, tag = "5")]
    pub(crate) at: f64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Kill {
    #[prost(message, required, tag = "1")]
    pub(crate) framework_id: v1::FrameworkId,
    #[prost(message, required, tag = "2")]
    pub(crate) executor_id: v1::ExecutorId,
    #[prost(string, required, tag = "3")]
    pub(crate) container_id: String,
    #[prost(uint64, required, tag = "4")]
    pub(crate) grace_ns: u64,
    /// Because its `max_completion_time` is up.
    #[prost(bool, required, tag = "5")]
    pub(crate) completion: bool,
    /// Because its health checks failed.
    #[prost(bool, optional, tag = "6")]
    pub(crate) unhealthy: Option<bool>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Shutdown {
    #[prost(message, required, tag = "1")]
    pub(crate) framework_id: v1::FrameworkId,
    #[prost(message, required, tag = "2")]
    pub(crate) executor_id: v1::ExecutorId,
    #[prost(string, required, tag = "3")]
    pub(crate) container_id: String,
    /// What to say of tasks that are left at its end.
    #[prost(message, optional, tag = "4")]
    pub(crate) termination: Option<Termination>,
}

/// How the tasks of an executor that ended with tasks left are reported.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Termination {
    #[prost(enumeration = "v1::TaskState", required, tag = "1")]
    pub(crate) state: i32,
    #[prost(enumeration = "v1::task_status::Reason", required, tag = "2")]
    pub(crate) reason: i32,
    #[prost(string, required, tag = "3")]
    pub(crate) message: String,
    /// What they took too much of.
    #[prost(message, repeated, tag = "4")]
    pub(crate) limitation: Vec<v1::Resource>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Container {
    #[prost(message, required, tag = "1")]
    pub(crate) framework_id: v1::FrameworkId,
    #[prost(message, required, tag = "2")]
    pub(crate) executor_id: v1::ExecutorId,
    #[prost(string, required, tag = "3")]
    pub(crate) container_id: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Task {
    #[prost(message, required, tag = "1")]
    pub(crate) executor_id: v1::ExecutorId,
    /// With state and statuses in snapshots, staging in the log.
    #[prost(message, required, tag = "2")]
    pub(crate) task: Shared<v1::Task>,
    /// Its end is acknowledged (snapshots only).
    #[prost(bool, required, tag = "3")]
    pub(crate) completed: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Update {
    #[prost(message, required, tag = "1")]
    pub(crate) framework_id: v1::FrameworkId,
    #[prost(message, required, tag = "2")]
    pub(crate) status: Shared<v1::TaskStatus>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Acknowledged {
    #[prost(message, required, tag = "1")]
    pub(crate) framework_id: v1::FrameworkId,
    #[prost(message, required, tag = "2")]
    pub(crate) task_id: v1::TaskId,
    #[prost(bytes = "bytes", required, tag = "3")]
    pub(crate) uuid: Bytes,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Stream {
    #[prost(message, required, tag = "1")]
    pub(crate) framework_id: v1::FrameworkId,
    #[prost(message, required, tag = "2")]
    pub(crate) task_id: v1::TaskId,
    #[prost(bytes = "bytes", repeated, tag = "3")]
    pub(crate) acknowledged: Vec<Bytes>,
    #[prost(message, repeated, tag = "4")]
    pub(crate) pending: Vec<Shared<v1::TaskStatus>>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Completed {
    #[prost(message, required, tag = "1")]
    pub(crate) framework_id: v1::FrameworkId,
    #[prost(message, required, tag = "2")]
    pub(crate) info: Shared<v1::ExecutorInfo>,
    #[prost(string, required, tag = "3")]
    pub(crate) container_id: String,
    #[prost(message, repeated, tag = "4")]
    pub(crate) tasks: Vec<Shared<v1::Task>>,
}

/// An operation with its status.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Operation {
    #[prost(bytes = "bytes", required, tag = "1")]
    pub(crate) uuid: Bytes,
    /// Not there for an operator's.
    #[prost(message, optional, tag = "2")]
    pub(crate) framework_id: Option<v1::FrameworkId>,
    #[prost(message, required, tag = "3")]
    pub(crate) operation: v1::offer::Operation,
    #[prost(message, required, tag = "4")]
    pub(crate) status: v1::OperationStatus,
    /// Replaying it changes nothing: its effect is told by [`Resources`] (snapshots only).
    #[prost(bool, required, tag = "5")]
    pub(crate) counted: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Resources {
    #[prost(message, repeated, tag = "1")]
    pub(crate) checkpointed: Vec<v1::Resource>,
}

impl Entry {
    /// The record's bytes: those of a [`Record`], which the entry need not be moved into.
    pub(crate) fn to_bytes(&self) -> Bytes {
        let mut bytes = Vec::with_capacity(uint32::encoded_len(1, &VERSION) + self.encoded_len());
        uint32::encode(1, &VERSION, &mut bytes);
        self.encode(&mut bytes);
        bytes.into()
    }

    /// Reads record number `index`.
    pub(crate) fn decode(index: usize, bytes: &Bytes) -> Result<Self, RecoverError> {
        let malformed = |detail: String| RecoverError::Malformed { index, detail };
        let record = Record::decode(bytes.clone()).map_err(|error| malformed(error.to_string()))?;
        if record.version > VERSION {
            return Err(RecoverError::Version { index, version: record.version, known: VERSION });
        }
        record.entry.ok_or_else(|| malformed("it holds nothing that this agent knows".to_string()))
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use mezzo_api::{
        frame::Decoder,
        link::{FromAgent, ToAgent},
    };
    use prost::encoding::{DecodeContext, WireType, decode_key, encode_key, skip_field};

    use super::*;

    #[test]
    fn reads_what_it_wrote() {
        let entry = Entry::Term(7);
        assert_eq!(Entry::decode(0, &entry.to_bytes()).unwrap(), entry);
        assert_eq!(entry.to_bytes(), Record { version: VERSION, entry: Some(entry) }.encode_to_vec());
    }

    #[test]
    fn refuses_a_newer_version_and_garbage() {
        let newer = Record { version: VERSION + 1, entry: Some(Entry::Term(1)) }.encode_to_vec();
        assert!(matches!(Entry::decode(3, &newer.into()), Err(RecoverError::Version { index: 3, version: 2, .. })));
        let garbage = Bytes::from_static(b"\xff\xff\xff");
        assert!(matches!(Entry::decode(4, &garbage), Err(RecoverError::Malformed { index: 4, .. })));
        let empty = Record { version: VERSION, entry: None }.encode_to_vec();
        assert!(matches!(Entry::decode(5, &empty.into()), Err(RecoverError::Malformed { index: 5, .. })));
    }

    /// The members of a message's oneof, found by trying every number.
    fn known<M: Message + Default>(holds: impl Fn(&M) -> bool) -> BTreeSet<u32> {
        let is_known = |tag: &u32| {
            [WireType::Varint, WireType::LengthDelimited].into_iter().any(|wire| {
                let mut bytes = Vec::new();
                encode_key(*tag, wire, &mut bytes);
                bytes.push(0);
                M::decode(&bytes[..]).is_ok_and(|message| holds(&message))
            })
        };
        (1..1000).filter(is_known).collect()
    }

    /// The fields that a message has.
    fn fields(mut bytes: &[u8]) -> BTreeSet<u32> {
        let mut fields = BTreeSet::new();
        while !bytes.is_empty() {
            let (tag, wire) = decode_key(&mut bytes).unwrap();
            skip_field(wire, tag, &mut bytes, DecodeContext::default()).unwrap();
            fields.insert(tag);
        }
        fields
    }

    /// What is in the test data of that kind.
    fn recorded(begins: &str, split: impl Fn(&[u8]) -> Vec<Bytes>) -> BTreeSet<u32> {
        let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
        let mut found = BTreeSet::new();
        for entry in fs::read_dir(data).unwrap().flatten() {
            if entry.file_name().to_string_lossy().contains(begins) {
                found.extend(split(&fs::read(entry.path()).unwrap()).iter().flat_map(|message| fields(message)));
            }
        }
        found
    }

    fn records(mut bytes: &[u8]) -> Vec<Bytes> {
        let mut records = Vec::new();
        while let Some((length, rest)) = bytes.split_first_chunk::<4>() {
            let (record, rest) = rest.split_at(u32::from_be_bytes(*length) as usize);
            records.push(Bytes::copy_from_slice(record));
            bytes = rest;
        }
        records
    }

    fn frames(bytes: &[u8]) -> Vec<Bytes> {
        let mut decoder = Decoder::new();
        decoder.feed(bytes);
        std::iter::from_fn(|| decoder.next().unwrap()).collect()
    }

    /// Whatever an agent writes or says, and whatever it is told, is among what later versions have to understand: a new kind
    /// that is not recorded fails here.
    #[test]
    fn every_kind_is_in_the_test_data() {
        let missing = |known: BTreeSet<u32>, recorded: BTreeSet<u32>| -> Vec<u32> {
            assert!(known.len() >= 9, "{known:?}");
            known.difference(&recorded).copied().collect()
        };
        let write = "record it: MEZZO_WRITE_FORMATS=1 cargo test -p mezzo-agent-core, with it in the conversation of";
        let of_records = known(|record: &Record| record.entry.is_some());
        assert_eq!(missing(of_records, recorded(".records", records)), [0; 0], "{write} tests/formats.rs");
        let of_master = known(|message: &ToAgent| message.message.is_some());
        assert_eq!(missing(of_master, recorded("to-agent-", frames)), [0; 0], "{write} tests/link_formats.rs");
        let of_agent = known(|message: &FromAgent| message.message.is_some());
        assert_eq!(missing(of_agent, recorded("from-agent-", frames)), [0; 0], "{write} tests/link_formats.rs");
        // The check can fail.
        assert!(!recorded(".records", records).contains(&999));
        assert_eq!(missing(BTreeSet::from_iter(1..=9), BTreeSet::from([1, 2, 3, 4, 5, 6, 8, 9])), [7]);
    }
}
