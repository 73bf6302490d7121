//! Images on this machine: directories in OCI's image layout, and archives as `docker save` writes them
//! (OCI image-spec 1.1, image-layout.md; apache/mesos, docs/container-image.md, "file://").

mod archive;
#[cfg(test)]
mod tests;

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use oci_spec::image::{ANNOTATION_REF_NAME, Descriptor, ImageIndex};

pub(crate) use archive::Archive;

use crate::{
    digest::{Digest, DigestError},
    manifest::{Blob, MAX_DOCUMENT_BYTES, ManifestError},
    name::Name,
};

/// How containerd names images in a layout.
const ANNOTATION_IMAGE_NAME: &str = "io.containerd.image.name";

/// Why there is no such image here.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// Nothing of that name.
    #[error("there is no image '{name}' in '{}': looked for {}", directory.display(), tried.join(", "))]
    NotFound {
        /// What was looked for.
        name: String,
        /// Where.
        directory: PathBuf,
        /// Under which names.
        tried: Vec<String>,
    },
    /// A file that is missing, or cannot be read.
    #[error("cannot read '{}': {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A document that makes no sense.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The archive is none of docker's.
    #[error("'{}' is no archive of docker save: {reason}", path.display())]
    Archive {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

impl From<DigestError> for LocalError {
    fn from(error: DigestError) -> Self {
        Self::Manifest(error.into())
    }
}

/// A piece of a file.
#[derive(Debug)]
pub(crate) struct Piece {
    pub(crate) file: File,
    pub(crate) begin: u64,
    pub(crate) bytes: u64,
}

impl Piece {
    pub(crate) fn whole(file: File) -> io::Result<Self> {
        let bytes = file.metadata()?.len();
        Ok(Self { file, begin: 0, bytes })
    }

    /// From its begin on.
    pub(crate) fn read(&self) -> io::Result<impl Read + '_> {
        io::Seek::seek(&mut &self.file, io::SeekFrom::Start(self.begin))?;
        Ok((&self.file).take(self.bytes))
    }
}

/// An image in an OCI layout.
#[derive(Debug)]
pub(crate) struct Layout {
    directory: PathBuf,
    /// Its manifest or index.
    pub(crate) root: Blob,
}

impl Layout {
    /// A manifest, index or configuration, which has the hash that it is named by.
    pub(crate) fn document(&self, blob: Blob) -> Result<Vec<u8>, LocalError> {
        read_document(&self.path(blob.digest))
    }

    pub(crate) fn layer(&self, blob: Blob) -> Result<Piece, LocalError> {
        let path = self.path(blob.digest);
        let read = |source| LocalError::Read { path: path.clone(), source };
        Piece::whole(File::open(&path).map_err(read)?).map_err(read)
    }

    fn path(&self, digest: Digest) -> PathBuf {
        let text = digest.to_string();
        self.directory.join("blobs").join(text.replacen(':', "/", 1))
    }
}

/// What was found.
#[derive(Debug)]
pub(crate) enum Found {
    Layout(Layout),
    Archive(Archive),
}

/// Looks for an image in a directory of images. Blocks.
pub(crate) fn find(directory: &Path, name: &Name) -> Result<Found, LocalError> {
    let mut tried = Vec::new();
    for (layout, own) in [(directory.to_path_buf(), false), (directory.join(&name.repository), true)] {
        if !layout.join("index.json").is_file() {
            continue;
        }
        if let Some(root) = in_index(&layout, name, own)? {
            return Ok(Found::Layout(Layout { directory: layout, root }));
        }
        tried.push(format!("it in {}", layout.join("index.json").display()));
    }
    let tag = name.tag.as_deref().unwrap_or("latest");
    let tagged = format!("{}:{tag}.tar", name.repository);
    let latest = (tag == "latest").then(|| format!("{}.tar", name.repository));
    for file in [Some(tagged), latest].into_iter().flatten() {
        let path = directory.join(&file);
        if path.is_file() {
            return Archive::open(&path, name).map(Found::Archive);
        }
        tried.push(file);
    }
    tried.push(format!("{}/index.json", name.repository));
    Err(LocalError::NotFound { name: name.to_string(), directory: directory.to_path_buf(), tried })
}

/// The image in a layout: by digest, by its whole name, or by its tag in a layout of its `own` repository.
fn in_index(layout: &Path, name: &Name, own: bool) -> Result<Option<Blob>, LocalError> {
    let bytes = read_document(&layout.join("index.json"))?;
    let index: ImageIndex = serde_json::from_slice(&bytes).map_err(|error| ManifestError::Malformed("index", error))?;
    let annotation = |descriptor: &Descriptor, key: &str| descriptor.annotations().as_ref()?.get(key).cloned();
    let whole = format!("{}:{}", name.repository, name.tag.as_deref().unwrap_or("latest"));
    let fits = |descriptor: &&Descriptor| {
        if let Some(digest) = name.digest {
            return descriptor.digest().to_string() == digest.to_string();
        }
        let named = annotation(descriptor, ANNOTATION_REF_NAME);
        let full = [named.clone(), annotation(descriptor, ANNOTATION_IMAGE_NAME)];
        full.iter().flatten().any(|text| *text == whole) || (own && named.as_deref() == name.tag.as_deref())
    };
    let mut found = index.manifests().iter().find(fits);
    if let [only] = index.manifests().as_slice() {
        let unnamed = own && annotation(only, ANNOTATION_REF_NAME).is_none() && name.digest.is_none();
        found = found.or(Some(only).filter(|_| unnamed));
    }
    let blob = |descriptor: &Descriptor| {
        Ok::<_, DigestError>(Blob { digest: descriptor.digest().to_string().parse()?, bytes: descriptor.size() })
    };
    Ok(found.map(blob).transpose()?)
}

fn read_document(path: &Path) -> Result<Vec<u8>, LocalError> {
    let read = |source| LocalError::Read { path: path.to_path_buf(), source };
    let mut bytes = Vec::new();
    File::open(path).map_err(read)?.take(MAX_DOCUMENT_BYTES + 1).read_to_end(&mut bytes).map_err(read)?;
    if bytes.len() as u64 > MAX_DOCUMENT_BYTES {
        return Err(read(io::Error::other("it is too long")));
    }
    Ok(bytes)
}
