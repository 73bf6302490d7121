//! Who has which address, and which ports: a file for each container, in a directory of the agent's.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    fs, io,
    net::Ipv4Addr,
    path::{Path, PathBuf},
};

use mezzo_agent_core::network::{Mapping, Protocol};

use super::{NetworkError, Range};

/// What a container has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lease {
    pub(super) address: Ipv4Addr,
    pub(super) mappings: Vec<Mapping>,
}

/// All leases. One that is given back stays in its file until the rules are written without it, so that a killed agent
/// does not forget rules that are still there.
#[derive(Debug)]
pub(super) struct Leases {
    directory: PathBuf,
    range: Range,
    held: BTreeMap<String, Lease>,
    /// Given back with this version, with its address.
    ended: Vec<(String, u32, u64)>,
    used: HashSet<u32>,
    /// Where the search for the next address begins: those that were given back last come last.
    next: u32,
    version: u64,
}

impl Leases {
    pub(super) fn open(directory: PathBuf, range: Range) -> io::Result<Self> {
        let mut held = BTreeMap::new();
        let entries = match fs::read_dir(&directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            result => Some(result?),
        };
        for entry in entries.into_iter().flatten() {
            let entry = entry?;
            let Some(lease) = parse(&fs::read_to_string(entry.path())?) else {
                // It was being written when the agent was killed: nothing was done for it.
                fs::remove_file(entry.path())?;
                continue;
            };
            held.insert(entry.file_name().to_string_lossy().into_owned(), lease);
        }
        let used: HashSet<u32> = held.values().map(|lease| lease.address.to_bits()).collect();
        let next = used.iter().max().map_or(0, |last| last + 1);
        Ok(Self { directory, range, held, ended: Vec::new(), used, next, version: 1 })
    }

    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// Those of containers that live.
    pub(super) fn all(&self) -> Vec<Lease> {
        self.held.values().cloned().collect()
    }

    pub(super) fn of(&self, container: &str) -> Option<&Lease> {
        self.held.get(container)
    }

    pub(super) fn take(&mut self, container: &str, mappings: &[Mapping]) -> Result<Ipv4Addr, NetworkError> {
        let taken = |mapping: &&Mapping| {
            let mut others = self.held.values().flat_map(|lease| &lease.mappings);
            others.any(|other| (other.host, other.protocol) == (mapping.host, mapping.protocol))
        };
        if let Some(mapping) = mappings.iter().find(taken) {
            return Err(NetworkError::PortTaken(mapping.host));
        }
        let all = self.range.addresses();
        let mut candidates = (self.next.clamp(all.start, all.end)..all.end).chain(all.clone());
        let address = candidates.find(|address| !self.used.contains(address));
        let address = address.ok_or(NetworkError::NoAddress(self.range))?;
        let lease = Lease { address: Ipv4Addr::from_bits(address), mappings: mappings.to_vec() };
        let failed = |source| NetworkError::Lease { path: self.directory.clone(), source };
        fs::create_dir_all(&self.directory).map_err(failed)?;
        fs::write(self.directory.join(container), format(&lease)).map_err(failed)?;
        self.next = address + 1;
        self.used.insert(address);
        self.held.insert(container.to_owned(), lease);
        self.version += 1;
        Ok(Ipv4Addr::from_bits(address))
    }

    /// It was never made use of.
    pub(super) fn withdraw(&mut self, container: &str) {
        if let Some(lease) = self.held.remove(container) {
            self.used.remove(&lease.address.to_bits());
            remove(&self.directory.join(container));
        }
    }

    /// `false` if there is none.
    pub(super) fn give_back(&mut self, container: &str) -> bool {
        let Some(lease) = self.held.remove(container) else { return false };
        self.version += 1;
        self.ended.push((container.to_owned(), lease.address.to_bits(), self.version));
        true
    }

    /// Gives back those of others; `true` if there are any leases at all, whose rules may have to be written anew.
    pub(super) fn keep_only(&mut self, containers: &BTreeSet<&str>) -> bool {
        let others: Vec<String> =
            self.held.keys().filter(|container| !containers.contains(container.as_str())).cloned().collect();
        for container in &others {
            self.give_back(container);
        }
        !self.held.is_empty() || !others.is_empty()
    }

    /// The rules are those of this version: what was given back by then is gone.
    pub(super) fn written(&mut self, version: u64) {
        let Self { ended, held, directory, used, .. } = self;
        ended.retain(|(container, address, since)| {
            let gone = *since <= version;
            if gone {
                used.remove(address);
            }
            if gone && !held.contains_key(container) {
                remove(&directory.join(container));
            }
            !gone
        });
    }
}

fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        tracing::warn!(path = %path.display(), "cannot remove the lease of an address: {error}");
    }
}

/// `address <address>`, then `<protocol> <port of the host> <port of the container>` for each mapping, then `end`.
fn format(lease: &Lease) -> String {
    let mapping = |mapping: &Mapping| format!("{} {} {}\n", name(mapping.protocol), mapping.host, mapping.container);
    let mappings: String = lease.mappings.iter().map(mapping).collect();
    format!("address {}\n{mappings}end\n", lease.address)
}

fn parse(text: &str) -> Option<Lease> {
    let mut lines = text.lines();
    let address = lines.next()?.strip_prefix("address ")?.parse().ok()?;
    let mut mappings = Vec::new();
    for line in lines {
        let fields: Vec<&str> = line.split(' ').collect();
        match fields.as_slice() {
            ["end"] => return Some(Lease { address, mappings }),
            [protocol, host, container] => mappings.push(Mapping {
                protocol: if *protocol == name(Protocol::Udp) { Protocol::Udp } else { Protocol::Tcp },
                host: host.parse().ok()?,
                container: container.parse().ok()?,
            }),
            _ => return None,
        }
    }
    None
}

pub(super) fn name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(host: u16) -> Mapping {
        Mapping { protocol: Protocol::Tcp, host, container: 80 }
    }

    fn files(directory: &Path) -> Vec<String> {
        let names = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<String> = names.map(|name| name.to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn leases_outlive_the_agent_until_their_rules_are_gone() {
        let directory = tempfile::tempdir().unwrap();
        let range: Range = "10.9.0.0/29".parse().unwrap();
        let mut leases = Leases::open(directory.path().into(), range).unwrap();
        let first = leases.take("a", &[mapping(31000)]).unwrap();
        assert_eq!(first, Ipv4Addr::new(10, 9, 0, 2));
        assert!(matches!(leases.take("b", &[mapping(31000)]), Err(NetworkError::PortTaken(31000))));
        assert_eq!(leases.take("b", &[mapping(31001)]).unwrap(), Ipv4Addr::new(10, 9, 0, 3));
        let before = leases.version();
        assert!(leases.give_back("a") && !leases.give_back("a"));
        leases.written(before);
        assert_eq!(files(directory.path()), ["a", "b"], "its rules may be there still");
        fs::write(directory.path().join("c"), "address 10.9.0.4\ntcp 1").unwrap();

        let mut leases = Leases::open(directory.path().into(), range).unwrap();
        assert_eq!(leases.all().len(), 2);
        assert!(leases.keep_only(&BTreeSet::from(["b"])));
        leases.written(leases.version());
        assert_eq!(files(directory.path()), ["b"]);
        assert_eq!(leases.of("b").unwrap().mappings, [mapping(31001)]);
        for (name, last) in [("d", 4), ("e", 5), ("f", 6), ("g", 2)] {
            assert_eq!(leases.take(name, &[]).unwrap(), Ipv4Addr::new(10, 9, 0, last), "the latest is not given first");
        }
        assert!(matches!(leases.take("h", &[]), Err(NetworkError::NoAddress(_))));
        leases.withdraw("e");
        assert_eq!(files(directory.path()), ["b", "d", "f", "g"]);
        assert_eq!(leases.take("h", &[]).unwrap(), Ipv4Addr::new(10, 9, 0, 5));
    }
}
