//! The cache of downloads that may be kept (src/slave/containerizer/fetcher.cpp, Cache): one file for each user and URI,
//! at most so many bytes in all; what was not used for longest goes first, what is being read stays.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Mutex as Turn;

/// URIs that are remembered before those that were not kept are forgotten.
const MAX_SLOTS: usize = 4096;

/// A URI's place: held by the one who fetches it.
type Slot = Arc<Turn<Option<Arc<Cached>>>>;

/// The cache.
#[derive(Debug)]
pub(super) struct Cache {
    directory: PathBuf,
    books: Arc<Mutex<Books>>,
}

#[derive(Debug, Default)]
struct Books {
    limit: u64,
    /// By files and by what is being fetched.
    bytes: u64,
    slots: BTreeMap<String, Slot>,
    serial: u64,
    /// Counts uses.
    now: u64,
}

/// A file of the cache; it goes with the last who holds it.
#[derive(Debug)]
pub(super) struct Cached {
    path: PathBuf,
    bytes: u64,
    used: Mutex<u64>,
    books: Arc<Mutex<Books>>,
}

/// Room for a file that is being fetched; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place(Cached);

impl Cache {
    /// An empty cache in `directory`, of which nothing but the agent's own files is taken away.
    pub(super) fn open(directory: &Path, limit: u64) -> io::Result<Self> {
        match fs::read_dir(directory) {
            Ok(entries) => {
                for entry in entries {
                    let entry = entry?;
                    let ours = entry.file_name().to_str().is_some_and(is_ours);
                    if ours && entry.file_type()?.is_file() {
                        fs::remove_file(entry.path())?;
                    }
                }
            }
            Err(error) if error.kind() == ErrorKind::NotFound => fs::create_dir_all(directory)?,
            Err(error) => return Err(error),
        }
        let books = Books { limit, ..Books::default() };
        Ok(Self { directory: directory.to_path_buf(), books: Arc::new(Mutex::new(books)) })
    }

    /// How much of it is taken.
    pub(super) fn used_bytes(&self) -> u64 {
        lock(&self.books).bytes
    }

    /// The place of a key.
    pub(super) fn slot(&self, key: &str) -> Slot {
        let mut books = self.books();
        if books.slots.len() > MAX_SLOTS {
            // Of URIs that were never kept, and that nobody fetches.
            books
                .slots
                .retain(|_, slot| Arc::strong_count(slot) > 1 || slot.try_lock().is_ok_and(|held| held.is_some()));
        }
        books.slots.entry(key.to_owned()).or_default().clone()
    }

    /// Notes a use.
    pub(super) fn used(&self, cached: &Cached) {
        let mut books = self.books();
        books.now += 1;
        *lock(&cached.used) = books.now;
    }

    /// Makes room for a file; none if there is none, whatever goes.
    pub(super) fn reserve(&self, name: &str, bytes: u64) -> io::Result<Option<Place>> {
        let mut books = self.books();
        if bytes > books.limit {
            return Ok(None);
        }
        let mut gone = Vec::new();
        while books.bytes - gone_bytes(&gone) + bytes > books.limit {
            match books.oldest_unused() {
                Some(cached) => gone.push(cached),
                None => break,
            }
        }
        let freed = gone_bytes(&gone);
        let fits = books.bytes - freed + bytes <= books.limit;
        books.bytes += if fits { bytes } else { 0 };
        books.serial += 1;
        books.now += 1;
        let (serial, now) = (books.serial, books.now);
        drop(books);
        drop(gone);
        let path = self.directory.join(format!("c{serial}-{}", short(name)));
        let place = || Place(Cached { path, bytes, used: Mutex::new(now), books: self.books.clone() });
        Ok(fits.then(place))
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        lock(&self.books)
    }
}

impl Books {
    /// Takes out the file that was not used for longest and that nobody reads.
    fn oldest_unused(&mut self) -> Option<Arc<Cached>> {
        let mut oldest: Option<(u64, String)> = None;
        for (key, slot) in &self.slots {
            let Ok(held) = slot.try_lock() else { continue };
            let Some(cached) = held.as_ref().filter(|cached| Arc::strong_count(cached) == 1) else { continue };
            let used = *lock(&cached.used);
            if oldest.as_ref().is_none_or(|(before, _)| used < *before) {
                oldest = Some((used, key.clone()));
            }
        }
        let slot = self.slots.remove(&oldest?.1)?;
        slot.try_lock().ok()?.take()
    }
}

impl Cached {
    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens it.
    pub(super) fn read(&self) -> io::Result<File> {
        File::open(&self.path)
    }
}

impl Drop for Cached {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
        let mut books = lock(&self.books);
        books.bytes = books.bytes.saturating_sub(self.bytes);
    }
}

impl Place {
    /// Makes the file.
    pub(super) fn write(&self) -> io::Result<File> {
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&self.0.path)
    }

    /// It is there, with this many bytes.
    pub(super) fn filled(mut self, bytes: u64) -> Arc<Cached> {
        let mut books = lock(&self.0.books);
        books.bytes = (books.bytes + bytes).saturating_sub(self.0.bytes);
        drop(books);
        self.0.bytes = bytes;
        Arc::new(self.0)
    }
}

fn gone_bytes(gone: &[Arc<Cached>]) -> u64 {
    gone.iter().map(|cached| cached.bytes).sum()
}

/// Nobody panics while the books are held; and they are only numbers.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `c<serial>-<name>`, as Mesos calls them.
fn is_ours(name: &str) -> bool {
    name.strip_prefix('c')
        .and_then(|rest| rest.split_once('-'))
        .is_some_and(|(serial, _)| !serial.is_empty() && serial.bytes().all(|byte| byte.is_ascii_digit()))
}

/// A long name is cut in the middle.
fn short(name: &str) -> String {
    let characters: Vec<char> = name.chars().collect();
    if characters.len() <= 20 {
        return name.to_owned();
    }
    let (head, tail) = (&characters[..10], &characters[characters.len() - 10..]);
    head.iter().chain(&['_']).chain(tail).collect()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn fill(cache: &Cache, key: &str, bytes: usize) -> Option<Arc<Cached>> {
        let place = cache.reserve(key, bytes as u64).unwrap()?;
        place.write().unwrap().write_all(&vec![b'x'; bytes]).unwrap();
        let cached = place.filled(bytes as u64);
        *cache.slot(key).try_lock().unwrap() = Some(cached.clone());
        Some(cached)
    }

    fn files(directory: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn the_least_recently_used_goes_and_what_is_read_stays() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("c7-left.over"), "").unwrap();
        fs::write(directory.path().join("not ours"), "").unwrap();
        let cache = Cache::open(directory.path(), 100).unwrap();
        drop(fill(&cache, "a", 40));
        let b = fill(&cache, "b", 40).unwrap();
        let a = cache.slot("a").try_lock().unwrap().clone().unwrap();
        cache.used(&a);
        drop(a);
        assert!(fill(&cache, "c", 101).is_none(), "it can never fit");
        assert!(fill(&cache, "c", 40).is_some(), "a goes, although it was used later: b is read");
        assert_eq!(files(directory.path()), ["c2-b", "c3-c", "not ours"]);
        drop(b);
        assert!(fill(&cache, "d", 100).is_some(), "now everything goes");
        assert_eq!(files(directory.path()), ["c4-d", "not ours"]);
        assert_eq!(lock(&cache.books).bytes, 100);
    }

    #[test]
    fn room_that_was_not_used_is_given_back() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::open(directory.path(), 100).unwrap();
        let place = cache.reserve("a", 100).unwrap().unwrap();
        assert!(cache.reserve("b", 1).unwrap().is_none());
        drop(place);
        assert_eq!(lock(&cache.books).bytes, 0);
        assert_eq!(short("a-name-that-is-rather-long.tar.gz"), "a-name-tha_ong.tar.gz");
    }
}
