//! axe, which the accessibility test asks: a script that a package on PyPI brings along.

use std::fs;

use anyhow::{Context, Result};

use crate::process::{command, run as run_command, target_dir};

const PACKAGE: &str = "axe-playwright-python==0.1.8";

/// Puts `axe.min.js` into `target/test-env-axe`, unless it is there.
pub(crate) fn install() -> Result<()> {
    let dir = target_dir().join("test-env-axe");
    if dir.join("axe.min.js").is_file() && fs::read_to_string(dir.join("package")).is_ok_and(|text| text == PACKAGE) {
        return Ok(());
    }
    fs::create_dir_all(&dir)?;
    let python = target_dir().join("test-env/venv/bin/python");
    run_command(
        command(python)
            .args(["-m", "pip", "--quiet", "--disable-pip-version-check", "download", "--no-deps", "--dest"])
            .arg(&dir)
            .arg(PACKAGE),
    )
    .context("pip failed: is there a network?")?;
    let wheel = fs::read_dir(&dir)?.flatten().map(|entry| entry.path());
    let wheel = wheel.filter(|path| path.extension().is_some_and(|extension| extension == "whl")).max();
    let wheel = wheel.context("the package with axe came without a wheel")?;
    run_command(command("python3").args(["-m", "zipfile", "-e"]).arg(&wheel).arg(dir.join("unpacked")))?;
    fs::copy(dir.join("unpacked/axe_playwright_python/axe.min.js"), dir.join("axe.min.js"))
        .context("the package has no axe.min.js")?;
    Ok(fs::write(dir.join("package"), PACKAGE)?)
}
