//! A task's statuses, encoded: as messages they take more memory than everything else that is known of the task.

use bytes::Bytes;
use mezzo_api::v1::{TaskState, TaskStatus};
use prost::Message;

/// Statuses in their order, in protobuf, each with its length before it. They are decoded when somebody looks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statuses(Bytes);

/// What most readers look at; what else is in a status is passed over.
#[derive(Clone, PartialEq, Message)]
struct Brief {
    #[prost(enumeration = "TaskState", tag = "2")]
    state: i32,
    #[prost(double, optional, tag = "6")]
    timestamp: Option<f64>,
}

impl Statuses {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.parts().count()
    }

    /// What they take in memory.
    pub fn bytes(&self) -> usize {
        self.0.len()
    }

    /// All, the oldest first.
    pub fn iter(&self) -> impl Iterator<Item = TaskStatus> + '_ {
        self.parts().map(|part| self.whole(part))
    }

    /// Their states, the oldest first.
    pub fn states(&self) -> impl Iterator<Item = TaskState> + '_ {
        self.parts().map(|part| brief(part).state())
    }

    /// The newest.
    pub fn last(&self) -> Option<TaskStatus> {
        self.parts().last().map(|part| self.whole(part))
    }

    /// The state of the newest, by number.
    pub fn last_state(&self) -> Option<i32> {
        self.parts().last().map(|part| brief(part).state)
    }

    /// When the first state was reached, in seconds since the epoch; `None` also if that status has no time.
    pub fn first_time(&self) -> Option<f64> {
        brief(self.parts().next()?).timestamp
    }

    /// When the latest state was reached, in seconds since the epoch; `None` also if that status has no time.
    pub fn last_time(&self) -> Option<f64> {
        brief(self.parts().last()?).timestamp
    }

    /// One more.
    pub fn push(&mut self, status: &TaskStatus) {
        self.append(self.0.len(), status);
    }

    /// One more, which takes the place of the newest if that has the same state.
    pub(crate) fn push_or_replace(&mut self, status: &TaskStatus) {
        let kept = match self.last_state() {
            Some(state) if state == status.state => self.0.len() - self.parts().last().map_or(0, length),
            _ => self.0.len(),
        };
        self.append(kept, status);
    }

    fn append(&mut self, kept: usize, status: &TaskStatus) {
        let length = status.encoded_len();
        let mut encoded = Vec::with_capacity(kept + prost::length_delimiter_len(length) + length);
        encoded.extend_from_slice(&self.0[..kept]);
        prost::encoding::encode_varint(length as u64, &mut encoded);
        status.encode_raw(&mut encoded);
        self.0 = encoded.into();
    }

    /// Each by itself, without its length.
    fn parts(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = &self.0[..];
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            // Encoded above, so it can be read.
            let length = prost::decode_length_delimiter(&mut rest).ok()?;
            let (part, others) = rest.split_at(length.min(rest.len()));
            rest = others;
            Some(part)
        })
    }

    /// All of a status; its longer parts are shared.
    fn whole(&self, part: &[u8]) -> TaskStatus {
        TaskStatus::decode(self.0.slice_ref(part)).unwrap_or_default()
    }
}

impl FromIterator<TaskStatus> for Statuses {
    fn from_iter<I: IntoIterator<Item = TaskStatus>>(statuses: I) -> Self {
        let mut encoded = Vec::new();
        for status in statuses {
            encoded.extend_from_slice(&status.encode_length_delimited_to_vec());
        }
        encoded.shrink_to_fit();
        Self(encoded.into())
    }
}

/// A part with its length.
fn length(part: &[u8]) -> usize {
    prost::length_delimiter_len(part.len()) + part.len()
}

fn brief(part: &[u8]) -> Brief {
    Brief::decode(part).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(state: TaskState, message: &str) -> TaskStatus {
        let timestamp = Some(message.len() as f64);
        TaskStatus { state: state as i32, message: Some(message.into()), timestamp, ..Default::default() }
    }

    #[test]
    fn what_was_put_is_there_in_its_order() {
        let mut statuses = Statuses::default();
        assert!(statuses.is_empty() && statuses.last().is_none() && statuses.last_time().is_none());
        let long = "x".repeat(300); // a length of two bytes
        let all = [status(TaskState::TaskStarting, ""), status(TaskState::TaskRunning, &long)];
        all.iter().for_each(|status| statuses.push(status));
        assert_eq!(statuses.iter().collect::<Vec<_>>(), all);
        assert_eq!(statuses, all.iter().cloned().collect());
        statuses.push_or_replace(&status(TaskState::TaskRunning, "again"));
        assert_eq!((statuses.len(), statuses.last()), (2, Some(status(TaskState::TaskRunning, "again"))));
        statuses.push_or_replace(&status(TaskState::TaskFailed, "end"));
        let states = [TaskState::TaskStarting, TaskState::TaskRunning, TaskState::TaskFailed];
        assert_eq!(statuses.states().collect::<Vec<_>>(), states);
        assert_eq!(statuses.last_state(), Some(TaskState::TaskFailed as i32));
        assert_eq!((statuses.first_time(), statuses.last_time()), (Some(0.0), Some(3.0)));
        assert!(statuses.bytes() < 100);
    }
}
