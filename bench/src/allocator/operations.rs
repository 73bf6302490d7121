//! Reservations, volumes, labels, and Mesos' mixes of frameworks: PersistentVolumes, ResourceLabels, UpdateAllocation and
//! MultiFrameworkAllocations.

use std::time::Duration;

use mezzo_api::{
    codec::{Encoding, decode},
    resources::Resources,
    v1,
};
use mezzo_master_core::{harness::Made, input::Sorter};

use super::{
    Cluster, Work, milliseconds,
    table::{Row, Table},
};

const AGENTS: usize = 10_000;
const FRAMEWORKS: usize = 200;

fn from_json(json: &str) -> Resources {
    let resource: Option<v1::Resource> = decode(Encoding::Json, json.as_bytes()).ok();
    resource.and_then(|resource| Resources::from_protos(&[resource]).ok()).unwrap_or_default()
}

fn volume(number: usize, shared: bool) -> Resources {
    let shared = if shared { r#","shared":{}"# } else { "" };
    from_json(&format!(
        r#"{{"name":"disk","type":"SCALAR","scalar":{{"value":64}}{shared},
            "reservations":[{{"type":"DYNAMIC","role":"a"}}],
            "disk":{{"persistence":{{"id":"v{number}"}},"volume":{{"container_path":"v","mode":"RW"}}}}}}"#
    ))
}

pub(super) fn volumes(table: &mut Table) {
    for (case, shared) in
        [("volumes, regular", [false; 3]), ("volumes, shared", [true; 3]), ("volumes, mixed", [true, false, true])]
    {
        let mut cluster = Cluster::new(Sorter::Drf);
        let base = Resources::parse("cpus:24;mem:4096;disk:4096;ports:[31000-32000]", "*").unwrap_or_default();
        for agent in 0..AGENTS {
            let mut total = base.clone();
            for (number, shared) in shared.iter().enumerate() {
                total += &volume(agent * 3 + number, *shared);
            }
            cluster.harness.add_agent(cluster.now, total);
        }
        cluster.cycle();
        for _ in 0..FRAMEWORKS {
            cluster.harness.add_framework(cluster.now, "a", true);
        }
        let (made, took) = cluster.cycle();
        let parameters =
            [("agents", AGENTS as f64), ("frameworks", FRAMEWORKS as f64), ("allocations", made.len() as f64)];
        table.row(&Row { case, value: milliseconds(took), unit: "ms", parameters: &parameters, mesos: None });
    }
}

/// Each agent has resources with two reservations of a dozen labels that are alike up to the last one.
pub(super) fn labels(table: &mut Table) {
    let labels = |last: usize| {
        let label =
            |number: usize| format!(r#"{{"key":"key{number}","value":"{}"}}"#, if number == 11 { last } else { 0 });
        (0..12).map(label).collect::<Vec<_>>().join(",")
    };
    let reserved = |last: usize| {
        from_json(&format!(
            r#"{{"name":"cpus","type":"SCALAR","scalar":{{"value":1}},"reservations":
                [{{"type":"DYNAMIC","role":"a","principal":"p","labels":{{"labels":[{}]}}}}]}}"#,
            labels(last)
        ))
    };
    let mut cluster = Cluster::new(Sorter::Drf);
    let base = Resources::parse("cpus:24;mem:4096;disk:4096;ports:[31000-32000]", "*").unwrap_or_default();
    let total = &(&base + &reserved(1)) + &reserved(2);
    for _ in 0..AGENTS {
        cluster.harness.add_agent(cluster.now, total.clone());
    }
    cluster.cycle();
    cluster.frameworks(FRAMEWORKS, "a");
    let (made, took) = cluster.cycle();
    let begin = Work::begin();
    cluster.give_all_back(&made, Some(Duration::from_secs(3600)));
    let declining = milliseconds(begin.elapsed());
    let parameters = [("agents", AGENTS as f64), ("frameworks", FRAMEWORKS as f64), ("declining_ms", declining)];
    table.row(&Row { case: "labels", value: milliseconds(took), unit: "ms", parameters: &parameters, mesos: None });
}

/// Reservations of a framework on one agent for ever more roles: what one more costs.
pub(super) fn conversions(table: &mut Table) {
    for (reserved, mesos) in [(200, Some(470.0)), (400, Some(930.0)), (800, Some(2_100.0))] {
        let mut cluster = Cluster::new(Sorter::Drf);
        cluster.agents(1, "cpus:10000;mem:100000;disk:100000");
        cluster.cycle();
        cluster.frameworks(1, "a");
        let (mut made, _) = cluster.cycle();
        let Some(one) = made.first_mut() else { return };
        let reserve = |cluster: &mut Cluster, one: &mut Made, number: usize| {
            let consumed = Resources::parse("cpus:0.1;mem:1", "*").unwrap_or_default();
            let reservation = v1::resource::ReservationInfo {
                r#type: Some(v1::resource::reservation_info::Type::Dynamic as i32),
                role: Some("a".to_owned()),
                principal: Some(format!("principal{number}")),
                ..Default::default()
            };
            cluster.harness.convert(cluster.now, one, &consumed, &consumed.push_reservation(&reservation));
        };
        for number in 0..reserved / 2 {
            reserve(&mut cluster, one, number);
        }
        let begin = Work::begin();
        for number in 0..20 {
            reserve(&mut cluster, one, reserved + number);
        }
        let value = milliseconds(begin.elapsed());
        let parameters = [("resources", reserved as f64), ("operations", 20.0)];
        let mesos = mesos.map(|mesos| (mesos, "commit 3f753e77a"));
        table.row(&Row { case: "conversions", value, unit: "ms", parameters: &parameters, mesos });
    }
}

/// A mix of frameworks that launch until they have all their tasks.
struct Mix {
    role: &'static str,
    frameworks: usize,
    tasks: usize,
    task: &'static str,
    tasks_per_offer: usize,
}

const MIXES: [Mix; 3] = [
    Mix { role: "roleA", frameworks: 4, tasks: 4_000, task: "cpus:0.07;mem:400", tasks_per_offer: 100 },
    Mix { role: "roleB", frameworks: 500, tasks: 5, task: "cpus:0.1;mem:4000", tasks_per_offer: 1 },
    Mix { role: "roleC", frameworks: 50, tasks: 20, task: "cpus:1;mem:1000", tasks_per_offer: 5 },
];

/// Until every framework has its tasks, which run for ever.
pub(super) fn three_mixes(table: &mut Table) {
    let mut cluster = Cluster::new(Sorter::Drf);
    cluster.agents(80, "cpus:64;mem:488000");
    cluster.cycle();
    let mut wants: Vec<(usize, Resources, usize)> = Vec::new();
    for mix in &MIXES {
        cluster.frameworks(mix.frameworks, mix.role);
        let task = Resources::parse(mix.task, "*").unwrap_or_default();
        wants.extend((0..mix.frameworks).map(|_| (mix.tasks, task.clone(), mix.tasks_per_offer)));
    }
    let (mut allocating, mut offers, mut rounds) = (Duration::ZERO, 0, 0);
    while wants.iter().any(|(tasks, ..)| *tasks > 0) && rounds < 10_000 {
        rounds += 1;
        let (made, took) = cluster.cycle();
        allocating += took;
        offers += made.len();
        for one in made {
            let (left, task, most) = &mut wants[one.framework];
            let mut task = task.clone();
            task.allocate(MIXES[role_of(one.framework)].role);
            let mut rest = one.resources.clone();
            for _ in 0..*most {
                if *left == 0 || !rest.contains(&task) {
                    break;
                }
                rest -= &task;
                *left -= 1;
            }
            cluster.harness.give_back(cluster.now, &Made { resources: rest, ..one.clone() }, None);
            if *left == 0 {
                cluster.harness.suppress(cluster.now, one.framework, true);
            }
        }
    }
    let done = wants.iter().filter(|(tasks, ..)| *tasks == 0).count();
    let parameters = [
        ("agents", 80.0),
        ("frameworks", 554.0),
        ("offers", offers as f64),
        ("rounds", f64::from(rounds)),
        ("satisfied", done as f64),
    ];
    let value = milliseconds(allocating);
    table.row(&Row { case: "three mixes, satisfied", value, unit: "ms", parameters: &parameters, mesos: None });
}

fn role_of(framework: usize) -> usize {
    if framework < 4 {
        0
    } else if framework < 504 {
        1
    } else {
        2
    }
}
