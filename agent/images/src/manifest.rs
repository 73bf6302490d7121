//! What an image consists of: manifests, indexes of platforms, configurations (OCI image-spec 1.1; Docker's image
//! manifest version 2, schema 2, which has the same fields under other media types).

use oci_spec::image::{Arch, Config, Descriptor, ImageConfiguration, ImageIndex, ImageManifest, Os};

use crate::digest::{Digest, DigestError};

/// What registries are asked for.
pub(crate) const MEDIA_TYPES: [&str; 4] = [
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
];

/// The largest manifest, index or configuration that is read.
pub(crate) const MAX_DOCUMENT_BYTES: u64 = 8 << 20;

/// What overlayfs can put above each other.
const MAX_LAYERS: usize = 500;

/// Why a document is of no use.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// No JSON, or a field is missing.
    #[error("the {0} cannot be read: {1}")]
    Malformed(&'static str, serde_json::Error),
    /// Images of registries before 2017.
    #[error("the manifest is of schema 1, which is not supported: push the image anew with a newer tool")]
    Schema1,
    /// It is for other machines.
    #[error("there is no image for {wanted} but for {}", found.join(", "))]
    Platform {
        /// This machine's.
        wanted: String,
        /// Those there are.
        found: Vec<String>,
    },
    /// A digest that cannot be checked.
    #[error(transparent)]
    Digest(#[from] DigestError),
    /// Manifest and configuration contradict each other.
    #[error("the manifest has {layers} layers, the configuration {diff_ids}")]
    Count {
        /// In the manifest.
        layers: usize,
        /// In the configuration.
        diff_ids: usize,
    },
    /// More than overlayfs can take.
    #[error("it has {0} layers; at most {MAX_LAYERS} are possible")]
    Layers(usize),
    /// An index within an index, or a cycle.
    #[error("the index names another index")]
    Nested,
}

/// A document of a registry.
#[derive(Debug)]
pub(crate) enum Document {
    Manifest(Manifest),
    /// The manifest for this machine.
    Index(Blob),
}

/// A piece of content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Blob {
    pub(crate) digest: Digest,
    pub(crate) bytes: u64,
}

impl Blob {
    fn of(descriptor: &Descriptor) -> Result<Self, DigestError> {
        Ok(Self { digest: descriptor.digest().to_string().parse()?, bytes: descriptor.size() })
    }
}

#[derive(Debug)]
pub(crate) struct Manifest {
    pub(crate) config: Blob,
    /// Lowest first.
    pub(crate) layers: Vec<Blob>,
}

/// Only what tells the kinds of documents apart.
#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kind {
    schema_version: Option<u32>,
    manifests: Option<serde::de::IgnoredAny>,
}

/// Reads a manifest or an index.
pub(crate) fn read(bytes: &[u8]) -> Result<Document, ManifestError> {
    let malformed = |error| ManifestError::Malformed("manifest", error);
    let kind: Kind = serde_json::from_slice(bytes).map_err(malformed)?;
    if kind.schema_version == Some(1) {
        return Err(ManifestError::Schema1);
    }
    if kind.manifests.is_some() {
        let index: ImageIndex = serde_json::from_slice(bytes).map_err(malformed)?;
        return choose(index.manifests()).map(Document::Index);
    }
    let manifest: ImageManifest = serde_json::from_slice(bytes).map_err(malformed)?;
    let layers = manifest.layers();
    if layers.len() > MAX_LAYERS {
        return Err(ManifestError::Layers(layers.len()));
    }
    Ok(Document::Manifest(Manifest {
        config: Blob::of(manifest.config())?,
        layers: layers.iter().map(Blob::of).collect::<Result<_, _>>()?,
    }))
}

/// The one for this machine; a single one that does not say for which is taken.
fn choose(manifests: &[Descriptor]) -> Result<Blob, ManifestError> {
    let (arch, os) = (Arch::default(), Os::default());
    let fits = |descriptor: &&Descriptor| {
        descriptor.platform().as_ref().is_some_and(|platform| *platform.architecture() == arch && *platform.os() == os)
    };
    let found = manifests.iter().find(fits).or(match manifests {
        [only] if only.platform().is_none() => Some(only),
        _ => None,
    });
    match found {
        Some(descriptor) => Ok(Blob::of(descriptor)?),
        None => Err(ManifestError::Platform {
            wanted: format!("{os}/{arch}"),
            found: manifests
                .iter()
                .map(|descriptor| match descriptor.platform() {
                    Some(platform) => format!("{}/{}", platform.os(), platform.architecture()),
                    None => "an unnamed platform".to_owned(),
                })
                .collect(),
        }),
    }
}

/// How an image wants to be run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunConfig {
    /// `NAME=value`.
    pub environment: Vec<String>,
    /// The program, and what always comes first of its arguments.
    pub entrypoint: Vec<String>,
    /// The arguments, or the program too, if none are given.
    pub cmd: Vec<String>,
    /// `None`: the image does not say.
    pub working_dir: Option<String>,
    /// `user[:group]`, names or numbers; `None`: the image does not say.
    pub user: Option<String>,
}

impl RunConfig {
    fn of(config: &Config) -> Self {
        let list = |list: &Option<Vec<String>>| list.clone().unwrap_or_default();
        let text = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        Self {
            environment: list(config.env()),
            entrypoint: list(config.entrypoint()),
            cmd: list(config.cmd()),
            working_dir: text(config.working_dir()),
            user: text(config.user()),
        }
    }
}

/// Reads a configuration: how to run the image, and what its layers hash to when they are unpacked.
pub(crate) fn configuration(bytes: &[u8]) -> Result<(RunConfig, Vec<Digest>), ManifestError> {
    let configuration: ImageConfiguration =
        serde_json::from_slice(bytes).map_err(|error| ManifestError::Malformed("configuration", error))?;
    let (arch, os) = (Arch::default(), Os::default());
    if *configuration.architecture() != arch || *configuration.os() != os {
        return Err(ManifestError::Platform {
            wanted: format!("{os}/{arch}"),
            found: vec![format!("{}/{}", configuration.os(), configuration.architecture())],
        });
    }
    let diff_ids = configuration.rootfs().diff_ids().iter().map(|text| text.parse());
    let run = configuration.config().as_ref().map(RunConfig::of).unwrap_or_default();
    Ok((run, diff_ids.collect::<Result<_, _>>()?))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn descriptor(content: &str) -> serde_json::Value {
        json!({"mediaType": "application/x", "digest": Digest::of(content.as_bytes()).to_string(), "size": 7})
    }

    #[test]
    fn manifests_indexes_and_what_is_neither() {
        let manifest = json!({"schemaVersion": 2, "config": descriptor("c"), "layers": [descriptor("l")]});
        let Ok(Document::Manifest(read_back)) = read(manifest.to_string().as_bytes()) else { panic!() };
        assert_eq!(read_back.layers, [Blob { digest: Digest::of(b"l"), bytes: 7 }]);

        let mut own = descriptor("own");
        own["platform"] = json!({"os": "linux", "architecture": Arch::default().to_string()});
        let mut other = descriptor("other");
        other["platform"] = json!({"os": "linux", "architecture": "s390x"});
        let index = |of: &[&serde_json::Value]| json!({"schemaVersion": 2, "manifests": of}).to_string();
        let Ok(Document::Index(blob)) = read(index(&[&other, &own]).as_bytes()) else { panic!() };
        assert_eq!(blob.digest, Digest::of(b"own"));
        let error = read(index(&[&other]).as_bytes()).unwrap_err().to_string();
        assert!(error.contains("linux/s390x"), "{error}");
        assert!(matches!(read(index(&[&descriptor("x")]).as_bytes()), Ok(Document::Index(_))));

        assert!(matches!(read(br#"{"schemaVersion": 1}"#), Err(ManifestError::Schema1)));
        assert!(matches!(read(b"{}"), Err(ManifestError::Malformed(..))));
        assert!(matches!(read(b"\xff"), Err(ManifestError::Malformed(..))));
    }

    #[test]
    fn configurations_of_other_machines_are_refused() {
        let configuration_of = |arch: &str| {
            let text = json!({"architecture": arch, "os": "linux", "rootfs": {"type": "layers", "diff_ids": []},
                              "config": {"Env": ["A=1"], "Cmd": null, "Entrypoint": ["/x"], "User": "", "Volumes": null}});
            configuration(text.to_string().as_bytes())
        };
        let (run, _) = configuration_of(&Arch::default().to_string()).unwrap();
        assert_eq!((run.environment, run.entrypoint, run.user), (vec!["A=1".into()], vec!["/x".into()], None));
        assert!(matches!(configuration_of("s390x"), Err(ManifestError::Platform { .. })));
    }
}
