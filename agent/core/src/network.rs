//! Networks of containers' own: what frameworks ask for, and what they are told of it.

use std::net::Ipv4Addr;

use mezzo_api::v1::{
    self,
    container_info::{self, DockerInfo, docker_info},
    network_info::IpAddress,
};

/// The name by which a container of type MESOS asks for the agent's bridge: Marathon's default (`--mesos_bridge_name`).
const BRIDGE: &str = "mesos-bridge";

/// A network of a container's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Network {
    /// It reaches nobody but itself.
    Alone,
    /// It has an address on the agent's bridge, and the host forwards these ports.
    Bridge(Vec<Mapping>),
}

/// A port of the host that is forwarded to a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// Of both.
    pub protocol: Protocol,
    /// On the host.
    pub host: u16,
    /// In the container.
    pub container: u16,
}

/// What has ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// `tcp`
    Tcp,
    /// `udp`
    Udp,
}

impl Mapping {
    fn new(host: u32, container: u32, protocol: Option<&str>) -> Result<Self, String> {
        let port = |number: u32| {
            u16::try_from(number)
                .ok()
                .filter(|port| *port > 0)
                .ok_or_else(|| format!("{number} in the port mappings is no port"))
        };
        let protocol = match protocol.map(str::to_ascii_lowercase).as_deref() {
            None | Some("tcp") => Protocol::Tcp,
            Some("udp") => Protocol::Udp,
            Some(other) => return Err(format!("The protocol '{other}' of a port mapping is neither tcp nor udp")),
        };
        Ok(Self { protocol, host: port(host)?, container: port(container)? })
    }
}

/// The network of a container of type DOCKER (src/docker/docker.cpp, Docker::RunOptions::create).
pub(crate) fn of_docker(info: &v1::ContainerInfo, docker: &DockerInfo) -> Result<Option<Network>, String> {
    use docker_info::Network as Kind;
    let mapped = !docker.port_mappings.is_empty();
    match kind_of(docker) {
        Kind::Host if info.hostname.is_some() => Err("Unable to set hostname with host network mode".into()),
        Kind::Host | Kind::None if mapped => {
            Err("Port mappings are only supported for bridge and user-defined networks".into())
        }
        Kind::Host => Ok(None),
        Kind::None => Ok(Some(Network::Alone)),
        Kind::Bridge => {
            let mapping = |mapping: &docker_info::PortMapping| {
                Mapping::new(mapping.host_port, mapping.container_port, mapping.protocol.as_deref())
            };
            Ok(Some(Network::Bridge(docker.port_mappings.iter().map(mapping).collect::<Result<_, _>>()?)))
        }
        Kind::User => Err("User-defined networks are not supported: use BRIDGE or HOST".into()),
    }
}

/// What a parameter says goes before the field.
fn kind_of(docker: &DockerInfo) -> docker_info::Network {
    use docker_info::Network as Kind;
    let parameters = docker.parameters.iter().rev();
    let named = parameters.map(|parameter| (parameter.key.as_str(), parameter.value.as_str()));
    let named = named.filter(|(key, _)| matches!(*key, "net" | "network")).map(|(_, value)| value).next();
    match named {
        None => docker.network.map_or(Kind::Host, |_| docker.network()),
        Some("host") => Kind::Host,
        Some("bridge" | "default") => Kind::Bridge,
        Some("none") => Kind::None,
        Some(_) => Kind::User,
    }
}

/// The network of a container of type MESOS: those that are named; else it has the host's.
pub(crate) fn of_mesos(info: &v1::ContainerInfo) -> Result<Option<Network>, String> {
    let mut named = info.network_infos.iter().filter_map(|network| Some((network.name.as_deref()?, network)));
    let Some((name, network)) = named.next() else { return Ok(None) };
    if name != BRIDGE {
        return Err(format!("There is no container network '{name}' on this agent: use '{BRIDGE}', or none"));
    }
    if named.next().is_some() {
        return Err("A container cannot have more than one network".into());
    }
    let mapping = |mapping: &v1::network_info::PortMapping| {
        Mapping::new(mapping.host_port, mapping.container_port, mapping.protocol.as_deref())
    };
    Ok(Some(Network::Bridge(network.port_mappings.iter().map(mapping).collect::<Result<_, _>>()?)))
}

/// Ports of the host are the task's own (src/docker/docker.cpp, Docker::RunOptions::create).
pub(crate) fn check_ports(network: Option<&Network>, ports: &[(u64, u64)]) -> Result<(), String> {
    let Some(Network::Bridge(mappings)) = network else { return Ok(()) };
    let own = |port: u64| ports.iter().any(|(first, last)| (*first..=*last).contains(&port));
    match mappings.iter().find(|mapping| !own(mapping.host.into())) {
        Some(mapping) => Err(format!("Port [{}] not included in resources", mapping.host)),
        None => Ok(()),
    }
}

/// What is told of the network of a container like this, but for its address; `None`: it has the host's.
pub(crate) fn described(info: Option<&v1::ContainerInfo>) -> Option<v1::NetworkInfo> {
    let info = info?;
    match info.r#type() {
        container_info::Type::Docker => (kind_of(info.docker.as_ref()?) != docker_info::Network::Host)
            .then(|| info.network_infos.first().cloned().unwrap_or_default()),
        container_info::Type::Mesos => info.network_infos.iter().find(|network| network.name.is_some()).cloned(),
    }
}

/// With its address.
pub(crate) fn with_address(network: v1::NetworkInfo, address: Ipv4Addr) -> v1::NetworkInfo {
    let own =
        IpAddress { protocol: Some(v1::network_info::Protocol::IPv4 as i32), ip_address: Some(address.to_string()) };
    v1::NetworkInfo { ip_addresses: vec![own], ..network }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn docker(kind: docker_info::Network, mappings: &[(u32, u32, Option<&str>)]) -> v1::ContainerInfo {
        let mapping = |(host, container, protocol): &(u32, u32, Option<&str>)| docker_info::PortMapping {
            host_port: *host,
            container_port: *container,
            protocol: protocol.map(str::to_owned),
        };
        let docker = DockerInfo {
            network: Some(kind as i32),
            port_mappings: mappings.iter().map(mapping).collect(),
            ..Default::default()
        };
        v1::ContainerInfo { r#type: container_info::Type::Docker as i32, docker: Some(docker), ..Default::default() }
    }

    fn read(info: &v1::ContainerInfo) -> Result<Option<Network>, String> {
        of_docker(info, info.docker.as_ref().unwrap())
    }

    #[test]
    fn networks_of_docker_are_read_and_what_cannot_be_is_named() {
        use docker_info::Network as Kind;
        let bridged = docker(Kind::Bridge, &[(31000, 80, None), (31001, 53, Some("UDP"))]);
        let tcp = Mapping { protocol: Protocol::Tcp, host: 31000, container: 80 };
        let udp = Mapping { protocol: Protocol::Udp, host: 31001, container: 53 };
        assert_eq!(read(&bridged), Ok(Some(Network::Bridge(vec![tcp, udp]))));
        assert_eq!(read(&docker(Kind::None, &[])), Ok(Some(Network::Alone)));
        assert_eq!(read(&docker(Kind::Host, &[])), Ok(None));
        assert!(read(&docker(Kind::Host, &[(31000, 80, None)])).unwrap_err().contains("Port mappings"));
        assert!(read(&docker(Kind::Bridge, &[(31000, 0, None)])).unwrap_err().contains("0 "));
        assert!(read(&docker(Kind::Bridge, &[(31000, 80, Some("sctp"))])).unwrap_err().contains("'sctp'"));
        assert!(read(&docker(Kind::User, &[])).unwrap_err().contains("User-defined"));
        let network = Network::Bridge(vec![tcp]);
        assert_eq!(check_ports(Some(&network), &[(31000, 31010)]), Ok(()));
        assert_eq!(check_ports(Some(&network), &[(1, 2)]).unwrap_err(), "Port [31000] not included in resources");
        assert!(described(Some(&bridged)).is_some() && described(Some(&docker(Kind::Host, &[]))).is_none());
    }

    #[test]
    fn a_container_of_mesos_names_the_bridge() {
        let named = |name: Option<&str>| v1::NetworkInfo {
            name: name.map(str::to_owned),
            port_mappings: vec![v1::network_info::PortMapping { host_port: 31000, container_port: 80, protocol: None }],
            ..Default::default()
        };
        let with = |networks: Vec<v1::NetworkInfo>| v1::ContainerInfo {
            r#type: container_info::Type::Mesos as i32,
            network_infos: networks,
            ..Default::default()
        };
        let mapping = Mapping { protocol: Protocol::Tcp, host: 31000, container: 80 };
        assert_eq!(of_mesos(&with(vec![named(Some(BRIDGE))])), Ok(Some(Network::Bridge(vec![mapping]))));
        assert_eq!(of_mesos(&with(vec![named(None)])), Ok(None), "the host's");
        assert!(of_mesos(&with(vec![named(Some("calico"))])).unwrap_err().contains("'calico'"));
        assert!(of_mesos(&with(vec![named(Some(BRIDGE)), named(Some(BRIDGE))])).unwrap_err().contains("more than one"));
        let told = with_address(described(Some(&with(vec![named(Some(BRIDGE))]))).unwrap(), Ipv4Addr::LOCALHOST);
        assert_eq!(told.ip_addresses[0].ip_address(), "127.0.0.1");
        assert_eq!(told.name(), BRIDGE);
    }
}
