//! How soon threads get a processor when others want it too. Those that decide are short and must not wait; those that render
//! for readers may run long and can.
#![allow(unsafe_code)] // one system call that has no safe form

use std::{cell::Cell, io};

use nix::libc;

/// A thread that has run for less is done, more often than not (`man 2 sched_setattr`; Linux from 6.12 on takes it).
const SHORT_NANOSECONDS: u64 = 100_000;
/// Children of the thread begin as others do: what an agent runs is not meant.
const RESET_ON_FORK: u64 = 1;
const POLICY_OTHER: u32 = 0;
const POLICY_BATCH: u32 = 3;

/// Of the structure below (SCHED_ATTR_SIZE_VER0).
const SIZE: u32 = 48;

/// `struct sched_attr`, its first version.
#[repr(C)]
struct Attributes {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

/// This thread has little to do at a time: it asks for short turns, and in return need not wait for the end of another's long
/// one. Its share stays as it is. Where the system cannot do that, nothing changes.
pub fn prompt() {
    let _ = set(POLICY_OTHER, 0, SHORT_NANOSECONDS);
}

thread_local! {
    static PATIENT: Cell<bool> = const { Cell::new(false) };
}

/// This thread can wait: it is nicer by so much, and takes no processor away from a thread that runs. It should [`give_way`] often.
pub fn patient(nicer: i32) {
    PATIENT.set(true);
    if set(POLICY_BATCH, nicer, 0).is_err() {
        // On Linux it is the thread that becomes nicer. Where that is not allowed, all are equal.
        let _ = rustix::process::nice(nicer);
    }
}

/// Whether this thread can wait.
pub fn is_patient() -> bool {
    PATIENT.get()
}

/// If this thread can wait, others who want its processor come first now. However nice a thread is, it has its share at times,
/// and once it runs, those that wake up may have to wait for the next tick of the clock: milliseconds.
pub fn give_way() {
    if is_patient() {
        rustix::thread::sched_yield();
    }
}

/// Gives way at every 256th of many small steps.
#[derive(Debug, Default)]
pub struct Steps(Cell<u8>);

impl Steps {
    /// One more.
    pub fn step(&self) {
        self.0.set(self.0.get().wrapping_add(1));
        if self.0.get() == 0 {
            give_way();
        }
    }
}

fn set(policy: u32, nicer: i32, runtime: u64) -> io::Result<()> {
    let nice = (rustix::process::nice(0)? + nicer).clamp(-20, 19);
    let attributes =
        Attributes { size: SIZE, policy, flags: RESET_ON_FORK, nice, priority: 0, runtime, deadline: 0, period: 0 };
    // Safety: the kernel reads `size` bytes of a structure that lives until the call is over; 0 is this thread.
    match unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Policy and niceness of this thread.
    fn present() -> (u32, i32) {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        (fields[38].parse().unwrap(), fields[16].parse().unwrap())
    }

    #[test]
    fn a_patient_thread_is_nicer_and_its_neighbours_are_not() {
        let before = present();
        std::thread::spawn(move || {
            patient(10);
            assert_eq!(present(), (POLICY_BATCH, (before.1 + 10).min(19)));
            let of_child = std::thread::spawn(present).join().unwrap();
            assert_eq!(of_child.1, (before.1 + 10).min(19), "niceness is handed on");
        })
        .join()
        .unwrap();
        assert_eq!(present(), before);
    }

    #[test]
    fn the_structure_has_its_size() {
        assert_eq!(std::mem::size_of::<Attributes>(), SIZE as usize);
    }

    #[test]
    fn a_prompt_thread_keeps_its_share() {
        std::thread::spawn(|| {
            let before = present();
            prompt();
            assert_eq!(present(), before);
            set(POLICY_OTHER, 0, SHORT_NANOSECONDS).unwrap();
        })
        .join()
        .unwrap();
    }
}
