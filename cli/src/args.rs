//! The command line.

use std::{ffi::OsString, path::PathBuf};

use clap::{Args, Parser, Subcommand};

use crate::install::args::{Config, Install};
use crate::operate::{
    self, Options, Verb,
    args::{EXIT_STATUS, Policy},
};

/// Run and use a Mezzo cluster.
#[derive(Debug, Parser)]
#[command(name = "mezzo", version, about, max_term_width = 100, arg_required_else_help = true, after_help = EXAMPLES)]
pub(crate) struct Mezzo {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// A file that says who you are, {"principal":"…","secret":"…"}, for masters that ask
    #[arg(long, global = true, help_heading = "Cluster", value_name = "FILE", env = "MEZZO_CREDENTIAL")]
    pub(crate) credential: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  mezzo local                                  a whole cluster on this machine, until Ctrl-C
  mezzo local --agents=3 --demo                … with three agents, and a first task on it
  mezzo run -- echo hello                      run a command on the cluster, see its output
  mezzo run --resources='cpus:2;mem:512' --shell -- 'make test | tail -3'
  mezzo agent list                             what the cluster has; also framework, task, role
  mezzo top                                    who uses what, live; `events` tells what happens
  mezzo doctor                                 what is wrong with the cluster
  mezzo registry dump --zk=zk://z1,z2,z3/mezzo > copy.json
  mezzo explain --framework=ID                 why it is not offered what it waits for
  mezzo task logs -f web-3                     what a task has written, and what it writes
  mezzo task exec -it web-3 bash               a shell in a task, wherever it runs
  mezzo config check agent                     what the agent's service would be told, and from where
  mezzo install user-data --help               user-data for new machines of a cloud
  mezzo master --work_dir=/var/lib/mezzo       one part of a real cluster
  mezzo agent --master=10.0.0.1:5050 --work_dir=/var/lib/mezzo-agent";

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start a cluster on this machine and keep it until Ctrl-C
    Local(Local),
    /// Run one command on a cluster, with its output and its exit code
    Run(Run),
    /// Copy what masters remember, or put a copy back
    #[command(subcommand)]
    Registry(Registry),
    /// Tell why a framework is not offered what it waits for
    Explain(Explain),
    /// Start a master (`mezzo master --help` tells its flags)
    #[command(disable_help_flag = true)]
    Master {
        /// The master's flags
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        flags: Vec<OsString>,
    },
    /// List, show and manage agents; with flags, start one (`mezzo agent --help` tells them)
    #[command(after_help = EXIT_STATUS)]
    Agent {
        #[command(flatten)]
        options: Options,
        #[command(subcommand)]
        command: operate::args::Agent,
    },
    /// List, show and end frameworks
    #[command(after_help = EXIT_STATUS)]
    Framework {
        #[command(flatten)]
        options: Options,
        #[command(subcommand)]
        command: operate::args::Framework,
    },
    /// List, show and kill tasks, see what they write, run commands in them
    #[command(after_help = EXIT_STATUS)]
    Task {
        #[command(flatten)]
        options: Options,
        #[command(subcommand)]
        command: operate::args::Task,
    },
    /// List roles
    #[command(after_help = EXIT_STATUS)]
    Role {
        #[command(flatten)]
        options: Options,
        #[command(subcommand)]
        command: operate::args::Role,
    },
    /// List, set and remove quotas of roles
    #[command(after_help = EXIT_STATUS)]
    Quota {
        #[command(flatten)]
        options: Options,
        #[command(subcommand)]
        command: operate::args::Quota,
    },
    /// List and set weights of roles
    #[command(after_help = EXIT_STATUS)]
    Weight {
        #[command(flatten)]
        options: Options,
        #[command(subcommand)]
        command: operate::args::Weight,
    },
    /// Reserve resources of an agent for a role
    #[command(after_help = EXIT_STATUS)]
    Reserve {
        #[command(flatten)]
        options: Options,
        #[command(flatten)]
        what: operate::args::Reservation,
    },
    /// Give up a reservation
    #[command(after_help = EXIT_STATUS)]
    Unreserve {
        #[command(flatten)]
        options: Options,
        #[command(flatten)]
        what: operate::args::Reservation,
    },
    /// List, create and destroy persistent volumes
    #[command(after_help = EXIT_STATUS)]
    Volume {
        #[command(flatten)]
        options: Options,
        #[command(subcommand)]
        command: operate::args::Volume,
    },
    /// Plan, start and end maintenance of machines
    #[command(after_help = EXIT_STATUS)]
    Maintenance {
        #[command(flatten)]
        options: Options,
        #[command(subcommand)]
        command: operate::args::Maintenance,
    },
    /// Show who uses what, live
    #[command(after_help = EXIT_STATUS)]
    Top {
        #[command(flatten)]
        options: Options,
        /// Once, and not again and again
        #[arg(long)]
        once: bool,
        /// Seconds between two looks
        #[arg(long, default_value_t = 2.0, value_name = "SECONDS", value_parser = interval)]
        interval: f64,
    },
    /// Show what happens on the cluster, as it happens
    #[command(after_help = EXIT_STATUS)]
    Events {
        #[command(flatten)]
        options: Options,
    },
    /// Look for what is wrong: addresses, masters, clocks, versions, limits, agents
    #[command(after_help = EXIT_STATUS)]
    Doctor {
        #[command(flatten)]
        options: Options,
    },
    /// Make machines part of a cluster: user-data for clouds, what their metadata services tell
    #[command(subcommand)]
    Install(Install),
    /// Look at a server's configuration
    #[command(subcommand)]
    Config(Config),
    /// Write completions for a shell, e.g. mezzo completions bash > /etc/bash_completion.d/mezzo
    Completions {
        /// Which
        shell: clap_complete::Shell,
    },
    /// Write man pages into a directory, e.g. mezzo man /usr/share/man/man1
    Man {
        /// Which
        directory: PathBuf,
    },
    /// Started by agents, not by people
    #[command(hide = true, disable_help_flag = true)]
    Executor {
        /// The executor's arguments
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        flags: Vec<OsString>,
    },
}

impl Command {
    /// The operator's verb that it is; the others have doors of their own.
    pub(crate) fn verb(self) -> Option<Verb> {
        let policy = |options, command| Verb::Policy { options, command };
        Some(match self {
            Self::Agent { options, command } => Verb::Agent { options, command },
            Self::Framework { options, command } => Verb::Framework { options, command },
            Self::Task { options, command } => Verb::Task { options, command },
            Self::Role { options, command: operate::args::Role::List } => policy(options, Policy::Roles),
            Self::Quota { options, command } => policy(options, Policy::Quota(command)),
            Self::Weight { options, command } => policy(options, Policy::Weight(command)),
            Self::Reserve { options, what } => policy(options, Policy::Reserve(what)),
            Self::Unreserve { options, what } => policy(options, Policy::Unreserve(what)),
            Self::Volume { options, command } => policy(options, Policy::Volume(command)),
            Self::Maintenance { options, command } => policy(options, Policy::Maintenance(command)),
            Self::Top { options, once, interval } => Verb::Top { options, once, interval },
            Self::Events { options } => Verb::Events { options },
            Self::Doctor { options } => Verb::Doctor { options },
            Self::Completions { shell } => Verb::Completions { shell },
            Self::Man { directory } => Verb::Man { directory },
            Self::Local(_)
            | Self::Explain(_)
            | Self::Run(_)
            | Self::Registry(_)
            | Self::Install(_)
            | Self::Config(_)
            | Self::Master { .. }
            | Self::Executor { .. } => {
                return None;
            }
        })
    }
}

/// `mezzo registry`
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Registry {
    /// Write the content of a registry as JSON
    #[command(after_help = "\
An embedded registry is read while its master is stopped; one in ZooKeeper at any time. Everything that was readable is
written. Exit status: 0, or 1 when there is no registry or a record of it is damaged (which one is said).")]
    Dump {
        #[command(flatten)]
        place: RegistryPlace,
        /// Where to [default: standard output]
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Put a copy into an empty registry, while no master runs
    #[command(after_help = "\
The copy may come from the other kind of registry: that is the way from one master with a work directory to several
with ZooKeeper, and back. A registry that is not empty is left as it is. Exit status: 0, or 1 when nothing was restored.")]
    Restore {
        #[command(flatten)]
        place: RegistryPlace,
        /// What `mezzo registry dump` wrote; - is standard input
        #[arg(value_name = "FILE")]
        input: PathBuf,
    },
}

/// Which registry.
#[derive(Args, Clone, Debug)]
#[group(required = true, multiple = false)]
pub(crate) struct RegistryPlace {
    /// The embedded one of the master with this work directory
    #[arg(long = "work_dir", alias = "work-dir", value_name = "DIR")]
    pub(crate) work_dir: Option<PathBuf>,
    /// The one of masters with this --zk: zk://[user:password@]host:port[,…]/path, or file://PATH of a file that holds it
    #[arg(long, value_name = "URL")]
    pub(crate) zk: Option<String>,
}

/// `mezzo local`
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Everything listens on 127.0.0.1 only. No root is needed: tasks run as you. When it ends, its tasks end, and so does
every process and file of it.

Exit status: 0 after Ctrl-C or SIGTERM; 1 when a part of the cluster failed.")]
pub(crate) struct Local {
    /// How many agents
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(0..=200))]
    pub(crate) agents: u16,
    /// The master's port; a free one if this default is taken [default: 5050]
    #[arg(long, value_name = "PORT")]
    pub(crate) port: Option<u16>,
    /// What each agent has, e.g. 'cpus:4;mem:2048' [default: what this machine has]; ports are divided among them
    #[arg(long, value_name = "RESOURCES")]
    pub(crate) resources: Option<String>,
    /// Where everything is kept, also after the end [default: a directory that is removed at the end]
    #[arg(long = "work_dir", alias = "work-dir", value_name = "DIR")]
    pub(crate) work_dir: Option<PathBuf>,
    /// Run a first task on it and show its output
    #[arg(long)]
    pub(crate) demo: bool,
}

/// `mezzo run`
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
The command's words are passed as they are; with --shell they are one line for `sh -c`. States go to standard error,
the task's output to standard output and standard error. Ctrl-C kills the task; a second one leaves at once.

Exit status:
  that of the command; 128+N if a signal N ended it
  1    the task was lost, refused, or failed without an exit status
  2    the arguments are wrong
  124  nothing was offered in time (--timeout) that suffices
  125  the master cannot be reached, or refuses
  130  interrupted by Ctrl-C

Examples:
  mezzo run -- echo hello
  mezzo run --resources='cpus:2;mem:1024' --env MODE=fast -- ./simulate --steps 10
  mezzo run --master=10.0.0.1:5050 --shell -- 'cd /data && du -s * | sort -n'")]
pub(crate) struct Run {
    /// The master, host:port; several with commas between; zk://host:port[,host:port]/path, or file:///path of a file that
    /// holds one of these
    #[arg(long, help_heading = "Cluster", value_name = "MASTER", env = "MEZZO_MASTER")]
    pub(crate) master: Option<String>,
    /// The role whose share of the cluster is used
    #[arg(long, help_heading = "Cluster", default_value = "*", value_name = "ROLE")]
    pub(crate) role: String,
    /// Give up when nothing suitable is offered for so many seconds; 0 waits for ever
    #[arg(long, help_heading = "Cluster", default_value_t = 60.0, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) timeout: f64,
    /// What the task needs
    #[arg(long, help_heading = "Task", default_value = "cpus:0.1;mem:64", value_name = "RESOURCES")]
    pub(crate) resources: String,
    /// The task's name [default: the command's]
    #[arg(long, help_heading = "Task", value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// A variable of the task's environment; may be repeated
    #[arg(long, help_heading = "Task", value_name = "NAME=VALUE", value_parser = variable)]
    pub(crate) env: Vec<(String, String)>,
    /// Run the task as this user [default: you]
    #[arg(long, help_heading = "Task", value_name = "USER")]
    pub(crate) user: Option<String>,
    /// The words are a line for `sh -c`
    #[arg(long, help_heading = "Task")]
    pub(crate) shell: bool,
    /// Say nothing about states
    #[arg(long, short, help_heading = "Output")]
    pub(crate) quiet: bool,
    /// The command and its arguments
    #[arg(trailing_var_arg = true, required = true, value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
}

/// `mezzo explain`
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
For each agent the master tells every reason why the framework is not offered it: quota, reservations, refusals,
outstanding offers, constraints, capabilities, size. They come grouped and counted, with the agent that comes nearest
and the role's place in the fair order.

Exit status: 0 with an answer; 2 when the arguments are wrong; 125 when the master cannot be reached, or refuses.

Examples:
  mezzo explain --framework=9f2c…-0001 --resources='cpus:4;mem:8192'
  mezzo explain --framework=9f2c…-0001 --role=eng/web --json")]
pub(crate) struct Explain {
    /// The master, host:port; several with commas between
    #[arg(long, value_name = "MASTER", env = "MEZZO_MASTER")]
    pub(crate) master: Option<String>,
    /// The framework's id
    #[arg(long = "framework", value_name = "ID")]
    pub(crate) framework_id: String,
    /// For which of its roles, if it has several
    #[arg(long, value_name = "ROLE")]
    pub(crate) role: Option<String>,
    /// What one offer should hold [default: anything that may be offered]
    #[arg(long, value_name = "RESOURCES")]
    pub(crate) resources: Option<String>,
    /// Only such agents are of interest, as JSON: '{"groups":[{"attribute_constraints":[…]}]}'
    #[arg(long, value_name = "JSON")]
    pub(crate) constraints: Option<String>,
    /// Print the master's answer as it is
    #[arg(long)]
    pub(crate) json: bool,
}

impl Explain {
    /// The master: of the flag or MEZZO_MASTER, else of MESOS_MASTER, else on this machine.
    pub(crate) fn master(&self) -> String {
        master(self.master.as_ref())
    }
}

/// `mezzo task logs`
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
The files are read through the master, so that an agent behind NAT is as good as any. With --follow, restarts of the
agent or the master and files that were put aside for their size (stdout.1, …) are gone through; it ends with the task.

Exit status:
  0    all was shown
  1    there is no such task, or nothing of it is left
  2    the arguments are wrong
  125  the master cannot be reached, or refuses

Examples:
  mezzo task logs run-cb63a97f
  mezzo task logs -f --file=stderr web-3
  mezzo task logs --framework=2f1c…-0001 --file=logs/access.log web-3")]
pub(crate) struct Logs {
    /// The master, host:port; several with commas between
    #[arg(long, value_name = "MASTER", env = "MEZZO_MASTER")]
    pub(crate) master: Option<String>,
    /// The framework, if several have a task of this id
    #[arg(long, value_name = "ID")]
    pub(crate) framework: Option<String>,
    /// Which file of its sandbox
    #[arg(long, default_value = "stdout", value_name = "PATH")]
    pub(crate) file: String,
    /// Go on until the task ends
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// The task's id
    #[arg(value_name = "TASK")]
    pub(crate) task: String,
}

impl Logs {
    /// As [`Run::master`].
    pub(crate) fn master(&self) -> String {
        master(self.master.as_ref())
    }
}

pub(crate) const DEFAULT_MASTER: &str = "127.0.0.1:5050";

impl Run {
    /// The master: of the flag or MEZZO_MASTER, else of MESOS_MASTER, else on this machine.
    pub(crate) fn master(&self) -> String {
        master(self.master.as_ref())
    }
}

impl Run {
    /// [`Run::master`] as it may be shown: without a password.
    pub(crate) fn shown_master(&self) -> String {
        let master = self.master();
        mezzo_election::source(&master).map_or(master, |source| source.to_string())
    }
}

fn master(given: Option<&String>) -> String {
    let given = given.cloned().or_else(|| std::env::var("MESOS_MASTER").ok());
    given.filter(|master| !master.is_empty()).unwrap_or_else(|| DEFAULT_MASTER.to_owned())
}

fn variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE".to_owned()),
    }
}

fn interval(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.1..=3600.0).contains(&seconds) => Ok(seconds),
        _ => Err("expected a number of seconds from 0.1 to 3600".to_owned()),
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.0..=1e9).contains(&seconds) => Ok(seconds),
        _ => Err("expected a number of seconds, 0 or more".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn run(arguments: &[&str]) -> Run {
        let all = ["mezzo", "run"].iter().chain(arguments);
        match Mezzo::try_parse_from(all).unwrap().command {
            Command::Run(run) => run,
            other => panic!("{other:?}"),
        }
    }

    fn error(arguments: &[&str]) -> String {
        Mezzo::try_parse_from(["mezzo"].iter().chain(arguments)).unwrap_err().to_string()
    }

    #[test]
    fn the_definition_is_sound() {
        Mezzo::command().debug_assert();
    }

    #[test]
    fn the_commands_own_flags_are_not_ours() {
        let options = run(&["--resources=cpus:1", "-q", "--env", "A=b=c", "--", "ls", "-l", "--master=x"]);
        assert_eq!(options.command, ["ls", "-l", "--master=x"]);
        assert_eq!(options.env, [("A".to_owned(), "b=c".to_owned())]);
        assert!(options.quiet && options.master.is_none());
        assert_eq!(run(&["true"]).command, ["true"]);
        assert_eq!(run(&["echo", "-n", "x"]).command, ["echo", "-n", "x"]);
    }

    #[test]
    fn local_has_defaults_that_need_nothing() {
        let Command::Local(local) = Mezzo::try_parse_from(["mezzo", "local"]).unwrap().command else { panic!() };
        assert_eq!((local.agents, local.port, local.demo), (1, None, false));
        assert!(local.resources.is_none() && local.work_dir.is_none());
    }

    #[test]
    fn says_what_is_wrong() {
        assert!(error(&["run"]).contains("COMMAND"));
        assert!(error(&["run", "--env", "novalue", "--", "x"]).contains("NAME=VALUE"));
        assert!(error(&["run", "--timeout=-1", "--", "x"]).contains("0 or more"));
        assert!(error(&["local", "--agents=many"]).contains("--agents"));
        assert!(error(&["locale"]).contains("local"));
    }

    #[test]
    fn help_names_the_exit_codes_and_gives_examples() {
        let help = error(&["run", "--help"]);
        for text in ["124", "125", "130", "128+N", "Examples:", "MEZZO_MASTER", "Task:", "Cluster:"] {
            assert!(help.contains(text), "{text} is not in:\n{help}");
        }
    }
}
