//! What every crate's manifest must say.

use anyhow::{Context, Result};
use serde_json::Value;

use super::Findings;
use crate::process::cargo;

pub(super) fn check(findings: &mut Findings) -> Result<()> {
    let output = cargo()
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .output()
        .context("cannot run cargo metadata")?;
    let metadata: Value = serde_json::from_slice(&output.stdout).context("cargo metadata gave no JSON")?;
    for package in metadata["packages"].as_array().into_iter().flatten() {
        findings.errors.extend(missing(package));
    }
    Ok(())
}

fn missing(package: &Value) -> Vec<String> {
    let name = package["name"].as_str().unwrap_or("?");
    let empty = |field: &&&str| package[**field].as_str().is_none_or(str::is_empty);
    ["description", "license", "rust_version"]
        .iter()
        .filter(empty)
        .map(|field| format!("crate {name} has no {field}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crate_without_description_is_found() {
        let good =
            serde_json::json!({"name": "a", "description": "A thing", "license": "Apache-2.0", "rust_version": "1.90"});
        assert!(missing(&good).is_empty());
        let bad =
            serde_json::json!({"name": "a", "description": null, "license": "Apache-2.0", "rust_version": "1.90"});
        assert_eq!(missing(&bad), ["crate a has no description"]);
    }
}
