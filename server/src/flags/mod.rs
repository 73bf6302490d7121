//! Flags with Mesos' names, text forms and environment variables (3rdparty/stout/include/stout/flags/flags.hpp).

mod arguments;
mod elsewhere;
mod network;
mod values;

use std::{collections::BTreeMap, ffi::OsString};

use clap::{ArgMatches, Command, CommandFactory, FromArgMatches};

pub use elsewhere::Elsewhere;
pub use network::{DiscoveryError, Domain, DomainError, discovered_ip, fault_domain};
pub use values::{Bytes, LoggingLevel, boolean, bytes, duration, positive_duration};

/// Reads a command line (with the program's name first) with the environment that `variable` tells. With the flags comes
/// every flag that has a value, as text: what `/flags` shows.
///
/// # Errors
/// If a flag is unknown or its value is of no use. Also for `--help` and `--version`, as clap does: print the error and
/// exit with its code.
pub fn read<F: CommandFactory + FromArgMatches>(
    elsewhere: &Elsewhere,
    arguments: impl IntoIterator<Item = OsString>,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<(F, BTreeMap<String, String>), clap::Error> {
    let command = elsewhere.added_to(F::command());
    let arguments = arguments::normalised(arguments, &command, variable)?;
    let matches = command.clone().try_get_matches_from(arguments)?;
    elsewhere.check(&command, &matches)?;
    let flags = F::from_arg_matches(&matches).map_err(|error| error.format(&mut command.clone()))?;
    Ok((flags, listed(&command, &matches)))
}

fn listed(command: &Command, matches: &ArgMatches) -> BTreeMap<String, String> {
    let mut listed =
        BTreeMap::from([("help".to_owned(), "false".to_owned()), ("version".to_owned(), "false".to_owned())]);
    for argument in command.get_arguments() {
        let name = argument.get_id().as_str();
        if let Ok(Some(values)) = matches.try_get_raw(name) {
            let values: Vec<_> = values.map(|value| value.to_string_lossy().into_owned()).collect();
            listed.insert(name.to_owned(), values.join(","));
        }
    }
    listed
}

#[cfg(test)]
mod tests;
