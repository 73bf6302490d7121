//! Following a file through its rotation: `stdout` is put aside as `stdout.1`, that as `stdout.2`, and so on.

use std::io::{self, Write};

use super::master::{Found, Master, Read};

/// The beginning of a file, by which it is known again when it has another name.
const MARK_BYTES: usize = 256;
/// Files that were put aside and may still be there.
const MAX_ASIDE: u32 = 99;

/// How far a file was followed.
#[derive(Debug)]
pub(super) struct Followed {
    file: String,
    directory: Option<String>,
    offset: u64,
    mark: Vec<u8>,
}

/// What a look brought.
#[derive(Debug)]
pub(super) enum Step {
    New,
    Nothing,
    /// Nothing could be read, and why.
    Absent(String),
}

impl Followed {
    pub(super) fn new(file: &str) -> Self {
        Self { file: file.to_owned(), directory: None, offset: 0, mark: Vec::new() }
    }

    /// Whether nothing was shown yet.
    pub(super) fn is_empty(&self) -> bool {
        self.offset == 0 && self.mark.is_empty()
    }

    /// Shows what is new, at most a chunk.
    pub(super) async fn step(&mut self, master: &mut Master, found: &Found, to: &mut dyn Write) -> io::Result<Step> {
        let path = match self.path(master, found).await {
            Ok(path) => path,
            Err(problem) => return Ok(Step::Absent(problem)),
        };
        let data = match master.read(found, &path, self.offset, usize::MAX).await {
            Read::Data(data) => data,
            Read::Absent(problem) => return Ok(Step::Absent(problem)),
        };
        // Afterwards: if the file is still the one it was, so is what was read of it.
        let mark = match master.read(found, &path, 0, MARK_BYTES).await {
            Read::Data(mark) => mark,
            Read::Absent(problem) => return Ok(Step::Absent(problem)),
        };
        if !mark.starts_with(&self.mark) {
            return self.catch_up(master, found, &path, to).await;
        }
        self.mark = mark;
        if data.is_empty() {
            return Ok(Step::Nothing);
        }
        to.write_all(&data)?;
        to.flush()?;
        self.offset += data.len() as u64;
        Ok(Step::New)
    }

    /// The file's path, in the directory that has it.
    async fn path(&mut self, master: &mut Master, found: &Found) -> Result<String, String> {
        if let Some(directory) = &self.directory {
            return Ok(format!("{directory}/{}", self.file));
        }
        let mut problem = String::new();
        for directory in &found.directories {
            let path = format!("{directory}/{}", self.file);
            match master.read(found, &path, 0, 1).await {
                Read::Data(_) => {
                    self.directory = Some(directory.clone());
                    return Ok(path);
                }
                Read::Absent(why) => problem = why,
            }
        }
        Err(problem)
    }

    /// The file has another name by now: shows the rest of it, and those that came after it.
    async fn catch_up(
        &mut self,
        master: &mut Master,
        found: &Found,
        path: &str,
        to: &mut dyn Write,
    ) -> io::Result<Step> {
        let mut number = None;
        for candidate in 1..=MAX_ASIDE {
            match master.read(found, &format!("{path}.{candidate}"), 0, MARK_BYTES).await {
                Read::Data(mark) if mark.starts_with(&self.mark) => {
                    number = Some(candidate);
                    break;
                }
                Read::Data(_) => {}
                Read::Absent(_) => break,
            }
        }
        // If it is gone already, the oldest that is there is the next.
        let mut offset = if number.is_some() { self.offset } else { 0 };
        for aside in (1..=number.unwrap_or(0)).rev() {
            while let Read::Data(data) = master.read(found, &format!("{path}.{aside}"), offset, usize::MAX).await {
                if data.is_empty() {
                    break;
                }
                to.write_all(&data)?;
                offset += data.len() as u64;
            }
            offset = 0;
        }
        to.flush()?;
        (self.offset, self.mark) = (0, Vec::new());
        Ok(Step::New)
    }
}
