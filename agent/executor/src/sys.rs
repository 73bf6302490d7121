//! The operating system's edge: what has no safe form. All `unsafe` of the crate is here and in `jail/edge.rs`.
//!
//! The zygote and the supervisors are single-threaded, which is what makes `fork` and `clone` below sound.
#![allow(unsafe_code)]

use std::{
    cell::UnsafeCell,
    ffi::{CStr, c_char, c_int, c_void},
    io, mem,
    mem::MaybeUninit,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    ptr,
    time::Duration,
};

use nix::libc;

use crate::{
    frame::Credentials,
    jail::{Confined, Moment},
};

mod enter;
mod terminal;

pub use enter::{Surroundings, enter_now, limits_of};
pub use terminal::{ignore_broken_pipes, open_terminal, resize};

/// The signal that tells a supervisor to end its task; its value is the grace in milliseconds (32 bits), 0 = kill now.
/// A real-time signal, so that none is merged with another. Part of the contract with supervisors of other versions.
pub const STOP_SIGNAL: c_int = 40;

/// What a supervisor woke for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// A child ended.
    Child,
    /// The agent asks to end the task, with this grace.
    Stop(Duration),
    /// SIGTERM: the host goes down.
    Terminate,
    /// The time is over.
    Timeout,
}

/// Forks. `Some(pid)` in the parent, `None` in the child.
pub fn fork() -> io::Result<Option<i32>> {
    // SAFETY: the process has one thread, so no lock is held by another and the child may do what it likes.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(None),
        pid => Ok(Some(pid)),
    }
}

/// Ends the process at once, without running what was registered for its end.
pub fn exit(code: i32) -> ! {
    // SAFETY: takes no memory and never returns.
    unsafe { libc::_exit(code) }
}

/// Every signal to its default action, and what a supervisor waits for blocked: inherited by all that is forked.
pub fn settle_signals() {
    // SAFETY: an all-zero kernel sigaction is the default action; SIGKILL and SIGSTOP are refused and need none.
    unsafe {
        let default = [0usize; 8];
        for signal in 1..=64 {
            // Not by the C library, which keeps 32 and 33 for itself and would leave them as inherited.
            libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), ptr::null_mut::<c_void>(), 8);
        }
        libc::sigprocmask(libc::SIG_SETMASK, &awaited(&[libc::SIGHUP, libc::SIGINT]), ptr::null_mut());
    }
}

/// Closes every descriptor above 2: what the agent's own starter left open is none of a task's business, and a
/// supervisor would hold it open for as long as its task runs.
///
/// To be called before any such descriptor is opened: its owner would not notice.
pub(crate) fn close_inherited() {
    // SAFETY: by the condition above nothing in this process owns these descriptors.
    unsafe {
        if libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0) == 0 {
            return;
        }
        // Before Linux 5.9.
        let limit = libc::sysconf(libc::_SC_OPEN_MAX).clamp(0, 1 << 20);
        for fd in 3..c_int::try_from(limit).unwrap_or(1024) {
            libc::close(fd);
        }
    }
}

/// Makes a blocked SIGCHLD interrupt a `ppoll` that lets it through (by default it would be dropped there).
pub fn notice_children() {
    extern "C" fn nothing(_: c_int) {}
    // SAFETY: the handler does nothing, so it is safe at any moment.
    unsafe {
        let mut action: libc::sigaction = mem::zeroed();
        action.sa_sigaction = nothing as *const () as usize;
        action.sa_flags = libc::SA_NOCLDSTOP;
        libc::sigaction(libc::SIGCHLD, &action, ptr::null_mut());
    }
}

fn awaited(more: &[c_int]) -> libc::sigset_t {
    // SAFETY: sigemptyset initialises the set before it is used.
    unsafe {
        let mut set = MaybeUninit::uninit();
        libc::sigemptyset(set.as_mut_ptr());
        for signal in [libc::SIGCHLD, libc::SIGTERM, STOP_SIGNAL].iter().chain(more) {
            libc::sigaddset(set.as_mut_ptr(), *signal);
        }
        set.assume_init()
    }
}

/// Waits for a signal, at most for `timeout`.
pub fn wait_signal(timeout: Option<Duration>) -> Wake {
    let limit = timeout.map(|timeout| libc::timespec {
        tv_sec: libc::time_t::try_from(timeout.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: timeout.subsec_nanos().into(),
    });
    let limit = limit.as_ref().map_or(ptr::null(), ptr::from_ref);
    // SAFETY: the pointers are to locals that live through the call; the kernel fills in the whole of `info`.
    let (signal, value) = unsafe {
        let mut info: libc::siginfo_t = mem::zeroed();
        let signal = libc::sigtimedwait(&awaited(&[]), &mut info, limit);
        (signal, info.si_value().sival_ptr as usize)
    };
    match signal {
        libc::SIGCHLD => Wake::Child,
        libc::SIGTERM => Wake::Terminate,
        STOP_SIGNAL => Wake::Stop(Duration::from_millis(value as u64 & u64::from(u32::MAX))),
        _ => Wake::Timeout, // also EINTR: a stop and continue; the caller looks at its clock anyway
    }
}

/// A descriptor that is readable while a signal waits that [`wait_signal`] takes.
pub fn signal_descriptor() -> io::Result<OwnedFd> {
    // SAFETY: the set is initialised; a descriptor that the call returns is new and nobody else's.
    unsafe {
        match libc::signalfd(-1, &awaited(&[]), libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) {
            -1 => Err(io::Error::last_os_error()),
            fd => Ok(OwnedFd::from_raw_fd(fd)),
        }
    }
}

/// Tells the supervisor behind `pidfd` to end its task after `grace` (whole milliseconds, rounded up). When the user has
/// too many signals queued already it gets a SIGTERM, which always fits: it ends its task all the same.
pub fn queue_stop(pidfd: BorrowedFd<'_>, grace: Duration) -> io::Result<()> {
    /// The part of siginfo_t that sigqueue(3) fills in, as the kernel lays it out on 64 bits.
    #[repr(C)]
    struct Queued {
        signo: c_int,
        errno: c_int,
        code: c_int,
        padding: c_int,
        pid: libc::pid_t,
        uid: libc::uid_t,
        value: usize,
        rest: [u8; mem::size_of::<libc::siginfo_t>() - 32],
    }
    const { assert!(mem::size_of::<Queued>() == mem::size_of::<libc::siginfo_t>()) };
    let value = u32::try_from(grace.as_nanos().div_ceil(1_000_000)).unwrap_or(u32::MAX);
    // SAFETY: `info` is a whole, initialised siginfo_t that lives through the call.
    let result = unsafe {
        let info = Queued {
            signo: STOP_SIGNAL,
            errno: 0,
            code: libc::SI_QUEUE,
            padding: 0,
            pid: libc::getpid(),
            uid: libc::getuid(),
            value: value as usize,
            rest: [0; mem::size_of::<libc::siginfo_t>() - 32],
        };
        libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), STOP_SIGNAL, &raw const info, 0)
    };
    if result != -1 {
        return Ok(());
    }
    match io::Error::last_os_error() {
        error if error.kind() == io::ErrorKind::WouldBlock => {
            Ok(rustix::process::pidfd_send_signal(pidfd, rustix::process::Signal::TERM)?)
        }
        error => Err(error),
    }
}

/// A task to start.
#[derive(Debug)]
pub struct Spawn<'a> {
    /// Working directory.
    pub directory: &'a CStr,
    /// Whom to run as.
    pub credentials: Option<&'a Credentials>,
    /// Paths to try in turn, as execvp does.
    pub candidates: &'a [&'a CStr],
    /// argv.
    pub arguments: &'a [&'a CStr],
    /// environ.
    pub environment: &'a [&'a CStr],
    /// What its process is confined by.
    pub(crate) confined: Option<&'a Confined>,
    /// The standard input becomes its controlling terminal.
    pub terminal: bool,
    /// Another container's surroundings, to be entered.
    pub enter: Option<&'a Surroundings>,
}

/// How a start went.
#[derive(Debug)]
pub enum Spawned {
    /// The program runs.
    Running(i32),
    /// The process was made, but no candidate could be executed: it ends with status 1.
    NotExecuted(i32, io::Error),
    /// What comes before could not be done; the process is reaped.
    Failed(&'static str, io::Error),
}

const DONE: c_int = 0;
const STAGES: [&str; 8] = [
    "",
    "start a session for the task",
    "change into the sandbox",
    "set the task's supplementary groups",
    "set the task's group",
    "set the task's user",
    "make the terminal the task's own",
    "enter the other container",
];
const STAGE_EXEC: c_int = -1;
const STAGE_ORPHAN: c_int = -2;
/// What failed is in the child's record.
const STAGE_CONFINE: c_int = -3;

/// What the new process needs, made ready beforehand, and where it says how far it came: it shares our memory.
struct Child {
    directory: *const c_char,
    credentials: *const Credentials,
    candidates: *const *const c_char,
    arguments: *const *const c_char,
    /// `/bin/sh <candidate> <arguments…>` for a script without `#!`, as execvp does; [1] is filled in by the child.
    script: *mut *const c_char,
    environment: *const *const c_char,
    confined: *const Confined,
    supervisor: libc::pid_t,
    terminal: bool,
    surroundings: *const Surroundings,
    stage: c_int,
    /// What could not be done, with [`STAGE_CONFINE`].
    failed: &'static str,
    errno: c_int,
}

const STACK_BYTES: usize = 16 * 1024;

/// The child's stack: static, so that only the page or two that it uses become real.
#[repr(align(16))]
struct Stack(UnsafeCell<[u8; STACK_BYTES]>);

// SAFETY: used by one child at a time: the process has one thread, which sleeps while the child is on this stack.
unsafe impl Sync for Stack {}

static STACK: Stack = Stack(UnsafeCell::new([0; STACK_BYTES]));

/// Starts a task: own session, default signals, killed when this process dies. Returns when it executes its program.
///
/// The caller must be single-threaded (as all of this crate's processes are). Descriptors other than 0, 1, 2 are
/// expected to be close-on-exec.
pub fn spawn(task: &Spawn<'_>) -> Spawned {
    let candidates = pointers(task.candidates);
    let arguments = pointers(task.arguments);
    let environment = pointers(task.environment);
    let mut script = vec![c"/bin/sh".as_ptr(), ptr::null()];
    script.extend(arguments.iter().skip(1.min(task.arguments.len())));
    if let Some(Err(error)) = task.enter.map(enter::enter_pid_namespace) {
        return Spawned::Failed("enter the other container's processes", error);
    }
    // SAFETY: getpid has no preconditions.
    let supervisor = unsafe { libc::getpid() };
    let mut child = Child {
        directory: task.directory.as_ptr(),
        credentials: task.credentials.map_or(ptr::null(), ptr::from_ref),
        candidates: candidates.as_ptr(),
        arguments: arguments.as_ptr(),
        script: script.as_mut_ptr(),
        environment: environment.as_ptr(),
        confined: task.confined.map_or(ptr::null(), ptr::from_ref),
        supervisor,
        terminal: task.terminal,
        surroundings: task.enter.map_or(ptr::null(), ptr::from_ref),
        stage: DONE,
        failed: "",
        errno: 0,
    };
    let argument = &raw mut child;
    // SAFETY: CLONE_VFORK suspends this only thread until the child has executed its program or ended, so what the
    // child reads and writes (`child`, the vectors above, STACK) is its alone for that time and outlives it. The child
    // calls nothing but system calls. No signal handler is installed but one that does nothing.
    let pid = unsafe {
        let top = STACK.0.get().cast::<u8>().add(STACK_BYTES);
        libc::clone(run_child, top.cast(), libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD, argument.cast())
    };
    if pid == -1 {
        return Spawned::Failed("fork the task", io::Error::last_os_error());
    }
    // SAFETY: `child` lives; volatile, since another process has written it.
    let (stage, errno, failed) = unsafe {
        (
            ptr::read_volatile(&raw const (*argument).stage),
            ptr::read_volatile(&raw const (*argument).errno),
            ptr::read_volatile(&raw const (*argument).failed),
        )
    };
    let error = io::Error::from_raw_os_error(errno);
    match stage {
        DONE => Spawned::Running(pid),
        STAGE_EXEC => Spawned::NotExecuted(pid, error),
        stage => {
            // SAFETY: waits for our own child, which has ended or is about to.
            unsafe { libc::waitpid(pid, ptr::null_mut(), 0) };
            let known = usize::try_from(stage).ok().and_then(|stage| STAGES.get(stage)).copied();
            let what = if stage == STAGE_CONFINE { failed } else { known.unwrap_or("start the task") };
            Spawned::Failed(what, error)
        }
    }
}

fn pointers(texts: &[&CStr]) -> Vec<*const c_char> {
    texts.iter().map(|text| text.as_ptr()).chain([ptr::null()]).collect()
}

/// Runs in the new process, on its own stack, in the supervisor's memory: only system calls, no allocation, no panic.
extern "C" fn run_child(argument: *mut c_void) -> c_int {
    // SAFETY: `argument` is the `Child` of `spawn`, which sleeps meanwhile.
    unsafe {
        let child = argument.cast::<Child>();
        (*child).stage = prepare(child);
        if (*child).stage == DONE {
            execute(child); // comes back only when it failed
            (*child).stage = STAGE_EXEC;
        } else {
            (*child).errno = *libc::__errno_location();
        }
        libc::_exit(1)
    }
}

/// All but the exec; the stage that failed, with its errno.
unsafe fn prepare(child: *mut Child) -> c_int {
    // SAFETY: as in `run_child`; raw system calls for the ids, since the C library's would signal other threads.
    unsafe {
        let failed = &raw mut (*child).failed;
        let child = &*child;
        let confine = |moment| match child.confined.as_ref().map_or(Ok(()), |confined| confined.apply(moment)) {
            Ok(()) => true,
            Err(what) => {
                *failed = what;
                false
            }
        };
        if libc::setsid() == -1 {
            return 1;
        }
        let mut empty = MaybeUninit::uninit();
        libc::sigemptyset(empty.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, empty.as_ptr(), ptr::null_mut());
        if child.terminal && libc::ioctl(0, libc::TIOCSCTTY, 0) == -1 {
            return 6;
        }
        if !child.surroundings.is_null() && !enter::enter(child.surroundings) {
            return 7;
        }
        if libc::chdir(child.directory) == -1 {
            return 2;
        }
        if !confine(Moment::BeforeUser) {
            return STAGE_CONFINE;
        }
        if let Some(credentials) = child.credentials.as_ref() {
            let (uid, gid) = (credentials.uid, credentials.gid);
            if libc::syscall(libc::SYS_setgroups, credentials.groups.len(), credentials.groups.as_ptr()) == -1 {
                return 3;
            }
            if libc::syscall(libc::SYS_setresgid, gid, gid, gid) == -1 {
                return 4;
            }
            if libc::syscall(libc::SYS_setresuid, uid, uid, uid) == -1 {
                return 5;
            }
        }
        if !confine(Moment::AfterUser) {
            return STAGE_CONFINE;
        }
        // After the change of user, which takes it back.
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        // A parent outside of the PID namespace is 0.
        let elsewhere = child.surroundings.as_ref().is_some_and(|entered| entered.pid_namespace.is_some());
        if libc::getppid() != if elsewhere { 0 } else { child.supervisor } {
            return STAGE_ORPHAN;
        }
        if !confine(Moment::Last) {
            return STAGE_CONFINE;
        }
        DONE
    }
}

/// execvp's search over the candidates; returns only when none could be executed, with errno in the child's record.
unsafe fn execute(child: *mut Child) {
    // SAFETY: as in `run_child`; all arrays end in a null pointer.
    unsafe {
        let mut next = (*child).candidates;
        (*child).errno = libc::ENOENT;
        while !(*next).is_null() {
            libc::execve(*next, (*child).arguments, (*child).environment);
            if *libc::__errno_location() == libc::ENOEXEC {
                *(*child).script.add(1) = *next;
                libc::execve(*(*child).script, (*child).script.cast_const(), (*child).environment);
            }
            let errno = *libc::__errno_location();
            match errno {
                libc::ENOENT | libc::ENOTDIR | libc::ESTALE | libc::ENODEV | libc::ETIMEDOUT => {}
                libc::EACCES => (*child).errno = errno,
                _ => {
                    (*child).errno = errno;
                    return;
                }
            }
            next = next.add(1);
        }
    }
}
