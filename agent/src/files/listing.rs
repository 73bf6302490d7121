//! A directory as `/files/browse` shows it (src/common/protobuf_utils.cpp, createFileInfo; src/common/http.cpp).

use std::{
    collections::{BTreeMap, HashMap},
    ffi::OsString,
    fs::{self, Metadata},
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::Path,
};

use nix::unistd::{Gid, Group, Uid, User};
use serde_json::{Value, json};

use super::{FilesError, place::Place};

/// The entries, sorted; their paths begin with `asked`, as it was asked for. What is no directory has none.
pub(super) fn list(place: &Place, asked: &str) -> Result<Value, FilesError> {
    let asked = asked.trim_end_matches('/');
    let path = place.path();
    let found = fs::read_dir(&path).into_iter().flatten().flatten();
    let entries: BTreeMap<OsString, Metadata> =
        found.filter_map(|entry| Some((entry.file_name(), shown(place.boundary(), &entry.path())?))).collect();
    let mut names = Names::default();
    let listing = entries.into_iter().map(|(name, metadata)| {
        // In alphabetical order, as Mesos writes all objects.
        json!({
            "gid": names.group(metadata.gid()),
            "mode": mode(&metadata),
            "mtime": seconds(metadata.mtime()),
            "nlink": metadata.nlink(),
            "path": format!("{asked}/{}", name.to_string_lossy()),
            "size": metadata.len(),
            "uid": names.user(metadata.uid()),
        })
    });
    Ok(Value::Array(listing.collect()))
}

/// A link is shown as what it leads to, unless that is out of bounds: then as itself. One that leads nowhere is not shown.
fn shown(boundary: &Path, path: &Path) -> Option<Metadata> {
    let own = fs::symlink_metadata(path).ok()?;
    if !own.is_symlink() {
        return Some(own);
    }
    let target = path.canonicalize().ok()?;
    if target.starts_with(boundary) { fs::symlink_metadata(target).ok() } else { Some(own) }
}

#[expect(clippy::cast_precision_loss, reason = "Mesos' JSON: seconds as a floating number")]
fn seconds(time: i64) -> f64 {
    time as f64
}

fn mode(metadata: &Metadata) -> String {
    let kind = metadata.file_type();
    let letter = match () {
        () if kind.is_dir() => 'd',
        () if kind.is_symlink() => 'l',
        () if kind.is_char_device() => 'c',
        () if kind.is_block_device() => 'b',
        () if kind.is_fifo() => 'p',
        () if kind.is_socket() => 's',
        () => '-',
    };
    let bits = (0..9).map(|bit| if metadata.mode() & (0o400 >> bit) == 0 { '-' } else { ['r', 'w', 'x'][bit % 3] });
    std::iter::once(letter).chain(bits).collect()
}

/// Names of users and groups, each looked up once.
#[derive(Default)]
struct Names {
    users: HashMap<u32, String>,
    groups: HashMap<u32, String>,
}

impl Names {
    fn user(&mut self, uid: u32) -> &str {
        self.users.entry(uid).or_insert_with(|| {
            let user = User::from_uid(Uid::from_raw(uid)).ok().flatten();
            user.map_or_else(|| uid.to_string(), |user| user.name)
        })
    }

    fn group(&mut self, gid: u32) -> &str {
        self.groups.entry(gid).or_insert_with(|| {
            let group = Group::from_gid(Gid::from_raw(gid)).ok().flatten();
            group.map_or_else(|| gid.to_string(), |group| group.name)
        })
    }
}
