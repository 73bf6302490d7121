//! A long text in pieces. What stands between the entities is written anew for each version; runs of entities are shared with
//! the version before if none of them changed, and so is what packing made of them: a large picture that changes a little is
//! neither joined nor packed again from its beginning.
//!
//! Deflate's blocks (RFC 1951) can be put one behind the other wherever each ends on a byte and looks at nothing before it; the
//! checksum of the whole (RFC 1952) follows from those of the parts.

use std::{
    collections::HashMap,
    mem,
    num::NonZero,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    thread,
};

use crc32fast::Hasher;
use flate2::{Compress, Compression, FlushCompress, Status};
use mezzo_api::ids::FrameworkId;
use mezzo_server::threads::{self, Steps};

use super::{Tasks, View, shown::Text};

/// About every so many entities a run begins: shorter ones are packed less well, longer ones packed again when one of them changes.
const RUN: u64 = 32;
/// No run is longer.
const LONGEST_RUN: usize = 128;
/// As many runs are worked at on several threads.
const MANY: usize = 128;
/// Reading is to leave room for others.
const MOST_THREADS: usize = 4;
/// To write as many entities is no work for a thread that serves others.
pub(crate) const LARGE: usize = 2000;
/// Nor is it to pack a text of so many bytes.
const LONG: usize = 256 * 1024;
/// Shorter texts are not worth packing.
const SHORT: usize = 64;
/// Of a block that is stored as it is.
const LONGEST_STORED: usize = 0xffff;

/// What a member of gzip begins with: deflate, no name, no time, packed fast, by nobody in particular.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 4, 255];
/// The last block: nothing, with fixed codes.
const LAST: [u8; 2] = [3, 0];

/// The text.
#[derive(Debug, Default)]
pub(crate) struct Pieces {
    list: Vec<Piece>,
    /// Of the frameworks in it.
    tasks: HashMap<FrameworkId, Arc<TaskRuns>>,
}

#[derive(Debug)]
enum Piece {
    Own(Box<[u8]>),
    Comma,
    Run(Arc<Run>),
}

/// The lists of a framework's tasks, which stay as they are as long as none of them changes.
#[derive(Debug)]
pub(super) struct TaskRuns {
    tasks: Tasks,
    lists: [Vec<Arc<Run>>; 3],
}

impl TaskRuns {
    /// In each of its lists.
    pub(super) fn lists(&self) -> &[Vec<Arc<Run>>; 3] {
        &self.lists
    }
}

/// Entities one behind the other, with commas between them.
pub(super) struct Run {
    members: Vec<Arc<dyn Text>>,
    length: OnceLock<usize>,
    packed: OnceLock<Packed>,
}

struct Packed {
    blocks: Box<[u8]>,
    sum: Hasher,
}

/// What there is of an older text.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// By where their first member is.
    runs: HashMap<usize, Arc<Run>>,
    tasks: HashMap<FrameworkId, Arc<TaskRuns>>,
}

impl From<Vec<u8>> for Pieces {
    fn from(text: Vec<u8>) -> Self {
        Self { list: vec![Piece::Own(text.into())], ..Self::default() }
    }
}

impl Pieces {
    /// What a later text can share.
    pub(super) fn known(&self) -> Known {
        let runs = self.runs().map(|run| (run.address(), Arc::clone(run))).collect();
        Known { runs, tasks: self.tasks.clone() }
    }

    /// Adds a text of its own.
    pub(super) fn push(&mut self, text: Vec<u8>) {
        if !text.is_empty() {
            self.list.push(Piece::Own(text.into()));
        }
    }

    /// Adds runs, with commas between them.
    pub(super) fn extend(&mut self, runs: &[Arc<Run>]) {
        for (index, run) in runs.iter().enumerate() {
            if index > 0 {
                self.list.push(Piece::Comma);
            }
            self.list.push(Piece::Run(Arc::clone(run)));
        }
    }

    /// The runs of a framework's tasks: those that are known, if they are still the same.
    pub(super) fn task_runs(&mut self, view: &View, framework: &FrameworkId, known: &Known) -> Arc<TaskRuns> {
        let tasks = view.tasks.get(framework).cloned().unwrap_or_default();
        let same = known.tasks.get(framework).filter(|runs| runs.tasks.ptr_eq(&tasks));
        let runs = same.cloned().unwrap_or_else(|| {
            let lists = view.tasks_of(framework).map(|list| known.runs(&list));
            Arc::new(TaskRuns { tasks, lists })
        });
        self.tasks.insert(framework.clone(), Arc::clone(&runs));
        runs
    }

    /// Whether it takes a while to write or to pack.
    pub(crate) fn is_long(&self) -> bool {
        let own = |piece: &Piece| match piece {
            Piece::Own(text) => text.len(),
            Piece::Run(_) | Piece::Comma => 0,
        };
        self.runs().map(|run| run.members.len()).sum::<usize>() >= LARGE
            || self.list.iter().map(own).sum::<usize>() >= LONG
    }

    /// Whether there is nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// How long it is. Entities are written now that never were.
    pub(crate) fn len(&self) -> usize {
        self.write();
        self.list.iter().map(Piece::len).sum()
    }

    /// All of it.
    pub(crate) fn text(&self) -> Vec<u8> {
        let mut text = vec![0; self.len()];
        let mut rest = text.as_mut_slice();
        let mut parts = Vec::with_capacity(self.list.len());
        for piece in &self.list {
            let (part, others) = mem::take(&mut rest).split_at_mut(piece.len());
            parts.push((piece, part));
            rest = others;
        }
        on_threads(parts, |(piece, part)| piece.copy_to(part));
        text
    }

    /// All of it, packed with gzip.
    pub(crate) fn packed(&self) -> Vec<u8> {
        let unpacked = self.runs().filter(|run| run.packed.get().is_none()).collect();
        on_threads_with(unpacked, Packer::new, |packer, run: &Arc<Run>| {
            run.pack(packer);
        });
        let (mut out, mut sum, mut packer, steps) = (HEADER.to_vec(), Hasher::new(), Packer::new(), Steps::default());
        out.reserve(self.runs().map(|run| run.pack(&mut packer).blocks.len() + SHORT).sum());
        for piece in &self.list {
            steps.step();
            match piece {
                Piece::Own(text) => {
                    sum.update(text);
                    packer.pack(text, &mut out);
                }
                Piece::Comma => {
                    sum.update(b",");
                    store(b",", &mut out);
                }
                Piece::Run(run) => {
                    let packed = run.pack(&mut packer);
                    sum.combine(&packed.sum);
                    out.extend_from_slice(&packed.blocks);
                }
            }
        }
        out.extend_from_slice(&LAST);
        out.extend_from_slice(&sum.finalize().to_le_bytes());
        out.extend_from_slice(&length(self.len()).to_le_bytes());
        out
    }

    /// Writes the entities that nobody has read yet: after a change of leaders somebody waits for all of them.
    fn write(&self) {
        let unwritten = self.runs().filter(|run| run.length.get().is_none()).collect();
        on_threads(unwritten, |run: &Arc<Run>| {
            run.len();
        });
    }

    fn runs(&self) -> impl Iterator<Item = &Arc<Run>> {
        self.list.iter().filter_map(|piece| match piece {
            Piece::Own(_) | Piece::Comma => None,
            Piece::Run(run) => Some(run),
        })
    }
}

impl Piece {
    fn len(&self) -> usize {
        match self {
            Self::Own(text) => text.len(),
            Self::Comma => 1,
            Self::Run(run) => run.len(),
        }
    }

    fn copy_to(&self, mut to: &mut [u8]) {
        let mut copy = |text: &[u8]| {
            let (part, rest) = mem::take(&mut to).split_at_mut(text.len());
            part.copy_from_slice(text);
            to = rest;
        };
        match self {
            Self::Own(text) => copy(text),
            Self::Comma => copy(b","),
            Self::Run(run) => run.texts().for_each(copy),
        }
    }
}

impl Run {
    fn address(&self) -> usize {
        self.members.first().map_or(0, |first| address(&**first))
    }

    fn len(&self) -> usize {
        *self.length.get_or_init(|| self.texts().map(<[u8]>::len).sum())
    }

    /// What it is made of: texts and commas.
    fn texts(&self) -> impl Iterator<Item = &[u8]> {
        let comma = |index| if index == 0 { &b""[..] } else { b"," };
        self.members.iter().enumerate().flat_map(move |(index, member)| [comma(index), member.text()])
    }

    fn pack(&self, packer: &mut Packer) -> &Packed {
        self.packed.get_or_init(|| {
            let (mut sum, mut blocks) = (Hasher::new(), Vec::new());
            let mut text = Vec::with_capacity(self.len());
            self.texts().for_each(|part| text.extend_from_slice(part));
            sum.update(&text);
            packer.pack(&text, &mut blocks);
            Packed { blocks: blocks.into(), sum }
        })
    }
}

impl std::fmt::Debug for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} entities", self.members.len())
    }
}

impl Known {
    /// Entities in runs.
    pub(super) fn runs<T: Text + 'static>(&self, entities: &[&Arc<T>]) -> Vec<Arc<Run>> {
        let (mut runs, mut rest, steps) = (Vec::new(), entities, Steps::default());
        while !rest.is_empty() {
            steps.step();
            let after = rest.iter().take(LONGEST_RUN).skip(1).position(|entity| begins_run(address(&***entity)));
            let (members, others) = rest.split_at(after.map_or(LONGEST_RUN.min(rest.len()), |index| index + 1));
            runs.push(self.run(members));
            rest = others;
        }
        runs
    }

    /// The run of these members: one that is known, if it has them all and no others.
    fn run<T: Text + 'static>(&self, members: &[&Arc<T>]) -> Arc<Run> {
        let known = members.first().and_then(|first| self.runs.get(&address(&***first)));
        let same = |known: &&Arc<Run>| {
            known.members.len() == members.len()
                && known.members.iter().zip(members).all(|(one, other)| address(&**one) == address(&***other))
        };
        known.filter(same).cloned().unwrap_or_else(|| {
            let members = members.iter().map(|member| Arc::clone(member) as Arc<dyn Text>).collect();
            Arc::new(Run { members, length: OnceLock::new(), packed: OnceLock::new() })
        })
    }
}

/// As gzip notes it.
#[expect(clippy::cast_possible_truncation, reason = "of a long one the format keeps the lower half")]
fn length(bytes: usize) -> u32 {
    bytes as u32
}

/// Where something is. As long as it is held nothing else is there.
fn address<T: ?Sized>(of: &T) -> usize {
    std::ptr::from_ref(of).cast::<()>().addr()
}

/// Where a run begins depends on its first entity alone: what comes and goes elsewhere moves no run's beginning.
fn begins_run(address: usize) -> bool {
    // Fibonacci hashing: the upper bits depend on all of the lower.
    (address as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32 < (1 << 32) / RUN
}

/// Does something with each, on several threads if they are many.
fn on_threads<T: Send>(all: Vec<T>, work: impl Fn(T) + Sync) {
    on_threads_with(all, || (), |(), one| work(one));
}

/// The same, with something that each thread makes for itself.
fn on_threads_with<T: Send, S>(all: Vec<T>, make: impl Fn() -> S + Sync, work: impl Fn(&mut S, T) + Sync) {
    let threads = match all.len() {
        0..MANY => 1,
        _ => thread::available_parallelism().map_or(1, NonZero::get).min(MOST_THREADS),
    };
    let (rest, is_patient) = (Mutex::new(all.into_iter()), threads::is_patient());
    let go_on = || {
        let mut with = make();
        loop {
            let next = rest.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some(next) = next else { break };
            work(&mut with, next);
            threads::give_way();
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads {
            let work = || {
                if is_patient {
                    threads::patient(0); // they are as nice as this one: threads inherit that
                }
                go_on();
            };
            // Without them this one does it all.
            let _ = thread::Builder::new().name("rendering".into()).spawn_scoped(scope, work);
        }
        go_on();
    });
}

/// Packs one text after the other.
struct Packer(Compress);

impl Packer {
    fn new() -> Self {
        Self(Compress::new(Compression::fast(), false))
    }

    /// Adds blocks that hold this text, the last of which ends on a byte.
    fn pack(&mut self, text: &[u8], out: &mut Vec<u8>) {
        if text.len() < SHORT || !self.deflate(text, out) {
            store(text, out);
        }
    }

    /// Whether that could be done; if not, nothing is added.
    fn deflate(&mut self, text: &[u8], out: &mut Vec<u8>) -> bool {
        let start = out.len();
        self.0.reset();
        loop {
            let read = usize::try_from(self.0.total_in()).unwrap_or(usize::MAX);
            let Some(rest) = text.get(read..) else { break };
            // Room is left over once everything is out.
            out.reserve(rest.len() / 4 + SHORT);
            match self.0.compress_vec(rest, out, FlushCompress::Sync) {
                Ok(Status::Ok | Status::BufError) if out.len() < out.capacity() => return true,
                Ok(Status::Ok | Status::BufError) => {}
                Ok(Status::StreamEnd) | Err(_) => break,
            }
        }
        out.truncate(start);
        false
    }
}

/// Adds the text as it is.
fn store(text: &[u8], out: &mut Vec<u8>) {
    for part in text.chunks(LONGEST_STORED) {
        let length = u16::try_from(part.len()).unwrap_or(u16::MAX);
        out.push(0);
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&(!length).to_le_bytes());
        out.extend_from_slice(part);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    struct Word(String);

    impl Text for Word {
        fn text(&self) -> &[u8] {
            self.0.as_bytes()
        }
    }

    fn words(count: usize) -> Vec<Arc<Word>> {
        (0..count).map(|number| Arc::new(Word(format!("\"{number} {}\"", "x".repeat(number % 700))))).collect()
    }

    fn pieces(words: &[Arc<Word>], known: &Known) -> Pieces {
        let mut pieces = Pieces::default();
        pieces.push(b"[".to_vec());
        pieces.extend(&known.runs(&words.iter().collect::<Vec<_>>()));
        pieces.push(Vec::new());
        pieces.push(format!("{}]", " ".repeat(100_000)).into_bytes());
        pieces
    }

    fn joined(words: &[Arc<Word>]) -> String {
        let words: Vec<_> = words.iter().map(|word| word.0.as_str()).collect();
        format!("[{}{}]", words.join(","), " ".repeat(100_000))
    }

    fn unpacked(packed: &[u8]) -> String {
        let mut text = String::new();
        flate2::read::GzDecoder::new(packed).read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn packed_or_not_it_is_the_same_text() {
        for count in [0, 1, 2, 100, 20_000] {
            let words = words(count);
            let pieces = pieces(&words, &Known::default());
            let text = joined(&words);
            assert_eq!(pieces.len(), text.len());
            assert_eq!(String::from_utf8(pieces.text()).unwrap(), text);
            assert_eq!(unpacked(&pieces.packed()), text);
        }
        assert_eq!(unpacked(&Pieces::default().packed()), "");
    }

    #[test]
    fn what_does_not_change_is_shared() {
        let mut words = words(10_000);
        let first = pieces(&words, &Known::default());
        first.packed();
        let changed = words.remove(5000);
        words.push(Arc::new(Word(changed.0.clone())));
        let second = pieces(&words, &first.known());
        let all = second.runs().count();
        let shared = second.runs().filter(|run| run.packed.get().is_some()).count();
        assert!((100..1000).contains(&all), "{all} runs");
        assert!(all - shared <= 4, "{shared} of {all} runs are shared");
        assert_eq!(unpacked(&second.packed()), joined(&words));
        assert_eq!(unpacked(&first.packed()).len(), first.len());
    }

    #[test]
    fn what_cannot_be_packed_is_stored() {
        let noise: Vec<u8> = (0..200_000_u64).map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect();
        for length in [0, 1, SHORT - 1, SHORT, 0xffff, 0x10000, noise.len()] {
            let mut stored = HEADER.to_vec();
            store(&noise[..length], &mut stored);
            stored.extend_from_slice(&LAST);
            let mut sum = Hasher::new();
            sum.update(&noise[..length]);
            stored.extend_from_slice(&sum.finalize().to_le_bytes());
            stored.extend_from_slice(&crate::view::pieces::length(length).to_le_bytes());
            let mut back = Vec::new();
            flate2::read::GzDecoder::new(&stored[..]).read_to_end(&mut back).unwrap();
            assert!(back == noise[..length], "{length} bytes");
            let packed = Pieces::from(noise[..length].to_vec()).packed();
            let mut back = Vec::new();
            flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut back).unwrap();
            assert!(back == noise[..length], "{length} bytes");
        }
    }
}
