//! Persistent volumes on disk: directories made and removed, and shown in sandboxes as symbolic links
//! (src/slave/containerizer/mesos/isolators/filesystem/posix.cpp).

use std::{
    fs, io,
    os::unix::fs::{MetadataExt, chown, symlink},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

use mezzo_agent_core::volumes::{VolumeAction, VolumeLink, VolumePlace};

/// Beside volumes: what was destroyed and is being deleted.
const TRASH: &str = ".mezzo-trash";
/// Beside volumes: what lay where a new volume was made.
const FOUND: &str = ".mezzo-found";

/// What could not be done with a volume.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} '{}': {source}", path.display())]
pub(crate) struct VolumeError {
    action: &'static str,
    path: PathBuf,
    source: io::Error,
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> VolumeError {
    move |source| VolumeError { action, path: path.to_path_buf(), source }
}

/// Makes or removes a volume's directory. Data go out of sight at once and are deleted on a thread of their own.
pub(crate) fn carry_out(action: &VolumeAction) -> Result<(), VolumeError> {
    match action {
        VolumeAction::Make(VolumePlace::Directory(path)) => make(path),
        VolumeAction::Make(VolumePlace::Mount(root)) => {
            fs::metadata(root).map(drop).map_err(failed("use the disk of a volume", root))
        }
        VolumeAction::Remove(VolumePlace::Directory(path)) => {
            let Some(parent) = path.parent() else { return Ok(()) };
            discard(parent, std::slice::from_ref(path))
        }
        VolumeAction::Remove(VolumePlace::Mount(root)) => {
            let entries = fs::read_dir(root).map_err(failed("read the disk of a volume", root))?;
            let own = |path: &PathBuf| !path.ends_with(TRASH) && !path.ends_with("lost+found");
            let content: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(own).collect();
            discard(root, &content)
        }
    }
}

/// An empty directory. What lies there, of an agent whose checkpoint is gone, is nobody's to delete: it is moved aside.
fn make(path: &Path) -> Result<(), VolumeError> {
    if fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some())
        && let Some(parent) = path.parent()
    {
        let aside = parent.join(FOUND).join(unique(path));
        tracing::warn!(path = %path.display(), aside = %aside.display(), "moved data aside where a new volume is made");
        move_to(path, &aside)?;
    }
    fs::create_dir_all(path).map_err(failed("make the directory of a volume", path))?;
    sync(path.parent())
}

fn discard(beside: &Path, content: &[PathBuf]) -> Result<(), VolumeError> {
    let trash = beside.join(TRASH);
    for path in content {
        match move_to(path, &trash.join(unique(path))) {
            Err(error) if error.source.kind() == io::ErrorKind::NotFound => {}
            result => result?,
        }
    }
    sync(Some(beside))?;
    let spawned = std::thread::Builder::new().name("volumes".into()).spawn(move || {
        if let Err(error) = fs::remove_dir_all(&trash)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %trash.display(), "cannot delete the data of a destroyed volume: {error}");
        }
    });
    spawned.map(drop).map_err(failed("start the thread that deletes below", beside))
}

fn move_to(path: &Path, target: &Path) -> Result<(), VolumeError> {
    fs::symlink_metadata(path).map_err(failed("find the volume", path))?;
    if let Some(parent) = target.parent() {
        fs::create_dir_all(parent).map_err(failed("make the directory", parent))?;
    }
    fs::rename(path, target).map_err(failed("move away", path))
}

fn sync(directory: Option<&Path>) -> Result<(), VolumeError> {
    let Some(directory) = directory.filter(|directory| directory.is_dir()) else { return Ok(()) };
    fs::File::open(directory).and_then(|file| file.sync_all()).map_err(failed("sync", directory))
}

/// A name that was not there before.
fn unique(path: &Path) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    format!("{name}.{nanos}.{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Shows volumes in a sandbox that exists, as its owner's unless they are shared, or takes them away.
pub(crate) fn link(sandbox: &Path, links: &[VolumeLink], present: bool) -> Result<(), VolumeError> {
    for link in links {
        let shown = sandbox.join(&link.container_path);
        if present {
            show(sandbox, link, &shown)?;
        } else if fs::read_link(&shown).is_ok_and(|target| target == link.source) {
            fs::remove_file(&shown).map_err(failed("remove the link of a volume", &shown))?;
        }
    }
    Ok(())
}

/// Makes the directory of a volume if it is not there, the sandbox's owner's unless it is shared.
pub(crate) fn give(sandbox: &Path, link: &VolumeLink) -> Result<(), VolumeError> {
    let owner = fs::metadata(sandbox).map_err(failed("find the sandbox", sandbox))?;
    fs::create_dir_all(&link.source).map_err(failed("make the directory of a volume", &link.source))?;
    if owner.uid() != 0 && !link.shared {
        chown(&link.source, Some(owner.uid()), Some(owner.gid()))
            .map_err(failed("change the owner of", &link.source))?;
    }
    Ok(())
}

fn show(sandbox: &Path, link: &VolumeLink, shown: &Path) -> Result<(), VolumeError> {
    give(sandbox, link)?;
    if let Some(parent) = shown.parent().filter(|parent| *parent != sandbox) {
        fs::create_dir_all(parent).map_err(failed("make the directory", parent))?;
        // A link that the task planted must not lead the agent out of the sandbox.
        let real = fs::canonicalize(parent).map_err(failed("find", parent))?;
        let base = fs::canonicalize(sandbox).map_err(failed("find", sandbox))?;
        if !real.starts_with(&base) {
            return Err(failed("show a volume outside of the sandbox at", shown)(
                io::ErrorKind::PermissionDenied.into(),
            ));
        }
    }
    match symlink(&link.source, shown) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            if fs::read_link(shown).is_ok_and(|target| target == link.source) {
                Ok(())
            } else {
                Err(failed("show a volume at", shown)(error))
            }
        }
        result => result.map_err(failed("show a volume at", shown)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    fn link_to(source: &Path) -> VolumeLink {
        VolumeLink { source: source.to_owned(), container_path: "data".into(), read_only: false, shared: false }
    }

    #[test]
    fn a_volume_is_made_empty_shown_taken_away_and_deleted() {
        let work = tempfile::tempdir().unwrap();
        let place = VolumePlace::Directory(work.path().join("volumes/roles/prod web/v1"));
        carry_out(&VolumeAction::Make(place.clone())).unwrap();
        carry_out(&VolumeAction::Make(place.clone())).unwrap();
        let sandbox = work.path().join("sandbox");
        fs::create_dir(&sandbox).unwrap();
        let links = [link_to(place.path())];
        link(&sandbox, &links, true).unwrap();
        link(&sandbox, &links, true).unwrap();
        fs::write(sandbox.join("data/f"), "kept").unwrap();
        link(&sandbox, &links, false).unwrap();
        assert!(!sandbox.join("data").exists());
        assert_eq!(fs::read_to_string(place.path().join("f")).unwrap(), "kept");
        carry_out(&VolumeAction::Remove(place.clone())).unwrap();
        assert!(!place.path().exists());
        carry_out(&VolumeAction::Remove(place.clone())).unwrap();
        let start = Instant::now();
        while place.path().with_file_name(TRASH).exists() && start.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(!place.path().with_file_name(TRASH).exists(), "the data are deleted");
    }

    #[test]
    fn what_lies_where_a_volume_is_made_is_moved_aside() {
        let work = tempfile::tempdir().unwrap();
        let path = work.path().join("volumes/roles/r/v");
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join("old"), "precious").unwrap();
        carry_out(&VolumeAction::Make(VolumePlace::Directory(path.clone()))).unwrap();
        assert_eq!(fs::read_dir(&path).unwrap().count(), 0);
        let aside = fs::read_dir(path.with_file_name(FOUND)).unwrap().next().unwrap().unwrap().path();
        assert_eq!(fs::read_to_string(aside.join("old")).unwrap(), "precious");
    }

    #[test]
    fn a_disk_of_its_own_is_emptied_and_stays() {
        let disk = tempfile::tempdir().unwrap();
        fs::write(disk.path().join("f"), "").unwrap();
        fs::create_dir(disk.path().join("lost+found")).unwrap();
        let place = VolumePlace::Mount(disk.path().to_owned());
        carry_out(&VolumeAction::Make(place.clone())).unwrap();
        assert!(disk.path().join("f").exists());
        carry_out(&VolumeAction::Remove(place)).unwrap();
        assert!(!disk.path().join("f").exists() && disk.path().join("lost+found").exists());
    }

    #[test]
    fn a_name_that_is_taken_and_a_planted_link_are_refused() {
        let work = tempfile::tempdir().unwrap();
        let (sandbox, outside) = (work.path().join("sandbox"), work.path().join("outside"));
        fs::create_dir(&sandbox).unwrap();
        fs::create_dir(&outside).unwrap();
        fs::write(sandbox.join("data"), "").unwrap();
        assert!(link(&sandbox, &[link_to(&work.path().join("v"))], true).is_err());
        symlink(&outside, sandbox.join("a")).unwrap();
        let planted = VolumeLink { container_path: "a/data".into(), ..link_to(&work.path().join("v")) };
        assert!(link(&sandbox, &[planted], true).is_err());
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    }
}
