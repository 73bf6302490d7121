//! Which agents are taken at all.

use mezzo_api::{resources::Resources, v1::AgentInfo};
use prost::Message;

use crate::core::Core;

/// A larger description would not fit into what the registry may write at once.
const MAX_INFO_BYTES: usize = 256 * 1024;

/// Why an agent is not taken. It is told so, and tries again: a flag of either side may change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Inadmissible {
    /// What it says it has is of no use.
    #[error("its resources are invalid: {0}")]
    Resources(String),
    /// Its description does not fit.
    #[error(
        "its description has {0} bytes, and at most {MAX_INFO_BYTES} are taken: it has too many resources or attributes"
    )]
    TooLarge(usize),
    /// A region of its own, and none to compare with (src/master/master.cpp, registerSlave).
    #[error(
        "it has a domain (--domain or --region and --zone), and this master has none: give the masters theirs first"
    )]
    UnexpectedDomain,
    /// `--require_agent_domain`.
    #[error("it has no domain, and this master requires one (--require_agent_domain): give it --region and --zone")]
    MissingDomain,
}

impl Core {
    pub(super) fn admissible(&self, info: &AgentInfo) -> Result<(), Inadmissible> {
        Resources::from_protos(&info.resources).map_err(|error| Inadmissible::Resources(error.to_string()))?;
        let bytes = info.encoded_len();
        if bytes > MAX_INFO_BYTES {
            return Err(Inadmissible::TooLarge(bytes));
        }
        match &info.domain {
            Some(_) if self.config.master_info.domain.is_none() => Err(Inadmissible::UnexpectedDomain),
            None if self.config.lifecycle.require_agent_domain => Err(Inadmissible::MissingDomain),
            _ => Ok(()),
        }
    }
}
