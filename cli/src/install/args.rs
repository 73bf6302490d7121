//! The arguments of `mezzo install` and `mezzo config`.

use std::{ffi::OsString, path::PathBuf};

use clap::{Args, Subcommand, ValueEnum};

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Server {
    /// mezzo-agent
    Agent,
    /// mezzo-master
    Master,
}

impl Server {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Master => "master",
        }
    }
}

/// Whose metadata service is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum CloudName {
    /// Whichever answers
    Auto,
    /// Amazon EC2 (IMDSv2)
    Ec2,
    /// OpenStack
    Openstack,
    /// Google Compute Engine
    Gce,
    /// Microsoft Azure
    Azure,
    /// Nobody's: only what the flags say
    None,
}

impl CloudName {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Ec2 => "ec2",
            Self::Openstack => "openstack",
            Self::Gce => "gce",
            Self::Azure => "azure",
            Self::None => "none",
        }
    }
}

/// Which of its addresses a machine publishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Advertise {
    /// The one within its cloud
    Private,
    /// The one that the world sees
    Public,
    /// None: the one towards the master
    None,
}

impl Advertise {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Private => "private",
            Self::Public => "public",
            Self::None => "none",
        }
    }
}

/// `mezzo config`
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Config {
    /// Tell what a server would be told, and what is wrong with it, without starting it
    #[command(after_help = "\
Without flags it reads what the installed service reads: /run/mezzo/discovered.env, /etc/default/mezzo-<server> and
/etc/mezzo/<server>.toml, those that are there. With flags it reads these, the environment, and the file of --config_file.
Which place goes before which: command line, MEZZO_* and MESOS_* of the environment, the file, what was discovered.

Exit status: 0; 1 if the server would not start.

Examples:
  mezzo config check agent
  mezzo config check master --zk=zk://z1:2181,z2:2181/mezzo --work_dir=/var/lib/mezzo-master")]
    Check {
        /// Which server
        server: Server,
        /// The server's flags
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        flags: Vec<OsString>,
    },
}

/// `mezzo install`
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Install {
    /// Write user-data for a new machine of a cloud (cloud-init)
    #[command(after_help = "\
The machine downloads the package, checks its sum, installs it, finds its address, region and zone by the cloud's metadata
service, and starts the server under systemd. Whoever can read a machine's user-data reads what stands in it: a password
in --master too.

Examples:
  mezzo install user-data --role=agent --master=zk://z1:2181,z2:2181,z3:2181/mezzo \\
    --package-url=https://example.org/mezzo_0.1.0-1_amd64.deb --sha256=… > agent.yaml
  mezzo install user-data --role=master --master=zk://z1:2181,z2:2181,z3:2181/mezzo --advertise=public \\
    --package-url=https://example.org/mezzo_0.1.0-1_amd64.deb --sha256=… > master.yaml")]
    UserData(Box<UserData>),
    /// Write what the cloud's metadata service tells of this machine, for the services
    #[command(after_help = "\
Writes MEZZO_DISCOVERED_ADVERTISE_IP, _HOSTNAME, _REGION and _ZONE, as far as they are known. Servers take them where neither
command line, environment nor file sets the flag. The unit mezzo-discover does this at each boot, with the options of
/etc/default/mezzo-discover.

Exit status: 0, also where no cloud answers with --cloud=auto; 1 if the cloud that was named does not answer, or the file
cannot be written.")]
    Discover(Discover),
}

/// `mezzo install user-data`
#[derive(Args, Clone, Debug)]
pub(crate) struct UserData {
    /// What the machine is to be
    #[arg(long)]
    pub(crate) role: Server,
    /// Where masters are: zk://host:port[,host:port]/path; for an agent also host:port. A master without it stands alone
    #[arg(long, value_name = "MASTER", required_if_eq("role", "agent"))]
    pub(crate) master: Option<String>,
    /// Where the machine finds the package, .deb or .tar.gz, as http:// or https://
    #[arg(long = "package-url", alias = "package_url", value_name = "URL")]
    pub(crate) package_url: String,
    /// The package's SHA-256, as in SHA256SUMS
    #[arg(long, value_name = "HEX")]
    pub(crate) sha256: String,
    #[command(flatten)]
    pub(crate) place: Place,
    /// Any other flag of the server, e.g. --flag attributes=rack:a1; may be repeated
    #[arg(long = "flag", value_name = "NAME=VALUE")]
    pub(crate) flags: Vec<String>,
}

/// Where a machine is.
#[derive(Args, Clone, Debug)]
pub(crate) struct Place {
    /// Whose metadata service is asked
    #[arg(long, default_value = "auto", env = "MEZZO_DISCOVER_CLOUD")]
    pub(crate) cloud: CloudName,
    /// Which address is published to frameworks and users; of a master: to agents too
    #[arg(long, default_value = "private", env = "MEZZO_DISCOVER_ADVERTISE")]
    pub(crate) advertise: Advertise,
    /// The region, if the cloud is not to be asked
    #[arg(long, value_name = "NAME", env = "MEZZO_DISCOVER_REGION")]
    pub(crate) region: Option<String>,
    /// The zone, if the cloud is not to be asked
    #[arg(long, value_name = "NAME", env = "MEZZO_DISCOVER_ZONE")]
    pub(crate) zone: Option<String>,
    /// Where the metadata service is
    #[arg(long, default_value = "169.254.169.254:80", value_name = "HOST:PORT", env = "MEZZO_DISCOVER_ENDPOINT")]
    pub(crate) endpoint: String,
}

/// `mezzo install discover`
#[derive(Args, Clone, Debug)]
pub(crate) struct Discover {
    /// Where to [default: standard output]
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) place: Place,
    /// For so many seconds a service that does not answer is asked again
    #[arg(long, default_value_t = 15, value_name = "SECONDS", env = "MEZZO_DISCOVER_PATIENCE")]
    pub(crate) patience: u64,
}
