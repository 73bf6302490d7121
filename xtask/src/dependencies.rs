//! What comes in from outside: licences, banned crates and sources as `deny.toml` has them. cargo-deny judges where it is
//! installed; elsewhere the same rules are read here, so that no machine lets pass what another refuses.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::process::{cargo, root, run as run_command, succeeds};

#[derive(Deserialize)]
struct Rules {
    licenses: Licenses,
    bans: Bans,
    sources: Sources,
}

#[derive(Deserialize)]
struct Licenses {
    allow: BTreeSet<String>,
}

#[derive(Deserialize)]
struct Bans {
    deny: Vec<Ban>,
}

#[derive(Deserialize)]
struct Ban {
    #[serde(rename = "crate")]
    name: String,
    reason: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Sources {
    allow_registry: BTreeSet<String>,
}

/// What `cargo metadata` says, as far as it matters here.
#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    license: Option<String>,
    source: Option<String>,
}

pub(crate) fn check() -> Result<()> {
    if succeeds(cargo().args(["deny", "--version"])) {
        return run_command(cargo().args(["deny", "check", "bans", "licenses", "sources"]));
    }
    let path = root().join("deny.toml");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let rules: Rules = toml::from_str(&text).with_context(|| format!("{} cannot be read", path.display()))?;
    let output = cargo().args(["metadata", "--format-version", "1", "--locked"]).output()?;
    if !output.status.success() {
        bail!("cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    let metadata: Metadata = serde_json::from_slice(&output.stdout).context("cargo metadata is not understood")?;
    let wrong: Vec<String> = metadata.packages.iter().filter_map(|package| refusal(package, &rules)).collect();
    if !wrong.is_empty() {
        bail!("deny.toml does not allow:\n  {}", wrong.join("\n  "));
    }
    println!("{} packages are as deny.toml wants them", metadata.packages.len());
    Ok(())
}

/// What the rules have against a package, if anything.
fn refusal(package: &Package, rules: &Rules) -> Option<String> {
    let Package { name, version, .. } = package;
    if let Some(ban) = rules.bans.deny.iter().find(|ban| ban.name == *name) {
        return Some(format!("{name} {version} is banned: {}", ban.reason));
    }
    let registry = package.source.as_ref()?; // a crate of this workspace
    if registry.strip_prefix("registry+").is_none_or(|url| !rules.sources.allow_registry.contains(url)) {
        return Some(format!("{name} {version} comes from {registry}"));
    }
    match &package.license {
        None => Some(format!("{name} {version} does not say its licence")),
        Some(license) if allowed(license, &rules.licenses.allow) => None,
        Some(license) => Some(format!("{name} {version} is under {license}")),
    }
}

/// Whether an SPDX expression can be met with the licences of the list. `/` is the old spelling of OR.
fn allowed(expression: &str, list: &BTreeSet<String>) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let mut words = spaced.split_whitespace().peekable();
    let met = any(&mut words, list);
    met && words.next().is_none()
}

type Words<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

fn any(words: &mut Words<'_>, list: &BTreeSet<String>) -> bool {
    let mut met = all(words, list);
    while words.next_if_eq(&"OR").is_some() {
        met |= all(words, list);
    }
    met
}

fn all(words: &mut Words<'_>, list: &BTreeSet<String>) -> bool {
    let mut met = one(words, list);
    while words.next_if_eq(&"AND").is_some() {
        met &= one(words, list);
    }
    met
}

fn one(words: &mut Words<'_>, list: &BTreeSet<String>) -> bool {
    match words.next() {
        Some("(") => {
            let met = any(words, list);
            words.next_if_eq(&")").is_some() && met
        }
        Some(name) => match words.next_if_eq(&"WITH").and_then(|_| words.next()) {
            Some(exception) => list.contains(&format!("{name} WITH {exception}")),
            None => list.contains(name.strip_suffix('+').unwrap_or(name)), // a later version may be chosen, not must
        },
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_licence_expressions() {
        let list = ["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"].map(str::to_owned).into();
        for (expression, met) in [
            ("MIT", true),
            ("GPL-3.0", false),
            ("MIT OR GPL-3.0", true),
            ("MIT/GPL-3.0", true),
            ("MIT AND GPL-3.0", false),
            ("(MIT OR GPL-3.0) AND ISC", true),
            ("(MIT OR ISC) AND GPL-3.0", false),
            ("Apache-2.0 WITH LLVM-exception", true),
            ("Apache-2.0", false),
            ("MIT ISC", false),
            ("ISC+", true),
            ("(MIT", false),
            ("", false),
        ] {
            assert_eq!(allowed(expression, &list), met, "{expression}");
        }
    }

    #[test]
    fn says_what_is_wrong_with_a_package() {
        let rules = Rules {
            licenses: Licenses { allow: ["MIT".to_owned()].into() },
            bans: Bans { deny: vec![Ban { name: "openssl".to_owned(), reason: "TLS is rustls".to_owned() }] },
            sources: Sources { allow_registry: ["https://good".to_owned()].into() },
        };
        let package = |name: &str, license: Option<&str>, source: Option<&str>| Package {
            name: name.to_owned(),
            version: "1.0.0".to_owned(),
            license: license.map(str::to_owned),
            source: source.map(str::to_owned),
        };
        let good = Some("registry+https://good");
        for (package, expected) in [
            (package("a", Some("MIT"), good), None),
            (package("ours", None, None), None),
            (package("openssl", Some("MIT"), good), Some("banned: TLS is rustls")),
            (package("a", Some("MIT"), Some("git+https://good")), Some("comes from git+")),
            (package("a", Some("GPL-3.0"), good), Some("under GPL-3.0")),
            (package("a", None, good), Some("does not say")),
        ] {
            let refusal = refusal(&package, &rules);
            match expected {
                None => assert_eq!(refusal, None),
                Some(part) => assert!(refusal.as_ref().is_some_and(|text| text.contains(part)), "{refusal:?}"),
            }
        }
    }
}
