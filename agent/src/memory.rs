//! Gives memory that a burst of tasks, or recovery, left behind back to the system: an agent is idle most of its life.
#![allow(unsafe_code)] // one call of the C library

/// Returns what is free in the allocator's heaps to the operating system.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(crate) fn trim() {
    unsafe extern "C" {
        fn malloc_trim(pad: usize) -> std::ffi::c_int;
    }
    // SAFETY: malloc_trim(3) takes any pad, touches free memory only and locks the heaps while it does.
    unsafe { malloc_trim(0) };
}

/// Other allocators look after themselves.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn trim() {}
