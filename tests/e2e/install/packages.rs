//! Packages of the programs under test, two revisions of them, and of the last version's.

use std::path::{Path, PathBuf};
use std::process::Command;

use mezzo_tests::environment;
use mezzo_tests::hosts::Host;
use mezzo_tests::versions::Versions;
use mezzo_tests::web::{self, Answer};
use serde_json::Value;

/// A package and its sum.
#[derive(Clone, Debug)]
pub(super) struct Package {
    pub(super) name: String,
    pub(super) sha256: String,
}

/// What `cargo xtask package` makes, in a directory of the test.
#[derive(Debug)]
pub(super) struct Packages {
    pub(super) dir: PathBuf,
    /// There is revision 0: the last version.
    pub(super) has_last: bool,
}

impl Packages {
    /// Revisions 1 and 2 of the same programs; none, with a loud word, where no Debian packages can be made.
    pub(super) fn make(dir: &Path) -> Option<Self> {
        if Command::new("dpkg-deb").arg("--version").output().is_err() {
            environment::skip("`dpkg-deb` is missing: Debian packages are made on Debian or Ubuntu");
            return None;
        }
        let dir = dir.join("packages");
        for revision in [1, 2] {
            package(&dir, &environment::bin_dir(), revision);
        }
        Some(Self { dir, has_last: false })
    }

    /// Revision 0 too, where the last version is built.
    pub(super) fn with_last(mut self) -> Self {
        if let Some(versions) = Versions::both() {
            package(&self.dir, &versions.last_bin_dir(), 0);
            self.has_last = true;
        }
        self
    }

    /// The Debian package of that revision.
    pub(super) fn deb(&self, revision: u32) -> Package {
        self.named(&format!("-{revision}_amd64.deb"), &format!("-{revision}_arm64.deb"))
    }

    /// The tarball of that revision.
    pub(super) fn tarball(&self, revision: u32) -> Package {
        self.named(&format!("-{revision}-linux-amd64.tar.gz"), &format!("-{revision}-linux-arm64.tar.gz"))
    }

    fn named(&self, end: &str, or: &str) -> Package {
        let files = std::fs::read_dir(&self.dir).expect("packages were made").flatten();
        let mut names = files.map(|entry| entry.file_name().to_string_lossy().into_owned());
        let name = names.find(|name| name.ends_with(end) || name.ends_with(or)).unwrap_or_else(|| panic!("no …{end}"));
        let output = Command::new("sha256sum").arg(self.dir.join(&name)).output().expect("sha256sum starts");
        let said = String::from_utf8(output.stdout).expect("a sum is text");
        let sha256 = said.split_whitespace().next().unwrap_or_default().to_owned();
        Package { name, sha256 }
    }

    /// Offers them for download, at `/<name>` of port 8000.
    pub(super) fn offer(&self, host: &Host) -> String {
        let dir = self.dir.clone();
        web::serve(host, (host.address(), 8000), move |asked| {
            let name = asked.path.trim_start_matches('/');
            let allowed = !name.contains('/') && !name.starts_with('.');
            match std::fs::read(dir.join(name)) {
                Ok(body) if allowed => Answer { body, ..Answer::status(200) },
                _ => Answer::status(404),
            }
        });
        format!("http://{}:8000", host.address())
    }
}

fn package(out: &Path, bin_dir: &Path, revision: u32) {
    let mut xtask = Command::new(environment::binary("xtask"));
    xtask.arg("package").arg("--bin-dir").arg(bin_dir).arg("--out").arg(out).arg("--fast");
    let output = xtask.args(["--revision", &revision.to_string()]).output().expect("xtask starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// What lies beside the packages says what is in them.
#[test]
fn a_package_tells_what_it_is_made_of() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let Some(packages) = Packages::make(dir.path()) else { return };
    let sums = std::fs::read_to_string(packages.dir.join("SHA256SUMS")).expect("the sums");
    let deb = packages.deb(2);
    assert!(sums.contains(&format!("{}  {}", deb.sha256, deb.name)), "{sums}");
    let sbom = std::fs::read_dir(&packages.dir).unwrap().flatten().map(|entry| entry.path());
    let sbom = sbom.into_iter().find(|path| path.to_string_lossy().ends_with("-2.cdx.json")).expect("the SBOM");
    let sbom: Value = serde_json::from_str(&std::fs::read_to_string(sbom).unwrap()).unwrap();
    assert_eq!((&sbom["bomFormat"], &sbom["specVersion"]), (&"CycloneDX".into(), &"1.5".into()));
    let components = sbom["components"].as_array().unwrap();
    let named = |name: &str| components.iter().find(|one| one["name"] == name);
    assert!(
        named("tokio").is_some_and(|tokio| tokio["hashes"][0]["content"].as_str().is_some_and(|sum| sum.len() == 64))
    );
    assert!(named("mezzo-master-core").is_some());
    assert!(named("proptest").is_none(), "what only tests use is not in it");
    let dpkg = |flag: &str| {
        let output = Command::new("dpkg-deb").arg(flag).arg(packages.dir.join(&deb.name)).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let control = dpkg("--field");
    for line in ["Package: mezzo", "Depends: libc6 (>= 2.", "Conflicts: mesos"] {
        assert!(control.contains(line), "{control}");
    }
    let content = dpkg("--contents");
    for path in [
        "./usr/bin/mezzo-agent -> mezzo",
        "./usr/sbin/mesos-slave -> ../bin/mezzo",
        "./usr/bin/mezzo-executor",
        "./lib/systemd/system/mezzo-master.service",
        "./usr/share/man/man1/mezzo-install-discover.1.gz",
        "./usr/share/doc/mezzo/sbom.cdx.json",
        "./usr/share/doc/mezzo/cloud-init/agent.yaml",
    ] {
        assert!(content.contains(path), "{path} is not in\n{content}");
    }
}

/// Debian's own check of packages has nothing to say, but for what is explained in deploy/debian/lintian-overrides.
#[test]
fn lintian_has_nothing_to_say() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let Some(packages) = Packages::make(dir.path()) else { return };
    if Command::new("lintian").arg("--version").output().is_err() {
        environment::skip("`lintian` is missing: run `cargo xtask setup`");
        return;
    }
    let mut lintian = Command::new("lintian");
    lintian.args(["--allow-root", "--fail-on", "error,warning"]).arg(packages.dir.join(packages.deb(1).name));
    let output = lintian.output().expect("lintian starts");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
}
