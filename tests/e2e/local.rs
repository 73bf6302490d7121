//! `mezzo local` and `mezzo run`, as a stranger uses them.

use std::fs::{self, File};
use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use mezzo_tests::http::{self, Request};
use mezzo_tests::ports::Ports;
use mezzo_tests::{environment, leftovers, part, wait};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

/// A user that owns nothing.
const NOBODY: u32 = 65534;

/// A running `mezzo local`; everything of it is in `dir`.
struct Local {
    child: Child,
    mezzo: PathBuf,
    address: SocketAddr,
    user: Option<u32>,
    dir: TempDir,
    _ports: Ports,
}

impl Local {
    fn start(arguments: &[&str]) -> Self {
        Self::start_as(None, arguments)
    }

    fn start_as(user: Option<u32>, arguments: &[&str]) -> Self {
        let dir = tempfile::Builder::new().prefix("mezzo-test-").tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
        fs::create_dir(dir.path().join("tmp")).unwrap();
        fs::set_permissions(dir.path().join("tmp"), fs::Permissions::from_mode(0o777)).unwrap();
        // Whoever runs it must be able to read it.
        let mezzo = dir.path().join("mezzo");
        fs::copy(environment::binary("mezzo"), &mezzo).unwrap();
        let mut ports = Ports::reserve();
        let address = SocketAddr::from(([127, 0, 0, 1], ports.take()));
        let mut command = Command::new(&mezzo);
        command.arg("local").arg(format!("--port={}", address.port())).args(arguments).current_dir(dir.path());
        command.env("TMPDIR", dir.path().join("tmp")).env(part::MARK, dir.path()).stdin(Stdio::null());
        command
            .stdout(File::create(dir.path().join("stdout")).unwrap())
            .stderr(File::create(dir.path().join("stderr")).unwrap());
        if let Some(user) = user {
            command.uid(user).gid(user);
        }
        let child = command.spawn().unwrap();
        let mut local = Self { child, mezzo, address, user, dir, _ports: ports };
        local.wait_for(&format!("http://{address}"));
        local
    }

    fn said(&self) -> String {
        let read = |name: &str| fs::read_to_string(self.dir.path().join(name)).unwrap_or_default();
        format!("{}\n{}", read("stdout"), read("stderr"))
    }

    fn wait_for(&mut self, text: &str) {
        wait::until(&format!("mezzo local says {text:?}"), || {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "mezzo local ended: {ended:?}\n{}\n{}", self.said(), self.logs());
            self.said().contains(text).then_some(())
        });
    }

    /// The ends of the logs of its parts.
    fn logs(&self) -> String {
        let mut text = String::new();
        for path in files(&self.dir.path().join("tmp"))
            .into_iter()
            .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        {
            let log = fs::read_to_string(&path).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            text += &format!("---- {}\n{}\n", path.display(), lines[lines.len().saturating_sub(40)..].join("\n"));
        }
        text
    }

    fn run_command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.mezzo);
        command.arg("run").arg(format!("--master={}", self.address)).args(arguments).current_dir(self.dir.path());
        command.env(part::MARK, self.dir.path()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.run_command(arguments).output().unwrap()
    }

    /// Asks it to end, and checks that nothing of it stays.
    fn end(mut self, signal: Signal) {
        send(&self.child, signal);
        let status = ended(&mut self.child, Duration::from_secs(25));
        assert!(status.success(), "mezzo local: {status}\n{}", self.said());
        assert_eq!(leftovers::of(self.dir.path()), [], "processes stay");
        assert_eq!(files(&self.dir.path().join("tmp")), Vec::<PathBuf>::new(), "files stay");
        assert!(TcpStream::connect(self.address).is_err(), "somebody still listens");
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}\n{}", self.said(), self.logs());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        leftovers::end(self.dir.path());
    }
}

fn send(child: &Child, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
}

fn ended(child: &mut Child, patience: Duration) -> ExitStatus {
    wait::until_within(patience, "it ends", || child.try_wait().unwrap())
}

/// Every file and directory below.
fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    entries
        .flat_map(|path| [vec![path.clone()], if path.is_dir() { files(&path) } else { Vec::new() }].concat())
        .collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_cluster_comes_up_runs_tasks_and_leaves_nothing() {
    let local = Local::start(&["--agents=2"]);
    let page = http::send(local.address, &Request::get("/")).unwrap();
    assert_eq!(page.status(), 200);
    assert!(page.head.header("Content-Type").is_some_and(|kind| kind.starts_with("text/html")), "{:?}", page.head);
    assert_eq!(http::get_json(local.address, "/slaves")["slaves"].as_array().unwrap().len(), 2);
    for (arguments, code) in [
        (vec!["--", "true"], 0),
        (vec!["--", "false"], 1),
        (vec!["--", "sh", "-c", "exit 7"], 7),
        (vec!["--shell", "--", "exit 7"], 7),
        (vec!["--shell", "--", "kill -9 $$"], 128 + 9),
    ] {
        let output = local.run(&arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}{}", text(&output.stdout), text(&output.stderr));
    }
    local.end(Signal::SIGINT);
}

#[test]
fn output_streams_as_it_comes() {
    let local = Local::start(&[]);
    let output = local.run(&[
        "--env",
        "GREETING=hello",
        "--shell",
        "--",
        "echo $GREETING; echo trouble >&2; printf 'no newline'",
    ]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), "hello\nno newline");
    assert!(text(&output.stderr).contains("trouble"), "{}", text(&output.stderr));
    // A large output comes whole.
    let output = local.run(&["-q", "--shell", "--", "seq 1 200000"]);
    let expected: String = (1..=200_000).map(|n| format!("{n}\n")).collect();
    assert!(text(&output.stdout) == expected, "{} of {} bytes came", output.stdout.len(), expected.len());
    // What is written is seen while the task runs.
    let mut child = local.run_command(&["--shell", "--", "echo first; sleep 3; echo second"]).spawn().unwrap();
    let mut first = [0; 6];
    child.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
    let came = Instant::now();
    assert_eq!(&first, b"first\n");
    let mut rest = String::new();
    child.stdout.as_mut().unwrap().read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "second\n");
    assert!(came.elapsed() > Duration::from_secs(1), "the first line came only {:?} before the second", came.elapsed());
    assert!(ended(&mut child, Duration::from_secs(10)).success());
    local.end(Signal::SIGTERM);
}

#[test]
fn an_end_under_way_ends_the_tasks_too() {
    let local = Local::start(&["--agents=2"]);
    let mut task =
        local.run_command(&["--shell", "--", "trap '' TERM; echo up; sleep 1000 & sleep 1000"]).spawn().unwrap();
    let mut up = [0; 3];
    task.stdout.as_mut().unwrap().read_exact(&mut up).unwrap();
    local.end(Signal::SIGINT);
    let status = ended(&mut task, Duration::from_secs(60));
    assert!(!status.success(), "the task is gone, and `mezzo run` says {status}");
}

#[test]
fn the_death_of_mezzo_local_ends_everything() {
    let mut local = Local::start(&["--agents=2"]);
    let mut task = local.run_command(&["--shell", "--", "echo up; sleep 1000"]).spawn().unwrap();
    let mut up = [0; 3];
    task.stdout.as_mut().unwrap().read_exact(&mut up).unwrap();
    let _ = task.kill();
    let _ = task.wait();
    local.child.kill().unwrap();
    local.child.wait().unwrap();
    leftovers::wait_until_gone(local.dir.path());
}

#[test]
fn an_interrupted_run_kills_its_task() {
    let local = Local::start(&[]);
    let mut run = local.run_command(&["--shell", "--", "echo up; exec sleep 1000"]).spawn().unwrap();
    let mut up = [0; 3];
    run.stdout.as_mut().unwrap().read_exact(&mut up).unwrap();
    send(&run, Signal::SIGINT);
    assert_eq!(ended(&mut run, Duration::from_secs(20)).code(), Some(130));
    wait::until_true("the task is gone", || {
        leftovers::of(local.dir.path()).iter().all(|process| !process.command.contains("sleep 1000"))
    });
    local.end(Signal::SIGINT);
}

#[test]
fn a_run_that_cannot_be_says_why() {
    let local = Local::start(&["--resources=cpus:1;mem:256"]);
    let nowhere =
        Command::new(&local.mezzo).args(["run", "--master=127.0.0.1:1", "--timeout=2", "--", "true"]).output().unwrap();
    assert_eq!(nowhere.status.code(), Some(125), "{}", text(&nowhere.stderr));
    assert!(text(&nowhere.stderr).contains("127.0.0.1:1"), "{}", text(&nowhere.stderr));
    let too_much = local.run(&["--resources=cpus:100", "--timeout=2", "--", "true"]);
    assert_eq!(too_much.status.code(), Some(124), "{}", text(&too_much.stderr));
    let missing = local.run(&["--", "/no/such/program"]);
    assert!(!missing.status.success());
    local.end(Signal::SIGINT);
}

#[test]
fn no_root_is_needed() {
    if !environment::is_root() {
        return environment::skip(
            "this process is not root, so it cannot become another user; the other tests show the same",
        );
    }
    let local = Local::start_as(Some(NOBODY), &["--demo"]);
    let output = local.run(&["-q", "--shell", "--", "id -u"]);
    assert_eq!((output.status.code(), text(&output.stdout).trim()), (Some(0), "65534"), "{}", text(&output.stderr));
    local.end(Signal::SIGINT);
}

#[test]
fn a_taken_port_is_said() {
    let local = Local::start(&[]);
    let output = Command::new(&local.mezzo)
        .args(["local", &format!("--port={}", local.address.port())])
        .env(part::MARK, local.dir.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains(&local.address.port().to_string()), "{}", text(&output.stderr));
    local.end(Signal::SIGINT);
}
