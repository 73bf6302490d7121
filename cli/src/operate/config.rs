//! Which cluster: of a flag, the environment, or a file.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::cluster::ClusterError;
use crate::args::DEFAULT_MASTER;

/// The masters as text: of the flag (or MEZZO_MASTER, which clap reads for it), else of MESOS_MASTER, else of the first
/// file that names some, else on this machine.
pub(super) fn masters(flag: Option<&str>) -> Result<String, ClusterError> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    if let Some(given) = flag.map(str::to_owned).filter(|given| !given.is_empty()).or_else(|| variable("MESOS_MASTER"))
    {
        return Ok(given);
    }
    Ok(first(masters_of)?.unwrap_or_else(|| DEFAULT_MASTER.to_owned()))
}

/// The file with a principal and a secret, of the first file that names one.
pub(crate) fn credential() -> Result<Option<PathBuf>, ClusterError> {
    first(|path, text| {
        let value = table(path, text)?;
        let Some(named) = value.get("credential") else { return Ok(None) };
        let wrong = || ClusterError::Config(format!("{}: credential is no text", path.display()));
        named.as_str().map(|named| Some(PathBuf::from(named))).ok_or_else(wrong)
    })
}

/// What `read` finds in the first file in which it finds something.
fn first<T>(read: impl Fn(&Path, &str) -> Result<Option<T>, ClusterError>) -> Result<Option<T>, ClusterError> {
    for (path, needed) in files() {
        match std::fs::read_to_string(&path) {
            Ok(text) => {
                if let Some(found) = read(&path, &text)? {
                    return Ok(Some(found));
                }
            }
            Err(error) if needed => {
                return Err(ClusterError::Config(format!("{}: {error}", path.display())));
            }
            Err(_) => {}
        }
    }
    Ok(None)
}

/// Where to look, and whether the file must be there.
fn files() -> Vec<(PathBuf, bool)> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = variable("HOME");
    let ours = variable("XDG_CONFIG_HOME").or_else(|| Some(home.as_ref()?.join(".config")));
    let mut files = Vec::new();
    files.extend(variable("MEZZO_CONFIG").map(|path| (path, true)));
    files.extend(ours.map(|directory| (directory.join("mezzo/config.toml"), false)));
    files.extend(variable("MESOS_CLI_CONFIG").map(|path| (path, true)));
    files.extend(home.map(|home| (home.join(".mesos/config.toml"), false)));
    files
}

/// `master = "…"`, or as Mesos' CLI has it: `[master] address`, or `[master.zookeeper] addresses` and `path`.
fn masters_of(path: &Path, text: &str) -> Result<Option<String>, ClusterError> {
    let wrong = |what: &str| ClusterError::Config(format!("{}: {what}", path.display()));
    let value = table(path, text)?;
    let Some(master) = value.get("master") else { return Ok(None) };
    if let Some(text) = master.as_str() {
        return Ok(Some(text.to_owned()));
    }
    if let Some(address) = master.get("address") {
        return address.as_str().map(|text| Some(text.to_owned())).ok_or_else(|| wrong("master.address is no text"));
    }
    let Some(zookeeper) = master.get("zookeeper") else { return Ok(None) };
    let addresses: Vec<&str> =
        zookeeper.get("addresses").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    let node = zookeeper.get("path").and_then(Value::as_str).unwrap_or("/mesos");
    if addresses.is_empty() {
        return Err(wrong("master.zookeeper.addresses names nobody"));
    }
    Ok(Some(format!("zk://{}{node}", addresses.join(","))))
}

fn table(path: &Path, text: &str) -> Result<Value, ClusterError> {
    toml::from_str(text).map_err(|error| ClusterError::Config(format!("{}: {}", path.display(), error.message())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_our_file_and_that_of_mesos_cli() {
        let read = |text: &str| masters_of(Path::new("c.toml"), text);
        assert_eq!(read("master = 'a:1,b:2'").unwrap().as_deref(), Some("a:1,b:2"));
        assert_eq!(read("[master]\naddress = 'a:1'").unwrap().as_deref(), Some("a:1"));
        let zookeeper = "[master.zookeeper]\naddresses = ['z1:2181', 'z2:2181']\npath = '/m'";
        assert_eq!(read(zookeeper).unwrap().as_deref(), Some("zk://z1:2181,z2:2181/m"));
        assert_eq!(read("plugins = []").unwrap(), None);
        for bad in ["master = ", "[master]\naddress = 1", "[master.zookeeper]\naddresses = []"] {
            let error = read(bad).unwrap_err().to_string();
            assert!(error.contains("c.toml"), "{bad}: {error}");
        }
    }
}
