//! Flags with Mesos' names, text forms and environment variables (3rdparty/stout/include/stout/flags/flags.hpp), or from a
//! file.

mod arguments;
mod elsewhere;
mod layers;
mod names;
mod network;
mod origin;
mod values;

use std::{collections::BTreeMap, ffi::OsString, path::PathBuf};

use clap::{Arg, ArgMatches, Command, CommandFactory, FromArgMatches};

pub use elsewhere::Elsewhere;
pub use network::{DiscoveryError, Domain, DomainError, discovered_ip, fault_domain};
pub use origin::Origin;
pub use values::{Bytes, LoggingLevel, boolean, bytes, duration, positive_duration};

/// What is told about flags beside their values.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Every flag that has a value, as text: what `/flags` shows. A flag that was given by its old name stands under that,
    /// as in Mesos; what came from a `file://` is shown as that.
    pub listed: BTreeMap<String, String>,
    /// Where each value came from that is no default.
    pub origins: BTreeMap<String, Origin>,
    /// Old names and old ways that were taken.
    pub warnings: Vec<String>,
}

/// Reads a command line (with the program's name first) with the environment that `variable` tells, and with the file that
/// either of them names. What the command line says goes before the environment (`MEZZO_` before `MESOS_`), that before the
/// file, that before what was discovered.
///
/// # Errors
/// If a flag is unknown or its value is of no use. Also for `--help` and `--version`, as clap does: print the error and
/// exit with its code.
pub fn read<F: CommandFactory + FromArgMatches>(
    elsewhere: &Elsewhere,
    arguments: impl IntoIterator<Item = OsString>,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<(F, Report), clap::Error> {
    let command = elsewhere.added_to(F::command()).arg(config_file());
    let arguments = arguments::normalised(arguments, &command, variable)?;
    let matches = command.clone().try_get_matches_from(&arguments.line);
    let matches = matches.map_err(|error| arguments.redacted(error, &command))?;
    elsewhere.check(&command, &matches)?;
    let flags = F::from_arg_matches(&matches).map_err(|error| error.format(&mut command.clone()))?;
    let mut report =
        Report { listed: listed(&command, &matches), origins: BTreeMap::new(), warnings: arguments.warnings };
    for given in arguments.given {
        if let Some(shown) = given.shown {
            report.listed.insert(given.name.clone(), shown);
        }
        if let Some(old) = given.old_name
            && let Some(value) = report.listed.remove(&given.name)
        {
            report.listed.insert(old, value);
        }
        report.origins.insert(given.name, given.origin);
    }
    Ok((flags, report))
}

fn config_file() -> Arg {
    Arg::new(layers::CONFIG_FILE)
        .long(layers::CONFIG_FILE)
        .value_name("FILE")
        .value_parser(clap::value_parser!(PathBuf))
        .help_heading("Configuration")
        .help("A file that sets flags, in TOML: a line flag = value for each. What the command line or the environment says \
               goes before")
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
