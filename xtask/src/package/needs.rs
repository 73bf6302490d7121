//! What programs need of the machine that they run on: read out of them, not believed.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::process::command;

/// What is needed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Needs {
    /// The C library's version, its minor number; none where it is linked in.
    glibc: Option<u32>,
    libgcc: bool,
}

impl Needs {
    /// As a Debian package depends on it.
    pub(super) fn depends(&self) -> String {
        let glibc = self.glibc.map(|minor| format!("libc6 (>= 2.{minor})"));
        let libgcc = self.libgcc.then(|| "libgcc-s1".to_owned());
        glibc.into_iter().chain(libgcc).collect::<Vec<_>>().join(", ")
    }

    pub(super) fn sentence(&self) -> String {
        match self.depends() {
            none if none.is_empty() => "nothing, they are static".to_owned(),
            depends => depends,
        }
    }
}

/// Of all of these programs together.
pub(super) fn of(programs: &[PathBuf]) -> Result<Needs> {
    let mut needs = Needs::default();
    for program in programs {
        let output = command("ldd").arg(program).output().context("cannot start ldd")?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        for library in libraries(&said) {
            match library.as_str() {
                "libc.so.6" | "libm.so.6" => {
                    let bytes = fs::read(program).with_context(|| program.display().to_string())?;
                    needs.glibc = needs.glibc.max(Some(newest_glibc(&bytes)));
                }
                "libgcc_s.so.1" => needs.libgcc = true,
                other => bail!("{} needs {other}: which package has it is not known here", program.display()),
            }
        }
    }
    Ok(needs)
}

/// Runs the program in the root `empty`, where nothing else is: what is called static is tried. Needs no rights where the kernel
/// lets users have namespaces.
pub(super) fn runs_alone(program: &Path, empty: &Path, argument: &str) -> Result<()> {
    fs::create_dir_all(empty)?;
    let name = program.file_name().context("a program has a name")?;
    fs::copy(program, empty.join(name)).with_context(|| format!("cannot copy {}", program.display()))?;
    let mut unshare = command("unshare");
    unshare.args(["--user", "--map-root-user", "chroot"]).arg(empty).arg(Path::new("/").join(name)).arg(argument);
    let output = unshare.output().context("cannot start unshare (package util-linux)")?;
    fs::remove_dir_all(empty)?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        bail!("{} does not run where there is nothing else: {}", program.display(), why.trim());
    }
    Ok(())
}

/// Names of shared libraries in what ldd says, but for the kernel's and the loader.
fn libraries(said: &str) -> BTreeSet<String> {
    let names = said.lines().filter_map(|line| line.split_whitespace().next());
    names
        .filter(|name| name.contains(".so") && !name.starts_with('/') && !name.starts_with("linux-"))
        .map(str::to_owned)
        .collect()
}

/// The newest version of the C library whose symbols a program names: GLIBC_2.<this>.
fn newest_glibc(program: &[u8]) -> u32 {
    const MARK: &[u8] = b"\0GLIBC_2.";
    let found = program.windows(MARK.len()).enumerate().filter(|(_, window)| *window == MARK).map(|(at, _)| {
        let digits = program[at + MARK.len()..].iter().take_while(|byte| byte.is_ascii_digit());
        digits.fold(0, |number: u32, digit| number.saturating_mul(10).saturating_add(u32::from(digit - b'0')))
    });
    found.max().unwrap_or(17)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A static program that every Debian test machine has, and one that is none.
    #[test]
    fn a_program_that_is_not_static_does_not_run_alone() {
        let (busybox, dynamic) = (Path::new("/bin/busybox"), Path::new("/bin/true"));
        let empty = std::env::temp_dir().join(format!("mezzo-empty-{}", std::process::id()));
        if Path::new("/usr/share/doc/busybox-static").exists() && runs_alone(busybox, &empty, "true").is_err() {
            eprintln!("!!! SKIPPED: users have no namespaces here");
            return;
        }
        let error = runs_alone(dynamic, &empty, "--version").unwrap_err().to_string();
        assert!(error.contains("does not run where there is nothing else"), "{error}");
    }

    #[test]
    fn reads_what_ldd_says() {
        let said = "\tlinux-vdso.so.1 (0x1)\n\tlibgcc_s.so.1 => /lib/libgcc_s.so.1 (0x2)\n\tlibc.so.6 => /lib/libc.so.6\n\
                    \t/lib64/ld-linux-x86-64.so.2 (0x3)\n";
        assert_eq!(libraries(said).into_iter().collect::<Vec<_>>(), ["libc.so.6", "libgcc_s.so.1"]);
        assert!(libraries("\tstatically linked\n").is_empty());
        assert_eq!(newest_glibc(b"x\0GLIBC_2.4\0GLIBC_2.34\0GLIBC_2.3.4\0"), 34);
        assert_eq!(Needs { glibc: Some(34), libgcc: true }.depends(), "libc6 (>= 2.34), libgcc-s1");
        assert_eq!(Needs::default().sentence(), "nothing, they are static");
    }
}
