//! `cargo xtask examples`: runs each example against a fresh local cluster and checks what came of it.

use std::{
    fs::{self, File},
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::process::{PROFILE, cargo, command, run as run_command, step, target_dir};

#[derive(clap::Args, Default)]
pub(crate) struct Arguments {
    /// Only the example of this name.
    pub(crate) name: Option<String>,
}

/// Within this every example has come to its end, on a busy machine too.
const PATIENCE: Duration = Duration::from_secs(90);

type Check = fn(&Cluster) -> Result<()>;

const EXAMPLES: [(&str, Check); 6] = [
    ("hello", hello),
    ("batch", batch),
    ("executor", executor),
    ("pod", pod),
    ("service", service),
    ("stateful", stateful),
];

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    run_command(cargo().args(["build", "--profile", PROFILE, "--workspace", "--bins"]))?;
    check(arguments)
}

/// With what is built already.
pub(crate) fn check(arguments: &Arguments) -> Result<()> {
    let chosen: Vec<_> =
        EXAMPLES.iter().filter(|(name, _)| arguments.name.as_ref().is_none_or(|wanted| wanted == name)).collect();
    if chosen.is_empty() {
        bail!("there is no such example; there are: {}", EXAMPLES.map(|(name, _)| name).join(", "));
    }
    for (name, check) in chosen {
        step(&format!("example {name}"), || check(&Cluster::start()?))?;
    }
    Ok(())
}

fn hello(cluster: &Cluster) -> Result<()> {
    let output = cluster.output("hello", &[&cluster.master])?;
    ensure!(text(&output.stdout).contains("TASK_FINISHED"), "no task finished:\n{}", text(&output.stdout));
    Ok(())
}

/// Commands that succeed, one that does only at the second try, and one that never does.
fn batch(cluster: &Cluster) -> Result<()> {
    let (file, results) = (cluster.dir.join("commands"), cluster.dir.join("results.json"));
    let flag = cluster.dir.join("tried").display().to_string();
    let commands: Vec<String> = (1..=10).map(|number| format!("test {number} -gt 0")).collect();
    let fickle = format!("test -e {flag} || {{ touch {flag}; exit 1; }}");
    fs::write(&file, format!("# a queue\n{}\n\n{fickle}\nexit 7\n", commands.join("\n")))?;
    let (file, shown) = (file.display().to_string(), format!("--results={}", results.display()));
    let (master, retries, resources) =
        (format!("--master={}", cluster.master), "--retries=1", "--resources=cpus:0.1;mem:32");
    let output = cluster.command("example-batch").args([&file, &shown, &master, retries, resources]).output()?;
    ensure!(output.status.code() == Some(1), "a command that was given up is an error: {output:?}");
    ensure!(text(&output.stdout).trim() == "11 of 12 commands succeeded", "{}", text(&output.stdout));
    let rows: Value = serde_json::from_slice(&fs::read(&results)?)?;
    let tries = |row: usize| (rows[row]["succeeded"].as_bool(), rows[row]["tries"].as_u64());
    ensure!(tries(0) == (Some(true), Some(1)), "the first: {}", rows[0]);
    ensure!(tries(10) == (Some(true), Some(2)), "the fickle one: {}", rows[10]);
    ensure!(tries(11) == (Some(false), Some(2)), "the hopeless one: {}", rows[11]);
    Ok(())
}

fn executor(cluster: &Cluster) -> Result<()> {
    let output = cluster.output("example-executor", &["100", &format!("--master={}", cluster.master)])?;
    ensure!(text(&output.stdout).trim() == "338350", "the sum is {}", text(&output.stdout));
    Ok(())
}

/// The sidecar sees what its neighbour wrote: its exit code says so.
fn pod(cluster: &Cluster) -> Result<()> {
    let output = cluster.output("example-pod", &[&format!("--master={}", cluster.master)])?;
    let finished = text(&output.stdout).matches("TASK_FINISHED").count();
    ensure!(finished == 2, "{finished} tasks of the pod finished:\n{}", text(&output.stdout));
    Ok(())
}

/// Up to three, each answers; down to one; killed and started again, it goes on; then it ends.
fn service(cluster: &Cluster) -> Result<()> {
    let port = free_port()?;
    let (state, listen) = (cluster.dir.join("service.state"), format!("127.0.0.1:{port}"));
    let start = || -> Result<Running> {
        let mut command = cluster.command("example-service");
        command.arg(format!("--state={}", state.display())).arg(format!("--listen={listen}"));
        command.arg(format!("--master={}", cluster.master)).args(["--count=3", "--resources=cpus:0.1;mem:32"]);
        command.stderr(File::options().create(true).append(true).open(cluster.dir.join("service.log"))?);
        Ok(Running(command.spawn()?))
    };
    let shown = || http("GET", &listen, "/").ok().and_then(|body| serde_json::from_str::<Value>(&body).ok());
    let replicas = |count: u64| {
        let shown = shown().filter(|it| it["ready"] == count && it["leaving"] == 0)?;
        shown["replicas"].as_array().cloned().filter(|list| list.len() as u64 == count)
    };
    let first = start()?;
    let three = wait("three replicas run", || replicas(3))?;
    for replica in &three {
        let address = format!("127.0.0.1:{}", replica["port"]);
        let answer = wait("a replica answers", || http("GET", &address, "/").ok())?;
        ensure!(answer.starts_with("hello from web."), "{answer}");
    }
    http("PUT", &listen, "/count/1")?;
    let one = wait("one replica is left", || replicas(1))?;
    drop(first); // kill -9
    let _second = start()?;
    let same = wait("it goes on", || replicas(1))?;
    ensure!(same[0]["task"] == one[0]["task"], "the replica was replaced: {} by {}", one[0], same[0]);
    http("DELETE", &listen, "/")?;
    wait("nothing of it is left", || {
        let state = http("GET", &cluster.master, "/state").ok()?;
        serde_json::from_str::<Value>(&state).ok()?["frameworks"].as_array()?.is_empty().then_some(())
    })
}

/// Two entries, then another run of the program that finds them and adds one; then everything is given back.
fn stateful(cluster: &Cluster) -> Result<()> {
    let state = format!("--state={}", cluster.dir.join("journal.state").display());
    let run = |arguments: &[&str]| {
        let master = format!("--master={}", cluster.master);
        let output = cluster.output("example-stateful", &[arguments, &[&master, &state]].concat())?;
        anyhow::Ok(text(&output.stdout))
    };
    let first = run(&["one", "two"])?;
    ensure!(first.contains("create: OPERATION_FINISHED"), "no volume was made:\n{first}");
    ensure!(first.ends_with("2 entries are in the journal\n"), "the first run:\n{first}");
    let held = || -> Result<String> {
        let slaves: Value = serde_json::from_str(&http("GET", &cluster.master, "/slaves")?)?;
        let of = |slave: &Value| slave["reserved_resources"]["journal"]["disk"].to_string();
        Ok(slaves["slaves"].as_array().context("no agents")?.iter().map(of).collect::<Vec<_>>().join(" "))
    };
    ensure!(held()?.contains("16"), "nothing is reserved between the runs: {}", held()?);
    let second = run(&["three"])?;
    ensure!(second.ends_with("3 entries are in the journal\n"), "the second run:\n{second}");
    ensure!(!second.contains("create"), "the volume was made again:\n{second}");
    let last = run(&["--destroy"])?;
    ensure!(last.contains("destroy: OPERATION_FINISHED"), "nothing was destroyed:\n{last}");
    wait("nothing is reserved any more", || held().ok().filter(|held| !held.contains("16")))?;
    Ok(())
}

/// A process that is killed when it is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `mezzo local` with two agents, in a directory of its own.
struct Cluster {
    master: String,
    dir: PathBuf,
    local: Child,
}

impl Cluster {
    fn start() -> Result<Self> {
        let port = free_port()?;
        let dir = std::env::temp_dir().join(format!("mezzo-examples-{}-{port}", std::process::id()));
        fs::create_dir_all(&dir)?;
        let log = File::create(dir.join("cluster.log"))?;
        let local = Command::new(binary("mezzo"))
            .args(["local", "--agents=2", "--resources=cpus:4;mem:4096;disk:1024;ports:[31000-31099]"])
            .arg(format!("--port={port}"))
            .arg(format!("--work-dir={}", dir.join("cluster").display()))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("mezzo does not start")?;
        let cluster = Self { master: format!("127.0.0.1:{port}"), dir, local };
        wait("the agents are registered", || {
            let slaves = http("GET", &cluster.master, "/slaves").ok()?;
            let slaves: Value = serde_json::from_str(&slaves).ok()?;
            (slaves["slaves"].as_array()?.len() == 2).then_some(())
        })?;
        Ok(cluster)
    }

    fn command(&self, name: &str) -> Command {
        let mut command = command(binary(name));
        command.current_dir(&self.dir).stdin(Stdio::null());
        command
    }

    fn output(&self, name: &str, arguments: &[&str]) -> Result<Output> {
        let output = self.command(name).args(arguments).output().with_context(|| format!("{name} does not start"))?;
        ensure!(output.status.success(), "{name}: {}\n{}", output.status, text(&output.stderr));
        Ok(output)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // SIGTERM, that it may end its tasks
        let _ = Command::new("kill").arg(self.local.id().to_string()).status();
        let _ = self.local.wait();
        if std::thread::panicking() {
            return;
        }
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn binary(name: &str) -> PathBuf {
    target_dir().join(PROFILE).join(Path::new(name))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Waits for a condition.
fn wait<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(found) = condition() {
            return Ok(found);
        }
        ensure!(start.elapsed() < PATIENCE, "waited {PATIENCE:?} in vain: {what}");
        sleep(Duration::from_millis(50));
    }
}

/// A request over a connection of its own; the body of a success.
fn http(method: &str, address: &str, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(stream, "{method} {path} HTTP/1.0\r\nHost: {address}\r\nContent-Length: 0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP answer")?;
    ensure!(head.split(' ').nth(1).is_some_and(|code| code.starts_with('2')), "{method} {path}: {answer}");
    Ok(body.to_owned())
}
