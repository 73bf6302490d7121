//! One agent's resources are freed among fifty thousand: how much work until they are handed out again, with nothing else
//! to do and while a full cycle is under way.

use std::time::{Duration, Instant};

use mezzo_master_core::{harness::Made, input::Sorter};

use super::{
    Cluster, milliseconds,
    table::{Row, Table},
};
use crate::figure::percentile;

const SAMPLES: usize = 2_000;

pub(super) fn freed(table: &mut Table, quick: bool) {
    let agents = if quick { 5_000 } else { 50_000 };
    for (case, cycling) in [("freed", false), ("freed, during a cycle", true)] {
        let mut cluster = Cluster::new(Sorter::Drf);
        cluster.agents(agents, "cpus:24;mem:4096;disk:4096;ports:[31000-32000]");
        cluster.cycle();
        cluster.frameworks(1_000, "*");
        let (made, _) = cluster.cycle();
        let (held, rest) = made.split_at(SAMPLES.min(made.len() / 2));
        if cycling {
            // All the others are free and looked at again and again.
            cluster.give_all_back(rest, Some(Duration::from_secs(3600)));
        }
        let mut samples: Vec<f64> = held.iter().map(|one| sample(&mut cluster, one, cycling)).collect();
        samples.sort_by(f64::total_cmp);
        let parameters = [
            ("agents", agents as f64),
            ("frameworks", 1_000.0),
            ("p50_ms", percentile(&samples, 0.5)),
            ("max_ms", percentile(&samples, 1.0)),
        ];
        let value = percentile(&samples, 0.99);
        table.row(&Row { case, value, unit: "ms p99", parameters: &parameters, mesos: None });
    }
}

/// Frees one and works until it is handed out.
fn sample(cluster: &mut Cluster, one: &Made, cycling: bool) -> f64 {
    if cycling {
        cluster.harness.begin_cycle();
    }
    let begin = Instant::now();
    cluster.harness.give_back(cluster.now, one, None);
    // What is freed is gathered for some milliseconds; meanwhile the master does other things.
    cluster.now += Duration::from_millis(5);
    loop {
        let made = cluster.harness.run(cluster.now);
        if made.iter().any(|other| other.agent == one.agent) {
            return milliseconds(begin.elapsed());
        }
        assert!(begin.elapsed() < Duration::from_secs(60), "agent {} is never handed out", one.agent);
    }
}
