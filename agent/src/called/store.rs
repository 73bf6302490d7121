//! What is known of called-for containers on disk: one small file each, so that they are found again after a restart.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use super::{ContainerPath, Kind, Meta, Termination};

/// What is known of a container, and how it ended if it has.
pub(crate) type Known = (Meta, Option<Termination>);

/// The files, in the runtime directory.
#[derive(Debug)]
pub(crate) struct Store {
    directory: PathBuf,
}

impl Store {
    /// Opens it, with all that is in it; what cannot be read is left alone and told.
    ///
    /// # Errors
    /// When the directory cannot be made or read.
    pub(crate) fn open(runtime_dir: &Path) -> io::Result<(Self, Vec<Known>)> {
        let directory = runtime_dir.join("called");
        fs::create_dir_all(&directory)?;
        let mut found = Vec::new();
        for entry in fs::read_dir(&directory)? {
            let path = entry?.path();
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            match fs::read(&path).ok().as_deref().and_then(read) {
                Some(entry) => found.push(entry),
                None => tracing::warn!(path = %path.display(), "cannot read what is known of a container; passed over"),
            }
        }
        Ok((Self { directory }, found))
    }

    fn file(&self, path: &ContainerPath) -> PathBuf {
        self.directory.join(format!("{}.json", mezzo_executor::io::socket_name(&path.to_string())))
    }

    /// Writes it down in one step.
    pub(super) fn write(&self, meta: &Meta, ended: Option<&Termination>) -> io::Result<()> {
        let file = self.file(&meta.path);
        let temporary = file.with_extension("new");
        fs::write(&temporary, to_json(meta, ended).to_string())?;
        fs::rename(temporary, file)
    }

    /// Forgets it.
    pub(super) fn remove(&self, path: &ContainerPath) -> io::Result<()> {
        match fs::remove_file(self.file(path)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

fn to_json(meta: &Meta, ended: Option<&Termination>) -> Value {
    json!({
        "path": meta.path.parts(),
        "kind": meta.kind.name(),
        "sandbox": meta.sandbox,
        "user": meta.user,
        "ended": ended.map(|ended| json!({"status": ended.status})),
    })
}

fn read(bytes: &[u8]) -> Option<Known> {
    let value: Value = serde_json::from_slice(bytes).ok()?;
    let parts = value["path"].as_array()?.iter().map(|part| part.as_str().map(str::to_owned)).collect::<Option<_>>()?;
    let meta = Meta {
        path: ContainerPath::of_parts(parts)?,
        kind: Kind::of_name(value["kind"].as_str()?)?,
        sandbox: value["sandbox"].as_str()?.into(),
        user: value["user"].as_str().map(str::to_owned),
    };
    let ended = value["ended"].as_object().map(|ended| Termination {
        status: ended.get("status").and_then(Value::as_i64).and_then(|status| status.try_into().ok()),
        limitation: None,
    });
    Some((meta, ended))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_found_again() {
        let directory = tempfile::tempdir().unwrap();
        let (store, found) = Store::open(directory.path()).unwrap();
        assert!(found.is_empty());
        let meta = |name: &str| Meta {
            path: ContainerPath::of_parts(vec!["root".into(), name.into()]).unwrap(),
            kind: Kind::Session,
            sandbox: "/s".into(),
            user: Some("u".into()),
        };
        store.write(&meta("a"), None).unwrap();
        store.write(&meta("b"), None).unwrap();
        store.write(&meta("b"), Some(&Termination { status: Some(256), limitation: None })).unwrap();
        store.write(&meta("c"), None).unwrap();
        store.remove(&meta("c").path).unwrap();
        fs::write(directory.path().join("called/d.json"), "{").unwrap();
        let (_, mut found) = Store::open(directory.path()).unwrap();
        found.sort_by(|one, other| one.0.path.cmp(&other.0.path));
        assert_eq!(found, [(meta("a"), None), (meta("b"), Some(Termination { status: Some(256), limitation: None }))]);
    }
}
