//! Keys of the core's entities: small, never used twice, resolved without hashing text.

slotmap::new_key_type! {
    /// A framework that is not completed.
    pub(crate) struct FrameworkKey;
    /// A registered agent.
    pub(crate) struct AgentKey;
    /// A task that holds resources or waits for the acknowledgement of its end.
    pub(crate) struct TaskKey;
}

/// The number in an offer's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct OfferNumber(pub(crate) u64);
