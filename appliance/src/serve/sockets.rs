//! Sockets that hear and speak on one link only, whatever addresses it has.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::sockopt::{BindToDevice, Broadcast, ReuseAddr};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, setsockopt, socket};
use podzol_vocab::InterfaceName;
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};

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

/// Connections of one listener: so many at a time, and fewer of each client, so that one of them does not keep the others
/// out.
#[derive(Debug, Clone, Default)]
pub(super) struct Places(Arc<Mutex<HashMap<Ipv4Addr, usize>>>);

/// How many connections a listener has at a time, and of these how many of one client.
const CONNECTIONS: usize = 64;
const OF_ONE: usize = 8;

impl Places {
    /// A place for a connection, if there is one.
    pub(super) fn take(&self, client: Ipv4Addr) -> Option<Place> {
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
    client: Ipv4Addr,
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
pub(super) async fn accept(listener: &TcpListener, places: &Places) -> (TcpStream, SocketAddrV4, Place) {
    /// How long to wait when the kernel has no room for another file.
    const PAUSE: Duration = Duration::from_millis(50);
    loop {
        match listener.accept().await {
            Ok((stream, SocketAddr::V4(from))) => {
                if let Some(place) = places.take(*from.ip()) {
                    return (stream, from, place);
                }
            }
            Ok(_) => {}
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
        let client = |last| Ipv4Addr::new(10, 1, 1, last);
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
