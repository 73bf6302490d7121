//! Registries that earlier versions wrote are read: `tests/data/registry-*`, of both kinds.
//!
//! `registry-1`: everything that the first packaged version remembers, embedded (`.redb.gz`, as it lay in the work directory) and as
//! ZooKeeper has it (`.znodes`: each path below the root, a tab, what stands there in hexadecimal digits).
//! `MEZZO_WRITE_FORMATS=1` writes both anew, which is right only as long as no release has them.

use std::{
    collections::BTreeSet,
    fs,
    io::{Read, Write},
    path::{Path, PathBuf},
};

use mezzo_api::{
    registry::Record,
    v1::{self, quota::QuotaConfig},
};
use mezzo_master_core::registry::{Machine, Recovered, RegistryOp, Standing};
use prost::{
    Message,
    encoding::{DecodeContext, WireType, decode_key, encode_key, skip_field},
};

use super::{
    Embedded, embedded,
    zookeeper::formats::{read, written},
};

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

fn agent(id: &str) -> v1::AgentInfo {
    let scalar = |name: &str, value| v1::Resource {
        name: name.into(),
        r#type: v1::value::Type::Scalar as i32,
        scalar: Some(v1::value::Scalar { value }),
        ..Default::default()
    };
    v1::AgentInfo {
        id: Some(v1::AgentId { value: id.into() }),
        hostname: format!("{id}.example.org"),
        port: Some(5051),
        resources: vec![scalar("cpus", 4.0), scalar("mem", 4096.0)],
        ..Default::default()
    }
}

/// Everything there is to remember.
fn operations() -> Vec<RegistryOp> {
    let limits = [("cpus".to_owned(), v1::value::Scalar { value: 8.0 })].into();
    let quota = QuotaConfig { role: "dev".into(), limits, ..Default::default() };
    let id = v1::MachineId { hostname: Some("m1.example.org".into()), ip: Some("10.0.0.1".into()) };
    let drain = v1::DrainInfo {
        state: v1::DrainState::Draining as i32,
        config: v1::DrainConfig { max_grace_period: None, mark_gone: Some(true) },
    };
    vec![
        RegistryOp::PutAgent(Box::new(agent("here"))),
        RegistryOp::PutAgent(Box::new(agent("draining"))),
        RegistryOp::PutStanding("draining".into(), Standing { deactivated: true, drain: Some(drain) }),
        RegistryOp::MarkUnreachable("away".into(), 1_700_000_000_000_000_000),
        RegistryOp::MarkGone("gone".into(), 1_700_000_001_000_000_000),
        RegistryOp::CompleteFramework("ended".into()),
        RegistryOp::PutQuota(Box::new(quota)),
        RegistryOp::PutWeight("ops/web".into(), 2.5),
        RegistryOp::PutMachine(Box::new(Machine {
            info: v1::MachineInfo { id, ..Default::default() },
            window: 1,
            position: 2,
        })),
    ]
}

/// Each member is looked at: one that comes later has to be recorded first.
fn check(recovered: &Recovered) {
    let Recovered { agents, unreachable, gone, standings, completed_frameworks, quotas, weights, machines } = recovered;
    let mut ids: Vec<&str> = agents.iter().map(|agent| agent.id().unwrap().as_str()).collect();
    ids.sort_unstable();
    assert_eq!(ids, ["draining", "here"]);
    assert!(agents.messages().contains(&agent("here")));
    assert_eq!(unreachable[..], [("away".into(), 1_700_000_000_000_000_000)]);
    assert_eq!(gone[..], [("gone".into(), 1_700_000_001_000_000_000)]);
    assert_eq!(standings.len(), 1);
    assert!(standings[0].1.is_draining() && standings[0].1.deactivated);
    assert_eq!(completed_frameworks[..], ["ended".into()]);
    assert_eq!((quotas.len(), quotas[0].limits["cpus"].value), (1, 8.0));
    assert_eq!(weights[..], [("ops/web".to_owned(), 2.5)]);
    assert_eq!((machines.len(), machines[0].position), (1, 2));
}

fn is_written_anew() -> bool {
    std::env::var_os("MEZZO_WRITE_FORMATS").is_some()
}

#[test]
fn the_first_embedded_registry_is_read_and_written_on() {
    let name = path("registry-1.redb.gz");
    if is_written_anew() {
        let dir = tempfile::tempdir().unwrap();
        let mut opened = Embedded::open(dir.path()).unwrap();
        opened.registry.apply(&[operations()]).unwrap();
        drop(opened);
        let mut packed = flate2::write::GzEncoder::new(fs::File::create(&name).unwrap(), flate2::Compression::best());
        packed.write_all(&fs::read(dir.path().join(embedded::FILE)).unwrap()).unwrap();
        packed.finish().unwrap();
    }
    let dir = tempfile::tempdir().unwrap();
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(fs::File::open(name).unwrap()).read_to_end(&mut bytes).unwrap();
    fs::write(dir.path().join(embedded::FILE), bytes).unwrap();
    let mut opened = Embedded::open(dir.path()).unwrap();
    check(&opened.recovered);
    opened.registry.apply(&[vec![RegistryOp::PutAgent(Box::new(agent("new")))]]).unwrap();
    drop(opened);
    assert_eq!(Embedded::open(dir.path()).unwrap().recovered.agents.len(), 3);
}

#[test]
fn the_first_records_of_zookeeper_are_read() {
    let name = path("registry-1.znodes");
    if is_written_anew() {
        let operations = operations();
        let lines = operations.iter().map(written).map(|(place, data)| {
            let digits: String = data.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("{place}\t{digits}\n")
        });
        fs::write(&name, lines.collect::<String>()).unwrap();
    }
    let records = znodes(&name);
    check(&read(records.iter().map(|(place, data)| (place.as_str(), data.clone()))));
}

/// Paths and what stands there.
fn znodes(file: &Path) -> Vec<(String, Vec<u8>)> {
    let text = fs::read_to_string(file).unwrap();
    let digits = |text: &str| -> Vec<u8> {
        (0..text.len() / 2).map(|at| u8::from_str_radix(&text[at * 2..at * 2 + 2], 16).unwrap()).collect()
    };
    text.lines()
        .map(|line| line.split_once('\t').unwrap())
        .map(|(place, data)| (place.to_owned(), digits(data)))
        .collect()
}

/// Entries that no master has ever written: of a schedule each machine is kept by itself.
const NEVER_WRITTEN: [u32; 2] = [8, 9];

/// A new kind of record that is not in the test data fails here.
#[test]
fn every_kind_of_record_is_in_the_test_data() {
    let is_known = |tag: &u32| {
        let mut bytes = Vec::new();
        encode_key(*tag, WireType::LengthDelimited, &mut bytes);
        bytes.push(0);
        Record::decode(&bytes[..]).is_ok_and(|record| record.entry.is_some())
    };
    let known: BTreeSet<u32> = (1..1000).filter(is_known).filter(|tag| !NEVER_WRITTEN.contains(tag)).collect();
    assert!(known.len() >= 8, "{known:?}");
    let mut recorded = BTreeSet::new();
    for entry in fs::read_dir(path("")).unwrap().flatten() {
        if entry.file_name().to_string_lossy().ends_with(".znodes") {
            for (_, data) in znodes(&entry.path()) {
                let mut bytes = &data[..];
                while !bytes.is_empty() {
                    let (tag, wire) = decode_key(&mut bytes).unwrap();
                    skip_field(wire, tag, &mut bytes, DecodeContext::default()).unwrap();
                    recorded.insert(tag);
                }
            }
        }
    }
    let missing: Vec<u32> = known.difference(&recorded).copied().collect();
    assert_eq!(
        missing, [0; 0],
        "record it: MEZZO_WRITE_FORMATS=1 cargo test -p mezzo-master, with it among the operations above"
    );
}
