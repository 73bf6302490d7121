//! Taking away what nobody uses.

use std::{
    collections::HashSet,
    time::{Duration, SystemTime},
};

use super::{Inner, State, Store, disk};
use crate::{digest::Digest, name::Name};

/// How much is kept (`--image_gc_config`).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Keep {
    /// Names of images that stay.
    pub excluded: Vec<String>,
    /// The part of the disk, from 0 to 1, that is to be free.
    pub headroom: f64,
    /// Images that were not used for so long go.
    pub max_unused: Option<Duration>,
    /// What all layers together may take, in bytes.
    pub max_bytes: Option<u64>,
}

/// What was taken away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// How many images.
    pub images: usize,
    /// How many layers.
    pub layers: usize,
    /// What those took on the disk, about.
    pub bytes: u64,
}

/// A layer that is out of the books, and still on the disk.
#[derive(Debug)]
pub(super) struct Orphan {
    number: u64,
    bytes: u64,
}

impl Store {
    /// Takes away every image that no container uses, but for those of these names (PRUNE_IMAGES). Blocks.
    pub fn prune(&self, excluded: &[String]) -> Pruned {
        self.remove_while(excluded, |_, _| true)
    }

    /// Takes away what was not used for the longest time, until what is kept is as it should be. Blocks.
    pub fn trim(&self, keep: &Keep) -> Pruned {
        let now = SystemTime::now();
        let mut lacking = self.lacking(keep);
        let pruned = self.remove_while(&keep.excluded, |used, freed| {
            let idle = now.duration_since(used).unwrap_or_default();
            let too_old = keep.max_unused.is_some_and(|most| idle > most);
            let too_much = lacking > freed;
            if !too_old && !too_much {
                lacking = 0;
            }
            too_old || too_much
        });
        if pruned != Pruned::default() {
            tracing::info!(images = pruned.images, layers = pruned.layers, bytes = pruned.bytes, "images were pruned");
        }
        pruned
    }

    /// How many bytes must go.
    fn lacking(&self, keep: &Keep) -> u64 {
        let used: u64 = self.0.state().layers.values().map(|layer| layer.bytes).sum();
        let too_much = keep.max_bytes.map_or(0, |most| used.saturating_sub(most));
        let scarce = rustix::fs::statvfs(&self.0.config.directory).map_or(0, |disk| {
            let size = disk.f_frsize;
            let wanted = part(disk.f_blocks.saturating_mul(size), keep.headroom);
            wanted.saturating_sub(disk.f_bavail.saturating_mul(size))
        });
        too_much.max(scarce)
    }

    /// From the least recently used on, as long as `more` says so of an image's last use and what is freed already.
    fn remove_while(&self, excluded: &[String], mut more: impl FnMut(SystemTime, u64) -> bool) -> Pruned {
        let excluded: HashSet<String> =
            excluded.iter().filter_map(|name| Some(name.parse::<Name>().ok()?.to_string())).collect();
        let mut candidates: Vec<(SystemTime, String)> = {
            let state = self.0.state();
            let used: HashSet<&String> = state.containers.values().map(|pin| &pin.image).collect();
            let free = state.images.iter().filter(|(key, _)| !used.contains(key) && !excluded.contains(*key));
            free.map(|(key, known)| (known.used, key.clone())).collect()
        };
        candidates.sort();
        let mut pruned = Pruned::default();
        for (used, key) in candidates {
            if !more(used, pruned.bytes) {
                break;
            }
            let Some(orphans) = self.0.remove_image(&key) else { continue };
            pruned.images += 1;
            pruned.layers += orphans.len();
            pruned.bytes += orphans.iter().map(|orphan| orphan.bytes).sum::<u64>();
            self.0.delete_now(orphans);
        }
        pruned
    }
}

impl Inner {
    /// Takes an image out of the books, if still nobody uses it; gives the layers that only it had.
    fn remove_image(&self, key: &str) -> Option<Vec<Orphan>> {
        let mut state = self.state();
        if state.containers.values().any(|pin| pin.image == key) {
            return None;
        }
        if let Err(error) = disk::remove_image(&self.config.directory, key) {
            tracing::warn!(image = key, "cannot prune: {error}");
            return None;
        }
        state.images.remove(key)?;
        Some(self.orphans(&mut state))
    }

    /// Takes layers out of the books that neither an image has nor anybody needs.
    pub(super) fn orphans(&self, state: &mut State) -> Vec<Orphan> {
        let known: HashSet<Digest> = state.images.values().flat_map(|image| image.layers.iter().copied()).collect();
        let free = state.layers.extract_if(|digest, layer| layer.holds == 0 && !known.contains(digest));
        free.map(|(_, layer)| Orphan { number: layer.number, bytes: layer.bytes }).collect()
    }

    /// Deletes on a thread of its own.
    pub(super) fn delete(&self, orphans: Vec<Orphan>) {
        let trash = self.uninstall(orphans);
        if trash.is_empty() {
            return;
        }
        let spawned = std::thread::Builder::new().name("images".into()).spawn(move || remove_all(&trash));
        if let Err(error) = spawned {
            tracing::warn!("cannot start a thread that deletes layers; they go at the next start: {error}");
        }
    }

    pub(super) fn delete_now(&self, orphans: Vec<Orphan>) {
        remove_all(&self.uninstall(orphans));
    }

    fn uninstall(&self, orphans: Vec<Orphan>) -> Vec<std::path::PathBuf> {
        let directory = &self.config.directory;
        let moved = orphans.into_iter().filter_map(|orphan| {
            let moved = disk::uninstall(directory, orphan.number);
            moved.inspect_err(|error| tracing::warn!("cannot delete a layer: {error}")).ok()
        });
        let moved: Vec<_> = moved.collect();
        if !moved.is_empty() {
            (self.config.passed)("layers-uninstalled");
        }
        moved
    }
}

fn remove_all(trash: &[std::path::PathBuf]) {
    for path in trash {
        if let Err(error) = disk::remove(path) {
            tracing::warn!(path = %path.display(), "cannot delete a layer: {error}");
        }
    }
}

#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)] // of a disk's size
fn part(whole: u64, fraction: f64) -> u64 {
    (whole as f64 * fraction.clamp(0.0, 1.0)) as u64
}
