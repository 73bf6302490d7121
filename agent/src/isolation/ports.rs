//! `network/ports`: containers that share the host's network listen on their own ports only
//! (src/slave/containerizer/mesos/isolators/network/ports.cpp).

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    fs,
    str::FromStr,
    time::Duration,
};

use mezzo_agent_core::isolation::Limitation;
use mezzo_api::{
    ids::ContainerId,
    resources::Resources,
    v1::{self, task_status::Reason},
};
use mezzo_executor::{jail::Jail, tree};

use super::{Isolator, PortSettings, Standing, Wanted};

/// The state LISTEN of /proc/net/tcp.
const LISTEN: &str = "0A";

/// Ranges of ports, as `[1-10,20-30]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ranges(pub(crate) Vec<(u64, u64)>);

impl FromStr for Ranges {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |why: String| format!("'{text}' are no ranges of ports, e.g. [31000-32000,33000-33100]: {why}");
        let resources = Resources::parse(&format!("ports:{text}"), "*").map_err(|error| wrong(error.to_string()))?;
        let ranges: Vec<(u64, u64)> = of(&resources.to_protos());
        if ranges.is_empty() { Err(wrong("there is none".into())) } else { Ok(Self(ranges)) }
    }
}

/// The ports among resources.
pub(crate) fn of(resources: &[v1::Resource]) -> Vec<(u64, u64)> {
    let ports = resources.iter().filter(|resource| resource.name == "ports");
    let ranges = ports.flat_map(|resource| resource.ranges.iter().flat_map(|ranges| &ranges.range));
    ranges.map(|range| (range.begin, range.end)).collect()
}

#[derive(Debug)]
pub(super) struct Ports {
    interval: Duration,
    enforce: bool,
    /// Only these count.
    watched: Option<Vec<(u64, u64)>>,
}

impl Ports {
    pub(super) fn new(settings: &PortSettings, offered: &[(u64, u64)]) -> Self {
        let isolated = settings.isolated.as_ref().map(|ranges| ranges.0.clone());
        let watched = isolated.or_else(|| settings.offered_only.then(|| offered.to_vec()));
        Self { interval: settings.interval, enforce: settings.enforce, watched }
    }
}

impl Isolator for Ports {
    fn prepare(&self, _wanted: Wanted<'_>, _jail: &mut Jail) -> Result<(), String> {
        Ok(())
    }

    fn interval(&self) -> Option<Duration> {
        Some(self.interval)
    }

    fn look(&self, running: &[Standing]) -> Vec<(ContainerId, Limitation)> {
        let listening = listening();
        let mut over = Vec::new();
        for container in running {
            let open = ports_of(container.pid, &listening);
            let counts = |port: &u64| self.watched.as_ref().is_none_or(|watched| contains(watched, *port));
            let taken = open.into_iter().filter(|port| counts(port) && !contains(&container.allotment.ports, *port));
            let taken: BTreeSet<u64> = taken.collect();
            if taken.is_empty() {
                continue;
            }
            let limitation = limitation(&taken);
            if self.enforce {
                over.push((container.id.clone(), limitation));
            } else {
                tracing::warn!(container = %container.id, "{} (it goes on: see --enforce_container_ports)", limitation.message);
            }
        }
        over
    }
}

fn contains(ranges: &[(u64, u64)], port: u64) -> bool {
    ranges.iter().any(|(first, last)| (*first..=*last).contains(&port))
}

fn limitation(taken: &BTreeSet<u64>) -> Limitation {
    let list: Vec<String> = taken.iter().map(u64::to_string).collect();
    let range = taken.iter().map(|port| v1::value::Range { begin: *port, end: *port }).collect();
    let ports = v1::Resource {
        name: "ports".into(),
        r#type: v1::value::Type::Ranges as i32,
        ranges: Some(v1::value::Ranges { range }),
        ..v1::Resource::default()
    };
    Limitation {
        reason: Reason::ContainerLimitation,
        message: format!("Container listens on ports that it was not allocated: {}", list.join(", ")),
        resources: vec![ports],
    }
}

/// Sockets of the host that listen, by inode.
fn listening() -> HashMap<u64, u64> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| fs::read_to_string(path).unwrap_or_default());
    tables.iter().flat_map(|table| table.lines()).filter_map(parse).collect()
}

/// Inode and port of a line of /proc/net/tcp.
fn parse(line: &str) -> Option<(u64, u64)> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (local, state, inode) = (fields.get(1)?, fields.get(3)?, fields.get(9)?);
    if *state != LISTEN {
        return None;
    }
    let port = u64::from_str_radix(local.rsplit_once(':')?.1, 16).ok()?;
    Some((inode.parse().ok()?, port))
}

/// What the processes of a container listen on.
fn ports_of(pid: i32, listening: &HashMap<u64, u64>) -> HashSet<u64> {
    let below = tree::descendants(pid).into_iter().map(|stat| stat.identity.pid);
    let mut ports = HashSet::new();
    for pid in below.chain([pid]) {
        for entry in fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten() {
            let Ok(target) = fs::read_link(entry.path()) else { continue };
            let inode = target.to_str().and_then(|text| text.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok());
            ports.extend(inode.and_then(|inode: u64| listening.get(&inode)));
        }
    }
    ports
}

#[cfg(test)]
mod tests {
    use mezzo_agent_core::isolation::Allotment;

    use super::*;

    #[test]
    fn who_listens_where_it_may_not_is_found() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = u64::from(listener.local_addr().unwrap().port());
        let standing = |ports| Standing {
            id: "c".into(),
            pid: std::process::id().try_into().unwrap(),
            sandbox: "/".into(),
            allotment: Allotment { ports, ..Allotment::default() },
            volumes: Vec::new(),
        };
        let settings = |isolated: Option<&str>| PortSettings {
            interval: Duration::from_secs(1),
            enforce: true,
            offered_only: false,
            isolated: isolated.map(|text| text.parse().unwrap()),
        };
        let only = Ports::new(&settings(Some(&format!("[{port}-{port}]"))), &[]);
        assert_eq!(only.look(&[standing(vec![(port, port)])]), []);
        let found = only.look(&[standing(vec![(1, 2)])]);
        assert!(found[0].1.message.contains(&port.to_string()), "{found:?}");
        let elsewhere = Ports::new(&settings(Some("[1-2]")), &[]);
        assert_eq!(elsewhere.look(&[standing(vec![])]), []);
        assert!("[5-]".parse::<Ranges>().is_err());
    }
}
