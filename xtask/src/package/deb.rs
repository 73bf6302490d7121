//! The Debian package: deploy/debian/ around the tree.

use std::fmt::Write;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use walkdir::WalkDir;

use super::{Identity, needs::Needs};
use crate::process::{command, root, run as run_command, succeeds};

const MAINTAINER: &str = "The Mezzo authors <mezzo@localhost>";
const SCRIPTS: [&str; 3] = ["postinst", "prerm", "postrm"];

pub(super) fn make(
    work: &Path,
    tree: &Path,
    out: &Path,
    identity: &Identity,
    needs: &Needs,
    fast: bool,
) -> Result<PathBuf> {
    if !succeeds(command("dpkg-deb").arg("--version")) {
        bail!("dpkg-deb is missing: a Debian package is made on Debian or Ubuntu (package dpkg); the tarball is made");
    }
    let package = work.join("deb");
    run_command(command("cp").arg("-a").arg(tree).arg(&package))?;
    changelog(&package, identity)?;
    let debian = package.join("DEBIAN");
    fs::create_dir(&debian)?;
    for name in SCRIPTS {
        fs::copy(root().join("deploy/debian").join(name), debian.join(name))?;
        fs::set_permissions(debian.join(name), fs::Permissions::from_mode(0o755))?;
    }
    fs::copy(root().join("deploy/debian/conffiles"), debian.join("conffiles"))?;
    let (sums, bytes) = sums(&package)?;
    fs::write(debian.join("md5sums"), sums)?;
    fs::write(debian.join("control"), control(identity, needs, bytes)?)?;
    let path = out.join(format!("mezzo_{}_{}.deb", identity.version, identity.architecture));
    let mut build = command("dpkg-deb");
    build.env("SOURCE_DATE_EPOCH", identity.date.to_string()).args(["--root-owner-group", "--build"]);
    build.args(if fast { ["-Zgzip", "-z1"] } else { ["-Zxz", "-z6"] });
    run_command(build.arg(&package).arg(&path))?;
    Ok(path)
}

/// What Debian wants of every package: which version, of when.
fn changelog(package: &Path, identity: &Identity) -> Result<()> {
    let date = command("date").args(["--utc", "--rfc-email", &format!("--date=@{}", identity.date)]).output()?;
    let date = String::from_utf8_lossy(&date.stdout).trim().to_owned();
    let text = format!(
        "mezzo ({}) unstable; urgency=medium\n\n  * This version.\n\n -- {MAINTAINER}  {date}\n",
        identity.version
    );
    let path = package.join("usr/share/doc/mezzo/changelog.Debian");
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    run_command(command("gzip").args(["-9n"]).arg(&path))
}

fn control(identity: &Identity, needs: &Needs, bytes: u64) -> Result<String> {
    let path = root().join("deploy/debian/control.in");
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let depends = needs.depends();
    let text = if depends.is_empty() { text.replace("@DEPENDS@, ", "") } else { text.replace("@DEPENDS@", &depends) };
    Ok(text
        .replace("@VERSION@", &identity.version)
        .replace("@MAINTAINER@", MAINTAINER)
        .replace("@ARCHITECTURE@", identity.architecture)
        .replace("@SIZE@", &bytes.div_ceil(1024).to_string()))
}

/// `md5sums` of a tree, as dpkg --verify reads it, and how much there is of it. Configuration is left out.
fn sums(tree: &Path) -> Result<(String, u64)> {
    let (mut text, mut bytes) = (String::new(), 0);
    for entry in WalkDir::new(tree).sort_by_file_name() {
        let entry = entry?;
        if !entry.file_type().is_file() || entry.path().starts_with(tree.join("DEBIAN")) {
            continue;
        }
        bytes += entry.metadata()?.len();
        let name = entry.path().strip_prefix(tree)?.display().to_string();
        if name.starts_with("etc/") {
            continue;
        }
        let output = command("md5sum").arg(entry.path()).output().context("cannot start md5sum")?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let sum = said.split_whitespace().next().with_context(|| format!("md5sum says nothing of {name}"))?;
        let _ = writeln!(text, "{}  {name}", sum.trim_start_matches('\\')); // a String takes everything
    }
    Ok((text, bytes))
}
