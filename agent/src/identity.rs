//! Who this agent is: its addresses, its name, what it has.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs, UdpSocket};

use anyhow::{Context, Result};
use mezzo_api::v1;
use mezzo_server::{flags::fault_domain, hostname::hostname};

use crate::{detect, flags::Flags};

/// Where the agent is found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Addresses {
    /// Where executors of this machine dial.
    pub(crate) local: SocketAddr,
    /// What is published.
    pub(crate) published: SocketAddr,
}

impl Addresses {
    /// Of an agent that listens on `bound`.
    pub(crate) fn new(flags: &Flags, bound: SocketAddr) -> Self {
        let ip = if bound.ip().is_unspecified() { own_address(&flags.masters().towards()) } else { bound.ip() };
        let local = SocketAddr::new(ip, bound.port());
        let published = SocketAddr::new(flags.advertise_ip.unwrap_or(ip), flags.advertise_port.unwrap_or(bound.port()));
        Self { local, published }
    }
}

/// The address that this machine has towards the master; nothing is sent to find it out.
fn own_address(master: &str) -> IpAddr {
    let towards = || {
        let master = master.to_socket_addrs().ok()?.next()?;
        let any: SocketAddr = if master.is_ipv4() { "0.0.0.0:0".parse().ok()? } else { "[::]:0".parse().ok()? };
        let socket = UdpSocket::bind(any).ok()?;
        socket.connect(master).ok()?;
        Some(socket.local_addr().ok()?.ip())
    };
    towards().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
}

/// The agent's description.
///
/// # Errors
/// When resources or attributes are of no use.
pub(crate) fn describe(flags: &Flags, addresses: Addresses) -> Result<v1::AgentInfo> {
    let resources =
        detect::resources(flags.resources.as_deref(), &flags.default_role, &flags.work_dir).context("--resources")?;
    let attributes = flags.attributes.as_deref().map(detect::attributes).transpose().context("--attributes")?;
    Ok(v1::AgentInfo {
        hostname: flags.hostname.clone().unwrap_or_else(|| hostname(addresses.published.ip(), flags.hostname_lookup)),
        port: Some(i32::from(addresses.published.port())),
        resources: resources.to_protos(),
        attributes: attributes.unwrap_or_default(),
        id: None,
        domain: fault_domain(flags.domain.as_ref(), flags.region.as_deref(), flags.zone.as_deref())?,
    })
}

/// A number that nobody can foresee.
pub(crate) fn seed() -> u64 {
    let (high, low) = uuid::Uuid::new_v4().as_u64_pair();
    high ^ low
}
