//! The arguments of the operator's verbs.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use clap_complete::Shell;

/// What all of them take.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Options {
    /// The master, host:port; several with commas between, or zk://host:port,…/path; the one that leads is found
    #[arg(long, global = true, help_heading = "Cluster", value_name = "MASTER", env = "MEZZO_MASTER")]
    pub(crate) master: Option<String>,
    /// Write JSON, for scripts
    #[arg(long, global = true, help_heading = "Output")]
    pub(crate) json: bool,
}

/// A verb with its options.
#[derive(Debug)]
pub(crate) enum Verb {
    Agent { options: Options, command: Agent },
    Framework { options: Options, command: Framework },
    Task { options: Options, command: Task },
    Policy { options: Options, command: Policy },
    Top { options: Options, once: bool, interval: f64 },
    Events { options: Options },
    Doctor { options: Options },
    Completions { shell: Shell },
    Man { directory: PathBuf },
}

/// What every verb says of its end.
pub(crate) const EXIT_STATUS: &str = "\
The master is that of --master, MEZZO_MASTER, MESOS_MASTER, the file that MEZZO_CONFIG names, ~/.config/mezzo/config.toml
(master = \"host:port,host:port\") or ~/.mesos/config.toml, else 127.0.0.1:5050. Ids may be cut where it is clear which one is meant.

Exit status:
  0    done
  1    the master refuses, or knows nothing of the kind
  2    the arguments or the configuration are wrong, or --yes is missing
  125  no master can be reached, or none leads";

/// `mezzo agent …`
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Agent {
    /// List agents with what they have and use
    #[command(visible_alias = "ls")]
    List,
    /// Show one agent and its tasks
    Show {
        /// The agent's id
        agent: String,
    },
    /// Offer nothing of the agent any more, and end its tasks
    Drain {
        /// The agent's id
        agent: String,
        /// How long tasks may take to end, e.g. 10mins, whatever they would like
        #[arg(long, value_name = "DURATION")]
        max_grace_period: Option<String>,
        /// Mark the agent gone when it is drained
        #[arg(long)]
        mark_gone: bool,
        /// Wait until it is drained
        #[arg(long)]
        wait: bool,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
    /// Offer nothing of the agent any more; its tasks go on
    Deactivate {
        /// The agent's id
        agent: String,
    },
    /// Offer a drained or deactivated agent again
    Reactivate {
        /// The agent's id
        agent: String,
    },
    /// Say that the agent will never come back: its tasks are lost
    Gone {
        /// The agent's whole id
        agent: String,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
}

/// The words after `mezzo agent` that are verbs, and no start of an agent.
pub(crate) const AGENT_VERBS: [&str; 8] = ["list", "ls", "show", "drain", "deactivate", "reactivate", "gone", "help"];

/// `mezzo framework …`
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Framework {
    /// List frameworks
    #[command(visible_alias = "ls")]
    List {
        /// Completed ones too
        #[arg(long, short)]
        all: bool,
    },
    /// Show one framework
    Show {
        /// The framework's id
        framework: String,
    },
    /// End a framework and all its tasks
    Teardown {
        /// The framework's id
        framework: String,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
}

const EXEC_HELP: &str = "\
The command runs beside the task's own processes: as its user, in its sandbox, namespaces,
cgroups and root, with its environment.
It is reached through the master, so the agent may be behind any NAT.
When the agent is restarted the session goes on. When this program ends, or is detached from
(with --tty: Ctrl-P Ctrl-Q), the command ends too.

Examples:
  mezzo task exec web-3 ls -l
  mezzo task exec -it web-3 bash
  mezzo task exec -i web-3 sh -c 'cat > new.conf' < new.conf

Exit status:
  that of the command; 1 if there is no such program; 128+N if signal N ended it
  125  no session could be opened beside the task, or it was lost sight of";

const ATTACH_HELP: &str = "\
A task that has a terminal (tty_info in its ContainerInfo) gets what is typed here, Ctrl-C too; Ctrl-P Ctrl-Q leaves it alone
again. Of any other task the lines that it appends to stdout and stderr are shown.

Exit status:
  that of the task; 128+N if signal N ended it; 0 after detaching
  125  the task is not to be reached";

/// `mezzo task …`
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Task {
    /// List tasks that have not ended
    #[command(visible_alias = "ls")]
    List {
        /// Ended ones too
        #[arg(long, short)]
        all: bool,
        /// Of this framework only
        #[arg(long, value_name = "ID")]
        framework: Option<String>,
        /// On this agent only
        #[arg(long, value_name = "ID")]
        agent: Option<String>,
    },
    /// Show one task and what happened to it
    Show {
        /// The task's id
        task: String,
        /// The framework, if several have a task of this id
        #[arg(long, value_name = "ID")]
        framework: Option<String>,
    },
    /// Show what a task has written
    Logs(crate::args::Logs),
    /// Run a command in a running task, wherever its agent is
    #[command(after_help = EXEC_HELP)]
    Exec {
        /// The framework, if several have a task of this id
        #[arg(long, value_name = "ID")]
        framework: Option<String>,
        /// Give the command what is typed here
        #[arg(long, short)]
        interactive: bool,
        /// Give the command a terminal, of this one's size
        #[arg(long, short)]
        tty: bool,
        /// The task's id
        task: String,
        /// The command and its arguments
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// Show what a running task writes from now on, and give its terminal what is typed here
    #[command(after_help = ATTACH_HELP)]
    Attach {
        /// The framework, if several have a task of this id
        #[arg(long, value_name = "ID")]
        framework: Option<String>,
        /// Only show
        #[arg(long)]
        no_stdin: bool,
        /// The task's id
        task: String,
    },
    /// Kill a task, as its framework would
    Kill {
        /// The task's id
        task: String,
        /// The framework, if several have a task of this id
        #[arg(long, value_name = "ID")]
        framework: Option<String>,
    },
}

/// What the cluster is to give to whom.
#[derive(Clone, Debug)]
pub(crate) enum Policy {
    Roles,
    Quota(Quota),
    Weight(Weight),
    Reserve(Reservation),
    Unreserve(Reservation),
    Volume(Volume),
    Maintenance(Maintenance),
}

/// `mezzo reserve` and `mezzo unreserve`
#[derive(Args, Clone, Debug)]
pub(crate) struct Reservation {
    /// The agent's id
    pub(crate) agent: String,
    /// What, e.g. 'cpus:2;mem:1024'
    pub(crate) resources: String,
    /// For which role
    #[arg(long, value_name = "ROLE")]
    pub(crate) role: String,
    /// In whose name
    #[arg(long, value_name = "PRINCIPAL")]
    pub(crate) principal: Option<String>,
}

/// `mezzo role …`
#[derive(Clone, Copy, Debug, Subcommand)]
pub(crate) enum Role {
    /// List roles with what they have
    #[command(visible_alias = "ls")]
    List,
}

/// `mezzo quota …`
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Quota {
    /// List quotas
    #[command(visible_alias = "ls")]
    List,
    /// Set a role's guarantee and limit
    Set {
        /// The role
        role: String,
        /// What it can count on, e.g. 'cpus:10;mem:4096'
        #[arg(long, value_name = "RESOURCES")]
        guarantee: Option<String>,
        /// What it never gets more of
        #[arg(long, value_name = "RESOURCES")]
        limit: Option<String>,
        /// Also if the cluster has not so much, or the role uses more
        #[arg(long)]
        force: bool,
    },
    /// Take a role's quota away
    Remove {
        /// The role
        role: String,
    },
}

/// `mezzo weight …`
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Weight {
    /// List weights that were set
    #[command(visible_alias = "ls")]
    List,
    /// Set a role's weight: with 2 it gets twice the share of a role with 1
    Set {
        /// The role
        role: String,
        /// Above 0
        weight: f64,
    },
}

/// `mezzo volume …`
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Volume {
    /// List persistent volumes
    #[command(visible_alias = "ls")]
    List,
    /// Create a persistent volume on disk that is reserved for a role
    Create {
        /// The agent's id
        agent: String,
        /// The volume's id, unique on its agent and for its role
        #[arg(long, value_name = "ID")]
        id: String,
        /// Where containers see it, relative to their sandbox
        #[arg(long, value_name = "PATH")]
        path: String,
        /// Megabytes
        #[arg(long, value_name = "MB")]
        size: f64,
        /// The role for which the disk is reserved
        #[arg(long, value_name = "ROLE")]
        role: String,
        /// In whose name
        #[arg(long, value_name = "PRINCIPAL")]
        principal: Option<String>,
    },
    /// Destroy a persistent volume and what is in it
    Destroy {
        /// The agent's id
        agent: String,
        /// The volume's id
        id: String,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
}

/// `mezzo maintenance …`; a machine is a host name, an address, or HOST/ADDRESS
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Maintenance {
    /// Show which machines drain or are down, and when
    Status,
    /// Plan a maintenance of machines
    Plan {
        /// The machines
        #[arg(required = true)]
        machines: Vec<String>,
        /// When it begins, from now on, e.g. 2hrs
        #[arg(long = "in", default_value = "0secs", value_name = "DURATION")]
        start: String,
        /// How long it takes
        #[arg(long = "for", value_name = "DURATION")]
        duration: Option<String>,
    },
    /// Replace the whole schedule by that of a JSON file, `-` for standard input
    Schedule {
        /// {"windows": [{"machine_ids": […], "unavailability": {…}}]}
        file: PathBuf,
    },
    /// Take scheduled machines down: their agents shut down
    Start {
        /// The machines
        #[arg(required = true)]
        machines: Vec<String>,
    },
    /// Bring machines up again
    Stop {
        /// The machines
        #[arg(required = true)]
        machines: Vec<String>,
    },
}
