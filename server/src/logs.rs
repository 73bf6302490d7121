//! Log lines to stderr from a thread of their own: whoever logs, the core above all, must not wait for a terminal or for a
//! pipe that nobody reads.

use std::{
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::{fmt::MakeWriter, layer::SubscriberExt, reload, util::SubscriberInitExt};

use crate::{flags::LoggingLevel, level};

/// Lines that may wait; more are lost, and counted.
const WAITING: usize = 4096;
/// How long the last lines may take.
const LAST_LINES: Duration = Duration::from_secs(1);

#[derive(Debug)]
enum Item {
    Line(Vec<u8>),
    Flush(SyncSender<()>),
}

/// Takes lines.
#[derive(Clone, Debug)]
pub struct Logs {
    queue: SyncSender<Item>,
    lost: Arc<AtomicU64>,
}

/// A file and stderr; what the file cannot take is seen on stderr.
struct Both(File);

impl Write for Both {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.write_all(text)?;
        Ok(text.len())
    }

    fn write_all(&mut self, text: &[u8]) -> io::Result<()> {
        let filed = self.0.write_all(text);
        io::stderr().write_all(text)?;
        filed
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// One line on its way.
#[derive(Debug)]
pub struct Line {
    text: Vec<u8>,
    logs: Logs,
}

impl Logs {
    /// Starts logging what is of this level or above: to stderr unless it is to be quiet, and to `file` if there is one.
    /// Nothing without either, or if a larger program logs already.
    ///
    /// # Errors
    /// If the file cannot be written, or the thread does not start.
    pub fn start(level: LoggingLevel, quiet: bool, file: Option<&Path>) -> io::Result<Option<Self>> {
        if quiet && file.is_none() {
            return Ok(None);
        }
        let level = match level {
            LoggingLevel::Debug => tracing::Level::DEBUG,
            LoggingLevel::Info => tracing::Level::INFO,
            LoggingLevel::Warning => tracing::Level::WARN,
            LoggingLevel::Error => tracing::Level::ERROR,
        };
        let file = file.map(|path| File::options().create(true).append(true).open(path)).transpose()?;
        let ansi = file.is_none() && io::IsTerminal::is_terminal(&io::stderr());
        let logs = match file {
            None => Self::to(io::stderr())?,
            Some(file) if quiet => Self::to(file)?,
            Some(file) => Self::to(Both(file))?,
        };
        let first = LevelFilter::from_level(level);
        let (filter, filter_handle) = reload::Layer::new(first);
        let lines = tracing_subscriber::fmt::layer().with_writer(logs.clone()).with_ansi(ansi).with_target(false);
        if tracing_subscriber::registry().with(filter).with(lines).try_init().is_err() {
            return Ok(None);
        }
        level::of_log(first, move |level| {
            // A log that is gone has no level.
            let _ = filter_handle.reload(level);
        });
        Ok(Some(logs))
    }

    /// The file of `--log_dir`; the directory is made.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn file_in(directory: Option<&Path>, program: &str) -> io::Result<Option<PathBuf>> {
        let Some(directory) = directory else { return Ok(None) };
        std::fs::create_dir_all(directory)?;
        Ok(Some(directory.join(format!("{program}.INFO"))))
    }

    fn to(out: impl Write + Send + 'static) -> io::Result<Self> {
        let (queue, items) = sync_channel(WAITING);
        let lost = Arc::new(AtomicU64::new(0));
        let logs = Self { queue, lost: Arc::clone(&lost) };
        thread::Builder::new().name("log".into()).stack_size(128 * 1024).spawn(move || write(out, &items, &lost))?;
        Ok(logs)
    }

    /// Waits until what was logged is written, for a moment at most.
    pub fn flush(&self) {
        let (done, written) = sync_channel(1);
        if self.queue.try_send(Item::Flush(done)).is_ok() {
            let _ = written.recv_timeout(LAST_LINES);
        }
    }
}

fn write(mut out: impl Write, items: &Receiver<Item>, lost: &AtomicU64) {
    while let Ok(item) = items.recv() {
        // There is nobody to tell that the log cannot be written.
        let _ = match item {
            Item::Line(line) => out.write_all(&line),
            Item::Flush(done) => out.flush().map(|()| drop(done)),
        };
        let count = lost.swap(0, Ordering::Relaxed);
        if count > 0 {
            let _ = writeln!(out, "({count} lines of the log were lost: its reader was too slow)");
        }
    }
}

impl<'a> MakeWriter<'a> for Logs {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line { text: Vec::with_capacity(160), logs: self.clone() }
    }
}

impl Write for Line {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let line = Item::Line(std::mem::take(&mut self.text));
        if self.logs.queue.try_send(line).is_err() {
            self.logs.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Condvar, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Gate(Arc<(Mutex<Written>, Condvar)>);

    #[derive(Default)]
    struct Written {
        open: bool,
        text: Vec<u8>,
    }

    impl Write for Gate {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            let (state, opened) = &*self.0;
            let mut state = opened.wait_while(state.lock().unwrap(), |state| !state.open).unwrap();
            state.text.extend_from_slice(text);
            Ok(text.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_stands_still_costs_lines_and_no_time() {
        let gate = Gate::default();
        let logs = Logs::to(gate.clone()).unwrap();
        let lines = WAITING + 10;
        for number in 0..lines {
            writeln!(logs.make_writer(), "line {number}").unwrap();
        }
        gate.0.0.lock().unwrap().open = true;
        gate.0.1.notify_all();
        while logs.lost.load(Ordering::Relaxed) > 0 {
            thread::yield_now();
        }
        logs.flush();
        let text = String::from_utf8(gate.0.0.lock().unwrap().text.clone()).unwrap();
        assert!(text.starts_with("line 0\n"));
        assert!(text.contains("lines of the log were lost"));
    }
}
