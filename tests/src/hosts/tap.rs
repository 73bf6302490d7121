//! A network device whose cable ends in this process.
#![allow(unsafe_code)] // the kernel makes such a device by an ioctl, for which no library at hand has a safe call

use std::{
    fs::{File, OpenOptions},
    os::{fd::AsRawFd, unix::fs::OpenOptionsExt},
};

use nix::libc;

/// Gives a descriptor of `/dev/net/tun` its device (linux/if_tun.h).
const TUNSETIFF: libc::c_ulong = 0x4004_54ca;

/// Makes a TAP device of this name in the present namespace: each read or write is one Ethernet frame.
pub(super) fn open(name: &str) -> std::io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open("/dev/net/tun")?;
    // SAFETY: all bytes zero is a valid `ifreq`, which is plain data.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (place, byte) in request.ifr_name.iter_mut().zip(name.bytes().take(libc::IFNAMSIZ - 1)) {
        *place = libc::c_char::from_ne_bytes([byte]);
    }
    let flags = libc::IFF_TAP | libc::IFF_NO_PI;
    request.ifr_ifru.ifru_flags = libc::c_short::try_from(flags).map_err(std::io::Error::other)?;
    // SAFETY: the descriptor is open, and the kernel reads and writes no more than the `ifreq`.
    let made = unsafe { libc::ioctl(file.as_raw_fd(), TUNSETIFF, &raw mut request) };
    if made < 0 { Err(std::io::Error::last_os_error()) } else { Ok(file) }
}
