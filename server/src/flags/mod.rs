//! Flags with Mesos' names, text forms and environment variables (3rdparty/stout/include/stout/flags/flags.hpp), or from a
//! file.

mod arguments;
mod elsewhere;
mod layers;
mod names;
mod network;
mod origin;
mod reading;
mod values;

use std::{collections::BTreeMap, ffi::OsString, path::PathBuf};

use arguments::Arguments;
use clap::{Arg, ArgMatches, Command, CommandFactory, FromArgMatches};
use origin::Given;

pub use elsewhere::Elsewhere;
pub use network::{DiscoveryError, Domain, DomainError, discovered_ip, fault_domain};
pub use origin::Origin;
pub use reading::Reading;
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
    read_all(elsewhere, arguments, variable).whole(&F::command())
}

/// As [`read`], but goes on after an error: everything that is wrong, and what can be made of the rest.
pub fn read_all<F: CommandFactory + FromArgMatches>(
    elsewhere: &Elsewhere,
    arguments: impl IntoIterator<Item = OsString>,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Reading<(F, Report)> {
    let command = elsewhere.added_to(F::command()).arg(config_file());
    let mut arguments = arguments::normalised(arguments, &command, variable);
    let Some(matches) = reading::matched(&mut arguments, &command) else {
        return Reading { flags: None, problems: arguments.problems };
    };
    let Arguments { mut given, warnings, mut problems, left_out, .. } = arguments;
    given.retain(|given| !left_out.contains(&given.name));
    problems.extend(elsewhere.refused(&command, &matches));
    let flags = F::from_arg_matches(&matches).map_err(|error| error.format(&mut command.clone()));
    let flags = flags.map_err(|problem| problems.push(problem)).ok();
    let report = report(listed(&command, &matches), given, warnings);
    Reading { flags: flags.map(|flags| (flags, report)), problems }
}

fn report(mut listed: BTreeMap<String, String>, given: Vec<Given>, warnings: Vec<String>) -> Report {
    let mut origins = BTreeMap::new();
    for given in given {
        if let Some(shown) = given.shown {
            listed.insert(given.name.clone(), shown);
        }
        if let Some(old) = given.old_name
            && let Some(value) = listed.remove(&given.name)
        {
            listed.insert(old, value);
        }
        origins.insert(given.name, given.origin);
    }
    Report { listed, origins, warnings }
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
