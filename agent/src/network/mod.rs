//! Networks of containers' own: a bridge of the agent, an address for each container, ports of the host that are
//! forwarded to it.
//!
//! Who has which address and ports is a **lease**, a file for each container; the rules of the firewall are made of all
//! leases together, and take the place of those before in one step. So they can neither be forgotten nor be left: an agent
//! that comes back drops the leases of containers that are gone, and writes the rules anew. The container's cable itself
//! goes with its last process.

mod host;
mod leases;
mod rules;

use std::{
    collections::BTreeSet,
    fmt, io,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    str::FromStr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use mezzo_agent_core::network::Mapping;
use mezzo_executor::jail::Plug;

use crate::failpoint;

pub(crate) use self::host::NetworkError;
use self::{host::Host, leases::Leases};

/// What the flags say.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `--bridge_name`
    pub bridge: BridgeName,
    /// `--bridge_network`
    pub range: Range,
}

/// A name for a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BridgeName(pub(crate) String);

impl FromStr for BridgeName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let sound = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_');
        if text.is_empty() || text.len() > 15 || !text.chars().all(sound) {
            return Err(format!("'{text}' is no name for a bridge: 1 to 15 letters, digits, - and _"));
        }
        Ok(Self(text.to_owned()))
    }
}

/// A range of addresses, as `10.213.0.0/16`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// Its first address.
    base: u32,
    prefix: u8,
}

impl FromStr for Range {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = |why: &str| format!("'{text}' is no range of addresses: {why}, e.g. 10.213.0.0/16");
        let (base, prefix) = text.split_once('/').ok_or_else(|| wrong("it has no /"))?;
        let base: Ipv4Addr = base.parse().map_err(|_| wrong("it begins with no address of IPv4"))?;
        let prefix: u8 = prefix.parse().map_err(|_| wrong("it ends with no number"))?;
        if !(8..=29).contains(&prefix) {
            return Err(wrong("from /8 to /29 is possible"));
        }
        let range = Self { base: base.to_bits(), prefix };
        if range.base & !range.mask() != 0 {
            return Err(wrong("its first address has bits beyond the prefix"));
        }
        Ok(range)
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from_bits(self.base), self.prefix)
    }
}

impl Range {
    fn mask(self) -> u32 {
        u32::MAX << (32 - self.prefix)
    }

    /// The bridge's address.
    fn gateway(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.base + 1)
    }

    /// Those that containers can have.
    fn addresses(self) -> std::ops::Range<u32> {
        self.base + 2..self.base | !self.mask()
    }

    fn overlaps(self, base: u32, mask: u32) -> bool {
        let common = self.mask() & mask;
        self.base & common == base & common
    }
}

/// The networks of an agent's containers; clones share them.
#[derive(Clone, Debug)]
pub struct Networks(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    settings: Settings,
    leases: Mutex<Leases>,
    /// One at a time writes rules.
    host: tokio::sync::Mutex<Host>,
}

impl Networks {
    /// With the leases that an earlier life of the agent has left. Nothing is done on the host before a container wants it.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn open(settings: Settings, runtime_dir: &Path) -> io::Result<Self> {
        let leases = Leases::open(directory(runtime_dir), settings.range)?;
        let host = tokio::sync::Mutex::new(Host::new(settings.clone()));
        Ok(Self(Arc::new(Inner { settings, leases: Mutex::new(leases), host })))
    }

    /// A container gets its address, and its ports are forwarded.
    pub(crate) async fn join(&self, container: &str, mappings: &[Mapping]) -> Result<Plug, NetworkError> {
        let address = self.leases().take(container, mappings)?;
        failpoint::pass("leased");
        match self.write_rules().await {
            Ok(bridge) => Ok(Plug {
                bridge,
                link: link_of(address),
                address,
                prefix: self.0.settings.range.prefix,
                gateway: self.0.settings.range.gateway(),
            }),
            Err(error @ (NetworkError::Rules { .. } | NetworkError::Broken(_))) => {
                self.leave(container);
                Err(error)
            }
            Err(error) => {
                self.leases().withdraw(container); // no rule was made for it
                Err(error)
            }
        }
    }

    /// The address of a container, if it has one.
    pub(crate) fn address_of(&self, container: &str) -> Option<Ipv4Addr> {
        self.leases().of(container).map(|lease| lease.address)
    }

    /// Nothing of the container runs any more.
    pub(crate) fn leave(&self, container: &str) {
        if self.leases().give_back(container) {
            self.write_rules_soon();
        }
    }

    /// Only these containers are left of an earlier life of the agent.
    pub(crate) fn keep_only(&self, containers: &BTreeSet<&str>) {
        if self.leases().keep_only(containers) {
            self.write_rules_soon();
        }
    }

    fn leases(&self) -> MutexGuard<'_, Leases> {
        self.0.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_rules_soon(&self) {
        let networks = self.clone();
        tokio::spawn(async move {
            if let Err(error) = networks.write_rules().await {
                tracing::error!("{error}");
            }
        });
    }

    /// Makes the rules what the leases say; the bridge's number. Who waits while another one writes finds it done.
    async fn write_rules(&self) -> Result<u32, NetworkError> {
        let mut host = self.0.host.lock().await;
        let (version, leases) = {
            let leases = self.leases();
            (leases.version(), leases.all())
        };
        if let Some(bridge) = host.is_at(version) {
            return Ok(bridge);
        }
        let mut writer = host.clone();
        let written =
            tokio::task::spawn_blocking(move || writer.write(version, &leases).map(|bridge| (writer, bridge)));
        let (written, bridge) = written.await.map_err(|error| NetworkError::Broken(error.to_string()))??;
        failpoint::pass("rules-written");
        *host = written;
        self.leases().written(version);
        Ok(bridge)
    }
}

fn directory(runtime_dir: &Path) -> PathBuf {
    runtime_dir.join("networks")
}

/// The host's end of a container's cable.
fn link_of(address: Ipv4Addr) -> String {
    format!("mz{:08x}", address.to_bits())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_and_refused() {
        let range: Range = "10.213.0.0/29".parse().unwrap();
        assert_eq!(range.to_string(), "10.213.0.0/29");
        assert_eq!(range.gateway(), Ipv4Addr::new(10, 213, 0, 1));
        let all: Vec<_> = range.addresses().map(Ipv4Addr::from_bits).collect();
        assert_eq!((all[0], all[all.len() - 1]), (Ipv4Addr::new(10, 213, 0, 2), Ipv4Addr::new(10, 213, 0, 6)));
        let net = |text: &str| text.parse::<Ipv4Addr>().unwrap().to_bits();
        assert!(range.overlaps(net("10.0.0.0"), net("255.0.0.0")));
        assert!(range.overlaps(net("10.213.0.4"), u32::MAX));
        assert!(!range.overlaps(net("10.213.0.8"), net("255.255.255.248")));
        for text in ["10.213.0.0", "10.213.0.1/16", "10.0.0.0/30", "a/16", "10.0.0.0/x"] {
            assert!(text.parse::<Range>().unwrap_err().contains(text), "{text}");
        }
        assert!("a-very-long-name".parse::<BridgeName>().is_err());
        assert!(link_of(Ipv4Addr::BROADCAST).len() <= 15);
    }
}
