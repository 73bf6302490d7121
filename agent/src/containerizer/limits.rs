//! Why containers are being ended, kept until their end is told: an agent that dies between the one and the other would
//! not know any more. A file for each, in the runtime directory: the part of a TaskStatus that tells it.

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
};

use mezzo_agent_core::isolation::Limitation;
use mezzo_api::v1::{self, task_status::Reason};
use prost::Message;

/// Those that were written down.
#[derive(Debug)]
pub(super) struct Limits {
    directory: PathBuf,
}

impl Limits {
    /// Of this runtime directory.
    pub(super) fn new(runtime_dir: &Path) -> Self {
        Self { directory: runtime_dir.join("limits") }
    }

    /// A container is about to be ended for this.
    pub(super) fn write(&self, container: &str, limitation: &Limitation) -> io::Result<()> {
        let Limitation { reason, message, resources } = limitation.clone();
        let status = v1::TaskStatus {
            reason: Some(reason as i32),
            message: Some(message),
            limitation: Some(v1::TaskResourceLimitation { resources }),
            ..v1::TaskStatus::default()
        };
        fs::create_dir_all(&self.directory)?;
        let new = self.directory.join(format!("{container}.new"));
        fs::write(&new, status.encode_to_vec())?;
        fs::rename(new, self.directory.join(container))
    }

    /// Its end is known for good.
    pub(super) fn remove(&self, container: &str) {
        match fs::remove_file(self.directory.join(container)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(container, "cannot forget why a container was ended: {error}");
            }
            _ => {}
        }
    }

    /// What an earlier agent has left; those of containers that are not `known` are removed.
    pub(super) fn take(&self, known: impl Fn(&str) -> bool) -> HashMap<String, Limitation> {
        let mut found = HashMap::new();
        for entry in fs::read_dir(&self.directory).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let status = fs::read(entry.path()).ok().and_then(|bytes| v1::TaskStatus::decode(bytes.as_slice()).ok());
            match status.and_then(read).filter(|_| known(&name)) {
                Some(limitation) => {
                    found.insert(name, limitation);
                }
                None => self.remove(&name),
            }
        }
        found
    }
}

fn read(status: v1::TaskStatus) -> Option<Limitation> {
    let reason = Reason::try_from(status.reason?).ok()?;
    Some(Limitation { reason, message: status.message?, resources: status.limitation?.resources })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_found_once_its_container_is() {
        let directory = tempfile::tempdir().unwrap();
        let limits = Limits::new(directory.path());
        let disk = v1::Resource {
            name: "disk".into(),
            scalar: Some(v1::value::Scalar { value: 64.0 }),
            ..v1::Resource::default()
        };
        let limitation =
            Limitation { reason: Reason::ContainerLimitationDisk, message: "too much".into(), resources: vec![disk] };
        limits.write("a", &limitation).unwrap();
        limits.write("gone", &limitation).unwrap();
        fs::write(directory.path().join("limits/b"), "{").unwrap();
        let found = limits.take(|name| name != "gone");
        assert_eq!(found.into_iter().collect::<Vec<_>>(), [("a".to_owned(), limitation)]);
        assert_eq!(fs::read_dir(directory.path().join("limits")).unwrap().count(), 1);
        limits.remove("a");
        limits.remove("a");
        assert!(limits.take(|_| true).is_empty());
    }
}
