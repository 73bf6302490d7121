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
