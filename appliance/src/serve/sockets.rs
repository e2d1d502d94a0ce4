//! Sockets that hear and speak on one link only, whatever addresses it has.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::sockopt::{
    BindToDevice, Broadcast, Ipv6MulticastHops, Ipv6RecvHopLimit, Ipv6Ttl, Ipv6V6Only, ReuseAddr,
};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockProtocol, SockType, SockaddrIn, SockaddrIn6, bind, setsockopt, socket,
};
use podzol_appliance_ra::HOP_LIMIT;
use podzol_vocab::InterfaceName;
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};

/// How many connections the kernel holds that nobody has accepted yet.
const BACKLOG: u32 = 64;

/// What all sockets here are.
const FLAGS: SockFlag = SockFlag::SOCK_CLOEXEC.union(SockFlag::SOCK_NONBLOCK);

/// A UDP socket on a port of a link, for one of its addresses; for all and for broadcasts if it is the unspecified one of
/// IPv4; or for a group of IPv6, which the socket still has to join.
pub(super) fn udp(link: &InterfaceName, address: impl Into<IpAddr>, port: u16) -> io::Result<UdpSocket> {
    let address = address.into();
    let family = if address.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet };
    let socket: OwnedFd = socket(family, SockType::Datagram, FLAGS, None)?;
    setsockopt(&socket, ReuseAddr, &true)?;
    setsockopt(&socket, BindToDevice, &link.as_str().into())?;
    match address {
        IpAddr::V4(address) => {
            setsockopt(&socket, Broadcast, &true)?;
            bind(socket.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(address, port)))?;
        }
        IpAddr::V6(address) => {
            setsockopt(&socket, Ipv6V6Only, &true)?;
            // What is link-local is of the link that it is bound to.
            bind(socket.as_raw_fd(), &SockaddrIn6::from(SocketAddrV6::new(address, port, 0, 0)))?;
        }
    }
    UdpSocket::from_std(socket.into())
}

/// A socket that sends packets of ICMPv6 on a link from one of its addresses, with the hop limit of neighbour discovery, and
/// hears those of one type that are for that address or for groups. To who waits for it, it is like one of UDP; its packets
/// have no ports.
pub(super) fn icmpv6(link: &InterfaceName, from: Ipv6Addr, heard: u8) -> io::Result<UdpSocket> {
    let socket = socket(AddressFamily::Inet6, SockType::Raw, FLAGS, SockProtocol::IcmpV6)?;
    hear_only(&socket, heard)?;
    setsockopt(&socket, BindToDevice, &link.as_str().into())?;
    setsockopt(&socket, Ipv6MulticastHops, &HOP_LIMIT.into())?;
    setsockopt(&socket, Ipv6Ttl, &HOP_LIMIT.into())?;
    setsockopt(&socket, Ipv6RecvHopLimit, &true)?;
    bind(socket.as_raw_fd(), &SockaddrIn6::from(SocketAddrV6::new(from, 0, 0, 0)))?;
    UdpSocket::from_std(socket.into())
}

/// Has a socket of ICMPv6 hear packets of one type only (RFC 3542, 3.2).
fn hear_only(socket: &OwnedFd, kind: u8) -> io::Result<()> {
    /// The option's number (linux/icmpv6.h). A bit that is set is a type that is not heard.
    const FILTER: libc::c_int = 1;
    let mut filter = [u32::MAX; 8];
    filter[usize::from(kind) / 32] &= !(1 << (kind % 32));
    #[expect(unsafe_code, reason = "nix has no such option")]
    // SAFETY: the filter lives until the call ends, and the kernel copies it; its size is passed; the descriptor is open.
    let set = unsafe {
        let (filter, size) = ((&raw const filter).cast(), size_of_val(&filter) as libc::socklen_t);
        libc::setsockopt(socket.as_raw_fd(), libc::IPPROTO_ICMPV6, FILTER, filter, size)
    };
    Errno::result(set)?;
    Ok(())
}

/// A TCP listener on a port of a link.
pub(crate) fn tcp(link: &str, address: impl Into<IpAddr>, port: u16) -> io::Result<TcpListener> {
    let address = address.into();
    let socket = if address.is_ipv6() { TcpSocket::new_v6()? } else { TcpSocket::new_v4()? };
    socket.set_reuseaddr(true)?;
    socket.bind_device(Some(link.as_bytes()))?;
    socket.bind(SocketAddr::new(address, port))?;
    socket.listen(BACKLOG)
}

/// The kernel's number of a link, which it has until it goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct LinkIndex(u32);

impl LinkIndex {
    pub(super) fn of(link: &InterfaceName) -> io::Result<Self> {
        Ok(Self(nix::net::if_::if_nametoindex(link.as_str())?))
    }

    pub(super) const fn number(self) -> u32 {
        self.0
    }
}

/// Sends Ethernet frames as they are. To close one takes the kernel up to 20 ms, during which its thread waits
/// (`packet_release` of Linux): nobody opens one to say a word.
#[derive(Debug)]
pub(super) struct Frames(OwnedFd);

impl Frames {
    pub(super) fn open() -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        // Without a protocol it receives nothing.
        socket(AddressFamily::Packet, SockType::Raw, flags, None).map(Self).map_err(Into::into)
    }

    /// A frame for which the kernel has no room is lost, as it could be on the wire.
    pub(super) fn send(&self, link: LinkIndex, frame: &[u8]) -> io::Result<()> {
        #[expect(unsafe_code, reason = "nix cannot make the address of a link")]
        // SAFETY: the address is plain data for which zero is a value; each pointer is passed with the size of what it
        // points to; and the descriptor is open.
        let sent = unsafe {
            let mut to: libc::sockaddr_ll = std::mem::zeroed();
            to.sll_family = libc::AF_PACKET as u16;
            to.sll_ifindex = link.0.cast_signed();
            let size = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
            let (descriptor, to) = (self.0.as_raw_fd(), (&raw const to).cast());
            libc::sendto(descriptor, frame.as_ptr().cast(), frame.len(), 0, to, size)
        };
        match Errno::result(sent) {
            Ok(_) | Err(Errno::EAGAIN | Errno::ENOBUFS) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Connections of one listener: so many at a time, and fewer of each client, so that one of them does not keep the others
/// out.
#[derive(Debug, Clone, Default)]
pub(super) struct Places(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// How many connections a listener has at a time, and of these how many of one client.
const CONNECTIONS: usize = 64;
const OF_ONE: usize = 8;

impl Places {
    /// A place for a connection, if there is one.
    pub(super) fn take(&self, client: IpAddr) -> Option<Place> {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = taken.values().sum();
        if all >= CONNECTIONS || taken.get(&client).is_some_and(|own| *own >= OF_ONE) {
            return None;
        }
        *taken.entry(client).or_default() += 1;
        Some(Place { places: self.clone(), client })
    }
}

/// A connection's place, which it has until this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Places,
    client: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = taken.get_mut(&self.client) {
            *own -= 1;
            if *own == 0 {
                taken.remove(&self.client);
            }
        }
    }
}

/// The next connection that has a place. One for which there is none is closed.
pub(super) async fn accept(listener: &TcpListener, places: &Places) -> (TcpStream, SocketAddr, Place) {
    /// How long to wait when the kernel has no room for another file.
    const PAUSE: Duration = Duration::from_millis(50);
    loop {
        match listener.accept().await {
            Ok((stream, from)) => {
                if let Some(place) = places.take(from.ip()) {
                    return (stream, from, place);
                }
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_client_has_few_places_and_gives_them_back() {
        let places = Places::default();
        let client = |last| IpAddr::from([10, 1, 1, last]);
        let mut held: Vec<Place> = (0..OF_ONE).filter_map(|_| places.take(client(2))).collect();
        assert_eq!(held.len(), OF_ONE);
        assert!(places.take(client(2)).is_none());
        assert!(places.take(client(3)).is_some());
        held.pop();
        assert!(places.take(client(2)).is_some());
        held.extend(
            (10..30).flat_map(|last| [places.take(client(last)), places.take(client(last))]).flatten(),
        );
        while let Some(place) = places.take(client(held.len() as u8)) {
            held.push(place);
        }
        assert_eq!(held.len(), CONNECTIONS);
        drop(held);
        assert!(places.0.lock().unwrap().is_empty());
    }
}
