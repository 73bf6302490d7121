//! Volumes of all kinds: on PATH and MOUNT disks, shared by tasks, grown and shrunk.

use std::path::{Path, PathBuf};

use mezzo_tests::cluster::Cluster;
use mezzo_tests::framework::Framework;
use mezzo_tests::{operator, tasks};
use serde_json::{Value, json};

use crate::storage::{finished, has_volume, on_volume, reserved, volume};

const ROLE: &str = "prod";

/// The disk of the offer that comes from this source, all of it, reserved.
fn of_source(offer: &Value, kind: &str) -> Value {
    let resources = offer["resources"].as_array().unwrap();
    let found = resources.iter().find(|resource| resource["disk"]["source"]["type"] == kind);
    let mut disk = reserved(ROLE, found.unwrap_or_else(|| panic!("no {kind} disk is offered: {offer}")).clone());
    disk.as_object_mut().unwrap().remove("allocation_info");
    disk
}

fn made_of(disk: &Value, id: &str, path: &str) -> Value {
    let mut volume = disk.clone();
    volume["disk"]["persistence"] = json!({"id": id});
    volume["disk"]["volume"] = json!({"container_path": path, "mode": "RW"});
    volume
}

fn reserve(resources: &Value) -> Value {
    json!({"type": "RESERVE", "reserve": {"resources": resources}})
}

fn create(id: &str, volumes: &Value) -> Value {
    json!({"type": "CREATE", "id": {"value": id}, "create": {"volumes": volumes}})
}

fn launch(tasks: &[Value]) -> Value {
    json!({"type": "LAUNCH", "launch": {"task_infos": tasks}})
}

fn find(name: &str, below: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(below).unwrap().flatten().map(|entry| entry.path());
    let (folders, files): (Vec<PathBuf>, Vec<PathBuf>) = entries.partition(|path| path.is_dir());
    files.into_iter().find(|path| path.ends_with(name)).or_else(|| folders.iter().find_map(|folder| find(name, folder)))
}

#[test]
fn path_and_mount_disks_hold_what_is_written_to_them() {
    let disks = tempfile::tempdir().unwrap();
    let roots = ["path", "mount"].map(|name| disks.path().join(name));
    roots.iter().for_each(|root| std::fs::create_dir(root).unwrap());
    let disk = |size: f64, source: Value| {
        let mut disk = tasks::scalar("disk", size);
        disk["disk"] = json!({"source": source});
        disk
    };
    let resources = json!([
        tasks::scalar("cpus", 4.0),
        tasks::scalar("mem", 1024.0),
        tasks::scalar("disk", 1024.0),
        disk(256.0, json!({"type": "PATH", "path": {"root": roots[0]}})),
        disk(128.0, json!({"type": "MOUNT", "mount": {"root": roots[1]}})),
    ]);
    let cluster = Cluster::builder().resources(&resources.to_string()).start();
    let mut framework = Framework::subscribe(cluster.master_address, tasks::framework_info("disks", ROLE));
    let offer = framework.wait_any_offer();
    // A PATH disk can be divided, a MOUNT disk is taken whole.
    let mut path = of_source(&offer, "PATH");
    path["scalar"]["value"] = json!(64.0);
    let mount = of_source(&offer, "MOUNT");
    let (on_path, on_mount) = (made_of(&path, "p", "on-path"), made_of(&mount, "m", "on-mount"));
    let mut half = mount.clone();
    half["scalar"]["value"] = json!(64.0);
    let mut task = on_volume("write", &offer, &on_path, "echo path > on-path/of-path; echo mount > on-mount/of-mount");
    task["resources"].as_array_mut().unwrap().push(on_mount.clone());
    framework.accept(
        &offer,
        json!([
            {"type": "RESERVE", "id": {"value": "half"}, "reserve": {"resources": [half]}},
            reserve(&json!([path, mount])),
            create("c", &json!([on_path, on_mount])),
            launch(&[task]),
        ]),
    );
    let refused = framework
        .wait_since(0, "half", |event| event["update_operation_status"]["status"]["operation_id"]["value"] == "half");
    assert_eq!(refused["update_operation_status"]["status"]["state"], "OPERATION_ERROR", "{refused}");
    finished(&mut framework, "c");
    framework.wait_status("write", "TASK_FINISHED");
    assert_eq!(std::fs::read_to_string(find("of-path", &roots[0]).unwrap()).unwrap(), "path\n");
    assert_eq!(std::fs::read_to_string(roots[1].join("of-mount")).unwrap(), "mount\n");

    let offer = framework.wait_offer("of both", |offer| has_volume("p")(offer) && has_volume("m")(offer));
    let destroy = json!({"type": "DESTROY", "id": {"value": "d"}, "destroy": {"volumes": [on_path, on_mount]}});
    framework.accept(&offer, json!([destroy]));
    finished(&mut framework, "d");
    mezzo_tests::wait::until_true("the data are gone, the disks are not", || {
        find("of-path", &roots[0]).is_none() && roots[1].is_dir() && !roots[1].join("of-mount").exists()
    });
    framework.teardown();
}

/// An offer of everything that the agent has: what was offered in parts is declined until it comes together.
fn whole(framework: &mut Framework, fits: impl Fn(&Value) -> bool) -> Value {
    let part = framework.wait_offer("of the volume", &fits);
    let others: Vec<Value> = framework.offers.values().cloned().collect();
    for offer in others.iter().chain([&part]) {
        framework.decline(offer, 0.0);
    }
    framework.wait_offer("of the volume and all else", |offer| fits(offer) && tasks::amount(offer, "disk") == 10_000.0)
}

#[test]
fn a_volume_grows_and_shrinks_and_keeps_its_data() {
    let cluster = Cluster::builder().start();
    let mut framework = Framework::subscribe(cluster.master_address, tasks::framework_info("resizes", ROLE));
    let offer = framework.wait_any_offer();
    let small = volume(ROLE, "v", 32.0);
    let write = on_volume("write", &offer, &small, "echo kept > data/f");
    let disk = reserved(ROLE, tasks::scalar("disk", 64.0));
    framework.accept(&offer, json!([reserve(&json!([disk])), create("c", &json!([small])), launch(&[write])]));
    finished(&mut framework, "c");
    framework.wait_status("write", "TASK_FINISHED");

    let with_size = |size: f64| {
        move |offer: &Value| {
            let resources = offer["resources"].as_array().unwrap().iter();
            resources.clone().any(|it| it["disk"]["persistence"]["id"] == "v" && it["scalar"]["value"] == size)
        }
    };
    let offer = whole(&mut framework, with_size(32.0));
    let addition = reserved(ROLE, tasks::scalar("disk", 32.0));
    let large = volume(ROLE, "v", 64.0);
    framework.accept(
        &offer,
        json!([
            {"type": "GROW_VOLUME", "id": {"value": "too much"},
             "grow_volume": {"volume": small, "addition": reserved(ROLE, tasks::scalar("disk", 33.0))}},
            {"type": "GROW_VOLUME", "id": {"value": "g"}, "grow_volume": {"volume": small, "addition": addition}},
        ]),
    );
    let told = |event: &Value| event["update_operation_status"]["status"]["operation_id"]["value"] == "g";
    let answer = framework.wait_since(0, "the status of g", told);
    assert_eq!(answer["update_operation_status"]["status"]["state"], "OPERATION_FINISHED", "{answer}");
    // The agent tells of it until it is acknowledged.
    let at_the_agent = || operator::ask(cluster.agents[0].address, "GET_OPERATIONS")["get_operations"].clone();
    let known = at_the_agent();
    let operation = known["operations"].as_array().unwrap().iter().find(|one| one["info"]["id"]["value"] == "g");
    let operation = operation.unwrap_or_else(|| panic!("{known}"));
    assert_eq!(operation["latest_status"]["state"], "OPERATION_FINISHED", "{operation}");
    finished(&mut framework, "g");
    mezzo_tests::wait::until_true("the agent has heard the acknowledgement", || at_the_agent() == json!({}));
    let offer = framework.wait_offer("of the grown volume", with_size(64.0));
    framework.launch(&offer, &[on_volume("read", &offer, &large, "test $(cat data/f) = kept")]);
    framework.wait_status("read", "TASK_FINISHED");

    let offer = framework.wait_offer("of the grown volume", with_size(64.0));
    let shrink = json!({"volume": large, "subtract": {"value": 48.0}});
    framework.accept(&offer, json!([{"type": "SHRINK_VOLUME", "id": {"value": "s"}, "shrink_volume": shrink}]));
    finished(&mut framework, "s");
    let offer = framework.wait_offer("of the shrunk volume", with_size(16.0));
    let read = on_volume("again", &offer, &volume(ROLE, "v", 16.0), "test $(cat data/f) = kept");
    framework.launch(&offer, &[read]);
    framework.wait_status("again", "TASK_FINISHED");
    framework.teardown();
}

/// Both run at the same time and see what the other one writes.
#[test]
fn tasks_share_a_volume() {
    let cluster = Cluster::builder().start();
    let mut info = tasks::framework_info("shares", ROLE);
    info["capabilities"].as_array_mut().unwrap().push(json!({"type": "SHARED_RESOURCES"}));
    let mut framework = Framework::subscribe(cluster.master_address, info);
    let offer = framework.wait_any_offer();
    let mut shared = volume(ROLE, "both", 32.0);
    shared["shared"] = json!({});
    let disk = reserved(ROLE, tasks::scalar("disk", 32.0));
    let until = |mine: &str, other: &str| format!("touch data/{mine}; until [ -e data/{other} ]; do sleep 0.05; done");
    let both = [
        on_volume("one", &offer, &shared, &until("one", "two")),
        on_volume("two", &offer, &shared, &until("two", "one")),
    ];
    framework.accept(&offer, json!([reserve(&json!([disk])), create("c", &json!([shared])), launch(&both)]));
    framework.wait_status("one", "TASK_FINISHED");
    framework.wait_status("two", "TASK_FINISHED");

    // Who cannot share is not offered it.
    let mut other = Framework::subscribe(cluster.master_address, tasks::framework_info("does not share", ROLE));
    framework.call("SUPPRESS", Value::Null);
    for offer in framework.offers.values().cloned().collect::<Vec<_>>() {
        framework.decline(&offer, 0.0);
    }
    let offer = other.wait_any_offer();
    assert!(!has_volume("both")(&offer), "{offer}");
    other.teardown();
    framework.teardown();
}
