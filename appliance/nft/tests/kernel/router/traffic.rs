//! Connections and echo requests from one namespace to others.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use nix::sys::socket::sockopt::{ReceiveTimeout, ReuseAddr, SendTimeout};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, bind, connect, recv, sendto,
    setsockopt, socket,
};
use nix::sys::time::TimeVal;

use super::Namespace;

/// How long an answer may take that is to come.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// How long it is waited for an answer that is not to come.
pub(super) const GLANCE: Duration = Duration::from_millis(300);

/// An address of either family.
pub(crate) trait Address: Copy + Send + Sync + Into<IpAddr> {
    /// Echo requests and what answers them: the protocol, the types, and how long the header before them is.
    const ECHO: (SockProtocol, [u8; 2], usize);

    fn family() -> AddressFamily;
    fn of(address: IpAddr) -> Option<Self>;

    fn at(self, port: u16) -> SocketAddr {
        SocketAddr::new(self.into(), port)
    }
}

impl Address for Ipv4Addr {
    const ECHO: (SockProtocol, [u8; 2], usize) = (SockProtocol::Icmp, [8, 0], 20);

    fn family() -> AddressFamily {
        AddressFamily::Inet
    }

    fn of(address: IpAddr) -> Option<Self> {
        if let IpAddr::V4(address) = address { Some(address) } else { None }
    }
}

impl Address for Ipv6Addr {
    const ECHO: (SockProtocol, [u8; 2], usize) = (SockProtocol::IcmpV6, [128, 129], 0);

    fn family() -> AddressFamily {
        AddressFamily::Inet6
    }

    fn of(address: IpAddr) -> Option<Self> {
        if let IpAddr::V6(address) = address { Some(address) } else { None }
    }
}

/// An established connection, and what the server said of it.
pub(crate) struct Answer<A> {
    /// The address that the server was reached at.
    pub(crate) at: A,
    /// The address that it was reached from, as it saw it.
    pub(crate) from: A,
    stream: TcpStream,
}

impl<A> Answer<A> {
    /// Whether the connection still carries something there and back.
    pub(crate) fn lives(&mut self) -> bool {
        let mut answer = [0; 4];
        self.stream.write_all(b"more").is_ok()
            && self.stream.read_exact(&mut answer).is_ok()
            && answer == *b"more"
    }
}

/// Says to everybody who connects which addresses that was between, and then everything that it is told.
pub(super) fn serve(namespace: &Namespace, (address, port): (impl Address, u16)) {
    let listener = namespace.inside(|| TcpListener::bind(address.at(port)).unwrap());
    let octets = |address: SocketAddr| match address.ip() {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    };
    let talk = move |mut stream: TcpStream| -> std::io::Result<()> {
        stream.write_all(&[octets(stream.local_addr()?), octets(stream.peer_addr()?)].concat())?;
        std::io::copy(&mut stream.try_clone()?, &mut stream).map(drop)
    };
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || talk(stream));
        }
    });
}

impl Namespace {
    /// Connects from an address to another.
    pub(crate) fn ask<A: Address>(&self, from: A, to: (A, u16)) -> std::io::Result<Answer<A>> {
        self.inside(|| ask(from, to, PATIENCE))
    }

    /// Whether nothing at all comes back when an address connects to another.
    pub(crate) fn hears_nothing<A: Address>(&self, from: A, to: (A, u16)) -> bool {
        self.inside(|| ask(from, to, GLANCE)).is_err_and(|error| is_silent(&error))
    }

    /// Whether an echo request is answered.
    pub(crate) fn pings<A: Address>(&self, from: A, to: A) -> bool {
        self.inside(|| ping(from, to).unwrap())
    }
}

/// Whether an error is that nothing came: a connect that takes longer than the socket's time for sending is still in
/// progress then (socket(7), SO_SNDTIMEO).
fn is_silent(error: &std::io::Error) -> bool {
    error.raw_os_error() == Some(nix::libc::EINPROGRESS)
}

fn ask<A: Address>(from: A, to: (A, u16), patience: Duration) -> std::io::Result<Answer<A>> {
    let socket = socket(A::family(), SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&socket, SendTimeout, &time(patience))?;
    setsockopt(&socket, ReceiveTimeout, &time(PATIENCE))?;
    setsockopt(&socket, ReuseAddr, &true)?;
    bind(socket.as_raw_fd(), &SockaddrStorage::from(from.at(0)))?;
    connect(socket.as_raw_fd(), &SockaddrStorage::from(to.0.at(to.1)))?;
    let mut stream = TcpStream::from(socket);
    let mut addresses = [[0; 16]; 2];
    stream.read_exact(addresses.as_flattened_mut())?;
    let [at, from] = addresses.map(|octets| A::of(Ipv6Addr::from(octets).to_canonical()).unwrap());
    Ok(Answer { at, from, stream })
}

/// Sends an echo request (RFC 792, RFC 4443) and waits for its answer, for as long as is waited for nothing.
fn ping<A: Address>(from: A, to: A) -> std::io::Result<bool> {
    let (protocol, [request, reply], header) = A::ECHO;
    let socket = socket(A::family(), SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
    setsockopt(&socket, ReceiveTimeout, &time(GLANCE))?;
    let raw = socket.as_raw_fd();
    bind(raw, &SockaddrStorage::from(from.at(0)))?;
    // An id of its own: the same one again would be the same connection.
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let id = (NEXT.fetch_add(1, Ordering::Relaxed) % 0x4000).to_be_bytes();
    // The type, code 0, the checksum, the id and the number 0: the checksum is what makes the sum all ones. For ICMPv6 the
    // kernel makes it (RFC 3542, 3.1).
    let sum = !(u16::from_be_bytes([request, 0]) + u16::from_be_bytes(id));
    let [high, low] = sum.to_be_bytes();
    let packet = [request, 0, high, low, id[0], id[1], 0, 0];
    sendto(raw, &packet, &SockaddrStorage::from(to.at(0)), MsgFlags::empty())?;
    let mut packet = [0; 128];
    loop {
        match recv(raw, &mut packet, MsgFlags::empty()) {
            Ok(length) => {
                let is_whole = length >= header + 8;
                if is_whole && packet[header] == reply && packet[header + 4..header + 6] == id {
                    return Ok(true);
                }
            }
            Err(nix::Error::EAGAIN) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
    }
}

fn time(duration: Duration) -> TimeVal {
    use nix::sys::time::TimeValLike;
    TimeVal::milliseconds(duration.as_millis().try_into().unwrap())
}
