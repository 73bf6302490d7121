//! A zygote as the agent has it.
#![allow(dead_code, unreachable_pub, reason = "each test program uses its part")]

use std::{
    io::Write,
    os::{
        fd::OwnedFd,
        unix::{fs::PermissionsExt, net::UnixStream, process::ExitStatusExt},
    },
    path::{Path, PathBuf},
    process::{Child, Command as Process, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use mezzo_executor::{
    event::{self, Event, Packet},
    frame::{self, Command, Credentials, Enter, Io, Launch, Rotation, Scope, Unread, Window},
    process::{Identity, Stat},
    record::{Processes, Records, Stage},
    tree::{self, Watched},
};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

pub const PATIENCE: Duration = Duration::from_secs(30);

const EXECUTOR: &str = env!("CARGO_BIN_EXE_mezzo-executor");

pub struct Zygote {
    pub process: Child,
    pub frames: Option<UnixStream>,
    pub events: OwnedFd,
    pub records: Records,
    pub directory: tempfile::TempDir,
    pub rotation: Option<Rotation>,
    pub patience: Option<Duration>,
    pub io: Option<(PathBuf, Option<Window>, Unread)>,
    pub enter: Option<Identity>,
}

impl Zygote {
    pub fn start() -> Self {
        Self::start_by(Process::new(EXECUTOR))
    }

    /// One whose memory lies where it always does: how much of a file the kernel maps around a page that is wanted depends on that.
    pub fn start_in_place() -> Self {
        let mut process = Process::new("setarch");
        process.args(["--addr-no-randomize", EXECUTOR]);
        Self::start_by(process)
    }

    fn start_by(mut process: Process) -> Self {
        let directory = tempfile::tempdir().unwrap();
        // Task users of the tests must get through.
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let records = Records::open(&directory.path().join("containers")).unwrap();
        records.recover().unwrap();
        let (frames, far_frames) = UnixStream::pair().unwrap();
        let (events, far_events) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        let process = process
            .args(["zygote", "--records"])
            .arg(directory.path().join("containers"))
            .stdin(OwnedFd::from(far_frames))
            .stdout(far_events)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self {
            process,
            frames: Some(frames),
            events,
            records,
            directory,
            rotation: None,
            patience: None,
            io: None,
            enter: None,
        }
    }

    pub fn stage(&self, number: u64) -> Option<Stage> {
        let record = self.records.read(slot(number)).unwrap()?;
        assert_eq!(record.container, format!("c-{number}"));
        Some(record.stage)
    }

    pub fn sandbox(&self, number: u64) -> PathBuf {
        self.directory.path().join(format!("work/runs/{number}"))
    }

    pub fn launch(&self, number: u64, command: Command<'_>) {
        self.launch_as(number, command, &[], None);
    }

    pub fn launch_as(
        &self,
        number: u64,
        command: Command<'_>,
        environment: &[(String, String)],
        credentials: Option<&Credentials>,
    ) {
        let mut bytes = Vec::new();
        let (container, sandbox) = (format!("c-{number}"), self.sandbox(number));
        let slot = slot(number);
        let launch = Launch {
            number,
            slot,
            container: &container,
            sandbox: &sandbox,
            credentials,
            command,
            environment,
            rotation: self.rotation,
            patience: self.patience,
            jail: None,
            io: self.io.as_ref().map(|(socket, terminal, unread)| Io { socket, terminal: *terminal, unread: *unread }),
            enter: self.enter.map(|process| Enter { process, scope: Scope::Inside(Path::new("/")) }),
        };
        frame::encode(&mut bytes, &launch).unwrap();
        self.frames.as_ref().unwrap().write_all(&bytes).unwrap();
    }

    pub fn event(&self) -> Packet {
        let packet = wait_for("an event", || match event::receive(&self.events) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => None,
            result => Some(result.unwrap()),
        });
        packet.expect("the zygote and all supervisors closed their socket")
    }

    pub fn running(&self) -> (OwnedFd, i32) {
        let packet = self.event();
        let Event::Running { task, .. } = packet.event else { panic!("not running: {packet:?}") };
        (packet.pidfd.expect("no pidfd"), task)
    }

    /// Runs a command to its end.
    pub fn run(&self, number: u64, command: Command<'_>) -> ExitStatus {
        self.launch(number, command);
        self.running();
        self.exited()
    }

    pub fn exited(&self) -> ExitStatus {
        let packet = self.event();
        let Event::Exited { status, .. } = packet.event else { panic!("not exited: {packet:?}") };
        let stage = self.stage(packet.number);
        let Some(Stage::Started { exited, .. }) = stage else { panic!("no record of the start: {stage:?}") };
        assert_eq!(exited, Some(status));
        ExitStatus::from_raw(status)
    }

    pub fn processes(&self, number: u64) -> Processes {
        match self.stage(number) {
            Some(Stage::Started { processes, .. }) => processes,
            other => panic!("no record of the start: {other:?}"),
        }
    }

    pub fn output(&self, number: u64, name: &str) -> String {
        std::fs::read_to_string(self.sandbox(number).join(name)).unwrap()
    }
}

impl Drop for Zygote {
    fn drop(&mut self) {
        self.frames.take();
        let _ = self.process.wait();
        for (_, record) in self.records.recover().unwrap_or_default() {
            if let Stage::Started { processes, exited: None } = record.stage {
                let _ = processes.supervisor.signal(rustix::process::Signal::KILL);
                tree::sweep(&processes, Watched::UntilNow);
            }
        }
    }
}

pub fn slot(number: u64) -> u32 {
    u32::try_from(number).unwrap() + 1
}

pub fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

pub fn lines(path: &Path) -> Vec<i32> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')?.trim().parse().ok()).collect()
}

pub fn alive(pid: i32) -> bool {
    Stat::of(pid).is_some_and(|stat| !stat.is_dead())
}

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
