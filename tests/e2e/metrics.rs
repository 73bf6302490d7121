//! Metrics as those see them who collect them: an exporter that counts on Mesos' names, Prometheus, and what `deploy/` asks for.

use std::collections::BTreeSet;
use std::path::Path;

use mezzo_tests::cluster::Cluster;
use mezzo_tests::framework::Framework;
use mezzo_tests::http::{self, Request};
use mezzo_tests::{tasks, wait};
use regex::Regex;

/// A cluster where something has happened of each kind.
fn busy() -> (Cluster, Framework) {
    let cluster = Cluster::builder().start();
    let mut info = tasks::framework_info("counted", "dev");
    info["principal"] = serde_json::json!("someone");
    let mut framework = Framework::subscribe(cluster.master_address, info);
    for task in ["one", "two"] {
        framework.run(task, "true");
        framework.wait_status(task, "TASK_FINISHED");
    }
    (cluster, framework)
}

fn text(address: std::net::SocketAddr) -> String {
    let response = http::send(address, &Request::get("/metrics")).unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.head.header("Content-Type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    response.text()
}

/// Names of all series, and a check of the format on the way.
fn series(text: &str) -> BTreeSet<String> {
    let line =
        Regex::new(r#"^([a-z_][a-z0-9_]*)(\{([a-z_]+="([^"\\]|\\.)*",?)*\})? (-?[0-9.eE+-]+|NaN|[+-]Inf)$"#).unwrap();
    let mut seen = BTreeSet::new();
    let mut names = BTreeSet::new();
    for found in text.lines().filter(|line| !line.starts_with('#')) {
        let parts = line.captures(found).unwrap_or_else(|| panic!("no line of Prometheus' format: {found}"));
        let whole = found.rsplit_once(' ').unwrap().0;
        assert!(seen.insert(whole.to_owned()), "told twice: {whole}");
        names.insert(parts[1].to_owned());
    }
    names
}

#[test]
fn what_dashboard_and_alerts_ask_for_is_there() {
    let (cluster, _framework) = busy();
    let mut known = series(&text(cluster.master_address));
    known.extend(series(&text(cluster.agents[0].address)));
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("deploy");
    let metric = Regex::new(r"\bmezzo_[a-z0-9_]+").unwrap();
    let mut asked = 0;
    for file in ["grafana/dashboard.json", "prometheus/alerts.yml"] {
        let content = std::fs::read_to_string(root.join(file)).unwrap();
        for name in metric.find_iter(&content) {
            asked += 1;
            assert!(known.contains(name.as_str()), "{file} asks for {}, which nobody tells", name.as_str());
        }
    }
    assert!(asked > 50, "{asked}");
    let dashboard: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(root.join("grafana/dashboard.json")).unwrap()).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len(), "each panel has an id of its own");
}

#[test]
fn durations_are_measured() {
    let (cluster, mut framework) = busy();
    let offer = framework.wait_any_offer();
    framework.decline(&offer, 0.0);
    let count = |name: &str| -> f64 {
        let text = text(cluster.master_address);
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name}_count "))).map(str::to_owned);
        line.unwrap_or_else(|| panic!("no {name}")).parse().unwrap()
    };
    for name in ["offer", "launch", "registry_write", "allocation_run", "allocation_delay", "core_step"] {
        wait::until_true(&format!("{name} was measured"), || count(&format!("mezzo_master_{name}_seconds")) > 0.0);
    }
}

/// What the widely used exporter expects of a master: each name that is missing it counts as an error.
#[test]
fn an_exporter_finds_the_names_it_expects() {
    let (cluster, framework) = busy();
    let metrics = http::get_json(cluster.master_address, "/metrics/snapshot");
    for name in [
        "master/cpus_total",
        "master/cpus_used",
        "master/cpus_percent",
        "master/mem_total",
        "master/disk_total",
        "master/cpus_revocable_total",
        "master/elected",
        "master/uptime_secs",
        "master/slaves_active",
        "master/slaves_connected",
        "master/slaves_disconnected",
        "master/slaves_inactive",
        "master/slave_registrations",
        "master/slave_reregistrations",
        "master/slave_removals",
        "master/frameworks_active",
        "master/outstanding_offers",
        "master/tasks_running",
        "master/tasks_staging",
        "master/tasks_finished",
        "master/tasks_lost",
        "master/messages_status_update",
        "master/messages_register_framework",
        "master/dropped_messages",
        "master/event_queue_messages",
        "master/event_queue_dispatches",
        "master/event_queue_http_requests",
        "master/valid_status_updates",
        "master/invalid_status_updates",
        "registrar/queued_operations",
        "registrar/state_store_ms",
        "allocator/mesos/allocation_run_ms/p50",
        "allocator/mesos/allocation_run_latency_ms/p99",
        "allocator/mesos/event_queue_dispatches",
        "system/load_1min",
        "system/cpus_total",
        "system/mem_total_bytes",
        "frameworks/someone/messages_received",
    ] {
        assert!(metrics[name].is_number(), "{name} is missing");
    }
    let of = |name: &str| metrics[&format!("master/frameworks/counted/{}/{name}", framework.id)].as_f64();
    assert_eq!(of("subscribed"), Some(1.0));
    assert_eq!(of("calls/subscribe"), Some(1.0));
    assert_eq!(of("calls/accept"), Some(2.0));
    assert_eq!(of("operations/launch"), Some(2.0));
    assert_eq!(of("offers/accepted"), Some(2.0));
    assert_eq!(of("tasks/terminal/task_finished"), Some(2.0));
    assert_eq!(of("roles/dev/suppressed"), Some(0.0));
    let bad = http::send(cluster.agents[0].address, &Request::get("/metrics/snapshot?timeout=x")).unwrap();
    assert_eq!(bad.status(), 400);
}

/// What a DNS bridge reads of `/state` to make names of tasks.
#[test]
fn a_dns_bridge_finds_what_it_reads_of_state() {
    let (cluster, mut framework) = busy();
    let offer = framework.wait_offer("with ports", |offer| !tasks::ports(offer).is_empty());
    let mut task = tasks::command("web-1", tasks::agent_of(&offer), "sleep 1000");
    task["resources"].as_array_mut().unwrap().push(tasks::port(tasks::ports(&offer)[0]));
    task["discovery"] = serde_json::json!({
        "visibility": "EXTERNAL", "name": "web",
        "ports": {"ports": [{"number": 80, "name": "http", "protocol": "tcp"}]},
    });
    framework.launch(&offer, &[task]);
    framework.wait_status("web-1", "TASK_RUNNING");
    let shown = || cluster.state()["frameworks"][0]["tasks"][0].clone();
    wait::until_true("the task is shown", || shown()["state"] == "TASK_RUNNING");
    let state = cluster.state();
    let (name, address) = state["leader"].as_str().unwrap().split_once('@').unwrap();
    assert_eq!((name, address), ("master", cluster.master_address.to_string().as_str()));
    let task = shown();
    let agent = &state["slaves"][0];
    assert_eq!(task["slave_id"], agent["id"]);
    assert!(agent["pid"].as_str().unwrap().starts_with("slave(1)@127.0.0.1:"));
    assert!(Regex::new(r"^\[\d+-\d+\]$").unwrap().is_match(task["resources"]["ports"].as_str().unwrap()));
    assert_eq!(task["discovery"]["ports"]["ports"][0]["number"], 80);
    let status = task["statuses"].as_array().unwrap().last().unwrap();
    let address = &status["container_status"]["network_infos"][0]["ip_addresses"][0]["ip_address"];
    assert!(address.as_str().unwrap().parse::<std::net::IpAddr>().is_ok(), "{status}");
}
