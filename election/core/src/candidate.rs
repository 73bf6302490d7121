//! Masters' znodes: their names and what is written in them (src/zookeeper/group.cpp, src/master/detector/zookeeper.cpp).

use std::collections::BTreeMap;

use mezzo_api::{
    codec::{self, Encoding},
    v1,
};
use serde_json::Value;

/// A znode of a master that stands for election, known by its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Candidate {
    /// The smallest leads, whatever the label.
    pub sequence: u32,
    /// Which format its data has.
    label: Label,
    /// Its name below the path of the masters.
    pub name: String,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Label {
    Json,
    Protobuf,
    Pid,
    Other(String),
}

/// What a candidate's znode says is of no use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InfoError {
    /// No format that is known.
    #[error("znode {0} has a format that is not known here")]
    Label(String),
    /// Its data does not fit the format.
    #[error("the data of znode {name} cannot be read: {detail}")]
    Data {
        /// The znode.
        name: String,
        /// What is wrong.
        detail: String,
    },
}

impl Candidate {
    /// The prefix of the znodes that masters make; ZooKeeper appends ten digits.
    pub const PREFIX: &'static str = "json.info_";

    /// Reads a child's name: split at `_`, the last part is the number. `None` for anything else, as `log_replicas`.
    pub fn parse(name: &str) -> Option<Self> {
        let parts: Vec<&str> = name.split('_').filter(|part| !part.is_empty()).collect();
        let (last, before) = parts.split_last()?;
        let digits = last.bytes().all(|byte| byte.is_ascii_digit());
        let sequence = last.parse::<u32>().ok().filter(|number| digits && i32::try_from(*number).is_ok())?;
        let label = match before.first() {
            None => Label::Pid,
            Some(&"info") => Label::Protobuf,
            Some(&"json.info") => Label::Json,
            Some(other) => Label::Other((*other).to_owned()),
        };
        Some(Self { sequence, label, name: name.to_owned() })
    }
}

/// The candidates among these children, the leader first.
pub fn candidates<'a>(children: impl IntoIterator<Item = &'a str>) -> Vec<Candidate> {
    let mut found: Vec<Candidate> = children.into_iter().filter_map(Candidate::parse).collect();
    found.sort_unstable();
    found
}

/// What a master writes into its znode: compact JSON with its keys in alphabetical order, as Mesos writes it.
pub fn encode(info: &v1::MasterInfo) -> Vec<u8> {
    let json = codec::encode(Encoding::Json, info);
    let ordered = serde_json::from_slice::<Value>(&json).map(ordered);
    ordered.map_or_else(|_| json.to_vec(), |value| value.to_string().into_bytes())
}

fn ordered(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let sorted: BTreeMap<String, Value> =
                fields.into_iter().map(|(key, value)| (key, ordered(value))).collect();
            Value::Object(sorted.into_iter().collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(ordered).collect()),
        other => other,
    }
}

/// What the data of a candidate's znode says.
///
/// # Errors
/// If it has another format than the znode's name says, or one that is not known.
pub fn decode(candidate: &Candidate, data: &[u8]) -> Result<v1::MasterInfo, InfoError> {
    let wrong = |detail: String| InfoError::Data { name: candidate.name.clone(), detail };
    match &candidate.label {
        Label::Json => codec::decode(Encoding::Json, data).map_err(|error| wrong(error.to_string())),
        Label::Protobuf => codec::decode(Encoding::Protobuf, data).map_err(|error| wrong(error.to_string())),
        Label::Pid => {
            let text = std::str::from_utf8(data).map_err(|error| wrong(error.to_string()))?;
            let pid = text.trim();
            let (host, port) = pid
                .split_once('@')
                .and_then(|(_, address)| split(address))
                .ok_or_else(|| wrong(format!("'{pid}' is no master@host:port")))?;
            Ok(fixed(host, port))
        }
        Label::Other(label) => Err(InfoError::Label(label.clone())),
    }
}

/// What is known of a master whose address alone is known. Its id is made of the address: it is the same each time.
pub fn fixed(host: &str, port: u16) -> v1::MasterInfo {
    let ip = host.parse::<std::net::IpAddr>().ok();
    let authority = join(host, u32::from(port));
    v1::MasterInfo {
        id: format!("master@{authority}"),
        ip: match ip {
            Some(std::net::IpAddr::V4(ip)) => u32::from_le_bytes(ip.octets()),
            _ => 0,
        },
        port: u32::from(port),
        pid: Some(format!("master@{authority}")),
        hostname: Some(host.to_owned()),
        address: Some(v1::Address {
            hostname: Some(host.to_owned()),
            ip: ip.map(|ip| ip.to_string()),
            port: i32::from(port),
        }),
        ..Default::default()
    }
}

/// Where a master is dialled, `host:port`: its address as a number if it tells one, as clients of Mesos do.
pub fn address_of(info: &v1::MasterInfo) -> (String, u16) {
    let port = u16::try_from(info.port).unwrap_or_default();
    if let Some((host, port)) = info.pid.as_deref().and_then(|pid| split(pid.rsplit('@').next()?)) {
        return (host.to_owned(), port);
    }
    let address = info.address.as_ref();
    let told = address.and_then(|address| address.ip.clone().or_else(|| address.hostname.clone()));
    let host = told.unwrap_or_else(|| std::net::Ipv4Addr::from(info.ip.to_le_bytes()).to_string());
    (host, port)
}

/// [`address_of`] in one text: `host:port`.
pub fn listening_at(info: &v1::MasterInfo) -> String {
    let (host, port) = address_of(info);
    join(&host, u32::from(port))
}

fn split(authority: &str) -> Option<(&str, u16)> {
    let (host, port) = authority.rsplit_once(':')?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    Some((host, port.parse().ok()?)).filter(|(host, _)| !host.is_empty())
}

pub(crate) fn join(host: &str, port: u32) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_number_leads_whatever_its_label() {
        let children = ["log_replicas", "json.info_0000000007", "info_0000000005", "0000000006", "json.info_x", "_"];
        let names: Vec<String> = candidates(children).into_iter().map(|candidate| candidate.name).collect();
        assert_eq!(names, ["info_0000000005", "0000000006", "json.info_0000000007"]);
        assert_eq!(Candidate::parse("json.info_2147483648"), None);
        assert_eq!(Candidate::parse("json.info_-1"), None);
    }

    #[test]
    fn is_written_as_mesos_writes_it() {
        let info = v1::MasterInfo { id: "u".into(), version: Some("1.11.0".into()), ..fixed("10.0.0.1", 5050) };
        assert_eq!(
            String::from_utf8(encode(&info)).unwrap(),
            r#"{"address":{"hostname":"10.0.0.1","ip":"10.0.0.1","port":5050},"hostname":"10.0.0.1","id":"u","ip":16777226,"pid":"master@10.0.0.1:5050","port":5050,"version":"1.11.0"}"#
        );
        let candidate = Candidate::parse("json.info_0000000001").unwrap();
        assert_eq!(decode(&candidate, &encode(&info)).unwrap(), info);
    }

    #[test]
    fn reads_every_format() {
        let of =
            |name: &str, data: &[u8]| decode(&Candidate::parse(name).unwrap(), data).map_err(|error| error.to_string());
        let pid = of("0000000001", b"master@10.0.0.1:5050").unwrap();
        assert_eq!(address_of(&pid), ("10.0.0.1".to_owned(), 5050));
        let info = fixed("m1", 80);
        let bytes = codec::encode(Encoding::Protobuf, &info);
        assert_eq!(of("info_0000000001", &bytes).unwrap(), info);
        let unknown = br#"{"id":"x","ip":16777226,"port":5050,"more":{"a":1}}"#;
        assert_eq!(address_of(&of("json.info_1", unknown).unwrap()), ("10.0.0.1".to_owned(), 5050));
        for (name, data) in [
            ("json.info_1", &b"{}"[..]),
            ("json.info_1", b"nonsense"),
            ("info_1", b"{"),
            ("1", b"master"),
            ("1", b"master@:80"),
            ("new_1", b"{}"),
        ] {
            assert!(of(name, data).is_err(), "{name}");
        }
    }

    #[test]
    fn a_master_is_dialled_at_its_address() {
        assert_eq!(address_of(&fixed("::1", 5050)), ("::1".to_owned(), 5050));
        let named = v1::MasterInfo { pid: None, ..fixed("m1", 1) };
        assert_eq!(address_of(&named), ("m1".to_owned(), 1));
    }
}
