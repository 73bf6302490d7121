//! LIST_FILES and READ_FILE of the operator API.

use http::StatusCode;
use mezzo_api::v1;

use super::{Files, FilesError, MAX_READ_BYTES, Range, blocking, listing, read_range};

/// Why a call on files is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// 400, 404 or 500.
    pub status: StatusCode,
    /// What is told.
    pub text: String,
}

impl From<FilesError> for Refusal {
    fn from(error: FilesError) -> Self {
        let (status, text) = match error {
            FilesError::Invalid(text) => (StatusCode::BAD_REQUEST, text),
            FilesError::NotFound => (StatusCode::NOT_FOUND, String::new()),
            FilesError::Failed(text) => (StatusCode::INTERNAL_SERVER_ERROR, text),
        };
        Self { status, text }
    }
}

impl Files {
    /// LIST_FILES: the entries of a directory; a file has none.
    ///
    /// # Errors
    /// If nothing is attached there, or it cannot be read.
    pub async fn list(&self, path: String) -> Result<Vec<v1::FileInfo>, Refusal> {
        let files = self.clone();
        Ok(blocking(move || Ok(listing::list(&files.resolve(&path)?, &path))).await?)
    }

    /// READ_FILE: the file's size and bytes from `offset` on, `length` or 64 KiB at most.
    ///
    /// # Errors
    /// If nothing is attached there, or it is no file, or it cannot be read.
    pub async fn read(&self, path: String, offset: u64, length: Option<u64>) -> Result<(u64, Vec<u8>), Refusal> {
        let files = self.clone();
        let length = length.and_then(|length| usize::try_from(length).ok()).unwrap_or(MAX_READ_BYTES);
        let range = Range { offset, length: length.min(MAX_READ_BYTES) };
        Ok(blocking(move || read_range(&files.resolve(&path)?, range)).await?)
    }
}
