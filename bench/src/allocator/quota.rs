//! Guarantees: LargeAndSmallQuota and NonQuotaVsQuota.

use std::time::Duration;

use mezzo_master_core::input::Sorter;

use super::{
    Cluster, Work, milliseconds,
    table::{Row, Table},
};

const AGENT: &str = "cpus:2;mem:2048;disk:2048";

/// Many small roles and some large ones; a large one needs two agents.
pub(super) fn large_and_small(table: &mut Table, quick: bool) {
    // Small roles, large roles, agents, and what Mesos published for the whole: commits up to 1.8.
    let grid = [(25, 5, 30, None), (250, 50, 300, None), (2_500, 500, 3_000, Some(15_390.0))];
    for (small, large, agents, mesos) in grid {
        if quick && agents > 300 {
            continue;
        }
        for sorter in [Sorter::Drf, Sorter::Random] {
            let mut cluster = Cluster::new(sorter);
            cluster.agents(agents, AGENT);
            cluster.cycle();
            for number in 0..small + large {
                let role = format!("role{number}");
                let times = if number < small { 1.0 } else { 4.0 };
                let guarantee = [("cpus", times), ("mem", 1024.0 * times), ("disk", 1024.0 * times)];
                cluster.harness.set_quota(cluster.now, &role, &guarantee);
                cluster.harness.add_framework(cluster.now, &role, false);
            }
            cluster.harness.begin_cycle();
            let (made, took) = cluster.cycle();
            let case = if sorter == Sorter::Drf { "quota, large and small" } else { "the same, random" };
            let parameters =
                [("agents", agents as f64), ("roles", f64::from(small + large)), ("allocations", made.len() as f64)];
            let mesos = mesos.filter(|_| sorter == Sorter::Drf);
            let mesos = mesos.map(|mesos| (mesos, "commit series of LargeAndSmallQuota/2, 3,500 allocations"));
            table.row(&Row { case, value: milliseconds(took), unit: "ms", parameters: &parameters, mesos });
        }
    }
}

/// The cost of a quota for each role.
pub(super) fn with_and_without(table: &mut Table) {
    for roles in [10, 100, 1_000] {
        for quota in [false, true] {
            let mut cluster = Cluster::new(Sorter::Drf);
            cluster.agents(roles * 2, "cpus:2;mem:2048;disk:2048;ports:[31000-32000]");
            cluster.cycle();
            for number in 0..roles {
                let role = format!("role{number}");
                if quota {
                    let guarantee = [("cpus", 4.0), ("mem", 4096.0), ("disk", 4096.0)];
                    cluster.harness.set_quota(cluster.now, &role, &guarantee);
                }
                cluster.frameworks(2, &role);
            }
            cluster.harness.begin_cycle();
            let begin = Work::begin();
            let (made, _) = cluster.cycle();
            let took: Duration = begin.elapsed();
            let case = if quota { "roles, each with a quota" } else { "roles without quota" };
            let parameters =
                [("roles", roles as f64), ("agents", roles as f64 * 2.0), ("allocations", made.len() as f64)];
            table.row(&Row { case, value: milliseconds(took), unit: "ms", parameters: &parameters, mesos: None });
        }
    }
}
