//! The records of an agent's containers: one file, all that an agent needs to find its containers again.
//!
//! One file of fixed slots rather than a file for each container: at thousands of tasks a second the making and
//! unmaking of inodes would be the agent's slowest part. The agent gives a slot to each launch; the container's
//! supervisor writes to it, twice; the agent clears it when the end is known. A write lies within one page, so a kill
//! at any moment leaves it whole or not done; the second write, the exit status, needs no space that the first has not
//! taken, so it works on a full disk too.
//!
//! Slot 0 is the header, `mezzo-containers 1 <boot id>`: what an earlier boot left says nothing about today's pids.
//! A slot in use holds lines of text, NUL up to its end (format 1; later versions only add lines, which are ignored):
//! ```text
//! container <container id>
//! cgroup <directory>                      for each that it has, the innermost first; written before they are made
//! started <supervisor pid> <its start time> <task pid> <its start time> <sandbox>   | failed <message>
//! exited <raw status of wait(2)>
//! limited <bytes> <message>               when it was ended for its memory
//! ```

use std::{
    ffi::OsStr,
    fs::{File, OpenOptions},
    io::{self, ErrorKind},
    os::unix::{
        ffi::OsStrExt,
        fs::{FileExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
};

use crate::process::Identity;

/// Size of a slot.
pub const SLOT_BYTES: usize = 4096;

const MAGIC: &str = "mezzo-containers";
const VERSION: &str = "1";

/// What a slot tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Whose it is.
    pub container: String,
    /// How far it came.
    pub stage: Stage,
    /// Directories of cgroups that are its own or that it shares, the innermost first.
    pub cgroups: Vec<PathBuf>,
    /// It was ended for the memory that it took.
    pub limitation: Option<Limitation>,
}

/// A container was ended for the memory that it took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limitation {
    /// What it might have taken.
    pub bytes: u64,
    /// For people, one line.
    pub message: String,
}

/// How far a container came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Its cgroups are being made.
    Preparing,
    /// The task could not be started.
    Failed {
        /// Why.
        message: String,
    },
    /// The task was started.
    Started {
        /// The processes.
        processes: Processes,
        /// Raw status of wait(2), once its process tree is gone.
        exited: Option<i32>,
    },
}

/// The processes of a container that was started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Processes {
    /// The supervisor.
    pub supervisor: Identity,
    /// The task's first process; leader of a session of its own.
    pub task: Identity,
    /// The task's working directory.
    pub sandbox: PathBuf,
}

/// Why records cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RecordsError {
    /// The file cannot be read or written.
    #[error("cannot use the container records '{}': {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another program's file, or a later version's.
    #[error(
        "'{}' begins with '{header}', which this version cannot read: use the agent that wrote it, \
         or end its containers and remove the file", path.display()
    )]
    Format {
        /// The file.
        path: PathBuf,
        /// Its first line.
        header: String,
    },
}

/// The file of records.
#[derive(Debug)]
pub struct Records {
    file: File,
    path: PathBuf,
}

impl Records {
    /// Opens the file, made if it is missing. What an earlier boot left is dropped when [`Self::recover`] is called.
    pub fn open(path: &Path) -> Result<Self, RecordsError> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(path).map_err(|source| RecordsError::Io { path: path.into(), source })?;
        Ok(Self { file, path: path.into() })
    }

    /// The file itself, to lock it.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// All slots in use. Call it alone on the file (locked): a missing header, or one of an earlier boot, is written
    /// anew and every slot cleared.
    pub fn recover(&self) -> Result<Vec<(u32, Record)>, RecordsError> {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        self.recover_in_boot(boot.trim())
    }

    fn recover_in_boot(&self, boot: &str) -> Result<Vec<(u32, Record)>, RecordsError> {
        let expected = format!("{MAGIC} {VERSION} {boot}");
        let slots = self.file.metadata().map_err(|source| self.error(source))?.len() / SLOT_BYTES as u64;
        let header = match slots {
            0 => String::new(),
            _ => self
                .lines(0)?
                .into_iter()
                .next()
                .map(|line| String::from_utf8_lossy(&line).into_owned())
                .unwrap_or_default(),
        };
        if header != expected {
            if !header.is_empty() && !header.starts_with(&format!("{MAGIC} {VERSION} ")) {
                return Err(RecordsError::Format { path: self.path.clone(), header });
            }
            let write =
                self.file.set_len(0).and_then(|()| write_slot(&self.file, 0, format!("{expected}\n").as_bytes()));
            write.map_err(|source| self.error(source))?;
            return Ok(Vec::new());
        }
        let mut found = Vec::new();
        for slot in 1..u32::try_from(slots).unwrap_or(u32::MAX) {
            if let Some(record) = self.read(slot)? {
                found.push((slot, record));
            }
        }
        Ok(found)
    }

    /// What is in a slot; `None` when it is free or its container has not got as far.
    pub fn read(&self, slot: u32) -> Result<Option<Record>, RecordsError> {
        Ok(parse(&self.lines(slot)?))
    }

    /// Frees a slot.
    pub fn clear(&self, slot: u32) -> Result<(), RecordsError> {
        write_slot(&self.file, slot, &[]).map_err(|source| self.error(source))
    }

    fn lines(&self, slot: u32) -> Result<Vec<Vec<u8>>, RecordsError> {
        let mut bytes = [0; SLOT_BYTES];
        match self.file.read_exact_at(&mut bytes, offset(slot)) {
            Err(error) if error.kind() != ErrorKind::UnexpectedEof => return Err(self.error(error)),
            _ => {}
        }
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(SLOT_BYTES);
        let whole = bytes[..end].split_inclusive(|byte| *byte == b'\n').filter_map(|line| line.strip_suffix(b"\n"));
        Ok(whole.map(<[u8]>::to_vec).collect())
    }

    fn error(&self, source: io::Error) -> RecordsError {
        RecordsError::Io { path: self.path.clone(), source }
    }
}

fn offset(slot: u32) -> u64 {
    u64::from(slot) * SLOT_BYTES as u64
}

fn write_slot(file: &File, slot: u32, text: &[u8]) -> io::Result<()> {
    let mut bytes = [0; SLOT_BYTES];
    // One NUL is kept, the end of the text.
    let Some(space) = bytes.get_mut(..text.len()).filter(|space| space.len() < SLOT_BYTES) else {
        return Err(io::Error::new(ErrorKind::InvalidInput, "the text does not fit into a slot"));
    };
    space.copy_from_slice(text);
    file.write_all_at(&bytes, offset(slot))
}

fn parse(lines: &[Vec<u8>]) -> Option<Record> {
    let field = |name: &[u8]| lines.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(b" "));
    let container = String::from_utf8(field(b"container")?.to_vec()).ok()?;
    let cgroups: Vec<PathBuf> = lines
        .iter()
        .filter_map(|line| line.strip_prefix(b"cgroup "))
        .map(|path| PathBuf::from(OsStr::from_bytes(path)))
        .collect();
    let limitation = field(b"limited").and_then(|text| {
        let (bytes, message) = std::str::from_utf8(text).ok()?.split_once(' ')?;
        Some(Limitation { bytes: bytes.parse().ok()?, message: message.to_owned() })
    });
    let started = field(b"started");
    let stage = if let Some(message) = field(b"failed") {
        Stage::Failed { message: String::from_utf8_lossy(message).into_owned() }
    } else if started.is_none() && !cgroups.is_empty() {
        Stage::Preparing
    } else {
        let exited = field(b"exited").and_then(|status| std::str::from_utf8(status).ok()?.parse().ok());
        Stage::Started { processes: parse_processes(started?)?, exited }
    };
    Some(Record { container, stage, cgroups, limitation })
}

fn parse_processes(line: &[u8]) -> Option<Processes> {
    let mut fields = line.splitn(5, |byte| *byte == b' ');
    let mut number = || std::str::from_utf8(fields.next()?).ok()?.parse::<u64>().ok();
    let (supervisor_pid, supervisor_start, task_pid, task_start) = (number()?, number()?, number()?, number()?);
    Some(Processes {
        supervisor: Identity { pid: supervisor_pid.try_into().ok()?, start: supervisor_start },
        task: Identity { pid: task_pid.try_into().ok()?, start: task_start },
        sandbox: PathBuf::from(OsStr::from_bytes(fields.next()?)),
    })
}

/// The supervisor's hand on its slot.
#[derive(Debug)]
pub struct Writer<'a> {
    file: &'a File,
    slot: u32,
    container: &'a str,
    /// Lines on its cgroups.
    cgroups: Vec<u8>,
    written: usize,
}

impl<'a> Writer<'a> {
    /// For one slot.
    pub fn new(file: &'a File, slot: u32, container: &'a str) -> Self {
        Self { file, slot, container, cgroups: Vec::new(), written: 0 }
    }

    /// These cgroups are about to be made.
    pub fn preparing<'b>(&mut self, cgroups: impl Iterator<Item = &'b Path>) -> io::Result<()> {
        for path in cgroups {
            self.cgroups.extend([b"cgroup ", path.as_os_str().as_bytes(), b"\n"].concat());
        }
        write_slot(self.file, self.slot, &self.head())
    }

    fn head(&self) -> Vec<u8> {
        let mut text = format!("container {}\n", self.container).into_bytes();
        text.extend(&self.cgroups);
        text
    }

    /// The task was started.
    pub fn started(&mut self, processes: &Processes) -> io::Result<()> {
        let Processes { supervisor, task, sandbox } = processes;
        let mut text = self.head();
        let numbers = format!("started {} {} {} {} ", supervisor.pid, supervisor.start, task.pid, task.start);
        text.extend(numbers.as_bytes());
        text.extend(sandbox.as_os_str().as_bytes());
        text.push(b'\n');
        self.written = text.len();
        if text.len() + END_BYTES >= SLOT_BYTES {
            return Err(io::Error::new(ErrorKind::InvalidInput, "the path of the sandbox is too long"));
        }
        write_slot(self.file, self.slot, &text)
    }

    /// It ended and its process tree is gone.
    pub fn exited(&mut self, status: i32, limitation: Option<&Limitation>) -> io::Result<()> {
        let mut line = format!("exited {status}\n");
        if let Some(Limitation { bytes, message }) = limitation {
            line.push_str(&format!("limited {bytes} {}\n", message.replace('\n', " ")));
            debug_assert!(line.len() <= END_BYTES);
        }
        self.file.write_all_at(line.as_bytes(), offset(self.slot) + self.written as u64)
    }

    /// It could not be started.
    pub fn failed(&mut self, message: &str) -> io::Result<()> {
        let mut text = self.head();
        text.extend(format!("failed {}", message.replace('\n', " ")).as_bytes());
        text.truncate(SLOT_BYTES - 2);
        text.push(b'\n');
        write_slot(self.file, self.slot, &text)
    }
}

/// What is kept for the lines of its end.
const END_BYTES: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn processes() -> Processes {
        Processes {
            supervisor: Identity { pid: 3, start: 30 },
            task: Identity { pid: 4, start: 40 },
            sandbox: "/work dir/s".into(),
        }
    }

    fn started(exited: Option<i32>) -> Record {
        let stage = Stage::Started { processes: processes(), exited };
        Record { container: "c-1".into(), stage, cgroups: Vec::new(), limitation: None }
    }

    fn lines(text: &str) -> Vec<Vec<u8>> {
        text.lines().map(|line| line.as_bytes().to_vec()).collect()
    }

    #[test]
    fn what_is_written_is_recovered() {
        let directory = tempfile::tempdir().unwrap();
        let records = Records::open(&directory.path().join("containers")).unwrap();
        assert_eq!(records.recover().unwrap(), []);
        assert_eq!(records.read(7).unwrap(), None);
        let mut writer = Writer::new(records.file(), 7, "c-1");
        writer.started(&processes()).unwrap();
        assert_eq!(records.recover().unwrap(), [(7, started(None))]);
        writer.exited(256, None).unwrap();
        Writer::new(records.file(), 2, "c-2").failed("no\nway").unwrap();
        let stage = Stage::Failed { message: "no way".into() };
        let failed = Record { container: "c-2".into(), stage, cgroups: Vec::new(), limitation: None };
        assert_eq!(records.recover().unwrap(), [(2, failed), (7, started(Some(256)))]);
        records.clear(2).unwrap();
        assert_eq!(records.recover().unwrap(), [(7, started(Some(256)))]);
    }

    #[test]
    fn another_boot_and_a_strange_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("containers");
        let records = Records::open(&path).unwrap();
        records.recover_in_boot("monday").unwrap();
        Writer::new(records.file(), 1, "c-1").started(&processes()).unwrap();
        assert_eq!(records.recover_in_boot("monday").unwrap().len(), 1);
        assert_eq!(records.recover_in_boot("tuesday").unwrap(), []);
        assert_eq!(records.recover_in_boot("tuesday").unwrap(), []);
        assert_eq!(records.read(1).unwrap(), None);
        std::fs::write(&path, format!("mezzo-containers 2 tuesday\n{}", "\0".repeat(SLOT_BYTES))).unwrap();
        let error = records.recover().unwrap_err().to_string();
        assert!(error.contains("mezzo-containers 2") && error.contains("remove the file"), "{error}");
    }

    #[test]
    fn lines_of_a_later_version_are_passed_over() {
        let text = "container c-1\nnetwork /a/b\nstarted 3 30 4 40 /work dir/s\nusage 1 2\nexited 9\nmore\n";
        assert_eq!(parse(&lines(text)), Some(started(Some(9))));
        assert_eq!(parse(&lines("container c-1\nstarted 3 30 4\n")), None);
        assert_eq!(parse(&lines("started 3 30 4 40 /s\n")), None);
    }

    #[test]
    fn cgroups_are_on_record_before_and_after_the_start() {
        let directory = tempfile::tempdir().unwrap();
        let records = Records::open(&directory.path().join("containers")).unwrap();
        let mut writer = Writer::new(records.file(), 3, "c-1");
        let cgroups: Vec<PathBuf> = vec!["/g/p/c".into(), "/g/p".into()];
        writer.preparing(cgroups.iter().map(PathBuf::as_path)).unwrap();
        let preparing = records.read(3).unwrap().unwrap();
        assert_eq!((preparing.stage, &preparing.cgroups), (Stage::Preparing, &cgroups));
        writer.started(&processes()).unwrap();
        assert_eq!(records.read(3).unwrap(), Some(Record { cgroups: cgroups.clone(), ..started(None) }));
        let limitation = Limitation { bytes: 7, message: "Memory limit exceeded".into() };
        writer.exited(9, Some(&limitation)).unwrap();
        let ended = Record { cgroups, limitation: Some(limitation), ..started(Some(9)) };
        assert_eq!(records.read(3).unwrap(), Some(ended));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let records = Records::open(&directory.path().join("containers")).unwrap();
        let long = Processes { sandbox: "/x".repeat(SLOT_BYTES / 2).into(), ..processes() };
        Writer::new(records.file(), 1, "c-1").started(&long).unwrap_err();
        Writer::new(records.file(), 1, "c-1").failed(&"x".repeat(SLOT_BYTES * 2)).unwrap();
        assert!(records.read(1).unwrap().is_some());
    }
}
