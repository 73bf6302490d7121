//! What a container sees: its own processes, its own sandbox, the volumes that it was given.

use std::{
    fs,
    path::{Path, PathBuf},
};

use mezzo_tests::{cluster::Cluster, environment, framework::Framework, http, tasks, wait};
use serde_json::{Value, json};

use super::{
    USUAL, World,
    images::{Bench, in_image, sandboxes},
    task, with,
};
use crate::storage;

const SMALL: (f64, f64) = (0.1, 32.0);
const EXECUTOR: &str = env!("CARGO_BIN_EXE_scripted-executor");

#[test]
fn other_tasks_are_hidden() {
    let Some(mut world) = World::start(USUAL, &[]) else { return };
    world.launch(|agent| vec![task("secret", agent, SMALL, "sleep 1355")]);
    world.framework.wait_status("secret", "TASK_RUNNING");
    let look = "cat /proc/[0-9]*/cmdline | tr '\\0' ' '; echo; \
                if cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | grep -q 'sleep[ ]1355'; then exit 7; fi; \
                [ $(ls -d /proc/[0-9]* | wc -l) -le 6 ] || exit 8; \
                [ \"$(cat /proc/1/comm)\" = mezzo-init ] || exit 9; \
                [ $(ls /proc/1/fd | wc -l) -le 4 ] || exit 10";
    world.launch(|agent| vec![task("looks", agent, SMALL, look)]);
    world.framework.wait_status("looks", "TASK_FINISHED");
    // Orphans of a container are reaped in it, and end with it.
    world.launch(|agent| {
        vec![task("leaves", agent, SMALL, "(sleep 1356 & ) ; (setsid sleep 1357 &); sleep 0.2; exit 0")]
    });
    world.framework.wait_status("leaves", "TASK_FINISHED");
    // SIGTERM reaches a task that is not the first process of its namespace.
    world.framework.call("KILL", json!({"task_id": {"value": "secret"}}));
    let killed = world.framework.wait_status("secret", "TASK_KILLED");
    assert_eq!(killed["message"], "Command terminated with signal Terminated");
    world.wait_until_nothing_is_left();
}

#[test]
fn nobody_reads_the_sandbox_of_another() {
    let Some(mut world) = World::start(USUAL, &[]) else { return };
    let dir = world.cluster.dir().to_owned();
    for path in [dir.clone(), dir.join("agent0"), dir.join("agent0/work")] {
        let _ = fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755));
    }
    world.launch(|agent| vec![task("owner", agent, SMALL, "echo secret > file; chmod 644 file; pwd; sleep 1358")]);
    world.framework.wait_status("owner", "TASK_RUNNING");
    let agent = world.cluster.agent_ids()[0].clone();
    let sandbox = world.cluster.agents[0]
        .work_dir
        .join(format!("slaves/{agent}/frameworks/{}/executors/owner/runs/latest", world.framework.id));
    mezzo_tests::wait::until_true("the file is there", || sandbox.join("file").exists());
    let sandbox = sandbox.canonicalize().unwrap();
    let script = format!(
        "id -un; [ $(id -un) = nobody ] || exit 5; echo own > own && cat own || exit 6; \
         if cat {0}/file || ls {0} || echo x > {0}/mine; then exit 7; fi",
        sandbox.display()
    );
    world.launch(|agent| {
        let mut task = task("nobody", agent, SMALL, &script);
        task["command"]["user"] = json!("nobody");
        vec![task]
    });
    world.framework.wait_status("nobody", "TASK_FINISHED");
}

fn volume(path: &str, mode: &str, source: Value) -> Value {
    json!({"container_path": path, "mode": mode, "source": source})
}

#[test]
fn volumes_are_mounted_and_what_is_read_only_stays_so() {
    let Some(mut world) = World::start(USUAL, &[]) else { return };
    let host = world.cluster.dir().join("host");
    fs::create_dir(&host).unwrap();
    fs::write(host.join("file"), "of the host\n").unwrap();
    let from_host = json!({"type": "HOST_PATH", "host_path": {"path": host.display().to_string()}});
    let from_sandbox = json!({"type": "SANDBOX_PATH", "sandbox_path": {"type": "SELF", "path": "kept/here"}});
    let script = "grep 'of the host' ro/file rw/deep/file opt/file >/dev/null 2>&1; \
                  grep -q 'of the host' ro/file || exit 5; grep -q 'of the host' rw/deep/file || exit 6; \
                  if echo x > ro/new; then exit 7; fi; if mount -o remount,rw ro 2>/dev/null; then :; fi; \
                  echo written > rw/deep/new || exit 8; echo through > link/f || exit 9; \
                  grep -q through kept/here/f || exit 10; [ -z \"$(ls -A /mnt)\" ] && exit 11; \
                  grep -q 'of the host' /mnt/file || exit 12; exit 0";
    let volumes = json!([
        volume("ro", "RO", from_host.clone()),
        volume("rw/deep", "RW", from_host.clone()),
        volume("link", "RW", from_sandbox),
        volume("/mnt", "RO", from_host),
    ]);
    world.launch(|agent| vec![with(task("mounts", agent, SMALL, script), json!({"volumes": volumes}))]);
    world.framework.wait_status("mounts", "TASK_FINISHED");
    assert_eq!(fs::read_to_string(host.join("new")).unwrap(), "written\n");
    let missing = json!({"type": "HOST_PATH", "host_path": {"path": "/no/such/path"}});
    let absent = json!({"type": "HOST_PATH", "host_path": {"path": host.display().to_string()}});
    for (id, volume, word) in [
        ("missing", volume("v", "RW", missing), "--host_path_volume_force_creation"),
        ("absent", volume("/no/such/target", "RW", absent.clone()), "/no/such/target"),
        ("climbs", volume("../v", "RW", absent), "must lie in the sandbox"),
    ] {
        world.launch(|agent| vec![with(task(id, agent, SMALL, "true"), json!({"volumes": [volume.clone()]}))]);
        let failed = world.framework.wait_status(id, "TASK_FAILED");
        assert_eq!(failed["reason"], "REASON_CONTAINER_LAUNCH_FAILED");
        assert!(failed["message"].as_str().unwrap().contains(word), "{failed:#}");
    }
    world.wait_until_nothing_is_left();
}

/// Two tasks of a pod see a directory of their executor, and nothing of it is left on the host.
#[test]
fn a_pod_shares_a_directory_by_mounts() {
    let Some(mut world) = World::start(USUAL, &[]) else { return };
    let offer = world.framework.wait_any_offer();
    let agent = tasks::agent_of(&offer).to_owned();
    let shared = |path| {
        let source = json!({"type": "SANDBOX_PATH", "sandbox_path": {"type": "PARENT", "path": "both"}});
        json!({"volumes": [volume(path, "RW", source)]})
    };
    let writer = task("writer", &agent, SMALL, "echo hello > mine/new && mv mine/new mine/file");
    let reader = task("reader", &agent, SMALL, "while ! grep hello its/place/file; do sleep 0.05; done");
    let tasks = json!([with(writer, shared("mine")), with(reader, shared("its/place"))]);
    let executor = json!({
        "type": "DEFAULT", "executor_id": {"value": "pod"}, "framework_id": {"value": world.framework.id},
        "resources": [tasks::scalar("cpus", 0.1), tasks::scalar("mem", 32.0), tasks::scalar("disk", 1.0)],
    });
    let group = json!({"executor": executor, "task_group": {"tasks": tasks}});
    world.framework.accept(&offer, json!([{"type": "LAUNCH_GROUP", "launch_group": group}]));
    world.framework.wait_status("writer", "TASK_FINISHED");
    world.framework.wait_status("reader", "TASK_FINISHED");
    world.wait_until_nothing_is_left();
}

/// A later task of an executor that runs brings a volume, and takes it along when it ends.
#[test]
fn a_volume_comes_to_a_container_that_runs() {
    let Some(mut world) = World::start(USUAL, &[]) else { return };
    volume_comes(&world.cluster, &mut world.framework, "dev", Value::Null);
    world.wait_until_nothing_is_left();
    // With a root of its own, into which the executor and what it reads are brought.
    let Some(mut bench) = Bench::start(&[]) else { return };
    let mut container = in_image("", "app", json!({}))["container"].clone();
    let (program, data) = (Path::new(EXECUTOR).parent().unwrap(), environment::data("golden"));
    let brought = [Path::new("/lib"), Path::new("/lib64"), program, &data].into_iter().filter(|path| path.is_dir());
    container["volumes"] =
        brought.map(|path| json!({"mode": "RO", "host_path": path, "container_path": path})).collect();
    volume_comes(&bench.cluster, &mut bench.framework, "images", container);
    bench.wait_until_nothing_is_left();
}

fn volume_comes(cluster: &Cluster, framework: &mut Framework, role: &str, container: Value) {
    let mut executor = json!({"executor_id": {"value": "custom"}, "framework_id": {"value": framework.id},
        "command": {"value": format!("exec {EXECUTOR} json")}, "resources": tasks::small()});
    if !container.is_null() {
        executor["container"] = container;
    }
    let task = |id: &str, offer: &Value| {
        let mut task = tasks::command(id, tasks::agent_of(offer), "");
        task.as_object_mut().unwrap().remove("command");
        task["executor"] = executor.clone();
        task
    };
    let offer = framework.wait_any_offer();
    framework.launch(&offer, &[task("first", &offer)]);
    framework.wait_status("first", "TASK_RUNNING");
    let offer = framework.wait_any_offer();
    let volume = storage::volume(role, "late", 32.0);
    let mut second = task("second", &offer);
    second["resources"].as_array_mut().unwrap().push(volume.clone());
    let disk = storage::reserved(role, tasks::scalar("disk", 32.0));
    framework.accept(
        &offer,
        json!([{"type": "RESERVE", "reserve": {"resources": [disk]}}, {"type": "CREATE", "create": {"volumes": [volume]}},
               {"type": "LAUNCH", "launch": {"task_infos": [second]}}]),
    );
    framework.wait_status("second", "TASK_RUNNING");
    // By now it is there, as the executor sees it.
    let containers = http::get_json(cluster.agents[0].address, "/containers");
    let root = format!("/proc/{}/root", containers[0]["status"]["executor_pid"]);
    let own = sandboxes(&cluster.agents[0].work_dir, "custom").pop().unwrap();
    let own = fs::canonicalize(own).unwrap();
    let seen = if executor["container"].is_null() { own.as_path() } else { Path::new("/mnt/mesos/sandbox") };
    let seen = PathBuf::from(format!("{root}{}", seen.display())).join("data");
    fs::write(seen.join("f"), "kept").unwrap();
    let data = cluster.agents[0].work_dir.join("volumes/roles").join(role).join("late/f");
    assert_eq!(fs::read_to_string(&data).unwrap(), "kept");
    assert!(!own.join("data/f").exists(), "it is mounted in the container alone");
    framework.call("KILL", json!({"task_id": {"value": "second"}}));
    framework.wait_status("second", "TASK_KILLED");
    wait::until_true("it goes with its task", || seen.is_dir() && !seen.join("f").exists());
    assert_eq!(fs::read_to_string(&data).unwrap(), "kept");
    framework.call("KILL", json!({"task_id": {"value": "first"}}));
    framework.wait_status("first", "TASK_KILLED");
}
