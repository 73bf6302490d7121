//! `cargo xtask last-version`: the programs of the version before this one. Tests run masters and agents of both together
//! (`tests/e2e/install/versions.rs`), soaks mix them.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::process::{PROFILE, cargo, command, run as run_command, succeeds, target_dir};

/// The version before this one: the commit of its release. This is the only place that names it; a release puts the commit of
/// the one before it here. As long as there is none: the first commit that could be packaged.
const LAST: &str = "c85f7e121176b3354df875874667dd85889292e3";
/// What its package has; the servers are `mezzo` under other names.
const PROGRAMS: [&str; 2] = ["mezzo", "mezzo-executor"];
const SERVERS: [&str; 2] = ["mezzo-master", "mezzo-agent"];

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Another commit than the last version's
    #[arg(long, default_value = LAST)]
    commit: String,
}

impl Default for Arguments {
    fn default() -> Self {
        Self { commit: LAST.to_owned() }
    }
}

/// Where tests look for them: `MEZZO_OLD_BIN_DIR` is another place.
fn dir() -> PathBuf {
    target_dir().join("last-version")
}

/// Builds them, unless they are there.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let dir = dir();
    let stamp = dir.join("complete");
    if fs::read_to_string(&stamp).is_ok_and(|commit| commit == arguments.commit) {
        return Ok(());
    }
    if dir.exists() {
        fs::remove_dir_all(&dir).with_context(|| format!("cannot remove {}", dir.display()))?;
    }
    let source = dir.join("source");
    fs::create_dir_all(&source).with_context(|| format!("cannot make {}", source.display()))?;
    take_source(&arguments.commit, &source)?;
    name_version(&source, &arguments.commit)?;
    let built = build(&dir, &source)?;
    let bin = dir.join("bin");
    fs::create_dir(&bin)?;
    for name in PROGRAMS {
        fs::copy(built.join(name), bin.join(name)).with_context(|| format!("{name} was not built"))?;
    }
    for name in SERVERS {
        std::os::unix::fs::symlink("mezzo", bin.join(name))?;
    }
    fs::remove_dir_all(&source)?;
    fs::remove_dir_all(dir.join("build"))?;
    fs::write(stamp, &arguments.commit)?;
    println!("{}", bin.display());
    Ok(())
}

/// The files of the commit; it is asked for where the clone is shallow.
fn take_source(commit: &str, source: &Path) -> Result<()> {
    let is_here = || succeeds(command("git").args(["cat-file", "-e", &format!("{commit}^{{commit}}")]));
    if !is_here() && !succeeds(command("git").args(["fetch", "--depth=1", "origin", commit])) {
        bail!(
            "the last version's commit {commit} is not in this clone, nor to be had from `origin`: git fetch --unshallow"
        );
    }
    let archive = source.with_extension("tar");
    run_command(command("git").args(["archive", "--output"]).arg(&archive).arg(commit))?;
    run_command(command("tar").arg("-xf").arg(&archive).arg("-C").arg(source))?;
    Ok(fs::remove_file(archive)?)
}

/// A version of its own: it says who it is, and cargo takes its crates for others than this version's, which have the same
/// names and may lie in the same directory.
fn name_version(source: &Path, commit: &str) -> Result<()> {
    let manifest = source.join("Cargo.toml");
    let text = fs::read_to_string(&manifest).with_context(|| manifest.display().to_string())?;
    let named = renamed(&text, commit).with_context(|| format!("{} has no version", manifest.display()))?;
    Ok(fs::write(manifest, named)?)
}

fn renamed(manifest: &str, commit: &str) -> Option<String> {
    const KEY: &str = "\nversion = \"";
    let start = manifest.find(KEY)? + KEY.len();
    let end = start + manifest[start..].find('"')?;
    let short = &commit[..commit.len().min(8)];
    Some(format!("{}-g{short}{}", &manifest[..end], &manifest[end..]))
}

/// With what this version has built already: most crates of others are the same.
fn build(dir: &Path, source: &Path) -> Result<PathBuf> {
    let mut build = cargo();
    build.current_dir(source).args([
        "build",
        "--profile",
        PROFILE,
        "-p",
        "mezzo-cli",
        "-p",
        "mezzo-executor",
        "--bins",
    ]);
    // Of cargo 1.91 and later; without it everything is built anew.
    build.env("CARGO_BUILD_BUILD_DIR", target_dir()).env("CARGO_TARGET_DIR", dir.join("build"));
    build.env("CARGO_INCREMENTAL", "0");
    run_command(&mut build)?;
    Ok(dir.join("build").join(PROFILE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_version_says_who_it_is() {
        let manifest = "[workspace.package]\nversion = \"0.1.0\"\nedition = \"2024\"\n[x]\nversion = \"2\"\n";
        let named = renamed(manifest, "0123456789abcdef").unwrap();
        assert_eq!(named, manifest.replace("0.1.0", "0.1.0-g01234567"));
        assert_eq!(renamed("[workspace]\n", "0"), None);
        assert!(LAST.len() == 40 && LAST.bytes().all(|byte| byte.is_ascii_hexdigit()));
    }
}
