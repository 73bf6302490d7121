//! Unpacks a layer: a tar archive that nobody vouches for, written as root (OCI image-spec 1.1, layer.md).
//!
//! Nothing of it reaches beyond its directory ([`root`]). Whiteouts become those of overlayfs; devices are left out,
//! and so are extended attributes but for capabilities: others could speak to overlayfs.

mod root;
#[cfg(test)]
pub(crate) mod tests;

use std::{
    collections::HashSet,
    ffi::{OsStr, OsString},
    io::{self, BufRead, Read},
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
};

use flate2::bufread::MultiGzDecoder;
use tar::{Entry, EntryType};
use tokio_util::sync::CancellationToken;

use self::root::{Directory, Found, Rights, Root};
use crate::digest::{Digest, Hashing};

/// Prefix of a name that hides another.
const WHITEOUT: &[u8] = b".wh.";
/// Hides all that lower layers have in its directory.
const OPAQUE: &[u8] = b".wh..wh..opq";
/// What AUFS kept for itself.
const AUFS: &[u8] = b".wh..wh.";
const CAPABILITY: &str = "SCHILY.xattr.security.capability";
const COPY_BYTES: usize = 128 * 1024;
/// 128 MiB, as much as the tool zstd takes without being told; RFC 8878 asks for 8 MiB at least.
const ZSTD_WINDOW_LOG: u32 = 27;
/// What an entry takes on a disk, beside its content.
const ENTRY_BYTES: u64 = 4096;
/// More than any image has, fewer than would harm a disk.
const MAX_ENTRIES: u64 = 4_000_000;
/// How often the disk is looked at, in bytes.
const DISK_INTERVAL: u64 = 64 << 20;
/// What an image must leave of a disk, in hundredths.
pub(crate) const DISK_RESERVE: u64 = 5;

/// Why a layer cannot be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The archive breaks off or is none.
    #[error("the layer cannot be read: {0}")]
    Read(io::Error),
    /// An entry that no honest layer has.
    #[error("the layer is refused: '{}' {why}", path.display())]
    Refused {
        /// As the layer calls it.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The disk, or a path that leads nowhere.
    #[error("cannot write '{}': {source}", path.display())]
    Write {
        /// As the layer calls it.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A compression that is not known.
    #[error("the layer is compressed with {0}, which is not supported: push the image with gzip")]
    Compression(&'static str),
    /// The disk has to serve others too.
    #[error("the layer would fill the disk of --docker_store_dir")]
    DiskFull,
    /// Nobody wants it any more.
    #[error("stopped")]
    Cancelled,
}

/// What was unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unpacked {
    /// Of the archive, without compression.
    pub(crate) diff_id: Digest,
    /// What it takes on the disk, about.
    pub(crate) bytes: u64,
}

/// Unpacks into a directory that is there and empty. Blocks.
pub(crate) fn unpack(
    layer: impl BufRead,
    directory: &Path,
    cancel: &CancellationToken,
) -> Result<Unpacked, UnpackError> {
    let opened = |source| UnpackError::Write { path: directory.to_path_buf(), source };
    let root = Root::open(directory).map_err(opened)?;
    let mut archive = tar::Archive::new(Hashing::new(Watched { inner: plain(layer)?, cancel }));
    let broken = |error| if cancel.is_cancelled() { UnpackError::Cancelled } else { UnpackError::Read(error) };
    let mut unpacking =
        Unpacking { root, hidden: HashSet::new(), directories: Vec::new(), bytes: 0, looked: 0, cancel };
    let mut count = 0;
    for entry in archive.entries().map_err(broken)? {
        count += 1;
        if count > MAX_ENTRIES {
            return Err(refused(Path::new("…"), "is one entry too many"));
        }
        unpacking.entry(entry.map_err(broken)?)?;
        unpacking.bytes += ENTRY_BYTES;
    }
    unpacking.finish()?;
    let bytes = unpacking.bytes;
    let diff_id = archive.into_inner().finish().map_err(broken)?;
    Ok(Unpacked { diff_id, bytes })
}

/// Without compression, by what it begins with: media types are not always true.
fn plain<'a>(mut layer: impl BufRead + 'a) -> Result<Box<dyn Read + 'a>, UnpackError> {
    let start = layer.fill_buf().map_err(UnpackError::Read)?;
    match start {
        [0x1f, 0x8b, ..] => Ok(Box::new(MultiGzDecoder::new(layer))),
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => zstd(layer).map_err(UnpackError::Read),
        [b'B', b'Z', b'h', ..] => Err(UnpackError::Compression("bzip2")),
        [0xfd, b'7', b'z', ..] => Err(UnpackError::Compression("xz")),
        _ => Ok(Box::new(layer)),
    }
}

/// Frames one after another, some of which are to be skipped, as those of zstd:chunked are. A frame that wants a larger window
/// than the tool zstd takes is refused: it would take the agent's memory.
fn zstd<'a>(layer: impl BufRead + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let mut decoder = zstd::stream::read::Decoder::with_buffer(layer)?;
    decoder.window_log_max(ZSTD_WINDOW_LOG)?;
    Ok(Box::new(decoder))
}

/// Ends when nobody wants to read any more.
struct Watched<'a, R> {
    inner: R,
    cancel: &'a CancellationToken,
}

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.cancel.is_cancelled() { Err(io::Error::other("stopped")) } else { self.inner.read(buffer) }
    }
}

struct Unpacking<'a> {
    root: Root,
    /// Whiteouts of this layer: a directory of the same name is opaque.
    hidden: HashSet<PathBuf>,
    /// Dressed last: what is made within changes their times.
    directories: Vec<(PathBuf, Rights)>,
    bytes: u64,
    /// At how many bytes the disk was looked at.
    looked: u64,
    cancel: &'a CancellationToken,
}

fn refused(path: &Path, why: &'static str) -> UnpackError {
    UnpackError::Refused { path: path.to_path_buf(), why }
}

fn write_error(path: &Path) -> impl Fn(io::Error) -> UnpackError {
    move |source| UnpackError::Write { path: path.to_path_buf(), source }
}

impl Unpacking<'_> {
    fn entry(&mut self, mut entry: Entry<'_, impl Read>) -> Result<(), UnpackError> {
        let kind = entry.header().entry_type();
        if matches!(kind, EntryType::XGlobalHeader) {
            return Ok(());
        }
        let named = entry.path_bytes().into_owned();
        let shown = PathBuf::from(OsString::from_vec(named.clone()));
        let path = root::clean(&named).ok_or_else(|| refused(&shown, "goes up with '..'"))?;
        if path.components().any(|part| part.as_os_str().as_bytes().starts_with(AUFS) && !is_opaque(&path)) {
            return Ok(());
        }
        let rights = rights(&entry, &shown)?;
        let Some((parent, name)) = root::split(&path) else {
            if kind == EntryType::Directory {
                self.directories.push((PathBuf::new(), rights));
            }
            return Ok(());
        };
        let directory = self.root.directory(parent).map_err(write_error(&path))?;
        if let Some(hidden) = name.as_bytes().strip_prefix(WHITEOUT) {
            return self.hide(&path, parent, &directory, hidden);
        }
        let place = Place { path: &path, directory: &directory, name: &name };
        match kind {
            EntryType::Directory => self.make_directory(&place, rights),
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => self.file(&place, &mut entry, rights),
            EntryType::Symlink => {
                let target = entry.link_name_bytes().ok_or_else(|| refused(&path, "is a link to nothing"))?;
                place.replacing(|| root::symlink(&directory, &name, &target))?;
                root::dress_at(&directory, &name, &rights, true).map_err(write_error(&path))
            }
            EntryType::Link => {
                let target = entry.link_name_bytes().ok_or_else(|| refused(&path, "is a link to nothing"))?;
                self.hard_link(&place, &target)
            }
            EntryType::Fifo => {
                place.replacing(|| root::fifo(&directory, &name))?;
                root::dress_at(&directory, &name, &rights, false).map_err(write_error(&path))
            }
            // Containers get the devices that they may use from the agent.
            EntryType::Char | EntryType::Block => Ok(()),
            _ => Err(refused(&path, "is of an unknown kind")),
        }
    }

    fn make_directory(&mut self, place: &Place<'_>, rights: Rights) -> Result<(), UnpackError> {
        let failed = write_error(place.path);
        match root::look(place.directory, place.name).map_err(&failed)? {
            Found::Directory => {}
            Found::Nothing => root::make_directory(place.directory, place.name).map_err(&failed)?,
            Found::Whiteout | Found::Other => {
                self.root.forget();
                root::remove(place.directory, place.name).map_err(&failed)?;
                root::make_directory(place.directory, place.name).map_err(&failed)?;
            }
        }
        if self.hidden.contains(place.path) {
            self.opaque(place.path)?;
        }
        self.directories.push((place.path.to_path_buf(), rights));
        Ok(())
    }

    fn file(&mut self, place: &Place<'_>, entry: &mut Entry<'_, impl Read>, rights: Rights) -> Result<(), UnpackError> {
        let capability = capability(entry)?;
        let mut file = place.replacing(|| root::create(place.directory, place.name))?;
        let mut buffer = vec![0; COPY_BYTES];
        loop {
            let count = entry.read(&mut buffer).map_err(|error| {
                if self.cancel.is_cancelled() { UnpackError::Cancelled } else { UnpackError::Read(error) }
            })?;
            if count == 0 {
                break;
            }
            io::Write::write_all(&mut file, &buffer[..count]).map_err(write_error(place.path))?;
            self.bytes += count as u64;
            self.look_at_disk()?;
        }
        root::dress(&file, &rights, capability.as_deref()).map_err(write_error(place.path))
    }

    fn hard_link(&mut self, place: &Place<'_>, target: &[u8]) -> Result<(), UnpackError> {
        let path = root::clean(target).ok_or_else(|| refused(place.path, "is a link that goes up with '..'"))?;
        let (parent, name) = root::split(&path).ok_or_else(|| refused(place.path, "is a hard link to the root"))?;
        let from = self.root.existing(parent).map_err(write_error(place.path))?;
        if root::look(&from, &name).map_err(write_error(place.path))? == Found::Directory {
            return Err(refused(place.path, "is a hard link to a directory"));
        }
        if path == *place.path {
            return Err(refused(place.path, "is a hard link to itself"));
        }
        place.replacing(|| root::link((&from, &name), (place.directory, place.name)))
    }

    /// A whiteout concerns what lies below this layer, not what this layer itself has.
    fn hide(&mut self, path: &Path, parent: &Path, directory: &Directory, hidden: &[u8]) -> Result<(), UnpackError> {
        if is_opaque(path) {
            return root::make_opaque(directory).map_err(write_error(path));
        }
        if matches!(hidden, b"" | b"." | b"..") {
            return Err(refused(path, "is a whiteout of no name"));
        }
        let name = OsStr::from_bytes(hidden);
        let whole = parent.join(name);
        match root::look(directory, name).map_err(write_error(path))? {
            Found::Nothing => root::whiteout(directory, name).map_err(write_error(path))?,
            Found::Directory => self.opaque(&whole)?,
            Found::Whiteout | Found::Other => {}
        }
        self.hidden.insert(whole);
        Ok(())
    }

    fn opaque(&self, path: &Path) -> Result<(), UnpackError> {
        self.root.existing(path).and_then(|directory| root::make_opaque(&directory)).map_err(write_error(path))
    }

    /// An image must not take from the tasks of others what they need to write.
    fn look_at_disk(&mut self) -> Result<(), UnpackError> {
        if self.bytes < self.looked + DISK_INTERVAL {
            return Ok(());
        }
        self.looked = self.bytes;
        let disk = rustix::fs::fstatvfs(&*self.root.own()).map_err(|error| UnpackError::Read(error.into()))?;
        let scarce = disk.f_bavail < disk.f_blocks / 100 * DISK_RESERVE;
        if scarce { Err(UnpackError::DiskFull) } else { Ok(()) }
    }

    /// Deepest first, as each one's own change is seen by its parent.
    fn finish(&mut self) -> Result<(), UnpackError> {
        for (path, rights) in std::mem::take(&mut self.directories).into_iter().rev() {
            let failed = write_error(&path);
            let opened = match root::split(&path) {
                Some((parent, name)) => {
                    self.root.existing(parent).and_then(|parent| root::open_directory(&parent, &name))
                }
                None => root::open_directory(&self.root.own(), OsStr::new(".")),
            };
            match opened {
                Ok(opened) => root::dress(&opened, &rights, None).map_err(failed)?,
                // A later entry took its place.
                Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
                Err(error) if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {}
                Err(error) => return Err(failed(error)),
            }
        }
        Ok(())
    }
}

/// Where an entry goes.
struct Place<'a> {
    path: &'a Path,
    directory: &'a Directory,
    name: &'a OsStr,
}

impl Place<'_> {
    /// Makes what was not there; what is there, and no directory, goes first.
    fn replacing<T>(&self, make: impl Fn() -> io::Result<T>) -> Result<T, UnpackError> {
        let failed = write_error(self.path);
        match make() {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            result => return result.map_err(failed),
        }
        if root::look(self.directory, self.name).map_err(&failed)? == Found::Directory {
            return Err(refused(self.path, "takes the place of a directory of the same layer"));
        }
        root::remove(self.directory, self.name).map_err(&failed)?;
        make().map_err(failed)
    }
}

fn is_opaque(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_bytes() == OPAQUE)
}

fn rights(entry: &Entry<'_, impl Read>, shown: &Path) -> Result<Rights, UnpackError> {
    let header = entry.header();
    let id = |id: io::Result<u64>| {
        let id = id.map_err(UnpackError::Read)?;
        // The largest number means "leave it" to the kernel.
        u32::try_from(id).ok().filter(|id| *id != u32::MAX).ok_or_else(|| refused(shown, "has an impossible owner"))
    };
    Ok(Rights {
        uid: id(header.uid())?,
        gid: id(header.gid())?,
        mode: header.mode().map_err(UnpackError::Read)? & 0o7777,
        modified: header.mtime().ok().and_then(|time| i64::try_from(time).ok()).unwrap_or(0),
    })
}

fn capability(entry: &mut Entry<'_, impl Read>) -> Result<Option<Vec<u8>>, UnpackError> {
    let Some(extensions) = entry.pax_extensions().map_err(UnpackError::Read)? else { return Ok(None) };
    for extension in extensions {
        let extension = extension.map_err(UnpackError::Read)?;
        if extension.key_bytes() == CAPABILITY.as_bytes() {
            return Ok(Some(extension.value_bytes().to_vec()));
        }
    }
    Ok(None)
}
