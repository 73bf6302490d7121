//! What is looked at while a container runs: its disk, its ports; and what it is shown to use.

use mezzo_tests::{http, tasks, wait};
use serde_json::json;

use super::{USUAL, World, task};

#[test]
fn a_disk_hog_and_a_squatter_are_stopped() {
    let flags = [
        "--enforce_container_disk_quota",
        "--container_disk_watch_interval=200ms",
        "--enforce_container_ports",
        "--container_ports_watch_interval=200ms",
        "--container_ports_isolated_range=[31000-31999]",
    ];
    let Some(mut world) = World::start("posix/cpu,posix/mem,disk/du,network/ports", &flags) else { return };
    let listen = |port: u64| {
        format!(
            "exec python3 -c 'import socket, time\ns = socket.socket()\ns.setsockopt(1, 2, 1)\n\
             s.bind((\"127.0.0.1\", {port}))\ns.listen()\ntime.sleep(1359)'"
        )
    };
    let offer = world.framework.wait_any_offer();
    let agent = tasks::agent_of(&offer).to_owned();
    let ports = tasks::ports(&offer);
    let (own, others) = (ports[ports.len() / 2 + usize::try_from(std::process::id() % 200).unwrap()], ports[3]);
    let others = others + u64::from(std::process::id() % 200);
    let with_disk = |id: &str, disk: f64, command: &str| {
        let mut task = task(id, &agent, (0.1, 32.0), command);
        task["resources"].as_array_mut().unwrap().push(tasks::scalar("disk", disk));
        task
    };
    let hog = with_disk("hog", 5.0, "dd if=/dev/zero of=big bs=1M count=20; sleep 1359");
    let frugal = with_disk("frugal", 50.0, "dd if=/dev/zero of=big bs=1M count=20; sleep 1359");
    let mut honest = task("honest", &agent, (0.1, 32.0), &listen(own));
    honest["resources"].as_array_mut().unwrap().push(tasks::port(own));
    let squatter = task("squatter", &agent, (0.1, 32.0), &listen(others));
    world.framework.launch(&offer, &[hog, frugal, honest, squatter]);
    let failed = world.framework.wait_status("hog", "TASK_FAILED");
    assert_eq!(failed["reason"], "REASON_CONTAINER_LIMITATION_DISK", "{failed:#}");
    assert!(failed["message"].as_str().unwrap().contains("exceeds quota (5MB)"), "{failed:#}");
    let failed = world.framework.wait_status("squatter", "TASK_FAILED");
    assert_eq!(failed["reason"], "REASON_CONTAINER_LIMITATION", "{failed:#}");
    assert_eq!(failed["limitation"]["resources"][0]["ranges"]["range"][0]["begin"], others, "{failed:#}");
    for id in ["frugal", "honest"] {
        let statuses = world.framework.statuses(id);
        assert!(statuses.iter().all(|status| !tasks::is_terminal(status["state"].as_str().unwrap())), "{statuses:#?}");
    }
}

/// Why a container is ended is known to the next agent, too.
#[test]
fn a_limitation_outlives_the_agent() {
    let flags = ["--enforce_container_disk_quota", "--container_disk_watch_interval=200ms"];
    let death = Some(("MEZZO_FAILPOINT", "limited"));
    let Some(mut world) = World::start_dying("posix/cpu,posix/mem,disk/du", &flags, death) else { return };
    world.launch(|agent| {
        let mut hog = task("hog", agent, (0.1, 32.0), "dd if=/dev/zero of=big bs=1M count=20; sleep 1366");
        hog["resources"].as_array_mut().unwrap().push(tasks::scalar("disk", 5.0));
        vec![hog]
    });
    wait::until_true("the agent died of it", || !world.cluster.agents[0].part.is_running());
    let part = &mut world.cluster.agents[0].part;
    part.kill();
    part.set_variable("MEZZO_FAILPOINT", "");
    part.start();
    let failed = world.framework.wait_status("hog", "TASK_FAILED");
    assert_eq!(failed["reason"], "REASON_CONTAINER_LIMITATION_DISK", "{failed:#}");
    assert!(failed["limitation"]["resources"].is_array(), "{failed:#}");
    world.wait_until_nothing_is_left();
    let limits = world.cluster.dir().join("agent0/run/limits");
    wait::until_true("nothing of it is left", || std::fs::read_dir(&limits).is_ok_and(|mut all| all.next().is_none()));
}

#[test]
fn disks_are_counted_and_devices_kept_away() {
    if !std::path::Path::new("/sys/fs/cgroup/devices").is_dir() {
        return mezzo_tests::environment::skip("there is no cgroup of version 1 for devices");
    }
    let Some(mut world) = World::start("cgroups/blkio,cgroups/devices", &[]) else { return };
    let look = "mknod disk b $(cat /sys/class/block/*/dev | head -n 1 | tr : ' ') || exit 5; \
                head -c 1 disk > out 2>&1 && exit 6; head -c 1 /dev/zero > /dev/null || exit 7; \
                while :; do dd if=/dev/zero of=big bs=1M count=2 oflag=direct || exit 8; sleep 0.1; done";
    world.launch(|agent| vec![task("looks", agent, (0.1, 32.0), look)]);
    let container = world.container("looks");
    let address = world.cluster.agents[0].address;
    // Linux counts on such disks alone that somebody's limit is on, since 6.9: a limit that holds nobody back.
    let disk = std::os::unix::fs::MetadataExt::dev(&std::fs::metadata(world.cluster.dir()).unwrap());
    let limit = format!("{}:{} 1000000000000", nix::sys::stat::major(disk), nix::sys::stat::minor(disk));
    std::fs::write(world.group("blkio", &container).join("blkio.throttle.write_bps_device"), limit).unwrap();
    wait::until_true("what it wrote is counted", || {
        let all = http::get_json(address, "/containers");
        let found = all.as_array().into_iter().flatten().find(|one| one["container_id"] == json!(container));
        let throttling = found.map(|found| found["statistics"]["blkio_statistics"]["throttling"].clone());
        let throttling = throttling.unwrap_or_default();
        let devices = throttling.as_array().into_iter().flatten();
        let values = devices.flat_map(|device| device["io_service_bytes"].as_array().into_iter().flatten());
        values.into_iter().any(|one| one["op"] == "WRITE" && one["value"].as_u64() >= Some(2 << 20))
    });
    assert_eq!(world.framework.statuses("looks").last().unwrap()["state"], "TASK_RUNNING");
}

#[test]
fn usage_is_what_the_cgroups_count() {
    let Some(mut world) = World::start(USUAL, &["--cgroups_enable_cfs"]) else { return };
    world.launch(|agent| vec![task("busy", agent, (0.5, 64.0), "while :; do :; done")]);
    let container = world.container("busy");
    let address = world.cluster.agents[0].address;
    wait::until_true("usage is counted", || {
        let all = http::get_json(address, "/containers");
        let found = all.as_array().into_iter().flatten().find(|one| one["container_id"] == json!(container));
        let statistics = found.map(|found| found["statistics"].clone()).unwrap_or_default();
        let number = |name: &str| statistics[name].as_f64().unwrap_or_default();
        number("cpus_user_time_secs") > 0.05
            && number("cpus_limit") == 0.5
            && number("mem_limit_bytes") == 67_108_864.0
            && number("mem_total_bytes") > 0.0
            && number("processes") >= 2.0
    });
}
