//! Sockets that hear and speak on one link only, whatever addresses it has.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::sockopt::{BindToDevice, Broadcast, ReuseAddr};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, setsockopt, socket};
use podzol_vocab::InterfaceName;
use tokio::net::{TcpListener, TcpSocket, UdpSocket};

/// How many connections the kernel holds that nobody has accepted yet.
const BACKLOG: u32 = 64;

/// A UDP socket on a port of a link, for one of its addresses or, unspecified, for all and for broadcasts.
pub(super) fn udp(link: &InterfaceName, address: Ipv4Addr, port: u16) -> io::Result<UdpSocket> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket: OwnedFd = socket(AddressFamily::Inet, SockType::Datagram, flags, None)?;
    setsockopt(&socket, ReuseAddr, &true)?;
    setsockopt(&socket, Broadcast, &true)?;
    setsockopt(&socket, BindToDevice, &link.as_str().into())?;
    bind(socket.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(address, port)))?;
    UdpSocket::from_std(socket.into())
}

/// A TCP listener on a port of a link.
pub(crate) fn tcp(link: &str, address: Ipv4Addr, port: u16) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind_device(Some(link.as_bytes()))?;
    socket.bind(SocketAddr::from((address, port)))?;
    socket.listen(BACKLOG)
}

/// Sends Ethernet frames as they are on a link.
#[derive(Debug)]
pub(super) struct Frames {
    socket: OwnedFd,
    index: u32,
}

impl Frames {
    pub(super) fn open(link: &InterfaceName) -> io::Result<Self> {
        let index = nix::net::if_::if_nametoindex(link.as_str())?;
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        // Without a protocol it receives nothing.
        let socket = socket(AddressFamily::Packet, SockType::Raw, flags, None)?;
        Ok(Self { socket, index })
    }

    /// A frame for which the kernel has no room is lost, as it could be on the wire.
    pub(super) fn send(&self, frame: &[u8]) -> io::Result<()> {
        #[expect(unsafe_code, reason = "nix cannot make the address of a link")]
        // SAFETY: the address is plain data for which zero is a value; each pointer is passed with the size of what it
        // points to; and the descriptor is open.
        let sent = unsafe {
            let mut to: libc::sockaddr_ll = std::mem::zeroed();
            to.sll_family = libc::AF_PACKET as u16;
            to.sll_ifindex = self.index.cast_signed();
            let size = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
            let (descriptor, to) = (self.socket.as_raw_fd(), (&raw const to).cast());
            libc::sendto(descriptor, frame.as_ptr().cast(), frame.len(), 0, to, size)
        };
        match Errno::result(sent) {
            Ok(_) | Err(Errno::EAGAIN | Errno::ENOBUFS) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
