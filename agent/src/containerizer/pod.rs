//! Sandboxes of pods: each task's lies within its executor's, and shares directories of it.

use std::path::Path;

use mezzo_agent_core::container::{Nested, SandboxVolume};
use mezzo_executor::{
    frame::Credentials,
    sandbox::{self, SandboxError},
};

use crate::fetcher::{rights, tree::Tree};

/// Makes the executor's sandbox if it is not there, in it that of the task, and `tasks/<id>` that points to it.
pub(super) fn make_sandboxes(
    nested: &Nested,
    own: &Path,
    parent_owner: Option<(u32, u32)>,
    owner: Option<(u32, u32)>,
) -> Result<(), SandboxError> {
    let parent = sandbox::create(&nested.parent, parent_owner)?;
    parent.open_output("stdout", parent_owner)?;
    parent.open_output("stderr", parent_owner)?;
    let name = own.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    parent.create_within("containers", &name, owner)?;
    // Ids with a slash have no link, as they have none in Mesos.
    if !nested.task.contains('/') {
        parent.link_within("tasks", &nested.task, own)?;
    }
    Ok(())
}

/// Makes the directories that a task shares with its executor, with the rights of their owners.
pub(super) async fn share(
    nested: &Nested,
    own: &Path,
    parent: Option<Credentials>,
    credentials: Option<Credentials>,
) -> Result<(), String> {
    let failed =
        |what: &Path, error: std::io::Error| format!("cannot share '{}' with the task: {error}", what.display());
    for SandboxVolume { source, target } in &nested.volumes {
        let (root, path) = (nested.parent.clone(), source.clone());
        rights::with(parent.clone(), move || {
            let tree = Tree::open(&root)?;
            if tree.exists(&path)? { Ok(()) } else { tree.make_directories(&path) }
        })
        .await
        .flatten()
        .map_err(|error| failed(source, error))?;
        let (root, path, full) = (own.to_path_buf(), target.clone(), nested.parent.join(source));
        rights::with(credentials.clone(), move || {
            let tree = Tree::open(&root)?;
            if let Some(parent) = path.parent() {
                tree.make_directories(parent)?;
            }
            tree.symlink(&full, &path)
        })
        .await
        .flatten()
        .map_err(|error| failed(target, error))?;
    }
    Ok(())
}
