//! The operating system's edge of the jail: making its first process, and confining the task's.
#![allow(unsafe_code)]

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    ptr,
};

use nix::libc::{self, c_int, c_ulong};

use super::{Jail, Namespace};
use crate::frame::Credentials;

const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Forks into new namespaces, and into a cgroup of version 2. `Some(pid)` in the parent, `None` in the child.
pub(super) fn clone(namespaces: &[Namespace], cgroup: Option<BorrowedFd<'_>>) -> io::Result<Option<i32>> {
    // SAFETY: all zero is a valid value of this structure of numbers.
    let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    for namespace in namespaces {
        arguments.flags |= u64::from(
            match namespace {
                Namespace::Mount => libc::CLONE_NEWNS,
                Namespace::Pid => libc::CLONE_NEWPID,
                Namespace::Ipc => libc::CLONE_NEWIPC,
                Namespace::Net => libc::CLONE_NEWNET,
                Namespace::Uts => libc::CLONE_NEWUTS,
            }
            .cast_unsigned(),
        );
    }
    if let Some(cgroup) = cgroup {
        arguments.flags |= CLONE_INTO_CGROUP;
        arguments.cgroup = u64::from(cgroup.as_raw_fd().cast_unsigned());
    }
    arguments.exit_signal = u64::from(libc::SIGCHLD.cast_unsigned());
    // SAFETY: as a fork: no memory is shared, and the process has one thread, so that no lock is held by another.
    match unsafe { libc::syscall(libc::SYS_clone3, &raw const arguments, size_of::<libc::clone_args>()) } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(None),
        pid => Ok(Some(i32::try_from(pid).unwrap_or(i32::MAX))),
    }
}

/// Moves `kept` to 3 and closes every descriptor above: a container may look into the descriptors of its first process.
///
/// To be called in a process that ends without dropping what owned them.
pub(super) fn keep_only(kept: OwnedFd) -> io::Result<OwnedFd> {
    // SAFETY: by the condition above nothing uses or closes the descriptors any more that are closed here.
    unsafe {
        let fd = std::os::fd::IntoRawFd::into_raw_fd(kept);
        if fd != 3 && libc::dup3(fd, 3, libc::O_CLOEXEC) == -1 {
            return Err(io::Error::last_os_error());
        }
        if libc::syscall(libc::SYS_close_range, 4, libc::c_uint::MAX, 0) == -1 {
            return Err(io::Error::last_os_error());
        }
        Ok(OwnedFd::from_raw_fd(3))
    }
}

/// Makes a mount, and those below it if `all`, read-only.
pub(super) fn make_read_only(mount: BorrowedFd<'_>, all: bool) -> io::Result<()> {
    #[repr(C)]
    struct Attributes {
        set: u64,
        clear: u64,
        propagation: u64,
        user_namespace: u64,
    }
    const RDONLY: u64 = 1;
    let attributes = Attributes { set: RDONLY, clear: 0, propagation: 0, user_namespace: 0 };
    let flags = libc::AT_EMPTY_PATH | if all { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the pointers are to a terminated text and to a structure that live through the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attributes,
            size_of::<Attributes>(),
        )
    };
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// When something is done to the task's process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// As the agent's user.
    BeforeUser,
    /// As the task's user.
    AfterUser,
    /// At the very end.
    Last,
}

/// The limits of a task's process, made ready so that they can be set without taking memory.
#[derive(Debug)]
pub(crate) struct Confined {
    rlimits: Vec<(libc::c_uint, libc::rlimit64)>,
    capabilities: Option<super::Capabilities>,
    no_new_privileges: bool,
    filters: Vec<libc::sock_fprog>,
    /// Only who may do anything can install a filter without giving up new rights: it has to be done before.
    filters_early: bool,
}

/// Version 3 of capset(2)'s header: 64 capabilities.
const CAPABILITY_VERSION: u32 = 0x2008_0522;
const LAST_CAPABILITY: u64 = 63;

impl Confined {
    /// Those of a jail, which has to outlive it.
    pub(crate) fn new(jail: &Jail, credentials: Option<&Credentials>) -> Self {
        let limit = |value: u64| if value == u64::MAX { libc::RLIM64_INFINITY } else { value };
        let program = |bytes: &Vec<u8>| libc::sock_fprog {
            len: u16::try_from(bytes.len() / size_of::<libc::sock_filter>()).unwrap_or(u16::MAX),
            filter: bytes.as_ptr().cast_mut().cast(),
        };
        Self {
            rlimits: jail
                .rlimits
                .iter()
                .map(|one| {
                    let values = libc::rlimit64 { rlim_cur: limit(one.soft), rlim_max: limit(one.hard) };
                    (one.resource, values)
                })
                .collect(),
            capabilities: jail.capabilities,
            no_new_privileges: jail.no_new_privileges,
            filters: jail.filters.iter().map(program).collect(),
            filters_early: !jail.no_new_privileges && (credentials.is_some() || jail.capabilities.is_some()),
        }
    }

    /// Does what is to be done now; what could not be done, with errno set. Nothing but system calls.
    ///
    /// # Safety
    /// The jail lives, and the process is the task's.
    pub(crate) unsafe fn apply(&self, moment: Moment) -> Result<(), &'static str> {
        // SAFETY: as above; the structures lie in memory that lives through the calls.
        unsafe {
            match moment {
                Moment::BeforeUser => {
                    self.set_rlimits()?;
                    self.bound_capabilities()?;
                    if self.filters_early {
                        self.install_filters()?;
                    }
                    if self.capabilities.is_some() {
                        check(libc::prctl(libc::PR_SET_KEEPCAPS, 1, 0, 0, 0), "keep the task's capabilities")?;
                    }
                }
                Moment::AfterUser => {
                    self.set_capabilities()?;
                    if self.no_new_privileges {
                        let result = libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
                        check(result, "keep the task from new privileges")?;
                    }
                }
                Moment::Last => {
                    if !self.filters_early {
                        self.install_filters()?;
                    }
                }
            }
        }
        Ok(())
    }

    unsafe fn set_rlimits(&self) -> Result<(), &'static str> {
        for (resource, limit) in &self.rlimits {
            // SAFETY: `limit` lives through the call.
            let result = unsafe {
                libc::syscall(libc::SYS_prlimit64, 0, *resource, &raw const *limit, ptr::null::<libc::rlimit64>())
            };
            if result == -1 {
                return Err("set the task's resource limits (rlimit_info)");
            }
        }
        Ok(())
    }

    unsafe fn bound_capabilities(&self) -> Result<(), &'static str> {
        let Some(capabilities) = self.capabilities else { return Ok(()) };
        for capability in 0..=LAST_CAPABILITY {
            if capabilities.bounding >> capability & 1 == 1 {
                continue;
            }
            // SAFETY: takes numbers only. A capability that the kernel does not know needs no dropping.
            unsafe {
                if libc::prctl(libc::PR_CAPBSET_DROP, capability as c_ulong, 0, 0, 0) == -1
                    && *libc::__errno_location() != libc::EINVAL
                {
                    return Err("bound the task's capabilities");
                }
            }
        }
        Ok(())
    }

    unsafe fn set_capabilities(&self) -> Result<(), &'static str> {
        let Some(capabilities) = self.capabilities else { return Ok(()) };
        let (low, high) = halves(capabilities.effective);
        let header: [u32; 2] = [CAPABILITY_VERSION, 0];
        // Effective, permitted, inheritable; first of the lower 32, then of the upper ones.
        let sets: [u32; 6] = [low, low, low, high, high, high];
        // SAFETY: header and sets live through the calls.
        unsafe {
            if libc::syscall(libc::SYS_capset, header.as_ptr(), sets.as_ptr()) == -1 {
                return Err("set the task's capabilities (the agent can give no more than it has)");
            }
            libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
            for capability in 0..=LAST_CAPABILITY {
                if capabilities.effective >> capability & 1 == 1 {
                    let raise = libc::PR_CAP_AMBIENT_RAISE;
                    check(
                        libc::prctl(libc::PR_CAP_AMBIENT, raise, capability as c_ulong, 0, 0),
                        "keep the task's capabilities over execve",
                    )?;
                }
            }
        }
        Ok(())
    }

    unsafe fn install_filters(&self) -> Result<(), &'static str> {
        const SECCOMP_SET_MODE_FILTER: c_int = 1;
        for program in &self.filters {
            // SAFETY: the program lies in the jail's memory, which lives.
            let result = unsafe { libc::syscall(libc::SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &raw const *program) };
            if result == -1 {
                return Err("install the task's filter of system calls (seccomp)");
            }
        }
        Ok(())
    }
}

fn halves(bits: u64) -> (u32, u32) {
    #[allow(clippy::cast_possible_truncation)] // what is cut is the other half
    (bits as u32, (bits >> 32) as u32)
}

fn check(result: c_int, what: &'static str) -> Result<(), &'static str> {
    if result == -1 { Err(what) } else { Ok(()) }
}
