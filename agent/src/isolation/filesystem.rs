//! `filesystem/linux`: mounts of a container's own, its volumes among them (src/slave/containerizer/mesos/isolators/volume/).

use std::{
    fs,
    path::{Component, Path, PathBuf},
};

use mezzo_api::v1::{self, volume::source};
use mezzo_executor::jail::{Jail, Mount, Namespace, Source, Target};

use super::{Isolator, Launch, Wanted};

#[derive(Debug)]
pub(super) struct Filesystem {
    /// Missing host paths below are made.
    made: Vec<PathBuf>,
}

impl Filesystem {
    pub(super) fn new(made: &[PathBuf]) -> Self {
        Self { made: made.to_vec() }
    }

    fn volume(&self, wanted: Wanted<'_>, volume: &v1::Volume) -> Result<Mount, String> {
        let name = &volume.container_path;
        let source = match (&volume.source, &volume.host_path) {
            (Some(source), _) => self.source(wanted, name, source)?,
            (None, Some(path)) => self.host_path(wanted, path)?,
            (None, None) => return Err(format!("Volume '{name}' has neither source nor host_path")),
        };
        let read_only = volume.mode == v1::volume::Mode::Ro as i32;
        Ok(Mount { source, target: target(name)?, read_only })
    }

    fn source(&self, wanted: Wanted<'_>, name: &str, source: &v1::volume::Source) -> Result<Source, String> {
        match source.r#type() {
            source::Type::HostPath => {
                let path = source.host_path.as_ref().ok_or_else(|| format!("Volume '{name}' has no host_path"))?;
                self.host_path(wanted, &path.path)
            }
            source::Type::SandboxPath => {
                let path = source.sandbox_path.as_ref();
                let path = path.ok_or_else(|| format!("Volume '{name}' has no sandbox_path"))?;
                let base = match (path.r#type(), &wanted.launch.nested) {
                    (source::sandbox_path::Type::Parent, Some(nested)) => nested.parent.clone(),
                    (source::sandbox_path::Type::Parent, None) => {
                        return Err("SANDBOX_PATH volume PARENT type only works for nested container".into());
                    }
                    _ => wanted.launch.sandbox.clone(),
                };
                if Path::new(&path.path).is_absolute() {
                    return Err(format!("Path '{}' in SANDBOX_PATH volume is absolute", path.path));
                }
                Ok(Source::Bind { base, below: within(&path.path)? })
            }
            other => {
                Err(format!("Volume '{name}' has a source of type {}, which is not supported", other.as_str_name()))
            }
        }
    }

    fn host_path(&self, wanted: Wanted<'_>, path: &str) -> Result<Source, String> {
        let host = Path::new(path);
        if !host.is_absolute() {
            return Ok(Source::Bind { base: wanted.launch.sandbox.clone(), below: within(path)? });
        }
        if !host.exists() {
            let climbs = host.components().any(|part| part == Component::ParentDir);
            if climbs || !self.made.iter().any(|made| host.starts_with(made)) {
                return Err(format!(
                    "Path '{path}' in HOST_PATH volume does not exist: make it, or name a directory above it with \
                     --host_path_volume_force_creation"
                ));
            }
            fs::create_dir_all(host).map_err(|error| format!("Failed to make the host path '{path}': {error}"))?;
        }
        Ok(Source::Bind { base: host.to_path_buf(), below: PathBuf::new() })
    }
}

/// Where a container path is.
fn target(path: &str) -> Result<Target, String> {
    if Path::new(path).is_absolute() {
        let climbs = Path::new(path).components().any(|part| part == Component::ParentDir);
        if climbs {
            return Err(format!("The container path '{path}' of a volume must not climb with '..'"));
        }
        return Ok(Target::Root(path.into()));
    }
    Ok(Target::Sandbox(within(path)?))
}

/// A relative path that leads nowhere else.
fn within(path: &str) -> Result<PathBuf, String> {
    let inside = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
    if path.is_empty() || !Path::new(path).components().all(inside) {
        return Err(format!("The path '{path}' of a volume must lie in the sandbox"));
    }
    Ok(path.into())
}

impl Isolator for Filesystem {
    fn suits(&self, launch: &Launch, jail: &Jail) -> bool {
        launch.enter.is_none() || jail.root.is_some()
    }

    fn prepare(&self, wanted: Wanted<'_>, jail: &mut Jail) -> Result<(), String> {
        jail.namespaces.push(Namespace::Mount);
        for volume in &wanted.launch.volumes {
            jail.mounts.push(Mount {
                source: Source::Bind { base: volume.source.clone(), below: PathBuf::new() },
                target: target(&volume.container_path)?,
                read_only: volume.read_only,
            });
        }
        for volume in wanted.isolation.info.as_ref().map_or(&[][..], |info| &info.volumes) {
            jail.mounts.push(self.volume(wanted, volume)?);
        }
        Ok(())
    }
}
