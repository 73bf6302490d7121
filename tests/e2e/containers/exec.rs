//! Sessions in tasks: `mezzo task exec` and `attach`, at a real terminal and through pipes.

use std::io::{Read, Write};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use mezzo_api::v1::agent::ProcessIo;
use mezzo_tests::cluster::Cluster;
use mezzo_tests::framework::Framework;
use mezzo_tests::stream::{Arrival, EventStream};
use mezzo_tests::terminal::Terminal;
use mezzo_tests::{environment, http, leftovers, tasks, wait};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::{USUAL, World};

fn start(name: &str) -> (Cluster, Framework) {
    let cluster = Cluster::builder().start();
    let framework = Framework::subscribe(cluster.master_address, tasks::framework_info(name, "dev"));
    (cluster, framework)
}

/// A task that runs until it is killed, in the container that is asked for.
fn runs(framework: &mut Framework, id: &str, command: &str, container: Value) {
    let offer = framework.wait_any_offer();
    let mut task = tasks::command(id, tasks::agent_of(&offer), command);
    if !container.is_null() {
        task["container"] = container;
    }
    framework.launch(&offer, &[task]);
    framework.wait_status(id, "TASK_RUNNING");
}

fn mezzo(cluster: &Cluster, arguments: &[&str]) -> Command {
    let mut command = Command::new(environment::binary("mezzo"));
    command
        .arg("task")
        .arg(arguments[0])
        .arg(format!("--master={}", cluster.master_address))
        .args(&arguments[1..])
        .env(mezzo_tests::part::MARK, cluster.dir())
        .stdin(Stdio::null());
    command
}

fn exec(cluster: &Cluster, arguments: &[&str]) -> Output {
    let all: Vec<&str> = ["exec"].iter().chain(arguments).copied().collect();
    mezzo(cluster, &all).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_terminal_in_a_task() {
    let (cluster, mut framework) = start("terminal");
    runs(&mut framework, "task", "sleep 1000", Value::Null);
    let mut terminal = Terminal::start(&mezzo(&cluster, &["exec", "-it", "task", "sh"]), 24, 80);
    terminal.enter("stty size; tty >/dev/null && echo is-a-$((1))tty\n");
    terminal.until("24 80");
    terminal.until("is-a-1tty");
    terminal.resize(50, 132);
    // The new size is on its way.
    terminal.enter("while [ \"$(stty size)\" != '50 132' ]; do sleep 0.1; done; echo resize$((d=4))d\n");
    terminal.until("resize4d");
    terminal.enter("sleep 1234\n");
    let sleeps = || !leftovers::that_run(cluster.dir(), "sleep 1234").is_empty();
    wait::until_true("the command runs", sleeps);
    terminal.enter("\u{3}");
    wait::until_true("Ctrl-C ends it", || !sleeps());
    terminal.enter("echo still$((1))here; exit 7\n");
    terminal.until("still1here");
    assert_eq!(terminal.code(), Some(7));
    // Without a terminal here there is none over there.
    let refused = exec(&cluster, &["-t", "task", "true"]);
    assert_eq!(refused.status.code(), Some(125));
    assert!(text(&refused.stderr).contains("--tty needs a terminal"), "{}", text(&refused.stderr));
    // Detaching ends what ran.
    let mut terminal = Terminal::start(&mezzo(&cluster, &["exec", "-it", "task", "sh"]), 24, 80);
    terminal.enter("exec sleep 1235\n");
    let sleeps = || !leftovers::that_run(cluster.dir(), "sleep 1235").is_empty();
    wait::until_true("the command runs", sleeps);
    terminal.enter("\u{10}\u{11}");
    assert_eq!(terminal.code(), Some(0));
    wait::until_true("the session ends with its client", || !sleeps());
    framework.teardown();
}

/// Whoever ends `mezzo` from elsewhere gets the terminal back as it was.
#[test]
fn a_signal_leaves_the_terminal_as_it_was() {
    let (cluster, mut framework) = start("signals");
    let container = json!({"type": "MESOS", "tty_info": {"window_size": {"rows": 30, "columns": 90}}});
    let script = "while read line; do echo \"got $line\"; done";
    runs(&mut framework, "task", script, container);
    for (signal, code) in [(Signal::SIGTERM, 143), (Signal::SIGHUP, 129)] {
        let mut terminal = Terminal::start(&mezzo(&cluster, &["exec", "-it", "task", "sh"]), 24, 80);
        terminal.enter("echo read$((1))y; exec sleep 1237\n");
        terminal.until("read1y");
        let sleeps = || !leftovers::that_run(cluster.dir(), "sleep 1237").is_empty();
        wait::until_true("the command runs", sleeps);
        assert!(terminal.is_raw());
        terminal.signal(signal);
        assert_eq!(terminal.code(), Some(code));
        assert!(!terminal.is_raw(), "{signal} leaves it raw");
        wait::until_true("the session ends with its client", || !sleeps());
        // Who is attached only leaves the task alone.
        let mut terminal = Terminal::start(&mezzo(&cluster, &["attach", "task"]), 24, 80);
        wait::until_true("the terminal is attached", || {
            terminal.enter(&format!("{signal}\n"));
            std::thread::sleep(Duration::from_millis(300));
            terminal.has(&format!("got {signal}"))
        });
        assert!(terminal.is_raw());
        terminal.signal(signal);
        assert_eq!(terminal.code(), Some(code));
        assert!(!terminal.is_raw(), "{signal} leaves it raw");
    }
    assert!(framework.statuses("task").iter().all(|status| status["state"] != "TASK_FINISHED"));
    framework.teardown();
}

/// Both kinds of stream: of a session, and of a task that writes to its files itself.
#[test]
fn streams_of_output_carry_signs_of_life() {
    let cluster = Cluster::builder().agent_flag("--http_heartbeat_interval=200ms").start();
    let mut framework = Framework::subscribe(cluster.master_address, tasks::framework_info("signs", "dev"));
    runs(&mut framework, "task", "sleep 1000", Value::Null);
    let container = framework.wait_status("task", "TASK_RUNNING")["container_status"]["container_id"].clone();
    let session =
        json!({"container_id": {"value": "session", "parent": container}, "command": {"value": "sleep 1000"}});
    for (kind, part) in
        [("ATTACH_CONTAINER_OUTPUT", json!({"container_id": container})), ("LAUNCH_NESTED_CONTAINER_SESSION", session)]
    {
        let call = json!({"type": kind, kind.to_ascii_lowercase(): part}).to_string();
        let request = http::Request::post("/api/v1", "application/json", call)
            .header("Accept", "application/recordio")
            .header("Message-Accept", "application/json");
        let stream = EventStream::open::<ProcessIo>(cluster.agents[0].address, &request).unwrap().unwrap();
        for _ in 0..2 {
            let beat = json!({"type": "CONTROL", "control": {"type": "HEARTBEAT",
                              "heartbeat": {"interval": {"nanoseconds": 200_000_000}}}});
            assert_eq!(stream.next(wait::PATIENCE).expect("a sign of life").1, Arrival::Event(beat), "{kind}");
        }
    }
    framework.teardown();
}

#[test]
fn pipes_carry_everything_and_the_exit_code() {
    let (cluster, mut framework) = start("pipes");
    runs(&mut framework, "task", "echo here > a.txt; VARIABLE=value exec sleep 1000", Value::Null);
    wait::until_true("the task's file is there", || exec(&cluster, &["task", "cat", "a.txt"]).stdout == b"here\n");
    let output =
        exec(&cluster, &["task", "sh", "-c", "echo $VARIABLE; echo problem >&2; pwd; echo $MESOS_SANDBOX; exit 10"]);
    let (said, problem) = (text(&output.stdout), text(&output.stderr));
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(
        (output.status.code(), problem.as_str(), lines.len(), lines[0]),
        (Some(10), "problem\n", 3, "value"),
        "{said}"
    );
    assert_eq!(lines[1], lines[2], "it does not begin in the sandbox of its task");
    assert_eq!(exec(&cluster, &["task", "sh", "-c", "kill -9 $$"]).status.code(), Some(137));
    let missing = exec(&cluster, &["task", "no-such-program"]);
    assert_eq!((missing.status.code(), text(&missing.stderr).contains("No such file")), (Some(1), true));
    let unknown = exec(&cluster, &["no-such-task", "true"]);
    assert_eq!(unknown.status.code(), Some(125));

    // 10 MB through the task and back, to a reader that is slow at first.
    let all: Vec<u8> = (0..10_000_000_u32).map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes()[2]).collect();
    let mut cat =
        mezzo(&cluster, &["exec", "-i", "task", "cat"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut stdin, given) = (cat.stdin.take().unwrap(), all.clone());
    let writing = std::thread::spawn(move || stdin.write_all(&given));
    std::thread::sleep(Duration::from_secs(1));
    // Meanwhile another one is not held up.
    assert_eq!(exec(&cluster, &["task", "echo", "quick"]).stdout, b"quick\n");
    let mut received = Vec::new();
    cat.stdout.take().unwrap().read_to_end(&mut received).unwrap();
    writing.join().unwrap().unwrap();
    assert!(received == all, "{} of {} bytes, or others", received.len(), all.len());
    assert_eq!(cat.wait().unwrap().code(), Some(0));

    // A client that is killed takes its command along.
    let mut client = mezzo(&cluster, &["exec", "task", "sleep", "1236"]).spawn().unwrap();
    let sleeps = || !leftovers::that_run(cluster.dir(), "sleep 1236").iter().all(|one| one.command.contains("mezzo"));
    wait::until_true("the command runs", sleeps);
    client.kill().unwrap();
    client.wait().unwrap();
    wait::until_true("it ends with its client", || !sleeps());
    framework.teardown();
}

#[test]
fn a_session_outlives_its_agent() {
    let (mut cluster, mut framework) = start("outlives");
    runs(&mut framework, "task", "sleep 1000", Value::Null);
    let mut terminal = Terminal::start(&mezzo(&cluster, &["exec", "-it", "task", "sh"]), 24, 80);
    terminal.enter("value=kept; echo read$((1))y\n");
    terminal.until("read1y");
    cluster.restart_agent(0);
    cluster.wait_until_registered(1);
    wait::until_true("the session goes on", || {
        terminal.enter("echo \"($value)\"\n");
        std::thread::sleep(Duration::from_millis(500));
        terminal.has("(kept)")
    });
    terminal.enter("exit 3\n");
    assert_eq!(terminal.code(), Some(3));
    // What runs on while nobody is there is held, and its exit code kept.
    let mut client = mezzo(&cluster, &["exec", "task", "sh", "-c", "echo one; sleep 3; echo two; exit 4"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = [0; 4];
    let mut stdout = client.stdout.take().unwrap();
    stdout.read_exact(&mut first).unwrap();
    cluster.agents[0].part.kill();
    std::thread::sleep(Duration::from_secs(1));
    cluster.agents[0].part.start();
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    assert_eq!((&first, rest.as_str(), client.wait().unwrap().code()), (b"one\n", "two\n", Some(4)));
    framework.teardown();
}

#[test]
fn attaching_to_every_kind_of_task() {
    let (cluster, mut framework) = start("attach");
    // A task with a terminal.
    let container = json!({"type": "MESOS", "tty_info": {"window_size": {"rows": 30, "columns": 90}}});
    let script = "stty size; while read line; do echo \"got $line\"; [ \"$line\" = end ] && exit 5; done";
    runs(&mut framework, "shell", script, container);
    let mut terminal = Terminal::start(&mezzo(&cluster, &["attach", "shell"]), 24, 80);
    wait::until_true("the terminal is attached", || {
        terminal.enter("hello\n");
        std::thread::sleep(Duration::from_millis(300));
        terminal.has("got hello")
    });
    terminal.enter("\u{10}\u{11}");
    assert_eq!(terminal.code(), Some(0));
    assert_eq!(exec(&cluster, &["shell", "head", "-1", "stdout"]).stdout, b"30 90\r\n");
    let mut terminal = Terminal::start(&mezzo(&cluster, &["attach", "shell"]), 24, 80);
    wait::until_true("it goes on after detaching", || {
        terminal.enter("again\n");
        std::thread::sleep(Duration::from_millis(300));
        terminal.has("got again")
    });
    terminal.enter("end\n");
    assert_eq!(terminal.code(), Some(5));
    framework.wait_status("shell", "TASK_FAILED");

    // One that writes to its files itself.
    let go = cluster.dir().join("go");
    let script = format!(
        "echo before; while ! [ -e {} ]; do sleep 0.05; done; echo after; echo problem >&2; exit 6",
        go.display()
    );
    runs(&mut framework, "plain", &script, Value::Null);
    let client = mezzo(&cluster, &["attach", "plain"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(Duration::from_secs(1));
    std::fs::write(&go, "").unwrap();
    let output = client.wait_with_output().unwrap();
    let seen = (text(&output.stdout), text(&output.stderr), output.status.code());
    assert_eq!(seen, ("after\n".to_owned(), "problem\n".to_owned(), Some(6)));
    framework.teardown();
}

/// In a container that is kept from others the session is kept with it.
#[test]
fn a_session_is_within_its_isolated_container() {
    let Some(mut world) = World::start(&format!("{USUAL},linux/nnp"), &[]) else { return };
    world.launch(|agent| vec![super::task("task", agent, (0.1, 64.0), "exec sleep 1300")]);
    let container = world.container("task");
    let run = |script: &str| {
        let output = exec(&world.cluster, &["task", "sh", "-c", script]);
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let seen = run(
        "ps -e -o args= | grep -c 'sleep 1300$'; grep NoNewPrivs /proc/self/status; grep -c . /proc/self/cgroup >/dev/null && grep memory /proc/self/cgroup; exit 9",
    );
    assert_eq!(seen.0, Some(9), "{seen:?}");
    let lines: Vec<&str> = seen.1.lines().collect();
    assert_eq!(lines[..2], ["1", "NoNewPrivs:\t1"], "{seen:?}");
    if let Some(memory) = lines.get(2) {
        assert!(memory.contains(&container), "not in the cgroup of its container: {seen:?}");
    }
    // What detaches itself in there ends with the session, and all of it with the task.
    assert_eq!(run("(setsid sleep 1301 >/dev/null 2>&1 </dev/null &); exit 0").0, Some(0));
    wait::until_true("nothing of the session is left", || {
        leftovers::that_run(world.cluster.dir(), "sleep 1301").is_empty()
    });
    let mut client = mezzo(&world.cluster, &["exec", "task", "sleep", "1302"]).spawn().unwrap();
    wait::until_true("the command runs", || {
        !leftovers::that_run(world.cluster.dir(), "sleep 1302").iter().all(|one| one.command.contains("mezzo"))
    });
    world.framework.call("KILL", json!({"task_id": {"value": "task"}}));
    world.framework.wait_status("task", "TASK_KILLED");
    assert_eq!(client.wait().unwrap().code(), Some(137));
    world.wait_until_nothing_is_left();
}
