//! Names of what a simulated cluster is made of.

use std::fmt;

/// A machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Host {
    /// One of the machines that masters run on.
    Master(u8),
    /// An agent's.
    Agent(u16),
    /// A framework's.
    Framework(u16),
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Master(number) => write!(f, "master{number}"),
            Self::Agent(number) => write!(f, "agent{number}"),
            Self::Framework(number) => write!(f, "framework{number}"),
        }
    }
}

/// What a host serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Service {
    /// A master.
    Master,
    /// An agent's executor API.
    Agent,
}

/// One run of a program; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProcessId(pub u32);

impl fmt::Display for ProcessId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}
