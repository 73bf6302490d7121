//! The container's first process, and its start.
//!
//! It and the supervisor hold the ends of a socket of packets: the first byte says what it is.

use std::{
    ffi::CStr,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

use rustix::{
    io::Errno,
    net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair},
    process::{Pid, Signal, WaitOptions, set_parent_process_death_signal, wait, waitpid},
};

use super::{Jail, Namespace, cgroup, edge, mounts, network};
use crate::{
    failpoint,
    netlink::Netlink,
    sys::{self, Spawn, Spawned},
    tree,
};

/// The task runs: its pid as the init sees it.
const RUNNING: u8 = 0;
/// The task's process could execute nothing: its pid, and errno.
const NOT_EXECUTED: u8 = 1;
/// Something before that failed: a text.
const FAILED: u8 = 2;
/// The task has ended: its wait status.
const ENDED: u8 = 3;

const MAX_PACKET: usize = 1024;

/// A container that was started.
#[derive(Debug)]
pub struct Started {
    /// Its first process, the supervisor's child.
    pub init: i32,
    /// The task's, or nearly: why nothing could be executed.
    pub spawned: Spawned,
    /// Tells the task's status.
    socket: OwnedFd,
}

/// Makes the container of `jail` and starts the task in it.
///
/// # Errors
/// What could not be done, and why, in words. No process is left then.
pub fn start(jail: &Jail, sandbox: &CStr, task: &Spawn<'_>) -> Result<Started, String> {
    let failed = |error: Errno| format!("Failed to make a socket for the container: {error}");
    let (near, far) =
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).map_err(failed)?;
    let group = cgroup::to_be_born_in(&jail.cgroups)?;
    let host = jail.network.as_ref().map(|_| Netlink::open()).transpose();
    let host = host.map_err(|error| format!("Failed to reach the host's network: {error}"))?;
    let cloned = edge::clone(&jail.namespaces, group.as_ref().map(AsFd::as_fd));
    let init = match cloned {
        Ok(Some(init)) => init,
        Ok(None) => sys::exit(run(far, host, jail, sandbox, task)),
        Err(error) => {
            let kinds: Vec<_> = jail.namespaces.iter().map(|namespace| format!("{namespace:?}")).collect();
            return Err(format!(
                "Failed to make the first process of the container (namespaces: {}): {error}",
                kinds.join(", ")
            ));
        }
    };
    drop(far);
    let mut packet = [0; MAX_PACKET];
    let (kind, rest) = match receive(&near, &mut packet) {
        Some(packet) => packet,
        None => return Err(format!("The container's first process died while it was set up{}", reap(init))),
    };
    let pid = || if jail.namespaces.contains(&Namespace::Pid) { only_child(init) } else { number(rest, 0) };
    let spawned = match kind {
        RUNNING => Spawned::Running(pid()),
        NOT_EXECUTED => Spawned::NotExecuted(pid(), io::Error::from_raw_os_error(number(rest, 1))),
        _ => {
            reap(init);
            return Err(String::from_utf8_lossy(rest).into_owned());
        }
    };
    // Until it hears of this it does not take note of the task's end, so that the task's pid could be found above.
    let _ = send(&near, &[RUNNING], SendFlags::NOSIGNAL);
    Ok(Started { init, spawned, socket: near })
}

impl Started {
    /// The task's wait status, when the first process has ended with `status`: its own, if it was killed.
    pub fn end(&self, status: i32) -> i32 {
        let mut packet = [0; MAX_PACKET];
        match receive_now(&self.socket, &mut packet) {
            Some((ENDED, rest)) => number(rest, 0),
            _ if status == 0 => 1, // it does not end so
            _ => status,
        }
    }
}

fn reap(init: i32) -> String {
    match waitpid(Pid::from_raw(init), WaitOptions::empty()) {
        Ok(Some((_, status))) => match status.terminating_signal() {
            Some(signal) => format!(": it was killed by signal {signal}"),
            None => String::new(),
        },
        _ => String::new(),
    }
}

fn only_child(init: i32) -> i32 {
    tree::children_or_scan(init).first().copied().unwrap_or(init)
}

fn receive<'a>(socket: &OwnedFd, packet: &'a mut [u8]) -> Option<(u8, &'a [u8])> {
    loop {
        match recv(socket, &mut *packet, RecvFlags::empty()) {
            Err(Errno::INTR) => {}
            Ok((count, _)) if count > 0 => return Some((packet[0], &packet[1..count])),
            _ => return None,
        }
    }
}

fn receive_now<'a>(socket: &OwnedFd, packet: &'a mut [u8]) -> Option<(u8, &'a [u8])> {
    match recv(socket, &mut *packet, RecvFlags::DONTWAIT) {
        Ok((count, _)) if count > 0 => Some((packet[0], &packet[1..count])),
        _ => None,
    }
}

fn number(bytes: &[u8], place: usize) -> i32 {
    bytes.get(place * 4..).and_then(|bytes| bytes.first_chunk::<4>()).map_or(0, |bytes| i32::from_le_bytes(*bytes))
}

/// The first process' life.
fn run(socket: OwnedFd, host: Option<Netlink>, jail: &Jail, sandbox: &CStr, task: &Spawn<'_>) -> i32 {
    let _ = rustix::thread::set_name(c"mezzo-init");
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
    failpoint::pass("first-process");
    // While there is a socket to the host's network: no other process gets one.
    let plugged = match jail.namespaces.contains(&Namespace::Net) {
        true => network::set_up(jail.network.as_ref(), host),
        false => Ok(()),
    };
    // A neighbour with a root of its own enters what it shares before it makes what it does not.
    let entered = task.enter.map_or(Ok(()), sys::enter_now);
    let entered = entered.map_err(|error| format!("Failed to enter the other container: {error}"));
    let task = &Spawn { enter: None, ..*task };
    let Ok(socket) = edge::keep_only(socket) else { return 1 };
    // The supervisor may have died before the line above.
    if recv(&socket, &mut [0; 1], RecvFlags::DONTWAIT).is_ok() {
        return 1;
    }
    let told = |kind: u8, numbers: &[i32]| tell(socket.as_fd(), kind, numbers);
    if let Err(message) = plugged.and(entered).and_then(|()| set_up(jail, sandbox)) {
        say(socket.as_fd(), &message);
        return 1;
    }
    let pid = match sys::spawn(task) {
        Spawned::Running(pid) => {
            told(RUNNING, &[pid]);
            pid
        }
        Spawned::NotExecuted(pid, error) => {
            told(NOT_EXECUTED, &[pid, error.raw_os_error().unwrap_or_default()]);
            pid
        }
        Spawned::Failed(what, error) => {
            say(socket.as_fd(), &format!("Failed to {what}: {error}"));
            return 1;
        }
    };
    let _ = receive(&socket, &mut [0; 8]);
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((ended, status))) if Some(ended) == Pid::from_raw(pid) => {
                told(ENDED, &[status.as_raw()]);
                return 0;
            }
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return 1,
        }
    }
}

fn set_up(jail: &Jail, sandbox: &CStr) -> Result<(), String> {
    failpoint::pass("plugged");
    cgroup::join(&jail.cgroups)?;
    failpoint::pass("joined");
    if let Some(score) = jail.oom_score {
        std::fs::write("/proc/self/oom_score_adj", score.to_string())
            .map_err(|error| format!("Failed to set oom_score_adj to {score}: {error}"))?;
    }
    if let Some(name) = &jail.hostname {
        rustix::system::sethostname(name.as_bytes())
            .map_err(|error| format!("Failed to set the container's host name '{name}': {error}"))?;
    }
    if jail.namespaces.contains(&Namespace::Mount) {
        let sandbox = Path::new(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(sandbox.to_bytes()));
        mounts::set_up(jail, sandbox)?;
        failpoint::pass("mounted");
    }
    Ok(())
}

fn tell(socket: BorrowedFd<'_>, kind: u8, numbers: &[i32]) {
    let mut packet = vec![kind];
    numbers.iter().for_each(|number| packet.extend(number.to_le_bytes()));
    let _ = send(socket, &packet, SendFlags::NOSIGNAL);
}

fn say(socket: BorrowedFd<'_>, text: &str) {
    let mut packet = vec![FAILED];
    packet.extend(text.as_bytes().iter().take(MAX_PACKET - 1));
    let _ = send(socket, &packet, SendFlags::NOSIGNAL);
}
