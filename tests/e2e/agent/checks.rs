//! Health checks over HTTP, HTTPS' sibling TCP, IPv6, and by command, of real servers.

use std::{
    io::{Read, Write},
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
};

use mezzo_tests::{cluster::Cluster, tasks};
use serde_json::{Value, json};

use super::framework;

/// Answers each request with the status of the moment.
fn server(address: &str) -> Option<(u16, Arc<AtomicU16>)> {
    let listener = TcpListener::bind(address).ok()?;
    let port = listener.local_addr().unwrap().port();
    let status = Arc::new(AtomicU16::new(200));
    let now = status.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let _ = stream.read(&mut [0; 1024]);
            let status = now.load(Ordering::Relaxed);
            let _ = write!(stream, "HTTP/1.1 {status} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
    });
    Some((port, status))
}

fn often(check: &mut Value) {
    for name in ["delay_seconds", "grace_period_seconds"] {
        check[name] = json!(0.0);
    }
    check["interval_seconds"] = json!(0.1);
}

/// A task is well until its server is not, and is killed for it.
#[test]
fn a_server_that_answers_500_is_killed() {
    let cluster = Cluster::builder().start();
    let mut framework = framework(&cluster, "health");
    let (port, status) = server("127.0.0.1:0").unwrap();
    let v6 = server("[::1]:0");
    let offer = framework.wait_any_offer();
    let agent = tasks::agent_of(&offer).to_owned();
    let mut health = json!({"type": "HTTP", "http": {"port": port, "path": "/x"}, "consecutive_failures": 3});
    often(&mut health);
    let mut http = tasks::command("http", &agent, "sleep 1310");
    http["health_check"] = health;
    let mut told = json!({"type": "HTTP", "http": {"port": port}});
    often(&mut told);
    http["check"] = told;
    let mut list = vec![http];
    if let Some((port, _)) = &v6 {
        let mut health = json!({"type": "HTTP", "http": {"port": port, "path": "/", "protocol": "IPv6"}});
        often(&mut health);
        let mut http = tasks::command("http6", &agent, "sleep 1312");
        http["health_check"] = health;
        list.push(http);
        let mut health = json!({"type": "TCP", "tcp": {"port": port, "protocol": "IPv6"}});
        often(&mut health);
        let mut tcp = tasks::command("tcp6", &agent, "sleep 1311");
        tcp["health_check"] = health;
        list.push(tcp);
    }
    framework.launch(&offer, &list);
    let healthy = framework.wait_since(0, "http is healthy", |event| {
        let status = &event["update"]["status"];
        status["task_id"]["value"] == "http" && status["healthy"] == true
    });
    assert_eq!(healthy["update"]["status"]["reason"], "REASON_TASK_HEALTH_CHECK_STATUS_UPDATED");
    framework.wait_since(0, "the check has told 200", |event| {
        event["update"]["status"]["check_status"]["http"]["status_code"] == 200
    });
    if let Some((_, status)) = &v6 {
        for task in ["tcp6", "http6"] {
            framework.wait_since(0, "it is healthy over IPv6", |event| {
                let status = &event["update"]["status"];
                status["task_id"]["value"] == task && status["healthy"] == true
            });
        }
        status.store(503, Ordering::Relaxed);
        assert_eq!(framework.wait_status("http6", "TASK_KILLED")["healthy"], false);
        assert!(framework.statuses("tcp6").iter().all(|status| status["healthy"] != false), "it accepts connections");
    }
    status.store(500, Ordering::Relaxed);
    let killed = framework.wait_status("http", "TASK_KILLED");
    assert_eq!(killed["healthy"], false);
    // What the check has found may be told in between, with what is known of the health.
    let of_health = |status: &&Value| status["reason"] != "REASON_TASK_CHECK_STATUS_UPDATED";
    let statuses = framework.statuses("http");
    let unhealthy = statuses.iter().filter(of_health).filter(|status| status["healthy"] == false).count();
    assert_eq!(unhealthy, 4, "each of three failures, and the end");
}

/// Commands of checks run in the sandbox of their own task of a pod, with its environment; the one that fails ends its group.
#[test]
fn tasks_of_a_pod_are_checked_by_commands() {
    let mut cluster = Cluster::builder().start();
    let mut framework = framework(&cluster, "pod-checks");
    let offer = framework.wait_any_offer();
    let agent = tasks::agent_of(&offer).to_owned();
    let of = |command: &str| {
        let mut check = json!({"type": "COMMAND", "command": {"value": command}});
        often(&mut check);
        check
    };
    let mut healthy = tasks::command("healthy", &agent, "touch well; sleep 1313");
    healthy["health_check"] = of("test -e well && test \"$PWD\" = \"$MESOS_SANDBOX\"");
    healthy["health_check"]["consecutive_failures"] = json!(2);
    let mut told = tasks::command("told", &agent, "echo 7 > code; sleep 1314");
    told["check"] = json!({"type": "COMMAND", "command": {"command": {"value": "exit $(cat code)"}}});
    often(&mut told["check"]);
    told["check"].as_object_mut().unwrap().remove("grace_period_seconds");
    super::launch_group(&mut framework, &offer, "pod", &[healthy, told]);
    let well = framework.wait_since(0, "the task of the pod is healthy", |event| {
        let status = &event["update"]["status"];
        status["task_id"]["value"] == "healthy" && status["healthy"] == true
    });
    framework.wait_since(0, "the check has told 7", |event| {
        let status = &event["update"]["status"];
        status["task_id"]["value"] == "told" && status["check_status"]["command"]["exit_code"] == 7
    });
    // It is looked at on after a restart.
    cluster.restart_agent(0);
    cluster.wait_until_registered(1);
    let container = &well["update"]["status"]["container_status"]["container_id"];
    let (own, parent) = (container["value"].as_str().unwrap(), container["parent"]["value"].as_str().unwrap());
    let run = format!("slaves/{agent}/frameworks/{}/executors/pod/runs/{parent}", framework.id);
    std::fs::remove_file(cluster.agents[0].work_dir.join(run).join("containers").join(own).join("well")).unwrap();
    let killed = framework.wait_status("healthy", "TASK_KILLED");
    assert_eq!(killed["healthy"], false);
    framework.wait_status("told", "TASK_KILLED");
}
