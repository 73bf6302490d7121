//! The containerizer with real processes. This program is the tests, the executor that they use (`zygote …`), and an
//! agent that is killed (`agent …`).

use std::{
    collections::HashMap,
    future::Future,
    io::{BufRead, BufReader, Write},
    os::unix::{fs::PermissionsExt, process::ExitStatusExt},
    path::{Path, PathBuf},
    process::{ExitCode, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use libtest_mimic::{Arguments, Trial};
use mezzo_agent::{
    containerizer::{Config, Containerizer},
    fetcher,
};
use mezzo_agent_core::container::{Command, ContainerEvent, Launch, Stop};
use mezzo_api::{ids::ContainerId, v1::command_info::Uri};
use mezzo_executor::{
    process::Stat,
    record::{Records, Stage},
    tree,
};
use tokio::sync::mpsc;

const PATIENCE: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args_os().skip(1).collect();
    match args.first().and_then(|arg| arg.to_str()) {
        Some("zygote") => return mezzo_executor::main(args),
        Some("agent") => return agent_to_be_killed(Path::new(&args[1])),
        _ => {}
    }
    let trials = vec![
        trial("exits_are_told_once", exits_are_told_once),
        trial("what_cannot_start_fails_with_reasons", what_cannot_start_fails_with_reasons),
        trial("stops_work_in_every_phase", stops_work_in_every_phase),
        trial("three_hundred_at_once", three_hundred_at_once),
        trial("records_are_reused", records_are_reused),
        trial("uris_are_there_when_the_task_starts", uris_are_there_when_the_task_starts),
        trial("tasks_run_as_their_user", tasks_run_as_their_user),
        trial("a_dead_zygote_is_replaced", a_dead_zygote_is_replaced),
        trial("a_dead_supervisor_leaves_nothing", a_dead_supervisor_leaves_nothing),
        trial("a_new_handle_takes_over", a_new_handle_takes_over),
        trial("a_killed_agent_is_succeeded", a_killed_agent_is_succeeded),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn trial<F>(name: &str, test: fn() -> F) -> Trial
where
    F: Future<Output = ()> + 'static,
{
    Trial::test(name, move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        runtime.block_on(test());
        Ok(())
    })
}

struct World {
    containers: Option<Containerizer>,
    events: mpsc::UnboundedReceiver<(ContainerId, ContainerEvent)>,
    directory: PathBuf,
    _guard: Option<Guard>,
}

/// The directory of a test, and all that runs in it.
struct Guard(tempfile::TempDir);

impl Drop for Guard {
    fn drop(&mut self) {
        // After a failed test too: nothing is left behind.
        let records = Records::open(&self.0.path().join("run/containers")).and_then(|records| records.recover());
        for (_, record) in records.unwrap_or_default() {
            if let Stage::Started { processes, exited: None } = record.stage {
                let _ = processes.supervisor.signal(rustix::process::Signal::KILL);
                tree::sweep(&processes, tree::Watched::UntilNow);
            }
        }
    }
}

impl World {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        // Users of tasks must get through.
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let world = Self::start(directory.path()).await;
        world.containers().recover(Vec::new(), Vec::new()).await;
        Self { _guard: Some(Guard(directory)), ..world }
    }

    async fn start(directory: &Path) -> Self {
        let config = Config {
            runtime_dir: directory.join("run"),
            executor: vec![std::env::current_exe().unwrap().into()],
            switch_user: true,
            fetcher: fetcher::Config::default(),
            rotation: None,
            recovery_timeout: Duration::from_secs(900),
            isolation: None,
            images: None,
            networks: None,
        };
        let (sender, events) = mpsc::unbounded_channel();
        let containers = Some(Containerizer::start(config, sender, mpsc::unbounded_channel().0).await.unwrap());
        Self { containers, events, directory: directory.to_path_buf(), _guard: None }
    }

    fn containers(&self) -> &Containerizer {
        self.containers.as_ref().unwrap()
    }

    fn sandbox(&self, id: &str) -> PathBuf {
        self.directory.join("work/runs").join(id)
    }

    fn prepared(&self, id: &str, command: Command) -> Launch {
        let sandbox = self.sandbox(id);
        let environment = vec![
            ("PATH".to_owned(), "/usr/local/bin:/usr/bin:/bin".to_owned()),
            ("MESOS_SANDBOX".to_owned(), sandbox.display().to_string()),
        ];
        Launch {
            container_id: id.into(),
            sandbox,
            user: None,
            command,
            environment,
            uris: Vec::new(),
            volumes: Vec::new(),
            nested: None,
            isolation: None,
            image: None,
            io: None,
            network: None,
            enter: None,
            called: None,
        }
    }

    fn launch(&self, id: &str, script: &str) {
        self.containers().launch(self.prepared(id, Command::Shell(script.to_owned())));
    }

    async fn event(&mut self) -> (String, ContainerEvent) {
        let event = tokio::time::timeout(PATIENCE, self.events.recv()).await.expect("no event").unwrap();
        (event.0.to_string(), event.1)
    }

    async fn running(&mut self, id: &str) -> i32 {
        match self.event().await {
            (other, ContainerEvent::Running { pid, .. }) if other == id => pid,
            other => panic!("expected {id} to run: {other:?}"),
        }
    }

    async fn exited(&mut self, id: &str) -> ExitStatus {
        match self.event().await {
            (other, ContainerEvent::Exited { status: Some(status) }) if other == id => ExitStatus::from_raw(status),
            other => panic!("expected the end of {id}: {other:?}"),
        }
    }

    async fn failed(&mut self, id: &str) -> String {
        match self.event().await {
            (other, ContainerEvent::Failed { message }) if other == id => message,
            other => panic!("expected {id} to fail: {other:?}"),
        }
    }

    fn read(&self, id: &str, name: &str) -> String {
        std::fs::read_to_string(self.sandbox(id).join(name)).unwrap_or_default()
    }

    async fn wait_for_output(&self, id: &str, text: &str) {
        wait_for("output", || self.read(id, "stdout").contains(text)).await;
    }

    /// Nothing more comes.
    async fn end(mut self) {
        self.containers.take();
        let rest = tokio::time::timeout(PATIENCE, self.events.recv()).await.expect("the actor does not end");
        assert_eq!(rest, None, "an event too many");
    }
}

async fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn alive(pid: i32) -> bool {
    Stat::of(pid).is_some_and(|stat| !stat.is_dead())
}

async fn exits_are_told_once() {
    let mut world = World::new().await;
    world.launch("a", "exit 3");
    assert!(world.running("a").await > 1);
    assert_eq!(world.exited("a").await.code(), Some(3));
    world.launch("b", "kill -SEGV $$");
    world.running("b").await;
    assert_eq!(world.exited("b").await.signal(), Some(11));
    let arguments =
        vec!["x".to_owned(), "-c".to_owned(), "echo \"$0\" \"$#\"".to_owned(), "zero".to_owned(), "1".to_owned()];
    let command = Command::Exec { file: "sh".to_owned(), arguments };
    world.containers().launch(world.prepared("c", command));
    world.running("c").await;
    assert!(world.exited("c").await.success());
    assert_eq!(world.read("c", "stdout"), "zero 1\n");
    world.containers().stop("a".into(), Stop::Kill); // has ended, or was never there: nothing happens
    world.containers().stop("none".into(), Stop::Kill);
    world.end().await;
}

async fn what_cannot_start_fails_with_reasons() {
    let mut world = World::new().await;
    let launch = world.prepared("a", Command::Shell("true".to_owned()));
    world.containers().launch(Launch { user: Some("no-such-user".to_owned()), ..launch.clone() });
    assert!(world.failed("a").await.contains("'no-such-user'"));
    let environment = vec![("A".to_owned(), "x\0y".to_owned())];
    world.containers().launch(Launch { container_id: "b".into(), environment, ..launch.clone() });
    assert!(world.failed("b").await.contains("NUL"));
    std::fs::write(world.directory.join("file"), "").unwrap();
    let sandbox = world.directory.join("file/c");
    world.containers().launch(Launch { container_id: "c".into(), sandbox, ..launch.clone() });
    assert!(world.failed("c").await.contains("file/c"));
    let uris = vec![Uri { value: "/no/such/file".to_owned(), ..Uri::default() }];
    world.containers().launch(Launch { container_id: "d".into(), uris, ..launch });
    let message = world.failed("d").await;
    assert!(message.starts_with("Failed to fetch all URIs for container 'd': /no/such/file: "), "{message}");
    world.end().await;
}

async fn stops_work_in_every_phase() {
    let mut world = World::new().await;
    // Stopped on its way.
    world.launch("a", "sleep 1000");
    world.containers().stop("a".into(), Stop::Kill);
    match world.event().await.1 {
        ContainerEvent::Running { .. } => assert_eq!(world.exited("a").await.signal(), Some(9)),
        ContainerEvent::Failed { .. } => {}
        other => panic!("unexpected: {other:?}"),
    }
    // While it fetches from a server that never answers.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let value = format!("http://{}/x", listener.local_addr().unwrap());
    let uris = vec![Uri { value, ..Uri::default() }];
    let launch = world.prepared("b", Command::Shell("true".to_owned()));
    world.containers().launch(Launch { uris, ..launch });
    let _connection = listener.accept().await.unwrap();
    world.containers().stop("b".into(), Stop::Graceful(Duration::from_secs(1000)));
    assert!(world.failed("b").await.contains("stopped"));
    // Gracefully, then sooner.
    world.launch("c", "trap '' TERM; echo up; while :; do sleep 0.01; done");
    world.running("c").await;
    world.wait_for_output("c", "up").await;
    world.containers().stop("c".into(), Stop::Graceful(Duration::from_secs(1000)));
    world.containers().stop("c".into(), Stop::Graceful(Duration::from_millis(50)));
    assert_eq!(world.exited("c").await.signal(), Some(9));
    world.launch("d", "trap 'exit 4' TERM; echo up; while :; do sleep 0.01; done");
    world.running("d").await;
    world.wait_for_output("d", "up").await;
    world.containers().stop("d".into(), Stop::Graceful(Duration::from_secs(1000)));
    assert_eq!(world.exited("d").await.code(), Some(4));
    world.end().await;
}

async fn three_hundred_at_once() {
    let mut world = World::new().await;
    for number in 0..300 {
        world.launch(&number.to_string(), &format!("exit {}", number % 100));
    }
    let mut seen: HashMap<String, Vec<ContainerEvent>> = HashMap::new();
    for _ in 0..600 {
        let (id, event) = world.event().await;
        seen.entry(id).or_default().push(event);
    }
    assert_eq!(seen.len(), 300);
    for (id, events) in seen {
        let status = Some((id.parse::<i32>().unwrap() % 100) << 8);
        assert!(matches!(events[0], ContainerEvent::Running { .. }), "{id}: {events:?}");
        assert_eq!(events[1..], [ContainerEvent::Exited { status }], "{id}");
    }
    world.end().await;
}

async fn records_are_reused() {
    let mut world = World::new().await;
    for number in 0..50 {
        let id = number.to_string();
        world.launch(&id, "true");
        world.containers().forget(ContainerId::from(&*id)); // before or after the end, it is the same
        world.running(&id).await;
        world.exited(&id).await;
    }
    let records = std::fs::metadata(world.directory.join("run/containers")).unwrap();
    assert!(records.len() <= 8 * 4096, "{} bytes", records.len());
    world.end().await;
}

async fn uris_are_there_when_the_task_starts() {
    let mut world = World::new().await;
    let program = world.directory.join("program");
    std::fs::write(&program, "#!/bin/sh\necho fetched \"$1\"").unwrap();
    let value = program.display().to_string();
    let uris = vec![Uri { value, executable: Some(true), ..Uri::default() }];
    let command = Command::Exec { file: "program".to_owned(), arguments: vec!["p".to_owned(), "1".to_owned()] };
    let launch = world.prepared("a", command);
    world.containers().launch(Launch { uris, ..launch });
    world.running("a").await;
    assert!(world.exited("a").await.success());
    assert_eq!(world.read("a", "stdout"), "fetched 1\n");
    world.end().await;
}

async fn tasks_run_as_their_user() {
    if !nix::unistd::geteuid().is_root() {
        return eprintln!("skipped: only root can switch users");
    }
    let mut world = World::new().await;
    let launch = world.prepared("a", Command::Shell("id -un; stat -c %U . stdout".to_owned()));
    world.containers().launch(Launch { user: Some("nobody".to_owned()), ..launch });
    world.running("a").await;
    assert!(world.exited("a").await.success());
    assert_eq!(world.read("a", "stdout"), "nobody\nnobody\nnobody\n");
    world.end().await;
}

/// The zygotes that this process has started for `directory`.
fn zygotes(directory: &Path) -> Vec<Stat> {
    let ours = tree::descendants(i32::try_from(std::process::id()).unwrap());
    let own = i32::try_from(std::process::id()).unwrap();
    ours.into_iter()
        .filter(|stat| stat.parent == own)
        .filter(|stat| {
            let command = std::fs::read(format!("/proc/{}/cmdline", stat.identity.pid)).unwrap_or_default();
            String::from_utf8_lossy(&command).contains(&directory.display().to_string())
        })
        .collect()
}

async fn a_dead_zygote_is_replaced() {
    let mut world = World::new().await;
    world.launch("long", "while [ ! -e go ]; do sleep 0.01; done; exit 6");
    world.running("long").await;
    for round in 0..20 {
        for number in 0..5 {
            world.launch(&format!("{round}-{number}"), "exit 1");
        }
        for zygote in zygotes(&world.directory) {
            zygote.identity.signal(rustix::process::Signal::KILL).unwrap();
        }
        let mut ended = 0;
        while ended < 5 {
            match world.event().await {
                (_, ContainerEvent::Running { .. }) => {}
                (id, ContainerEvent::Exited { status }) => {
                    assert_eq!(status, Some(256), "{id}");
                    ended += 1;
                }
                other => panic!("unexpected: {other:?}"),
            }
        }
    }
    std::fs::write(world.sandbox("long").join("go"), "").unwrap();
    assert_eq!(world.exited("long").await.code(), Some(6));
    world.end().await;
}

async fn a_dead_supervisor_leaves_nothing() {
    let mut world = World::new().await;
    let script = "(setsid sh -c 'echo $$ >>pids; exec sleep 1000' &); sleep 1000 & echo $! >>pids; \
        while [ $(wc -l <pids) -lt 2 ]; do sleep 0.01; done; echo up; wait; sleep 1000";
    world.launch("a", script);
    let task = world.running("a").await;
    world.wait_for_output("a", "up").await;
    let supervisor = Stat::of(task).unwrap().parent;
    Stat::of(supervisor).unwrap().identity.signal(rustix::process::Signal::KILL).unwrap();
    assert_eq!(world.event().await, ("a".to_owned(), ContainerEvent::Exited { status: None }));
    let pids: Vec<i32> = world.read("a", "pids").lines().map(|line| line.parse().unwrap()).collect();
    assert!(pids.len() == 2 && !alive(task) && !pids.into_iter().any(alive));
    world.end().await;
}

async fn a_new_handle_takes_over() {
    let mut world = World::new().await;
    world.launch("stays", "while [ ! -e go ]; do sleep 0.01; done; exit 7");
    let task = world.running("stays").await;
    world.launch("ends", "while [ ! -e go ]; do sleep 0.01; done; exit 8");
    world.running("ends").await;
    world.launch("unknown", "sleep 1000");
    let unknown = world.running("unknown").await;
    world.launch("told", "exit 9");
    world.running("told").await;
    world.exited("told").await;
    let World { containers, directory, _guard, .. } = world;
    drop(containers);
    std::fs::write(directory.join("work/runs/ends/go"), "").unwrap();
    let mut world = World { _guard, ..World::start(&directory).await };
    let wanted = ["stays", "ends", "told", "never"].map(ContainerId::from);
    world.containers().recover(wanted.to_vec(), Vec::new()).await;
    let mut seen: HashMap<String, Vec<ContainerEvent>> = HashMap::new();
    let ends = |seen: &HashMap<String, Vec<ContainerEvent>>| {
        seen.values().flatten().filter(|event| matches!(event, ContainerEvent::Exited { .. })).count()
    };
    while ends(&seen) < 3 || !seen.contains_key("stays") {
        let (id, event) = world.event().await;
        seen.entry(id).or_default().push(event);
    }
    assert_eq!(seen.remove("stays"), Some(vec![ContainerEvent::Running { pid: task, address: None }]));
    assert_eq!(seen.remove("told"), Some(vec![ContainerEvent::Exited { status: Some(9 << 8) }]));
    assert_eq!(seen.remove("never"), Some(vec![ContainerEvent::Exited { status: None }]));
    // This one may have been found alive.
    assert_eq!(seen.remove("ends").unwrap().pop(), Some(ContainerEvent::Exited { status: Some(8 << 8) }));
    wait_for("the end of what nobody knows", || !alive(unknown)).await;
    std::fs::write(world.sandbox("stays").join("go"), "").unwrap();
    assert_eq!(world.exited("stays").await.code(), Some(7));
    world.end().await;
}

/// Launches containers, says so, and waits to be killed.
fn agent_to_be_killed(directory: &Path) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut world = World::start(directory).await;
        world.containers().recover(Vec::new(), Vec::new()).await;
        world.launch("stays", "while [ ! -e go ]; do sleep 0.01; done; exit 7");
        world.running("stays").await;
        world.launch("stopped", "trap '' TERM; echo up; while :; do sleep 0.01; done");
        world.running("stopped").await;
        world.wait_for_output("stopped", "up").await;
        world.containers().stop("stopped".into(), Stop::Graceful(Duration::from_millis(500)));
        println!("ready");
        std::io::stdout().flush().unwrap();
        // Killed in the midst of these.
        for number in 0.. {
            world.launch(&format!("burst-{number}"), "sleep 1000");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    ExitCode::SUCCESS
}

async fn a_killed_agent_is_succeeded() {
    for round in 0..3_u64 {
        let guard = Guard(tempfile::tempdir().unwrap());
        let directory = guard.0.path().to_path_buf();
        let mut agent = std::process::Command::new(std::env::current_exe().unwrap())
            .arg("agent")
            .arg(&directory)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(agent.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        tokio::time::sleep(Duration::from_millis(20 * round)).await;
        agent.kill().unwrap();
        agent.wait().unwrap();

        let mut world = World { _guard: Some(guard), ..World::start(&directory).await };
        // Nothing can come up any more: whoever is there now is on record, and found.
        let marked = || {
            let sandbox = directory.join("work/runs").display().to_string();
            Stat::all()
                .filter(|stat| !stat.is_dead())
                .filter(|stat| {
                    let environment = std::fs::read(format!("/proc/{}/environ", stat.identity.pid)).unwrap_or_default();
                    String::from_utf8_lossy(&environment).contains(&format!("={sandbox}/burst-"))
                })
                .count()
        };
        let wanted = ["stays", "stopped"].map(ContainerId::from);
        world.containers().recover(wanted.to_vec(), Vec::new()).await;
        let mut stopped = None;
        let mut running = Vec::new();
        while stopped.is_none() || !running.contains(&"stays".to_owned()) {
            match world.event().await {
                (id, ContainerEvent::Running { .. }) => running.push(id),
                (id, ContainerEvent::Exited { status }) => {
                    assert_eq!(id, "stopped");
                    stopped = Some(status);
                }
                other => panic!("unexpected: {other:?}"),
            }
        }
        assert_eq!(stopped, Some(Some(9)), "the grace was not kept while the agent was away");
        wait_for("the end of what nobody knows", || marked() == 0).await;
        std::fs::write(world.sandbox("stays").join("go"), "").unwrap();
        assert_eq!(world.exited("stays").await.code(), Some(7));
        world.end().await;
    }
}
