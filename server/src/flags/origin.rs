//! Where the value of a flag came from.

use std::{fmt, path::PathBuf};

/// Where a value came from; the first of these that has one wins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The command line.
    CommandLine,
    /// This variable of the environment.
    Variable(String),
    /// The file of `--config_file`.
    File(PathBuf),
    /// This variable, which `mezzo install discover` wrote.
    Discovered(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CommandLine => f.write_str("command line"),
            Self::Variable(name) => f.write_str(name),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Discovered(name) => write!(f, "discovered ({name})"),
        }
    }
}

/// A value as it was given.
#[derive(Clone, Debug)]
pub(super) struct Given {
    /// The flag's own name.
    pub(super) name: String,
    /// `None` stands for a boolean that is only named, or for a value that is still to come, as the next word.
    pub(super) value: Option<String>,
    /// What may be shown instead, where the value itself may not.
    pub(super) shown: Option<String>,
    /// The old name by which it was given.
    pub(super) old_name: Option<String>,
    pub(super) origin: Origin,
}
