//! The tree of files as it will lie on a machine.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::PROGRAMS;
use crate::process::{command, root, run as run_command, succeeds};

/// Names under which `mezzo` is another program; Mesos' names, so that scripts go on.
const LINKS: [(&str, &str); 9] = [
    ("usr/bin/mezzo-master", "mezzo"),
    ("usr/bin/mezzo-agent", "mezzo"),
    ("usr/sbin/mesos-master", "../bin/mezzo"),
    ("usr/sbin/mesos-agent", "../bin/mezzo"),
    ("usr/sbin/mesos-slave", "../bin/mezzo"),
    ("usr/share/man/man1/mezzo-executor.1.gz", "mezzo.1.gz"),
    ("usr/share/man/man8/mesos-master.8.gz", "../man1/mezzo.1.gz"),
    ("usr/share/man/man8/mesos-agent.8.gz", "../man1/mezzo.1.gz"),
    ("usr/share/man/man8/mesos-slave.8.gz", "../man1/mezzo.1.gz"),
];
/// Files of the repository and where they go.
const FILES: [(&str, &str, u32); 11] = [
    ("deploy/systemd/mezzo-agent.service", "lib/systemd/system/mezzo-agent.service", 0o644),
    ("deploy/systemd/mezzo-discover.service", "lib/systemd/system/mezzo-discover.service", 0o644),
    ("deploy/systemd/mezzo-master.service", "lib/systemd/system/mezzo-master.service", 0o644),
    ("deploy/etc/agent.toml", "etc/mezzo/agent.toml", 0o644),
    ("deploy/etc/master.toml", "etc/mezzo/master.toml", 0o644),
    ("deploy/etc/mezzo-agent.default", "etc/default/mezzo-agent", 0o644),
    ("deploy/etc/mezzo-discover.default", "etc/default/mezzo-discover", 0o644),
    ("deploy/etc/mezzo-master.default", "etc/default/mezzo-master", 0o644),
    ("README.md", "usr/share/doc/mezzo/README.md", 0o644),
    ("deploy/debian/copyright", "usr/share/doc/mezzo/copyright", 0o644),
    ("deploy/debian/lintian-overrides", "usr/share/lintian/overrides/mezzo", 0o644),
];
const DOCS: &str = "usr/share/doc/mezzo";

pub(super) fn stage(tree: &Path, bin_dir: &Path) -> Result<()> {
    for name in PROGRAMS {
        let to = tree.join("usr/bin").join(name);
        place(&bin_dir.join(name), &to, 0o755)?;
        // Symbols of the linker only: a panic's place is in the program itself.
        if !succeeds(command("strip").arg("--strip-unneeded").arg(&to)) {
            println!("strip is missing: {name} is packed with its symbols");
        }
    }
    for (name, target) in LINKS {
        let path = tree.join(name);
        make_parent(&path)?;
        symlink(target, &path)?;
    }
    for (from, to, mode) in FILES {
        place(&root().join(from), &tree.join(to), mode)?;
    }
    for doc in markdown(&root().join("docs"))? {
        if let Some(name) = doc.file_name() {
            place(&doc, &tree.join(DOCS).join(name), 0o644)?;
        }
    }
    for entry in walkdir::WalkDir::new(root().join("deploy/cloud-init")).min_depth(1) {
        let path = entry?.into_path();
        if let Some(name) = path.file_name() {
            place(&path, &tree.join(DOCS).join("cloud-init").join(name), 0o644)?;
        }
    }
    said_by_the_program(tree)
}

fn place(from: &Path, to: &Path, mode: u32) -> Result<()> {
    make_parent(to)?;
    if !from.is_file() {
        bail!("{} is not there", from.display());
    }
    fs::copy(from, to).with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    Ok(fs::set_permissions(to, fs::Permissions::from_mode(mode))?)
}

fn make_parent(path: &Path) -> Result<()> {
    let parent = path.parent().unwrap_or(path);
    fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))
}

fn markdown(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(dir)?.collect::<Result<Vec<_>, _>>()?;
    Ok(entries
        .into_iter()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|e| e == "md"))
        .collect())
}

/// Man pages and completions.
fn said_by_the_program(tree: &Path) -> Result<()> {
    let program = tree.join("usr/bin/mezzo");
    let pages = tree.join("usr/share/man/man1");
    run_command(command(&program).arg("man").arg(&pages))?;
    run_command(command("sh").current_dir(&pages).args(["-c", "gzip -9n ./*.1"]))?;
    for (shell, place) in [
        ("bash", "usr/share/bash-completion/completions/mezzo"),
        ("zsh", "usr/share/zsh/vendor-completions/_mezzo"),
        ("fish", "usr/share/fish/vendor_completions.d/mezzo.fish"),
    ] {
        let output = command(&program).args(["completions", shell]).output()?;
        let path = tree.join(place);
        make_parent(&path)?;
        fs::write(path, output.stdout)?;
    }
    Ok(())
}
