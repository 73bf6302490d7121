//! What this machine has, and what is done where something is missing.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Says loudly that a test cannot run here. Where `CI` is set nothing may be skipped.
///
/// # Panics
/// Where `CI` is set.
pub fn skip(why: &str) {
    let continuous_integration =
        std::env::var("CI").is_ok_and(|value| !value.is_empty() && value != "false" && value != "0");
    assert!(!continuous_integration, "this test cannot run here, and under CI none may be skipped: {why}");
    let name = std::thread::current().name().unwrap_or("a test").to_owned();
    eprintln!("\n!!! SKIPPED {name}: {why}\n");
}

/// Where the binaries under test are: `MEZZO_BIN_DIR`, or beside this test.
///
/// # Panics
/// When the test's own place is unknown.
#[must_use]
pub fn bin_dir() -> PathBuf {
    if let Some(dir) = std::env::var_os("MEZZO_BIN_DIR") {
        return PathBuf::from(dir);
    }
    let test = std::env::current_exe().expect("the test must know where it is");
    let dir = test.parent().unwrap_or(Path::new("."));
    if dir.ends_with("deps") { dir.parent().unwrap_or(dir).to_path_buf() } else { dir.to_path_buf() }
}

/// The path of a binary under test.
///
/// # Panics
/// When it has not been built.
#[must_use]
pub fn binary(name: &str) -> PathBuf {
    let path = bin_dir().join(name);
    assert!(
        path.is_file(),
        "{} is not built: run `cargo build --bins` with the profile of this test first",
        path.display()
    );
    path
}

/// The directory of a crate's tests data, `tests/<name>`.
#[must_use]
pub fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// A Python that has pymesos, from `cargo xtask setup`.
#[must_use]
pub fn python() -> Option<PathBuf> {
    let target = bin_dir().parent().map(Path::to_path_buf)?;
    let python =
        std::env::var_os("MEZZO_TEST_PYTHON").map_or_else(|| target.join("test-env/venv/bin/python"), PathBuf::from);
    runs(&python, &["-c", "import pymesos"]).then_some(python)
}

/// A browser.
#[must_use]
pub fn browser() -> Option<PathBuf> {
    ["chromium", "chromium-browser"].iter().map(PathBuf::from).find(|name| runs(name, &["--version"]))
}

/// The script of axe, which finds what a page keeps from people who cannot see it or use a mouse; from `cargo xtask setup`.
#[must_use]
pub fn axe() -> Option<String> {
    std::fs::read_to_string(bin_dir().parent()?.join("test-env-axe/axe.min.js")).ok()
}

/// Whether this process may do everything.
#[must_use]
pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

fn runs(program: &Path, arguments: &[&str]) -> bool {
    Command::new(program)
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
