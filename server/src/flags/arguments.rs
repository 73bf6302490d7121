//! Mesos' way of writing flags, turned into clap's (3rdparty/stout/include/stout/flags/flags.hpp), and the other places that
//! set flags, each behind the one before: command line, environment, file, what was discovered.

use std::{
    any::TypeId,
    collections::BTreeSet,
    ffi::OsString,
    path::{Path, PathBuf},
};

use clap::{Arg, Command, error::ErrorKind};

use super::{
    layers::{self, CONFIG_FILE, Entry},
    names::{find, is_boolean, is_json, is_secret, rivals, spelled, suggestion},
    origin::{Given, Origin},
    reading::about,
};

/// What was given, and the command line that says all of it.
pub(super) struct Arguments {
    pub(super) line: Vec<OsString>,
    pub(super) given: Vec<Given>,
    pub(super) warnings: Vec<String>,
    /// What is wrong, of all places.
    pub(super) problems: Vec<clap::Error>,
    /// Names of flags that were given and are wrong.
    pub(super) left_out: Vec<String>,
}

/// Names lower-cased and with underscores, `--no-flag` as `--flag=false`, the flags of the other places appended, values
/// `file://PATH` replaced by what the file holds, or by the path where a path is wanted.
pub(super) fn normalised(
    arguments: impl IntoIterator<Item = OsString>,
    command: &Command,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Arguments {
    let mut all = Arguments {
        line: Vec::new(),
        given: Vec::new(),
        warnings: Vec::new(),
        problems: Vec::new(),
        left_out: Vec::new(),
    };
    let file_name = all.add_line(arguments, command);
    all.add_layer(layers::environment(command, &variable), command);
    let from_environment =
        all.given.iter().find(|given| given.name == CONFIG_FILE).and_then(|given| given.value.clone());
    if let Some(path) = file_name.or(from_environment) {
        all.add_layer(layers::file(command, Path::new(&path)), command);
    }
    all.add_layer(layers::discovered(command, &variable), command);
    all
}

impl Arguments {
    /// The command line itself; gives the file that it names.
    fn add_line(&mut self, arguments: impl IntoIterator<Item = OsString>, command: &Command) -> Option<String> {
        let mut file_name = None;
        let mut arguments = arguments.into_iter().peekable();
        self.line.extend(arguments.next());
        while let Some(argument) = arguments.next() {
            let text = argument.to_str().and_then(|text| text.strip_prefix("--")).filter(|text| !text.is_empty());
            let Some(text) = text else {
                self.line.push(argument);
                continue;
            };
            let is_value = |next: &OsString| !next.to_string_lossy().starts_with("--");
            let mut given = match flag(text, command) {
                Ok(given) => given,
                Err(problem) => {
                    self.problems.push(problem);
                    if !text.contains('=') {
                        arguments.next_if(is_value);
                    }
                    continue;
                }
            };
            if given.value.is_none() && find(command, &given.name).is_some_and(|argument| !is_boolean(argument)) {
                given.value = arguments.next().map(|value| value.to_string_lossy().into_owned());
            }
            if given.name == CONFIG_FILE {
                file_name.clone_from(&given.value);
            }
            self.add(given, command);
        }
        file_name
    }

    /// Flags of a place that nothing before has set, nor what says the same in another way.
    fn add_layer(&mut self, entries: Vec<Entry>, command: &Command) {
        let before: BTreeSet<String> = self.given.iter().map(|given| given.name.clone()).collect();
        for entry in entries {
            let (called, value, origin) = match entry {
                Ok(entry) => entry,
                Err(problem) => {
                    self.problems.push(problem);
                    continue;
                }
            };
            let Some(name) = find(command, &called).and_then(|argument| argument.get_long()) else { continue };
            if before.contains(name) || rivals(name).iter().any(|rival| before.contains(*rival)) {
                continue;
            }
            let old_name = Some(called).filter(|called| called != name);
            self.add(Given { name: name.to_owned(), value: Some(value), shown: None, old_name, origin }, command);
        }
    }

    fn add(&mut self, given: Given, command: &Command) {
        let name = given.name.clone();
        let mut given = match self.with_content(given, command) {
            Ok(given) => given,
            Err(problem) => {
                self.problems.push(problem);
                self.left_out.push(name);
                return;
            }
        };
        if let Some(old) = &given.old_name {
            self.warnings.push(format!("{old} is an old name of --{} and still taken: use the new one", given.name));
        }
        if given.shown.is_none() && is_secret(&given.name) {
            given.shown = given.value.as_deref().map(layers::names_only);
        }
        self.line.push(
            given
                .value
                .as_ref()
                .map_or_else(|| format!("--{}", given.name).into(), |value| format!("--{}={value}", given.name).into()),
        );
        self.given.push(given);
    }

    /// Takes a flag, or a word that is none, out of the line; whether it was there.
    pub(super) fn leave_out(&mut self, name: &str) -> bool {
        let before = self.line.len();
        let flag = format!("--{name}");
        let is_it = |word: &OsString| {
            let word = word.to_string_lossy();
            word == name || word.strip_prefix(&flag).is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
        };
        let program = self.line.drain(..1.min(before)).next();
        self.line.retain(|word| !is_it(word));
        self.line.splice(..0, program);
        self.left_out.push(name.to_owned());
        self.line.len() < before
    }

    /// `file://PATH`, and JSON by its path alone, which Mesos takes with a warning too.
    fn with_content(&mut self, given: Given, command: &Command) -> Result<Given, clap::Error> {
        let Some(value) = &given.value else { return Ok(given) };
        let bare = || value.starts_with('/') && find(command, &given.name).is_some_and(is_json);
        let path = match value.strip_prefix("file://") {
            Some(path) if find(command, &given.name).is_some_and(is_path) => {
                let value = Some(path.to_owned());
                return Ok(Given { value, ..given });
            }
            // A directory holds no value: it is one, of images.
            Some(path) if Path::new(path).is_dir() => return Ok(given),
            Some(path) => path,
            None if bare() => {
                self.warnings.push(format!("--{0}={value}: write --{0}=file://{value}", given.name));
                value
            }
            None => return Ok(given),
        };
        let content = std::fs::read_to_string(path).map_err(|failure| {
            error(command, format!("--{}={value}: the file {path} cannot be read: {failure}", given.name))
        })?;
        Ok(Given { shown: Some(value.clone()), value: Some(content), ..given })
    }

    /// An error as it may be shown: without values that may not.
    pub(super) fn redacted(&self, error: clap::Error, command: &Command) -> clap::Error {
        let Some(name) = about(&error) else { return error };
        let hidden = self.given.iter().find(|given| given.name == name && given.shown.is_some());
        let Some(Given { value: Some(value), shown: Some(shown), .. }) = hidden else { return error };
        let reason = std::error::Error::source(&error).map(ToString::to_string);
        let reason = reason.filter(|reason| !reason.contains(value.trim())).map(|reason| format!(": {reason}"));
        self::error(command, format!("--{name}={shown} is no value for it{}", reason.unwrap_or_default()))
    }
}

fn flag(text: &str, command: &Command) -> Result<Given, clap::Error> {
    let (called, value) = text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value)));
    let called = spelled(called);
    let negated = called.strip_prefix("no_").filter(|_| value.is_none());
    let negated = negated.and_then(|positive| Some((positive, find(command, positive).filter(|one| is_boolean(one))?)));
    let (called, value) = match negated {
        Some((positive, _)) => (positive.to_owned(), Some("false")),
        None => (called, value),
    };
    if matches!(called.as_str(), "help" | "version") {
        return Ok(given(called, value, None));
    }
    match find(command, &called).and_then(|argument| argument.get_long()) {
        Some(name) => {
            let old_name = Some(called).filter(|called| called != name);
            Ok(given(name.to_owned(), value, old_name))
        }
        None => {
            let meant = suggestion(command, &called).map(|name| format!("; did you mean --{name}?"));
            Err(command.clone().error(
                ErrorKind::UnknownArgument,
                format!("--{called} is no flag{}", meant.unwrap_or_else(|| "; --help tells all of them".to_owned())),
            ))
        }
    }
}

fn given(name: String, value: Option<&str>, old_name: Option<String>) -> Given {
    Given { name, value: value.map(str::to_owned), shown: None, old_name, origin: Origin::CommandLine }
}

/// 3rdparty/stout/include/stout/flags/fetch.hpp: a path is not the text that lies there.
fn is_path(argument: &Arg) -> bool {
    argument.get_value_parser().type_id() == TypeId::of::<PathBuf>()
}

pub(super) fn error(command: &Command, message: String) -> clap::Error {
    command.clone().error(ErrorKind::ValueValidation, message)
}
