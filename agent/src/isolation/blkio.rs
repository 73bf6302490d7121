//! `cgroups/blkio`: what containers read from disks and write to them
//! (src/slave/containerizer/mesos/isolators/cgroups/subsystems/blkio.cpp). It counts, and limits nothing, as in Mesos.

use std::{collections::BTreeMap, fs, path::Path};

use mezzo_api::v1::{
    cgroup_info::blkio::{self, Operation, Value, throttling},
    device,
};

/// Bytes or calls, for each device: how many of each operation.
type Counts = BTreeMap<(u64, u64), Vec<(Operation, u64)>>;

/// What is counted of a group, if anything is.
pub(super) fn of(group: &Path) -> Option<blkio::Statistics> {
    let read = |name: &str| fs::read_to_string(group.join(name)).ok();
    let (bytes, calls) = match read("io.stat") {
        Some(text) => (version_two(&text, "bytes"), version_two(&text, "ios")),
        None => (
            version_one(&read("blkio.throttle.io_service_bytes")?),
            version_one(&read("blkio.throttle.io_serviced").unwrap_or_default()),
        ),
    };
    let values = |counts: Option<&Vec<(Operation, u64)>>| -> Vec<Value> {
        let value = |(operation, count): &(Operation, u64)| Value { op: Some(*operation as i32), value: Some(*count) };
        counts.into_iter().flatten().map(value).collect()
    };
    let throttling = bytes.iter().map(|(number, counts)| throttling::Statistics {
        device: Some(device::Number { major_number: number.0, minor_number: number.1 }),
        io_service_bytes: values(Some(counts)),
        io_serviced: values(calls.get(number)),
    });
    Some(blkio::Statistics { throttling: throttling.collect(), ..Default::default() })
}

/// Lines like `8:0 Read 4096`.
fn version_one(text: &str) -> Counts {
    let mut counts = Counts::new();
    for line in text.lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [device, operation, count] = fields[..] else { continue };
        let operation = Operation::from_str_name(&operation.to_ascii_uppercase());
        if let (Some(device), Some(operation), Ok(count)) = (number(device), operation, count.parse()) {
            counts.entry(device).or_default().push((operation, count));
        }
    }
    counts
}

/// Lines like `8:0 rbytes=4096 wbytes=0 rios=1 wios=0 dbytes=0 dios=0`.
fn version_two(text: &str, unit: &str) -> Counts {
    let mut counts = Counts::new();
    for line in text.lines() {
        let Some((device, fields)) = line.split_once(' ') else { continue };
        let Some(device) = number(device) else { continue };
        let mut total = 0;
        let entry = counts.entry(device).or_default();
        for (name, operation) in [("r", Operation::Read), ("w", Operation::Write), ("d", Operation::Discard)] {
            let count = fields.split_whitespace().find_map(|field| {
                let (known, count) = field.split_once('=')?;
                (known.strip_prefix(name) == Some(unit)).then(|| count.parse::<u64>().ok())?
            });
            if let Some(count) = count {
                total += count;
                entry.push((operation, count));
            }
        }
        entry.push((Operation::Total, total));
    }
    counts
}

fn number(text: &str) -> Option<(u64, u64)> {
    let (major, minor) = text.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_are_read() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(of(directory.path()), None);
        let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).unwrap();
        write("blkio.throttle.io_service_bytes", "8:16 Read 4096\n8:16 Total 4096\nTotal 4096\n");
        write("blkio.throttle.io_serviced", "8:16 Read 1\n");
        let one = of(directory.path()).unwrap().throttling;
        assert_eq!(one[0].device, Some(device::Number { major_number: 8, minor_number: 16 }));
        let shown = |values: &[Value]| -> Vec<_> { values.iter().map(|one| (one.op(), one.value())).collect() };
        assert_eq!(shown(&one[0].io_service_bytes), [(Operation::Read, 4096), (Operation::Total, 4096)]);
        assert_eq!(shown(&one[0].io_serviced), [(Operation::Read, 1)]);
        write("io.stat", "8:0 rbytes=512 wbytes=1024 rios=1 wios=2 dbytes=0 dios=0\n");
        let two = of(directory.path()).unwrap().throttling;
        assert_eq!(shown(&two[0].io_service_bytes)[1..3], [(Operation::Write, 1024), (Operation::Discard, 0)]);
        assert_eq!(shown(&two[0].io_serviced)[3], (Operation::Total, 3));
    }
}
