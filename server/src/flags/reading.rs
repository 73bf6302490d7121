//! What comes of reading flags: whatever can be read, and everything that is wrong with the rest.

use clap::{
    ArgMatches, Command,
    error::{ContextKind, ContextValue, ErrorKind},
};

use super::arguments::{Arguments, error};

/// Flags as far as they could be read.
#[derive(Debug)]
pub struct Reading<F> {
    /// The flags, without those that are wrong; none where what is left is not enough.
    pub flags: Option<F>,
    /// Everything that is wrong; or, alone, the answer to `--help` or `--version`.
    pub problems: Vec<clap::Error>,
}

impl<F> Reading<F> {
    /// Whether the flags ask for help or for the version: there is nothing to be wrong then.
    #[must_use]
    pub fn is_question(&self) -> bool {
        self.problems.first().is_some_and(|problem| !problem.use_stderr())
    }

    /// What is wrong, a sentence for each.
    pub fn sentences(&self) -> impl Iterator<Item = String> + '_ {
        self.problems.iter().map(sentence)
    }

    /// The flags, if all of them are right.
    ///
    /// # Errors
    /// All that is wrong, in one error of `command`.
    pub fn whole(mut self, command: &Command) -> Result<F, clap::Error> {
        match (self.problems.len(), self.flags.take()) {
            (0, Some(flags)) => Ok(flags),
            (1, _) => Err(self.problems.remove(0)),
            (count, _) => {
                let lines: String =
                    self.sentences().map(|line| format!("\n  {}", line.replace('\n', "\n  "))).collect();
                Err(error(command, format!("{count} things are wrong with the flags:{lines}")))
            }
        }
    }
}

/// An error without its frame: neither `error:` nor how to get help.
fn sentence(problem: &clap::Error) -> String {
    let text = problem.to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    text.split("\n\n").next().unwrap_or(text).trim_end().to_owned()
}

/// The flag that an error is about.
pub(super) fn about(problem: &clap::Error) -> Option<&str> {
    let Some(ContextValue::String(argument)) = problem.get(ContextKind::InvalidArg) else { return None };
    argument.trim_start_matches("--").split([' ', '=', '[']).next()
}

/// Parses what was given; what clap refuses is left out, one flag after the other, until it takes the rest.
pub(super) fn matched(arguments: &mut Arguments, command: &Command) -> Option<ArgMatches> {
    loop {
        let problem = match command.clone().try_get_matches_from(&arguments.line) {
            Ok(matches) => return Some(matches),
            Err(problem) => problem,
        };
        if !problem.use_stderr() {
            arguments.problems = vec![problem];
            return None;
        }
        if problem.kind() == ErrorKind::MissingRequiredArgument {
            arguments.problems.extend(missing(problem, &arguments.left_out, command));
            return None;
        }
        let named = about(&problem).map(str::to_owned);
        arguments.problems.push(arguments.redacted(problem, command));
        if !named.is_some_and(|name| arguments.leave_out(&name)) {
            return None;
        }
    }
}

/// What is missing, but for that which was given and is wrong.
fn missing(problem: clap::Error, left_out: &[String], command: &Command) -> Option<clap::Error> {
    let Some(ContextValue::Strings(wanted)) = problem.get(ContextKind::InvalidArg) else { return Some(problem) };
    let was_given = |flag: &&String| {
        let name = flag.trim_start_matches("--").split([' ', '=']).next().unwrap_or_default();
        left_out.iter().any(|left_out| left_out == name)
    };
    let missing: Vec<&str> = wanted.iter().filter(|flag| !was_given(flag)).map(String::as_str).collect();
    match missing.len() {
        0 => None,
        all if all == wanted.len() => Some(problem),
        _ => {
            Some(error(command, format!("the following required arguments were not provided: {}", missing.join(", "))))
        }
    }
}
