//! Agents by frameworks: full cycles, suppressed frameworks, backlogs, gauges, memory.

use std::time::Duration;

use mezzo_master_core::input::Sorter;

use super::{
    Cluster, Work, milliseconds, resident_bytes,
    table::{Row, Table},
};

/// Of AddAndUpdateSlave.
const AGENT: &str = "cpus:2;mem:1024;disk:4096;ports:[31000-32000]";

/// Agents, frameworks, and the published cycle of Mesos 1.8 in milliseconds (one role, no filters).
const GRID: [(usize, usize, Option<f64>); 12] = [
    (1_000, 1, None),
    (1_000, 100, Some(50.0)),
    (5_000, 500, Some(400.0)),
    (10_000, 1_000, Some(1_100.0)),
    (20_000, 2_000, Some(3_800.0)),
    (30_000, 1_000, None),
    (50_000, 1, None),
    (50_000, 50, None),
    (50_000, 200, None),
    (50_000, 1_000, None),
    (50_000, 3_000, None),
    (50_000, 6_000, None),
];

const BLOG: &str = "blog/2018-10-08, allocation cycle, 1.8.0-dev";

fn count(number: usize) -> f64 {
    number as f64
}

/// The best of a few, the first of which also warms up: the machine's other work is not of interest.
fn best(times: usize, mut measure: impl FnMut() -> Duration) -> Duration {
    (0..times).map(|_| measure()).min().unwrap_or_default()
}

pub(super) fn cycles(table: &mut Table, quick: bool) {
    for (agents, frameworks, mesos) in GRID {
        if quick && agents > 10_000 {
            continue;
        }
        let mut cluster = Cluster::new(Sorter::Drf);
        let begin = Work::begin();
        cluster.agents(agents, AGENT);
        let adding = begin.elapsed();
        cluster.cycle(); // nobody is there yet
        cluster.frameworks(frameworks, "*");
        let mut wall = Duration::MAX;
        let took = best(3, || {
            cluster.harness.begin_cycle();
            let (made, took) = cluster.cycle();
            wall = wall.min(cluster.wall);
            assert_eq!(made.len(), agents, "every agent is offered");
            cluster.give_all_back(&made, None);
            took
        });
        let parameters = [
            ("agents", count(agents)),
            ("frameworks", count(frameworks)),
            ("wall_ms", milliseconds(wall)),
            ("adding_agents_ms", milliseconds(adding)),
        ];
        let mesos = mesos.map(|mesos| (mesos, BLOG));
        table.row(&Row { case: "cycle", value: milliseconds(took), unit: "ms", parameters: &parameters, mesos });
    }
}

/// The same by chance.
pub(super) fn randomly(table: &mut Table) {
    let mut cluster = Cluster::new(Sorter::Random);
    cluster.agents(10_000, AGENT);
    cluster.cycle();
    cluster.frameworks(1_000, "*");
    cluster.harness.begin_cycle();
    let (_, took) = cluster.cycle();
    let parameters = [("agents", 10_000.0), ("frameworks", 1_000.0)];
    table.row(&Row {
        case: "cycle, random",
        value: milliseconds(took),
        unit: "ms",
        parameters: &parameters,
        mesos: None,
    });
}

/// SuppressOffers and ExtremeSuppressOffers: rounds in which more and more frameworks want nothing.
pub(super) fn suppressed(table: &mut Table, quick: bool) {
    let agents = if quick { 5_000 } else { 50_000 };
    for (case, part) in [("cycle, suppressed", 20), ("cycle, 99 % suppressed", 99)] {
        let mut cluster = Cluster::new(Sorter::Drf);
        cluster.agents(agents, AGENT);
        cluster.cycle();
        cluster.frameworks(1_000, "*");
        let (made, _) = cluster.cycle();
        cluster.give_all_back(&made, None);
        let rounds = if part == 99 { 1 } else { 5 };
        let mut total = Duration::ZERO;
        for round in 0..rounds {
            let step = if part == 99 { 990 } else { 200 };
            for framework in round * step..(round + 1) * step - usize::from(round == 4) {
                cluster.harness.suppress(cluster.now, framework, true);
            }
            cluster.harness.begin_cycle();
            let (made, took) = cluster.cycle();
            cluster.give_all_back(&made, None);
            total += took;
        }
        #[expect(clippy::cast_possible_truncation, reason = "a handful of rounds")]
        let each = total / rounds as u32;
        let parameters = [("agents", count(agents)), ("frameworks", 1_000.0), ("rounds", count(rounds))];
        table.row(&Row { case, value: milliseconds(each), unit: "ms", parameters: &parameters, mesos: None });
    }
}

/// AllocatorBacklog: every framework asks for offers again, all at once.
pub(super) fn backlog(table: &mut Table, quick: bool) {
    let agents = if quick { 5_000 } else { 30_000 };
    let mut cluster = Cluster::new(Sorter::Drf);
    cluster.agents(agents, AGENT);
    cluster.cycle();
    cluster.frameworks(1_000, "*");
    let (made, _) = cluster.cycle();
    cluster.give_all_back(&made, None);
    let begin = Work::begin();
    for framework in 0..1_000 {
        cluster.harness.suppress(cluster.now, framework, false);
    }
    let events = begin.elapsed();
    let (_, took) = cluster.cycle();
    let parameters = [("agents", count(agents)), ("frameworks", 1_000.0), ("events_ms", milliseconds(events))];
    let value = milliseconds(events + took);
    table.row(&Row { case: "backlog", value, unit: "ms", parameters: &parameters, mesos: None });
}

/// Metrics: all gauges of many roles.
pub(super) fn metrics(table: &mut Table, quick: bool) {
    let frameworks = if quick { 1_000 } else { 6_000 };
    let mut cluster = Cluster::new(Sorter::Drf);
    cluster.agents(5_000, AGENT);
    for number in 0..frameworks {
        cluster.harness.add_framework(cluster.now, &format!("role{number}"), false);
    }
    cluster.cycle();
    let begin = Work::begin();
    let gauges = cluster.harness.metrics(cluster.now);
    let value = milliseconds(begin.elapsed());
    let parameters = [("frameworks", count(frameworks)), ("roles", count(frameworks)), ("gauges", count(gauges))];
    table.row(&Row { case: "metrics", value, unit: "ms", parameters: &parameters, mesos: None });
}

/// What the allocator holds of an agent and of what is handed out of it. The answer is what it holds.
pub(super) fn memory(table: &mut Table, quick: bool) -> Cluster {
    let agents = if quick { 10_000 } else { 50_000 };
    let before = resident_bytes();
    let mut cluster = Cluster::new(Sorter::Drf);
    let text = "cpus:64;mem:488000;disk:1000000;ports:[31000-32000]";
    // Each has resources of its own, as agents have.
    for _ in 0..agents {
        cluster.agents(1, text);
    }
    cluster.frameworks(1_000, "*");
    cluster.cycle();
    let held = resident_bytes().saturating_sub(before);
    let value = held as f64 / count(agents);
    let parameters = [("agents", count(agents)), ("frameworks", 1_000.0)];
    table.row(&Row { case: "memory, allocator", value, unit: "B/agent", parameters: &parameters, mesos: None });
    cluster
}
