//! The checkpoint: an append-only file of the core's records, and the lock on the work directory.
//!
//! The file begins with a magic word; then come records: length (4 bytes, big-endian), CRC-32 of the content
//! (4 bytes, big-endian), content. The first one holds the boot id of the machine when the file was written, all others are
//! the core's. A batch is written at once. What a crash of the agent can leave is a prefix of what was written, so that only
//! the last record can be torn: it is cut off. A power cut can also leave holes in what was not synced: after a
//! reboot the file ends at the first bad record. Anything else is damage, and the agent refuses to guess.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Seek, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use bytes::{Buf, Bytes};
use rustix::fs::FlockOperation;

const MAGIC: &[u8; 8] = b"MZAGENT1";
const FILE: &str = "checkpoint";
const NEW_FILE: &str = "checkpoint.new";
const LOCK_FILE: &str = "lock";
const HEADER_BYTES: usize = 8;
/// No record is longer; a length beyond it is damage.
const MAX_RECORD_BYTES: usize = 64 * 1024 * 1024;
/// Room that is kept for records when the disk is full: the end of each task that runs, and more, fits into it.
const RESERVE_BYTES: u64 = 8 * 1024 * 1024;
const RESERVE_FILE: &str = "reserve";
/// With less room than this beside the reserve, nothing new is begun.
const SHORT_BYTES: u64 = 4 * 1024 * 1024;
/// The disk is looked at so often, at most; and a write that finds no room is tried again after this.
pub(crate) const LOOK_EVERY: Duration = Duration::from_secs(1);
/// So often at least, while there was room and nothing happens.
pub(crate) const LOOK_IDLE: Duration = Duration::from_secs(5);
/// A copy of a damaged file of which the rest was taken over.
const DAMAGED_FILE: &str = "checkpoint.damaged";
/// The file is written anew when it has grown by so much, and to several times what it began with.
const COMPACT_AT_BYTES: u64 = 32 * 1024 * 1024;

/// Why there is no checkpoint to work with.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CheckpointError {
    /// Another agent works in this directory.
    #[error("another agent is running in {}: end it, or give this one a --work_dir of its own", .0.display())]
    Locked(PathBuf),
    /// The operating system says no.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The file is of another format.
    #[error(
        "{} is no checkpoint that this version can read; if a newer version of the agent wrote it, run that one; \
         to give up what it holds, move it away: the agent then registers anew and ends the containers that it finds",
        .0.display()
    )]
    Format(PathBuf),
    /// The file is damaged.
    #[error(
        "{} is damaged at byte {offset} of {length}: {what}; restore the file, or move it away to start as a new \
         agent, which ends the containers that it finds", path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where the bad record begins.
        offset: u64,
        /// The file's length.
        length: u64,
        /// What is wrong with it.
        what: &'static str,
    },
}

/// The exclusive right to a work directory, as long as it lives.
#[derive(Debug)]
pub(crate) struct WorkDirLock {
    _file: File,
}

impl WorkDirLock {
    /// Takes the lock; `directory` is made if it is not there.
    ///
    /// # Errors
    /// When another agent has it, or the directory cannot be used.
    pub(crate) fn take(directory: &Path) -> Result<Self, CheckpointError> {
        fs::create_dir_all(directory).map_err(failed("make", directory))?;
        let path = directory.join(LOCK_FILE);
        let mut options = OpenOptions::new();
        let file = options.create(true).truncate(false).write(true).mode(0o600).open(&path);
        let file = file.map_err(failed("open", &path))?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { _file: file }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(CheckpointError::Locked(directory.to_path_buf())),
            Err(error) => Err(failed("lock", &path)(error.into())),
        }
    }
}

/// The file, open for appending.
#[derive(Debug)]
pub(crate) struct Checkpoint {
    directory: PathBuf,
    boot_id: String,
    file: Option<File>,
    buffer: Vec<u8>,
    length: u64,
    compact_at: u64,
    /// How far the file that was read is whole.
    whole: u64,
    short: bool,
    looked: Option<Instant>,
}

impl Checkpoint {
    /// Reads the records in `directory`, in order. Nothing is appended before [`Checkpoint::begin`]. If it is not
    /// `strict`, what is damaged is left out with a warning, and a copy of the file is kept.
    ///
    /// # Errors
    /// When the file is damaged, of another format, or cannot be read.
    pub(crate) fn open(directory: &Path, boot_id: &str, strict: bool) -> Result<(Self, Vec<Bytes>), CheckpointError> {
        let mut checkpoint = Self {
            directory: directory.to_path_buf(),
            boot_id: boot_id.to_string(),
            file: None,
            buffer: Vec::new(),
            length: 0,
            compact_at: 0,
            whole: 0,
            short: false,
            looked: None,
        };
        let path = directory.join(FILE);
        let mut content = Vec::new();
        match File::open(&path) {
            Ok(mut file) => file.read_to_end(&mut content).map_err(failed("read", &path))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((checkpoint, Vec::new())),
            Err(error) => return Err(failed("open", &path)(error)),
        };
        let read = parse(&path, Bytes::from(content), boot_id, strict)?;
        if read.damaged {
            let copy = directory.join(DAMAGED_FILE);
            fs::copy(&path, &copy).map_err(failed("copy to", &copy))?;
            tracing::warn!(copy = %copy.display(), "kept a copy of the damaged checkpoint");
        }
        checkpoint.whole = if read.damaged { 0 } else { read.whole };
        Ok((checkpoint, read.records))
    }

    /// Begins to append, to a file of these records, which say what the file that was read does, and what is `new` since.
    /// Without room for a new file the old one is gone on with, if it is whole, and `new` is appended to it.
    ///
    /// # Errors
    /// When neither can be.
    pub(crate) fn begin(&mut self, records: &[Bytes], new: &[Bytes]) -> Result<(), CheckpointError> {
        match self.rewrite(records) {
            Err(error) if error.is_full() && self.whole > 0 => {
                tracing::error!("{error}; going on with the checkpoint that is there");
                self.reopen(new)
            }
            result => result,
        }?;
        self.keep_reserve();
        Ok(())
    }

    fn reopen(&mut self, new: &[Bytes]) -> Result<(), CheckpointError> {
        let path = self.directory.join(FILE);
        let file = OpenOptions::new().append(true).open(&path).map_err(failed("open", &path))?;
        file.set_len(self.whole).map_err(failed("cut", &path))?;
        (self.file, self.length, self.compact_at) = (Some(file), self.whole, self.whole + COMPACT_AT_BYTES);
        new.iter().for_each(|record| self.add(record));
        self.commit(true)
    }

    /// Writes the file anew, shorter; without room for that, later.
    ///
    /// # Errors
    /// When it cannot be written for another reason.
    pub(crate) fn compact(&mut self, records: &[Bytes]) -> Result<(), CheckpointError> {
        match self.rewrite(records) {
            Err(error) if error.is_full() && self.file.is_some() => {
                tracing::error!("{error}; going on with the checkpoint that is there");
                self.compact_at = self.length + COMPACT_AT_BYTES;
                Ok(())
            }
            result => result,
        }
    }

    /// Replaces the file, durably and at once, by one of these records.
    ///
    /// # Errors
    /// When it cannot be written; the old one is still there then.
    pub(crate) fn rewrite(&mut self, records: &[Bytes]) -> Result<(), CheckpointError> {
        let (path, new) = (self.directory.join(FILE), self.directory.join(NEW_FILE));
        let mut content = MAGIC.to_vec();
        put(&mut content, self.boot_id.as_bytes());
        for record in records {
            put(&mut content, record);
        }
        let mut options = OpenOptions::new();
        let file = options.create(true).truncate(true).write(true).mode(0o600).open(&new);
        let mut file = file.map_err(failed("make", &new))?;
        if let Err(error) = file.write_all(&content).and_then(|()| file.sync_data()) {
            let _ = fs::remove_file(&new);
            return Err(failed("write", &new)(error));
        }
        fs::rename(&new, &path).map_err(failed("replace", &path))?;
        let parent = File::open(&self.directory).and_then(|directory| directory.sync_all());
        parent.map_err(failed("sync", &self.directory))?;
        self.length = content.len() as u64;
        self.compact_at = (self.length * 4).max(COMPACT_AT_BYTES);
        self.file = Some(file);
        Ok(())
    }

    /// Adds a record to the batch.
    pub(crate) fn add(&mut self, record: &[u8]) {
        put(&mut self.buffer, record);
    }

    /// Writes the batch; with `sync`, it survives a power cut when this returns.
    ///
    /// # Errors
    /// When it cannot be written for another reason than a full disk. What is on disk is unknown then: the agent must end.
    pub(crate) fn commit(&mut self, sync: bool) -> Result<(), CheckpointError> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let path = self.directory.join(FILE);
        let missing = || failed("append to", &path)(io::Error::other("it was never written"));
        loop {
            let file = self.file.as_mut().ok_or_else(missing)?;
            let written = file.write_all(&self.buffer).and_then(|()| if sync { file.sync_data() } else { Ok(()) });
            match written {
                Ok(()) => break,
                Err(error) if is_full(&error) => {
                    // Of a batch that did not fit nothing stays.
                    file.set_len(self.length).map_err(failed("cut", &path))?;
                    file.seek(io::SeekFrom::Start(self.length)).map_err(failed("append to", &path))?;
                    self.make_room(&path);
                }
                Err(error) => return Err(failed("append to", &path)(error)),
            }
        }
        self.length += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Gives up the reserve, or waits until somebody makes room: nothing that was recorded is lost meanwhile, and nothing
    /// that was not is acted on.
    fn make_room(&mut self, path: &Path) {
        self.short = true;
        match fs::remove_file(self.directory.join(RESERVE_FILE)) {
            Ok(()) => tracing::error!(path = %path.display(), "the disk is full: using what was kept for that"),
            Err(_) => {
                tracing::error!(path = %path.display(), "the disk is full, and so is what was kept for that: waiting for room");
                mezzo_server::notify::alive();
                std::thread::sleep(LOOK_EVERY);
            }
        }
    }

    /// Whether there is so little room that nothing new should be begun.
    pub(crate) fn is_short(&mut self) -> bool {
        let now = Instant::now();
        if self.looked.is_some_and(|looked| now < looked + LOOK_EVERY) {
            return self.short;
        }
        self.looked = Some(now);
        self.keep_reserve();
        self.short = self.free().is_some_and(|free| free < SHORT_BYTES);
        self.short
    }

    /// Takes the reserve (again), as soon as there is room for it.
    fn keep_reserve(&mut self) {
        let path = self.directory.join(RESERVE_FILE);
        let there = fs::metadata(&path).is_ok_and(|metadata| metadata.len() == RESERVE_BYTES);
        if there || self.free().is_some_and(|free| free < RESERVE_BYTES + SHORT_BYTES) {
            return;
        }
        let taken = File::create(&path)
            .and_then(|file| Ok(rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, RESERVE_BYTES)?));
        if let Err(error) = taken {
            tracing::debug!(path = %path.display(), "no room is kept for a full disk: {error}");
            let _ = fs::remove_file(&path);
        }
    }

    fn free(&self) -> Option<u64> {
        let stat = rustix::fs::statvfs(&self.directory).ok()?;
        Some(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    /// Whether it is time for [`Checkpoint::rewrite`].
    pub(crate) fn is_long(&self) -> bool {
        self.length > self.compact_at
    }
}

fn put(out: &mut Vec<u8>, content: &[u8]) {
    let length = u32::try_from(content.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&crc32fast::hash(content).to_be_bytes());
    out.extend_from_slice(content);
}

struct Read {
    records: Vec<Bytes>,
    /// How far the file is whole.
    whole: u64,
    /// Something in it was left out.
    damaged: bool,
}

fn parse(path: &Path, content: Bytes, boot_id: &str, strict: bool) -> Result<Read, CheckpointError> {
    let length = content.len() as u64;
    let mut read = Read { records: Vec::new(), whole: 0, damaged: false };
    if content.is_empty() {
        return Ok(read);
    }
    if !content.starts_with(MAGIC) {
        return Err(CheckpointError::Format(path.to_path_buf()));
    }
    let mut rest = content.slice(MAGIC.len()..);
    let mut rebooted = false;
    let mut first = true;
    while !rest.is_empty() {
        match take(&mut rest) {
            Ok(record) if first => {
                rebooted = record != boot_id.as_bytes();
                first = false;
            }
            Ok(record) => read.records.push(record),
            Err(bad) if bad.torn || rebooted => {
                tracing::warn!(path = %path.display(), bytes = rest.len(), "cut off the checkpoint's torn end");
                break;
            }
            Err(bad) => {
                let offset = length - rest.len() as u64;
                let error = CheckpointError::Damaged { path: path.to_path_buf(), offset, length, what: bad.what };
                if strict {
                    return Err(error);
                }
                tracing::warn!("{error}; left out, since --strict=false");
                read.damaged = true;
                // Where the next one begins is known if only the content of this one is wrong.
                let Some(end) = bad.end else { break };
                rest = rest.slice(end..);
                continue;
            }
        }
        read.whole = length - rest.len() as u64;
    }
    Ok(read)
}

struct Bad {
    /// It reaches to the end of the file.
    torn: bool,
    what: &'static str,
    /// Where the next one begins, if its length can be believed.
    end: Option<usize>,
}

fn take(rest: &mut Bytes) -> Result<Bytes, Bad> {
    if rest.len() < HEADER_BYTES {
        return Err(Bad { torn: true, what: "a record's head is cut", end: None });
    }
    let mut head = rest.slice(..HEADER_BYTES);
    let (length, crc) = (head.get_u32() as usize, head.get_u32());
    if length > MAX_RECORD_BYTES {
        return Err(Bad { torn: false, what: "a record's length cannot be", end: None });
    }
    let end = HEADER_BYTES + length;
    if rest.len() < end {
        return Err(Bad { torn: true, what: "a record is cut", end: None });
    }
    let record = rest.slice(HEADER_BYTES..end);
    if crc32fast::hash(&record) != crc {
        return Err(Bad { torn: rest.len() == end, what: "a record's checksum is wrong", end: Some(end) });
    }
    *rest = rest.slice(end..);
    Ok(record)
}

/// Whether there is no room, as opposed to something that waiting does not help.
fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

impl CheckpointError {
    fn is_full(&self) -> bool {
        matches!(self, Self::Io { source, .. } if is_full(source))
    }
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CheckpointError {
    move |source| CheckpointError::Io { action, path: path.to_path_buf(), source }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOOT: &str = "e867edd8-328b-4474-a973-82e2c5881314";

    /// Cuts the file at `length`: what a crash in the middle of a write leaves.
    fn cut(path: &Path, length: u64) {
        let file = OpenOptions::new().write(true).open(path).expect("the checkpoint is there");
        file.set_len(length).expect("cut");
    }

    fn write(directory: &Path, records: &[Vec<u8>]) -> Vec<u64> {
        let (mut checkpoint, _) = Checkpoint::open(directory, BOOT, true).unwrap();
        checkpoint.rewrite(&[]).unwrap();
        let mut ends = vec![checkpoint.length];
        for record in records {
            checkpoint.add(record);
            checkpoint.commit(false).unwrap();
            ends.push(checkpoint.length);
        }
        ends
    }

    fn read(directory: &Path, boot: &str) -> Result<Vec<Bytes>, CheckpointError> {
        Checkpoint::open(directory, boot, true).map(|(_, records)| records)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_cut_gives_the_records_before_it(
            records in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..8),
            at in any::<prop::sample::Index>(),
        ) {
            let directory = tempfile::tempdir().unwrap();
            let ends = write(directory.path(), &records);
            let length = at.index(usize::try_from(*ends.last().unwrap()).unwrap() + 1) as u64;
            prop_assume!(length >= ends[0] || length == 0);
            cut(&directory.path().join(FILE), length);
            let whole = ends[1..].iter().filter(|end| **end <= length).count();
            let found = read(directory.path(), BOOT).unwrap();
            prop_assert_eq!(found, records[..whole].iter().map(|record| Bytes::from(record.clone())).collect::<Vec<_>>());
        }

        #[test]
        fn a_flipped_bit_is_never_believed(
            records in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 2..6),
            at in any::<prop::sample::Index>(),
            bit in 0u8..8,
        ) {
            let directory = tempfile::tempdir().unwrap();
            let ends = write(directory.path(), &records);
            let path = directory.path().join(FILE);
            let mut content = fs::read(&path).unwrap();
            let begin = usize::try_from(ends[0]).unwrap();
            let at = begin + at.index(content.len() - begin);
            content[at] ^= 1 << bit;
            fs::write(&path, &content).unwrap();
            let damaged = ends[1..].iter().filter(|end| **end <= at as u64).count();
            let before: Vec<Bytes> = records[..damaged].iter().map(|record| Bytes::from(record.clone())).collect();
            match read(directory.path(), BOOT) {
                Ok(found) => prop_assert_eq!(found, before.clone()),
                Err(error) => prop_assert!(error.to_string().contains(&path.display().to_string()), "{}", error),
            }
            prop_assert_eq!(read(directory.path(), "another boot").unwrap(), before);
        }
    }

    #[test]
    fn damage_in_the_middle_is_named_with_the_way_out() {
        let directory = tempfile::tempdir().unwrap();
        let ends = write(directory.path(), &[b"one".to_vec(), b"two".to_vec(), b"three".to_vec()]);
        let path = directory.path().join(FILE);
        let mut content = fs::read(&path).unwrap();
        content[usize::try_from(ends[2]).unwrap() - 1] ^= 0xff;
        fs::write(&path, content).unwrap();
        let error = read(directory.path(), BOOT).unwrap_err().to_string();
        assert!(error.contains("checksum") && error.contains("move it away"), "{error}");
    }

    #[test]
    fn damage_is_left_out_if_nobody_is_strict() {
        let directory = tempfile::tempdir().unwrap();
        let ends = write(directory.path(), &[b"one".to_vec(), b"two".to_vec(), b"three".to_vec()]);
        let path = directory.path().join(FILE);
        let mut content = fs::read(&path).unwrap();
        content[usize::try_from(ends[2]).unwrap() - 1] ^= 0xff;
        fs::write(&path, &content).unwrap();
        let (mut checkpoint, records) = Checkpoint::open(directory.path(), BOOT, false).unwrap();
        assert_eq!(records, [Bytes::from_static(b"one"), Bytes::from_static(b"three")]);
        assert_eq!(fs::read(directory.path().join(DAMAGED_FILE)).unwrap(), content);
        checkpoint.begin(&records, &[]).unwrap();
        assert_eq!(read(directory.path(), BOOT).unwrap(), records);
        assert_eq!(fs::metadata(directory.path().join(RESERVE_FILE)).unwrap().len(), RESERVE_BYTES);
    }

    #[test]
    fn another_format_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(FILE), b"MZAGENT2 something newer").unwrap();
        assert!(matches!(read(directory.path(), BOOT), Err(CheckpointError::Format(_))));
    }

    #[test]
    fn a_rewritten_file_holds_the_new_records_and_takes_more() {
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), &[b"old".to_vec()]);
        let (mut checkpoint, records) = Checkpoint::open(directory.path(), BOOT, true).unwrap();
        assert_eq!(records, [Bytes::from_static(b"old")]);
        checkpoint.rewrite(&[Bytes::from_static(b"snapshot")]).unwrap();
        checkpoint.add(b"more");
        checkpoint.commit(true).unwrap();
        assert_eq!(
            read(directory.path(), BOOT).unwrap(),
            [Bytes::from_static(b"snapshot"), Bytes::from_static(b"more")]
        );
    }

    #[test]
    fn a_work_directory_is_one_agents() {
        let directory = tempfile::tempdir().unwrap();
        let lock = WorkDirLock::take(directory.path()).unwrap();
        assert!(matches!(WorkDirLock::take(directory.path()), Err(CheckpointError::Locked(_))));
        drop(lock);
        WorkDirLock::take(directory.path()).unwrap();
    }
}
