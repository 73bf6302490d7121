//! Unpacking archives into the sandbox, recognised by their names (src/launcher/fetcher.cpp of apache/mesos).
//!
//! As there, permissions above 0755, owners and devices are not taken over; a name that leads out of the sandbox, by
//! `..`, a slash or a link, is an error.

use std::{
    fs::File,
    io::{self, BufReader, Read, Write},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use rustix::fs::{Mode, fchmod};
use tokio_util::sync::CancellationToken;

use super::tree::{Tree, set_modified};

const COPY_BYTES: usize = 128 * 1024;

/// The longest target of a link in a zip file.
const MAX_LINK_BYTES: u64 = 4096;

/// Memory that an xz stream may ask for.
const XZ_MEMORY_KB: u32 = 128 * 1024;

/// Why an archive could not be unpacked.
#[derive(Debug, thiserror::Error)]
pub(super) enum ExtractError {
    #[error("cannot unpack '{}': {source}", archive.display())]
    Archive { archive: PathBuf, source: io::Error },
    #[error("cannot unpack '{}' from '{}': {source}", entry.display(), archive.display())]
    Entry { archive: PathBuf, entry: PathBuf, source: io::Error },
    #[error("stopped")]
    Cancelled,
}

/// The kinds of archives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Archive {
    Tar(Compression),
    Zip,
    /// A single compressed file.
    Gzip,
}

/// How a tar is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compression {
    None,
    Gzip,
    Bzip2,
    Xz,
}

const SUFFIXES: [(&str, Archive); 9] = [
    (".tar", Archive::Tar(Compression::None)),
    (".tgz", Archive::Tar(Compression::Gzip)),
    (".tar.gz", Archive::Tar(Compression::Gzip)),
    (".tbz2", Archive::Tar(Compression::Bzip2)),
    (".tar.bz2", Archive::Tar(Compression::Bzip2)),
    (".txz", Archive::Tar(Compression::Xz)),
    (".tar.xz", Archive::Tar(Compression::Xz)),
    (".zip", Archive::Zip),
    (".gz", Archive::Gzip),
];

impl Archive {
    /// By the name's end; `None` is no archive.
    pub(super) fn of(name: &Path) -> Option<Self> {
        let name = name.to_str()?;
        SUFFIXES.iter().find(|(suffix, _)| name.ends_with(suffix)).map(|(_, archive)| *archive)
    }

    /// Unpacks the file `name` of the tree into the tree's top.
    pub(super) fn extract(self, tree: &Tree, name: &Path, cancel: &CancellationToken) -> Result<(), ExtractError> {
        let unpacking = Unpacking { tree, archive: name, cancel };
        let file = tree.read(name).map_err(|error| unpacking.failed(error))?;
        match self {
            Self::Tar(compression) => unpacking.tar(decompress(compression, file)),
            Self::Zip => unpacking.zip(file),
            Self::Gzip => unpacking.gzip(file),
        }
    }
}

fn decompress(compression: Compression, file: File) -> Box<dyn Read> {
    let file = BufReader::with_capacity(COPY_BYTES, file);
    match compression {
        Compression::None => Box::new(file),
        Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(file)),
        Compression::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(file)),
        Compression::Xz => Box::new(lzma_rust2::XzReader::new_mem_limit(file, true, XZ_MEMORY_KB)),
    }
}

struct Unpacking<'a> {
    tree: &'a Tree,
    archive: &'a Path,
    cancel: &'a CancellationToken,
}

impl Unpacking<'_> {
    fn failed(&self, source: io::Error) -> ExtractError {
        ExtractError::Archive { archive: self.archive.into(), source }
    }

    fn entry_failed(&self, entry: &Path, source: io::Error) -> ExtractError {
        if self.cancel.is_cancelled() {
            return ExtractError::Cancelled;
        }
        ExtractError::Entry { archive: self.archive.into(), entry: entry.into(), source }
    }

    fn tar(&self, reader: Box<dyn Read>) -> Result<(), ExtractError> {
        let mut archive = tar::Archive::new(reader);
        for entry in archive.entries().map_err(|error| self.failed(error))? {
            let mut entry = entry.map_err(|error| self.failed(error))?;
            let path = entry.path().map_err(|error| self.failed(error))?.into_owned();
            self.tar_entry(&mut entry, &path).map_err(|error| self.entry_failed(&path, error))?;
        }
        Ok(())
    }

    fn tar_entry(&self, entry: &mut tar::Entry<'_, Box<dyn Read>>, path: &Path) -> io::Result<()> {
        let kind = entry.header().entry_type();
        let target = |entry: &tar::Entry<'_, Box<dyn Read>>| {
            let name = entry.link_name()?.ok_or_else(|| io::Error::other("the link has no target"))?;
            Ok::<_, io::Error>(name.into_owned())
        };
        if kind.is_dir() {
            self.tree.make_directories(path)
        } else if kind.is_symlink() {
            self.make_parent(path)?;
            self.tree.symlink(&target(entry)?, path)
        } else if kind.is_hard_link() {
            self.make_parent(path)?;
            self.tree.hard_link(&target(entry)?, path)
        } else if kind.is_file() || kind.is_contiguous() || kind.is_gnu_sparse() {
            let mode = entry.header().mode()?;
            let modified = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(entry.header().mtime()?));
            self.file(path, entry, mode, modified)
        } else if kind.is_pax_global_extensions() {
            Ok(())
        } else {
            Err(io::Error::other("it is neither a file, a directory nor a link"))
        }
    }

    fn zip(&self, file: File) -> Result<(), ExtractError> {
        let mut archive = zip::ZipArchive::new(file).map_err(|error| self.failed(error.into()))?;
        for index in 0..archive.len() {
            let mut entry = archive.by_index(index).map_err(|error| self.failed(error.into()))?;
            let path = entry.name().map_err(|error| self.failed(error.into()))?.into_owned();
            let path = Path::new(&path);
            let unpacked = if entry.is_dir() {
                self.tree.make_directories(path)
            } else if entry.is_symlink() {
                let mut target = String::new();
                let read = entry.by_ref().take(MAX_LINK_BYTES).read_to_string(&mut target);
                read.and_then(|_| self.make_parent(path)).and_then(|()| self.tree.symlink(Path::new(&target), path))
            } else {
                let mode = entry.unix_mode().unwrap_or(0o644);
                self.file(path, &mut entry, mode, None)
            };
            unpacked.map_err(|error| self.entry_failed(path, error))?;
        }
        Ok(())
    }

    /// As `gunzip`: the name without its suffix, in the sandbox's top.
    fn gzip(&self, file: File) -> Result<(), ExtractError> {
        let name = self.archive.with_extension("");
        let name = Path::new(name.file_name().unwrap_or_default());
        let mut reader = decompress(Compression::Gzip, file);
        self.file(name, &mut reader, 0o644, None).map_err(|error| self.entry_failed(name, error))
    }

    fn make_parent(&self, path: &Path) -> io::Result<()> {
        path.parent().map_or(Ok(()), |parent| self.tree.make_directories(parent))
    }

    fn file(&self, path: &Path, from: &mut dyn Read, mode: u32, modified: Option<SystemTime>) -> io::Result<()> {
        self.make_parent(path)?;
        self.tree.remove(path)?;
        let mut file = self.tree.create(path)?;
        let mut buffer = vec![0; COPY_BYTES];
        loop {
            if self.cancel.is_cancelled() {
                return Err(io::Error::other("stopped"));
            }
            match from.read(&mut buffer)? {
                0 => break,
                count => file.write_all(&buffer[..count])?,
            }
        }
        fchmod(&file, Mode::from_raw_mode(mode & 0o755))?;
        modified.map_or(Ok(()), |modified| set_modified(&file, modified))
    }
}
