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
    if v6.is_some() {
        framework.wait_since(0, "tcp6 is healthy", |event| {
            let status = &event["update"]["status"];
            status["task_id"]["value"] == "tcp6" && status["healthy"] == true
        });
    }
    status.store(500, Ordering::Relaxed);
    let killed = framework.wait_status("http", "TASK_KILLED");
    assert_eq!(killed["healthy"], false);
    let unhealthy = framework.statuses("http").iter().filter(|status| status["healthy"] == false).count();
    assert_eq!(unhealthy, 4, "each of three failures, and the end");
}
