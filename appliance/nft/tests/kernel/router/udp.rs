//! UDP, to one and to all.

use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::socket::sockopt::{BindToDevice, ReuseAddr};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, setsockopt, socket};

use super::Namespace;
use super::traffic::{Address, GLANCE, PATIENCE};

impl Namespace {
    /// Sends back what comes to an address, as long as the test runs.
    pub(crate) fn echo_udp(&self, (address, port): (impl Address, u16)) {
        let socket = self.inside(|| UdpSocket::bind(address.at(port)).unwrap());
        std::thread::spawn(move || {
            let mut packet = [0; 64];
            while let Ok((length, from)) = socket.recv_from(&mut packet) {
                let _ = socket.send_to(&packet[..length], from);
            }
        });
    }

    /// Whether something comes back from an address.
    pub(crate) fn hears_udp<A: Address>(&self, from: A, to: (A, u16)) -> bool {
        let (socket, to) = (self.inside(|| UdpSocket::bind(from.at(0)).unwrap()), to.0.at(to.1));
        socket.set_read_timeout(Some(GLANCE)).unwrap();
        socket.send_to(b"hello", to).unwrap();
        socket.recv_from(&mut [0; 64]).is_ok_and(|(_, answerer)| answerer == to)
    }

    /// Sends a packet to all on a link.
    pub(crate) fn broadcast(&self, link: &str, from: u16, to: u16) {
        let make = || socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None);
        let socket = self.inside(make).unwrap();
        // A program that another test starts can hold the last socket of this port a moment longer.
        setsockopt(&socket, ReuseAddr, &true).unwrap();
        setsockopt(&socket, BindToDevice, &link.into()).unwrap();
        bind(socket.as_raw_fd(), &SockaddrIn::new(0, 0, 0, 0, from)).unwrap();
        let socket = UdpSocket::from(socket);
        socket.set_broadcast(true).unwrap();
        socket.send_to(b"hello", (Ipv4Addr::BROADCAST, to)).unwrap();
    }

    /// Sends a packet from an address to another.
    pub(crate) fn tell<A: Address>(&self, from: A, to: (A, u16)) {
        let socket = self.inside(|| UdpSocket::bind(from.at(0)).unwrap());
        socket.send_to(b"hello", to.0.at(to.1)).unwrap();
    }

    /// A socket that hears what comes to an address.
    pub(crate) fn listen(&self, (address, port): (impl Address, u16)) -> UdpSocket {
        let socket = self.inside(|| UdpSocket::bind(address.at(port)).unwrap());
        socket.set_read_timeout(Some(GLANCE)).unwrap();
        socket
    }

    /// How many packets come to an address of this one while something is done and `sender` sends as fast as it can.
    pub(crate) fn hears_flood(&self, to: (Ipv4Addr, u16), sender: &Self, act: impl FnOnce()) -> usize {
        let receiver = self.inside(|| UdpSocket::bind(to).unwrap());
        let socket = sender.inside(|| UdpSocket::bind((super::CLIENT, 0)).unwrap());
        let (stop, started) = (AtomicBool::new(false), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let _ = socket.send_to(b"hello", to);
                    started.store(true, Ordering::Relaxed);
                }
            });
            let deadline = std::time::Instant::now() + PATIENCE;
            while !started.load(Ordering::Relaxed) && std::time::Instant::now() < deadline {
                std::thread::yield_now();
            }
            act();
            stop.store(true, Ordering::Relaxed);
        });
        receiver.set_nonblocking(true).unwrap();
        std::iter::from_fn(|| receiver.recv(&mut [0; 64]).ok()).count()
    }
}

/// Where a packet came from that comes to a socket while something is done, or nothing if none does.
pub(crate) fn hears<A: Address>(socket: &UdpSocket, act: impl FnOnce()) -> Option<A> {
    act();
    socket.recv_from(&mut [0; 64]).ok().and_then(|(_, from)| A::of(from.ip()))
}
