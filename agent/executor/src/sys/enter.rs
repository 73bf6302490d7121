//! Entering another container's surroundings, between clone and exec: only system calls.

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
    ptr,
};

use nix::libc::{self, c_uint};

/// All resource limits of Linux.
const LIMITS: c_uint = 16;

/// What is entered, made ready beforehand.
#[derive(Debug, Default)]
pub struct Surroundings {
    /// Open `cgroup.procs` of each cgroup to join.
    pub cgroups: Vec<OwnedFd>,
    /// Where children are born; entered by the supervisor, which itself stays where it is.
    pub pid_namespace: Option<OwnedFd>,
    /// Other namespaces, in the order of entering: mounts last.
    pub namespaces: Vec<OwnedFd>,
    /// The root directory.
    pub root: Option<OwnedFd>,
    /// Soft and hard limit of each resource.
    pub limits: Vec<Option<(u64, u64)>>,
    /// Capabilities that are not to be had, one bit each.
    pub lost_capabilities: u64,
    /// Nothing may be gained by an exec.
    pub no_new_privileges: bool,
}

/// The limits of a process.
pub fn limits_of(pid: i32) -> Vec<Option<(u64, u64)>> {
    let of = |resource: c_uint| {
        let mut limit = libc::rlimit64 { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: `limit` is whole and lives through the call, which fills it in.
        let result = unsafe { libc::prlimit64(pid, resource, ptr::null(), &raw mut limit) };
        (result == 0).then_some((limit.rlim_cur, limit.rlim_max))
    };
    (0..LIMITS).map(of).collect()
}

/// Children are born in this PID namespace from now on.
pub(super) fn enter_pid_namespace(surroundings: &Surroundings) -> io::Result<()> {
    let Some(namespace) = &surroundings.pid_namespace else { return Ok(()) };
    // SAFETY: takes no memory.
    match unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWPID) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Enters all but the PID namespace, this process itself.
pub fn enter_now(surroundings: &Surroundings) -> io::Result<()> {
    // SAFETY: no other process shares this memory, and the reference lives.
    if unsafe { enter(surroundings) } { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Enters all; `false` with errno set when something cannot be entered.
///
/// # Safety
/// Runs in a child that shares memory with its suspended parent: no allocation, no panic. `surroundings` lives.
pub(super) unsafe fn enter(surroundings: *const Surroundings) -> bool {
    // SAFETY: by the condition above; all else are system calls on what lies ready.
    unsafe {
        let surroundings = &*surroundings;
        for procs in &surroundings.cgroups {
            if libc::write(procs.as_raw_fd(), c"0".as_ptr().cast(), 1) == -1 {
                return false;
            }
        }
        for namespace in &surroundings.namespaces {
            if libc::setns(namespace.as_raw_fd(), 0) == -1 {
                return false;
            }
        }
        if let Some(root) = &surroundings.root
            && (libc::fchdir(root.as_raw_fd()) == -1 || libc::chroot(c".".as_ptr()) == -1)
        {
            return false;
        }
        for (resource, limit) in (0..LIMITS).zip(&surroundings.limits) {
            if let Some((soft, hard)) = limit {
                let limit = libc::rlimit64 { rlim_cur: *soft, rlim_max: *hard };
                // Higher ones than ours need rights that we may not have: then ours stay.
                libc::prlimit64(0, resource, &raw const limit, ptr::null_mut());
            }
        }
        for capability in 0..64_i32 {
            if surroundings.lost_capabilities & (1 << capability) != 0
                && libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) == -1
            {
                return false;
            }
        }
        !surroundings.no_new_privileges || libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != -1
    }
}
