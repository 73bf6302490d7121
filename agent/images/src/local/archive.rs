//! Archives of `docker save`: a tar file with `manifest.json`, a configuration and layers.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use serde::Deserialize;

use super::{LocalError, Piece};
use crate::{manifest::MAX_DOCUMENT_BYTES, name::Name};

/// More than any image has files in it.
const MAX_FILES: usize = 10_000;

/// An image in an archive.
#[derive(Debug)]
pub(crate) struct Archive {
    path: PathBuf,
    /// The configuration.
    pub(crate) config: Vec<u8>,
    /// Where the layers lie in the file, lowest first.
    layers: Vec<Range>,
}

#[derive(Clone, Copy, Debug)]
struct Range {
    begin: u64,
    bytes: u64,
}

/// One image of `manifest.json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Image {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// What lies under a name.
enum Content {
    File(Range),
    /// Old versions write a layer once and point to it.
    Link(String),
}

impl Archive {
    pub(super) fn open(path: &Path, name: &Name) -> Result<Self, LocalError> {
        let read = |source| LocalError::Read { path: path.to_path_buf(), source };
        let wrong = |reason: String| LocalError::Archive { path: path.to_path_buf(), reason };
        let file = File::open(path).map_err(read)?;
        let contents = contents(&file).map_err(read)?;
        let find = |name: &str| {
            let mut at = name.to_owned();
            for _ in 0..8 {
                match contents.get(&at) {
                    Some(Content::File(range)) => return Ok(*range),
                    Some(Content::Link(target)) => at.clone_from(target),
                    None => break,
                }
            }
            Err(wrong(format!("it has no file '{name}'")))
        };
        let document = |range: Range| {
            if range.bytes > MAX_DOCUMENT_BYTES {
                return Err(wrong("a document in it is too long".into()));
            }
            let mut bytes = Vec::new();
            let piece = Piece { file: file.try_clone().map_err(read)?, begin: range.begin, bytes: range.bytes };
            piece.read().and_then(|mut piece| piece.read_to_end(&mut bytes)).map_err(read)?;
            Ok(bytes)
        };
        let manifest = document(find("manifest.json")?)?;
        let images: Vec<Image> = serde_json::from_slice(&manifest).map_err(|error| wrong(error.to_string()))?;
        let whole = format!("{}:{}", name.repository, name.tag.as_deref().unwrap_or("latest"));
        let tagged = |image: &&Image| {
            let tags = image.repo_tags.as_deref().unwrap_or_default();
            tags.iter().any(|tag| *tag == whole || tag.ends_with(&format!("/{whole}")))
        };
        let image = images.iter().find(tagged).or(match images.as_slice() {
            [only] => Some(only),
            _ => None,
        });
        let image = image.ok_or_else(|| wrong(format!("none of its images is tagged '{whole}'")))?;
        Ok(Self {
            config: document(find(&image.config)?)?,
            layers: image.layers.iter().map(|layer| find(layer)).collect::<Result<_, _>>()?,
            path: path.to_path_buf(),
        })
    }

    /// How many there are.
    pub(crate) fn layers(&self) -> usize {
        self.layers.len()
    }

    pub(crate) fn layer(&self, number: usize) -> Result<Piece, LocalError> {
        let file = File::open(&self.path).map_err(|source| LocalError::Read { path: self.path.clone(), source })?;
        let Range { begin, bytes } = self.layers[number];
        Ok(Piece { file, begin, bytes })
    }
}

/// Where each file of the archive lies.
fn contents(file: &File) -> io::Result<HashMap<String, Content>> {
    let mut archive = tar::Archive::new(file);
    let mut contents = HashMap::new();
    for entry in archive.entries_with_seek()? {
        let entry = entry?;
        if contents.len() == MAX_FILES {
            return Err(io::Error::other("it has too many files"));
        }
        let name = plain(&String::from_utf8_lossy(&entry.path_bytes()));
        let kind = entry.header().entry_type();
        if kind.is_file() {
            let range = Range { begin: entry.raw_file_position(), bytes: entry.size() };
            contents.insert(name, Content::File(range));
        } else if let Some(target) = entry.link_name_bytes().filter(|_| kind.is_symlink() || kind.is_hard_link()) {
            let target = String::from_utf8_lossy(&target).into_owned();
            let directory = name.rsplit_once('/').map_or("", |(directory, _)| directory);
            let target = if kind.is_symlink() { format!("{directory}/{target}") } else { target };
            contents.insert(name, Content::Link(plain(&target)));
        }
    }
    Ok(contents)
}

/// Without `.` and `..`. The names are keys only: no file is opened by them.
fn plain(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}
