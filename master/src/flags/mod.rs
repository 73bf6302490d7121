//! The flags, with Mesos' names, text forms and environment variables (src/master/flags.cpp).

mod elsewhere;
mod values;

use std::{collections::BTreeMap, ffi::OsString, net::IpAddr, path::PathBuf, time::Duration};

use clap::{CommandFactory, Parser};
use mezzo_election::ZkUrl;
use mezzo_master_core::input::Sorter;
pub use mezzo_server::flags::{Bytes, Domain, LoggingLevel};
use mezzo_server::flags::{DomainError, Origin, Reading, Report, boolean, bytes, fault_domain, positive_duration};
use mezzo_server::http::{
    authentication::{Credentials, Gate, NobodyPasses},
    cors::Origins,
};

use elsewhere::ELSEWHERE;
pub use values::{Registry, RemovalRate, Zk};
use values::{fraction, offer_timeout, percentage, resource_minimums, sorter, zk};

/// Realms (src/master/constants.hpp).
pub(crate) const READ_ONLY: &str = "mesos-master-readonly";
pub(crate) const READ_WRITE: &str = "mesos-master-readwrite";
pub(crate) const SCHEDULER: &str = "mesos-master-scheduler";
/// Where agents dial: Mezzo's own.
pub(crate) const AGENTS: &str = "mezzo-master-agents";

/// What `mezzo-master` is told.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "mezzo-master",
    version = concat!(env!("CARGO_PKG_VERSION"), " (speaks the protocol of Apache Mesos 1.11.0)"),
    about = "The master of a Mezzo cluster: offers resources to frameworks, launches their tasks on agents",
    long_about = None,
    rename_all = "snake_case",
    disable_help_subcommand = true,
    after_help = "Every flag can be set by the environment too: MEZZO_<FLAG> or MESOS_<FLAG>, e.g. MEZZO_WORK_DIR, \
                  or by a file (--config_file). `mezzo config check` tells what comes of them. \
                  Durations: 500ms, 15secs, 10mins, 1.5hrs, 2weeks. Sizes: 64KB, 8MB. Booleans: --flag, --no-flag, \
                  --flag=true. A value file://PATH is read from that file."
)]
pub struct Flags {
    /// Address to listen on
    #[arg(long, default_value = "0.0.0.0", help_heading = "Network", value_name = "IP")]
    pub ip: IpAddr,
    /// A line for the shell that writes the address to listen on
    #[arg(long, help_heading = "Network", value_name = "COMMAND", conflicts_with = "ip")]
    pub ip_discovery_command: Option<String>,
    /// Port to listen on; 0 takes a free one
    #[arg(long, default_value_t = 5050, help_heading = "Network")]
    pub port: u16,
    /// Address that is published to frameworks and users
    #[arg(long, help_heading = "Network", value_name = "IP")]
    pub advertise_ip: Option<IpAddr>,
    /// Port that is published to frameworks and users
    #[arg(long, help_heading = "Network", value_name = "PORT")]
    pub advertise_port: Option<u16>,
    /// Host name that is published to frameworks and users
    #[arg(long, help_heading = "Network")]
    pub hostname: Option<String>,
    /// Find the host name from the address when --hostname is not given
    #[arg(long, help_heading = "Network", default_value = "true", value_parser = boolean, num_args = 0..=1,
          require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set, value_name = "BOOL")]
    pub hostname_lookup: bool,
    /// Largest request body that is taken
    #[arg(long, help_heading = "Network", default_value = "8MB", value_parser = bytes, value_name = "SIZE")]
    pub max_request_bytes: Bytes,
    /// Pages of other sites that may use this server: scheme://host[:port], with commas; those of * may read only. None unless
    /// it is given
    #[arg(long, help_heading = "Network", value_name = "ORIGINS")]
    pub cors_allowed_origins: Option<Origins>,

    /// Directory that keeps the registry
    #[arg(long, help_heading = "State", value_name = "DIR")]
    pub work_dir: Option<PathBuf>,
    /// Where admitted agents are remembered: embedded (in --work_dir), zookeeper (beside the path of --zk, for all masters
    /// of a cluster) or in_memory [default: zookeeper with --zk, else embedded]
    #[arg(long, help_heading = "State")]
    pub registry: Option<Registry>,
    /// Name of the cluster, for people
    #[arg(long, help_heading = "State", value_name = "NAME")]
    pub cluster: Option<String>,

    /// The ensemble in which masters elect their leader, zk://[user:password@]host:port[,host:port]/path, or file:///path of
    /// a file that holds this; without it this master stands alone
    #[arg(long, help_heading = "Election", value_name = "URL", value_parser = zk)]
    pub zk: Option<Zk>,
    /// After so long without a sign of a master, ZooKeeper gives the leadership to another one; the servers bound it
    #[arg(long, help_heading = "Election", default_value = "10secs", value_parser = positive_duration,
          value_name = "DURATION")]
    pub zk_session_timeout: Duration,

    /// How often an agent is pinged
    #[arg(long, help_heading = "Agents", default_value = "15secs", value_parser = positive_duration, alias = "slave_ping_timeout",
          value_name = "DURATION")]
    pub agent_ping_timeout: Duration,
    /// After how many missed pings an agent is unreachable
    #[arg(long, help_heading = "Agents", default_value_t = 5, alias = "max_slave_ping_timeouts", value_name = "N",
          value_parser = clap::value_parser!(u32).range(1..))]
    pub max_agent_ping_timeouts: u32,
    /// How long after the start of a master its known agents may take to come back
    #[arg(long, help_heading = "Agents", default_value = "10mins", value_parser = positive_duration,
          alias = "slave_reregister_timeout", value_name = "DURATION")]
    pub agent_reregister_timeout: Duration,

    /// So many agents at most are given up in so long, e.g. 1/10mins; no limit unless it is given
    #[arg(long, help_heading = "Agents", value_name = "N/DURATION", alias = "slave_removal_rate_limit")]
    pub agent_removal_rate_limit: Option<RemovalRate>,
    /// When a greater part of the known agents is missing after a change of masters, none is given up
    #[arg(long, help_heading = "Agents", default_value = "100%", value_parser = percentage, value_name = "PERCENT",
          alias = "recovery_slave_removal_limit")]
    pub recovery_agent_removal_limit: f64,
    /// How often the registry is relieved of agents that were lost long ago
    #[arg(long, help_heading = "Agents", default_value = "15mins", value_parser = positive_duration, value_name = "DURATION")]
    pub registry_gc_interval: Duration,
    /// How long agents that are unreachable or gone are remembered
    #[arg(long, help_heading = "Agents", default_value = "2weeks", value_parser = positive_duration, value_name = "DURATION",
          alias = "registry_max_slave_age")]
    pub registry_max_agent_age: Duration,
    /// As many of them are remembered
    #[arg(
        long,
        help_heading = "Agents",
        default_value_t = 102_400,
        value_name = "N",
        alias = "registry_max_slave_count"
    )]
    pub registry_max_agent_count: usize,
    /// Take only agents that have a region and a zone
    #[arg(long, help_heading = "Agents", default_value = "false", value_parser = boolean, num_args = 0..=1,
          require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set, value_name = "BOOL")]
    pub require_agent_domain: bool,

    /// Region and zone of this master, as a JSON DomainInfo
    #[arg(long, help_heading = "Regions", value_name = "JSON")]
    pub domain: Option<Domain>,
    /// Region of this master: agents of other regions are offered to REGION_AWARE frameworks only
    #[arg(long, help_heading = "Regions", value_name = "NAME")]
    pub region: Option<String>,
    /// Zone of this master within its region
    #[arg(long, help_heading = "Regions", value_name = "NAME")]
    pub zone: Option<String>,

    /// How long a refusal holds at least; what becomes free is offered within milliseconds
    #[arg(long, help_heading = "Offers", default_value = "1secs", value_parser = positive_duration, value_name = "DURATION")]
    pub allocation_interval: Duration,
    /// After what time an unused offer is taken back, or 'never'
    #[arg(long, help_heading = "Offers", default_value = "2mins", value_parser = offer_timeout, value_name = "DURATION")]
    pub offer_timeout: OfferTimeout,
    /// The only roles that frameworks may have, with commas
    #[arg(long, help_heading = "Offers", value_delimiter = ',', value_name = "ROLES")]
    pub roles: Option<Vec<String>>,
    /// A file with one host name on each line: only their agents are offered; looked at every 5 s
    #[arg(long, help_heading = "Offers", value_name = "FILE")]
    pub whitelist: Option<PathBuf>,
    /// What an offer must have at least, alternatives with |
    #[arg(long, help_heading = "Offers", default_value = "cpus:0.01|mem:32", value_parser = resource_minimums,
          value_name = "RESOURCES")]
    pub min_allocatable_resources: Minimums,
    /// Offer agents with GPUs only to frameworks that can use them
    #[arg(long, help_heading = "Offers", default_value = "true", value_parser = boolean, num_args = 0..=1,
          require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set, value_name = "BOOL")]
    pub filter_gpu_resources: bool,
    /// In which order roles are served: drf (dominant share) or random (by weight)
    #[arg(long, help_heading = "Offers", default_value = "drf", value_parser = sorter, value_name = "SORTER")]
    pub role_sorter: Sorter,
    /// In which order the frameworks of a role are served: drf or random
    #[arg(long, help_heading = "Offers", default_value = "drf", value_parser = sorter, value_name = "SORTER")]
    pub framework_sorter: Sorter,
    /// Resources that do not count for shares, with commas
    #[arg(long, help_heading = "Offers", value_delimiter = ',', value_name = "NAMES")]
    pub fair_sharing_excluded_resource_names: Option<Vec<String>>,
    /// With quotas, the part of the known agents that must be back before a new leader offers anything
    #[arg(long, help_heading = "Offers", default_value = "0.8", value_parser = fraction, value_name = "FACTOR")]
    pub allocator_agent_recovery_factor: f64,
    /// How long it waits for them at most
    #[arg(long, help_heading = "Offers", default_value = "10mins", value_parser = positive_duration, value_name = "DURATION")]
    pub allocator_recovery_timeout: Duration,
    /// Take frameworks whose user is root
    #[arg(long, help_heading = "Offers", default_value = "true", value_parser = boolean, num_args = 0..=1,
          require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set, value_name = "BOOL")]
    pub root_submissions: bool,

    /// Completed frameworks that are remembered
    #[arg(long, help_heading = "History", default_value_t = 50, value_name = "N")]
    pub max_completed_frameworks: usize,
    /// Completed tasks that are remembered of each framework
    #[arg(long, help_heading = "History", default_value_t = 1000, value_name = "N")]
    pub max_completed_tasks_per_framework: usize,
    /// Unreachable tasks that are remembered of each framework
    #[arg(long, help_heading = "History", default_value_t = 1000, value_name = "N")]
    pub max_unreachable_tasks_per_framework: usize,
    /// Operators' event streams at the same time; one more ends the oldest
    #[arg(long, help_heading = "Network", default_value_t = 1000, value_name = "N")]
    pub max_operator_event_stream_subscribers: usize,

    /// Tell of each framework's calls, events, offers and tasks in the metrics
    #[arg(long, help_heading = "History", default_value = "true", value_parser = boolean, num_args = 0..=1,
          require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set, value_name = "BOOL")]
    pub publish_per_framework_metrics: bool,

    /// Whom this master knows: {"credentials":[{"principal":"…","secret":"…"}]}, or a file that holds it
    #[arg(long, help_heading = "Authentication", value_name = "JSON")]
    pub credentials: Option<Credentials>,
    /// Ask who reads: state, metrics, files, the page
    #[arg(long, help_heading = "Authentication", default_value = "false", value_parser = boolean, num_args = 0..=1,
          require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set, value_name = "BOOL")]
    pub authenticate_http_readonly: bool,
    /// Ask who makes operators' calls and changes something
    #[arg(long, help_heading = "Authentication", default_value = "false", value_parser = boolean, num_args = 0..=1,
          require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set, value_name = "BOOL")]
    pub authenticate_http_readwrite: bool,
    /// Ask frameworks who they are
    #[arg(long, help_heading = "Authentication", default_value = "false", value_parser = boolean, num_args = 0..=1,
          require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set, value_name = "BOOL")]
    pub authenticate_http_frameworks: bool,
    /// Ask agents who they are when they dial
    #[arg(long, help_heading = "Authentication", default_value = "false", value_parser = boolean, num_args = 0..=1,
          require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set, value_name = "BOOL")]
    pub authenticate_agents: bool,
    /// How operators are asked: basic is the only way
    #[arg(long, help_heading = "Authentication", default_value = "basic", value_parser = ["basic"], value_name = "NAME")]
    pub http_authenticators: String,
    /// How frameworks are asked: basic is the only way
    #[arg(long, help_heading = "Authentication", value_parser = ["basic"], value_name = "NAME")]
    pub http_framework_authenticators: Option<String>,

    /// What is logged: DEBUG, INFO, WARNING or ERROR
    #[arg(long, help_heading = "Logs", default_value = "INFO", value_name = "LEVEL")]
    pub logging_level: LoggingLevel,
    /// Directory of a log file, mezzo-master.INFO, beside what goes to stderr; '/files' shows it as /master/log
    #[arg(long, help_heading = "Logs", value_name = "DIR")]
    pub log_dir: Option<PathBuf>,
    /// A log file that something else writes: shown as /master/log in its place
    #[arg(long, help_heading = "Logs", value_name = "FILE")]
    pub external_log_file: Option<PathBuf>,
    /// Log nothing to stderr
    #[arg(long, help_heading = "Logs", default_value = "false", value_parser = boolean, num_args = 0..=1,
          require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set, value_name = "BOOL")]
    pub quiet: bool,

    /// Every flag that has a value, as text: what `/flags` shows.
    #[arg(skip)]
    pub listed: BTreeMap<String, String>,
    /// Who may ask what.
    #[arg(skip)]
    pub gate: Gate,
    /// Where each value came from that is no default.
    #[arg(skip)]
    pub origins: BTreeMap<String, Origin>,
    /// Old names and old ways that were taken: for the log.
    #[arg(skip)]
    pub warnings: Vec<String>,
}

/// `--offer_timeout`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OfferTimeout(pub Option<Duration>);

/// `--min_allocatable_resources`: alternatives; each a list of name and amount.
#[derive(Clone, Debug, PartialEq)]
pub struct Minimums(pub Vec<Vec<(String, f64)>>);

impl Flags {
    /// Reads the command line and the environment of this process.
    ///
    /// # Errors
    /// Also for `--help` and `--version`, as clap does: print the error and exit with its code.
    pub fn parse_from_environment(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        Self::read(arguments, |name| std::env::var_os(name))
    }

    /// Reads a command line (with the program's name first) with the environment that `variable` tells.
    ///
    /// # Errors
    /// If a flag is unknown or its value is of no use.
    pub fn read(
        arguments: impl IntoIterator<Item = OsString>,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, clap::Error> {
        Self::read_all(arguments, variable).whole(&Self::command())
    }

    /// As [`read`](Self::read), but goes on after an error: everything that is wrong, and what can be made of the rest.
    pub fn read_all(
        arguments: impl IntoIterator<Item = OsString>,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Reading<Self> {
        let Reading { flags, mut problems } = mezzo_server::flags::read_all::<Self>(&ELSEWHERE, arguments, variable);
        let flags = flags.map(|(flags, Report { mut listed, origins, warnings })| {
            // Checked here: clap would show the password with the value that it refuses.
            if let Some(zk) = &flags.zk {
                let shown = zk.0.as_ref().map_or_else(|_| "***".to_owned(), ToString::to_string);
                listed.insert("zk".to_owned(), shown);
                problems.extend(zk.0.as_ref().err().map(|error| refused(format!("--zk: {error}"))));
            }
            if flags.registry() == Registry::ZooKeeper && flags.zk.is_none() {
                problems.push(refused("--registry=zookeeper needs --zk, the ensemble that keeps it".to_owned()));
            }
            listed.insert("registry".to_owned(), flags.registry().name().to_owned());
            let gate = flags.guarded().unwrap_or_else(|error| {
                problems.push(refused(error.to_string()));
                Gate::default()
            });
            Self { gate, listed, origins, warnings, ..flags }
        });
        Reading { flags, problems }
    }

    fn guarded(&self) -> Result<Gate, NobodyPasses> {
        let guarded = [
            (READ_ONLY, "authenticate_http_readonly", self.authenticate_http_readonly),
            (READ_WRITE, "authenticate_http_readwrite", self.authenticate_http_readwrite),
            (SCHEDULER, "authenticate_http_frameworks", self.authenticate_http_frameworks),
            (AGENTS, "authenticate_agents", self.authenticate_agents),
        ];
        Gate::new(&guarded, self.credentials.as_ref(), "credentials")
    }

    /// Where admitted agents are remembered.
    pub fn registry(&self) -> Registry {
        let default = if self.zk.is_some() { Registry::ZooKeeper } else { Registry::Embedded };
        self.registry.unwrap_or(default)
    }

    /// The ensemble in which masters elect their leader.
    pub fn ensemble(&self) -> Option<&ZkUrl> {
        self.zk.as_ref().and_then(|zk| zk.0.as_ref().ok())
    }
}

fn refused(message: String) -> clap::Error {
    Flags::command().error(clap::error::ErrorKind::ValueValidation, message)
}

impl Flags {
    /// What `--domain`, or in short `--region` and `--zone`, name.
    ///
    /// # Errors
    /// If they name half of a domain, or one twice.
    pub fn fault_domain(&self) -> Result<Option<mezzo_api::v1::DomainInfo>, DomainError> {
        fault_domain(self.domain.as_ref(), self.region.as_deref(), self.zone.as_deref())
    }
}

impl Default for Flags {
    fn default() -> Self {
        let Ok(flags) = Self::read(["mezzo-master".into()], |_| None) else { unreachable!("the defaults are valid") };
        flags
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(arguments: &[&str]) -> Result<Flags, String> {
        read_with(arguments, &[])
    }

    fn read_with(arguments: &[&str], environment: &[(&str, &str)]) -> Result<Flags, String> {
        let arguments = std::iter::once("mezzo-master").chain(arguments.iter().copied()).map(OsString::from);
        Flags::read(arguments, |name| {
            environment.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value))
        })
        .map_err(|error| error.to_string())
    }

    #[test]
    fn the_command_is_sound() {
        ELSEWHERE.added_to(Flags::command()).debug_assert();
        assert_eq!(Flags::default().port, 5050);
    }

    #[test]
    fn takes_both_spellings_and_mesos_booleans() {
        let flags =
            read(&["--work-dir=/w", "--AGENT_PING_TIMEOUT=1.5secs", "--no-root_submissions", "--quiet"]).unwrap();
        assert_eq!(flags.work_dir, Some("/w".into()));
        assert_eq!(flags.agent_ping_timeout, Duration::from_millis(1500));
        assert!(!flags.root_submissions);
        assert!(flags.quiet);
        assert!(read(&["--root_submissions=0"]).unwrap().root_submissions.eq(&false));
        assert!(read(&["--root_submissions=maybe"]).unwrap_err().contains("maybe"));
        assert_eq!(read(&["--slave_ping_timeout=2secs"]).unwrap().agent_ping_timeout, Duration::from_secs(2));
    }

    #[test]
    fn takes_flags_of_mesos_that_change_nothing_and_refuses_those_that_would() {
        assert!(read(&["--log_auto_initialize=false", "--quorum=1", "--registry_store_timeout=5secs"]).is_ok());
        assert!(read(&["--role_sorter=drf", "--no-authenticate_agents"]).is_ok());
        assert_eq!(read(&["--role_sorter=random"]).unwrap().role_sorter, Sorter::Random);
        assert!(read(&["--role_sorter=alphabet"]).unwrap_err().contains("--role_sorter"));
        assert!(read(&["--allocator_agent_recovery_factor=2"]).unwrap_err().contains("between 0 and 1"));
        assert!(read(&["--authenticate_agents"]).unwrap_err().contains("--authenticate_agents"));
        assert!(read(&["--acls=x"]).unwrap_err().contains("--acls"));
    }

    #[test]
    fn an_ensemble_brings_its_registry_and_hides_its_password() {
        let flags = read(&["--zk=zk://user:secret@a:1,b/mezzo", "--zk_session_timeout=4secs"]).unwrap();
        assert_eq!((flags.registry(), flags.zk_session_timeout), (Registry::ZooKeeper, Duration::from_secs(4)));
        assert_eq!(flags.ensemble().unwrap().servers(), ["a:1", "b:2181"]);
        assert_eq!(flags.listed["zk"], "zk://user:***@a:1,b:2181/mezzo");
        assert!(!format!("{flags:?}").contains("secret"));
        assert_eq!(read(&[]).unwrap().registry(), Registry::Embedded);
        assert_eq!(read(&["--zk=zk://a/m", "--registry=in_memory"]).unwrap().registry(), Registry::InMemory);
        let error = read(&["--zk=zk://user:secret@a:1"]).unwrap_err();
        assert!(error.contains("no path") && !error.contains("secret"), "{error}");
        assert!(read(&["--registry=zookeeper"]).unwrap_err().contains("--zk"));
    }

    #[test]
    fn lists_flags_as_mesos_does() {
        let flags = read(&["--roles=a,b", "--work_dir=/w"]).unwrap();
        let shown = |name: &str| flags.listed.get(name).map(String::as_str);
        assert_eq!(shown("agent_ping_timeout"), Some("15secs"));
        assert_eq!(shown("roles"), Some("a,b"));
        assert_eq!(shown("root_submissions"), Some("true"));
        assert_eq!(shown("authenticate_agents"), Some("false"));
        assert_eq!(shown("min_allocatable_resources"), Some("cpus:0.01|mem:32"));
        assert_eq!(shown("zk"), None);
        assert_eq!(shown("cluster"), None);
    }
}
