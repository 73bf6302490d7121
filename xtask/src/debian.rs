//! A fresh Debian for the tests: a root with systemd and cloud-init, as a cloud's image has it. It is made once, and
//! machines of tests are overlays on it, and on layers with further packages.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::process::{command, run as run_command, target_dir};

/// Changes when what is in the root does, so that an older one is made anew.
const CONTENT: &str = "minbase, systemd, systemd-sysv, cloud-init, curl; 1";
/// debootstrap does not find by itself who provides what python3-cryptography wants.
const PACKAGES: &str = "systemd,systemd-sysv,cloud-init,curl,python3-cffi-backend";
/// What machines that are ZooKeeper servers have beyond that; in a layer of its own.
const ZOOKEEPER: &str = "zookeeperd";
/// Installs what was downloaded to `$2` in the root `$1`, of which the layer `$3` is the difference, with `$4` to work in.
/// Nothing is started: policy-rc.d says no.
const LAYER_SCRIPT: &str = r#"
set -e
mount -t overlay overlay -o "lowerdir=$1,upperdir=$3,workdir=$4" /mnt
mount -t proc proc /mnt/proc
mount --bind /dev /mnt/dev
mkdir /mnt/var/tmp/new
cp "$2"/*.deb /mnt/var/tmp/new
printf '#!/bin/sh\nexit 101\n' > /mnt/usr/sbin/policy-rc.d
chmod 755 /mnt/usr/sbin/policy-rc.d
chroot /mnt env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive sh -c 'dpkg --force-unsafe-io --install /var/tmp/new/*.deb'
rm -r /mnt/var/tmp/new /mnt/usr/sbin/policy-rc.d
"#;
/// What a machine of a test has no use for.
const MASKED: [&str; 8] = [
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "console-getty.service",
    "e2scrub_all.timer",
    "getty@tty1.service",
    "systemd-logind.service",
    "systemd-resolved.service",
    "systemd-timesyncd.service",
];

/// Makes it, where it is not there yet; needs root.
pub(crate) fn install() -> Result<()> {
    let dir = target_dir().join("test-env-debian");
    fresh(&dir)?;
    layer(&dir, ZOOKEEPER)
}

/// A package and all that it needs, as this machine's apt finds them, in a layer on the fresh Debian.
fn layer(dir: &Path, package: &str) -> Result<()> {
    let (root, layer) = (dir.join("root"), dir.join(package));
    let stamp = layer.join("complete");
    if stamp.exists() {
        return Ok(());
    }
    if layer.exists() {
        fs::remove_dir_all(&layer).with_context(|| format!("cannot remove {}", layer.display()))?;
    }
    let [files, work, archives] = ["files", "work", "archives"].map(|name| layer.join(name));
    for dir in [&files, &work, &archives.join("partial")] {
        fs::create_dir_all(dir)?;
    }
    let status = root.join("var/lib/dpkg/status");
    run_command(
        command("apt-get")
            .args(["-q", "-y", "--no-install-recommends", "--download-only"])
            .args(["-o", &format!("Dir::State::status={}", status.display())])
            .args(["-o", &format!("Dir::Cache::archives={}", archives.display())])
            .args(["install", package]),
    )
    .with_context(|| format!("cannot download {package}: is there a network?"))?;
    run_command(
        command("unshare")
            .args(["--mount", "--propagation=private", "sh", "-c", LAYER_SCRIPT, "sh"])
            .args([&root, &archives, &files, &work]),
    )?;
    fs::remove_dir_all(archives)?;
    Ok(fs::write(stamp, "")?)
}

/// The fresh one itself.
fn fresh(dir: &Path) -> Result<()> {
    let (root, stamp) = (dir.join("root"), dir.join("complete"));
    let suite = suite().unwrap_or_else(|| "bookworm".to_owned());
    let content = format!("{suite}: {CONTENT}");
    if fs::read_to_string(&stamp).is_ok_and(|text| text == content) {
        return Ok(());
    }
    if dir.exists() {
        fs::remove_dir_all(dir).with_context(|| format!("cannot remove {}", dir.display()))?;
    }
    fs::create_dir_all(dir)?;
    run_command(
        command("debootstrap").args(["--variant=minbase", &format!("--include={PACKAGES}"), &suite]).arg(&root),
    )
    .context("cannot make a fresh Debian: is there a network?")?;
    for unit in MASKED {
        let link = root.join("etc/systemd/system").join(unit);
        if fs::symlink_metadata(&link).is_err() {
            std::os::unix::fs::symlink("/dev/null", link)?;
        }
    }
    // Each machine gets an id of its own; without one systemd takes its start for the very first.
    fs::write(root.join("etc/machine-id"), "0123456789abcdef0123456789abcdef\n")?;
    for archive in fs::read_dir(root.join("var/cache/apt/archives"))?.flatten() {
        let _ = fs::remove_file(archive.path()); // a directory stays
    }
    Ok(fs::write(stamp, content)?)
}

/// This machine's Debian: programs that were built here want its C library, or a later one.
fn suite() -> Option<String> {
    let text = fs::read_to_string(PathBuf::from("/etc/os-release")).ok()?;
    if !text.lines().any(|line| line == "ID=debian") {
        return None;
    }
    text.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME=")).map(str::to_owned)
}
