//! Connections and echo requests from one namespace to others.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use nix::sys::socket::sockopt::{ReceiveTimeout, ReuseAddr, SendTimeout};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, bind, connect, recv, sendto,
    setsockopt, socket,
};
use nix::sys::time::TimeVal;

use super::Namespace;

/// How long an answer may take that is to come.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// How long it is waited for an answer that is not to come.
pub(super) const GLANCE: Duration = Duration::from_millis(300);

/// An established connection, and what the server said of it.
pub(crate) struct Answer {
    /// The address that the server was reached at.
    pub(crate) at: Ipv4Addr,
    /// The address that it was reached from, as it saw it.
    pub(crate) from: Ipv4Addr,
    stream: TcpStream,
}

impl Answer {
    /// Whether the connection still carries something there and back.
    pub(crate) fn lives(&mut self) -> bool {
        let mut answer = [0; 4];
        self.stream.write_all(b"more").is_ok()
            && self.stream.read_exact(&mut answer).is_ok()
            && answer == *b"more"
    }
}

/// Says to everybody who connects which addresses that was between, and then everything that it is told.
pub(super) fn serve(namespace: &Namespace, address: (Ipv4Addr, u16)) {
    let listener = namespace.inside(|| TcpListener::bind(address).unwrap());
    let talk = |mut stream: TcpStream| -> std::io::Result<()> {
        let (SocketAddr::V4(at), SocketAddr::V4(from)) = (stream.local_addr()?, stream.peer_addr()?) else {
            return Ok(());
        };
        stream.write_all(&[at.ip().octets(), from.ip().octets()].concat())?;
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
    pub(crate) fn ask(&self, from: Ipv4Addr, to: (Ipv4Addr, u16)) -> std::io::Result<Answer> {
        self.inside(|| ask(from, to, PATIENCE))
    }

    /// Whether nothing at all comes back when an address connects to another.
    pub(crate) fn hears_nothing(&self, from: Ipv4Addr, to: (Ipv4Addr, u16)) -> bool {
        self.inside(|| ask(from, to, GLANCE)).is_err_and(|error| is_silent(&error))
    }

    /// Whether an echo request is answered.
    pub(crate) fn pings(&self, from: Ipv4Addr, to: Ipv4Addr) -> bool {
        self.inside(|| ping(from, to).unwrap())
    }
}

/// Whether an error is that nothing came: a connect that takes longer than the socket's time for sending is still in
/// progress then (socket(7), SO_SNDTIMEO).
fn is_silent(error: &std::io::Error) -> bool {
    error.raw_os_error() == Some(nix::libc::EINPROGRESS)
}

fn ask(from: Ipv4Addr, to: (Ipv4Addr, u16), patience: Duration) -> std::io::Result<Answer> {
    let socket = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&socket, SendTimeout, &time(patience))?;
    setsockopt(&socket, ReceiveTimeout, &time(PATIENCE))?;
    setsockopt(&socket, ReuseAddr, &true)?;
    bind(socket.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(from, 0)))?;
    connect(socket.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(to.0, to.1)))?;
    let mut stream = TcpStream::from(socket);
    let mut addresses = [0; 8];
    stream.read_exact(&mut addresses)?;
    let [a, b, c, d, e, f, g, h] = addresses;
    Ok(Answer { at: Ipv4Addr::new(a, b, c, d), from: Ipv4Addr::new(e, f, g, h), stream })
}

/// Sends echo requests (RFC 792) until one is answered, for as long as is waited for nothing.
fn ping(from: Ipv4Addr, to: Ipv4Addr) -> std::io::Result<bool> {
    let socket = socket(AddressFamily::Inet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::Icmp)?;
    setsockopt(&socket, ReceiveTimeout, &time(GLANCE))?;
    let raw = socket.as_raw_fd();
    bind(raw, &SockaddrIn::from(SocketAddrV4::new(from, 0)))?;
    // An id of its own: the same one again would be the same connection.
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let id = (NEXT.fetch_add(1, Ordering::Relaxed) % 0x4000).to_be_bytes();
    // Type 8, code 0, the checksum, the id and the number 0: the checksum is what makes the sum all ones.
    let sum = !(0x0800_u16 + u16::from_be_bytes(id))
        .to_be_bytes()
        .map(u16::from)
        .iter()
        .fold(0, |sum, byte| sum << 8 | byte);
    let [high, low] = sum.to_be_bytes();
    sendto(
        raw,
        &[8, 0, high, low, id[0], id[1], 0, 0],
        &SockaddrIn::from(SocketAddrV4::new(to, 0)),
        MsgFlags::empty(),
    )?;
    let mut packet = [0; 128];
    loop {
        match recv(raw, &mut packet, MsgFlags::empty()) {
            // Behind 20 bytes of IPv4 header: an echo reply with this id.
            Ok(28..) if packet[20] == 0 && packet[24..26] == id => return Ok(true),
            Ok(_) => {}
            Err(nix::Error::EAGAIN) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
    }
}

fn time(duration: Duration) -> TimeVal {
    use nix::sys::time::TimeValLike;
    TimeVal::milliseconds(duration.as_millis().try_into().unwrap())
}
