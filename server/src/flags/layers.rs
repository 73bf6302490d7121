//! What stands behind the command line: the environment, the file of `--config_file`, and what was discovered.

use std::{ffi::OsString, path::Path};

use clap::{Arg, Command};
use serde_json::Value;

use super::{
    arguments::error,
    names::{all_names, find, known, spelled, suggestion},
    origin::Origin,
};

/// The flag that names the file.
pub(super) const CONFIG_FILE: &str = "config_file";
/// What `mezzo install discover` writes begins so, and has the last word before the defaults.
const DISCOVERED: &str = "MEZZO_DISCOVERED_";

/// A flag of a place: the name by which it is there, the value, and where exactly; or what is wrong with it.
pub(super) type Entry = Result<(String, String, Origin), clap::Error>;

/// `MEZZO_<FLAG>` and `MESOS_<FLAG>`, upper or lower case, old names too; libprocess' variables for addresses.
pub(super) fn environment(command: &Command, variable: &impl Fn(&str) -> Option<OsString>) -> Vec<Entry> {
    let given = known(command).filter_map(|argument| in_environment(argument, variable));
    given
        .map(|(name, variable_name, value)| {
            Ok((name, text(command, &variable_name, value)?, Origin::Variable(variable_name)))
        })
        .collect()
}

fn in_environment(argument: &Arg, variable: &impl Fn(&str) -> Option<OsString>) -> Option<(String, String, OsString)> {
    ["MEZZO_", "MESOS_", "LIBPROCESS_"].iter().find_map(|prefix| {
        let wanted = |name: &&str| *prefix != "LIBPROCESS_" || is_libprocess(name);
        all_names(argument).into_iter().filter(wanted).find_map(|name| {
            [format!("{prefix}{}", name.to_ascii_uppercase()), format!("{prefix}{name}")]
                .into_iter()
                .find_map(|variable_name| variable(&variable_name).map(|value| (name.to_owned(), variable_name, value)))
        })
    })
}

fn is_libprocess(name: &str) -> bool {
    matches!(name, "ip" | "port" | "advertise_ip" | "advertise_port")
}

/// `MEZZO_DISCOVERED_<FLAG>`.
pub(super) fn discovered(command: &Command, variable: &impl Fn(&str) -> Option<OsString>) -> Vec<Entry> {
    let found = known(command).filter_map(Arg::get_long).filter_map(|name| {
        let variable_name = format!("{DISCOVERED}{}", name.to_ascii_uppercase());
        Some((name.to_owned(), variable(&variable_name)?, variable_name))
    });
    found
        .map(|(name, value, variable_name)| {
            Ok((name, text(command, &variable_name, value)?, Origin::Discovered(variable_name)))
        })
        .collect()
}

fn text(command: &Command, variable: &str, value: OsString) -> Result<String, clap::Error> {
    value.into_string().map_err(|_| error(command, format!("{variable} in the environment is no text")))
}

/// The file: TOML, a line `flag = value` for each flag. Tables and lists of tables are JSON of those flags that take it.
pub(super) fn file(command: &Command, path: &Path) -> Vec<Entry> {
    let wrong = |what: String| error(command, format!("--{CONFIG_FILE}={}: {what}", path.display()));
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(failure) => return vec![Err(wrong(format!("cannot be read: {failure}")))],
    };
    // A line is told by its number: it may hold a secret.
    let table: toml::Table = match toml::from_str(&text) {
        Ok(table) => table,
        Err(failure) => {
            let line = failure.span().map_or(1, |span| text[..span.start.min(text.len())].lines().count().max(1));
            return vec![Err(wrong(format!("line {line} is no TOML: {}", failure.message())))];
        }
    };
    let entry = |(key, value): (String, toml::Value)| {
        let name = spelled(&key);
        if find(command, &name).is_none() || name == CONFIG_FILE {
            let meant = suggestion(command, &name).map(|name| format!("; did you mean {name}?")).unwrap_or_default();
            return Err(wrong(format!("'{key}' is no flag{meant}")));
        }
        let value = written(&value).ok_or_else(|| wrong(format!("{key}: a date is no value of a flag")))?;
        Ok((name, value, Origin::File(path.to_path_buf())))
    };
    table.into_iter().map(entry).collect()
}

/// As it would stand on a command line.
fn written(value: &toml::Value) -> Option<String> {
    Some(match value {
        toml::Value::String(text) => text.clone(),
        toml::Value::Integer(number) => number.to_string(),
        toml::Value::Float(number) => number.to_string(),
        toml::Value::Boolean(truth) => truth.to_string(),
        toml::Value::Array(list) if list.iter().all(|one| !one.is_table() && !one.is_array()) => {
            list.iter().map(written).collect::<Option<Vec<_>>>()?.join(",")
        }
        toml::Value::Array(_) | toml::Value::Table(_) => serde_json::to_value(value).ok()?.to_string(),
        toml::Value::Datetime(_) => return None,
    })
}

/// Names of a JSON object, without what they stand for.
pub(super) fn names_only(text: &str) -> String {
    match serde_json::from_str(text) {
        Ok(Value::Object(object)) => {
            let masked = object.into_iter().map(|(name, _)| (name, Value::from("***"))).collect();
            Value::Object(masked).to_string()
        }
        _ => "***".to_owned(),
    }
}
