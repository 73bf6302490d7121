//! The network of a container, set up from within it: a cable to the host's bridge, an address, a route.

use std::{
    fs::{self, File},
    io,
    os::fd::AsFd,
    path::{Path, PathBuf},
};

use super::{Jail, Plug};
use crate::netlink::{Netlink, index_of};

/// What the container sees of its cable.
const DEVICE: &str = "eth0";
/// Whoever is root or not may serve any port of a network of its own, as with Docker.
const FIRST_FREE_PORT: &str = "/proc/sys/net/ipv4/ip_unprivileged_port_start";

/// Sets the calling process' new network up; `host` is a socket to the one outside.
pub(super) fn set_up(plug: Option<&Plug>, host: Option<Netlink>) -> Result<(), String> {
    let own = Netlink::open().map_err(failed)?;
    own.raise(index_of("lo").unwrap_or(1)).map_err(failed)?;
    let _ = fs::write(FIRST_FREE_PORT, "0");
    let (Some(plug), Some(host)) = (plug, host) else { return Ok(()) };
    let namespace = File::open("/proc/self/ns/net").map_err(failed)?;
    let cable = || host.make_cable(&plug.link, plug.bridge, DEVICE, namespace.as_fd());
    match cable() {
        // The kernel may not yet have taken away that of a container that had this address before.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let _ = host.remove(&plug.link);
            cable()
        }
        result => result,
    }
    .map_err(failed)?;
    let device = index_of(DEVICE).ok_or_else(|| failed(io::ErrorKind::NotFound.into()))?;
    own.give_address(device, plug.address, plug.prefix).map_err(failed)?;
    own.raise(device).map_err(failed)?;
    own.route_by(plug.gateway).map_err(failed)
}

fn failed(error: io::Error) -> String {
    format!("Failed to set up the container's network: {error}")
}

/// Files of /etc by which names of hosts are found: their names, and what is mounted there. Those that are the
/// container's own are made in `place`.
pub(super) fn files(jail: &Jail, place: &Path) -> Result<Vec<(&'static str, PathBuf)>, String> {
    let own = |name: &str, text: String| {
        let path = place.join(name);
        fs::write(&path, text).map_err(|error| format!("Failed to make '/etc/{name}': {error}"))?;
        Ok::<_, String>(path)
    };
    let name = jail.hostname.as_deref().unwrap_or("localhost");
    let mut hosts = String::from("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n");
    if let Some(plug) = &jail.network {
        hosts.push_str(&format!("{}\t{name}\n", plug.address));
    }
    Ok(vec![
        ("/etc/hosts", own("hosts", hosts)?),
        ("/etc/hostname", own("hostname", format!("{name}\n"))?),
        ("/etc/resolv.conf", resolver().into()),
    ])
}

/// A server of names on the host's own loopback is not to be reached from elsewhere: systemd-resolved's file says whom it
/// asks itself.
fn resolver() -> &'static str {
    const HOSTS: &str = "/etc/resolv.conf";
    const UPSTREAM: &str = "/run/systemd/resolve/resolv.conf";
    let text = fs::read_to_string(HOSTS).unwrap_or_default();
    let mut servers = text.lines().filter_map(|line| line.trim().strip_prefix("nameserver"));
    let local = servers.all(|server| server.trim().starts_with("127.") || server.trim() == "::1");
    if local && Path::new(UPSTREAM).exists() { UPSTREAM } else { HOSTS }
}
