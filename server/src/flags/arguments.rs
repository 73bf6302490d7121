//! Mesos' way of writing flags, turned into clap's (3rdparty/stout/include/stout/flags/flags.hpp).

use std::{collections::BTreeSet, ffi::OsString};

use clap::{ArgAction, Command, error::ErrorKind};

/// Names lower-cased and with underscores, `--no-flag` as `--flag=false`, the environment's flags appended, values
/// `file://PATH` replaced by what the file holds.
pub(super) fn normalised(
    arguments: impl IntoIterator<Item = OsString>,
    command: &Command,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<Vec<OsString>, clap::Error> {
    let mut given = BTreeSet::new();
    let mut out = Vec::new();
    for argument in arguments {
        match argument.to_str().and_then(|text| text.strip_prefix("--")).filter(|text| !text.is_empty()) {
            Some(text) if !out.is_empty() => {
                let (name, value) = flag(text, command);
                let value = value.map(|value| from_file(&name, value, command)).transpose()?;
                out.push(written(&name, value.as_deref()));
                given.insert(name);
            }
            _ => out.push(argument),
        }
    }
    for name in known(command).filter(|name| !given.contains(*name)) {
        let Some(value) = variables(name).iter().find_map(|variable_name| variable(variable_name)) else { continue };
        let Some(value) = value.to_str() else {
            return Err(error(command, format!("the environment's value of --{name} is no text")));
        };
        out.push(written(name, Some(&from_file(name, value, command)?)));
    }
    Ok(out)
}

fn flag<'a>(text: &'a str, command: &Command) -> (String, Option<&'a str>) {
    let (name, value) = text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value)));
    let name = name.to_ascii_lowercase().replace('-', "_");
    let negated = name.strip_prefix("no_").filter(|positive| value.is_none() && is_boolean(positive, command));
    match negated {
        Some(positive) => (canonical(positive, command), Some("false")),
        None => (canonical(&name, command), value),
    }
}

fn canonical(name: &str, command: &Command) -> String {
    let argument = command
        .get_arguments()
        .find(|argument| argument.get_all_aliases().is_some_and(|aliases| aliases.contains(&name)));
    argument.and_then(|argument| argument.get_long()).unwrap_or(name).to_owned()
}

fn is_boolean(name: &str, command: &Command) -> bool {
    let argument = command.get_arguments().find(|argument| argument.get_long() == Some(name));
    argument.is_some_and(|argument| {
        matches!(argument.get_action(), ArgAction::Set)
            && argument.get_num_args().is_some_and(|count| count.min_values() == 0)
    })
}

fn known(command: &Command) -> impl Iterator<Item = &str> {
    command
        .get_arguments()
        .filter_map(|argument| argument.get_long())
        .filter(|name| !matches!(*name, "help" | "version"))
}

fn variables(name: &str) -> Vec<String> {
    let upper = name.to_ascii_uppercase();
    let mut variables: Vec<_> = ["MEZZO_", "MESOS_"]
        .iter()
        .flat_map(|prefix| [format!("{prefix}{upper}"), format!("{prefix}{name}")])
        .collect();
    if matches!(name, "ip" | "port" | "advertise_ip" | "advertise_port") {
        variables.push(format!("LIBPROCESS_{upper}"));
    }
    variables
}

fn written(name: &str, value: Option<&str>) -> OsString {
    value.map_or_else(|| format!("--{name}"), |value| format!("--{name}={value}")).into()
}

fn from_file(name: &str, value: &str, command: &Command) -> Result<String, clap::Error> {
    // A directory holds no value: it is one, of images.
    let file = value.strip_prefix("file://").filter(|path| !std::path::Path::new(path).is_dir());
    let Some(path) = file else { return Ok(value.to_owned()) };
    std::fs::read_to_string(path)
        .map_err(|failure| error(command, format!("--{name}={value}: the file {path} cannot be read: {failure}")))
}

pub(super) fn error(command: &Command, message: String) -> clap::Error {
    command.clone().error(ErrorKind::ValueValidation, message)
}
