//! Whom an image means by its user: names are looked up in its own `/etc/passwd` and `/etc/group`.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, openat2, statat},
    io::Errno,
};

const PASSWD: &str = "etc/passwd";
const GROUP: &str = "etc/group";
const MAX_BYTES: u64 = 4 << 20;

/// The numbers of a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// User.
    pub uid: u32,
    /// Its first group.
    pub gid: u32,
    /// All its groups.
    pub groups: Vec<u32>,
}

/// Why there is no such user.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UserError {
    /// A name without a line.
    #[error("the image has no user '{0}' in /etc/passwd")]
    Unknown(String),
    /// The same of groups.
    #[error("the image has no group '{0}' in /etc/group")]
    UnknownGroup(String),
}

/// Looks up `user[:group]`, names or numbers, in an image of these layers, the lowest first. Blocks.
///
/// # Errors
/// If a name is not known there.
pub fn find(text: &str, layers: &[PathBuf]) -> Result<User, UserError> {
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
        None => (text, None),
    };
    let passwd = read(PASSWD, layers);
    let mut lines = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let number: Option<u32> = user.parse().ok().filter(|uid| *uid != u32::MAX);
    let line = lines.find(|fields| {
        fields.len() >= 4 && (fields[0] == user || (number.is_some() && fields[2].parse().ok() == number))
    });
    let of_line = |field: usize| line.as_ref()?.get(field)?.parse::<u32>().ok();
    let uid = number.or(of_line(2)).ok_or_else(|| UserError::Unknown(user.to_owned()))?;
    let groups = read(GROUP, layers);
    if let Some(group) = group {
        let gid = group.parse().ok().filter(|gid| *gid != u32::MAX).or_else(|| {
            groups.lines().find_map(|line| {
                let mut fields = line.split(':');
                (fields.next() == Some(group)).then(|| fields.nth(1)?.parse().ok()).flatten()
            })
        });
        let gid = gid.ok_or_else(|| UserError::UnknownGroup(group.to_owned()))?;
        return Ok(User { uid, gid, groups: vec![gid] });
    }
    let gid = of_line(3).unwrap_or(0);
    let mut all = vec![gid];
    if let Some(name) = line.as_ref().map(|fields| fields[0]) {
        let of_user = groups.lines().filter_map(|line| {
            let fields: Vec<_> = line.split(':').collect();
            let member = fields.get(3).is_some_and(|members| members.split(',').any(|member| member == name));
            member.then(|| fields.get(2)?.parse().ok()).flatten()
        });
        all.extend(of_user.filter(|other: &u32| *other != gid));
    }
    Ok(User { uid, gid, groups: all })
}

/// A file of the image: that of the highest layer which has it, or hides it. Empty if there is none.
fn read(name: &str, layers: &[PathBuf]) -> String {
    layers.iter().rev().find_map(|layer| look(layer, name)).unwrap_or_default()
}

/// `None`: the layer does not say.
fn look(layer: &Path, name: &str) -> Option<String> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::openat(CWD, layer, flags, Mode::empty()).ok()?;
    let nothing = Some(String::new());
    match statat(&root, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice => return nothing,
        Err(Errno::NOTDIR) => return nothing,
        Err(_) => return None,
        Ok(_) => {}
    }
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let within = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let file = File::from(openat2(&root, name, flags, Mode::empty(), within).ok()?);
    if !file.metadata().ok()?.is_file() {
        return nothing;
    }
    let mut bytes = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    #[test]
    fn users_are_the_images_own() {
        let home = tempfile::tempdir().unwrap();
        let layers: Vec<PathBuf> = ["low", "high"].map(|name| home.path().join(name)).to_vec();
        layers.iter().for_each(|layer| fs::create_dir_all(layer.join("etc")).unwrap());
        fs::write(layers[0].join(PASSWD), "root:x:0:0::/:/bin/sh\nweb:x:33:34::/:/bin/sh\n").unwrap();
        fs::write(layers[0].join(GROUP), "web:x:34:\nlogs:x:50:web,other\n").unwrap();
        let find = |text: &str| find(text, &layers);
        assert_eq!(find("web"), Ok(User { uid: 33, gid: 34, groups: vec![34, 50] }));
        assert_eq!(find("33"), find("web"));
        assert_eq!(find("1000"), Ok(User { uid: 1000, gid: 0, groups: vec![0] }));
        assert_eq!(find("web:logs"), Ok(User { uid: 33, gid: 50, groups: vec![50] }));
        assert_eq!(find("7:8"), Ok(User { uid: 7, gid: 8, groups: vec![8] }));
        assert_eq!(find("none"), Err(UserError::Unknown("none".into())));
        assert_eq!(find("web:none"), Err(UserError::UnknownGroup("none".into())));
        assert_eq!(find("4294967295"), Err(UserError::Unknown("4294967295".into())));
        // The highest layer has the say, and its links lead nowhere but into it.
        fs::write(layers[1].join(PASSWD), "web:x:44:45::/:/bin/sh\n").unwrap();
        assert_eq!(find("web").unwrap().uid, 44);
        fs::remove_file(layers[1].join(PASSWD)).unwrap();
        symlink("/../../../../../../etc/passwd", layers[1].join(PASSWD)).unwrap();
        assert_eq!(find("web").unwrap().uid, 33);
    }
}
