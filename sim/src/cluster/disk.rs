//! An agent's checkpoint: an append-only log. A crash of the process loses what was not written, a power cut what was
//! not synced; what is torn is cut off by the reader.

use bytes::Bytes;

use crate::random::Random;

/// The log.
#[derive(Debug, Default)]
pub struct Disk {
    records: Vec<Bytes>,
    synced: usize,
}

impl Disk {
    /// Writes records; with `sync`, everything up to here survives a power cut.
    pub fn write(&mut self, records: Vec<Bytes>, sync: bool) {
        self.records.extend(records);
        if sync {
            self.synced = self.records.len();
        }
    }

    /// Everything up to here survives a power cut.
    pub fn sync(&mut self) {
        self.synced = self.records.len();
    }

    /// A new log takes the place of the old one, durably.
    pub fn compact(&mut self, snapshot: Vec<Bytes>) {
        self.records = snapshot;
        self.synced = self.records.len();
    }

    /// The process died while it wrote these: a first part is there.
    pub fn crash(&mut self, unwritten: Vec<Bytes>, random: &mut Random) -> usize {
        let kept = random.index(unwritten.len() + 1);
        self.records.extend(unwritten.into_iter().take(kept));
        kept
    }

    /// The power failed: what was not synced is there in part. Gives how many records were lost.
    pub fn power_cut(&mut self, random: &mut Random) -> usize {
        let before = self.records.len();
        let kept = self.synced + random.index(before - self.synced + 1);
        self.records.truncate(kept);
        self.synced = kept;
        before - kept
    }

    /// What a new process finds.
    pub fn records(&self) -> Vec<Bytes> {
        self.records.clone()
    }

    /// How many records there are.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }
}
