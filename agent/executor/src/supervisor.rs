//! One per container: starts the task, waits for it, ends its process tree, writes down how it went.

use std::{
    ffi::{CStr, CString, OsStr},
    fs::File,
    io::Write,
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, getpid, pidfd_open, set_child_subreaper, setsid, wait};

use crate::{
    absence::Absence,
    enter,
    event::{Event, Patience, send},
    failpoint,
    frame::{self, Received, Unread},
    jail::{
        Cgroup, Confined,
        cgroup::{self, MemoryWatch},
        init::{self, Started},
    },
    output::Output,
    process::Identity,
    record::{Limitation, Processes, Writer},
    sys::{self, Spawn, Spawned, Wake},
    tree::{self, Watched},
};

/// Where programs are looked for when the environment has no PATH (os::host_default_path of apache/mesos).
const DEFAULT_PATH: &[u8] = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Grace when the host tells the supervisor itself to end.
const TERMINATE_GRACE: Duration = Duration::from_secs(10);

/// How long killed processes are waited for before the end is told without them.
const KILL_PATIENCE: Duration = Duration::from_secs(10);

/// How soon a `Running` is tried again for which the agent had no room.
const RETRY: Duration = Duration::from_millis(50);

/// What a supervisor has from the zygote.
#[derive(Debug)]
pub struct Channels {
    /// The records, to write to.
    pub records: File,
    /// To the agent.
    pub events: OwnedFd,
    /// Held while the container is not yet on record: the agent's sign that all that may come has come.
    pub pending: [OwnedFd; 2],
}

/// Runs a container to its end. Called in a fresh process, whose signals are settled and blocked.
pub fn run(frame: &[u8], channels: Channels) -> i32 {
    let _ = setsid();
    let _ = set_child_subreaper(Some(getpid()));
    let _ = rustix::thread::set_name(c"mezzo-container");
    match frame::decode(frame) {
        Ok(launch) => {
            Supervisor { number: launch.number, events: channels.events }.run(
                &launch,
                &channels.records,
                channels.pending,
            );
        }
        Err(error) => {
            let event = Event::Failed { message: error.to_string() };
            send(channels.events.as_fd(), frame::number(frame).unwrap_or_default(), &event, None, Patience::Wait);
        }
    }
    0
}

struct Supervisor {
    number: u64,
    events: OwnedFd,
}

impl Supervisor {
    fn run(&self, launch: &Received<'_>, records: &File, pending: [OwnedFd; 2]) {
        let container = launch.container.to_string_lossy();
        let mut record = Writer::new(records, launch.slot, &container);
        let cgroups = launch.jail.as_ref().map_or(&[][..], |jail| &jail.cgroups);
        let kept = Kept { cgroups };
        let started = kept.make(&mut record).and_then(|()| {
            // Looked at before anything runs in it: it may be out of memory at once.
            let memory = launch.jail.as_ref().and_then(|jail| jail.memory.as_ref()).map(MemoryWatch::new);
            Ok((start(launch)?, memory))
        });
        let ((child, output), memory) = match started {
            Ok(started) => started,
            Err(message) => {
                let _ = record.failed(&message);
                kept.remove();
                return self.fail(message);
            }
        };
        failpoint::pass("started");
        let processes = Processes {
            supervisor: own_identity(),
            // A child that is not reaped is there, dead or alive.
            task: Identity::of(child.task).unwrap_or(Identity { pid: child.task, start: 0 }),
            sandbox: mark_of(launch),
        };
        if let Err(error) = record.started(&processes) {
            // Without a record a restarted agent would lose it: better not run at all.
            kept.kill();
            tree::kill_own_descendants(KILL_PATIENCE);
            kept.remove();
            return self.fail(format!("Failed to write the record of container '{container}': {error}"));
        }
        failpoint::pass("recorded");
        drop(pending);
        let mut waiting = Waiting::new(self, child, kept, memory, output);
        waiting.absence = Absence::new(launch.patience, records, Instant::now());
        let status = waiting.until_end();
        waiting.kept.kill();
        if !tree::kill_own_descendants(KILL_PATIENCE) {
            complain("Some processes of the container could not be killed");
        }
        let stopped = waiting.deadline.is_some();
        if launch.enter.as_ref().is_some_and(|enter| enter.inside.is_some()) && (is_session(launch) || stopped) {
            // What made itself a daemon inside of another PID namespace is no descendant any more.
            tree::sweep(&processes, Watched::UntilNow);
        }
        failpoint::pass("killed");
        waiting.output.settle();
        let limitation = waiting.limitation();
        waiting.kept.remove();
        failpoint::pass("removed");
        if let Err(error) = record.exited(status, limitation.as_ref()) {
            complain(&format!("Failed to write the exit status {status}: {error}"));
        }
        failpoint::pass("exited");
        // An agent that knows of us sees us end, and reads the record; one that does not must be told.
        let patience = if waiting.told { Patience::Drop } else { Patience::Wait };
        let limited = limitation.is_some();
        self.tell(&Event::Exited { task: processes.task.pid, status, limited }, patience);
        waiting.output.finish();
    }

    fn fail(&self, message: String) {
        self.tell(&Event::Failed { message }, Patience::Wait);
    }

    fn tell(&self, event: &Event, patience: Patience) {
        send(self.events.as_fd(), self.number, event, None, patience);
    }

    /// With a descriptor of ourselves: the agent then never has to trust a bare pid.
    fn tell_running(&self, task: i32) -> bool {
        let own = getpid();
        let pidfd = pidfd_open(own, PidfdFlags::empty()).ok();
        let event = Event::Running { task, supervisor: own.as_raw_nonzero().get() };
        send(self.events.as_fd(), self.number, &event, pidfd.as_ref().map(AsFd::as_fd), Patience::Drop)
    }
}

/// The cgroups of a container.
struct Kept<'a> {
    cgroups: &'a [Cgroup],
}

impl Kept<'_> {
    fn make(&self, record: &mut Writer<'_>) -> Result<(), String> {
        if self.cgroups.is_empty() {
            return Ok(());
        }
        record
            .preparing(cgroup::directories(self.cgroups))
            .map_err(|error| format!("Failed to write the record of the container's cgroups: {error}"))?;
        failpoint::pass("preparing");
        cgroup::make(self.cgroups)?;
        failpoint::pass("cgroups-made");
        Ok(())
    }

    fn kill(&self) {
        cgroup::kill_own(self.cgroups);
    }

    fn remove(&self) {
        if let Err(message) = cgroup::remove(self.cgroups) {
            complain(&message);
        }
    }
}

/// What was started.
struct Child {
    /// The supervisor's child: the task, or the first process of its container.
    pid: i32,
    /// The task's first process.
    task: i32,
    /// Set if `pid` is not the task.
    init: Option<Started>,
}

fn own_pid() -> i32 {
    getpid().as_raw_nonzero().get()
}

fn own_identity() -> Identity {
    let pid = own_pid();
    Identity::of(pid).unwrap_or(Identity { pid, start: 0 })
}

fn path(text: &CStr) -> &Path {
    Path::new(OsStr::from_bytes(text.to_bytes()))
}

/// Standard error is the sandbox's `stderr` by now.
fn complain(line: &str) {
    let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}

/// Makes the sandbox and starts the task in it; its first process, or what could not be done and why.
fn start(launch: &Received<'_>) -> Result<(Child, Output), String> {
    let mut output = Output::open(launch)?;
    let shell = [c"sh", c"-c", launch.command];
    let (file, arguments) = match &launch.arguments {
        None => (c"sh", &shell[..]),
        Some(arguments) => (launch.command, &arguments[..]),
    };
    let child = spawn(launch, file, arguments, &mut output);
    let started = output.started();
    started.map_err(|error| format!("Failed to redirect the output to the sandbox: {error}"))?;
    Ok((child?, output))
}

/// Starts the task itself, in its jail if it has one.
fn spawn(launch: &Received<'_>, file: &CStr, arguments: &[&CStr], output: &mut Output) -> Result<Child, String> {
    let jail = launch.jail.as_ref();
    let inside = |path: &Path| CString::new(path.as_os_str().as_bytes()).map_err(|error| error.to_string());
    let seen = jail.and_then(|jail| jail.sandbox.as_deref()).map(inside).transpose()?;
    let place = place(launch);
    let seen = seen.as_deref().unwrap_or(&place);
    let directory = jail.and_then(|jail| jail.directory.as_deref()).map(inside).transpose()?;
    let candidates = candidates(file, launch, seen);
    let confined = jail.map(|jail| Confined::new(jail, launch.credentials.as_ref()));
    let surroundings = launch.enter.as_ref().map(enter::open).transpose().map_err(|error| error.to_string())?;
    let mark = launch.enter.as_ref().map(|_| mark(launch));
    let task = Spawn {
        directory: directory.as_deref().unwrap_or(seen),
        credentials: launch.credentials.as_ref(),
        candidates: &candidates.iter().map(CString::as_c_str).collect::<Vec<_>>(),
        arguments,
        environment: &launch.environment.iter().copied().chain(mark.as_deref()).collect::<Vec<_>>(),
        confined: confined.as_ref(),
        terminal: launch.io.as_ref().is_some_and(|io| io.terminal.is_some()),
        enter: surroundings.as_ref(),
    };
    let (spawned, init) = match jail.filter(|jail| jail.needs_init()) {
        Some(jail) => {
            let mut started = init::start(jail, launch.sandbox, &task)?;
            let pid = started.init;
            (std::mem::replace(&mut started.spawned, Spawned::Running(pid)), Some(started))
        }
        None => (sys::spawn(&task), None),
    };
    let task = match spawned {
        Spawned::Running(pid) => pid,
        Spawned::NotExecuted(pid, error) => {
            output.complain(&format!("Failed to execute '{}': {}", file.to_string_lossy(), reason(&error)));
            pid
        }
        Spawned::Failed(what, error) => {
            return Err(format!("Failed to {what} (sandbox '{}'): {error}", path(launch.sandbox).display()));
        }
    };
    Ok(Child { pid: init.as_ref().map_or(task, |init| init.init), task, init })
}

/// By which what is left of it is found again, wherever it went ([`tree::sweep`]).
fn mark(launch: &Received<'_>) -> CString {
    CString::new([b"MEZZO_CONTAINER=", mark_of(launch).as_os_str().as_bytes()].concat()).unwrap_or_default()
}

/// Its sandbox; of what runs in another's, as the command of a check does, a name that is its own.
fn mark_of(launch: &Received<'_>) -> PathBuf {
    let sandbox = path(launch.sandbox);
    match launch.enter.as_ref().and_then(|enter| enter.inside) {
        Some(_) if !is_session(launch) => sandbox.join(path(launch.container)),
        _ => sandbox.to_path_buf(),
    }
}

fn is_session(launch: &Received<'_>) -> bool {
    launch.io.as_ref().is_some_and(|io| io.unread == Unread::Held)
}

/// Where the task begins: in its sandbox; a session in that of its container, in which its own would be
/// `containers/<session>`.
fn place(launch: &Received<'_>) -> CString {
    let container = path(launch.sandbox).parent().and_then(Path::parent).filter(|_| is_session(launch));
    match (launch.enter.as_ref().and_then(|enter| enter.inside), container) {
        (Some(inside), _) => inside.to_owned(),
        (None, Some(container)) => CString::new(container.as_os_str().as_bytes()).unwrap_or_default(),
        (None, None) => launch.sandbox.to_owned(),
    }
}

/// The system's text without the number that Rust adds.
fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

/// Where a program may be: a relative name in the sandbox first, then, without a slash, in PATH
/// (src/slave/containerizer/mesos/launch.cpp of apache/mesos).
fn candidates(file: &CStr, launch: &Received<'_>, sandbox: &CStr) -> Vec<CString> {
    let name = file.to_bytes();
    let within = |directory: &[u8]| {
        let directory = if directory.is_empty() { sandbox.to_bytes() } else { directory };
        CString::new([directory, b"/", name].concat()).ok()
    };
    if name.is_empty() {
        return Vec::new();
    }
    if name.starts_with(b"/") {
        return vec![file.to_owned()];
    }
    let mut found = vec![within(b"")];
    if !name.contains(&b'/') {
        let path = launch.environment.iter().rev().find_map(|variable| variable.to_bytes().strip_prefix(b"PATH="));
        found.extend(path.unwrap_or(DEFAULT_PATH).split(|byte| *byte == b':').map(within));
        if launch.arguments.is_none() {
            found.push(Some(c"/bin/sh".to_owned())); // whatever PATH a task sets, its shell is found
        }
    }
    found.into_iter().flatten().collect()
}

/// How soon a lack of memory is noticed while output is moved.
const MEMORY_INTERVAL: Duration = Duration::from_secs(1);

/// The time between start and end.
struct Waiting<'a> {
    supervisor: &'a Supervisor,
    child: Child,
    kept: Kept<'a>,
    told: bool,
    output: Output,
    memory: Option<MemoryWatch>,
    absence: Option<Absence>,
    /// When it is killed; set once it is asked to end.
    deadline: Option<Instant>,
    signalled: Vec<Identity>,
}

impl<'a> Waiting<'a> {
    fn new(
        supervisor: &'a Supervisor,
        child: Child,
        kept: Kept<'a>,
        memory: Option<MemoryWatch>,
        output: Output,
    ) -> Self {
        let told = supervisor.tell_running(child.task);
        Self { supervisor, child, kept, told, output, memory, absence: None, deadline: None, signalled: Vec::new() }
    }

    /// Until the first process has ended: its raw status.
    fn until_end(&mut self) -> i32 {
        loop {
            if let Some(status) = self.reap() {
                return status;
            }
            let now = Instant::now();
            if self.deadline.is_some_and(|deadline| now >= deadline) || self.is_out_of_memory() {
                self.kill();
            }
            self.look_for_agent(now);
            match self.wait(now) {
                Wake::Stop(grace) => self.stop(grace),
                Wake::Terminate => self.stop(TERMINATE_GRACE),
                Wake::Child | Wake::Timeout => {}
            }
            if !self.told {
                self.told = self.supervisor.tell_running(self.child.task);
            }
        }
    }

    fn wait(&mut self, now: Instant) -> Wake {
        let timeout = [
            self.deadline.map(|deadline| deadline.saturating_duration_since(now)),
            (!self.told).then_some(RETRY),
            self.absence.as_ref().map(|absence| absence.wait(now)),
            (!self.output.is_direct() && self.memory.is_some()).then_some(MEMORY_INTERVAL),
        ];
        let timeout = timeout.into_iter().flatten().min();
        match (&mut self.output, &self.memory) {
            (Output::Direct, Some(memory)) => memory.wait(timeout),
            (Output::Direct, None) => sys::wait_signal(timeout),
            (output, _) => output.wait(timeout),
        }
    }

    /// Ends the task if there has been no agent for too long.
    fn look_for_agent(&mut self, now: Instant) {
        let events = self.supervisor.events.as_fd();
        let Some(absence) = &mut self.absence else { return };
        if !absence.is_over(now, events) {
            return;
        }
        let away = absence.patience().as_secs_f64();
        self.absence = None;
        complain(&format!("The task is ended: there has been no agent for {away} s (--recovery_timeout)"));
        self.stop(TERMINATE_GRACE);
    }

    /// Whether the kernel has begun to end it; the rest of it follows, as in Mesos.
    fn is_out_of_memory(&self) -> bool {
        self.memory.as_ref().is_some_and(MemoryWatch::is_exceeded)
    }

    /// Why it was ended, if it was for its memory.
    fn limitation(&self) -> Option<Limitation> {
        let memory = self.memory.as_ref().filter(|memory| memory.is_exceeded())?;
        let (bytes, message) = memory.describe();
        Some(Limitation { bytes, message })
    }

    /// Takes note of children that ended: the container's first process, and strays that became ours.
    fn reap(&self) -> Option<i32> {
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            if Pid::from_raw(self.child.pid) == Some(pid) {
                let status = status.as_raw();
                return Some(self.child.init.as_ref().map_or(status, |init| init.end(status)));
            }
        }
        None
    }

    /// SIGTERM to each process of the tree, once; SIGKILL when the grace is over. Asked again, a shorter grace shortens
    /// what is left, a longer one changes nothing.
    fn stop(&mut self, grace: Duration) {
        let now = Instant::now();
        let deadline = now + grace;
        if self.deadline.is_some_and(|earlier| earlier <= deadline) {
            return;
        }
        self.deadline = Some(deadline);
        if deadline > now {
            // Again while it forks: who is born meanwhile shall hear of it too.
            while tree::signal_descendants(own_pid(), Signal::TERM, &mut self.signalled) > 0 {}
        }
    }

    /// SIGKILL to the whole tree. The deadline is moved on, against a process that slipped through while it forked.
    fn kill(&mut self) {
        self.kept.kill();
        tree::signal_descendants(own_pid(), Signal::KILL, &mut Vec::new());
        self.deadline = Some(Instant::now() + Duration::from_millis(100));
    }
}
