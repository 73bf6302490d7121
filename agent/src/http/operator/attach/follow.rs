//! The output of a container that writes to its files itself: what is appended to them from now on.

use std::{
    fs::File,
    io,
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use mezzo_api::{
    codec::{Encoding, encode_record},
    v1::agent::process_io::data,
};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
use tokio::{task::JoinHandle, time::Interval};

use super::{
    super::super::Body,
    output::{beat, data, heartbeat},
};
use crate::called::Termination;

/// How often it is looked.
const PAUSE: Duration = Duration::from_millis(50);
/// What is read at a time.
const CHUNK_BYTES: usize = 32 * 1024;

/// A file that grows, and may be put aside for a new one of its name.
#[derive(Debug)]
struct Followed {
    sandbox: PathBuf,
    name: &'static str,
    of: data::Type,
    file: Option<(File, u64)>,
}

impl Followed {
    /// From its present end on.
    fn new(sandbox: &Path, name: &'static str, of: data::Type) -> Self {
        let mut followed = Self { sandbox: sandbox.to_path_buf(), name, of, file: None };
        followed.file = followed.open().map(|file| {
            let length = file.metadata().map_or(0, |metadata| metadata.len());
            (file, length)
        });
        followed
    }

    /// Never through a link: the sandbox is its owner's.
    fn open(&self) -> Option<File> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let path = self.sandbox.join(self.name);
        let file = File::from(openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS).ok()?);
        file.metadata().ok().filter(std::fs::Metadata::is_file).map(|_| file)
    }

    /// What is new.
    fn read(&mut self) -> io::Result<Vec<u8>> {
        let mut chunk = vec![0; CHUNK_BYTES];
        for _ in 0..2 {
            if let Some((file, offset)) = &mut self.file {
                let count = file.read_at(&mut chunk, *offset)?;
                if count > 0 {
                    *offset += count as u64;
                    chunk.truncate(count);
                    return Ok(chunk);
                }
            }
            // It is read to its end: it may have been emptied, or another one may have taken its place.
            let Some(present) = self.open() else { break };
            let metadata = present.metadata()?;
            match &mut self.file {
                Some((file, offset)) if file.metadata()?.ino() == metadata.ino() => {
                    if metadata.len() >= *offset {
                        break;
                    }
                    *offset = 0;
                }
                other => *other = Some((present, 0)),
            }
        }
        Ok(Vec::new())
    }
}

struct Follower {
    files: [Followed; 2],
    encoding: Encoding,
    heartbeat: Interval,
    end: JoinHandle<Option<Termination>>,
}

/// The stream, until the container's end.
pub(super) fn body(
    sandbox: PathBuf,
    end: JoinHandle<Option<Termination>>,
    encoding: Encoding,
    every: Duration,
) -> Body {
    let files =
        [Followed::new(&sandbox, "stdout", data::Type::Stdout), Followed::new(&sandbox, "stderr", data::Type::Stderr)];
    let follower = Follower { files, encoding, heartbeat: heartbeat(every), end };
    Body::from_stream(futures_util::stream::try_unfold(follower, async |mut follower: Follower| {
        let piece = follower.piece().await?;
        Ok::<_, io::Error>(piece.map(|piece| (piece, follower)))
    }))
}

impl Follower {
    async fn piece(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            // Before the look: what was written before the end is seen.
            let ended = self.end.is_finished();
            let mut piece = BytesMut::new();
            for file in &mut self.files {
                let bytes = file.read()?;
                if !bytes.is_empty() {
                    encode_record(self.encoding, &data(file.of, bytes), &mut piece);
                }
            }
            if !piece.is_empty() {
                return Ok(Some(piece.freeze()));
            }
            if ended {
                return Ok(None);
            }
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => {}
                _ = self.heartbeat.tick() => {
                    encode_record(self.encoding, &beat(self.heartbeat.period()), &mut piece);
                    return Ok(Some(piece.freeze()));
                }
            }
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.end.abort();
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    #[test]
    fn what_is_appended_is_seen_once_through_rotation_and_no_link() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("stdout");
        fs::write(&path, "before").unwrap();
        let mut followed = Followed::new(directory.path(), "stdout", data::Type::Stdout);
        assert!(followed.read().unwrap().is_empty());
        fs::write(&path, "before and after").unwrap();
        assert_eq!(followed.read().unwrap(), b" and after");
        assert!(followed.read().unwrap().is_empty());
        fs::rename(&path, directory.path().join("stdout.1")).unwrap();
        fs::write(directory.path().join("stdout.1"), "before and after, last").unwrap();
        fs::write(&path, "new").unwrap();
        assert_eq!(followed.read().unwrap(), b", last");
        assert_eq!(followed.read().unwrap(), b"new");
        fs::write(&path, "").unwrap();
        assert!(followed.read().unwrap().is_empty());
        fs::write(&path, "x").unwrap();
        assert_eq!(followed.read().unwrap(), b"x");
        fs::remove_file(&path).unwrap();
        symlink("/etc/passwd", &path).unwrap();
        assert!(followed.read().unwrap().is_empty());
        assert!(Followed::new(directory.path(), "stdout", data::Type::Stdout).file.is_none());
    }
}
