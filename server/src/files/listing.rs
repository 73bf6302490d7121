//! A directory as `/files/browse` shows it (src/common/protobuf_utils.cpp, createFileInfo; src/common/http.cpp).

use std::{
    collections::{BTreeMap, HashMap},
    ffi::OsString,
    fs::{self, Metadata},
    os::unix::fs::MetadataExt,
    path::Path,
};

use mezzo_api::v1;
use nix::unistd::{Gid, Group, Uid, User};
use rustix::fs::FileType;
use serde_json::{Value, json};

use super::place::Place;

const NANOSECONDS: i64 = 1_000_000_000;

/// The entries, sorted; their paths begin with `asked`, as it was asked for. What is no directory has none.
pub(super) fn list(place: &Place, asked: &str) -> Vec<v1::FileInfo> {
    let asked = asked.trim_end_matches('/');
    let path = place.path();
    let found = fs::read_dir(&path).into_iter().flatten().flatten();
    let entries: BTreeMap<OsString, Metadata> =
        found.filter_map(|entry| Some((entry.file_name(), shown(place.boundary(), &entry.path())?))).collect();
    let mut names = Names::default();
    let infos = entries.into_iter().map(|(name, metadata)| v1::FileInfo {
        path: format!("{asked}/{}", name.to_string_lossy()),
        nlink: i32::try_from(metadata.nlink()).ok(),
        size: Some(metadata.len()),
        mtime: Some(v1::TimeInfo { nanoseconds: metadata.mtime().saturating_mul(NANOSECONDS) }),
        mode: Some(metadata.mode()),
        uid: Some(names.user(metadata.uid()).to_owned()),
        gid: Some(names.group(metadata.gid()).to_owned()),
    });
    infos.collect()
}

/// As `/files/browse` tells them: in alphabetical order, as Mesos writes all objects.
pub(super) fn to_json(entries: &[v1::FileInfo]) -> Value {
    let entry = |info: &v1::FileInfo| {
        json!({
            "gid": info.gid(),
            "mode": mode(info.mode()),
            "mtime": seconds(info.mtime.as_ref().map_or(0, |time| time.nanoseconds / NANOSECONDS)),
            "nlink": info.nlink(),
            "path": info.path,
            "size": info.size(),
            "uid": info.uid(),
        })
    };
    entries.iter().map(entry).collect()
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

fn mode(bits: u32) -> String {
    let letter = match FileType::from_raw_mode(bits) {
        FileType::Directory => 'd',
        FileType::Symlink => 'l',
        FileType::CharacterDevice => 'c',
        FileType::BlockDevice => 'b',
        FileType::Fifo => 'p',
        FileType::Socket => 's',
        _ => '-',
    };
    let rights = (0..9).map(|bit| if bits & (0o400 >> bit) == 0 { '-' } else { ['r', 'w', 'x'][bit % 3] });
    std::iter::once(letter).chain(rights).collect()
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
