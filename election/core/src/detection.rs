//! Whom the children of the masters' path make leader (src/master/detector/zookeeper.cpp).

use mezzo_api::v1;

use crate::candidate::{Candidate, candidates, decode};

/// What follows the leader: tell it each list of children and each read, and it says what to read and what is new.
#[derive(Debug, Default)]
pub struct Detection {
    candidates: Vec<Candidate>,
    /// The candidate whose data was read last, with what it said.
    known: Option<(Candidate, v1::MasterInfo)>,
    published: Option<Option<v1::MasterInfo>>,
}

/// What is to be done after a list of children.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Read the data of this znode, without a watch, and tell it to [`Detection::read`].
    Read(String),
    /// Nothing.
    Wait,
}

impl Detection {
    /// These are the children now.
    pub fn children<'a>(&mut self, children: impl IntoIterator<Item = &'a str>) -> Next {
        self.candidates = candidates(children);
        match self.candidates.first() {
            None => {
                self.known = None;
                Next::Wait
            }
            Some(first) if self.known.as_ref().is_some_and(|(known, _)| known == first) => Next::Wait,
            Some(first) => Next::Read(first.name.clone()),
        }
    }

    /// The data of a znode; `None` if it was gone: another event will say so.
    pub fn read(&mut self, name: &str, data: Option<&[u8]>) {
        let Some(first) = self.candidates.first().filter(|first| first.name == name).cloned() else { return };
        self.known = data.and_then(|data| match decode(&first, data) {
            Ok(info) => Some((first, info)),
            Err(error) => {
                tracing::error!("the leading master cannot be made out: {error}");
                None
            }
        });
    }

    /// The candidates, the leader first.
    pub fn candidates(&self) -> &[Candidate] {
        &self.candidates
    }

    /// Who leads, as far as known.
    pub fn leader(&self) -> Option<&v1::MasterInfo> {
        self.known.as_ref().map(|(_, info)| info)
    }

    /// The leader, if it is another one than at the last call (or this is the first one); `Some(None)` is: nobody leads.
    pub fn news(&mut self) -> Option<Option<v1::MasterInfo>> {
        let leader = self.leader().cloned();
        if self.published.as_ref() == Some(&leader) {
            return None;
        }
        self.published = Some(leader.clone());
        Some(leader)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::candidate::{encode, fixed};

    #[test]
    fn follows_the_smallest_and_reads_each_once() {
        let mut detection = Detection::default();
        assert_eq!(detection.children(["log_replicas"]), Next::Wait);
        assert_eq!(detection.news(), Some(None));
        assert_eq!(detection.news(), None);
        let (a, b) = (fixed("a", 1), fixed("b", 1));
        assert_eq!(detection.children(["json.info_2", "json.info_1"]), Next::Read("json.info_1".into()));
        detection.read("json.info_1", Some(&encode(&a)));
        assert_eq!(detection.news(), Some(Some(a)));
        assert_eq!(detection.children(["json.info_1", "json.info_2", "json.info_3"]), Next::Wait);
        assert_eq!(detection.news(), None);
        assert_eq!(detection.children(["json.info_2"]), Next::Read("json.info_2".into()));
        detection.read("json.info_1", Some(&encode(&fixed("late", 1))));
        detection.read("json.info_2", Some(&encode(&b)));
        assert_eq!(detection.news(), Some(Some(b)));
    }

    #[test]
    fn a_leader_that_vanishes_or_cannot_be_read_is_none() {
        let mut detection = Detection::default();
        for data in [None, Some(&b"garbage"[..])] {
            assert_eq!(detection.children(["json.info_1"]), Next::Read("json.info_1".into()));
            detection.read("json.info_1", data);
            assert_eq!(detection.leader(), None);
        }
    }
}
