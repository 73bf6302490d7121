//! `cargo xtask setup`: what the tests need, from the ordinary package clients. Quick when all is there.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::process::{command, run as run_command, succeeds, target_dir};
use crate::{axe, debian};

const PYMESOS: &str = "pymesos==0.3.15";
/// What pymesos imports, but for http-parser: that one does not compile on newer Pythons, so its pure Python part is taken out of its source.
const PYMESOS_NEEDS: [&str; 3] = ["six", "addict", "kazoo"];
const HTTP_PARSER: &str = "http-parser==0.9";
/// Changes when the list of packages does, so that an older environment is built anew.
const ENVIRONMENT: &str = "pymesos 0.3.15, http-parser 0.9, six, addict, kazoo";

#[derive(clap::Args, Default)]
pub(crate) struct Arguments {
    /// Leave the system's packages alone; tests that need what is missing are then skipped.
    #[arg(long)]
    pub(crate) no_system_packages: bool,
}

/// Where the Python of the tests lives.
pub(crate) fn environment_dir() -> PathBuf {
    target_dir().join("test-env")
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    if !arguments.no_system_packages {
        system_packages()?;
    }
    python_environment()?;
    axe::install()?;
    if is_root() && succeeds(command("debootstrap").arg("--version")) {
        debian::install()?;
    }
    Ok(())
}

/// A program that tests need, and the Debian package that brings it.
struct Needed {
    what: &'static str,
    package: &'static str,
    present: fn() -> bool,
}

const NEEDED: [Needed; 10] = [
    Needed { what: "Python with venv", package: "python3-venv", present: python_can_make_environments },
    Needed { what: "Chromium", package: "chromium", present: browser_is_there },
    Needed { what: "Java", package: "default-jre-headless", present: java_is_there },
    Needed { what: "ZooKeeper", package: "zookeeper", present: zookeeper_is_there },
    Needed { what: "ip", package: "iproute2", present: ip_is_there },
    Needed { what: "debootstrap", package: "debootstrap", present: debootstrap_is_there },
    Needed { what: "iptables", package: "iptables", present: iptables_is_there },
    Needed { what: "an image registry", package: "docker-registry", present: registry_is_there },
    Needed { what: "lintian", package: "lintian", present: lintian_is_there },
    Needed { what: "a static busybox", package: "busybox-static", present: busybox_is_there },
];

fn java_is_there() -> bool {
    succeeds(command("/usr/bin/java").arg("-version"))
}

/// The tests run its classes as plain processes.
fn zookeeper_is_there() -> bool {
    Path::new("/usr/share/java/zookeeper.jar").exists()
}

fn ip_is_there() -> bool {
    succeeds(command("ip").arg("-V"))
}

fn debootstrap_is_there() -> bool {
    succeeds(command("debootstrap").arg("--version"))
}

fn iptables_is_there() -> bool {
    succeeds(command("iptables").arg("--version"))
}

fn registry_is_there() -> bool {
    succeeds(command("docker-registry").arg("--version"))
}

/// It looks at packages as Debian's own archive does.
fn lintian_is_there() -> bool {
    succeeds(command("lintian").arg("--version"))
}

/// What test images are made of: it runs where there is nothing else, which Debian's other busybox does not.
fn busybox_is_there() -> bool {
    Path::new("/usr/share/doc/busybox-static").exists() && Path::new("/bin/busybox").exists()
}

fn python_can_make_environments() -> bool {
    succeeds(command("python3").args(["-c", "import venv, ensurepip"]))
}

fn browser_is_there() -> bool {
    ["chromium", "chromium-browser"].iter().any(|name| succeeds(command(name).arg("--version")))
}

fn system_packages() -> Result<()> {
    let missing: Vec<&Needed> = NEEDED.iter().filter(|needed| !(needed.present)()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing.iter().map(|needed| needed.what).collect::<Vec<_>>().join(", ");
    if !succeeds(command("apt-get").arg("--version")) {
        bail!("missing: {names}. There is no apt-get here: install them by hand, or pass --no-system-packages");
    }
    if !is_root() {
        bail!(
            "missing: {names}. Installing needs root: run `sudo cargo xtask setup`, install them by hand, or pass --no-system-packages"
        );
    }
    let packages: Vec<&str> = missing.iter().map(|needed| needed.package).collect();
    if !apt_get(&packages) {
        run_command(command("apt-get").args(["-q", "update"]))
            .context("cannot reach the package archive: is there a network?")?;
        run_command(&mut install(&packages)).with_context(|| format!("cannot install {}", packages.join(", ")))?;
    }
    match missing.iter().find(|needed| !(needed.present)()) {
        Some(needed) => bail!("package {} is installed, yet {} is not there", needed.package, needed.what),
        None => Ok(()),
    }
}

fn apt_get(packages: &[&str]) -> bool {
    succeeds(&mut install(packages))
}

fn install(packages: &[&str]) -> std::process::Command {
    let mut apt_get = command("apt-get");
    apt_get
        .env("DEBIAN_FRONTEND", "noninteractive")
        .args(["-q", "-y", "--no-install-recommends", "install"])
        .args(packages);
    apt_get
}

fn is_root() -> bool {
    succeeds(command("sh").args(["-c", "test \"$(id -u)\" = 0"]))
}

fn python_environment() -> Result<()> {
    let dir = environment_dir();
    let stamp = dir.join("complete");
    let python = dir.join("venv/bin/python");
    let complete = fs::read_to_string(&stamp).is_ok_and(|text| text == ENVIRONMENT);
    if complete && succeeds(command(&python).args(["-c", "import pymesos"])) {
        return Ok(());
    }
    if dir.exists() {
        fs::remove_dir_all(&dir).with_context(|| format!("cannot remove {}", dir.display()))?;
    }
    fs::create_dir_all(&dir)?;
    run_command(command("python3").args(["-m", "venv"]).arg(dir.join("venv")))?;
    let pip = |arguments: &[&str]| {
        let mut pip = command(&python);
        pip.args(["-m", "pip", "--quiet", "--disable-pip-version-check"]).args(arguments);
        run_command(&mut pip).context("pip failed: is there a network?")
    };
    pip(&["install", "--no-deps", PYMESOS])?;
    pip(&[&["install"], PYMESOS_NEEDS.as_slice()].concat())?;
    let sources = dir.join("sources");
    pip(&["download", "--no-binary", ":all:", "--no-deps", "--dest", &sources.to_string_lossy(), HTTP_PARSER])?;
    take_http_parser(&sources, &python)?;
    run_command(command(&python).args(["-c", "import pymesos"]))?;
    Ok(fs::write(stamp, ENVIRONMENT)?)
}

/// Puts the `http_parser` folder of the source package into the environment.
fn take_http_parser(sources: &Path, python: &Path) -> Result<()> {
    let archive = fs::read_dir(sources)?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.to_string_lossy().ends_with(".tar.gz"));
    let archive = archive.context("http-parser came without a source archive")?;
    run_command(command("tar").args(["--strip-components=1", "-xzf"]).arg(archive).arg("-C").arg(sources))?;
    let place = command(python).args(["-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])"]).output()?;
    let place = PathBuf::from(String::from_utf8(place.stdout)?.trim());
    run_command(command("cp").arg("-r").arg(sources.join("http_parser")).arg(place))
}
