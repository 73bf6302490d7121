//! The store's files.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::{Known, Layer, Pin, State, StoreError, failed};
use crate::{
    digest::Digest,
    manifest,
    unpack::{DISK_RESERVE, UnpackError},
};

/// How stale the time of an image's last use on the disk may be.
pub(super) const USED_INTERVAL: Duration = Duration::from_secs(60);

/// A process that was killed may have left a child that has not become its program yet.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);
const LOCK_RETRY: Duration = Duration::from_millis(20);

const LAYERS: &str = "layers";
const IMAGES: &str = "images";
const PINS: &str = "pins";
const STAGING: &str = "staging";

/// `images/<hash>.json`
#[derive(Serialize, Deserialize)]
pub(super) struct ImageRecord {
    /// As its key.
    pub(super) name: String,
    /// What names it for good.
    pub(super) manifest: Option<String>,
    /// Lowest first.
    pub(super) layers: Vec<String>,
    /// The configuration, as it came.
    pub(super) config: String,
}

/// `layers/<n>.json`
#[derive(Serialize, Deserialize)]
pub(super) struct LayerRecord {
    pub(super) digest: String,
    pub(super) bytes: u64,
}

/// `pins/<container>`
#[derive(Serialize, Deserialize)]
struct PinRecord {
    image: String,
    layers: Vec<String>,
}

/// Makes the directories, takes the lock and empties staging.
pub(super) fn prepare(directory: &Path) -> Result<fs::File, StoreError> {
    for part in ["", LAYERS, IMAGES, PINS, STAGING] {
        let path = directory.join(part);
        fs::create_dir_all(&path).map_err(failed("make the directory", &path))?;
    }
    // Programs in it may have their owner's rights: nobody else comes to them but in a container.
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    fs::set_permissions(directory, private).map_err(failed("close to others", directory))?;
    let path = directory.join("lock");
    let lock = fs::File::create(&path).map_err(failed("make", &path))?;
    let patience = Instant::now() + LOCK_PATIENCE;
    while flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
        if Instant::now() >= patience {
            return Err(StoreError::InUse(directory.to_path_buf()));
        }
        std::thread::sleep(LOCK_RETRY);
    }
    let staging = directory.join(STAGING);
    for entry in list(&staging)? {
        remove(&entry).map_err(failed("remove", &entry))?;
    }
    Ok(lock)
}

/// What is there, and whole; what is not is removed.
pub(super) fn read(directory: &Path) -> Result<State, StoreError> {
    let mut state = State { next: 1, ..State::default() };
    let layers = directory.join(LAYERS);
    for path in list(&layers)? {
        let Some(number) = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok()) else {
            continue;
        };
        let record = path.with_extension("json");
        let known = read_json::<LayerRecord>(&record).and_then(|record| Some((record.digest.parse().ok()?, record)));
        match known {
            Some((digest, LayerRecord { bytes, .. })) => {
                state.next = state.next.max(number + 1);
                state.layers.insert(digest, Layer { number, bytes, holds: 0 });
            }
            None => {
                tracing::warn!(path = %path.display(), "removing a layer whose unpacking did not end");
                remove(&path).map_err(failed("remove", &path))?;
            }
        }
    }
    for path in list(&layers)? {
        let is_record = path.extension().is_some_and(|extension| extension == "json");
        if (is_record && !path.with_extension("").is_dir()) || path.extension().is_some_and(|end| end == "new") {
            remove(&path).map_err(failed("remove", &path))?;
        }
    }
    read_images(directory, &mut state)?;
    read_pins(directory, &mut state)?;
    Ok(state)
}

fn read_images(directory: &Path, state: &mut State) -> Result<(), StoreError> {
    for path in list(&directory.join(IMAGES))? {
        let known = read_json::<ImageRecord>(&path).and_then(|record| {
            let layers = digests(&record.layers)?;
            let (config, _) = manifest::configuration(record.config.as_bytes()).ok()?;
            let whole = layers.iter().all(|digest| state.layers.contains_key(digest));
            let used =
                fs::metadata(&path).and_then(|metadata| metadata.modified()).unwrap_or_else(|_| SystemTime::now());
            whole.then(|| (record.name, Known { layers, config: Arc::new(config), used }))
        });
        match known {
            Some((name, known)) => drop(state.images.insert(name, known)),
            None => remove(&path).map_err(failed("remove", &path))?,
        }
    }
    Ok(())
}

fn read_pins(directory: &Path, state: &mut State) -> Result<(), StoreError> {
    for path in list(&directory.join(PINS))? {
        let container = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let pin = read_json::<PinRecord>(&path)
            .and_then(|record| Some(Pin { image: record.image, layers: digests(&record.layers)? }));
        match pin {
            Some(pin) => state.pin(&container, pin),
            // Its container was never started: the pin comes before.
            None => remove(&path).map_err(failed("remove", &path))?,
        }
    }
    Ok(())
}

fn digests(texts: &[String]) -> Option<Arc<[Digest]>> {
    texts.iter().map(|text| text.parse().ok()).collect()
}

pub(super) fn layer(directory: &Path, number: u64) -> PathBuf {
    directory.join(LAYERS).join(number.to_string())
}

pub(super) fn staging(directory: &Path, number: u64) -> PathBuf {
    directory.join(STAGING).join(number.to_string())
}

fn image(directory: &Path, key: &str) -> PathBuf {
    let digest = Digest::of(key.as_bytes()).to_string();
    directory.join(IMAGES).join(format!("{}.json", digest.trim_start_matches("sha256:")))
}

pub(super) fn check_container(container: &str) -> Result<(), StoreError> {
    let sound = !container.is_empty() && !container.contains(['/', '\0']) && !matches!(container, "." | "..");
    if sound { Ok(()) } else { Err(StoreError::Container(container.to_owned())) }
}

/// What is to be brought must leave of the disk what others need.
pub(super) fn check_room(path: &Path, bytes: u64) -> Result<(), UnpackError> {
    let disk = rustix::fs::statvfs(path).map_err(|error| UnpackError::Read(error.into()))?;
    let available = disk.f_bavail.saturating_mul(disk.f_frsize);
    let reserve = disk.f_blocks.saturating_mul(disk.f_frsize) / 100 * DISK_RESERVE;
    if bytes.saturating_add(reserve) > available { Err(UnpackError::DiskFull) } else { Ok(()) }
}

/// Puts a layer that is unpacked in its place.
pub(super) fn install(directory: &Path, tree: &Path, number: u64, record: &LayerRecord) -> Result<(), StoreError> {
    let place = layer(directory, number);
    sync_all(tree)?;
    fs::rename(tree, &place).map_err(failed("move", tree))?;
    write_json(&place.with_extension("json"), record)
}

/// A power cut must not leave a layer that is there by name only.
fn sync_all(tree: &Path) -> Result<(), StoreError> {
    let opened = fs::File::open(tree).map_err(failed("open", tree))?;
    rustix::fs::syncfs(&opened).map_err(|error| failed("sync", tree)(error.into()))
}

/// Takes a layer out of its place, and gives where it now is, to be deleted.
pub(super) fn uninstall(directory: &Path, number: u64) -> Result<PathBuf, StoreError> {
    let place = layer(directory, number);
    let record = place.with_extension("json");
    fs::remove_file(&record).map_err(failed("remove", &record))?;
    let trash = directory.join(STAGING).join(format!("{number}.old"));
    fs::rename(&place, &trash).map_err(failed("move", &place))?;
    Ok(trash)
}

pub(super) fn write_image(directory: &Path, record: &ImageRecord) -> Result<(), StoreError> {
    write_json(&image(directory, &record.name), record)
}

pub(super) fn remove_image(directory: &Path, key: &str) -> Result<(), StoreError> {
    let path = image(directory, key);
    remove(&path).map_err(failed("remove", &path))
}

/// The image was used now.
pub(super) fn touch(directory: &Path, key: &str) {
    let opened = fs::File::options().append(true).open(image(directory, key));
    let _ = opened.and_then(|file| file.set_modified(SystemTime::now()));
}

pub(super) fn write_pin(directory: &Path, container: &str, pin: &Pin) -> Result<(), StoreError> {
    let path = directory.join(PINS).join(container);
    let record = PinRecord { image: pin.image.clone(), layers: pin.layers.iter().map(ToString::to_string).collect() };
    let text = serde_json::to_vec(&record).unwrap_or_default();
    fs::write(&path, text).map_err(failed("write", &path))
}

pub(super) fn remove_pin(directory: &Path, container: &str) {
    let path = directory.join(PINS).join(container);
    if let Err(error) = remove(&path) {
        tracing::warn!(path = %path.display(), "cannot remove: {error}");
    }
}

fn write_json(path: &Path, record: &impl Serialize) -> Result<(), StoreError> {
    let beside = path.with_extension("new");
    let text = serde_json::to_vec(record).unwrap_or_default();
    let written = fs::File::create(&beside).and_then(|mut file| {
        io::Write::write_all(&mut file, &text)?;
        file.sync_all()
    });
    written.map_err(failed("write", &beside))?;
    fs::rename(&beside, path).map_err(failed("write", path))
}

fn read_json<T: for<'de> Deserialize<'de>>(path: &Path) -> Option<T> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

fn list(directory: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let entries = fs::read_dir(directory).map_err(failed("read", directory))?;
    entries.map(|entry| Ok(entry.map_err(failed("read", directory))?.path())).collect()
}

/// A file or a directory with all in it; one that is gone is fine.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    let result = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match result {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
