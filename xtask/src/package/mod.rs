//! `cargo xtask package`: a Debian package, a tarball, their SBOM, and the sums of all of them.

mod deb;
mod needs;
mod sbom;
mod stage;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::process::{cargo, command, root, run as run_command, target_dir};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The profile to build with
    #[arg(long, default_value = "release")]
    profile: String,
    /// Link everything into the programs, the C library too: they need nothing, but names are then looked up by DNS and
    /// /etc/hosts alone
    #[arg(long)]
    r#static: bool,
    /// Take the programs from this directory instead of building them
    #[arg(long, value_name = "DIR")]
    bin_dir: Option<PathBuf>,
    /// The package's revision: VERSION-REVISION
    #[arg(long, default_value_t = 1)]
    revision: u32,
    /// Where to [default: package in the target directory]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Pack quickly rather than small
    #[arg(long)]
    fast: bool,
}

/// What is packed: `mezzo` is every program but the executor, which tasks need small.
const PROGRAMS: [&str; 2] = ["mezzo", "mezzo-executor"];

/// What a package says of itself.
struct Identity {
    version: String,
    /// Debian's name of the machine.
    architecture: &'static str,
    /// Seconds since the epoch that files are dated with: those of the last commit, so that a build can be repeated.
    date: u64,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let bin_dir = match &arguments.bin_dir {
        Some(dir) => dir.clone(),
        None => build(arguments)?,
    };
    let identity = Identity {
        version: format!("{}-{}", env!("CARGO_PKG_VERSION"), arguments.revision),
        architecture: architecture()?,
        date: date(),
    };
    let out = arguments.out.clone().unwrap_or_else(|| target_dir().join("package"));
    fs::create_dir_all(&out).with_context(|| format!("cannot make {}", out.display()))?;
    let work = out.join(format!(".work-{}", identity.version));
    if work.exists() {
        fs::remove_dir_all(&work)?;
    }
    let tree = work.join("tree");
    stage::stage(&tree, &bin_dir)?;
    let sbom = out.join(format!("mezzo_{}.cdx.json", identity.version));
    sbom::write(&sbom, &identity)?;
    fs::copy(&sbom, tree.join("usr/share/doc/mezzo/sbom.cdx.json"))?;
    let needs = needs::of(&PROGRAMS.map(|name| tree.join("usr/bin").join(name)))?;
    println!("the programs need: {}", needs.sentence());
    if arguments.r#static {
        for name in PROGRAMS {
            needs::runs_alone(&tree.join("usr/bin").join(name), &work.join("empty"), "--version")?;
        }
        println!("each of them runs in a root that has nothing else");
    }
    let mut made = vec![tarball(&work, &tree, &out, &identity, arguments.fast)?];
    made.push(deb::make(&work, &tree, &out, &identity, &needs, arguments.fast)?);
    made.push(sbom);
    fs::remove_dir_all(&work)?;
    sums(&out, &made)?;
    for path in &made {
        println!("{} ({:.1} MB)", path.display(), megabytes(path));
    }
    Ok(())
}

#[allow(clippy::cast_precision_loss)] // for people
fn megabytes(path: &Path) -> f64 {
    fs::metadata(path).map_or(0.0, |metadata| metadata.len() as f64 / 1e6)
}

fn build(arguments: &Arguments) -> Result<PathBuf> {
    let mut build = cargo();
    build.args(["build", "--profile", &arguments.profile, "-p", "mezzo-cli", "-p", "mezzo-executor", "--bins"]);
    let mut dir = target_dir();
    if arguments.r#static {
        // With a target that is named, this is not the flag of build scripts and macros.
        let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
        let variable = format!("CARGO_TARGET_{}_RUSTFLAGS", target.to_ascii_uppercase().replace('-', "_"));
        build.args(["--target", &target]).env(variable, "-C target-feature=+crt-static");
        dir.push(target);
    }
    run_command(&mut build)?;
    Ok(dir.join(&arguments.profile))
}

fn architecture() -> Result<&'static str> {
    match std::env::consts::ARCH {
        "x86_64" => Ok("amd64"),
        "aarch64" => Ok("arm64"),
        other => bail!("Debian's name of {other} is not known here"),
    }
}

fn date() -> u64 {
    let given = std::env::var("SOURCE_DATE_EPOCH").ok().and_then(|text| text.parse().ok());
    let committed = || {
        let output = command("git").args(["log", "-1", "--format=%ct"]).output().ok()?;
        String::from_utf8(output.stdout).ok()?.trim().parse().ok()
    };
    given.or_else(committed).unwrap_or(0)
}

/// The tree below a directory of its own, with what installs it.
fn tarball(work: &Path, tree: &Path, out: &Path, identity: &Identity, fast: bool) -> Result<PathBuf> {
    let name = format!("mezzo-{}-linux-{}", identity.version, identity.architecture);
    let top = work.join(&name);
    run_command(command("cp").arg("-a").arg(tree).arg(&top))?;
    fs::copy(root().join("deploy/install.sh"), top.join("install.sh"))?;
    fs::copy(root().join("deploy/debian/postinst"), top.join("postinst"))?;
    fs::copy(root().join("LICENSE"), top.join("LICENSE"))?;
    let path = out.join(format!("{name}.tar.gz"));
    let mut tar = command("tar");
    tar.arg("-C").arg(work).args(["--sort=name", "--owner=0", "--group=0", "--numeric-owner"]);
    tar.arg(format!("--mtime=@{}", identity.date)).args(["-I", if fast { "gzip -1n" } else { "gzip -9n" }]);
    run_command(tar.arg("-cf").arg(&path).arg(&name))?;
    Ok(path)
}

fn sums(out: &Path, made: &[PathBuf]) -> Result<()> {
    let names = made.iter().filter_map(|path| path.file_name());
    let output = command("sha256sum").current_dir(out).args(names).output().context("cannot start sha256sum")?;
    if !output.status.success() {
        bail!("sha256sum failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(fs::write(out.join("SHA256SUMS"), output.stdout)?)
}
