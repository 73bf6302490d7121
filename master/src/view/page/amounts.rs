//! The four amounts that people look at first.

use std::ops::AddAssign;

use mezzo_api::resources::{Resources, Scalar};
use mezzo_master_core::model::Agent;
use serde::{Serialize, Serializer, ser::SerializeStruct};

/// Processors, graphics processors, memory and disk in MB; over all roles and kinds of disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Amounts {
    pub(crate) cpus: Scalar,
    pub(crate) gpus: Scalar,
    pub(crate) mem: Scalar,
    pub(crate) disk: Scalar,
}

/// What an agent or all of them have, and what became of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Use {
    pub(crate) total: Amounts,
    pub(crate) used: Amounts,
    pub(crate) offered: Amounts,
}

impl Amounts {
    /// Those of `resources`.
    pub(crate) fn of(resources: &Resources) -> Self {
        let mut amounts = Self::default();
        for resource in resources {
            let slot = match resource.name() {
                "cpus" => &mut amounts.cpus,
                "gpus" => &mut amounts.gpus,
                "mem" => &mut amounts.mem,
                "disk" => &mut amounts.disk,
                _ => continue,
            };
            *slot += resource.amount().unwrap_or_default();
        }
        amounts
    }

    /// The greatest part of any resource of `total` that this is (src/master/allocator/mesos/sorter/drf: dominant share).
    pub(crate) fn dominant_share(&self, total: &Self) -> f64 {
        let share = |part: Scalar, whole: Scalar| {
            if whole > Scalar::ZERO { part.as_f64() / whole.as_f64() } else { 0.0 }
        };
        [
            share(self.cpus, total.cpus),
            share(self.gpus, total.gpus),
            share(self.mem, total.mem),
            share(self.disk, total.disk),
        ]
        .into_iter()
        .fold(0.0, f64::max)
    }
}

impl AddAssign for Amounts {
    fn add_assign(&mut self, other: Self) {
        self.cpus += other.cpus;
        self.gpus += other.gpus;
        self.mem += other.mem;
        self.disk += other.disk;
    }
}

impl Serialize for Amounts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut members = serializer.serialize_struct("Amounts", 4)?;
        members.serialize_field("cpus", &self.cpus.as_f64())?;
        members.serialize_field("gpus", &self.gpus.as_f64())?;
        members.serialize_field("mem", &self.mem.as_f64())?;
        members.serialize_field("disk", &self.disk.as_f64())?;
        members.end()
    }
}

impl Use {
    /// One agent's.
    pub(crate) fn of(agent: &Agent) -> Self {
        Self { total: Amounts::of(&agent.total), used: Amounts::of(&agent.used), offered: Amounts::of(&agent.offered) }
    }
}

impl AddAssign for Use {
    fn add_assign(&mut self, other: Self) {
        self.total += other.total;
        self.used += other.used;
        self.offered += other.offered;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_add_up_over_roles_and_kinds() {
        let resources = Resources::parse("cpus:1.5;cpus(dev):0.5;mem:64;disk(dev):10;ports:[1-2];gpus:1", "*").unwrap();
        let amounts = Amounts::of(&resources);
        assert_eq!(
            serde_json::to_value(amounts).unwrap(),
            serde_json::json!({"cpus": 2.0, "gpus": 1.0, "mem": 64.0, "disk": 10.0})
        );
        let total = Amounts::of(&Resources::parse("cpus:4;mem:1024;disk:10", "*").unwrap());
        assert_eq!(amounts.dominant_share(&total), 1.0, "disk; there are no gpus to have a share of");
        assert_eq!(Amounts::default().dominant_share(&Amounts::default()), 0.0);
    }
}
