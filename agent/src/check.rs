//! What would keep an agent from starting, as far as that can be told beforehand.

use std::path::Path;

use crate::{containerizer, detect, flags::Flags};

/// Everything that is wrong with what these flags say, a sentence for each.
#[must_use]
pub fn problems(flags: &Flags) -> Vec<String> {
    let mut problems = Vec::new();
    let work_dir = existing(&flags.work_dir);
    if let Err(error) = detect::resources(flags.resources.as_deref(), &flags.default_role, work_dir) {
        problems.push(format!("--resources: {error}"));
    }
    if let Some(Err(error)) = flags.attributes.as_deref().map(detect::attributes) {
        problems.push(format!("--attributes: {error}"));
    }
    let domain =
        mezzo_server::flags::fault_domain(flags.domain.as_ref(), flags.region.as_deref(), flags.zone.as_deref());
    if let Err(error) = domain {
        problems.push(error.to_string());
    }
    if let Err(error) = containerizer::find_executor(flags.launcher_dir.as_deref()) {
        problems.push(error.to_string());
    }
    problems
}

/// The directory, or the nearest one above it that is there.
fn existing(path: &Path) -> &Path {
    path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"))
}
