//! Who this master is: what SUBSCRIBED, `/state` and `/version` say of it.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::{SystemTime, UNIX_EPOCH},
};

use mezzo_api::{MESOS_VERSION, v1};
use mezzo_server::hostname::{hostname, own_addresses};
use uuid::Uuid;

use crate::flags::Flags;

/// One run of a master.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    /// New for each start; prefix of the ids that it gives out.
    pub(crate) info: v1::MasterInfo,
    /// Seconds since the epoch.
    pub(crate) start_time: f64,
    /// Seconds since the epoch.
    pub(crate) elected_time: f64,
}

impl Identity {
    /// A new master that listens on `bound`.
    pub(crate) fn new(flags: &Flags, bound: SocketAddr, domain: Option<v1::DomainInfo>) -> Self {
        let ip = flags.advertise_ip.unwrap_or_else(|| routable(bound.ip()));
        let port = u32::from(flags.advertise_port.unwrap_or(bound.port()));
        let hostname = flags.hostname.clone().unwrap_or_else(|| hostname(ip, flags.hostname_lookup));
        let capability =
            |kind: v1::master_info::capability::Type| v1::master_info::Capability { r#type: Some(kind as i32) };
        let info = v1::MasterInfo {
            id: Uuid::new_v4().to_string(),
            ip: address_number(ip),
            port,
            pid: Some(format!("master@{}", authority(&ip.to_string(), port))),
            hostname: Some(hostname.clone()),
            version: Some(MESOS_VERSION.to_owned()),
            address: Some(v1::Address {
                hostname: Some(hostname),
                ip: Some(ip.to_string()),
                port: i32::try_from(port).unwrap_or_default(),
            }),
            domain,
            capabilities: [
                v1::master_info::capability::Type::AgentUpdate,
                v1::master_info::capability::Type::AgentDraining,
                v1::master_info::capability::Type::QuotaV2,
            ]
            .map(capability)
            .into(),
        };
        let now = seconds_since_epoch();
        Self { info, start_time: now, elected_time: now }
    }

    /// The same master in another leadership that begins now, under another id.
    pub(crate) fn elected(&self, id: String) -> Self {
        let info = v1::MasterInfo { id, ..self.info.clone() };
        Self { info, start_time: self.start_time, elected_time: seconds_since_epoch() }
    }

    /// The master's UUID.
    pub(crate) fn id(&self) -> &str {
        &self.info.id
    }

    /// `master@ip:port`.
    pub(crate) fn pid(&self) -> &str {
        self.info.pid.as_deref().unwrap_or_default()
    }

    /// What is published as host name.
    pub(crate) fn hostname(&self) -> &str {
        self.info.hostname.as_deref().unwrap_or_default()
    }

    /// `host:port`, as redirects and people use it.
    pub(crate) fn authority(&self) -> String {
        authority(self.hostname(), self.info.port)
    }
}

/// The wall clock as Mesos shows times.
pub(crate) fn seconds_since_epoch() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

/// `host:port` of another master, as redirects have it (src/master/http.cpp, Master::Http::redirect).
pub(crate) fn authority_of(info: &v1::MasterInfo) -> String {
    match &info.hostname {
        Some(hostname) => authority(hostname, info.port),
        None => mezzo_election::listening_at(info),
    }
}

fn authority(host: &str, port: u32) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// `MasterInfo.ip`: the four network-order bytes read as a little-endian number (MESOS-1201); 0 for IPv6.
fn address_number(ip: IpAddr) -> u32 {
    match ip {
        IpAddr::V4(ip) => u32::from_le_bytes(ip.octets()),
        IpAddr::V6(_) => 0,
    }
}

/// What others can reach: the address that the host's own name stands for, if it listens on all of them.
fn routable(bound: IpAddr) -> IpAddr {
    if !bound.is_unspecified() {
        return bound;
    }
    own_addresses().into_iter().find(IpAddr::is_ipv4).unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_what_mesos_says_of_a_master() {
        let identity = Identity::new(&Flags::default(), "127.0.0.1:5050".parse().unwrap(), None);
        let info = &identity.info;
        assert_eq!(info.ip, 16_777_343);
        assert_eq!(info.pid.as_deref(), Some("master@127.0.0.1:5050"));
        assert_eq!(info.version.as_deref(), Some("1.11.0"));
        assert_eq!(identity.authority(), "localhost:5050");
        assert!(Uuid::parse_str(identity.id()).is_ok());
    }

    #[test]
    fn what_is_advertised_replaces_what_is_bound() {
        let flags = Flags {
            advertise_ip: Some("10.0.0.1".parse().unwrap()),
            advertise_port: Some(80),
            hostname: Some("m1.example".into()),
            ..Flags::default()
        };
        let identity = Identity::new(&flags, "0.0.0.0:5050".parse().unwrap(), None);
        assert_eq!(identity.info.ip, 16_777_226);
        assert_eq!(identity.pid(), "master@10.0.0.1:80");
        assert_eq!(identity.authority(), "m1.example:80");
    }
}
