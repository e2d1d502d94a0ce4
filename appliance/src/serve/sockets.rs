//! Sockets that hear and speak on one link only, whatever addresses it has.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::OwnedFd;

use nix::sys::socket::sockopt::{BindToDevice, Broadcast, ReuseAddr};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, setsockopt, socket};
use podzol_vocab::InterfaceName;
use tokio::net::{TcpListener, TcpSocket, UdpSocket};

/// How many connections the kernel holds that nobody has accepted yet.
const BACKLOG: u32 = 64;

/// A UDP socket on a port of a link.
pub(super) fn udp(link: &InterfaceName, port: u16) -> io::Result<UdpSocket> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket: OwnedFd = socket(AddressFamily::Inet, SockType::Datagram, flags, None)?;
    setsockopt(&socket, ReuseAddr, &true)?;
    setsockopt(&socket, Broadcast, &true)?;
    setsockopt(&socket, BindToDevice, &link.as_str().into())?;
    bind(std::os::fd::AsRawFd::as_raw_fd(&socket), &SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port)))?;
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
