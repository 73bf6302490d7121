//! Programs of this version and of the one before it (`cargo xtask last-version`).

use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::environment;
use crate::part::Part;

/// Which programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// The version before this one.
    Last,
    /// The one under test.
    This,
}

/// Both versions' programs.
#[derive(Clone, Debug)]
pub struct Versions {
    last: PathBuf,
}

impl Versions {
    /// Both, from `MEZZO_OLD_BIN_DIR` or where `cargo xtask last-version` puts them; none, with a loud word, where the last
    /// version is not built.
    ///
    /// # Panics
    /// Where `CI` is set and it is not built.
    #[must_use]
    pub fn both() -> Option<Self> {
        let given = std::env::var_os("MEZZO_OLD_BIN_DIR").map(PathBuf::from);
        let built = || environment::bin_dir().parent().map(|target| target.join("last-version/bin"));
        let last = given.or_else(built)?;
        if !last.join("mezzo-agent").exists() {
            environment::skip("the last version's programs are not built: run `cargo xtask last-version`");
            return None;
        }
        Some(Self { last })
    }

    /// Where the last version's programs are.
    #[must_use]
    pub fn last_bin_dir(&self) -> PathBuf {
        self.last.clone()
    }

    /// The program of that version.
    #[must_use]
    pub fn program(&self, name: &str, version: Version) -> PathBuf {
        match version {
            Version::Last => self.last.join(name),
            Version::This => environment::binary(name),
        }
    }

    /// As a package does it: `part` is asked to end, and starts as the program `name` of that version.
    ///
    /// # Panics
    /// When it does not end.
    pub fn replace(&self, part: &mut Part, name: &str, version: Version) {
        part.signal(Signal::SIGTERM);
        part.wait(Duration::from_secs(20)).unwrap_or_else(|| panic!("{name} does not end when it is asked to"));
        part.kill();
        part.set_program(self.program(name, version));
        part.start();
    }
}
