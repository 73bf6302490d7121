//! Old sandboxes are deleted: after the retention time, sooner when the disk fills up (src/slave/gc.cpp;
//! src/slave/slave.cpp, age).
//!
//! Which ones, is kept in files that are only appended to and read in order, one for each hour, so that the number of
//! finished tasks costs disk, not memory: a line for each sandbox, the time of its end in seconds since the epoch and
//! its path below the work directory. A sandbox may be listed twice; one that is gone already is no error.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufRead, BufReader, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crate::{files::Files, memory};

const HOUR_SECS: u64 = 3600;

/// What the metrics tell of the collection.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    pub(crate) pending: AtomicU64,
    pub(crate) succeeded: AtomicU64,
    pub(crate) failed: AtomicU64,
    /// Milliseconds that a sandbox may stay, with the disk as it is.
    pub(crate) max_age_ms: AtomicU64,
}

/// The core's end: writes down what is to go.
#[derive(Debug)]
pub(crate) struct Journal {
    directory: PathBuf,
    work_dir: PathBuf,
    open: Option<(u64, File)>,
    figures: Arc<Figures>,
}

impl Journal {
    /// A journal in `directory`.
    pub(crate) fn new(directory: PathBuf, work_dir: PathBuf, figures: Arc<Figures>) -> io::Result<Self> {
        fs::create_dir_all(&directory)?;
        Ok(Self { directory, work_dir, open: None, figures })
    }

    /// Writes a sandbox down. One that cannot be written down stays on the disk.
    pub(crate) fn add(&mut self, path: &Path) {
        if let Err(error) = self.append(path) {
            tracing::warn!(path = %path.display(), "this sandbox will not be collected: {error}");
        } else {
            self.figures.pending.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn append(&mut self, path: &Path) -> io::Result<()> {
        let below = path.strip_prefix(&self.work_dir).map_err(io::Error::other)?;
        let seconds = now_secs();
        let hour = seconds / HOUR_SECS;
        if self.open.as_ref().is_none_or(|(open, _)| *open != hour) {
            let path = self.directory.join(format!("{hour:010}"));
            self.open = Some((hour, OpenOptions::new().create(true).append(true).open(path)?));
        }
        let Some((_, file)) = self.open.as_mut() else { return Ok(()) };
        file.write_all(format!("{seconds} {}\n", below.display()).as_bytes())
    }
}

/// How long what is kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Policy {
    pub(crate) delay: Duration,
    pub(crate) headroom: f64,
    pub(crate) interval: Duration,
}

impl Policy {
    /// How old a sandbox may become with the disk so full (0 to 1).
    pub(crate) fn max_age(&self, usage: f64) -> Duration {
        self.delay.mul_f64((1.0 - self.headroom - usage).clamp(0.0, 1.0))
    }
}

/// Deletes, on a thread of its own.
pub(crate) struct Collector {
    pub(crate) directory: PathBuf,
    pub(crate) work_dir: PathBuf,
    pub(crate) policy: Policy,
    pub(crate) files: Files,
    pub(crate) figures: Arc<Figures>,
}

impl Collector {
    /// Starts the thread; it ends with the sender that it returns.
    pub(crate) fn spawn(mut self) -> io::Result<mpsc::Sender<()>> {
        let (alive, ended) = mpsc::channel::<()>();
        let mut offset = (String::new(), 0);
        std::thread::Builder::new().name("gc".into()).stack_size(256 * 1024).spawn(move || {
            loop {
                self.look(&mut offset);
                memory::trim();
                match ended.recv_timeout(self.policy.interval) {
                    Err(mpsc::RecvTimeoutError::Timeout) => {}
                    Ok(()) | Err(mpsc::RecvTimeoutError::Disconnected) => return,
                }
            }
        })?;
        Ok(alive)
    }

    fn look(&mut self, offset: &mut (String, u64)) {
        let max_age = self.policy.max_age(disk_usage(&self.work_dir).unwrap_or(0.0));
        let millis = u64::try_from(max_age.as_millis()).unwrap_or(u64::MAX);
        self.figures.max_age_ms.store(millis, Ordering::Relaxed);
        if let Err(error) = self.collect(now_secs(), max_age, offset) {
            tracing::warn!(directory = %self.directory.display(), "cannot look for old sandboxes: {error}");
        }
    }

    /// Deletes what is older than `max_age`. `offset` is how far the oldest file was worked off.
    fn collect(&mut self, now_secs: u64, max_age: Duration, offset: &mut (String, u64)) -> io::Result<()> {
        let mut hours: Vec<String> = fs::read_dir(&self.directory)?
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|name| name.parse::<u64>().is_ok())
            .collect();
        hours.sort_unstable();
        for hour in hours {
            let path = self.directory.join(&hour);
            let start = if offset.0 == hour { offset.1 } else { 0 };
            let (end, done) = self.work_off(&path, start, now_secs, max_age)?;
            *offset = (hour.clone(), end);
            if !done {
                return Ok(());
            }
            let written_no_more = hour.parse::<u64>().is_ok_and(|hour| (hour + 2) * HOUR_SECS < now_secs);
            if written_no_more {
                fs::remove_file(&path)?;
            }
        }
        Ok(())
    }

    /// Gives how far it came and whether that is the end.
    fn work_off(&mut self, path: &Path, start: u64, now_secs: u64, max_age: Duration) -> io::Result<(u64, bool)> {
        let mut reader = BufReader::new(File::open(path)?);
        reader.seek(SeekFrom::Start(start))?;
        let (mut at, mut line) = (start, String::new());
        loop {
            line.clear();
            let bytes = reader.read_line(&mut line)?;
            if !line.ends_with('\n') {
                return Ok((at, true));
            }
            if let Some((seconds, below)) = line.trim_end_matches('\n').split_once(' ') {
                let age = now_secs.saturating_sub(seconds.parse().unwrap_or(0));
                if Duration::from_secs(age) < max_age {
                    return Ok((at, false));
                }
                self.delete(Path::new(below));
            }
            at += bytes as u64;
        }
    }

    fn delete(&mut self, below: &Path) {
        let inside = below.components().all(|part| matches!(part, std::path::Component::Normal(_)));
        if !inside {
            return;
        }
        let path = self.work_dir.join(below);
        let decrement = |pending: u64| Some(pending.saturating_sub(1));
        let _ = self.figures.pending.fetch_update(Ordering::Relaxed, Ordering::Relaxed, decrement);
        match fs::remove_dir_all(&path) {
            Ok(()) => {
                self.figures.succeeded.fetch_add(1, Ordering::Relaxed);
                self.files.detach(&path.to_string_lossy());
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                self.figures.failed.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(path = %path.display(), "cannot delete an old sandbox: {error}");
                return;
            }
        }
        remove_empty_parents(&path);
    }
}

/// `…/executors/<id>/runs` with nothing but a dangling `latest` goes, then the executor, then the framework.
fn remove_empty_parents(sandbox: &Path) {
    let Some(runs) = sandbox.parent() else { return };
    let latest = runs.join("latest");
    if latest.is_symlink() && !latest.exists() {
        let _ = fs::remove_file(&latest);
    }
    for parent in runs.ancestors().take(4) {
        if fs::remove_dir(parent).is_err() {
            return; // not empty
        }
    }
}

/// How full the disk of `path` is, 0 to 1, as df(1) tells those who are not root.
pub(crate) fn disk_usage(path: &Path) -> Option<f64> {
    let stat = rustix::fs::statvfs(path).ok()?;
    let used = stat.f_blocks.saturating_sub(stat.f_bfree);
    let all = used + stat.f_bavail;
    #[allow(clippy::cast_precision_loss)]
    (all > 0).then(|| used as f64 / all as f64)
}

fn now_secs() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

    fn sandbox(work_dir: &Path, executor: &str, run: &str) -> PathBuf {
        let runs = work_dir.join("slaves/s/frameworks/f/executors").join(executor).join("runs");
        let path = runs.join(run);
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join("stdout"), "hello").unwrap();
        let _ = fs::remove_file(runs.join("latest"));
        std::os::unix::fs::symlink(&path, runs.join("latest")).unwrap();
        path
    }

    #[test]
    fn the_fuller_the_disk_the_sooner_they_go() {
        let policy = Policy { delay: WEEK, headroom: 0.1, interval: Duration::from_secs(60) };
        assert_eq!(policy.max_age(0.0), WEEK.mul_f64(0.9));
        assert_eq!(policy.max_age(0.9), Duration::ZERO);
        assert_eq!(policy.max_age(1.0), Duration::ZERO);
    }

    #[test]
    fn deletes_what_is_old_and_what_it_leaves_empty() {
        let directory = tempfile::tempdir().unwrap();
        let work_dir = directory.path().to_path_buf();
        let figures = Arc::new(Figures::default());
        let gc = work_dir.join("meta/gc");
        let mut journal = Journal::new(gc.clone(), work_dir.clone(), figures.clone()).unwrap();
        let (first, second) = (sandbox(&work_dir, "a", "1"), sandbox(&work_dir, "a", "2"));
        let other = sandbox(&work_dir, "b", "3");
        let kept = sandbox(&work_dir, "a", "4");
        for path in [&first, &second, &other, &other] {
            journal.add(path);
        }
        let policy = Policy { delay: WEEK, headroom: 0.1, interval: Duration::from_secs(60) };
        let files = Files::default();
        let mut collector = Collector { directory: gc.clone(), work_dir: work_dir.clone(), policy, files, figures };
        let mut offset = (String::new(), 0);
        collector.collect(now_secs(), Duration::from_secs(3600), &mut offset).unwrap();
        assert!(first.exists() && other.exists(), "too young");
        collector.collect(now_secs() + 3601, Duration::from_secs(3600), &mut offset).unwrap();
        assert!(!first.exists() && !second.exists() && !other.exists());
        assert!(kept.exists(), "it was not given up");
        assert!(!work_dir.join("slaves/s/frameworks/f/executors/b").exists(), "empty directories go too");
        journal.add(&kept);
        collector.collect(now_secs() + 3 * 3601, Duration::from_secs(3600), &mut offset).unwrap();
        assert!(!work_dir.join("slaves/s/frameworks/f").exists());
        assert_eq!(fs::read_dir(&gc).unwrap().count(), 0, "a file that is worked off goes");
        assert_eq!(collector.figures.succeeded.load(Ordering::Relaxed), 4);
    }
}
