//! Making a sandbox: the directory, its parents, the `latest` link beside it, and the files that take the output.

use std::{
    fs::{DirBuilder, File, OpenOptions, Permissions},
    io::{self, ErrorKind},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, chown, fchown, symlink},
    path::{Path, PathBuf},
};

use rustix::fs::OFlags;

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

/// Makes `sandbox` (mode 0750, owned by `owner`) and its parents (0755); a sandbox in a directory `runs` is also what
/// `runs/latest` points to. One that exists is taken over.
pub fn create(sandbox: &Path, owner: Option<(u32, u32)>) -> Result<(), SandboxError> {
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
    // The creation mask may have taken bits away.
    std::fs::set_permissions(sandbox, Permissions::from_mode(MODE)).map_err(failed("chmod sandbox", sandbox))?;
    if let Some((uid, gid)) = owner {
        chown(sandbox, Some(uid), Some(gid)).map_err(failed("chown sandbox", sandbox))?;
    }
    link_latest(sandbox)
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

/// Opens the sandbox's file `name` (`stdout`, `stderr`) to append output to it: mode 0644, owned by `owner`, never
/// through a symbolic link, which the sandbox's owner may have planted.
pub fn open_output(sandbox: &Path, name: &str, owner: Option<(u32, u32)>) -> Result<File, SandboxError> {
    let path = sandbox.join(name);
    #[expect(clippy::cast_possible_wrap, reason = "flag bits")]
    let flags = OFlags::NOFOLLOW.bits() as i32;
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o644).custom_flags(flags);
    let file = options.open(&path).map_err(failed("open", &path))?;
    if let Some((uid, gid)) = owner {
        fchown(&file, Some(uid), Some(gid)).map_err(failed("chown", &path))?;
    }
    Ok(file)
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
        open_output(directory.path(), "stdout", None).unwrap_err();
        assert!(!target.exists());
        open_output(directory.path(), "stderr", None).unwrap();
        assert_eq!(std::fs::metadata(directory.path().join("stderr")).unwrap().mode() & 0o7600, 0o600);
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
