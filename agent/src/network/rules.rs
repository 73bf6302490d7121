//! The rules of the firewall: chains of the agent's own, which are written as a whole, and the rules that lead to them.

use std::fmt::Write;

use super::{
    Settings,
    leases::{Lease, name},
};

/// A rule that leads from a chain of the kernel's to one of ours.
pub(super) struct Entrance {
    pub(super) table: &'static str,
    pub(super) chain: &'static str,
    pub(super) rule: Vec<String>,
}

/// Names of chains have 28 letters at most.
fn chain(kind: &str, settings: &Settings) -> String {
    format!("MEZZO-{kind}-{}", settings.bridge.0)
}

/// All of them. Each stands first in its chain: what others forbid in general must not hold back what was asked for here.
pub(super) fn entrances(settings: &Settings) -> Vec<Entrance> {
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let local = words(&format!("-m addrtype --dst-type LOCAL -j {}", chain("IN", settings)));
    let bridge = &settings.bridge.0;
    vec![
        Entrance { table: "nat", chain: "PREROUTING", rule: local.clone() },
        Entrance { table: "nat", chain: "OUTPUT", rule: local },
        Entrance { table: "nat", chain: "POSTROUTING", rule: words(&format!("-j {}", chain("OUT", settings))) },
        Entrance { table: "filter", chain: "FORWARD", rule: words(&format!("-j {}", chain("FWD", settings))) },
        // The bridge takes part in routes of 127.0.0.0/8, for the host's own calls; nothing may come in by them.
        Entrance { table: "mangle", chain: "PREROUTING", rule: words(&format!("-i {bridge} -d 127.0.0.0/8 -j DROP")) },
    ]
}

/// What iptables-restore reads: our chains, with all that is in them.
pub(super) fn chains(settings: &Settings, leases: &[Lease]) -> String {
    let (into, out, forward) = (chain("IN", settings), chain("OUT", settings), chain("FWD", settings));
    let (bridge, range) = (&settings.bridge.0, settings.range);
    let mut text = format!("*nat\n:{into} - [0:0]\n:{out} - [0:0]\n");
    for Lease { address, mappings } in leases {
        for mapping in mappings {
            let (protocol, host, container) = (name(mapping.protocol), mapping.host, mapping.container);
            let _ = writeln!(
                text,
                "-A {into} -p {protocol} -m {protocol} --dport {host} -j DNAT --to-destination {address}:{container}"
            );
        }
    }
    let _ = write!(
        text,
        // To the world; from the host's own loopback; and back to a container that dials itself or its neighbour through
        // a port of the host, which would else answer past the translation.
        "-A {out} -s {range} ! -o {bridge} -j MASQUERADE\n\
         -A {out} -s 127.0.0.0/8 -o {bridge} -j MASQUERADE\n\
         -A {out} -s {range} -d {range} -o {bridge} -m conntrack --ctstate DNAT -j MASQUERADE\n\
         COMMIT\n\
         *filter\n:{forward} - [0:0]\n\
         -A {forward} -o {bridge} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n\
         -A {forward} -o {bridge} -m conntrack --ctstate DNAT -j ACCEPT\n\
         -A {forward} -i {bridge} -j ACCEPT\n\
         -A {forward} -o {bridge} -j DROP\n\
         COMMIT\n"
    );
    text
}

#[cfg(test)]
mod tests {
    use mezzo_agent_core::network::{Mapping, Protocol};

    use super::*;

    #[test]
    fn each_port_is_a_rule() {
        let settings = Settings { bridge: "mezzo0".parse().unwrap(), range: "10.213.0.0/16".parse().unwrap() };
        let mapping = |protocol, host| Mapping { protocol, host, container: 80 };
        let lease = Lease {
            address: [10, 213, 0, 2].into(),
            mappings: vec![mapping(Protocol::Tcp, 31000), mapping(Protocol::Udp, 31001)],
        };
        let text = chains(&settings, &[lease]);
        let rules = [
            "-A MEZZO-IN-mezzo0 -p tcp -m tcp --dport 31000 -j DNAT --to-destination 10.213.0.2:80",
            "-A MEZZO-IN-mezzo0 -p udp -m udp --dport 31001 -j DNAT --to-destination 10.213.0.2:80",
            "-A MEZZO-OUT-mezzo0 -s 10.213.0.0/16 ! -o mezzo0 -j MASQUERADE",
        ];
        for rule in rules {
            assert!(text.lines().any(|line| line == rule), "{rule} is not in:\n{text}");
        }
        assert!(chain("FWD", &Settings { bridge: "fifteen-letters".parse().unwrap(), ..settings }).len() <= 28);
    }
}
