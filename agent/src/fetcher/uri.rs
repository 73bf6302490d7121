//! What a URI means (src/slave/containerizer/fetcher.cpp of apache/mesos).

use std::path::{Component, Path, PathBuf};

/// Where the bytes are.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// A file of this host.
    Local(PathBuf),
    /// `http://…` or `https://…`
    Http(http::Uri),
}

/// Why a URI cannot be fetched.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum UriError {
    #[error("Illegal characters in URI")]
    Illegal,
    #[error("Malformed URI: it names no file")]
    NoName,
    #[error("Malformed URI: {0}")]
    Malformed(String),
    #[error("a file URI must hold an absolute path")]
    FileNotAbsolute,
    #[error("a relative path needs --frameworks_home")]
    NoFrameworksHome,
    #[error("not supported: {0}")]
    Unsupported(String),
    #[error("the output file '{0}' must be a path within the sandbox")]
    OutputFile(String),
}

/// Where `uri` points to; no scheme is a file.
pub(super) fn source(uri: &str, frameworks_home: Option<&Path>) -> Result<Source, UriError> {
    let uri = uri.trim_start();
    if uri.contains(['\\', '\'', '\0']) {
        return Err(UriError::Illegal);
    }
    let (scheme, rest) = match uri.split_once("://") {
        Some((scheme, rest)) => (Some(scheme), rest),
        None => (None, uri),
    };
    match scheme {
        None | Some("file") => {
            let path = Path::new(rest.strip_prefix("localhost").unwrap_or(rest));
            match (path.is_absolute(), scheme, frameworks_home) {
                (true, ..) => Ok(Source::Local(path.into())),
                (false, Some(_), _) => Err(UriError::FileNotAbsolute),
                (false, None, Some(home)) => Ok(Source::Local(home.join(path))),
                (false, None, None) => Err(UriError::NoFrameworksHome),
            }
        }
        Some("http" | "https") => {
            let address: http::Uri =
                uri.parse().map_err(|error: http::uri::InvalidUri| UriError::Malformed(error.to_string()))?;
            Ok(Source::Http(address))
        }
        Some(scheme) => Err(UriError::Unsupported(scheme.to_owned())),
    }
}

/// The name that the file gets: what follows the last slash, a query included.
pub(super) fn file_name(uri: &str) -> Result<&str, UriError> {
    let uri = uri.trim_start();
    let path = match uri.split_once("://") {
        Some((_, path)) => path.find('/').map(|at| &path[at..]).ok_or(UriError::NoName)?,
        None => uri.trim_end_matches('/'),
    };
    let name = path.rsplit('/').next().unwrap_or_default();
    match name {
        "" | "." | ".." => Err(UriError::NoName),
        name => Ok(name),
    }
}

/// Checks `CommandInfo.URI.output_file`.
pub(super) fn output_file(path: &str) -> Result<&str, UriError> {
    let escapes =
        Path::new(path).components().any(|component| !matches!(component, Component::Normal(_) | Component::CurDir));
    if path.is_empty() || path.contains('\0') || path.ends_with('/') || escapes {
        return Err(UriError::OutputFile(path.to_owned()));
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources() {
        let local = |path: &str| Ok(Source::Local(path.into()));
        assert_eq!(source("/a/b", None), local("/a/b"));
        assert_eq!(source("  file:///a/b", None), local("/a/b"));
        assert_eq!(source("file://localhost/a", None), local("/a"));
        assert_eq!(source("file://a", None), Err(UriError::FileNotAbsolute));
        assert_eq!(source("a/b", None), Err(UriError::NoFrameworksHome));
        assert_eq!(source("a/b", Some(Path::new("/home"))), local("/home/a/b"));
        assert!(matches!(source("http://h:1/a?b=c", None), Ok(Source::Http(_))));
        assert!(matches!(source("http://h/a b", None), Err(UriError::Malformed(_))));
        assert!(matches!(source("https://h/a", None), Ok(Source::Http(_))));
        assert_eq!(source("ftp://h/a", None).unwrap_err().to_string(), "not supported: ftp");
        assert_eq!(source("hdfs://h/a", None), Err(UriError::Unsupported("hdfs".into())));
        for uri in ["/a'b", "http://h/a\\b", "/a\0"] {
            assert_eq!(source(uri, None), Err(UriError::Illegal), "{uri}");
        }
    }

    #[test]
    fn names() {
        assert_eq!(file_name("http://h/a/b.tgz?x=1"), Ok("b.tgz?x=1"));
        assert_eq!(file_name("/a/b"), Ok("b"));
        assert_eq!(file_name("/a/b/"), Ok("b"));
        for uri in ["http://h", "http://h/", "http://h/a/", "/", "", "/a/..", "http://h/.."] {
            assert_eq!(file_name(uri), Err(UriError::NoName), "{uri}");
        }
        assert_eq!(output_file("a/b"), Ok("a/b"));
        for path in ["", "/a", "../a", "a/../../b", "a/..", "a/", "a\0"] {
            assert!(output_file(path).is_err(), "{path:?}");
        }
    }
}
