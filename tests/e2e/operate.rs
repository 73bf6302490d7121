//! The operator's verbs of `mezzo`, as a person or a script uses them.

use std::process::{Command, Output};

use mezzo_api::codec::Encoding;
use mezzo_tests::cluster::Cluster;
use mezzo_tests::framework::Framework;
use mezzo_tests::{environment, operator, tasks};
use serde_json::Value;

struct Cli<'a>(&'a str);

impl Cli<'_> {
    fn output(&self, arguments: &[&str]) -> Output {
        Command::new(environment::binary("mezzo"))
            .args(arguments)
            .env_remove("MESOS_MASTER")
            .env("MEZZO_MASTER", self.0)
            .output()
            .unwrap()
    }

    fn says(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {error}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let text = self.says(&[arguments, &["--json"]].concat());
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {text}"))
    }

    fn fails(&self, arguments: &[&str], code: i32) -> String {
        let output = self.output(arguments);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {error}");
        assert!(!error.is_empty(), "{arguments:?} must say why");
        error
    }
}

#[test]
fn agents_frameworks_and_tasks_are_listed_shown_and_ended() {
    let cluster = Cluster::builder().agents(2).start();
    let address = cluster.master_address.to_string();
    let cli = Cli(&address);
    let mut framework = Framework::subscribe(cluster.master_address, tasks::framework_info("operated", "dev"));
    framework.run("runs", "sleep 1000");
    framework.wait_status("runs", "TASK_RUNNING");
    let stream = operator::subscribe(cluster.master_address, Encoding::Json).unwrap();

    let agents = cli.json(&["agent", "list"]);
    assert_eq!(agents.as_array().unwrap().len(), 2);
    let table = cli.says(&["agent", "list"]);
    assert!(table.starts_with("AGENT") || table.trim_start().starts_with("AGENT"), "{table}");
    assert!(table.contains("active") && table.lines().count() == 3, "{table}");
    // An id may be cut.
    assert!(cli.says(&["agent", "show", "S1"]).contains(agents[1]["id"].as_str().unwrap()));
    assert!(cli.fails(&["agent", "show", "S7"], 1).contains("S7"));

    assert_eq!(cli.json(&["framework", "list"])[0]["name"], "operated");
    assert!(cli.says(&["framework", "show", &framework.id]).contains("operated"));
    assert_eq!(cli.json(&["task", "list"])[0]["id"], "runs");
    assert!(cli.says(&["task", "show", "runs"]).contains("TASK_RUNNING"));
    let roles = cli.json(&["role", "list"]);
    assert!(roles.as_array().unwrap().iter().any(|role| role["name"] == "dev"), "{roles}");
    assert_eq!(cli.json(&["top"])["TASK_RUNNING"], 1.0);
    assert!(cli.says(&["top", "--once"]).contains("operated"));

    assert!(cli.says(&["task", "kill", "runs"]).contains("runs"));
    framework.wait_status("runs", "TASK_KILLED");
    assert!(cli.says(&["task", "list"]).lines().count() == 1);
    assert!(cli.fails(&["task", "kill", "runs"], 1).contains("runs"));

    // What cannot be taken back wants a yes.
    assert!(cli.fails(&["framework", "teardown", &framework.id], 2).contains("--yes"));
    cli.says(&["framework", "teardown", &framework.id, "--yes"]);
    assert_eq!(cli.json(&["framework", "list"]), serde_json::json!([]));
    assert_eq!(cli.json(&["framework", "list", "--all"])[0]["id"], framework.id.as_str());
    drop(stream);
    assert!(cli.says(&["doctor"]).contains("leads"));
}

#[test]
fn bad_input_gets_a_clear_error_and_its_exit_code() {
    let cluster = Cluster::builder().agents(0).start();
    let address = cluster.master_address.to_string();
    let cli = Cli(&address);
    for (arguments, code, word) in [
        (&["agent", "show", "nope"][..], 1, "nope"),
        (&["agent", "drain"], 2, "AGENT"),
        (&["agent", "list", "--nonsense"], 2, "--nonsense"),
        (&["framework", "teardown", "nope", "--yes"], 1, "nope"),
        (&["task", "kill", "nope"], 1, "nope"),
        (&["quota", "set", "r", "--limit=cpus"], 2, "cpus:2"),
        (&["weight", "set", "r", "heavy"], 2, "heavy"),
        (&["agent", "gone", "nope"], 2, "--yes"),
        (&["agent", "gone", "nope", "--yes"], 1, "nope"),
        (&["maintenance", "plan", "h", "--in=soon"], 2, "soon"),
        (&["top", "--interval=0"], 2, "0.1"),
    ] {
        let error = cli.fails(arguments, code);
        assert!(error.contains(word), "{arguments:?}: {error}");
    }
    let nobody = Cli("127.0.0.1:1");
    assert!(nobody.fails(&["agent", "list"], 125).contains("127.0.0.1:1"));
    assert!(String::from_utf8_lossy(&nobody.output(&["doctor"]).stdout).contains("wrong"));
    // One of the masters that are named is enough.
    assert!(Cli(&format!("127.0.0.1:1,{address}")).says(&["agent", "list"]).contains("AGENT"));
}

#[test]
fn a_file_names_the_cluster_and_pages_and_completions_are_written() {
    let cluster = Cluster::builder().agents(0).start();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config.toml");
    std::fs::write(&file, format!("master = \"{}\"", cluster.master_address)).unwrap();
    let mezzo = |arguments: &[&str]| {
        let mut command = Command::new(environment::binary("mezzo"));
        command.args(arguments).env_remove("MESOS_MASTER").env_remove("MEZZO_MASTER").env("MEZZO_CONFIG", &file);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(mezzo(&["framework", "list", "--json"]).trim(), "[]");
    for shell in ["bash", "zsh", "fish"] {
        assert!(mezzo(&["completions", shell]).contains("teardown"), "{shell}");
    }
    let pages = directory.path().join("man");
    mezzo(&["man", pages.to_str().unwrap()]);
    for page in ["mezzo.1", "mezzo-agent-drain.1", "mezzo-doctor.1"] {
        assert!(std::fs::read_to_string(pages.join(page)).unwrap().contains(".TH"), "{page}");
    }
}

#[test]
fn roles_get_quota_weights_reservations_and_volumes() {
    let cluster = Cluster::builder().start();
    let address = cluster.master_address.to_string();
    let cli = Cli(&address);
    let agent = cluster.agent_ids()[0].clone();

    cli.says(&["quota", "set", "paid", "--guarantee=cpus:1;mem:64", "--limit=cpus:2"]);
    let quota = cli.json(&["quota", "list"]);
    assert_eq!((&quota[0]["role"], &quota[0]["limits"]["cpus"]["value"]), (&"paid".into(), &2.0.into()), "{quota}");
    assert!(cli.says(&["quota", "list"]).contains("cpus:1-2"));
    assert!(cli.fails(&["quota", "set", "paid", "--guarantee=cpus:3", "--limit=cpus:2"], 1).contains("400"));
    assert!(cli.fails(&["quota", "set", "other", "--guarantee=cpus:1000"], 1).contains("400"));
    cli.says(&["quota", "remove", "paid"]);

    cli.says(&["weight", "set", "heavy", "2.5"]);
    assert_eq!(cli.json(&["weight", "list"])[0]["weight"], 2.5);
    assert!(cli.says(&["role", "list"]).contains("heavy"));
    assert!(cli.fails(&["weight", "set", "heavy", "0"], 1).contains("400"));

    cli.says(&["reserve", "S0", "disk:64;cpus:1", "--role=keeps"]);
    let reserved = || cli.json(&["agent", "show", &agent])["reserved_resources"]["keeps"].clone();
    assert_eq!((&reserved()["cpus"], &reserved()["disk"]), (&1.0.into(), &64.0.into()));
    assert!(cli.fails(&["reserve", "S0", "cpus:1000", "--role=keeps"], 1).contains("409"));
    assert!(cli.fails(&["reserve", "S9", "cpus:1", "--role=keeps"], 1).contains("S9"));
    assert!(cli.fails(&["reserve", "S0", "cpus", "--role=keeps"], 2).contains("cpus"));
    let create = ["volume", "create", "S0", "--id=kept", "--path=data", "--size=64", "--role=keeps"];
    cli.says(&create);
    assert!(cli.fails(&create, 1).contains("400"));
    assert_eq!(cli.json(&["volume", "list"])[0]["volume"]["disk"]["persistence"]["id"], "kept");
    assert!(cli.says(&["volume", "list"]).contains("data"));
    assert!(cli.fails(&["volume", "destroy", "S0", "kept"], 2).contains("--yes"));
    assert!(cli.fails(&["volume", "destroy", "S0", "other", "--yes"], 1).contains("other"));
    cli.says(&["volume", "destroy", "S0", "kept", "--yes"]);
    cli.says(&["unreserve", "S0", "disk:64;cpus:1", "--role=keeps"]);
    assert!(cli.fails(&["unreserve", "S0", "cpus:1", "--role=keeps"], 1).contains("409"));
    assert_eq!(cli.json(&["agent", "show", &agent])["reserved_resources"], serde_json::json!({}));
}

#[test]
fn machines_go_down_for_maintenance_and_come_back() {
    let cluster = Cluster::builder().agents(0).start();
    let address = cluster.master_address.to_string();
    let cli = Cli(&address);
    cli.says(&["maintenance", "plan", "away.example/192.0.2.7", "--in=1hrs", "--for=30mins"]);
    let planned = cli.json(&["maintenance", "status"]);
    let window = &planned["schedule"]["windows"][0];
    assert_eq!(window["machine_ids"][0]["hostname"], "away.example");
    assert_eq!(window["unavailability"]["duration"]["nanoseconds"], 1_800_000_000_000_u64);
    assert!(cli.says(&["maintenance", "status"]).contains("draining"));
    cli.says(&["maintenance", "start", "away.example/192.0.2.7"]);
    assert!(cli.says(&["maintenance", "status"]).contains("down"));
    cli.says(&["maintenance", "stop", "away.example/192.0.2.7"]);
    assert!(cli.fails(&["maintenance", "stop", "away.example/192.0.2.7"], 1).contains("400"));
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("schedule.json");
    std::fs::write(&file, window.to_string().replace("{\"machine_ids\"", "{\"windows\":[{\"machine_ids\"") + "]}")
        .unwrap();
    cli.says(&["maintenance", "schedule", file.to_str().unwrap()]);
    assert_eq!(cli.json(&["maintenance", "status"])["schedule"]["windows"].as_array().map(Vec::len), Some(1));
    std::fs::write(&file, "{").unwrap();
    assert!(cli.fails(&["maintenance", "schedule", file.to_str().unwrap()], 2).contains("schedule.json"));
    assert!(cli.fails(&["maintenance", "schedule", "/nonexistent/schedule"], 2).contains("No such file"));
    assert!(cli.fails(&["maintenance", "start", "unknown.example"], 1).contains("400"));
}

#[test]
fn agents_are_taken_out_and_come_back() {
    let cluster = Cluster::builder().agents(2).start();
    let address = cluster.master_address.to_string();
    let cli = Cli(&address);
    let mut framework = Framework::subscribe(cluster.master_address, tasks::framework_info("drained", "dev"));
    framework.run("runs", "sleep 1000");
    let agent = framework.wait_status("runs", "TASK_RUNNING")["agent_id"]["value"].as_str().unwrap().to_owned();
    let state = |agent: &str| {
        let table = cli.says(&["agent", "list"]);
        let line = table.lines().find(|line| line.contains(agent)).unwrap_or_default().to_owned();
        ["active", "deactivated", "draining", "drained"]
            .into_iter()
            .rfind(|state| line.contains(state))
            .unwrap_or("gone")
    };
    cli.says(&["agent", "deactivate", &agent]);
    assert_eq!(state(&agent), "deactivated");
    cli.says(&["agent", "reactivate", &agent]);
    assert_eq!(state(&agent), "active");
    assert!(cli.fails(&["agent", "reactivate", &agent], 1).contains("400"));
    assert!(cli.fails(&["agent", "drain", &agent, "--max-grace-period=soon"], 2).contains("soon"));
    assert!(cli.fails(&["agent", "drain", &agent, "--mark-gone"], 2).contains("--yes"));
    // The framework acknowledges what becomes of its task while the verb waits.
    let drain = std::thread::scope(|scope| {
        let verb = scope.spawn(|| cli.json(&["agent", "drain", &agent, "--max-grace-period=1secs", "--wait"]));
        framework.wait_status("runs", "TASK_KILLED");
        verb.join().unwrap()
    });
    assert!(drain["done"].as_str().unwrap().contains("drained"), "{drain}");
    assert_eq!(state(&agent), "drained");
    cli.says(&["agent", "reactivate", &agent]);
    cli.says(&["agent", "gone", &agent, "--yes"]);
    assert_eq!(cluster.agent_ids().len(), 1);
}

#[test]
fn what_happens_is_told_and_explained() {
    use std::io::{BufRead, BufReader};
    let cluster = Cluster::builder().start();
    let address = cluster.master_address.to_string();
    let cli = Cli(&address);
    let mut command = Command::new(environment::binary("mezzo"));
    command.args(["events", "--json", "--master", &address]).stdout(std::process::Stdio::piped());
    let mut events = command.env(mezzo_tests::part::MARK, cluster.dir()).spawn().unwrap();
    let mut lines = BufReader::new(events.stdout.take().unwrap()).lines();
    let mut next = || serde_json::from_str::<Value>(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!(next()["type"], "SUBSCRIBED");
    let framework = Framework::subscribe(cluster.master_address, tasks::framework_info("explained", "dev"));
    let added = std::iter::from_fn(|| Some(next())).find(|event| event["type"] == "FRAMEWORK_ADDED").unwrap();
    assert_eq!(added["framework_added"]["framework"]["framework_info"]["name"], "explained");
    events.kill().unwrap();
    events.wait().unwrap();

    let why = cli.says(&["explain", "--framework", &framework.id, "--resources=cpus:1000"]);
    assert!(why.contains("cpus"), "{why}");
    let json = cli.json(&["explain", "--framework", &framework.id]);
    assert!(json.is_object(), "{json}");
    cli.fails(&["explain", "--framework", "nobody"], 125);
    assert!(cli.fails(&["events", "--nonsense"], 2).contains("--nonsense"));
    assert!(cli.fails(&["completions", "noshell"], 2).contains("noshell"));
    assert!(cli.fails(&["man", "/proc/nowhere"], 1).contains("/proc/nowhere"));
}
