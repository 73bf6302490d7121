//! `--hostname_lookup`: the host name of an address, when `--hostname` gives none.

use std::{
    net::{IpAddr, ToSocketAddrs},
    sync::mpsc,
    time::Duration,
};

/// How long the system's resolver may think. A server that does not know its name starts all the same.
const WITHIN: Duration = Duration::from_secs(3);

/// The name of the host that is published at `ip`. With `lookup` it is what the system's resolver says (`/etc/hosts`, or the
/// PTR record in DNS; `net::getHostname` of stout), else the name that this machine has if the
/// address is its own. Where there is none, or without `lookup`, it is the address. May take three seconds.
pub fn hostname(ip: IpAddr, lookup: bool) -> String {
    match (lookup, ip.is_loopback()) {
        (false, _) => ip.to_string(),
        (true, true) => "localhost".to_owned(),
        (true, false) => resolved(ip).or_else(|| own_name_of(ip)).unwrap_or_else(|| ip.to_string()),
    }
}

/// The addresses that this machine's own name stands for.
pub fn own_addresses() -> Vec<IpAddr> {
    let name = own_name().unwrap_or_default();
    (name.as_str(), 0)
        .to_socket_addrs()
        .map_or_else(|_| Vec::new(), |found| found.map(|address| address.ip()).collect())
}

fn resolved(ip: IpAddr) -> Option<String> {
    let (tell, told) = mpsc::channel();
    // The resolver's own patience is long, and nothing ends it: it is left alone then.
    std::thread::Builder::new().name("resolver".into()).spawn(move || tell.send(dns_lookup::lookup_addr(&ip))).ok()?;
    match told.recv_timeout(WITHIN) {
        // Some resolvers write the root's dot.
        Ok(Ok(name)) => Some(name.trim_end_matches('.').to_owned()).filter(|name| !name.is_empty()),
        Ok(Err(error)) => {
            tracing::info!(%ip, "the address has no name: {error}");
            None
        }
        Err(_) => {
            tracing::warn!(%ip, "no name server says within {} s what the name of the address is", WITHIN.as_secs());
            None
        }
    }
}

fn own_name_of(ip: IpAddr) -> Option<String> {
    own_addresses().contains(&ip).then(own_name).flatten()
}

fn own_name() -> Option<String> {
    nix::unistd::gethostname().ok()?.into_string().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_its_own_name_unless_it_is_looked_for() {
        let ip: IpAddr = "fd00::1".parse().unwrap();
        assert_eq!(hostname(ip, false), "fd00::1");
        assert_eq!(hostname(IpAddr::from([127, 0, 0, 1]), true), "localhost");
    }
}
