//! `mezzo local` and `mezzo run` as users run them: the real program, real processes, nothing left behind.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, ExitStatus, Output, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;

const RESOURCES: &str = "cpus:4;mem:2048;disk:1024;ports:[31000-31100]";
/// Nothing here takes long; what hangs, fails.
const PATIENCE: Duration = Duration::from_secs(60);

fn mezzo() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mezzo"));
    command.stdin(Stdio::null()).env_remove("MEZZO_MASTER").env_remove("MESOS_MASTER");
    command
}

fn until<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        sleep(Duration::from_millis(10));
    }
}

/// A running `mezzo local`.
struct Local {
    child: Child,
    stdout: BufReader<std::process::ChildStdout>,
    /// Its temporary directories are in here.
    temporary: TempDir,
    master: String,
}

impl Local {
    fn start(arguments: &[&str]) -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut child = mezzo()
            .arg("local")
            .arg(format!("--port={port}"))
            .arg(format!("--resources={RESOURCES}"))
            .args(arguments)
            .env("TMPDIR", temporary.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let mut local = Self { child, stdout, temporary, master: format!("127.0.0.1:{port}") };
        local.wait_for_line("end");
        local
    }

    /// Reads what it says until a line begins with this word.
    fn wait_for_line(&mut self, word: &str) -> String {
        let mut all = String::new();
        loop {
            let mut line = String::new();
            assert_ne!(self.stdout.read_line(&mut line).unwrap(), 0, "no line '{word}' in:\n{all}");
            all.push_str(&line);
            if line.trim_start().starts_with(word) {
                return all;
            }
        }
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap())
    }

    fn run(&self, arguments: &[&str]) -> Command {
        let mut command = mezzo();
        command.arg("run").arg(format!("--master={}", self.master)).args(arguments);
        command
    }

    fn output(&self, arguments: &[&str]) -> Output {
        self.run(arguments).output().unwrap()
    }

    fn end(&mut self, signal: Signal) -> ExitStatus {
        kill(self.pid(), signal).unwrap();
        until("the end of mezzo local", || self.child.try_wait().unwrap())
    }

    fn files(&self) -> Vec<String> {
        fs::read_dir(self.temporary.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        if self.child.try_wait().unwrap().is_none() {
            let _ = kill(self.pid(), Signal::SIGTERM);
            let _ = self.child.wait();
        }
    }
}

/// Parent and start time of a living process.
fn stat(pid: i32) -> Option<(i32, String)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<_> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    if *fields.first()? == "Z" {
        return None;
    }
    Some((fields.get(1)?.parse().ok()?, (*fields.get(19)?).to_owned()))
}

/// All processes below one, with their start times: pids come again.
fn below(root: Pid) -> Vec<(i32, String)> {
    let all: Vec<_> = fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.parse::<i32>().ok())
        .filter_map(|pid| stat(pid).map(|(parent, start)| (pid, parent, start)))
        .collect();
    let mut found = vec![(root.as_raw(), String::new())];
    let mut at = 0;
    while let Some((parent, _)) = found.get(at).cloned() {
        found.extend(all.iter().filter(|(_, of, _)| *of == parent).map(|(pid, _, start)| (*pid, start.clone())));
        at += 1;
    }
    found.split_off(1)
}

fn lives((pid, start): &(i32, String)) -> bool {
    stat(*pid).is_some_and(|(_, now)| now == *start)
}

/// A task that runs, ignores SIGTERM and has a child of its own, until killed.
fn stubborn_task(local: &Local) -> Child {
    let mut run = local
        .run(&["-q", "--shell", "--", "trap '' TERM; echo begun; sleep 1000 & while :; do sleep 1; done"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(run.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "begun\n");
    run
}

#[test]
fn a_command_runs_with_its_output_and_its_code() {
    let local = Local::start(&["--agents=2"]);
    let output = local.output(&["--", "echo", "a  b"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), b"a  b\n".as_slice()), "{said}");
    assert!(said.contains("finished"), "{said}");

    for (arguments, code, stdout, stderr) in [
        (&["-q", "--", "true"][..], 0, "", ""),
        (&["-q", "--", "false"], 1, "", ""),
        (&["-q", "--shell", "--", "echo out; echo err >&2; exit 3"], 3, "out\n", "err\n"),
        (&["-q", "--shell", "--", "kill -9 $$"], 128 + 9, "", ""),
        (&["-q", "--shell", "--", "kill -TERM $$"], 128 + 15, "", ""),
        (&["-q", "--env", "A=b c", "--shell", "--", "echo \"$A\""], 0, "b c\n", ""),
        (&["-q", "--", "sh", "-c", "printf '%s|' \"$@\"", "x", "1 2", "", "$HOME"], 0, "1 2||$HOME|", ""),
    ] {
        let output = local.output(arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {output:?}");
        assert_eq!(String::from_utf8_lossy(&output.stdout), stdout, "{arguments:?}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), stderr, "{arguments:?}");
    }
}

#[test]
fn output_comes_while_the_task_runs_and_whole() {
    let local = Local::start(&[]);
    let begun = Instant::now();
    let mut run = local.run(&["-q", "--shell", "--", "echo first; sleep 30"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(run.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "first\n");
    assert!(begun.elapsed() < Duration::from_secs(20));
    // Ctrl-C kills the task
    kill(Pid::from_raw(i32::try_from(run.id()).unwrap()), Signal::SIGINT).unwrap();
    assert_eq!(run.wait().unwrap().code(), Some(130));

    // more than one read, and every byte that there is
    let output = local.output(&["-q", "--shell", "--", "seq 200000; printf '\\0\\377\\200'"]);
    let expected: Vec<u8> = (1..=200_000).flat_map(|n| format!("{n}\n").into_bytes()).chain([0, 0xff, 0x80]).collect();
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stdout == expected, "{} of {} bytes", output.stdout.len(), expected.len());
}

#[test]
fn what_cannot_be_placed_is_explained() {
    let local = Local::start(&[]);
    let output = local.output(&["--resources=cpus:100;mem:64", "--timeout=0.5", "--", "true"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(124), "{said}");
    for text in ["cpus:100", "1 agent", "cpus 4 of 4 free"] {
        assert!(said.contains(text), "no '{text}' in:\n{said}");
    }
}

#[test]
fn without_a_master_there_is_an_error_at_once() {
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let begun = Instant::now();
    let output = mezzo().args(["run", "--", "true"]).env("MESOS_MASTER", address.to_string()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(125), "{said}");
    assert!(said.contains(&address.to_string()) && said.contains("mezzo local"), "{said}");
    assert!(begun.elapsed() < Duration::from_secs(10));
    for (arguments, text) in
        [(["--master=zk://a:1", "--", "true"], "no path"), (["--resources=cpus:many", "--", "true"], "cpus:many")]
    {
        let output = mezzo().arg("run").args(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(text), "{said}");
    }
}

#[test]
fn ctrl_c_ends_everything_and_leaves_nothing() {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let mut local = Local::start(&["--agents=2"]);
        let mut run = stubborn_task(&local);
        let processes = below(local.pid());
        assert!(processes.len() >= 6, "{processes:?}"); // master, agents, and the task's own
        assert_eq!(local.files().len(), 1);
        assert_eq!(local.end(signal).code(), Some(0));
        assert_eq!(processes.iter().filter(|process| lives(process)).collect::<Vec<_>>(), Vec::<&(i32, String)>::new());
        assert_eq!(local.files(), Vec::<String>::new());
        let _ = run.kill();
        run.wait().unwrap();
    }
}

#[test]
fn a_part_that_dies_is_named_and_the_rest_ends() {
    let mut local = Local::start(&["--agents=2"]);
    let processes = below(local.pid());
    let agent = processes.iter().find(|(pid, _)| command_line(*pid).contains("agent-2")).unwrap();
    kill(Pid::from_raw(agent.0), Signal::SIGKILL).unwrap();
    let status = until("the end of mezzo local", || local.child.try_wait().unwrap());
    assert_eq!(status.code(), Some(1));
    assert!(!processes.iter().any(lives));
    assert_eq!(local.files(), Vec::<String>::new());
}

fn command_line(pid: i32) -> String {
    String::from_utf8_lossy(&fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default()).replace('\0', " ")
}

#[test]
fn its_children_do_not_outlive_it_even_if_it_is_killed() {
    let mut local = Local::start(&[]);
    let mut run = stubborn_task(&local);
    let processes = below(local.pid());
    local.end(Signal::SIGKILL);
    until("the end of its processes", || (!processes.iter().any(lives)).then_some(()));
    let _ = run.kill();
    run.wait().unwrap();
}

#[test]
fn a_directory_of_the_users_is_kept_and_used_again() {
    let dir = tempfile::tempdir().unwrap();
    let flag = format!("--work_dir={}", dir.path().display());
    for _ in 0..2 {
        let mut local = Local::start(&[&flag]);
        assert_eq!(local.output(&["-q", "--", "true"]).status.code(), Some(0));
        assert_eq!(local.end(Signal::SIGINT).code(), Some(0));
    }
    assert!(Path::new(dir.path()).join("master.log").is_file());
}

#[test]
fn the_demo_runs_a_task() {
    let mut local = Local::start(&["--demo"]);
    let said = local.wait_for_line("Hello from a task");
    assert!(said.contains(&format!("run --master={} --shell", local.master)), "{said}");
}

#[test]
fn a_taken_port_is_an_error_if_it_was_asked_for() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let output = mezzo().arg("local").arg(format!("--port={port}")).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(&port.to_string()), "{said}");
}
