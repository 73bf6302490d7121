//! The kernel's network devices, over rtnetlink(7): only what containers' networks need. Each request is one message that
//! the kernel acknowledges.

use std::{
    io,
    net::Ipv4Addr,
    os::fd::{AsRawFd, BorrowedFd, OwnedFd},
};

use nix::{
    libc,
    sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket},
};

/// linux/veth.h
const VETH_INFO_PEER: u16 = 1;
/// linux/if_link.h
const INFO_KIND: u16 = 1;
const INFO_DATA: u16 = 2;

const HEADER_BYTES: usize = 16;
const UP: u32 = 1; // IFF_UP

/// A socket to the network in which it was opened, whoever holds it.
#[derive(Debug)]
pub struct Netlink(OwnedFd);

/// The number of a device of the calling thread's network; `None` if there is none of this name.
pub fn index_of(name: &str) -> Option<u32> {
    nix::net::if_::if_nametoindex(name).ok()
}

impl Netlink {
    /// Of the calling thread's network.
    ///
    /// # Errors
    /// When the kernel has no such sockets.
    pub fn open() -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC;
        Ok(Self(socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)?))
    }

    /// A bridge with this address of hardware, which else changed with the devices on it.
    ///
    /// # Errors
    /// `AlreadyExists` when there is a device of this name; `PermissionDenied` without CAP_NET_ADMIN.
    pub fn make_bridge(&self, name: &str, hardware: [u8; 6]) -> io::Result<()> {
        let mut message = Message::link(libc::RTM_NEWLINK, CREATE, 0, 0);
        message.text(libc::IFLA_IFNAME, name);
        message.attribute(libc::IFLA_ADDRESS, &hardware);
        message.nested(libc::IFLA_LINKINFO, |info| info.attribute(INFO_KIND, b"bridge"));
        self.ask(message)
    }

    /// A cable: one end, up, on the bridge of this number, the other end in the network of `namespace`.
    ///
    /// # Errors
    /// `AlreadyExists` when there is a device of the near end's name; what the kernel says else.
    pub fn make_cable(&self, near: &str, bridge: u32, far: &str, namespace: BorrowedFd<'_>) -> io::Result<()> {
        let mut message = Message::link(libc::RTM_NEWLINK, CREATE, 0, UP);
        message.text(libc::IFLA_IFNAME, near);
        message.attribute(libc::IFLA_MASTER, &bridge.to_ne_bytes());
        message.nested(libc::IFLA_LINKINFO, |info| {
            info.attribute(INFO_KIND, b"veth");
            info.nested(INFO_DATA, |data| {
                data.nested(VETH_INFO_PEER, |peer| {
                    peer.bytes.extend(link_part(0, 0));
                    peer.text(libc::IFLA_IFNAME, far);
                    peer.attribute(libc::IFLA_NET_NS_FD, &namespace.as_raw_fd().to_ne_bytes());
                });
            });
        });
        self.ask(message)
    }

    /// Takes a device away.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        let mut message = Message::link(libc::RTM_DELLINK, 0, 0, 0);
        message.text(libc::IFLA_IFNAME, name);
        self.ask(message)
    }

    /// Sets a device up.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn raise(&self, index: u32) -> io::Result<()> {
        self.ask(Message::link(libc::RTM_NEWLINK, 0, index, UP))
    }

    /// Gives a device an address, with so many bits of its network.
    ///
    /// # Errors
    /// `AlreadyExists` when it has it; what the kernel says else.
    pub fn give_address(&self, index: u32, address: Ipv4Addr, prefix: u8) -> io::Result<()> {
        let mut message = Message::new(libc::RTM_NEWADDR, CREATE);
        // struct ifaddrmsg
        message.bytes.extend([family(), prefix, 0, libc::RT_SCOPE_UNIVERSE]);
        message.bytes.extend(index.to_ne_bytes());
        let host_bits = u32::MAX.checked_shr(prefix.into()).unwrap_or(0);
        message.attribute(libc::IFA_LOCAL, &address.octets());
        message.attribute(libc::IFA_ADDRESS, &address.octets());
        message.attribute(libc::IFA_BROADCAST, &(u32::from(address) | host_bits).to_be_bytes());
        self.ask(message)
    }

    /// Whatever has no other route goes by this gateway.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn route_by(&self, gateway: Ipv4Addr) -> io::Result<()> {
        let mut message = Message::new(libc::RTM_NEWROUTE, CREATE);
        // struct rtmsg
        let table = libc::RT_TABLE_MAIN;
        message.bytes.extend([family(), 0, 0, 0, table, libc::RTPROT_BOOT, libc::RT_SCOPE_UNIVERSE, libc::RTN_UNICAST]);
        message.bytes.extend(0_u32.to_ne_bytes());
        message.attribute(libc::RTA_GATEWAY, &gateway.octets());
        self.ask(message)
    }

    fn ask(&self, message: Message) -> io::Result<()> {
        send(self.0.as_raw_fd(), &message.finish(), MsgFlags::empty())?;
        let mut answer = [0; 4096];
        let count = recv(self.0.as_raw_fd(), &mut answer, MsgFlags::empty())?;
        // struct nlmsghdr, and of the acknowledgement a negative errno.
        match answer[..count].get(HEADER_BYTES..).and_then(<[u8]>::first_chunk::<4>) {
            Some(number) => match i32::from_ne_bytes(*number) {
                0 => Ok(()),
                error => Err(io::Error::from_raw_os_error(-error)),
            },
            None => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

const CREATE: u16 = 0x600; // NLM_F_CREATE | NLM_F_EXCL

fn family() -> u8 {
    u8::try_from(libc::AF_INET).unwrap_or_default()
}

/// struct ifinfomsg
fn link_part(index: u32, flags: u32) -> [u8; 16] {
    let mut part = [0; 16];
    part[4..8].copy_from_slice(&index.to_ne_bytes());
    part[8..12].copy_from_slice(&flags.to_ne_bytes());
    part[12..16].copy_from_slice(&flags.to_ne_bytes()); // which of them change
    part
}

/// A request that grows.
struct Message {
    bytes: Vec<u8>,
}

impl Message {
    fn new(kind: u16, flags: u16) -> Self {
        let mut bytes = vec![0; HEADER_BYTES];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&(flags | 0x5).to_ne_bytes()); // NLM_F_REQUEST | NLM_F_ACK
        Self { bytes }
    }

    fn link(kind: u16, flags: u16, index: u32, up: u32) -> Self {
        let mut message = Self::new(kind, flags);
        message.bytes.extend(link_part(index, up));
        message
    }

    fn text(&mut self, kind: u16, text: &str) {
        self.attribute(kind, &[text.as_bytes(), b"\0"].concat());
    }

    fn attribute(&mut self, kind: u16, value: &[u8]) {
        self.nested(kind, |message| message.bytes.extend(value));
    }

    /// struct rtattr: length without what fills up to four bytes, kind, value.
    fn nested(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) {
        let start = self.bytes.len();
        self.bytes.extend([0; 2]);
        self.bytes.extend(kind.to_ne_bytes());
        fill(self);
        let length = u16::try_from(self.bytes.len() - start).unwrap_or(u16::MAX);
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn finish(mut self) -> Vec<u8> {
        let length = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        self.bytes[..4].copy_from_slice(&length.to_ne_bytes());
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_lie_within_one_another_and_are_filled_up() {
        let mut message = Message::new(16, 0);
        message.nested(18, |info| info.attribute(1, b"veth!"));
        let bytes = message.finish();
        assert_eq!(bytes.len(), 16 + 4 + 12);
        assert_eq!(bytes[..4], 32_u32.to_ne_bytes());
        assert_eq!(bytes[16..20], [16, 0, 18, 0]);
        assert_eq!(&bytes[20..29], [9, 0, 1, 0, b'v', b'e', b't', b'h', b'!']);
        assert_eq!(bytes[29..], [0; 3]);
    }

    #[test]
    fn what_the_kernel_refuses_is_told() {
        let netlink = Netlink::open().unwrap();
        let error = netlink.remove("mezzo-no-such").unwrap_err();
        assert!(matches!(error.raw_os_error(), Some(libc::ENODEV | libc::EPERM | libc::EINVAL)), "{error}");
        assert_eq!(index_of("mezzo-no-such"), None);
        assert!(index_of("lo").is_some());
    }
}
