//! Hosts as network namespaces: segments with hosts on them, routers with NAT between segments, forwarded ports, firewalls,
//! and wires with delay and loss. Made by a test, and gone with it. Needs root, `ip` and `iptables`.

mod tap;
mod wire;

use std::{
    cell::Cell,
    ffi::OsString,
    fs::File,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use nix::sched::{CloneFlags, setns};

use crate::{environment, part::Part};

pub use wire::{Quality, Wire};

/// Where `ip netns` keeps them.
const NAMESPACES: &str = "/run/netns";
/// Names of ours begin so, followed by the process that made them.
const PREFIX: &str = "mezzo-t";

static COUNT: AtomicU32 = AtomicU32::new(0);

/// A network of a test.
#[derive(Debug)]
pub struct Network {
    prefix: String,
    namespaces: Vec<String>,
    segments: u8,
    /// Where the test's thread was before.
    home: File,
}

/// A switch and the addresses behind it: `10.<number>.0.0/24`.
#[derive(Clone, Debug)]
pub struct Segment {
    namespace: String,
    number: u8,
    hosts: std::rc::Rc<Cell<u8>>,
}

/// A host, on one segment.
#[derive(Clone, Debug)]
pub struct Host {
    namespace: String,
    address: Ipv4Addr,
}

/// A router between two segments: the inner one sees the outer one, not the reverse.
#[derive(Clone, Debug)]
pub struct Router {
    host: Host,
}

impl Network {
    /// An empty one; none, with a loud word, where this machine does not allow it.
    ///
    /// # Panics
    /// Where `CI` is set and it is not allowed.
    #[must_use]
    pub fn new() -> Option<Self> {
        if let Some(why) = missing() {
            environment::skip(&why);
            return None;
        }
        sweep();
        let home = File::open("/proc/thread-self/ns/net").expect("a thread knows its own network");
        let prefix = format!("{PREFIX}{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        Some(Self { prefix, namespaces: Vec::new(), segments: 76, home })
    }

    /// A new segment.
    ///
    /// # Panics
    /// When it cannot be made, as all of these.
    pub fn segment(&mut self) -> Segment {
        self.segments += 1;
        let namespace = self.namespace(&format!("s{}", self.segments));
        ip(&["-n", &namespace, "link", "add", "br0", "type", "bridge"]);
        ip(&["-n", &namespace, "link", "set", "br0", "up"]);
        Segment { namespace, number: self.segments, hosts: std::rc::Rc::new(Cell::new(0)) }
    }

    /// A host on the segment.
    pub fn host(&mut self, name: &str, segment: &Segment) -> Host {
        let namespace = self.namespace(name);
        let address = segment.plug(&namespace, "eth0", name);
        Host { namespace, address }
    }

    /// A host at the end of a wire of this quality.
    pub fn host_on_wire(&mut self, name: &str, segment: &Segment, quality: Quality) -> (Host, Wire) {
        let namespace = self.namespace(name);
        let address = segment.next_address();
        let wire = Wire::start(&namespace, &segment.namespace, name, quality);
        ip(&["-n", &segment.namespace, "link", "set", name, "master", "br0", "up"]);
        ip(&["-n", &namespace, "addr", "add", &format!("{address}/24"), "dev", "eth0"]);
        ip(&["-n", &namespace, "link", "set", "eth0", "up"]);
        (Host { namespace, address }, wire)
    }

    /// A router with NAT: hosts on `inner` reach `outer` under the router's address, nobody reaches them.
    pub fn router(&mut self, name: &str, inner: &Segment, outer: &Segment) -> Router {
        let namespace = self.namespace(name);
        let address = outer.plug(&namespace, "eth0", name);
        let gateway = inner.plug_at(&namespace, "lan", name, 254);
        assert_eq!(gateway, inner.gateway());
        in_namespace(&namespace, "sysctl", &["-qw", "net.ipv4.ip_forward=1"]);
        let rules: [&[&str]; 4] = [
            &["-t", "nat", "-A", "POSTROUTING", "-o", "eth0", "-j", "MASQUERADE"],
            &["-P", "FORWARD", "DROP"],
            &["-A", "FORWARD", "-i", "lan", "-j", "ACCEPT"],
            &["-A", "FORWARD", "-m", "conntrack", "--ctstate", "ESTABLISHED,RELATED", "-j", "ACCEPT"],
        ];
        rules.iter().for_each(|rule| iptables(&namespace, rule));
        Router { host: Host { namespace, address } }
    }

    fn namespace(&mut self, name: &str) -> String {
        let namespace = format!("{}-{name}", self.prefix);
        ip(&["netns", "add", &namespace]);
        self.namespaces.push(namespace.clone());
        ip(&["-n", &namespace, "link", "set", "lo", "up"]);
        namespace
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // Also where the test's thread never left.
        if let Err(error) = setns(&self.home, CloneFlags::CLONE_NEWNET) {
            eprintln!("cannot go back to the machine's own network: {error}");
        }
        for namespace in self.namespaces.iter().rev() {
            let _ = Command::new("ip").args(["netns", "del", namespace]).stderr(Stdio::null()).status();
        }
    }
}

impl Segment {
    /// Where its routers have their inner address.
    #[must_use]
    pub fn gateway(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, self.number, 0, 254)
    }

    fn next_address(&self) -> Ipv4Addr {
        self.hosts.set(self.hosts.get() + 1);
        Ipv4Addr::new(10, self.number, 0, self.hosts.get())
    }

    fn plug(&self, namespace: &str, device: &str, name: &str) -> Ipv4Addr {
        let number = self.next_address().octets()[3];
        self.plug_at(namespace, device, name, number)
    }

    fn plug_at(&self, namespace: &str, device: &str, name: &str, number: u8) -> Ipv4Addr {
        let address = Ipv4Addr::new(10, self.number, 0, number);
        ip(&["-n", namespace, "link", "add", device, "type", "veth", "peer", "name", name, "netns", &self.namespace]);
        ip(&["-n", namespace, "addr", "add", &format!("{address}/24"), "dev", device]);
        ip(&["-n", namespace, "link", "set", device, "up"]);
        ip(&["-n", &self.namespace, "link", "set", name, "master", "br0", "up"]);
        address
    }
}

impl Host {
    /// Its address.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// All that is not of its segment goes through this router.
    pub fn route_by(&self, segment: &Segment) {
        ip(&["-n", &self.namespace, "route", "add", "default", "via", &segment.gateway().to_string()]);
    }

    /// A server that runs on it.
    #[must_use]
    pub fn part(&self, name: &str, program: PathBuf, arguments: Vec<OsString>, dir: &Path) -> Part {
        let mut all: Vec<OsString> = vec![format!("--net={NAMESPACES}/{}", self.namespace).into(), program.into()];
        all.extend(arguments);
        Part::new(name, PathBuf::from("nsenter"), all, dir)
    }

    /// This thread works on the host from now on: its new connections begin there.
    pub fn enter(&self) {
        enter(&self.namespace);
    }

    /// The name by which another thread enters it.
    #[must_use]
    pub fn name(&self) -> String {
        self.namespace.clone()
    }

    /// One more address of it.
    pub fn add_address(&self, address: Ipv4Addr, device: &str) {
        ip(&["-n", &self.namespace, "addr", "add", &format!("{address}/32"), "dev", device]);
    }

    /// Takes its cable out, or puts it in again.
    pub fn set_link(&self, up: bool) {
        ip(&["-n", &self.namespace, "link", "set", "eth0", if up { "up" } else { "down" }]);
    }

    /// Neither hears nor says anything to `others` any more.
    pub fn drop_all_of(&self, others: &[Ipv4Addr]) {
        for other in others {
            let other = other.to_string();
            iptables(&self.namespace, &["-A", "INPUT", "-s", &other, "-j", "DROP"]);
            iptables(&self.namespace, &["-A", "OUTPUT", "-d", &other, "-j", "DROP"]);
        }
    }

    /// Resets every TCP connection with `others`, as a firewall that rejects does. Resets come through.
    pub fn reset_all_of(&self, others: &[Ipv4Addr]) {
        for other in others {
            let other = other.to_string();
            let of_other = ["-A", "INPUT", "-s", &other, "-p", "tcp", "!", "--tcp-flags", "RST", "RST"];
            iptables(&self.namespace, &[&of_other[..], &["-j", "REJECT", "--reject-with", "tcp-reset"]].concat());
        }
    }

    /// Takes its firewall's rules away.
    pub fn heal(&self) {
        for chain in ["INPUT", "OUTPUT"] {
            iptables(&self.namespace, &["-F", chain]);
        }
    }
}

impl Router {
    /// Its address on the outer segment.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        self.host.address
    }

    /// As a host of the outer segment.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Who dials this port of the router comes out at an inner address.
    pub fn forward(&self, port: u16, to: Ipv4Addr, to_port: u16) {
        let (port, place, to_port) = (port.to_string(), format!("{to}:{to_port}"), to_port.to_string());
        let namespace = &self.host.namespace;
        let nat = ["-t", "nat", "-A", "PREROUTING", "-i", "eth0", "-p", "tcp", "--dport", &port, "-j", "DNAT"];
        iptables(namespace, &[&nat[..], &["--to", &place]].concat());
        let to = to.to_string();
        iptables(namespace, &["-A", "FORWARD", "-p", "tcp", "-d", &to, "--dport", &to_port, "-j", "ACCEPT"]);
    }

    /// Nothing goes through it any more, or everything that may.
    pub fn set_cut(&self, cut: bool) {
        iptables(&self.host.namespace, &[if cut { "-I" } else { "-D" }, "FORWARD", "-j", "DROP"]);
    }
}

/// This thread works on the host of that name from now on.
///
/// # Panics
/// When there is none.
pub fn enter(name: &str) {
    join(&Path::new(NAMESPACES).join(name));
}

/// Why there can be no network here.
fn missing() -> Option<String> {
    if !environment::is_root() {
        return Some("network namespaces need root".to_owned());
    }
    for (program, argument) in
        [("ip", "-V"), ("iptables", "--version"), ("nsenter", "--version"), ("sysctl", "--version")]
    {
        let there = Command::new(program).arg(argument).stdout(Stdio::null()).stderr(Stdio::null()).status();
        if !there.is_ok_and(|status| status.success()) {
            return Some(format!("`{program}` is missing: run `cargo xtask setup`"));
        }
    }
    let probe = format!("{PREFIX}{}-probe{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let made = Command::new("ip").args(["netns", "add", &probe]).stderr(Stdio::null()).status();
    let _ = Command::new("ip").args(["netns", "del", &probe]).stderr(Stdio::null()).status();
    (!made.is_ok_and(|status| status.success())).then(|| "this machine allows no network namespaces".to_owned())
}

/// Namespaces of tests that did not live to remove them.
fn sweep() {
    for entry in std::fs::read_dir(NAMESPACES).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let maker = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next()?.parse::<u32>().ok());
        if maker.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists()) {
            let _ = Command::new("ip").args(["netns", "del", &name]).stderr(Stdio::null()).status();
        }
    }
}

fn join(path: &Path) {
    let file = File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    setns(file, CloneFlags::CLONE_NEWNET).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

fn ip(arguments: &[&str]) {
    run(Command::new("ip").args(arguments));
}

fn iptables(namespace: &str, rule: &[&str]) {
    in_namespace(namespace, "iptables", &[&["-w"], rule].concat());
}

fn in_namespace(namespace: &str, program: &str, arguments: &[&str]) {
    run(Command::new("nsenter").arg(format!("--net={NAMESPACES}/{namespace}")).arg(program).args(arguments));
}

fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
