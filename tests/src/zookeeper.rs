//! A real ZooKeeper ensemble: Debian's package as plain processes on loopback.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use crate::part::Part;
use crate::ports::Ports;
use crate::wait;

/// Where Debian's package has it.
const CLASSPATH: &str = "/usr/share/java/zookeeper.jar:/usr/share/java/slf4j-simple.jar";
/// A server's unit of time: it bounds how exactly sessions end; five of them are how long another server may think, and
/// twenty the longest session.
pub const TICK: Duration = Duration::from_millis(500);

/// One server of an ensemble.
#[derive(Debug)]
pub struct Server {
    /// Its process.
    pub part: Part,
    /// Where clients connect.
    pub address: SocketAddr,
}

/// Servers that know each other; when it goes, they go.
#[derive(Debug)]
pub struct Ensemble {
    /// The servers, in the order of their numbers.
    pub servers: Vec<Server>,
    dir: Option<TempDir>,
    _ports: Ports,
}

impl Ensemble {
    /// Starts so many servers, and waits until they serve.
    #[must_use]
    pub fn start(count: usize) -> Self {
        Self::start_on(Ipv4Addr::LOCALHOST.into(), count)
    }

    /// The same on another address of this machine.
    ///
    /// # Panics
    /// When they do not come up; `cargo xtask setup` installs them.
    #[must_use]
    pub fn start_on(ip: IpAddr, count: usize) -> Self {
        let dir =
            tempfile::Builder::new().prefix("mezzo-zk-").tempdir().expect("the temporary directory must be writable");
        let mut ports = Ports::reserve();
        let addresses: Vec<[u16; 3]> = (0..count).map(|_| [ports.take(), ports.take(), ports.take()]).collect();
        let mut servers = Vec::new();
        for (index, [client, ..]) in addresses.iter().enumerate() {
            let home = dir.path().join(format!("zookeeper{index}"));
            let address = SocketAddr::new(ip, *client);
            let list = if count > 1 { list(ip, &addresses) } else { String::new() };
            let (program, arguments) = command(&home, index + 1, address, TICK, &list);
            let mut part = Part::new(&format!("zookeeper{index}"), program, arguments, dir.path());
            part.start();
            servers.push(Server { part, address });
        }
        let mut ensemble = Self { servers, dir: Some(dir), _ports: ports };
        ensemble.wait_until_serving();
        ensemble
    }

    /// One server.
    #[must_use]
    pub fn single() -> Self {
        Self::start(1)
    }

    /// `zk://…` of all servers, with this path.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("zk://{}{path}", self.hosts())
    }

    /// `zk://user:password@…` of all servers, with this path.
    #[must_use]
    pub fn url_as(&self, credentials: &str, path: &str) -> String {
        format!("zk://{credentials}@{}{path}", self.hosts())
    }

    fn hosts(&self) -> String {
        self.servers.iter().map(|server| server.address.to_string()).collect::<Vec<_>>().join(",")
    }

    /// Waits until every server that runs serves.
    ///
    /// # Panics
    /// When one ends, or never does.
    pub fn wait_until_serving(&mut self) {
        for server in self.servers.iter_mut().filter(|server| server.part.is_started()) {
            wait::until("a ZooKeeper server serves", || {
                let part = &mut server.part;
                assert!(part.is_running(), "a ZooKeeper server ended:\n{}", part.last_lines(30));
                mode(server.address)
            });
        }
    }

    /// The server that leads.
    ///
    /// # Panics
    /// When none does.
    #[must_use]
    pub fn leader(&self) -> usize {
        wait::until("a ZooKeeper server leads", || {
            self.servers.iter().position(|server| mode(server.address).is_some_and(|mode| mode != "follower"))
        })
    }

    /// The ensemble's own directory.
    ///
    /// # Panics
    /// Never while it lives.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.as_ref().expect("an ensemble has its directory as long as it lives").path()
    }
}

impl Drop for Ensemble {
    fn drop(&mut self) {
        for server in &mut self.servers {
            if std::thread::panicking() {
                eprintln!("{}", server.part.last_lines(20));
            }
            if server.part.is_started() {
                server.part.signal(nix::sys::signal::Signal::SIGCONT);
            }
            server.part.kill();
        }
    }
}

/// What a server says that it is: `leader`, `follower` or `standalone`, once it serves.
#[must_use]
pub fn mode(address: SocketAddr) -> Option<String> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
    stream.write_all(b"srvr").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.lines().find_map(|line| line.strip_prefix("Mode: ")).map(str::to_owned)
}

fn java() -> PathBuf {
    let path = PathBuf::from("/usr/bin/java");
    assert!(path.exists(), "there is no /usr/bin/java: `cargo xtask setup` installs it and ZooKeeper");
    path
}

fn arguments(configuration: &Path) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = [
        "-Xms32m",
        "-Xmx128m",
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        "-cp",
        CLASSPATH,
        "org.apache.zookeeper.server.quorum.QuorumPeerMain",
    ]
    .map(OsString::from)
    .into();
    arguments.push(configuration.into());
    arguments
}

/// Servers of an ensemble on one machine, by their ports: for clients, among themselves, for elections.
fn list(ip: IpAddr, addresses: &[[u16; 3]]) -> String {
    let line = |(id, [_, quorum, election]): (usize, &[u16; 3])| {
        format!("server.{id}={}:{election}\n", SocketAddr::new(ip, *quorum))
    };
    (1..).zip(addresses).map(line).collect()
}

/// Writes the files of a server that is number `id` of the `server.N=…` lines in `list`, which is empty for one that stands
/// alone; gives the command that runs it.
///
/// # Panics
/// When `home` cannot be written, or there is no Java.
#[must_use]
pub fn command(home: &Path, id: usize, address: SocketAddr, tick: Duration, list: &str) -> (PathBuf, Vec<OsString>) {
    let data = home.join("data");
    std::fs::create_dir_all(&data).expect("the test's directory must be writable");
    let text = format!(
        "tickTime={}\ninitLimit=10\nsyncLimit=5\ndataDir={}\nclientPort={}\nclientPortAddress={}\n\
         admin.enableServer=false\n4lw.commands.whitelist=*\nforceSync=no\nmaxClientCnxns=0\n{list}",
        tick.as_millis(),
        data.display(),
        address.port(),
        address.ip(),
    );
    if !list.is_empty() {
        std::fs::write(data.join("myid"), format!("{id}\n")).expect("the test's directory must be writable");
    }
    let path = home.join("zoo.cfg");
    std::fs::write(&path, text).expect("the test's directory must be writable");
    (java(), arguments(&path))
}
