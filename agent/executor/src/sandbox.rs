//! Making a sandbox: the directory, its parents, the `latest` link beside it, and the files that take the output.

use std::{
    ffi::OsStr,
    fs::{DirBuilder, File},
    io::{self, ErrorKind},
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::{DirBuilderExt, symlink},
    },
    path::{Path, PathBuf},
};

use rustix::fs::{CWD, Gid, Mode, OFlags, ResolveFlags, Uid, fchmod, fchown, openat2};

/// Private data of a task: nothing for others (src/slave/paths.cpp of apache/mesos).
const MODE: u32 = 0o750;

/// What could not be done.
#[derive(Debug, thiserror::Error)]
#[error("Failed to {action} '{}': {source}", path.display())]
pub struct SandboxError {
    action: &'static str,
    path: PathBuf,
    source: io::Error,
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SandboxError {
    move |source| SandboxError { action, path: path.to_path_buf(), source }
}

/// A sandbox that was made, held by its directory: what its owner puts in the place of a name later leads nowhere.
#[derive(Debug)]
pub struct Sandbox {
    directory: OwnedFd,
    path: PathBuf,
}

/// Makes `sandbox` (mode 0750, owned by `owner`) and its parents (0755); a sandbox in a directory `runs` is also what
/// `runs/latest` points to. One that exists is taken over. No part of its path may be a symbolic link: parts of it may
/// be a task's to change.
pub fn create(sandbox: &Path, owner: Option<(u32, u32)>) -> Result<Sandbox, SandboxError> {
    let mut builder = DirBuilder::new();
    builder.mode(MODE);
    let mut made = builder.create(sandbox);
    if let (Err(error), Some(parent)) = (&made, sandbox.parent())
        && error.kind() == ErrorKind::NotFound
    {
        DirBuilder::new().recursive(true).mode(0o755).create(parent).map_err(failed("create directory", parent))?;
        made = builder.create(sandbox);
    }
    match made {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(failed("create sandbox", sandbox)(error)),
        _ => {}
    }
    let open = openat2(CWD, sandbox, DIRECTORY, Mode::empty(), ResolveFlags::NO_SYMLINKS);
    let directory = open.map_err(|error| failed("open sandbox", sandbox)(error.into()))?;
    settle(&directory, sandbox, owner)?;
    link_latest(sandbox)?;
    Ok(Sandbox { directory, path: sandbox.to_path_buf() })
}

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

fn settle(directory: &OwnedFd, path: &Path, owner: Option<(u32, u32)>) -> Result<(), SandboxError> {
    // The creation mask may have taken bits away.
    fchmod(directory, Mode::from_raw_mode(MODE)).map_err(|error| failed("chmod sandbox", path)(error.into()))?;
    own(directory, owner).map_err(failed("chown sandbox", path))
}

fn own(file: impl AsFd, owner: Option<(u32, u32)>) -> io::Result<()> {
    match owner {
        Some((uid, gid)) => Ok(fchown(file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?),
        None => Ok(()),
    }
}

impl Sandbox {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the sandbox's file `name` (`stdout`, `stderr`) to append output to it: mode 0644, owned by `owner`, never
    /// through a symbolic link, which the sandbox's owner may have planted.
    pub fn open_output(&self, name: &str, owner: Option<(u32, u32)>) -> Result<File, SandboxError> {
        let path = self.path.join(name);
        let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat2(&self.directory, name, flags, Mode::from_raw_mode(0o644), ResolveFlags::NO_SYMLINKS)
            .map_err(|error| failed("open", &path)(error.into()))?;
        own(&file, owner).map_err(failed("chown", &path))?;
        Ok(File::from(file))
    }

    /// Makes a sandbox within this one, `<sandbox>/<shelf>/<name>`: that of a task of a pod. The shelf is the agent's.
    pub fn create_within(&self, shelf: &str, name: &str, owner: Option<(u32, u32)>) -> Result<Sandbox, SandboxError> {
        let shelf_path = self.path.join(shelf);
        let shelf = self.shelf(shelf)?;
        let path = shelf_path.join(name);
        match rustix::fs::mkdirat(&shelf, name, Mode::from_raw_mode(MODE)) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(failed("create sandbox", &path)(error.into())),
        }
        let directory = openat2(&shelf, name, DIRECTORY, Mode::empty(), ResolveFlags::NO_SYMLINKS)
            .map_err(|error| failed("open sandbox", &path)(error.into()))?;
        settle(&directory, &path, owner)?;
        Ok(Sandbox { directory, path })
    }

    /// Makes the link `<sandbox>/<shelf>/<name>` to `target`, in place of one that is there.
    pub fn link_within(&self, shelf: &str, name: &str, target: &Path) -> Result<(), SandboxError> {
        let path = self.path.join(shelf).join(name);
        let shelf = self.shelf(shelf)?;
        let linked = match rustix::fs::symlinkat(target, &shelf, name) {
            Err(rustix::io::Errno::EXIST) => rustix::fs::unlinkat(&shelf, name, rustix::fs::AtFlags::empty())
                .and_then(|()| rustix::fs::symlinkat(target, &shelf, name)),
            result => result,
        };
        linked.map_err(|error| failed("link", &path)(error.into()))
    }

    fn shelf(&self, name: &str) -> Result<OwnedFd, SandboxError> {
        let path = self.path.join(name);
        match rustix::fs::mkdirat(&self.directory, name, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(failed("create directory", &path)(error.into())),
        }
        openat2(&self.directory, OsStr::new(name), DIRECTORY, Mode::empty(), ResolveFlags::NO_SYMLINKS)
            .map_err(|error| failed("open directory", &path)(error.into()))
    }

    /// The directory itself.
    pub fn directory(&self) -> &OwnedFd {
        &self.directory
    }
}

/// Removes a sandbox and all in it, never through a symbolic link; one that is not there is removed already.
///
/// # Errors
/// The system's.
pub fn remove(sandbox: &Path) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let (Some(parent), Some(name)) = (sandbox.parent(), sandbox.file_name()) else {
        return Err(ErrorKind::InvalidInput.into());
    };
    let directory = match openat2(CWD, parent, DIRECTORY, Mode::empty(), ResolveFlags::NO_SYMLINKS) {
        Err(rustix::io::Errno::NOENT) => return Ok(()),
        result => result?,
    };
    match std::fs::remove_dir_all(Path::new(&format!("/proc/self/fd/{}", directory.as_raw_fd())).join(name)) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn link_latest(sandbox: &Path) -> Result<(), SandboxError> {
    let (Some(runs), Some(name)) = (sandbox.parent().filter(|parent| parent.ends_with("runs")), sandbox.file_name())
    else {
        return Ok(());
    };
    let latest = runs.join("latest");
    match symlink(sandbox, &latest) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        result => return result.map_err(failed("link", &latest)),
    }
    if std::fs::read_link(&latest).is_ok_and(|target| target == sandbox) {
        return Ok(());
    }
    // Replaced in one step: readers never see it missing.
    let temporary = runs.join(format!(".latest-{}", name.to_string_lossy()));
    let _ = std::fs::remove_file(&temporary);
    symlink(sandbox, &temporary).and_then(|()| std::fs::rename(&temporary, &latest)).map_err(failed("link", &latest))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn a_sandbox_is_private_and_the_latest_run() {
        let directory = tempfile::tempdir().unwrap();
        let runs = directory.path().join("executors/e/runs");
        create(&runs.join("a"), None).unwrap();
        create(&runs.join("a"), None).unwrap();
        assert_eq!(std::fs::metadata(runs.join("latest")).unwrap().mode() & 0o7777, 0o750);
        create(&runs.join("b"), None).unwrap();
        assert_eq!(std::fs::read_link(runs.join("latest")).unwrap(), runs.join("b"));
        assert_eq!(std::fs::read_dir(&runs).unwrap().count(), 3);
    }

    #[test]
    fn output_is_never_written_through_a_link() {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("target");
        symlink(&target, directory.path().join("stdout")).unwrap();
        let sandbox = create(directory.path(), None).unwrap();
        sandbox.open_output("stdout", None).unwrap_err();
        assert!(!target.exists());
        sandbox.open_output("stderr", None).unwrap();
        assert_eq!(std::fs::metadata(directory.path().join("stderr")).unwrap().mode() & 0o7600, 0o600);
    }

    #[test]
    fn a_planted_link_leads_nowhere() {
        let directory = tempfile::tempdir().unwrap();
        let (run, elsewhere) = (directory.path().join("run"), directory.path().join("elsewhere"));
        std::fs::create_dir(&elsewhere).unwrap();
        let sandbox = create(&run, None).unwrap();
        sandbox.create_within("containers", "a", None).unwrap();
        sandbox.link_within("tasks", "t", Path::new("/x")).unwrap();
        sandbox.link_within("tasks", "t", &run.join("containers/a")).unwrap();
        assert_eq!(std::fs::read_link(run.join("tasks/t")).unwrap(), run.join("containers/a"));
        std::fs::rename(run.join("containers"), run.join("moved")).unwrap();
        symlink(&elsewhere, run.join("containers")).unwrap();
        sandbox.create_within("containers", "b", None).unwrap_err();
        create(&run.join("containers/b"), None).unwrap_err();
        std::fs::remove_dir(elsewhere.join("b")).ok();
        assert_eq!(std::fs::read_dir(&elsewhere).unwrap().count(), 0);
    }

    #[test]
    fn only_the_sandbox_itself_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let (run, elsewhere) = (directory.path().join("run"), directory.path().join("elsewhere"));
        std::fs::create_dir_all(elsewhere.join("a")).unwrap();
        create(&run, None).unwrap().create_within("containers", "a", None).unwrap();
        symlink(&elsewhere, run.join("containers/a/link")).unwrap();
        remove(&run.join("containers/a")).unwrap();
        remove(&run.join("containers/a")).unwrap();
        std::fs::remove_dir(run.join("containers")).unwrap();
        symlink(&elsewhere, run.join("containers")).unwrap();
        remove(&run.join("containers/a")).unwrap_err();
        assert!(elsewhere.join("a").exists());
    }

    #[test]
    fn an_error_names_what_and_why() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        std::fs::write(&file, "").unwrap();
        let text = create(&file.join("sandbox"), None).unwrap_err().to_string();
        assert!(text.contains("file") && text.contains("Not a directory"), "{text}");
    }
}
