//! Cutting what a task needs out of what is offered.

use mezzo_api::{
    resources::{Range, Ranges, Resource, Resources, Scalar, Value},
    v1,
};

/// What was cut out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Carved {
    /// For the task: as they were offered, reservations and allocation included.
    pub resources: Vec<v1::Resource>,
    /// The ports among them that were left to choose, in order.
    pub ports: Vec<u16>,
}

/// Cuts `needs` and `ports` further ports out of `available`; `None`, and nothing is changed, if it does not suffice.
///
/// Ports are chosen from some place on that `pick` decides, so that a port that was just given back is seldom given out
/// again at once, and agents that share a machine seldom collide.
///
/// What is reserved is used before what is not, so that a reservation does not lie idle. Persistent volumes, other special
/// disks and revocable resources are not touched: they are used on purpose or not at all.
pub fn carve(available: &mut Resources, needs: &Resources, ports: usize, pick: u64) -> Option<Carved> {
    let mut left = available.clone();
    let mut carved = Carved::default();
    for need in needs.iter() {
        match need.value() {
            Value::Scalar(amount) => scalar(&mut left, need.name(), *amount, &mut carved.resources)?,
            Value::Ranges(ranges) => numbers(&mut left, need.name(), ranges.numbers(), &mut carved.resources)?,
            Value::Set(_) => whole(&mut left, need, &mut carved.resources)?,
        }
    }
    let free = if ports == 0 { Vec::new() } else { free_ports(&left, pick) };
    if free.len() < ports {
        return None;
    }
    let chosen = &free[..ports];
    carved.ports = chosen.iter().filter_map(|port| u16::try_from(*port).ok()).collect();
    numbers(&mut left, "ports", chosen.iter().copied(), &mut carved.resources)?;
    *available = left;
    Some(carved)
}

/// Ports that may be used, from the picked place on and around.
fn free_ports(left: &Resources, pick: u64) -> Vec<u64> {
    let ports = plain(left, "ports");
    let mut free: Vec<u64> = ports.iter().flat_map(ranges).flat_map(|range| range.begin..=range.end).collect();
    let count = u64::try_from(free.len()).unwrap_or(u64::MAX).max(1);
    free.rotate_left(usize::try_from(pick % count).unwrap_or_default());
    free
}

/// Those of a name that may be used, the reserved ones first.
fn plain(left: &Resources, name: &str) -> Vec<Resource> {
    let usable = left.iter().filter(|resource| {
        resource.name() == name && resource.is_divisible() && resource.disk().is_none() && !resource.is_revocable()
    });
    let (reserved, free): (Vec<Resource>, Vec<Resource>) =
        usable.cloned().partition(|resource| !resource.is_unreserved());
    reserved.into_iter().chain(free).collect()
}

fn take(left: &mut Resources, part: Resource, out: &mut Vec<v1::Resource>) {
    left.subtract(&part);
    out.push(part.to_proto());
}

fn scalar(left: &mut Resources, name: &str, amount: Scalar, out: &mut Vec<v1::Resource>) -> Option<()> {
    let mut missing = amount;
    for resource in plain(left, name) {
        if missing.is_zero() {
            break;
        }
        let part = resource.amount()?.min(missing);
        missing -= part;
        take(left, resource.with_value(Value::Scalar(part)), out);
    }
    missing.is_zero().then_some(())
}

fn ranges(resource: &Resource) -> impl Iterator<Item = Range> + use<'_> {
    match resource.value() {
        Value::Ranges(ranges) => Some(ranges.iter()),
        Value::Scalar(_) | Value::Set(_) => None,
    }
    .into_iter()
    .flatten()
}

fn numbers(
    left: &mut Resources,
    name: &str,
    wanted: impl Iterator<Item = u64>,
    out: &mut Vec<v1::Resource>,
) -> Option<()> {
    let mut missing: Vec<u64> = wanted.collect();
    for resource in plain(left, name) {
        let (here, elsewhere): (Vec<u64>, Vec<u64>) = missing
            .into_iter()
            .partition(|number| ranges(&resource).any(|range| range.begin <= *number && *number <= range.end));
        missing = elsewhere;
        if !here.is_empty() {
            let part: Ranges = here.into_iter().map(|number| Range { begin: number, end: number }).collect();
            take(left, resource.with_value(Value::Ranges(part)), out);
        }
    }
    missing.is_empty().then_some(())
}

fn whole(left: &mut Resources, need: &Resource, out: &mut Vec<v1::Resource>) -> Option<()> {
    let found = left.iter().find(|resource| resource.name() == need.name() && !resource.is_revocable())?;
    let part = found.with_value(need.value().clone());
    if !left.contains_one(&part) {
        return None;
    }
    take(left, part, out);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resources(text: &str) -> Resources {
        Resources::parse(text, "*").unwrap()
    }

    fn text(carved: &Carved) -> String {
        Resources::from_protos(&carved.resources).unwrap().to_string()
    }

    #[test]
    fn cuts_amounts_and_ports() {
        let mut available = resources("cpus:2;mem:100;ports:[8000-8001,9000-9005]");
        let carved = carve(&mut available, &resources("cpus:0.5;mem:60"), 3, 0).unwrap();
        assert_eq!(carved.ports, [8000, 8001, 9000]);
        assert_eq!(available, resources("cpus:1.5;mem:40;ports:[9001-9005]"));
        assert!(carve(&mut available, &resources("mem:41"), 0, 0).is_none());
        assert!(carve(&mut available, &resources("mem:40"), 6, 0).is_none());
        assert_eq!(available, resources("cpus:1.5;mem:40;ports:[9001-9005]"), "a refusal takes nothing");
        assert!(carve(&mut available, &resources("cpus:1.5;mem:40"), 5, 0).is_some());
        assert!(available.is_empty());
    }

    #[test]
    fn the_pick_decides_where_ports_begin() {
        let mut available = resources("cpus:1;ports:[10-14]");
        let carved = carve(&mut available, &resources("cpus:1"), 3, 3 + 5).unwrap();
        assert_eq!(carved.ports, [13, 14, 10]);
        assert_eq!(available, resources("ports:[11-12]"));
    }

    #[test]
    fn cuts_the_ports_that_were_named() {
        let mut available = resources("ports:[80-80,8000-8010]");
        let carved = carve(&mut available, &resources("ports:[80-80,8003-8004]"), 1, 0).unwrap();
        assert_eq!(carved.ports, [8000]);
        assert_eq!(available, resources("ports:[8001-8002,8005-8010]"));
        assert!(carve(&mut available, &resources("ports:[80-80]"), 0, 0).is_none());
    }

    #[test]
    fn uses_what_is_reserved_first() {
        let mut available = resources("cpus(web):1;cpus:4");
        let carved = carve(&mut available, &resources("cpus:1.5"), 0, 0).unwrap();
        assert_eq!(carved.resources.len(), 2);
        assert_eq!(available, resources("cpus:3.5"));
        assert!(text(&carved).contains("web"), "{}", text(&carved));
    }

    #[test]
    fn leaves_volumes_and_revocable_resources_alone() {
        let mut volume = resources("disk(web):100").to_protos();
        volume[0].disk = Some(Box::new(v1::resource::DiskInfo {
            persistence: Some(v1::resource::disk_info::Persistence { id: "v".into(), principal: None }),
            volume: Some(v1::Volume {
                container_path: "data".into(),
                mode: v1::volume::Mode::Rw as i32,
                ..Default::default()
            }),
            ..Default::default()
        }));
        let mut revocable = resources("cpus:8").to_protos();
        revocable[0].revocable = Some(v1::resource::RevocableInfo {});
        volume.append(&mut revocable);
        let mut available = Resources::from_protos(&volume).unwrap();
        assert!(carve(&mut available, &resources("disk:10"), 0, 0).is_none());
        assert!(carve(&mut available, &resources("cpus:1"), 0, 0).is_none());
    }

    #[test]
    fn keeps_the_role_that_it_is_allocated_to() {
        let mut available = resources("cpus:4");
        available.allocate("web");
        let carved = carve(&mut available, &resources("cpus:1"), 0, 0).unwrap();
        assert_eq!(carved.resources[0].allocation_info.as_ref().unwrap().role.as_deref(), Some("web"));
        assert_eq!(available.cpus(), Scalar::from_f64(3.0));
    }

    #[test]
    fn sets_are_taken_by_their_items() {
        let mut available = resources("disks:{a,b,c}");
        assert!(carve(&mut available, &resources("disks:{a,d}"), 0, 0).is_none());
        assert!(carve(&mut available, &resources("disks:{a,c}"), 0, 0).is_some());
        assert_eq!(available, resources("disks:{b}"));
    }
}
