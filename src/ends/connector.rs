//! The kernel's process connector, which announces how every process ends (Documentation/driver-api/connector.rst,
//! linux/cn_proc.h).
//!
//! Since Linux 6.6 everybody may listen who is in the first process and user namespace; measured on 6.18. Before
//! that binding is refused; in a container the kernel does as if it listened to us, and says nothing.
//!
//! `PIDFD_GET_INFO` would tell of one process what this tells of all, from Linux 6.15 on. Nothing offers it without
//! `unsafe` (the standard library does in its unstable `PidFd::try_wait`, rust-lang/rust#82971; rustix has
//! bytecodealliance/rustix#1447 open).

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, send, socket_with,
};
use tracing::debug;

use super::status::{CN_IDX_PROC, parse_exit, subscription};

/// The room for one message, in bytes: the kernel's have 76.
const MESSAGE_BYTES: usize = 256;

/// How many messages are read before something else has its turn. The socket's buffer holds about 280.
const MESSAGES_AT_ONCE_MAX: usize = 512;

/// A socket on which the kernel announces ends. Only the kernel and root can send to it.
#[derive(Debug)]
pub(super) struct Connector {
    pub(super) socket: OwnedFd,
}

impl Connector {
    /// Asks for announcements. That it is refused is nothing that a person could mend.
    pub(super) fn listen() -> Option<Self> {
        match Self::subscribed() {
            Ok(connector) => Some(connector),
            Err(error) => {
                debug!(%error, "the kernel does not announce the ends of processes to us");
                None
            }
        }
    }

    fn subscribed() -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let protocol = Some(netlink::CONNECTOR);
        let socket = socket_with(AddressFamily::NETLINK, SocketType::DGRAM, flags, protocol)?;
        bind(&socket, &SocketAddrNetlink::new(0, CN_IDX_PROC))?;
        send(&socket, &subscription(), SendFlags::empty())?;
        Ok(Self { socket })
    }

    /// Returns the processes whose ends have been announced, each with its wait status.
    pub(super) fn announced(&self) -> Vec<(u32, u32)> {
        let mut exits = Vec::new();
        for _ in 0..MESSAGES_AT_ONCE_MAX {
            let mut room = [0; MESSAGE_BYTES];
            match recv(&self.socket, &mut room[..], RecvFlags::empty()) {
                Ok((length, _)) => exits.extend(parse_exit(&room[..length.min(MESSAGE_BYTES)])),
                // Some were lost, because we were too slow (netlink(7)); whoever waits for one gives up.
                Err(rustix::io::Errno::NOBUFS) => debug!("missed announcements of ends"),
                Err(_nothing_yet) => break,
            }
        }
        exits
    }
}

impl AsFd for Connector {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
