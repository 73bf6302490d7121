//! The proof that the simulator bites: realistic bugs, put back one at a time (`mezzo_api::mutants`), each to be found
//! within its budget of seeds.

/// A bug.
#[derive(Clone, Copy, Debug)]
pub struct Mutant {
    /// As the cores name it.
    pub name: &'static str,
    /// What is wrong with it.
    pub about: &'static str,
    /// Who is to find it.
    pub simulation: Simulation,
    /// Few seeds find it: this one did, and is tried before the others.
    pub first: Option<u64>,
}

/// One of the two simulations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Simulation {
    /// Whole clusters.
    Cluster,
    /// Elections.
    Election,
}

/// So many seeds are tried for each.
pub const BUDGET: u64 = 400;

/// So many steps beside the oracle, for each of [`OF_THE_ALLOCATOR`].
pub const ORACLE_BUDGET: u64 = 24_000;

const fn mutant(name: &'static str, about: &'static str) -> Mutant {
    Mutant { name, about, simulation: Simulation::Cluster, first: None }
}

const fn rare(name: &'static str, about: &'static str, seed: u64) -> Mutant {
    Mutant { first: Some(seed), ..mutant(name, about) }
}

const fn of_election(name: &'static str, about: &'static str) -> Mutant {
    Mutant { simulation: Simulation::Election, ..mutant(name, about) }
}

/// All of them.
pub const MUTANTS: &[Mutant] = &[
    mutant("stream-id-unchecked", "the master takes calls under the id of a stream that was replaced"),
    mutant("offer-reused", "the master forgets to take an accepted offer out of its index"),
    mutant("offer-of-another", "the master lets a framework accept another's offer"),
    mutant("resources-freed-twice", "a task's end frees its resources twice in the allocator"),
    mutant("registered-before-durable", "an agent is told its id before the registry knows it"),
    mutant("unknown-outcome-taken-for-success", "a registry write that may have failed is taken for done"),
    mutant("unknown-outcome-forgotten", "a registry write that may have failed is never asked again"),
    mutant("fence-ignored", "a master that the registry has refused goes on"),
    mutant("fence-skipped", "the registry takes writes of a leader that was replaced"),
    rare("lease-ignored", "a leader that was frozen goes on before it knows whether it still leads", 77),
    mutant("failover-timer-kept", "a framework's return does not stop its failover timer"),
    mutant("ping-timer-inherited", "a new leader counts the silence of agents that it has never heard of"),
    rare("silence-forgiven", "missed pings are never counted up", 146),
    mutant("removals-not-paced", "the master gives up silent agents faster than it was told to"),
    rare("late-word-ignored", "the master gives up an agent that spoke while it waited for its turn", 107),
    mutant("missing-tasks-unasked", "the master does not ask a returning agent for tasks that it did not report"),
    mutant("returning-tasks-ignored", "tasks of an agent that was unreachable are not taken back into the books"),
    mutant("suppression-ignored", "the allocator offers to frameworks that want none"),
    mutant("filter-ignored", "the allocator offers again what was just declined"),
    mutant("filter-never-expires", "the allocator never offers again what was once declined"),
    mutant("partition-awareness-assumed", "TASK_UNREACHABLE is sent to frameworks that do not know it"),
    mutant("older-term-obeyed", "an agent obeys a master that was replaced"),
    mutant("update-sent-before-recorded", "an agent sends an update before it has written it down"),
    mutant("terminal-update-unsynced", "an agent sends a terminal update that a power cut takes back"),
    mutant("acknowledgement-unrecorded", "an agent forgets acknowledgements when it restarts"),
    mutant("update-dropped-on-resubscription", "an agent drops an update when the framework resubscribes"),
    mutant("exit-code-misread", "an agent takes any exit for a success"),
    mutant("lost-task-not-dropped", "an agent does not answer for a task that never came to it"),
    mutant("running-tasks-unreported", "an agent leaves running tasks out of its report"),
    mutant("operation-status-unrecorded", "an agent tells of an operation that it has not written down"),
    mutant("operation-acknowledgement-unrecorded", "an agent forgets that a status of an operation was acknowledged"),
    mutant("missing-operations-unasked", "the master does not ask a returning agent for operations that it never got"),
    mutant("speculation-kept", "the master believes in reservations that a returning agent does not have"),
    mutant("group-outlives-failure", "an agent lets the group of a failed task of a pod run on"),
    mutant("drain-spares-tasks", "an agent that is drained lets its tasks run"),
    mutant("drained-agent-offered", "a master offers what a drained agent has"),
    mutant("drained-with-tasks", "a master takes an agent for drained that has tasks"),
    mutant("limit-ignored", "offers pass the limits of quotas"),
    mutant("headroom-ignored", "what is kept for guarantees is given away"),
    mutant("quota-forgotten", "a new leader does not read quotas from the registry"),
    mutant("whitelist-ignored", "a master offers agents that the whitelist leaves out"),
    mutant("newcomer-listed", "an agent that registers is not looked for on the whitelist"),
    mutant("volume-in-use-destroyed", "a master lets a volume be destroyed that a task uses"),
    mutant("volume-kept-on-disk", "an agent leaves the data of a destroyed volume"),
    mutant("volumes-left-out-of-snapshot", "an agent that compacts its log forgets reservations and volumes"),
    mutant("allotment-unchanged", "an agent does not tell that an executor's container may use more or less"),
    mutant("limitation-untold", "an agent takes the end of a process that took too much for any other"),
    mutant("silence-unnoticed", "a scheduler's driver does not notice that its stream is dead"),
    mutant("never-reconciled", "a scheduler's driver never asks what became of its tasks"),
    mutant("returned-task-kept", "a supervisor keeps a task that came back beside the one that took its place"),
    of_election("lease-never-ends", "a leader that ZooKeeper does not answer does not step down"),
    of_election("serves-while-suspended", "a leader acts while its connection with ZooKeeper is lost"),
    of_election("thaws-as-leader", "a leader that was frozen goes on without asking ZooKeeper"),
    of_election("challenge-unanswered", "a living leader does not answer a challenge"),
    of_election("removed-unnoticed", "a leader whose znode is gone does not step down"),
    rare("executor-forgets-updates", "an executor's driver does not repeat updates after its agent's restart", 387),
];

/// Those of the allocator's own, which its oracle finds.
pub const OF_THE_ALLOCATOR: &[Mutant] = &[
    mutant("limit-ignored", "offers pass the limits of quotas"),
    mutant("headroom-ignored", "what is kept for guarantees is given away"),
    mutant("share-kept", "what a framework gives back still counts for its share"),
    mutant("weight-ignored", "all roles count the same"),
    mutant("reservation-uncounted", "reservations do not count against quota"),
    mutant("subtree-unlimited", "a limit holds for its role, and not for those below it"),
    mutant("refusal-outlives-revive", "who asks for offers again is still taken to refuse"),
];
