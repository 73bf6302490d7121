//! The flags, with Mesos' names, text forms and environment variables (src/slave/flags.cpp).

mod containers;
mod elsewhere;
mod images;
mod values;

use std::{collections::BTreeMap, ffi::OsString, net::IpAddr, path::PathBuf, time::Duration};

use clap::{CommandFactory, Parser};
use mezzo_agent_core::config::{Reconfiguration, Recover};
use mezzo_election::Source;
pub use mezzo_server::flags::{Bytes, Domain, LoggingLevel};
use mezzo_server::flags::{Origin, Reading, Report, boolean, bytes, duration};
use mezzo_server::http::{
    authentication::{Credential, Credentials, Gate, NobodyPasses},
    cors::Origins,
};

pub use containers::Containers;
use elsewhere::ELSEWHERE;
pub use images::Images;
pub use values::{Master, Variables};
use values::{fraction, reconfiguration, recover, reregistration_timeout};

/// Realms (src/slave/constants.hpp).
pub(crate) const READ_ONLY: &str = "mesos-agent-readonly";
pub(crate) const READ_WRITE: &str = "mesos-agent-readwrite";

/// What `mezzo-agent` is told.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "mezzo-agent",
    version = concat!(env!("CARGO_PKG_VERSION"), " (speaks the protocol of Apache Mesos 1.11.0)"),
    about = "The agent of a Mezzo cluster: runs the tasks of frameworks on this machine",
    long_about = None,
    rename_all = "snake_case",
    disable_help_subcommand = true,
    after_help = "Every flag can be set by the environment too: MEZZO_<FLAG> or MESOS_<FLAG>, e.g. MEZZO_WORK_DIR, \
                  or by a file (--config_file). `mezzo config check` tells what comes of them. \
                  Durations: 500ms, 15secs, 10mins, 1.5hrs, 2weeks. Sizes: 64KB, 8MB. Booleans: --flag, --no-flag, \
                  --flag=true. A value file://PATH is read from that file. SIGTERM ends the agent, its tasks go on and \
                  are taken over by the next one; SIGUSR1 ends the tasks too and takes the agent out of the cluster."
)]
pub struct Flags {
    /// The master, host:port; several with commas between; or zk://[user:password@]host:port[,host:port]/path where masters
    /// elect their leader; or file:///path of a file that holds one of these
    #[arg(long, help_heading = "Cluster", value_name = "HOST:PORT")]
    pub master: Master,
    /// How soon registration is tried again, at most, at first; then doubling
    #[arg(long, help_heading = "Cluster", default_value = "1secs", value_parser = duration, value_name = "DURATION")]
    pub registration_backoff_factor: Duration,
    /// Region and zone, as a JSON DomainInfo
    #[arg(long, help_heading = "Cluster", value_name = "JSON")]
    pub domain: Option<Domain>,
    /// Region of this machine, in short; with --zone
    #[arg(long, help_heading = "Cluster", value_name = "NAME")]
    pub region: Option<String>,
    /// Zone of this machine within its region
    #[arg(long, help_heading = "Cluster", value_name = "NAME")]
    pub zone: Option<String>,

    /// Address to listen on, for executors and tools of this machine
    #[arg(long, help_heading = "Network", value_name = "IP")]
    pub ip: Option<IpAddr>,
    /// A line for the shell that writes the address to listen on
    #[arg(long, help_heading = "Network", value_name = "COMMAND", conflicts_with = "ip")]
    pub ip_discovery_command: Option<String>,
    /// Port to listen on; 0 takes a free one
    #[arg(long, help_heading = "Network", default_value_t = 5051)]
    pub port: u16,
    /// Address that is published to frameworks and users
    #[arg(long, help_heading = "Network", value_name = "IP")]
    pub advertise_ip: Option<IpAddr>,
    /// Port that is published to frameworks and users
    #[arg(long, help_heading = "Network", value_name = "PORT")]
    pub advertise_port: Option<u16>,
    /// Host name that is published to frameworks and users
    #[arg(long, help_heading = "Network", alias = "advertise_hostname")]
    pub hostname: Option<String>,
    /// Find the host name from the address when --hostname is not given
    #[arg(long, help_heading = "Network", default_value = "true", value_parser = boolean, num_args = 0..=1,
          require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set, value_name = "BOOL")]
    pub hostname_lookup: bool,
    /// Largest request body that is taken
    #[arg(long, help_heading = "Network", default_value = "8MB", value_parser = bytes, value_name = "SIZE")]
    pub max_request_bytes: Bytes,
    /// How often streams of a container's output carry a sign of life
    #[arg(long, help_heading = "Network", default_value = "30secs", value_parser = duration, value_name = "DURATION")]
    pub http_heartbeat_interval: Duration,
    /// Pages of other sites that may use this server: scheme://host[:port], with commas; those of * may read only. None unless
    /// it is given
    #[arg(long, help_heading = "Network", value_name = "ORIGINS")]
    pub cors_allowed_origins: Option<Origins>,

    /// Directory that keeps sandboxes and the checkpoint
    #[arg(long, help_heading = "Directories", value_name = "DIR")]
    pub work_dir: PathBuf,
    /// Directory for what a reboot may clear
    #[arg(long, help_heading = "Directories", value_name = "DIR")]
    pub runtime_dir: Option<PathBuf>,
    /// Directory with the program mezzo-executor, if it is not beside this one
    #[arg(long, help_heading = "Directories", value_name = "DIR")]
    pub launcher_dir: Option<PathBuf>,
    /// Prefix of URIs that are relative paths
    #[arg(long, help_heading = "Directories", default_value = "", value_name = "DIR")]
    pub frameworks_home: String,

    /// What the agent offers, e.g. cpus:8;mem:4096;ports:[31000-32000]; found out for what is not named
    #[arg(long, help_heading = "Resources", value_name = "RESOURCES")]
    pub resources: Option<String>,
    /// Role of resources that name none
    #[arg(long, help_heading = "Resources", default_value = "*", value_name = "ROLE")]
    pub default_role: String,
    /// What tells this agent from others, e.g. rack:a1;os:linux
    #[arg(long, help_heading = "Resources", value_name = "ATTRIBUTES")]
    pub attributes: Option<String>,

    /// How long an executor may take to subscribe
    #[arg(long, help_heading = "Executors", default_value = "1mins", value_parser = duration, value_name = "DURATION")]
    pub executor_registration_timeout: Duration,
    /// How long an executor may take to subscribe again after a restart of the agent
    #[arg(long, help_heading = "Executors", default_value = "2secs", value_parser = reregistration_timeout,
          value_name = "DURATION")]
    pub executor_reregistration_timeout: Duration,
    /// How long an executor may take to end when it is told to
    #[arg(long, help_heading = "Executors", default_value = "5secs", value_parser = duration, value_name = "DURATION")]
    pub executor_shutdown_grace_period: Duration,
    /// Variables that executors and tasks get, as a JSON object
    #[arg(long, help_heading = "Executors", value_name = "JSON")]
    pub executor_environment_variables: Option<Variables>,
    /// Run tasks as the user that their framework names
    #[arg(long, help_heading = "Executors", default_value = "true", value_parser = boolean, num_args = 0..=1,
          require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set, value_name = "BOOL")]
    pub switch_user: bool,
    /// What becomes of executors and tasks that an earlier agent left: reconnect takes them over, cleanup ends them and
    /// then this agent
    #[arg(long, help_heading = "Executors", default_value = "reconnect", value_parser = recover, value_name = "HOW")]
    pub recover: Recover,
    /// End when something of the checkpoint cannot be read; else it is left out with a warning
    #[arg(long, help_heading = "Executors", default_value = "true", value_parser = boolean, num_args = 0..=1,
          require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set, value_name = "BOOL")]
    pub strict: bool,
    /// With which changes the agent keeps its id and its tasks: equal with none, additive if it has more than before
    #[arg(long, help_heading = "Executors", default_value = "equal", value_parser = reconfiguration, value_name = "POLICY")]
    pub reconfiguration_policy: Reconfiguration,
    /// How long executors wait for an agent that is away before they end
    #[arg(long, help_heading = "Executors", default_value = "15mins", value_parser = duration, value_name = "DURATION")]
    pub recovery_timeout: Duration,
    /// How slow a download may be: less than a byte a second for so long ends it
    #[arg(long, help_heading = "Executors", default_value = "1mins", value_parser = duration, value_name = "DURATION")]
    pub fetcher_stall_timeout: Duration,
    /// Directory that keeps downloads which may be cached; emptied at the start. The directory fetch in --work_dir if it
    /// is not given: of one agent alone, as it must be
    #[arg(long, help_heading = "Executors", value_name = "DIR")]
    pub fetcher_cache_dir: Option<PathBuf>,
    /// How much of it: the least recently used goes first
    #[arg(long, help_heading = "Executors", default_value = "2GB", value_parser = bytes, value_name = "SIZE")]
    pub fetcher_cache_size: Bytes,
    /// Completed executors that are remembered of each framework
    #[arg(long, help_heading = "Executors", default_value_t = 150, value_name = "N")]
    pub max_completed_executors_per_framework: usize,

    /// How containers are kept from one another.
    #[command(flatten)]
    pub containers: Containers,
    /// What containers are made of.
    #[command(flatten)]
    pub images: Images,

    /// How long a sandbox is kept after its end
    #[arg(long, help_heading = "Disk", default_value = "1weeks", value_parser = duration, value_name = "DURATION")]
    pub gc_delay: Duration,
    /// Part of the disk that sandboxes leave free: the fuller it is, the sooner they go
    #[arg(long, help_heading = "Disk", default_value = "0.1", value_parser = fraction, value_name = "FRACTION")]
    pub gc_disk_headroom: f64,
    /// How often the disk is looked at
    #[arg(long, help_heading = "Disk", default_value = "1mins", value_parser = duration, value_name = "DURATION")]
    pub disk_watch_interval: Duration,

    /// How long a task's file stdout may grow before it is put aside as stdout.1; for ever if it is not given
    #[arg(long, help_heading = "Disk", value_parser = bytes, value_name = "SIZE")]
    pub max_stdout_size: Option<Bytes>,
    /// How long a task's file stderr may grow before it is put aside as stderr.1; for ever if it is not given
    #[arg(long, help_heading = "Disk", value_parser = bytes, value_name = "SIZE")]
    pub max_stderr_size: Option<Bytes>,
    /// How many of the files that were put aside are kept of each
    #[arg(long, help_heading = "Disk", default_value_t = 9, value_name = "N")]
    pub max_rotated_files: u32,

    /// Who this agent is for masters that ask: {"principal":"…","secret":"…"}, or a file that holds it
    #[arg(long, help_heading = "Authentication", value_name = "JSON")]
    pub credential: Option<Credential>,
    /// Whom this agent knows: {"credentials":[{"principal":"…","secret":"…"}]}, or a file that holds it
    #[arg(long, help_heading = "Authentication", value_name = "JSON")]
    pub http_credentials: Option<Credentials>,
    /// Ask who reads: state, metrics, files; through the master too
    #[arg(long, help_heading = "Authentication", default_value = "false", value_parser = boolean, num_args = 0..=1,
          require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set, value_name = "BOOL")]
    pub authenticate_http_readonly: bool,
    /// Ask who makes operators' calls, sessions in containers among them; through the master too
    #[arg(long, help_heading = "Authentication", default_value = "false", value_parser = boolean, num_args = 0..=1,
          require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set, value_name = "BOOL")]
    pub authenticate_http_readwrite: bool,
    /// How they are asked: basic is the only way
    #[arg(long, help_heading = "Authentication", value_parser = ["basic"], value_name = "NAME")]
    pub http_authenticators: Option<String>,

    /// What is logged: DEBUG, INFO, WARNING or ERROR
    #[arg(long, help_heading = "Logs", default_value = "INFO", value_name = "LEVEL")]
    pub logging_level: LoggingLevel,
    /// Directory of a log file, mezzo-agent.INFO, beside what goes to stderr; '/files' shows it as /slave/log
    #[arg(long, help_heading = "Logs", value_name = "DIR")]
    pub log_dir: Option<PathBuf>,
    /// A log file that something else writes: shown as /slave/log in its place
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

impl Flags {
    /// Reads the command line (with the program's name first) and the environment of this process.
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
            let refused = |error: String| Self::command().error(clap::error::ErrorKind::ValueValidation, error);
            // Checked here: clap would show the password with the value that it refuses.
            match &flags.master.0 {
                Ok(master) => {
                    listed.insert("master".to_owned(), master.to_string());
                }
                Err(error) => {
                    listed.insert("master".to_owned(), "***".to_owned());
                    problems.push(refused(format!("--master: {error}")));
                }
            }
            if let Some(error) = flags.images.wrong_credentials() {
                problems.push(refused(format!("--docker_config: {error}")));
            }
            if let Some(text) = listed.get_mut("docker_config").filter(|text| !text.starts_with('/')) {
                "***".clone_into(text);
            }
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
        ];
        Gate::new(&guarded, self.http_credentials.as_ref(), "http_credentials")
    }

    /// Where the leading master is found.
    pub fn masters(&self) -> Source {
        self.master.0.clone().unwrap_or_else(|_| Source::Listed(Vec::new()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(arguments: &[&str]) -> Result<Flags, String> {
        read_with(arguments, &[])
    }

    fn read_with(arguments: &[&str], environment: &[(&str, &str)]) -> Result<Flags, String> {
        let given = ["mezzo-agent", "--master=m:5050", "--work_dir=/w"];
        let arguments = given.iter().chain(arguments).map(OsString::from);
        Flags::read(arguments, |name| {
            environment.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value))
        })
        .map_err(|error| error.to_string())
    }

    #[test]
    fn the_command_is_sound() {
        ELSEWHERE.added_to(Flags::command()).debug_assert();
        assert_eq!(read(&[]).unwrap().port, 5051);
    }

    #[test]
    fn takes_both_spellings_booleans_and_the_environment() {
        let flags = read_with(
            &["--runtime-dir=/r", "--no-switch_user", "--EXECUTOR_SHUTDOWN_GRACE_PERIOD=1.5secs"],
            &[("MESOS_PORT", "1"), ("MEZZO_ATTRIBUTES", "rack:a")],
        )
        .unwrap();
        assert_eq!(flags.runtime_dir, Some("/r".into()));
        assert!(!flags.switch_user);
        assert_eq!(flags.executor_shutdown_grace_period, Duration::from_millis(1500));
        assert_eq!((flags.port, flags.attributes.as_deref()), (1, Some("rack:a")));
    }

    #[test]
    fn refuses_what_it_cannot_do() {
        for (flag, word) in [
            ("--nonsense=1", "--nonsense"),
            ("--master=zk://u:secret@z:1", "u:***@z:1' has no path"),
            ("--master=m:x", "no valid port"),
            ("--isolation=network/cni", "leave it out"),
            ("--launcher=docker", "neither posix nor linux"),
            ("--effective_capabilities=x", "CapabilityInfo"),
            ("--image_providers=appc", "appc"),
            ("--containerizers=docker", "mesos"),
            ("--docker_config={\"auths\": 1}", "--docker_config"),
            ("--docker_registry=ftp://x", "ftp://x"),
            ("--executor_reregistration_timeout=16secs", "15secs"),
            ("--gc_disk_headroom=2", "0 to 1"),
            ("--executor_environment_variables={\"A\":1}", "JSON object"),
            ("--authenticate_http_executors", "--authenticate_http_executors"),
        ] {
            let arguments = OsString::from(flag);
            let given = ["mezzo-agent".into(), "--work_dir=/w".into(), arguments];
            let given = given.into_iter().chain((!flag.starts_with("--master")).then(|| "--master=m:5050".into()));
            let error = Flags::read(given, |_| None).expect_err(flag).to_string();
            assert!(error.contains(word), "{flag}: {error}");
        }
        assert!(Flags::read(["mezzo-agent".into()], |_| None).unwrap_err().to_string().contains("--master"));
    }

    #[test]
    fn reads_what_is_json() {
        let flags = read(&[
            "--executor_environment_variables={\"PATH\": \"/opt/bin:/bin\"}",
            "--domain={\"fault_domain\":{\"region\":{\"name\":\"r\"},\"zone\":{\"name\":\"z\"}}}",
        ])
        .unwrap();
        let variables = flags.executor_environment_variables.unwrap().0;
        assert_eq!(variables.get("PATH").map(String::as_str), Some("/opt/bin:/bin"));
        assert_eq!(flags.domain.unwrap().0.fault_domain.unwrap().zone.name, "z");
        assert_eq!(flags.listed.get("gc_delay").map(String::as_str), Some("1weeks"));
        let flags = read(&["--docker_config={\"auths\": {\"h\": {\"auth\": \"dTpwOnE=\"}}}"]).unwrap();
        assert_eq!(flags.listed.get("docker_config").map(String::as_str), Some("***"), "passwords are not shown");
        assert!(flags.images.credentials().is_some());
    }
}
