//! The bill of materials: every crate that is in the programs, as CycloneDX 1.5, from what cargo itself resolved.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Identity;
use crate::process::cargo;

/// The crates whose programs are packed.
const ROOTS: [&str; 2] = ["mezzo-cli", "mezzo-executor"];

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    repository: Option<String>,
    source: Option<String>,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<Kind>,
}

#[derive(Deserialize)]
struct Kind {
    kind: Option<String>,
}

pub(super) fn write(path: &Path, identity: &Identity) -> Result<()> {
    let output = cargo()
        .args(["metadata", "--format-version", "1", "--locked", "--filter-platform"])
        .arg(format!("{}-unknown-linux-gnu", std::env::consts::ARCH))
        .output()
        .context("cannot start cargo")?;
    if !output.status.success() {
        bail!("cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    let metadata: Metadata = serde_json::from_slice(&output.stdout).context("cargo metadata is not understood")?;
    let lock = fs::read_to_string(crate::process::root().join("Cargo.lock"))?;
    let lock: Lock = toml::from_str(&lock).context("Cargo.lock is not understood")?;
    let text = serde_json::to_string_pretty(&document(&metadata, &lock, identity))?;
    Ok(fs::write(path, text + "\n")?)
}

#[derive(Deserialize)]
struct Lock {
    package: Vec<Locked>,
}

#[derive(Deserialize)]
struct Locked {
    name: String,
    version: String,
    checksum: Option<String>,
}

fn document(metadata: &Metadata, lock: &Lock, identity: &Identity) -> Value {
    let packages: BTreeMap<&str, &Package> =
        metadata.packages.iter().map(|package| (package.id.as_str(), package)).collect();
    let edges: BTreeMap<&str, Vec<&str>> =
        metadata.resolve.nodes.iter().map(|node| (node.id.as_str(), linked(node))).collect();
    let sums: BTreeMap<(&str, &str), &str> = lock
        .package
        .iter()
        .filter_map(|locked| Some(((locked.name.as_str(), locked.version.as_str()), locked.checksum.as_deref()?)))
        .collect();
    let reached = reached(metadata, &edges);
    let mut components: Vec<&Package> = reached.iter().filter_map(|id| packages.get(id).copied()).collect();
    components.sort_by(|one, other| (&one.name, &one.version).cmp(&(&other.name, &other.version)));
    let name_of = |id: &str| packages.get(id).map(|package| reference(package));
    let dependencies: Vec<Value> = reached
        .iter()
        .filter_map(|id| {
            let on: Vec<String> = edges.get(id)?.iter().filter_map(|id| name_of(id)).collect();
            Some(json!({"ref": name_of(id)?, "dependsOn": on}))
        })
        .collect();
    json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": format!("pkg:deb/mezzo@{}", identity.version),
                "name": "mezzo",
                "version": identity.version,
                "licenses": [{"license": {"id": "Apache-2.0"}}],
            },
        },
        "components": components.iter().map(|package| component(package, &sums)).collect::<Vec<_>>(),
        "dependencies": dependencies,
    })
}

/// What a crate's code ends up in a program with it: neither tests nor what only builds.
fn linked(node: &Node) -> Vec<&str> {
    let normal = |dependency: &&Dependency| dependency.dep_kinds.iter().any(|kind| kind.kind.is_none());
    node.deps.iter().filter(normal).map(|dependency| dependency.pkg.as_str()).collect()
}

fn reached<'a>(metadata: &'a Metadata, edges: &BTreeMap<&'a str, Vec<&'a str>>) -> BTreeSet<&'a str> {
    let roots = metadata.packages.iter().filter(|package| ROOTS.contains(&package.name.as_str()));
    let mut open: Vec<&str> = roots.map(|package| package.id.as_str()).collect();
    let mut reached = BTreeSet::new();
    while let Some(id) = open.pop() {
        if reached.insert(id) {
            open.extend(edges.get(id).into_iter().flatten());
        }
    }
    reached
}

fn reference(package: &Package) -> String {
    format!("pkg:cargo/{}@{}", package.name, package.version)
}

fn component(package: &Package, sums: &BTreeMap<(&str, &str), &str>) -> Value {
    let mut component = json!({
        "type": "library",
        "bom-ref": reference(package),
        "name": package.name,
        "version": package.version,
        "purl": reference(package),
    });
    if let Some(license) = &package.license {
        // CycloneDX wants SPDX expressions; crates may still write / for OR.
        component["licenses"] = json!([{"expression": license.replace('/', " OR ")}]);
    }
    if let Some(sum) =
        package.source.as_ref().and_then(|_| sums.get(&(package.name.as_str(), package.version.as_str())))
    {
        component["hashes"] = json!([{"alg": "SHA-256", "content": sum}]);
    }
    if let Some(repository) = &package.repository {
        component["externalReferences"] = json!([{"type": "vcs", "url": repository}]);
    }
    component
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_what_is_linked_and_nothing_else() {
        let package = |name: &str, source: Option<&str>| Package {
            id: name.to_owned(),
            name: name.to_owned(),
            version: "1.0.0".to_owned(),
            license: Some("MIT/Apache-2.0".to_owned()),
            repository: None,
            source: source.map(str::to_owned),
        };
        let dependency = |name: &str, kind: Option<&str>| Dependency {
            pkg: name.to_owned(),
            dep_kinds: vec![Kind { kind: kind.map(str::to_owned) }],
        };
        let deps =
            vec![dependency("used", None), dependency("tested", Some("dev")), dependency("built", Some("build"))];
        let metadata = Metadata {
            packages: vec![package("mezzo-cli", None), package("used", Some("r")), package("tested", Some("r"))],
            resolve: Resolve { nodes: vec![Node { id: "mezzo-cli".to_owned(), deps }] },
        };
        let checksum = Some("abc".to_owned());
        let lock = Lock { package: vec![Locked { name: "used".to_owned(), version: "1.0.0".to_owned(), checksum }] };
        let identity = Identity { version: "1-1".to_owned(), architecture: "amd64", date: 0 };
        let document = document(&metadata, &lock, &identity);
        let names: Vec<_> = document["components"].as_array().unwrap().iter().map(|one| one["name"].clone()).collect();
        assert_eq!(names, ["mezzo-cli", "used"]);
        assert_eq!(document["components"][1]["hashes"][0]["content"], "abc");
        assert_eq!(document["components"][1]["licenses"][0]["expression"], "MIT OR Apache-2.0");
        assert_eq!(document["dependencies"][0]["dependsOn"], json!(["pkg:cargo/used@1.0.0"]));
    }
}
