//! Persistent volumes: where their data are, and what is to be done there (src/slave/paths.cpp,
//! getPersistentVolumePath). Data of a volume are deleted when an operation destroys it, and never otherwise.

use std::path::{Path, PathBuf};

use mezzo_api::{
    resources::{DiskType, Resource},
    v1,
};

/// A volume's data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VolumePlace {
    /// A directory of its own.
    Directory(PathBuf),
    /// A whole disk, mounted here: the directory stays when the data go.
    Mount(PathBuf),
}

impl VolumePlace {
    /// Where the data are.
    pub fn path(&self) -> &Path {
        match self {
            VolumePlace::Directory(path) | VolumePlace::Mount(path) => path,
        }
    }
}

/// What to do with a volume's data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VolumeAction {
    /// Make the directory. Nothing may be in it that was there before.
    Make(VolumePlace),
    /// Delete the data.
    Remove(VolumePlace),
}

/// A volume in a sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeLink {
    /// Where the data are.
    pub source: PathBuf,
    /// Where the container sees them: below the sandbox if it is relative.
    pub container_path: String,
    /// The volume is used read-only.
    pub read_only: bool,
    /// Other containers may use it too: its owner stays as it is.
    pub shared: bool,
}

/// Where a persistent volume's data are; `None` if it is none of the agent's own.
pub(crate) fn place(work_dir: &Path, volume: &Resource) -> Option<VolumePlace> {
    let id = volume.persistence_id()?;
    let role = volume.reservation_role()?;
    if volume.provider_id().is_some() {
        return None;
    }
    // A role has no space in it, and a directory's name no slash.
    let below = |root: PathBuf| root.join("volumes").join("roles").join(role.replace('/', " ")).join(id);
    let source = volume.disk().and_then(|disk| disk.source.as_ref());
    match source.map(v1::resource::disk_info::Source::r#type) {
        None => Some(VolumePlace::Directory(below(work_dir.to_owned()))),
        Some(DiskType::Path) => {
            let root = source?.path.as_ref().and_then(|path| path.root.clone()).unwrap_or_default();
            Some(VolumePlace::Directory(below(work_dir.join(root))))
        }
        Some(DiskType::Mount) => {
            let root = source?.mount.as_ref().and_then(|mount| mount.root.clone())?;
            Some(VolumePlace::Mount(work_dir.join(root)))
        }
        Some(DiskType::Block | DiskType::Raw | DiskType::Unknown) => None,
    }
}

/// The persistent volumes of a task or executor.
pub(crate) fn links(work_dir: &Path, resources: &[v1::Resource]) -> Vec<VolumeLink> {
    let persistent = |proto: &&v1::Resource| proto.disk.as_ref().is_some_and(|disk| disk.persistence.is_some());
    let volumes = resources.iter().filter(persistent).filter_map(|proto| Resource::from_proto(proto).ok());
    let link = |volume: Resource| {
        let place = place(work_dir, &volume)?;
        let used_as = volume.disk()?.volume.as_ref()?;
        Some(VolumeLink {
            source: place.path().to_owned(),
            container_path: used_as.container_path.clone(),
            read_only: used_as.mode() == v1::volume::Mode::Ro,
            shared: volume.is_shared(),
        })
    };
    volumes.filter_map(link).collect()
}

#[cfg(test)]
mod tests {
    use mezzo_api::{codec, resources::Resources};

    use super::*;

    fn volume(source: &str) -> Resource {
        let text = format!(
            r#"{{"name":"disk","type":"SCALAR","scalar":{{"value":8}},"reservations":[{{"type":"DYNAMIC","role":"prod/web"}}],
            "disk":{{"persistence":{{"id":"v1"}},"volume":{{"container_path":"data","mode":"RW"}}{source}}}}}"#
        );
        let proto: v1::Resource = codec::decode(codec::Encoding::Json, text.as_bytes()).unwrap();
        Resource::from_proto(&proto).unwrap()
    }

    #[test]
    fn each_kind_of_disk_has_its_place() {
        let at = |source| place(Path::new("/w"), &volume(source));
        assert_eq!(at(""), Some(VolumePlace::Directory("/w/volumes/roles/prod web/v1".into())));
        let path = r#","source":{"type":"PATH","path":{"root":"disk1"}}"#;
        assert_eq!(at(path), Some(VolumePlace::Directory("/w/disk1/volumes/roles/prod web/v1".into())));
        let path = r#","source":{"type":"PATH","path":{"root":"/mnt/a"}}"#;
        assert_eq!(at(path), Some(VolumePlace::Directory("/mnt/a/volumes/roles/prod web/v1".into())));
        let mount = r#","source":{"type":"MOUNT","mount":{"root":"/mnt/b"}}"#;
        assert_eq!(at(mount), Some(VolumePlace::Mount("/mnt/b".into())));
        assert_eq!(at(r#","source":{"type":"RAW","id":"x"}"#), None);
    }

    #[test]
    fn only_volumes_are_linked() {
        let mut protos = Resources::parse("cpus:1;disk:5", "*").unwrap().to_protos();
        protos.push(volume("").to_proto());
        let links = links(Path::new("/work"), &protos);
        assert_eq!(links.len(), 1);
        assert_eq!((links[0].container_path.as_str(), links[0].read_only), ("data", false));
    }
}
