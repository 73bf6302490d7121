//! Refusals: DeclineOffers, and what all filters of a large cluster take.

use std::time::Duration;

use mezzo_api::resources::Resources;
use mezzo_master_core::input::Sorter;

use super::{
    Cluster, Work, milliseconds, resident_bytes,
    table::{Row, Table},
};

/// Of DeclineOffers: 16 of 24 cpus and so on are in use.
const AGENT: &str = "cpus:24;mem:4096;disk:4096;ports:[31000-32000]";
const USED: &str = "cpus:16;mem:2014;disk:1024";
const ENDLESS: Duration = Duration::from_secs(365 * 24 * 3600);

fn cluster(agents: usize, frameworks: usize) -> Cluster {
    let mut cluster = Cluster::new(Sorter::Drf);
    cluster.agents(agents, AGENT);
    cluster.cycle();
    cluster.frameworks(frameworks, "*");
    let used = Resources::parse(USED, "*").unwrap_or_default();
    for agent in 0..agents {
        cluster.harness.take(cluster.now, agent % frameworks, agent, &used);
    }
    cluster
}

/// Every offer is declined for ever, and goes to the next framework: so many rounds.
pub(super) fn declines(table: &mut Table, quick: bool) {
    let grid: &[(usize, usize, Option<f64>)] = if quick {
        &[(1_000, 50, None)]
    } else {
        &[(1_000, 200, None), (10_000, 1_000, Some(1_060.0)), (50_000, 1_000, None)]
    };
    for (agents, frameworks, mesos) in grid {
        let mut cluster = cluster(*agents, *frameworks);
        let rounds = 20.min(*frameworks);
        let (mut allocating, mut declining) = (Duration::ZERO, Duration::ZERO);
        for _ in 0..rounds {
            let (made, took) = cluster.cycle();
            allocating += took;
            let begin = Work::begin();
            cluster.give_all_back(&made, Some(ENDLESS));
            declining += begin.elapsed();
        }
        let parameters = [
            ("agents", *agents as f64),
            ("frameworks", *frameworks as f64),
            ("rounds", rounds as f64),
            ("declining_ms", milliseconds(declining) / rounds as f64),
        ];
        let value = milliseconds(allocating) / rounds as f64;
        let mesos = mesos.map(|mesos| (mesos, "commit 86653356d, 10,000 offers"));
        table.row(&Row { case: "declines, a round", value, unit: "ms", parameters: &parameters, mesos });
    }
}

/// Every framework has declined every agent. The answer is what holds the filters.
pub(super) fn filter_memory(table: &mut Table, quick: bool) -> Vec<Cluster> {
    let (agents, frameworks) = if quick { (5_000, 100) } else { (50_000, 1_000) };
    let mut clusters = Vec::new();
    for (case, ends) in [("filters", 1_u64), ("filters, ten ends", 10)] {
        let mut cluster = cluster(agents, frameworks);
        let before = resident_bytes();
        let begin = Work::begin();
        for agent in 0..agents {
            for framework in 0..frameworks {
                let refused = ENDLESS / 2 + Duration::from_secs(agent as u64 % ends);
                cluster.harness.refuse(cluster.now, framework, agent, refused);
            }
        }
        let each = begin.elapsed().as_secs_f64() * 1e9 / (agents * frameworks) as f64;
        let held = resident_bytes().saturating_sub(before) as f64 / f64::from(1 << 20);
        // Nobody wants anything any more: the longest way round for every agent.
        cluster.harness.begin_cycle();
        let (made, took) = cluster.cycle();
        assert!(made.is_empty(), "everything is refused");
        let parameters = [
            ("agents", agents as f64),
            ("frameworks", frameworks as f64),
            ("ns_each", each.round()),
            ("fruitless_cycle_ms", milliseconds(took)),
        ];
        table.row(&Row { case, value: held, unit: "MiB", parameters: &parameters, mesos: None });
        clusters.push(cluster);
    }
    clusters
}
