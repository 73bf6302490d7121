//! Who speaks: the principal and the secret that go with every request, for masters that ask (`--authenticate_http_…`).

use std::{
    path::{Path, PathBuf},
    sync::OnceLock,
};

use mezzo_server::http::authentication::{Credential, CredentialsError};

use crate::operate;

/// One for the whole run: this tool speaks for one person.
static OWN: OnceLock<Credential> = OnceLock::new();

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CredentialError {
    #[error("the credential {path} cannot be read: {source}")]
    File { path: PathBuf, source: std::io::Error },
    #[error("the credential {path} cannot be used: {source}")]
    Content { path: PathBuf, source: CredentialsError },
    #[error(transparent)]
    Config(#[from] operate::ClusterError),
}

/// Takes the one in the file that is named (`--credential`, `MEZZO_CREDENTIAL`), else that of the configuration, if any.
pub(crate) fn take(named: Option<&Path>) -> Result<(), CredentialError> {
    let Some(path) = named.map(Path::to_path_buf).map_or_else(operate::credential, |path| Ok(Some(path)))? else {
        return Ok(());
    };
    let text = std::fs::read_to_string(&path);
    let text = text.map_err(|source| CredentialError::File { path: path.clone(), source })?;
    let credential = text.parse().map_err(|source| CredentialError::Content { path, source })?;
    let _ = OWN.set(credential); // nothing was there: it is taken once
    Ok(())
}

/// The one that was taken.
pub(crate) fn own() -> Option<&'static Credential> {
    OWN.get()
}
