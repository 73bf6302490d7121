//! What an agent does for a command task: its process, its environment, its files, its end.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use mezzo_tests::cluster::Cluster;
use mezzo_tests::framework::Framework;
use mezzo_tests::http::{self, Request};
use mezzo_tests::{environment, tasks, wait};
use serde_json::{Value, json};

fn start(name: &str) -> (Cluster, Framework) {
    let cluster = Cluster::builder().start();
    let framework = Framework::subscribe(cluster.master_address, tasks::framework_info(name, "dev"));
    (cluster, framework)
}

/// Launches a task with this command, and gives its terminal status.
fn run(framework: &mut Framework, id: &str, command: Value) -> Value {
    launch(framework, id, command, Value::Null);
    ended(framework, id)
}

fn launch(framework: &mut Framework, id: &str, command: Value, more: Value) {
    let offer = framework.wait_any_offer();
    let mut task = tasks::command(id, tasks::agent_of(&offer), "");
    task["command"] = command;
    for (name, value) in more.as_object().into_iter().flatten() {
        task[name] = value.clone();
    }
    framework.launch(&offer, &[task]);
}

fn ended(framework: &mut Framework, id: &str) -> Value {
    let terminal = |event: &Value| {
        let status = &event["update"]["status"];
        status["task_id"]["value"] == id && tasks::is_terminal(status["state"].as_str().unwrap_or_default())
    };
    framework.wait_since(0, &format!("end of {id}"), terminal)["update"]["status"].clone()
}

fn sandbox(cluster: &Cluster, framework: &Framework, task: &str) -> PathBuf {
    let agent = &cluster.agent_ids()[0];
    cluster.agents[0].work_dir.join(format!("slaves/{agent}/frameworks/{}/executors/{task}/runs/latest", framework.id))
}

fn output(cluster: &Cluster, framework: &Framework, task: &str) -> String {
    fs::read_to_string(sandbox(cluster, framework, task).join("stdout")).unwrap()
}

#[test]
fn commands_end_as_they_do_in_mesos() {
    let (_cluster, mut framework) = start("ends");
    for (id, command, state, message) in [
        ("zero", json!({"value": "exit 0"}), "TASK_FINISHED", "Command exited with status 0"),
        ("three", json!({"value": "exit 3"}), "TASK_FAILED", "Command exited with status 3"),
        (
            "signal",
            json!({"value": "kill -SEGV $$"}),
            "TASK_FAILED",
            "Command terminated with signal Segmentation fault",
        ),
        (
            "missing",
            json!({"value": "/no/such/program", "shell": false, "arguments": ["x"]}),
            "TASK_FAILED",
            "Command exited with status 1",
        ),
        ("unknown", json!({"value": "no-such-program-anywhere"}), "TASK_FAILED", "Command exited with status 127"),
    ] {
        let status = run(&mut framework, id, command);
        let message_said = status["message"].as_str().unwrap_or_default().replace(" (core dumped)", "");
        assert_eq!((status["state"].as_str(), message_said.as_str()), (Some(state), message), "{id}: {status}");
        assert_eq!(status["source"], "SOURCE_EXECUTOR", "{id}: {status}");
    }
}

#[test]
fn a_command_is_a_line_or_words() {
    let (cluster, mut framework) = start("words");
    run(&mut framework, "line", json!({"value": "echo \"$0 $#\" one   two", "arguments": ["ignored"]}));
    assert_eq!(output(&cluster, &framework, "line"), "sh 0 one two\n");
    run(
        &mut framework,
        "words",
        json!({"value": "/bin/echo", "shell": false, "arguments": ["not printed", "one   two", "$HOME"]}),
    );
    assert_eq!(output(&cluster, &framework, "words"), "one   two $HOME\n");
}

#[test]
fn the_environment_is_the_tasks_own() {
    let (cluster, mut framework) = start("environment");
    let variables = json!([{"name": "GREETING", "value": "hello world"}, {"name": "EMPTY", "value": ""}, {"name": "MESOS_SANDBOX", "value": "/mine"}]);
    run(
        &mut framework,
        "env",
        json!({"value": "env -0 | tr '\\0' '\\n'; pwd >&2", "environment": {"variables": variables}}),
    );
    let text = output(&cluster, &framework, "env");
    let lines: Vec<&str> = text.lines().collect();
    for expected in
        ["GREETING=hello world", "EMPTY=", "MESOS_SANDBOX=/mine", "MESOS_ALLOCATION_ROLE=dev", "MESOS_CHECKPOINT=1"]
    {
        assert!(lines.contains(&expected), "{expected} is not in:\n{text}");
    }
    for (name, value) in [
        ("MESOS_TASK_ID", None),
        ("MESOS_FRAMEWORK_ID", Some(framework.id.as_str())),
        ("MESOS_EXECUTOR_ID", Some("env")),
    ] {
        let found = lines.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        assert_eq!(found, value, "{name}");
    }
    assert!(!text.contains(mezzo_tests::part::MARK), "the agent's own environment must not reach tasks:\n{text}");
    let place = fs::read_to_string(sandbox(&cluster, &framework, "env").join("stderr")).unwrap();
    assert_eq!(PathBuf::from(place.trim()), sandbox(&cluster, &framework, "env").canonicalize().unwrap());
}

#[test]
fn files_are_fetched() {
    let (cluster, mut framework) = start("fetch");
    let dir = cluster.dir().join("files");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("plain.txt"), "plain").unwrap();
    fs::write(dir.join("program"), "#!/bin/sh\necho it runs\n").unwrap();
    fs::write(dir.join("inner.txt"), "packed").unwrap();
    let packed = std::process::Command::new("tar")
        .args(["-czf", "packed.tar.gz", "inner.txt"])
        .current_dir(&dir)
        .status()
        .unwrap();
    assert!(packed.success());
    let server = serve_once("from a server");
    let at = |name: &str| format!("file://{}", dir.join(name).display());
    let uris = json!([
        {"value": at("plain.txt")},
        {"value": dir.join("plain.txt").display().to_string(), "output_file": "sub/other.txt"},
        {"value": at("program"), "executable": true},
        {"value": at("packed.tar.gz")},
        {"value": at("packed.tar.gz"), "extract": false, "output_file": "kept.tar.gz"},
        {"value": server},
    ]);
    let status = run(
        &mut framework,
        "fetch",
        json!({"value": "cat plain.txt sub/other.txt inner.txt served; ./program; test -f kept.tar.gz", "uris": uris}),
    );
    assert_eq!(status["state"], "TASK_FINISHED", "{status}");
    assert_eq!(output(&cluster, &framework, "fetch"), "plainplainpackedfrom a serverit runs\n");
}

/// An HTTP server for one file; gives its URL.
fn serve_once(content: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/served", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 4096];
        let _ = stream.read(&mut request);
        let _ = write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{content}",
            content.len()
        );
    });
    url
}

#[test]
fn a_task_runs_as_its_user() {
    if !environment::is_root() {
        return environment::skip("only root can run tasks as others");
    }
    let (cluster, mut framework) = start("user");
    // Another user must be able to reach its sandbox.
    fs::set_permissions(cluster.dir(), fs::Permissions::from_mode(0o755)).unwrap();
    run(&mut framework, "user", json!({"value": "id -un; touch mine", "user": "nobody"}));
    assert_eq!(output(&cluster, &framework, "user"), "nobody\n");
    let owner = fs::metadata(sandbox(&cluster, &framework, "user").join("mine")).unwrap().uid();
    assert_ne!(owner, 0);
    let status = run(&mut framework, "nobody-at-all", json!({"value": "true", "user": "no-such-user-anywhere"}));
    assert_eq!(status["state"], "TASK_FAILED", "{status}");
}

#[test]
fn a_sandbox_has_mesos_layout() {
    let (cluster, mut framework) = start("layout");
    run(&mut framework, "layout", json!({"value": "echo out; echo err >&2; echo more > file"}));
    let latest = sandbox(&cluster, &framework, "layout");
    let link = fs::read_link(&latest).unwrap();
    let container = link.file_name().unwrap().to_str().unwrap();
    assert!(uuid::Uuid::parse_str(container).is_ok(), "{}", link.display());
    let run_dir = fs::metadata(latest.parent().unwrap().join(container)).unwrap();
    assert_eq!(run_dir.permissions().mode() & 0o7777, 0o750);
    assert_eq!(
        (output(&cluster, &framework, "layout"), fs::read_to_string(latest.join("stderr")).unwrap()),
        ("out\n".to_owned(), "err\n".to_owned())
    );
    // The same through the agent's endpoints, by the real path and by the virtual one.
    let agent = cluster.agents[0].address;
    let virtual_path = format!("/frameworks/{}/executors/layout/runs/latest", framework.id);
    for base in [latest.canonicalize().unwrap().display().to_string(), latest.display().to_string(), virtual_path] {
        let names: Vec<String> = http::get_json(agent, &format!("/files/browse?path={base}"))
            .as_array()
            .unwrap()
            .iter()
            .map(|file| file["path"].as_str().unwrap().rsplit('/').next().unwrap().to_owned())
            .collect();
        assert_eq!(names, ["file", "stderr", "stdout"], "{base}");
        assert_eq!(
            http::get_json(agent, &format!("/files/read?path={base}/stdout&offset=1&length=2"))["data"],
            "ut",
            "{base}"
        );
        let whole = http::send(agent, &Request::get(&format!("/files/download?path={base}/file"))).unwrap();
        assert_eq!((whole.status(), whole.text().as_str()), (200, "more\n"), "{base}");
    }
    for outside in ["/etc/passwd", "../../../../../../../../etc/passwd", "%2e%2e/%2e%2e/%2e%2e/etc/passwd"] {
        for path in [outside.to_owned(), format!("{}/{outside}", latest.display())] {
            let answer = http::send(agent, &Request::get(&format!("/files/read?path={path}&offset=0"))).unwrap();
            assert_eq!(answer.status(), 404, "{path}: {}", answer.text());
        }
    }
}

#[test]
fn a_kill_is_gentle_first() {
    let (cluster, mut framework) = start("kill");
    launch(
        &mut framework,
        "gentle",
        json!({"value": "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.1; done"}),
        Value::Null,
    );
    launch(
        &mut framework,
        "stubborn",
        json!({"value": "trap '' TERM; echo up; while :; do sleep 0.1; done"}),
        Value::Null,
    );
    launch(&mut framework, "parent", json!({"value": "sleep 1000 & sleep 1000 & echo up; wait"}), Value::Null);
    for task in ["gentle", "stubborn", "parent"] {
        framework.wait_status(task, "TASK_RUNNING");
        wait::until_true("the task is up", || output(&cluster, &framework, task) == "up\n");
    }
    let start = Instant::now();
    framework.call("KILL", json!({"task_id": {"value": "gentle"}}));
    assert_eq!(ended(&mut framework, "gentle")["state"], "TASK_KILLED");
    assert_eq!(output(&cluster, &framework, "gentle"), "up\nbye\n");
    framework.call("KILL", json!({"task_id": {"value": "parent"}}));
    assert_eq!(ended(&mut framework, "parent")["message"], "Command terminated with signal Terminated");
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    let start = Instant::now();
    framework.call(
        "KILL",
        json!({"task_id": {"value": "stubborn"}, "kill_policy": {"grace_period": {"nanoseconds": 1_000_000_000_i64}}}),
    );
    framework.wait_status("stubborn", "TASK_KILLING");
    assert_eq!(ended(&mut framework, "stubborn")["message"], "Command terminated with signal Killed");
    assert!((0.9..2.5).contains(&start.elapsed().as_secs_f64()), "{:?}", start.elapsed());
    wait::until_true("no child of a killed task stays", || {
        cluster.children().iter().all(|process| !process.command.contains("sleep 1000"))
    });
}

#[test]
fn a_task_may_run_only_so_long() {
    let (_cluster, mut framework) = start("time");
    launch(
        &mut framework,
        "slow",
        json!({"value": "sleep 1000"}),
        json!({"max_completion_time": {"nanoseconds": 500_000_000}}),
    );
    let status = ended(&mut framework, "slow");
    assert_eq!(
        (status["state"].as_str(), status["reason"].as_str()),
        (Some("TASK_FAILED"), Some("REASON_MAX_COMPLETION_TIME_REACHED")),
        "{status}"
    );
}
