//! Flags of Mesos that a server knows by name only. A value that would change what the server does is refused, so that
//! nobody believes in a protection or a policy that is not there; the others are taken and change nothing.

use clap::{Arg, ArgMatches, Command, parser::ValueSource};

use super::arguments::error;

/// The flags of Mesos that one server knows by name only.
#[derive(Clone, Copy, Debug)]
pub struct Elsewhere {
    /// What the server calls itself when it refuses.
    pub server: &'static str,
    /// Old names of flags, and what these are called today.
    pub old_names: &'static [(&'static str, &'static str)],
    /// Settings of machinery that Mezzo does not have, with Mesos' default: any value is taken.
    pub no_effect: &'static [(&'static str, Option<&'static str>)],
    /// Settings of which only Mesos' default is known here.
    pub only_default: &'static [(&'static str, &'static str)],
    /// Settings that are not known here at all.
    pub not_known: &'static [&'static str],
}

impl Elsewhere {
    /// The command with these flags too, hidden from its help.
    pub fn added_to(&self, command: Command) -> Command {
        let no_effect = self.no_effect.iter().map(|(name, default)| argument(name, *default));
        let only_default = self.only_default.iter().map(|(name, default)| argument(name, Some(default)));
        let not_known = self.not_known.iter().map(|name| argument(name, None));
        let command = command.args(no_effect.chain(only_default).chain(not_known));
        self.old_names
            .iter()
            .fold(command, |command, (old, name)| command.mut_arg(name, |argument| argument.alias(*old)))
    }

    /// What would be believed and not done.
    pub(super) fn refused(&self, command: &Command, matches: &ArgMatches) -> Vec<clap::Error> {
        let given = |name: &str| {
            let chosen = matches.value_source(name) == Some(ValueSource::CommandLine);
            matches.get_one::<String>(name).filter(|_| chosen)
        };
        let server = self.server;
        let only_default = self.only_default.iter().filter_map(|(name, default)| {
            let value = given(name).filter(|value| truth(value) != *default)?;
            Some(format!("--{name}={value} is not supported: this {server} knows only --{name}={default}"))
        });
        let not_known = self.not_known.iter().filter(|name| given(name).is_some());
        let not_known =
            not_known.map(|name| format!("--{name} is a flag of Apache Mesos that this {server} does not support"));
        only_default.chain(not_known).map(|message| error(command, message)).collect()
    }
}

fn argument(name: &'static str, default: Option<&'static str>) -> Arg {
    let argument = Arg::new(name).long(name).hide(true);
    match default {
        Some(default @ ("true" | "false")) => {
            argument.num_args(0..=1).require_equals(true).default_missing_value("true").default_value(default)
        }
        Some(default) => argument.default_value(default),
        None => argument,
    }
}

/// Mesos' other way of writing booleans.
fn truth(text: &str) -> &str {
    match text {
        "1" => "true",
        "0" => "false",
        other => other,
    }
}
