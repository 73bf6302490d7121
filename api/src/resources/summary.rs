//! Resources as legacy endpoints show them (src/common/http.cpp, `json(ObjectWriter*, const Resources&)`).

use serde_json::{Map, Value as Json};

use super::{Ranges, Resources, Scalar, Value};

#[derive(Default)]
struct Sums {
    scalars: Vec<(String, Scalar)>,
    ranges: Vec<(String, Ranges)>,
    sets: Vec<(String, Vec<String>)>,
}

impl Resources {
    /// One member for each name, over all roles and disks: amounts as numbers (disk, mem, gpus and cpus always),
    /// ranges and sets as text; revocable ones under `<name>_revocable`.
    pub fn summary(&self) -> Map<String, Json> {
        let mut sums = Sums::default();
        for name in ["disk", "mem", "gpus", "cpus"] {
            sums.scalars.push((name.into(), Scalar::ZERO));
        }
        for resource in self {
            let suffix = if resource.is_revocable() { "_revocable" } else { "" };
            let name = format!("{}{suffix}", resource.name());
            match resource.value() {
                Value::Scalar(amount) => *entry(&mut sums.scalars, name) += *amount,
                Value::Ranges(ranges) => entry(&mut sums.ranges, name).add(ranges),
                Value::Set(items) => entry(&mut sums.sets, name).extend_from_slice(items),
            }
        }
        let scalars = sums.scalars.into_iter().map(|(name, amount)| (name, Json::from(amount.as_f64())));
        let ranges = sums.ranges.into_iter().map(|(name, ranges)| (name, Json::from(ranges.to_string())));
        let sets = sums.sets.into_iter().map(|(name, items)| (name, Json::from(format!("{{{}}}", items.join(", ")))));
        scalars.chain(ranges).chain(sets).collect()
    }
}

fn entry<T: Default>(entries: &mut Vec<(String, T)>, name: String) -> &mut T {
    let at = entries.iter().position(|(known, _)| *known == name).unwrap_or_else(|| {
        entries.push((name, T::default()));
        entries.len() - 1
    });
    &mut entries[at].1
}
