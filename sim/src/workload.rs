//! What tasks do, written as the text of their command so that it travels through the real messages.

use std::time::Duration;

/// A task's program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// Runs for a time, then exits with a code; `stubborn` ones ignore SIGTERM.
    Run {
        /// How long, in milliseconds.
        for_ms: u64,
        /// Exit code.
        code: u8,
        /// Ignores SIGTERM.
        stubborn: bool,
    },
    /// A custom executor.
    Executor,
}

/// What custom executors are started with.
pub const EXECUTOR: &str = "sim-executor";

impl Program {
    /// The program that this command stands for; an unknown one ends at once with 127, as a shell does.
    pub fn read(text: &str) -> Self {
        Self::parse(text).unwrap_or(Self::Run { for_ms: 1, code: 127, stubborn: false })
    }

    /// The program that this command stands for, if it is one of the simulator's.
    pub fn parse(text: &str) -> Option<Self> {
        if text == EXECUTOR {
            return Some(Self::Executor);
        }
        let mut words = text.split(' ');
        if words.next()? != "run" {
            return None;
        }
        let for_ms = words.next()?.parse().ok()?;
        let code = words.next()?.parse().ok()?;
        Some(Self::Run { for_ms, code, stubborn: words.next() == Some("stubborn") })
    }

    /// The command's text.
    pub fn text(&self) -> String {
        match self {
            Self::Run { for_ms, code, stubborn } => {
                format!("run {for_ms} {code}{}", if *stubborn { " stubborn" } else { "" })
            }
            Self::Executor => EXECUTOR.to_owned(),
        }
    }

    /// How long it runs if nobody ends it.
    pub fn duration(&self) -> Duration {
        match self {
            Self::Run { for_ms, .. } => Duration::from_millis(*for_ms),
            Self::Executor => Duration::from_secs(1_000_000_000),
        }
    }

    /// Whether it ignores SIGTERM.
    pub fn stubborn(&self) -> bool {
        matches!(self, Self::Run { stubborn: true, .. })
    }

    /// The raw wait status of its own end.
    pub fn wait_status(&self) -> i32 {
        match self {
            Self::Run { code, .. } => i32::from(*code) << 8,
            Self::Executor => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_wrote() {
        for program in [
            Program::Executor,
            Program::Run { for_ms: 60_000, code: 0, stubborn: false },
            Program::Run { for_ms: 1, code: 3, stubborn: true },
        ] {
            assert_eq!(Program::read(&program.text()), program);
        }
        assert_eq!(Program::read("nonsense").wait_status(), 127 << 8);
    }
}
