//! The `/files` endpoints: browse, read and download what is attached (src/files/files.cpp of apache/mesos).
//!
//! Directories are attached under virtual paths; nothing outside of them is ever shown, whatever `..` or links a path
//! goes through. In a directory of runs (`…/runs/<run>/…`, Mesos' layout of sandboxes) each run is such a boundary of its
//! own: a task's link to another task's sandbox leads nowhere.

mod call;
mod door;
mod listing;
mod media_types;
mod place;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    response::Response,
    routing::any,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::Value;
use tokio::io::AsyncReadExt;
use tokio_util::io::ReaderStream;

use self::place::Place;
pub use self::{call::Refusal, door::serve};
use crate::http::{
    answer::{bare, json as answer_json, text},
    query::Query,
};

/// The most that one read returns: 16 pages.
const MAX_READ_BYTES: usize = 64 * 1024;

/// What is attached; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Files {
    attached: Arc<RwLock<BTreeMap<String, PathBuf>>>,
}

impl Files {
    /// Makes a file or directory, which need not exist yet, reachable under a virtual path; one that was attached there
    /// before is replaced.
    pub fn attach(&self, virtual_path: &str, path: impl Into<PathBuf>) {
        let name = virtual_path.trim_end_matches('/').to_owned();
        self.attached.write().unwrap_or_else(PoisonError::into_inner).insert(name, path.into());
    }

    /// Takes a virtual path away.
    pub fn detach(&self, virtual_path: &str) {
        let name = virtual_path.trim_end_matches('/');
        self.attached.write().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    /// Virtual and real paths.
    fn all(&self) -> BTreeMap<String, PathBuf> {
        self.attached.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The longest attached prefix of `path`: where it is, and the rest.
    fn find(&self, path: &str) -> Option<(PathBuf, PathBuf)> {
        let path = path.strip_suffix('/').unwrap_or(path);
        let attached = self.attached.read().unwrap_or_else(PoisonError::into_inner);
        let ends = std::iter::once(path.len()).chain(path.rmatch_indices('/').map(|(at, _)| at));
        ends.into_iter().find_map(|end| {
            let root = attached.get(&path[..end])?;
            Some((root.clone(), PathBuf::from(path[end..].trim_start_matches('/'))))
        })
    }

    fn resolve(&self, path: &str) -> Result<Place, FilesError> {
        let (root, rest) = self.find(path).ok_or(FilesError::NotFound)?;
        place::resolve(&root, &rest)
    }
}

/// Why a request cannot be served.
#[derive(Debug, PartialEq, Eq)]
enum FilesError {
    /// 400 with this text.
    Invalid(String),
    /// 404.
    NotFound,
    /// 500 with this text.
    Failed(String),
}

/// The endpoints, at `/files/browse`, `/files/read`, `/files/download` and `/files/debug`.
pub fn router(files: Files) -> Router {
    Router::new()
        .route("/files/browse", any(browse))
        .route("/files/read", any(read))
        .route("/files/download", any(download))
        .route("/files/debug", any(debug))
        .with_state(files)
}

async fn browse(State(files): State<Files>, request: Request) -> Response {
    with_path(request, async move |query, path| {
        let entries = blocking(move || Ok(listing::list(&files.resolve(&path)?, &path))).await?;
        Ok((query, listing::to_json(&entries).to_string().into()))
    })
    .await
}

async fn read(State(files): State<Files>, request: Request) -> Response {
    with_path(request, async move |query, path| {
        let offset = number(&query, "offset")?;
        let length = number(&query, "length")?.and_then(|length| usize::try_from(length).ok());
        let range = match offset.and_then(|offset| u64::try_from(offset).ok()) {
            Some(offset) => Range { offset, length: length.unwrap_or(MAX_READ_BYTES).min(MAX_READ_BYTES) },
            None => Range { offset: 0, length: 0 },
        };
        let (size, data) = blocking(move || read_range(&files.resolve(&path)?, range)).await?;
        let told = offset.and_then(|offset| u64::try_from(offset).ok()).unwrap_or(size);
        Ok((query, read_json(&data, told)))
    })
    .await
}

async fn debug(State(files): State<Files>, request: Request) -> Response {
    let query = match Query::parse(request.uri().query().unwrap_or_default()) {
        Ok(query) => query,
        Err(error) => return text(StatusCode::BAD_REQUEST, error.to_string()),
    };
    let all: serde_json::Map<String, Value> =
        files.all().into_iter().map(|(name, path)| (name, path.to_string_lossy().into())).collect();
    answer_json(request.headers(), &query, Value::Object(all).to_string().into()).await
}

async fn download(State(files): State<Files>, request: Request) -> Response {
    let (_, path) = match path_of(&request) {
        Ok(found) => found,
        Err(response) => return *response,
    };
    match blocking(move || files.resolve(&path).and_then(|place| Ok((open_file(&place, "download")?, place)))).await {
        Ok(((file, size), place)) => stream(file, size, &place.path()),
        Err(FilesError::NotFound) => bare(StatusCode::NOT_FOUND),
        Err(error) => refuse(error),
    }
}

fn stream(file: File, size: u64, path: &Path) -> Response {
    let body = ReaderStream::with_capacity(tokio::fs::File::from_std(file).take(size), MAX_READ_BYTES);
    let mut response = Response::new(Body::from_stream(body));
    let extension = path.extension().and_then(|extension| extension.to_str());
    let media_type = extension.and_then(media_types::media_type).unwrap_or("application/octet-stream");
    // What a header cannot hold is no part of a sensible file name.
    let name = path.file_name().unwrap_or_default().to_string_lossy().replace(|c: char| c.is_control(), "_");
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LENGTH, size.into());
    if let Ok(disposition) = HeaderValue::from_bytes(format!("attachment; filename={name}").as_bytes()) {
        headers.insert(header::CONTENT_DISPOSITION, disposition);
    }
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}

/// Serves a request whose answer is JSON and whose `path` is needed.
async fn with_path<F: Future<Output = Result<(Query, Bytes), FilesError>>>(
    request: Request,
    serve: impl FnOnce(Query, String) -> F,
) -> Response {
    let (query, path) = match path_of(&request) {
        Ok(found) => found,
        Err(response) => return *response,
    };
    let headers: HeaderMap = request.into_parts().0.headers;
    match serve(query, path).await {
        Ok((query, json)) => answer_json(&headers, &query, json).await,
        Err(error) => refuse(error),
    }
}

fn path_of(request: &Request) -> Result<(Query, String), Box<Response>> {
    let refused = |reason: String| Box::new(text(StatusCode::BAD_REQUEST, reason));
    let query = Query::parse(request.uri().query().unwrap_or_default()).map_err(|error| refused(error.to_string()))?;
    match query.get("path").filter(|path| !path.is_empty()).map(str::to_owned) {
        Some(path) => Ok((query, path)),
        None => Err(refused("Expecting 'path=value' in query.\n".to_owned())),
    }
}

fn refuse(error: FilesError) -> Response {
    match error {
        FilesError::Invalid(reason) => text(StatusCode::BAD_REQUEST, reason),
        FilesError::NotFound => text(StatusCode::NOT_FOUND, ""),
        FilesError::Failed(reason) => text(StatusCode::INTERNAL_SERVER_ERROR, reason),
    }
}

/// An optional number of the query; -1 is "none".
fn number(query: &Query, name: &str) -> Result<Option<i64>, FilesError> {
    let Some(given) = query.get(name) else { return Ok(None) };
    match given.parse::<i64>() {
        Err(_) => Err(FilesError::Invalid(format!("Failed to parse {name}: Failed to convert '{given}' to number.\n"))),
        Ok(number) if number < -1 => Err(FilesError::Invalid(format!("Negative {name} provided: {number}.\n"))),
        Ok(number) => Ok(Some(number)),
    }
}

#[derive(Clone, Copy)]
struct Range {
    offset: u64,
    length: usize,
}

/// `{"data":…,"offset":…}`. A file is bytes, not text: what is no UTF-8 stands in the string as it is, as in Mesos' answers
/// (its JSON writer does not validate, 3rdparty/stout/include/stout/jsonify.hpp), so that readers get, and count, every
/// byte, also where a character is cut by the end of a range.
fn read_json(data: &[u8], offset: u64) -> Bytes {
    let mut out = Vec::with_capacity(data.len() + data.len() / 16 + 64);
    out.extend_from_slice(b"{\"data\":\"");
    for byte in data {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\t' => out.extend_from_slice(b"\\t"),
            b'\r' => out.extend_from_slice(b"\\r"),
            control @ 0..0x20 => out.extend_from_slice(format!("\\u{control:04x}").as_bytes()),
            other => out.push(*other),
        }
    }
    out.extend_from_slice(format!("\",\"offset\":{offset}}}").as_bytes());
    out.into()
}

/// The file's size and what is in the range.
fn read_range(place: &Place, range: Range) -> Result<(u64, Vec<u8>), FilesError> {
    let (file, size) = open_file(place, "read")?;
    let left = usize::try_from(size.saturating_sub(range.offset)).unwrap_or(usize::MAX);
    let mut bytes = vec![0; range.length.min(left)];
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read_at(&mut bytes[filled..], range.offset + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(FilesError::Failed(format!("Failed to read the file: {error}.\n"))),
        }
    }
    bytes.truncate(filled);
    Ok((size, bytes))
}

/// Opens a regular file; `purpose` is for the text of the refusal.
fn open_file(place: &Place, purpose: &str) -> Result<(File, u64), FilesError> {
    let failed = |error: io::Error| {
        FilesError::Failed(format!("Failed to open file at '{}': {error}.\n", place.path().display()))
    };
    let file = place.open().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => FilesError::NotFound,
        _ => failed(error),
    })?;
    let metadata = file.metadata().map_err(failed)?;
    if metadata.is_dir() {
        return Err(FilesError::Invalid(format!("Cannot {purpose} a directory.\n")));
    }
    if !metadata.is_file() {
        return Err(FilesError::Invalid(format!("Cannot {purpose} what is not a regular file.\n")));
    }
    Ok((file, metadata.len()))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, FilesError> + Send + 'static,
) -> Result<T, FilesError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(FilesError::Failed(format!("Failed to serve the request: {error}.\n"))))
}
