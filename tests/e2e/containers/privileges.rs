//! What the processes of a container may do, and an agent that says what its host cannot.

use std::fs;

use mezzo_tests::{environment, http};
use serde_json::json;

use super::{World, task, with};

const SMALL: (f64, f64) = (0.1, 32.0);

#[test]
fn capabilities_filters_and_limits_hold() {
    let profiles = tempfile::tempdir().unwrap();
    let profile = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [
            {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95},
            {"names": ["unlink", "unlinkat"], "action": "SCMP_ACT_ERRNO"},
        ],
    });
    fs::write(profiles.path().join("no-mkdir.json"), profile.to_string()).unwrap();
    let isolation = "linux/capabilities,linux/seccomp,linux/nnp,posix/rlimits";
    let flags = [
        format!("--seccomp_config_dir={}", profiles.path().display()),
        "--seccomp_profile_name=no-mkdir.json".to_owned(),
        "--bounding_capabilities={\"capabilities\":[\"CHOWN\",\"KILL\",\"NET_BIND_SERVICE\",\"SETUID\",\"SETGID\"]}"
            .to_owned(),
        "--effective_capabilities={\"capabilities\":[\"CHOWN\"]}".to_owned(),
    ];
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let Some(mut world) = World::start(isolation, &flags) else { return };
    let usual = "grep -E 'Cap|NoNew|Seccomp' /proc/self/status; \
                 grep -q 'NoNewPrivs:.1' /proc/self/status || exit 5; grep -q 'Seccomp:.2' /proc/self/status || exit 6; \
                 mkdir d 2>&1 | grep -q 'not supported' || exit 7; touch f; if rm f; then exit 8; fi; \
                 grep -q 'CapBnd:.00000000000004e1' /proc/self/status || exit 9; [ $(ulimit -n) = 77 ] || exit 10";
    let limited = json!({"rlimit_info": {"rlimits": [{"type": "RLMT_NOFILE", "soft": 77, "hard": 77}]}});
    let free = "mkdir d || exit 5; grep -q 'Seccomp:.0' /proc/self/status || exit 6; \
                grep -q 'CapEff:.0000000000000020' /proc/self/status || exit 7; \
                grep -q 'CapAmb:.0000000000000020' /proc/self/status || exit 8; [ $(id -un) = nobody ] || exit 9";
    let kill = json!({"linux_info": {"seccomp": {"unconfined": true},
                                     "effective_capabilities": {"capabilities": ["KILL"]}}});
    world.launch(|agent| {
        let mut free = with(task("free", agent, SMALL, free), kill.clone());
        free["command"]["user"] = json!("nobody");
        vec![with(task("usual", agent, SMALL, usual), limited.clone()), free]
    });
    for id in ["usual", "free"] {
        world.framework.wait_status(id, "TASK_FINISHED");
    }
    // What enters a container is confined as it is: the command of its check, and a session.
    let confined = "grep -q 'Seccomp:.2' /proc/self/status || exit 6; grep -q 'NoNewPrivs:.1' /proc/self/status || exit 7; \
                    grep -q 'CapEff:.0000000000000001' /proc/self/status || exit 8; touch confined";
    world.launch(|agent| {
        let mut kept = task("kept", agent, SMALL, "sleep 1368");
        kept["check"] = json!({"type": "COMMAND", "command": {"command": {"value": confined}},
                               "delay_seconds": 0.0, "interval_seconds": 0.1});
        vec![kept]
    });
    let told = world.framework.wait_since(0, "the check has told something", |event| {
        !event["update"]["status"]["check_status"]["command"]["exit_code"].is_null()
    });
    let status = &told["update"]["status"];
    assert_eq!(status["check_status"]["command"]["exit_code"], 0, "{status:#}");
    let parent = status["container_status"]["container_id"].clone();
    let session = json!({"container_id": {"value": "session", "parent": parent},
                         "command": {"value": format!("{confined}; echo confined; sleep 1")}});
    let session = json!({"type": "LAUNCH_NESTED_CONTAINER_SESSION", "launch_nested_container_session": session});
    let request = http::Request::post("/api/v1", "application/json", session.to_string())
        .header("Accept", "application/recordio")
        .header("Message-Accept", "application/json");
    let answer = http::send(world.cluster.agents[0].address, &request).unwrap();
    // `confined` and a line's end, as bytes are written in JSON.
    assert!(answer.text().contains("Y29uZmluZWQK"), "{}", answer.text());
    for (id, info, word) in [
        ("more", json!({"linux_info": {"effective_capabilities": {"capabilities": ["SYS_ADMIN"]}}}), "SYS_ADMIN"),
        ("other", json!({"linux_info": {"seccomp": {"profile_name": "none.json"}}}), "none.json"),
        ("half", json!({"rlimit_info": {"rlimits": [{"type": "RLMT_CPU", "soft": 1}]}}), "RLMT_CPU"),
    ] {
        world.launch(|agent| vec![with(task(id, agent, SMALL, "true"), info.clone())]);
        let failed = world.framework.wait_status(id, "TASK_FAILED");
        assert_eq!(failed["reason"], "REASON_CONTAINER_LAUNCH_FAILED");
        assert!(failed["message"].as_str().unwrap().contains(word), "{failed:#}");
    }
}

#[test]
fn what_the_host_cannot_do_is_said_at_the_start() {
    if !environment::is_root() {
        return environment::skip("as another user the agent says so, before it looks at the host");
    }
    let dir = tempfile::tempdir().unwrap();
    let nowhere = dir.path().join("nowhere");
    let hierarchy = format!("--cgroups_hierarchy={}", nowhere.display());
    for (flags, words) in [
        (vec!["--isolation=cgroups/mem", &hierarchy], ["nowhere", "--launcher=posix"]),
        (vec!["--isolation=cgroups/mem", "--launcher=posix"], ["cgroups/mem", "--launcher=linux"]),
        (vec!["--isolation=linux/seccomp"], ["linux/seccomp", "--seccomp_config_dir"]),
        (vec!["--isolation=gpu/nvidia"], ["gpu/nvidia", "leave it out"]),
        (vec!["--isolation=namespaces/pid"], ["namespaces/pid", "filesystem/linux"]),
    ] {
        let output = std::process::Command::new(environment::binary("mezzo-agent"))
            .args(["--master=127.0.0.1:1", "--ip=127.0.0.1", "--port=0"])
            .arg(format!("--work_dir={}", dir.path().join("work").display()))
            .args(&flags)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{flags:?} was taken");
        for word in words {
            assert!(text.contains(word), "{flags:?}: {text}");
        }
    }
}
