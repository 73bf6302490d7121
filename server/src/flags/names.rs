//! The names of flags: spellings, old names, and what was probably meant.

use clap::{Arg, ArgAction, Command};

/// Below this likeness (Jaro-Winkler) a name is no guess worth telling.
const LIKE: f64 = 0.8;
/// Flags of which one is enough: a value from a place that comes later stands back behind any of the other side.
const RIVALS: [(&str, &[&str]); 5] = [
    ("ip", &["ip_discovery_command"]),
    ("ip_discovery_command", &["ip"]),
    ("domain", &["region", "zone"]),
    ("region", &["domain"]),
    ("zone", &["domain"]),
];
/// Flags whose values are nobody's business: the names in them may be told, no more.
const SECRET: [&str; 4] = ["credential", "credentials", "executor_environment_variables", "http_credentials"];

/// In lower case and with underscores.
pub(super) fn spelled(name: &str) -> String {
    name.to_ascii_lowercase().replace('-', "_")
}

/// The flag of that name, or of that old name.
pub(super) fn find<'a>(command: &'a Command, name: &str) -> Option<&'a Arg> {
    command.get_arguments().find(|argument| {
        argument.get_long() == Some(name) || argument.get_all_aliases().is_some_and(|aliases| aliases.contains(&name))
    })
}

/// Every flag, but for those that only ask.
pub(super) fn known(command: &Command) -> impl Iterator<Item = &Arg> {
    command.get_arguments().filter(|argument| !matches!(argument.get_long(), None | Some("help" | "version")))
}

/// Its name, and its old ones.
pub(super) fn all_names(argument: &Arg) -> Vec<&str> {
    argument.get_long().into_iter().chain(argument.get_all_aliases().unwrap_or_default()).collect()
}

pub(super) fn is_boolean(argument: &Arg) -> bool {
    matches!(argument.get_action(), ArgAction::Set)
        && argument.get_num_args().is_some_and(|count| count.min_values() == 0)
}

/// Whether its value is a JSON document, which may stand in a file that is named by its path alone. One takes such a path itself.
pub(super) fn is_json(argument: &Arg) -> bool {
    argument.get_long() != Some("docker_config")
        && argument.get_value_names().is_some_and(|names| names.iter().any(|name| name.as_str() == "JSON"))
}

pub(super) fn is_secret(name: &str) -> bool {
    SECRET.contains(&name)
}

/// What says the same as this flag, in another way.
pub(super) fn rivals(name: &str) -> &'static [&'static str] {
    RIVALS.iter().find(|(of, _)| *of == name).map_or(&[], |(_, rivals)| rivals)
}

/// What was probably meant.
pub(super) fn suggestion<'a>(command: &'a Command, name: &str) -> Option<&'a str> {
    let likeness = |known: &str| strsim::jaro_winkler(known, name);
    known(command)
        .flat_map(all_names)
        .filter(|known| likeness(known) >= LIKE)
        .max_by(|one, other| likeness(one).total_cmp(&likeness(other)))
}
