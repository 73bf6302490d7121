//! What would keep a master from starting, as far as that can be told beforehand.

use crate::{
    flags::{Flags, Registry},
    run::{self, StartError},
};

/// Everything that is wrong with what these flags say, a sentence for each.
#[must_use]
pub fn problems(flags: &Flags) -> Vec<String> {
    let domain = flags.fault_domain().err().map(StartError::from);
    let embedded = flags.registry() == Registry::Embedded;
    let work_dir = (embedded && flags.work_dir.is_none()).then_some(StartError::NoWorkDir);
    let whitelist = run::open_whitelist(flags).err();
    [domain, work_dir, whitelist].into_iter().flatten().map(|problem| problem.to_string()).collect()
}
