//! Pictures of the pages for the documentation: `cargo xtask screenshots` runs this with `MEZZO_PICTURES` set to where they go.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use mezzo_tests::browser::Browser;
use mezzo_tests::cluster::Cluster;
use mezzo_tests::framework::Framework;
use mezzo_tests::part::Part;
use mezzo_tests::{environment, tasks, wait};
use serde_json::{Value, json};

use super::{agent_of, looked_at};

const HOSTS: [(&str, &str, &str); 9] = [
    ("fra-a1", "eu-central", "fra-a"),
    ("fra-a2", "eu-central", "fra-a"),
    ("fra-a3", "eu-central", "fra-a"),
    ("fra-b1", "eu-central", "fra-b"),
    ("fra-b2", "eu-central", "fra-b"),
    ("oslo-1", "eu-north", "oslo"),
    ("oslo-2", "eu-north", "oslo"),
    ("edge-vienna", "edge", "vienna"),
    ("edge-graz", "edge", "graz"),
];

/// Framework, role, task, CPUs, MB.
const LOAD: [(&str, &str, &str, f64, f64); 15] = [
    ("shop", "web", "frontend-1", 1.5, 1024.0),
    ("shop", "web", "frontend-2", 1.5, 1024.0),
    ("shop", "web", "frontend-3", 1.5, 1024.0),
    ("shop", "web", "payments-1", 1.0, 2048.0),
    ("shop", "web", "payments-2", 1.0, 2048.0),
    ("shop", "web", "search", 2.0, 4096.0),
    ("nightly", "batch/etl", "orders-to-parquet", 3.0, 6144.0),
    ("nightly", "batch/etl", "sessions-to-parquet", 3.0, 6144.0),
    ("nightly", "batch/etl", "compact-2026-11", 2.0, 3072.0),
    ("reports", "batch/reports", "weekly-revenue", 1.0, 1024.0),
    ("reports", "batch/reports", "churn", 1.0, 1024.0),
    ("trainer", "ml", "ranker-epoch-41", 4.0, 8192.0),
    ("trainer", "ml", "ranker-epoch-42", 4.0, 8192.0),
    ("trainer", "ml", "embed-shard-3", 2.0, 6144.0),
    ("trainer", "ml", "embed-shard-4", 2.0, 6144.0),
];

const TALK: &str = "n=0; while true; do n=$((n+1)); echo \"$(date +%T.%3N) INFO  request $n answered in $((n * 7 % 43)) ms\"; \
                    [ $((n % 9)) = 0 ] && echo \"$(date +%T.%3N) WARN  cache is cold for key user:$((n * 31 % 997))\" >&2; sleep 0.4; done";

#[test]
fn every_page_has_its_picture() {
    let Some(place) = std::env::var_os("MEZZO_PICTURES").map(PathBuf::from) else { return };
    let builder = Cluster::builder()
        .agents(0)
        .master_flag("--cluster=harbour")
        .master_flag("--region=eu-central")
        .master_flag("--zone=fra-a");
    let Some((mut cluster, mut browser)) = looked_at(builder) else {
        panic!("pictures need a browser");
    };
    let _agents: Vec<Part> = HOSTS.iter().map(|host| agent(&mut cluster, *host)).collect();
    wait::until_true("the agents are there", || cluster.agent_ids().len() == HOSTS.len());
    let mut frameworks = load(&cluster);
    let shop = &mut frameworks[0];
    let (on, files) =
        (agent_of(shop, "frontend-1"), format!("/frameworks/{}/executors/frontend-1/runs/latest", shop.id));
    std::fs::create_dir_all(&place).unwrap();
    browser.resize(1280, 860);
    for (name, page) in [
        ("overview", "#/".to_owned()),
        ("tasks", "#/tasks".to_owned()),
        ("task", format!("#/tasks/{}/frontend-1", shop.id)),
        ("agents", "#/agents".to_owned()),
        ("agent", format!("#/agents/{on}")),
        ("frameworks", "#/frameworks".to_owned()),
        ("framework", format!("#/frameworks/{}", shop.id)),
        ("roles", "#/roles?role=batch".to_owned()),
        ("offers", "#/offers".to_owned()),
        ("topology", "#/topology".to_owned()),
        ("maintenance", "#/maintenance".to_owned()),
        ("explain", "#/explain?resources=cpus:6".to_owned()),
        ("files", format!("#/agents/{on}/files?path={files}")),
        ("log", format!("#/agents/{on}/file?path={files}/stdout")),
    ] {
        browser.go(&page);
        take(&mut browser, &place, name);
    }
    browser.go(&format!("#/tasks/{}/frontend-1/terminal", shop.id));
    browser.wait("a shell is there", "document.querySelector('.terminal .xterm-rows')?.innerText.includes('#')");
    for line in ["PS1='frontend-1 # '; clear", "ls -l && tail -n 3 stdout"] {
        line.chars().for_each(|letter| browser.press(&letter.to_string()));
        browser.press("Enter");
    }
    browser
        .wait("it has answered", "document.querySelector('.terminal .xterm-rows')?.innerText.includes('answered in')");
    take(&mut browser, &place, "terminal");
    browser.prefer("dark");
    browser.go("#/");
    take(&mut browser, &place, "overview-dark");
    browser.resize(390, 780);
    take(&mut browser, &place, "phone");
    for framework in frameworks {
        framework.teardown();
    }
    let asking = crate::authentication::guarded().agents(0).start();
    browser.resize(1280, 560);
    browser.prefer("light");
    browser.open(&format!("http://{}/", asking.master_address));
    browser.wait("the form is there", "document.querySelector('.login') !== null");
    take(&mut browser, &place, "login");
}

fn take(browser: &mut Browser, place: &std::path::Path, name: &str) {
    browser.wait(
        "the page is drawn",
        "!document.querySelector('.waiting') && document.querySelector('main').innerText.length > 10",
    );
    std::thread::sleep(Duration::from_millis(700)); // bars have moved to where they belong
    browser.picture(&place.join(format!("{name}.png")));
}

fn agent(cluster: &mut Cluster, (host, region, zone): (&str, &str, &str)) -> Part {
    let home = cluster.dir().join(host);
    std::fs::create_dir_all(&home).unwrap();
    let flags = [
        format!("--master={}", cluster.master_address),
        "--ip=127.0.0.1".to_owned(),
        format!("--port={}", cluster.take_port()),
        format!("--hostname={host}"),
        format!("--work_dir={}", home.join("work").display()),
        format!("--runtime_dir={}", home.join("run").display()),
        "--resources=cpus:8;mem:16384;disk:200000;ports:[31000-32000]".to_owned(),
        format!(
            "--domain={{\"fault_domain\":{{\"region\":{{\"name\":\"{region}\"}},\"zone\":{{\"name\":\"{zone}\"}}}}}}"
        ),
    ];
    let arguments = flags.into_iter().map(OsString::from).collect();
    let mut part = Part::new(host, environment::binary("mezzo-agent"), arguments, cluster.dir());
    part.start();
    part
}

/// Frameworks whose tasks start one after the other, so that charts have something to show.
fn load(cluster: &Cluster) -> Vec<Framework> {
    let mut frameworks: Vec<Framework> = Vec::new();
    for (name, role, task, cpus, mem) in LOAD {
        let number = frameworks.iter().position(|known| known.info()["name"] == name).unwrap_or_else(|| {
            let mut info = tasks::framework_info(name, role);
            info["capabilities"].as_array_mut().unwrap().push(json!({"type": "REGION_AWARE"}));
            frameworks.push(Framework::subscribe(cluster.master_address, info));
            frameworks.len() - 1
        });
        let framework = &mut frameworks[number];
        if framework.offers.is_empty() {
            framework.call("REVIVE", Value::Null);
        }
        let fits = |offer: &Value| tasks::amount(offer, "cpus") >= cpus && tasks::amount(offer, "mem") >= mem;
        let offer = framework.wait_offer("large enough", fits);
        framework.launch(&offer, &[large(task, &offer, cpus, mem, TALK)]);
        framework.wait_status(task, "TASK_RUNNING");
        framework.listen(Duration::from_millis(1500));
        // Others need offers, too.
        for held in framework.offers.values().cloned().collect::<Vec<_>>() {
            framework.decline(&held, 600.0);
        }
    }
    let nightly = &mut frameworks[1];
    nightly.call("REVIVE", Value::Null);
    for (task, command, state) in [
        ("verify-2026-11-23", "true", "TASK_FINISHED"),
        ("import-legacy", "echo no such table: legacy.users >&2; exit 3", "TASK_FAILED"),
    ] {
        let offer = nightly.wait_any_offer();
        nightly.launch(&offer, &[large(task, &offer, 0.5, 128.0, command)]);
        nightly.wait_status(task, state);
    }
    keep_one(&mut frameworks[1]);
    frameworks[3].call("REVIVE", Value::Null);
    frameworks[3].wait_any_offer();
    frameworks[3].listen(Duration::from_millis(1500));
    keep_one(&mut frameworks[3]);
    frameworks
}

/// Declines all offers but one.
fn keep_one(framework: &mut Framework) {
    for held in framework.offers.values().skip(1).cloned().collect::<Vec<_>>() {
        framework.decline(&held, 600.0);
    }
}

fn large(id: &str, offer: &Value, cpus: f64, mem: f64, command: &str) -> Value {
    let mut task = tasks::command(id, tasks::agent_of(offer), command);
    task["resources"] = json!([tasks::scalar("cpus", cpus), tasks::scalar("mem", mem)]);
    task["labels"] = json!({"labels": [{"key": "team", "value": "harbour"}, {"key": "tier", "value": "1"}]});
    task
}
