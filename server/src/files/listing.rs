//! A directory as `/files/browse` shows it (src/common/protobuf_utils.cpp, createFileInfo; src/common/http.cpp).

use std::{
    collections::{BTreeMap, HashMap},
    ffi::{OsStr, OsString},
    fs::{File, Metadata},
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
};

use mezzo_api::v1;
use nix::unistd::{Gid, Group, Uid, User};
use rustix::fs::{Dir, FileType, Mode, OFlags, openat};
use serde_json::{Value, json};

use super::place::Place;

const NANOSECONDS: i64 = 1_000_000_000;

/// The entries, sorted; their paths begin with `asked`, as it was asked for. What is no directory has none. A task may
/// exchange the directory for something else meanwhile: what was opened is listed, by its descriptor.
pub(super) fn list(place: &Place, asked: &str) -> Vec<v1::FileInfo> {
    let asked = asked.trim_end_matches('/');
    let opened = place.open_directory().and_then(|opened| Ok((Dir::read_from(&opened)?, opened)));
    let Ok((directory, opened)) = opened else { return Vec::new() };
    let found = directory.flatten().filter(|entry| !matches!(entry.file_name().to_bytes(), b"." | b".."));
    let entries: BTreeMap<OsString, Metadata> = found
        .filter_map(|entry| {
            let name = OsStr::from_bytes(entry.file_name().to_bytes()).to_owned();
            let shown = shown(place, &opened, &name)?;
            Some((name, shown))
        })
        .collect();
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
fn shown(place: &Place, directory: &File, name: &OsStr) -> Option<Metadata> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let own = File::from(openat(directory, name, flags, Mode::empty()).ok()?).metadata().ok()?;
    if !own.is_symlink() {
        return Some(own);
    }
    match place.behind(name).ok()? {
        Some(target) => target.metadata().ok(),
        None => Some(own),
    }
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
