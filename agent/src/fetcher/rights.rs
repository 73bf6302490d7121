//! File-system work with a user's rights.
//!
//! On Linux these belong to a thread: `setfsuid`, `setfsgid` and (raw) `setgroups` change what the calling thread may
//! do with files, and drop the capabilities that override it, while the process stays root's, so that the user cannot
//! signal it. Such a thread is used for one piece of work and ends.

use std::io;

use mezzo_executor::frame::Credentials;
use nix::unistd::{Gid, Uid, setfsgid, setfsuid};
use tokio::sync::oneshot;

/// Runs `work` with the rights of `credentials`, or with the agent's own.
pub(crate) async fn with<T: Send + 'static>(
    credentials: Option<Credentials>,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    let Some(credentials) = credentials else {
        return tokio::task::spawn_blocking(work).await.map_err(io::Error::other);
    };
    let (done, result) = oneshot::channel();
    std::thread::Builder::new().name("fetcher".into()).spawn(move || {
        let _ = done.send(take_on(&credentials).map(|()| work()));
    })?;
    result.await.map_err(io::Error::other)?
}

fn take_on(credentials: &Credentials) -> io::Result<()> {
    let groups: Vec<_> = credentials.groups.iter().map(|group| rustix::fs::Gid::from_raw(*group)).collect();
    rustix::thread::set_thread_groups(&groups)?;
    let (uid, gid) = (Uid::from_raw(credentials.uid), Gid::from_raw(credentials.gid));
    setfsgid(gid);
    setfsuid(uid);
    // They report no error: a value that is never valid changes nothing and tells what holds.
    if setfsgid(Gid::from_raw(u32::MAX)) != gid || setfsuid(Uid::from_raw(u32::MAX)) != uid {
        return Err(io::Error::from(io::ErrorKind::PermissionDenied));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::*;

    #[tokio::test]
    async fn a_user_gets_no_further_than_it_could_itself() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        let (secret, made) = (directory.path().join("secret"), directory.path().join("made"));
        std::fs::write(&secret, "").unwrap();
        std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
        let credentials = Credentials { uid: 12345, gid: 23456, groups: vec![23456] };
        let (read, made_path) = (secret.clone(), made.clone());
        let error = with(Some(credentials), move || {
            std::fs::write(made_path, "").unwrap();
            std::fs::read(read).unwrap_err().kind()
        });
        assert_eq!(error.await.unwrap(), io::ErrorKind::PermissionDenied);
        let metadata = std::fs::metadata(made).unwrap();
        assert_eq!((metadata.uid(), metadata.gid()), (12345, 23456));
        assert!(with(None, move || std::fs::read(secret).is_ok()).await.unwrap());
    }
}
