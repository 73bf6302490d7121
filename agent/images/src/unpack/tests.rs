//! Layers, honest and hostile. As root, as an agent that has images must be: what needs it is skipped elsewhere.

use std::{
    fs,
    os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt},
};

use super::*;

/// One entry: kind, name, link target or content, mode.
pub(crate) type Item<'a> = (EntryType, &'a str, &'a str, u32);

pub(crate) const FILE: EntryType = EntryType::Regular;
pub(crate) const DIR: EntryType = EntryType::Directory;
const SYMLINK: EntryType = EntryType::Symlink;
const LINK: EntryType = EntryType::Link;

/// A layer with names as they are given: the library's own writer would refuse the hostile ones.
pub(crate) fn layer(items: &[Item<'_>]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (kind, name, text, mode) in items {
        let mut header = tar::Header::new_gnu();
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        let content = if *kind == FILE { text.as_bytes() } else { b"" };
        if matches!(*kind, SYMLINK | LINK) {
            header.as_gnu_mut().unwrap().linkname[..text.len()].copy_from_slice(text.as_bytes());
        }
        header.set_entry_type(*kind);
        header.set_size(content.len() as u64);
        header.set_mode(*mode);
        header.set_uid(12);
        header.set_gid(34);
        header.set_mtime(1_000_000);
        header.set_device_major(1).unwrap();
        header.set_device_minor(3).unwrap();
        header.set_cksum();
        archive.append(&header, content).unwrap();
    }
    archive.into_inner().unwrap()
}

/// A directory to unpack in, with a neighbour that a layer would like to reach.
struct Bench {
    home: tempfile::TempDir,
}

impl Bench {
    /// `None`, loudly, without the rights that unpacking needs.
    fn new() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            assert!(std::env::var_os("CI").is_none(), "layers are unpacked as root");
            eprintln!("SKIPPED: layers are unpacked as root");
            return None;
        }
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join("tree")).unwrap();
        fs::create_dir(home.path().join("outside")).unwrap();
        fs::write(home.path().join("outside/secret"), "secret").unwrap();
        Some(Self { home })
    }

    fn tree(&self, path: &str) -> PathBuf {
        self.home.path().join("tree").join(path)
    }

    fn unpack(&self, items: &[Item<'_>]) -> Result<Unpacked, UnpackError> {
        let result = unpack(layer(items).as_slice(), &self.tree(""), &CancellationToken::new());
        self.assert_outside_is_untouched();
        result
    }

    fn assert_outside_is_untouched(&self) {
        let names: Vec<_> =
            fs::read_dir(self.home.path().join("outside")).unwrap().map(|entry| entry.unwrap()).collect();
        assert_eq!(names.len(), 1, "the layer wrote outside of its directory");
        let secret = self.home.path().join("outside/secret");
        assert_eq!(fs::read_to_string(&secret).unwrap(), "secret");
        assert_eq!((fs::metadata(&secret).unwrap().uid(), fs::metadata(&secret).unwrap().nlink()), (0, 1));
        assert_eq!(fs::read_dir(self.home.path()).unwrap().count(), 2, "the layer wrote beside its directory");
    }

    fn outside(&self) -> String {
        self.home.path().join("outside").display().to_string()
    }
}

#[test]
fn an_honest_layer_is_unpacked_with_owners_modes_and_times() {
    let Some(bench) = Bench::new() else { return };
    let items = [
        (DIR, "./", "", 0o755),
        (DIR, "bin/", "", 0o755),
        (FILE, "bin/su", "program", 0o4755),
        (SYMLINK, "bin/sh", "/bin/su", 0o777),
        (LINK, "bin/su2", "bin/su", 0o4755),
        (FILE, "a/b/c", "deep", 0o640),
        (EntryType::Fifo, "run/pipe", "", 0o600),
    ];
    let unpacked = bench.unpack(&items).unwrap();
    assert_eq!(unpacked.diff_id, Digest::of(&layer(&items)));
    let su = fs::metadata(bench.tree("bin/su")).unwrap();
    assert_eq!((su.uid(), su.gid(), su.mode() & 0o7777, su.nlink(), su.mtime()), (12, 34, 0o4755, 2, 1_000_000));
    assert_eq!(fs::read_link(bench.tree("bin/sh")).unwrap(), Path::new("/bin/su"));
    assert_eq!(fs::symlink_metadata(bench.tree("bin/sh")).unwrap().uid(), 12);
    assert_eq!(fs::metadata(bench.tree("bin")).unwrap().mtime(), 1_000_000, "a directory's time is set at the end");
    assert_eq!(fs::metadata(bench.tree("a/b")).unwrap().permissions().mode() & 0o7777, 0o755);
    assert!(fs::metadata(bench.tree("run/pipe")).unwrap().file_type().is_fifo());
}

#[test]
fn compression_is_found_by_content_and_the_digest_is_that_of_the_archive() {
    let Some(bench) = Bench::new() else { return };
    let plain = layer(&[(FILE, "f", "x", 0o644)]);
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    io::Write::write_all(&mut packed, &plain).unwrap();
    let packed = packed.finish().unwrap();
    let unpacked = unpack(packed.as_slice(), &bench.tree(""), &CancellationToken::new()).unwrap();
    assert_eq!(unpacked.diff_id, Digest::of(&plain));
    let xz = unpack(&b"\xfd7zXZ...."[..], &bench.tree(""), &CancellationToken::new());
    assert!(matches!(xz, Err(UnpackError::Compression("xz"))));
    for end in [packed.len() / 2, packed.len() - 9] {
        let broken = unpack(&packed[..end], &bench.tree(""), &CancellationToken::new());
        assert!(matches!(broken, Err(UnpackError::Read(_))), "{broken:?}");
    }
}

/// In several frames and with one to be skipped, as zstd:chunked has it.
#[test]
fn zstd_is_unpacked_whole_or_not_at_all() {
    let Some(bench) = Bench::new() else { return };
    let plain = layer(&[(FILE, "f", "x", 0o644), (FILE, "g", "y", 0o644)]);
    let frame = |bytes: &[u8]| zstd::encode_all(bytes, 3).unwrap();
    let skipped = [&[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"abc"].concat();
    let (first, second) = plain.split_at(700);
    let packed = [skipped.clone(), frame(first), skipped, frame(second)].concat();
    let unpacked = unpack(packed.as_slice(), &bench.tree(""), &CancellationToken::new()).unwrap();
    assert_eq!(unpacked.diff_id, Digest::of(&plain));
    assert_eq!(fs::read(bench.tree("g")).unwrap(), b"y");
    let whole = frame(&plain);
    for end in [whole.len() / 2, whole.len() - 2] {
        let broken = unpack(&whole[..end], &bench.tree(""), &CancellationToken::new());
        assert!(matches!(broken, Err(UnpackError::Read(_))), "{broken:?}");
    }
    // A window of 2 GiB.
    let greedy = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 21 << 3, 0x01, 0x00, 0x00];
    let greedy = unpack(&greedy[..], &bench.tree(""), &CancellationToken::new());
    assert!(matches!(greedy, Err(UnpackError::Read(_))), "{greedy:?}");
}

#[test]
fn whiteouts_become_those_of_overlayfs() {
    let Some(bench) = Bench::new() else { return };
    bench
        .unpack(&[
            (FILE, "etc/.wh.gone", "", 0),
            (DIR, "kept/", "", 0o755),
            (FILE, "kept/.wh..wh..opq", "", 0),
            (FILE, "kept/new", "", 0o644),
            (FILE, ".wh.replaced", "", 0),
            (DIR, "replaced/", "", 0o755),
            (DIR, "mine/", "", 0o755),
            (FILE, ".wh.mine", "", 0),
            (FILE, ".wh..wh.plnk/1.2", "", 0),
        ])
        .unwrap();
    let gone = fs::symlink_metadata(bench.tree("etc/gone")).unwrap();
    assert!(gone.file_type().is_char_device() && gone.rdev() == 0);
    let mut value = [0; 8];
    for opaque in ["kept", "replaced", "mine"] {
        let length = rustix::fs::getxattr(bench.tree(opaque), "trusted.overlay.opaque", &mut value).unwrap();
        assert_eq!(&value[..length], b"y", "{opaque}");
    }
    assert!(bench.tree("kept/new").exists() && !bench.tree(".wh..wh.plnk").exists());
}

#[test]
fn a_hostile_name_is_refused() {
    let Some(bench) = Bench::new() else { return };
    for name in ["../outside/x", "a/../../outside/x", "..", "/../outside/x", "a/.wh...", ".wh."] {
        let result = bench.unpack(&[(FILE, name, "evil", 0o644)]);
        assert!(matches!(result, Err(UnpackError::Refused { .. })), "{name}: {result:?}");
    }
    for (kind, target) in [(LINK, "../outside/secret"), (LINK, "a/../../outside/secret"), (LINK, "/")] {
        let result = bench.unpack(&[(kind, "x", target, 0o644)]);
        assert!(matches!(result, Err(UnpackError::Refused { .. })), "{target}: {result:?}");
    }
}

#[test]
fn an_absolute_name_is_one_of_the_layer() {
    let Some(bench) = Bench::new() else { return };
    let absolute = format!("{}/x", bench.outside());
    bench.unpack(&[(FILE, &absolute, "mine", 0o644)]).unwrap();
    assert_eq!(fs::read_to_string(bench.tree(absolute.trim_start_matches('/'))).unwrap(), "mine");
}

#[test]
fn links_lead_nowhere_but_into_the_layer() {
    let Some(bench) = Bench::new() else { return };
    let outside = bench.outside();
    // A directory that is a link: what is written through it stays within.
    let through = bench.unpack(&[(SYMLINK, "d", &outside, 0o777), (FILE, "d/x", "evil", 0o644)]);
    assert!(matches!(through, Err(UnpackError::Write { .. })), "{through:?}");
    let through = bench.unpack(&[(SYMLINK, "up", "../outside", 0o777), (FILE, "up/x", "evil", 0o644)]);
    assert!(matches!(through, Err(UnpackError::Write { .. })), "{through:?}");
    bench.unpack(&[(DIR, "real/", "", 0o755), (SYMLINK, "to", "/real", 0o777), (FILE, "to/x", "good", 0o644)]).unwrap();
    assert_eq!(fs::read_to_string(bench.tree("real/x")).unwrap(), "good");
    bench.unpack(&[(SYMLINK, "back", "../../../../real", 0o777), (FILE, "back/y", "good", 0o644)]).unwrap();
    assert_eq!(fs::read_to_string(bench.tree("real/y")).unwrap(), "good", "'..' stops at the root, as in a container");
    // A file that is a link is replaced, not followed, and what it leads to is neither written nor owned nor linked.
    let secret = format!("{outside}/secret");
    bench.unpack(&[(SYMLINK, "f", &secret, 0o777), (FILE, "f", "mine", 0o666)]).unwrap();
    assert_eq!(fs::read_to_string(bench.tree("f")).unwrap(), "mine");
    bench.unpack(&[(SYMLINK, "l", &secret, 0o777), (LINK, "l2", "l", 0o666)]).unwrap();
    assert!(bench.tree("l2").is_symlink());
    let linked = bench.unpack(&[(SYMLINK, "o", &outside, 0o777), (LINK, "stolen", "o/secret", 0o666)]);
    assert!(matches!(linked, Err(UnpackError::Write { .. })), "{linked:?}");
    bench.unpack(&[(SYMLINK, "w", &outside, 0o777), (FILE, "w/.wh.secret", "", 0)]).unwrap_err();
    bench.unpack(&[(SYMLINK, "m", &secret, 0o777), (DIR, "m/", "", 0o777)]).unwrap();
    assert!(bench.tree("m").is_dir() && !bench.tree("m").is_symlink());
    bench.unpack(&[(DIR, "later/", "", 0o777), (SYMLINK, "later", &outside, 0o777)]).unwrap_err();
    // Magic links of /proc are no way out either.
    bench.unpack(&[(SYMLINK, "p", "/proc/self/root", 0o777), (FILE, "p/x", "evil", 0o644)]).unwrap_err();
}

#[test]
fn devices_and_strange_kinds_are_not_made() {
    let Some(bench) = Bench::new() else { return };
    bench
        .unpack(&[
            (EntryType::Char, "dev/null", "", 0o666),
            (EntryType::Block, "dev/sda", "", 0o666),
            (EntryType::Char, "x", "", 0o666),
        ])
        .unwrap();
    assert!(!bench.tree("dev/null").exists() && !bench.tree("dev/sda").exists() && !bench.tree("x").exists());
    let strange = bench.unpack(&[(EntryType::new(b'Z'), "z", "", 0)]);
    assert!(matches!(strange, Err(UnpackError::Refused { .. })), "{strange:?}");
}

#[test]
fn attributes_that_speak_to_overlayfs_are_left_out() {
    let Some(bench) = Bench::new() else { return };
    let mut archive = tar::Builder::new(Vec::new());
    let capability: &[u8] = b"\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00";
    let extensions: [(&str, &[u8]); 4] = [
        ("SCHILY.xattr.trusted.overlay.redirect", b"/../../outside"),
        ("SCHILY.xattr.trusted.overlay.metacopy", b""),
        ("SCHILY.xattr.user.any", b"1"),
        (CAPABILITY, capability),
    ];
    archive.append_pax_extensions(extensions).unwrap();
    let mut header = tar::Header::new_ustar();
    header.set_path("ping").unwrap();
    header.set_size(0);
    header.set_mode(0o755);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_cksum();
    archive.append(&header, io::empty()).unwrap();
    let layer = archive.into_inner().unwrap();
    unpack(layer.as_slice(), &bench.tree(""), &CancellationToken::new()).unwrap();
    let mut names = [0; 256];
    let length = rustix::fs::listxattr(bench.tree("ping"), &mut names[..]).unwrap();
    let names = String::from_utf8_lossy(&names[..length]).into_owned();
    assert_eq!(names.trim_end_matches('\0'), "security.capability");
}

#[test]
fn who_stops_waiting_stops_the_unpacking() {
    let Some(bench) = Bench::new() else { return };
    let cancel = CancellationToken::new();
    cancel.cancel();
    let result = unpack(layer(&[(FILE, "f", "x", 0o644)]).as_slice(), &bench.tree(""), &cancel);
    assert!(matches!(result, Err(UnpackError::Cancelled)), "{result:?}");
}

/// Any byte of a layer may be anything: nothing breaks, and nothing gets out.
#[test]
fn damaged_layers_do_no_harm() {
    let Some(bench) = Bench::new() else { return };
    let outside = bench.outside();
    let sound = layer(&[
        (DIR, "d/", "", 0o755),
        (SYMLINK, "s", &outside, 0o777),
        (FILE, "d/file", "content", 0o644),
        (LINK, "l", "d/file", 0o644),
        (FILE, "d/.wh.gone", "", 0),
        (EntryType::Fifo, "p", "", 0o600),
    ]);
    let mut random: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut next = |below: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(random >> 33).unwrap() % below
    };
    for _ in 0..300 {
        let mut damaged = sound.clone();
        for _ in 0..=next(3) {
            // Of a header's own fields: a wrong checksum alone ends the reading.
            let header = next(damaged.len() / 512) * 512;
            let value = [b'/', b'.', b'0', b'7', 0, 0xff, b'x'][next(7)];
            damaged[header + next(345)] = value;
            let sum: u32 = damaged[header..header + 512].iter().map(|byte| u32::from(*byte)).sum();
            let own: u32 = damaged[header + 148..header + 156].iter().map(|byte| u32::from(*byte)).sum();
            let text = format!("{:06o}\0 ", sum - own + 8 * 32);
            damaged[header + 148..header + 156].copy_from_slice(text.as_bytes());
        }
        let tree = bench.home.path().join("tree");
        fs::remove_dir_all(&tree).unwrap();
        fs::create_dir(&tree).unwrap();
        let _ = unpack(damaged.as_slice(), &tree, &CancellationToken::new());
        bench.assert_outside_is_untouched();
    }
}
