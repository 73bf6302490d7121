//! Links between documents: each must lead to a file, and to a heading in it.

use std::path::Path;

use super::{Findings, Source};

pub(super) fn check(source: &Source, root: &Path, findings: &mut Findings) {
    let path = source.path.to_string_lossy();
    if !path.ends_with(".md") {
        return;
    }
    for (line, target) in links(&source.text) {
        if let Err(what) = resolve(&source.path, &target, root) {
            findings.errors.push(format!("{path}:{line} the link `{target}` leads nowhere: {what}"));
        }
    }
}

/// Targets of `[text](target)` outside code, with their line.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut links = Vec::new();
    let mut in_code = false;
    for (index, line) in text.lines().enumerate() {
        in_code ^= line.trim_start().starts_with("```");
        if in_code {
            continue;
        }
        for part in line.split("](").skip(1) {
            if let Some((target, _)) = part.split_once(')') {
                links.push((index + 1, target.split(' ').next().unwrap_or_default().to_owned()));
            }
        }
    }
    links
}

fn resolve(from: &Path, target: &str, root: &Path) -> Result<(), String> {
    if target.contains("://") || target.starts_with("mailto:") {
        return Ok(());
    }
    let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
    let path =
        if file.is_empty() { root.join(from) } else { root.join(from.parent().unwrap_or(Path::new(""))).join(file) };
    if !path.exists() {
        return Err("there is no such file".to_owned());
    }
    if anchor.is_empty() || path.extension().is_none_or(|extension| extension != "md") {
        return Ok(());
    }
    let text = std::fs::read_to_string(&path).map_err(|error| error.to_string())?;
    let headings = text.lines().filter(|line| line.starts_with('#')).map(anchor_of);
    if headings.into_iter().any(|heading| heading == anchor) {
        Ok(())
    } else {
        Err("there is no such heading".to_owned())
    }
}

/// The anchor that a Markdown renderer gives a heading.
fn anchor_of(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    text.chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_in_code_are_none() {
        let text = "see [a](b.md#c) and [d](https://e)\n```\n[f](g)\n```\n";
        assert_eq!(links(text), [(1, "b.md#c".to_owned()), (1, "https://e".to_owned())]);
    }

    #[test]
    fn a_link_to_nowhere_is_an_error() {
        let root = crate::process::root();
        assert!(resolve(Path::new("README.md"), "docs/architecture.md", &root).is_ok());
        assert!(resolve(Path::new("docs/architecture.md"), "../README.md", &root).is_ok());
        assert!(resolve(Path::new("README.md"), "docs/none.md", &root).is_err());
        assert!(resolve(Path::new("README.md"), "docs/architecture.md#no-such-heading", &root).is_err());
        assert_eq!(anchor_of("## The agent's *rhythm*"), "the-agents-rhythm");
    }
}
