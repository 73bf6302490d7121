//! The directory of a local cluster, and free ports.

use std::{
    fs, io,
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

/// Where everything is kept.
#[derive(Debug)]
pub(super) enum Home {
    /// Removed at the end.
    Temporary(TempDir),
    /// Kept: the user named it.
    Kept(PathBuf),
}

impl Home {
    pub(super) fn new(work_dir: Option<&Path>) -> io::Result<Self> {
        match work_dir {
            Some(dir) => {
                fs::create_dir_all(dir)?;
                Ok(Home::Kept(fs::canonicalize(dir)?))
            }
            None => Ok(Home::Temporary(tempfile::Builder::new().prefix("mezzo-local-").tempdir()?)),
        }
    }

    pub(super) fn path(&self) -> &Path {
        match self {
            Home::Temporary(dir) => dir.path(),
            Home::Kept(dir) => dir,
        }
    }

    pub(super) fn is_temporary(&self) -> bool {
        matches!(self, Home::Temporary(_))
    }

    /// Removes what is temporary. Tasks may have left directories that may not be written: they are opened first.
    pub(super) fn remove(self) -> io::Result<()> {
        let Home::Temporary(dir) = self else { return Ok(()) };
        let path = dir.keep();
        fs::remove_dir_all(&path).or_else(|_| {
            open_directories(&path);
            fs::remove_dir_all(&path)
        })
    }
}

fn open_directories(dir: &Path) {
    // what cannot be opened shows when it is removed
    let _ = fs::set_permissions(dir, fs::Permissions::from_mode(0o700));
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            open_directories(&entry.path());
        }
    }
}

/// Hands out ports of the loopback that nobody listens on; each once.
#[derive(Debug, Default)]
pub(super) struct Ports {
    given: Vec<u16>,
}

impl Ports {
    /// This port if it is free.
    pub(super) fn exactly(&mut self, port: u16) -> io::Result<u16> {
        let listener = TcpListener::bind(("127.0.0.1", port))?;
        let port = listener.local_addr()?.port();
        self.given.push(port);
        Ok(port)
    }

    /// This port if it is free, or another one.
    pub(super) fn about(&mut self, wish: u16) -> io::Result<u16> {
        if !self.given.contains(&wish)
            && let Ok(port) = self.exactly(wish)
        {
            return Ok(port);
        }
        loop {
            let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
            if !self.given.contains(&port) {
                return self.exactly(port);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removes_what_tasks_have_locked() {
        let home = Home::new(None).unwrap();
        let path = home.path().to_owned();
        let locked = path.join("a/b");
        fs::create_dir_all(&locked).unwrap();
        fs::write(locked.join("file"), "x").unwrap();
        fs::set_permissions(&locked, fs::Permissions::from_mode(0o000)).unwrap();
        home.remove().unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn keeps_what_the_user_named() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::new(Some(&dir.path().join("new/work"))).unwrap();
        let path = home.path().to_owned();
        assert!(!home.is_temporary());
        home.remove().unwrap();
        assert!(path.is_dir());
    }

    #[test]
    fn a_taken_port_is_replaced_or_refused() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let mut ports = Ports::default();
        assert_ne!(ports.about(port).unwrap(), port);
        assert!(ports.exactly(port).is_err());
        let first = ports.about(0).unwrap();
        assert_ne!(ports.about(first).unwrap(), first);
    }
}
