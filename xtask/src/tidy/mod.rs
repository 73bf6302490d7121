//! `cargo xtask tidy`: the habits that no compiler checks.

mod leftovers;
mod lengths;
mod links;
mod manifests;

use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::process::{command, root};

/// A file of the repository, as text.
pub(crate) struct Source {
    /// Path from the top of the repository.
    pub(crate) path: PathBuf,
    /// Its text.
    pub(crate) text: String,
}

/// What tidy found.
#[derive(Default)]
pub(crate) struct Findings {
    /// What must be mended.
    pub(crate) errors: Vec<String>,
    /// What is worth a look.
    pub(crate) notes: Vec<String>,
}

pub(crate) fn run() -> Result<()> {
    let sources = sources()?;
    let mut findings = Findings::default();
    for source in &sources {
        lengths::check(source, &mut findings);
        leftovers::check(source, &mut findings);
        links::check(source, &root(), &mut findings);
    }
    manifests::check(&mut findings)?;
    for note in &findings.notes {
        println!("note: {note}");
    }
    for error in &findings.errors {
        eprintln!("error: {error}");
    }
    if !findings.errors.is_empty() {
        bail!("{} findings in {} files", findings.errors.len(), sources.len());
    }
    println!("tidy: {} files, nothing to mend", sources.len());
    Ok(())
}

/// Every text file that belongs to the repository.
fn sources() -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    for path in paths()? {
        if let Ok(text) = std::fs::read_to_string(root().join(&path)) {
            sources.push(Source { path, text });
        }
    }
    Ok(sources)
}

/// Paths from the top: what git tracks or would track, or everything but `target` where there is no git.
fn paths() -> Result<Vec<PathBuf>> {
    let listed = command("git").args(["ls-files", "--cached", "--others", "--exclude-standard", "-z"]).output();
    if let Some(output) = listed.ok().filter(|output| output.status.success()) {
        let names = String::from_utf8(output.stdout)?;
        return Ok(names.split('\0').filter(|name| !name.is_empty()).map(PathBuf::from).collect());
    }
    let walk = walkdir::WalkDir::new(root())
        .into_iter()
        .filter_entry(|entry| !matches!(entry.file_name().to_str(), Some("target" | ".git")));
    let files = walk.flatten().filter(|entry| entry.file_type().is_file());
    Ok(files.filter_map(|entry| entry.path().strip_prefix(root()).ok().map(PathBuf::from)).collect())
}
