//! The ids of a master's candidacies, remembered in its work directory: a master that is restarted at once recognises the
//! znode of its earlier life, and does not wait for its session.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

/// Ids that are remembered.
const REMEMBERED: usize = 16;
const FILE: &str = "candidacies";

/// The file. While it is open no other process has it.
#[derive(Debug)]
pub(crate) struct Former {
    path: PathBuf,
    ids: Vec<String>,
    _lock: File,
}

impl Former {
    /// Opens it in `directory`, which is made if need be.
    ///
    /// # Errors
    /// If the directory cannot be used, or another process has the file.
    pub(crate) fn open(directory: &Path) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        let lock = File::create(directory.join(format!("{FILE}.lock")))?;
        lock.try_lock().map_err(|error| match error {
            fs::TryLockError::WouldBlock => io::Error::other("another master uses this directory"),
            fs::TryLockError::Error(error) => error,
        })?;
        let path = directory.join(FILE);
        let ids = match fs::read_to_string(&path) {
            Ok(text) => text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        Ok(Self { path, ids, _lock: lock })
    }

    /// What was recorded before, the latest last.
    pub(crate) fn ids(&self) -> &[String] {
        &self.ids
    }

    /// Remembers another one, before its znode is made. Not synced: after a power cut the session is over anyway.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(crate) fn record(&mut self, id: &str) -> io::Result<()> {
        self.ids.push(id.to_owned());
        let surplus = self.ids.len().saturating_sub(REMEMBERED);
        self.ids.drain(..surplus);
        let new = self.path.with_extension("new");
        fs::write(&new, self.ids.join("\n"))?;
        fs::rename(&new, &self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_ids_outlive_the_process_and_belong_to_one() {
        let directory = std::env::temp_dir().join(format!("mezzo-former-{}", std::process::id()));
        let mut former = Former::open(&directory).unwrap();
        assert!(former.ids().is_empty());
        (0..20).for_each(|number| former.record(&format!("id-{number}")).unwrap());
        assert!(Former::open(&directory).unwrap_err().to_string().contains("another master"));
        drop(former);
        let former = Former::open(&directory).unwrap();
        assert_eq!((former.ids().len(), former.ids()[15].as_str()), (16, "id-19"));
        fs::remove_dir_all(&directory).unwrap();
    }
}
