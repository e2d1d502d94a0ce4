//! All packets of a link, in both directions.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::sockopt::RcvBuf;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, setsockopt, socket};
use podzol_vocab::InterfaceName;
use tokio::io::unix::AsyncFd;

/// Hears a link. Whoever drops it without [`close`](Self::close) may wait for the kernel.
#[derive(Debug)]
pub(super) struct Socket(AsyncFd<OwnedFd>);

/// A packet whose first bytes are in the buffer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Packet {
    /// How many bytes it has, which may be more than are in the buffer.
    pub(super) length: usize,
    /// When it was taken, since 1970.
    pub(super) at: Duration,
}

impl Socket {
    /// One for which the kernel holds so many bytes.
    pub(super) fn open(link: &InterfaceName, room: usize) -> io::Result<Self> {
        let index = nix::net::if_::if_nametoindex(link.as_str())?;
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        // Without a protocol it hears nothing until it is bound.
        let socket = socket(AddressFamily::Packet, SockType::Raw, flags, None)?;
        // The kernel doubles what is asked for.
        setsockopt(&socket, RcvBuf, &(room / 2))?;
        bind(&socket, index)?;
        #[expect(unsafe_code, reason = "tokio has no socket of this kind")]
        // SAFETY: the socket gives the same descriptor until it is dropped, and closes it only then.
        let registered = unsafe { AsyncFd::register(socket) };
        Ok(Self(registered?))
    }

    /// The next packet.
    pub(super) async fn next(&self, buffer: &mut [u8]) -> io::Result<Packet> {
        loop {
            let mut ready = self.0.readable().await?;
            if let Ok(received) = ready.try_io(|socket| receive(socket.get_ref(), buffer)) {
                return received;
            }
        }
    }

    /// The next packet, if it is there.
    pub(super) fn try_next(&self, buffer: &mut [u8]) -> io::Result<Option<Packet>> {
        match receive(self.0.get_ref(), buffer) {
            Ok(packet) => Ok(Some(packet)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Closes it on a thread of its own: the kernel takes up to 20 ms (`packet_release`), in which no service would answer.
    pub(super) fn close(self) {
        let socket = self.0.into_inner();
        tokio::task::spawn_blocking(move || drop(socket));
    }
}

fn receive(socket: &OwnedFd, buffer: &mut [u8]) -> io::Result<Packet> {
    let length = recv(socket.as_raw_fd(), buffer, MsgFlags::MSG_TRUNC)?;
    let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(Packet { length, at })
}

fn bind(socket: &OwnedFd, index: u32) -> io::Result<()> {
    #[expect(unsafe_code, reason = "nix cannot make the address of a link")]
    // SAFETY: the address is plain data for which zero is a value, and is passed with its size; the descriptor is open.
    let bound = unsafe {
        let mut to: libc::sockaddr_ll = std::mem::zeroed();
        to.sll_family = libc::AF_PACKET as u16;
        to.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
        to.sll_ifindex = index.cast_signed();
        let size = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        libc::bind(socket.as_raw_fd(), (&raw const to).cast(), size)
    };
    Errno::result(bound)?;
    Ok(())
}
