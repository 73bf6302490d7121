//! What is done on the host: the bridge, what the kernel has to allow, the firewall's rules.

use std::{
    fs,
    io::{self, Write},
    os::{linux::net::SocketAddrExt, unix::net},
    path::PathBuf,
    process::{Command, Stdio},
    sync::Arc,
};

use mezzo_executor::netlink::{Netlink, index_of};

use super::{Range, Settings, leases::Lease, rules};

/// Why a container cannot have a network of its own.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NetworkError {
    #[error(
        "Networks of containers' own need an agent that runs as root: run it so, or use the network HOST and the ports \
         that the task was given"
    )]
    NotRoot,
    #[error(
        "Networks of containers' own need '{program}': install iptables (apt-get install iptables), or use the network \
         HOST and the ports that the task was given"
    )]
    NoIptables { program: &'static str },
    #[error("Failed to {what}: {source}; networks of containers' own need CAP_NET_ADMIN and a kernel with {kind}")]
    Kernel { what: String, kind: &'static str, source: io::Error },
    #[error("Failed to write the firewall's rules: {program} says: {message}")]
    Rules { program: &'static str, message: String },
    #[error(
        "The network {range} of the bridge is in use on this host (the route {route} by {device}): name another range \
         with --bridge_network"
    )]
    InUse { range: Range, route: String, device: String },
    #[error(
        "The bridge '{0}' is that of another agent on this host: give each its own --bridge_name and --bridge_network"
    )]
    Shared(String),
    #[error("The port {0} of the host is forwarded to another container")]
    PortTaken(u16),
    #[error("All addresses of {0} are taken: name a larger --bridge_network")]
    NoAddress(Range),
    #[error("Failed to write down who has which address, in '{}': {source}", path.display())]
    Lease { path: PathBuf, source: io::Error },
    #[error("The writer of rules broke down: {0}")]
    Broken(String),
}

/// The host, as far as it is set up.
#[derive(Clone, Debug)]
pub(super) struct Host {
    settings: Settings,
    /// Whose version of the leases the rules are.
    written: Option<u64>,
    /// Held for as long as the agent lives: no other agent uses the bridge.
    claim: Option<Arc<net::UnixDatagram>>,
}

impl Host {
    pub(super) fn new(settings: Settings) -> Self {
        Self { settings, written: None, claim: None }
    }

    /// The bridge's number, if it is there and the rules are of this version or later.
    pub(super) fn is_at(&self, version: u64) -> Option<u32> {
        let bridge = index_of(&self.settings.bridge.0)?;
        self.written.is_some_and(|written| written >= version).then_some(bridge)
    }

    /// Sets up what is not there, and makes the rules those of these leases; the bridge's number.
    pub(super) fn write(&mut self, version: u64, leases: &[Lease]) -> Result<u32, NetworkError> {
        let bridge = match index_of(&self.settings.bridge.0).filter(|_| self.written.is_some()) {
            Some(bridge) => {
                self.write_chains(leases)?;
                bridge
            }
            None => {
                self.claim()?;
                let bridge = self.make_bridge()?;
                self.allow()?;
                self.write_chains(leases)?;
                self.make_entrances()?;
                tracing::info!(bridge = self.settings.bridge.0, network = %self.settings.range, "containers have a network");
                bridge
            }
        };
        self.written = Some(version);
        Ok(bridge)
    }

    fn claim(&mut self) -> Result<(), NetworkError> {
        if !nix::unistd::geteuid().is_root() {
            return Err(NetworkError::NotRoot);
        }
        if self.claim.is_some() {
            return Ok(());
        }
        // The kernel keeps such a name within one network, and lets it go with the agent.
        let name = format!("mezzo-bridge-{}", self.settings.bridge.0);
        let bound = net::SocketAddr::from_abstract_name(name).and_then(|name| net::UnixDatagram::bind_addr(&name));
        match bound {
            Ok(socket) => self.claim = Some(Arc::new(socket)),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                return Err(NetworkError::Shared(self.settings.bridge.0.clone()));
            }
            Err(source) => return Err(kernel("claim the bridge", "unix sockets")(source)),
        }
        Ok(())
    }

    fn make_bridge(&self) -> Result<u32, NetworkError> {
        let (name, range) = (&self.settings.bridge.0, self.settings.range);
        let routes = fs::read_to_string("/proc/thread-self/net/route").unwrap_or_default();
        if let Some((route, device)) = conflict(&routes, range, name) {
            return Err(NetworkError::InUse { range, route, device });
        }
        let failed = || kernel(&format!("make the bridge '{name}'"), "bridges (CONFIG_BRIDGE) and veth (CONFIG_VETH)");
        let netlink = Netlink::open().map_err(failed())?;
        let [a, b, c, d] = range.base.to_be_bytes();
        let there = |result: io::Result<()>| match result {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            result => result,
        };
        there(netlink.make_bridge(name, [0x02, 0x4d, a, b, c, d])).map_err(failed())?;
        let bridge = index_of(name).ok_or_else(|| failed()(io::ErrorKind::NotFound.into()))?;
        there(netlink.give_address(bridge, range.gateway(), range.prefix)).map_err(failed())?;
        netlink.raise(bridge).map_err(failed())?;
        Ok(bridge)
    }

    /// What the kernel is told to do between networks.
    fn allow(&self) -> Result<(), NetworkError> {
        let own = format!("/proc/sys/net/ipv4/conf/{}/route_localnet", self.settings.bridge.0);
        for path in ["/proc/sys/net/ipv4/ip_forward", &own] {
            let before = fs::read_to_string(path).unwrap_or_default();
            if before.trim() == "1" {
                continue;
            }
            fs::write(path, "1").map_err(kernel(&format!("write 1 into {path}"), "forwarding"))?;
            tracing::info!(path, "set to 1, so that the network of containers works");
        }
        Ok(())
    }

    fn write_chains(&self, leases: &[Lease]) -> Result<(), NetworkError> {
        run("iptables-restore", &["--noflush", "-w", "10"], &rules::chains(&self.settings, leases)).map(drop)
    }

    fn make_entrances(&self) -> Result<(), NetworkError> {
        for entrance in rules::entrances(&self.settings) {
            let with = |action| {
                let place = ["-w", "10", "-t", entrance.table, action, entrance.chain];
                let words: Vec<&str> = place.into_iter().chain(entrance.rule.iter().map(String::as_str)).collect();
                run("iptables", &words, "")
            };
            match with("-C") {
                Ok(()) => {}
                Err(NetworkError::Rules { .. }) => with("-I")?,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn kernel(what: &str, kind: &'static str) -> impl FnOnce(io::Error) -> NetworkError + use<> {
    let what = what.to_owned();
    move |source| NetworkError::Kernel { what, kind, source }
}

/// A route of another device into the range: its text and the device. `routes` is as /proc/net/route.
fn conflict(routes: &str, range: Range, bridge: &str) -> Option<(String, String)> {
    routes.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let number = |place: usize| u32::from_str_radix(fields.get(place)?, 16).ok().map(u32::swap_bytes);
        let (device, base, mask) = (*fields.first()?, number(1)?, number(7)?);
        let other = device != bridge && mask != 0 && range.overlaps(base, mask);
        other.then(|| (format!("{}/{}", std::net::Ipv4Addr::from_bits(base), mask.count_ones()), device.to_owned()))
    })
}

/// Runs a program of iptables with this input.
fn run(program: &'static str, arguments: &[&str], input: &str) -> Result<(), NetworkError> {
    let path = std::env::var("PATH").unwrap_or_default();
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => NetworkError::NoIptables { program },
        _ => NetworkError::Rules { program, message: error.to_string() },
    };
    let mut child = Command::new(program)
        .args(arguments)
        .env("PATH", format!("{path}:/usr/sbin:/sbin"))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        let _ = stdin.write_all(input.as_bytes()); // what it says of that is on its standard error
    }
    let output = child.wait_with_output().map_err(failed)?;
    if output.status.success() {
        return Ok(());
    }
    let message = String::from_utf8_lossy(&output.stderr);
    Err(NetworkError::Rules { program, message: message.split_whitespace().collect::<Vec<_>>().join(" ") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_into_the_range_are_found() {
        let routes = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n\
                      eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
                      mezzo0\t0000D50A\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n\
                      eth1\t0000000A\t00000000\t0001\t0\t0\t0\t000000FF\t0\t0\t0\n";
        let range: Range = "10.213.0.0/16".parse().unwrap();
        assert_eq!(conflict(routes, range, "mezzo0"), Some(("10.0.0.0/8".into(), "eth1".into())));
        assert_eq!(conflict(routes, "172.29.0.0/16".parse().unwrap(), "mezzo0"), None);
        let own: String = routes.lines().take(3).map(|line| format!("{line}\n")).collect();
        assert_eq!(conflict(&own, range, "mezzo0"), None, "the default route and our own are none");
        assert!(conflict(&own, range, "mezzo1").is_some());
    }
}
