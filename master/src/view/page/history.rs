//! The last hour, for charts.

use std::{collections::BTreeMap, sync::Arc};

use mezzo_api::resources::Scalar;

use super::{
    super::{View, document::Document, roles::uses},
    activity::Sample,
    amounts::{Amounts, Use},
    list::place,
};

/// As many roles and as many zones have a line of their own: those with the largest shares.
const LINES: usize = 24;

/// The cluster as it was at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Moment {
    pub(crate) sample: Sample,
    pub(crate) shares: Shares,
}

/// Dominant shares in thousandths.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Shares {
    /// Which part of the whole cluster each role has.
    pub(crate) roles: Line,
    /// Which part of itself is used, `region/zone`.
    pub(crate) zones: Line,
}

type Line = BTreeMap<String, u16>;

impl View {
    /// The moment that is now.
    pub(crate) fn moment(&self) -> Moment {
        let sample = self.sample();
        let total = sample.resources.total;
        let mut zones: BTreeMap<(&str, &str), Use> = BTreeMap::new();
        for agent in self.agents.values() {
            *zones.entry(place(&agent.info)).or_default() += Use::of(agent);
        }
        let zones = zones.into_iter().map(|((region, zone), it)| (format!("{region}/{zone}"), it.used, it.total));
        let roles = uses(self).into_iter().map(|(name, used)| (name, of_quantities(&used.allocated), total));
        Moment { sample, shares: Shares { roles: largest(roles), zones: largest(zones) } }
    }
}

fn of_quantities(quantities: &BTreeMap<String, Scalar>) -> Amounts {
    let amount = |name: &str| quantities.get(name).copied().unwrap_or_default();
    Amounts { cpus: amount("cpus"), gpus: amount("gpus"), mem: amount("mem"), disk: amount("disk") }
}

fn largest(parts: impl Iterator<Item = (String, Amounts, Amounts)>) -> Line {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 1000")]
    let thousandths = |part: Amounts, whole: Amounts| (part.dominant_share(&whole).clamp(0.0, 1.0) * 1000.0) as u16;
    let mut shares: Vec<(String, u16)> = parts.map(|(name, part, whole)| (name, thousandths(part, whole))).collect();
    shares.sort_by(|(one, a), (other, b)| b.cmp(a).then_with(|| one.cmp(other)));
    shares.truncate(LINES);
    shares.into_iter().collect()
}

/// `/ui/history`: the last hour in samples, each an array whose members [`COLUMNS`] names. `roles` and
/// `zones` have a line each, as long as the list of samples.
pub(crate) fn history(moments: &[Arc<Moment>]) -> Vec<u8> {
    let lines = |of: fn(&Shares) -> &Line| {
        let Some(last) = moments.last() else { return BTreeMap::new() };
        let names = of(&last.shares).keys();
        let line = |name: &String| moments.iter().map(|moment| of(&moment.shares).get(name).copied()).collect();
        names.map(|name| (name.clone(), line(name))).collect::<BTreeMap<String, Vec<Option<u16>>>>()
    };
    let mut document = Document::default();
    document
        .list("columns", COLUMNS)
        .list("rows", moments.iter().map(|moment| columns(&moment.sample)))
        .member("roles", &lines(|shares| &shares.roles))
        .member("zones", &lines(|shares| &shares.zones));
    document.end()
}

const COLUMNS: [&str; 17] = [
    "time",
    "cpus",
    "cpus_used",
    "cpus_offered",
    "gpus",
    "gpus_used",
    "gpus_offered",
    "mem",
    "mem_used",
    "mem_offered",
    "disk",
    "disk_used",
    "disk_offered",
    "running",
    "waiting",
    "started",
    "ended",
];

#[allow(clippy::cast_precision_loss)] // counts, to be drawn
fn columns(sample: &Sample) -> [f64; 17] {
    let Use { total, used, offered } = &sample.resources;
    let three = |amount: fn(&Amounts) -> Scalar| [amount(total), amount(used), amount(offered)].map(Scalar::as_f64);
    let [cpus, cpus_used, cpus_offered] = three(|amounts| amounts.cpus);
    let [gpus, gpus_used, gpus_offered] = three(|amounts| amounts.gpus);
    let [mem, mem_used, mem_offered] = three(|amounts| amounts.mem);
    let [disk, disk_used, disk_offered] = three(|amounts| amounts.disk);
    let counts = [sample.running, sample.waiting, sample.started, sample.ended].map(|count| count as f64);
    [
        sample.time.round(),
        cpus,
        cpus_used,
        cpus_offered,
        gpus,
        gpus_used,
        gpus_offered,
        mem,
        mem_used,
        mem_offered,
        disk,
        disk_used,
        disk_offered,
        counts[0],
        counts[1],
        counts[2],
        counts[3],
    ]
}

#[cfg(test)]
mod tests {
    use mezzo_api::resources::Resources;

    use super::*;

    #[test]
    fn the_largest_have_a_line_each() {
        let amounts = |text: &str| Amounts::of(&Resources::parse(text, "*").unwrap());
        let whole = amounts("cpus:100;mem:1000");
        let parts = (0..30).map(|number| (format!("r{number:02}"), amounts(&format!("cpus:{number};mem:1")), whole));
        let line = largest(parts);
        assert_eq!(line.len(), LINES);
        assert_eq!(line.first_key_value(), Some((&"r06".to_owned(), &60)));
        assert_eq!(line.get("r29"), Some(&290));
        assert_eq!(largest(std::iter::once(("empty".to_owned(), Amounts::default(), Amounts::default()))).len(), 1);
    }
}
