//! Packets of a UDP socket, many in one call of the kernel: a call costs as much as answering a query.

use std::io;
use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::AsRawFd;
use std::ptr;

use nix::errno::Errno;
use nix::libc::{self, iovec, mmsghdr, sockaddr_in, sockaddr_in6};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::task::coop::consume_budget;

/// How many packets are taken at once: more than clients have under way on a link in one moment, mostly.
const MOST: usize = 16;

/// The largest packet.
const MAX_PACKET: usize = 4096;

/// Where packets of a socket come from and go to, by its family.
pub(super) trait Address: Copy + Into<SocketAddr> {
    /// How the kernel writes it.
    type Name: Copy;
    /// None yet.
    const UNKNOWN: Self::Name;
    fn name(self) -> Self::Name;
    fn of(name: &Self::Name) -> Self;
}

impl Address for SocketAddrV4 {
    type Name = sockaddr_in;
    const UNKNOWN: sockaddr_in =
        sockaddr_in { sin_family: 0, sin_port: 0, sin_addr: libc::in_addr { s_addr: 0 }, sin_zero: [0; 8] };

    fn name(self) -> sockaddr_in {
        sockaddr_in {
            sin_family: libc::AF_INET as libc::sa_family_t,
            sin_port: self.port().to_be(),
            sin_addr: libc::in_addr { s_addr: self.ip().to_bits().to_be() },
            ..Self::UNKNOWN
        }
    }

    fn of(name: &sockaddr_in) -> Self {
        Self::new(u32::from_be(name.sin_addr.s_addr).into(), u16::from_be(name.sin_port))
    }
}

impl Address for SocketAddrV6 {
    type Name = sockaddr_in6;
    const UNKNOWN: sockaddr_in6 = sockaddr_in6 {
        sin6_family: 0,
        sin6_port: 0,
        sin6_flowinfo: 0,
        sin6_addr: libc::in6_addr { s6_addr: [0; 16] },
        sin6_scope_id: 0,
    };

    fn name(self) -> sockaddr_in6 {
        sockaddr_in6 {
            sin6_family: libc::AF_INET6 as libc::sa_family_t,
            sin6_port: self.port().to_be(),
            sin6_addr: libc::in6_addr { s6_addr: self.ip().octets() },
            sin6_scope_id: self.scope_id(),
            ..Self::UNKNOWN
        }
    }

    fn of(name: &sockaddr_in6) -> Self {
        let (port, address) = (u16::from_be(name.sin6_port), name.sin6_addr.s6_addr.into());
        Self::new(address, port, 0, name.sin6_scope_id)
    }
}

/// Packets that were received together.
pub(super) struct Batch<A> {
    buffers: Box<[[u8; MAX_PACKET]; MOST]>,
    received: Vec<(A, usize)>,
}

impl<A: Address> Batch<A> {
    pub(super) fn new() -> Self {
        Self { buffers: Box::new([[0; MAX_PACKET]; MOST]), received: Vec::with_capacity(MOST) }
    }

    /// Waits for packets, and takes those that are there in the place of those before.
    pub(super) async fn receive(&mut self, socket: &UdpSocket) -> io::Result<()> {
        let Self { buffers, received } = self;
        received.clear();
        loop {
            consume_budget().await;
            socket.readable().await?;
            let read = socket.try_io(Interest::READABLE, || {
                receive_now(socket, buffers, received)?;
                // Fewer are all that were there, and the kernel need not be asked again: it tells of what comes after this.
                if received.len() < MOST { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
            });
            match read {
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                Err(_) if received.is_empty() => {}
                _ => return Ok(()),
            }
        }
    }

    /// The packets, each with where it came from.
    pub(super) fn packets(&self) -> impl Iterator<Item = (A, &[u8])> {
        let packets = self.received.iter().zip(self.buffers.iter());
        packets.map(|((from, length), buffer)| (*from, &buffer[..*length]))
    }
}

/// Sends packets, each to its receiver. One that cannot be sent is lost, as it could be on the wire. Nor is room waited for: what a
/// neighbour is sent who does not say where it is takes the socket's room for seconds, which would be those of all others.
pub(super) fn send<A: Address>(socket: &UdpSocket, mut packets: &[(A, Vec<u8>)]) {
    while !packets.is_empty() {
        packets = match send_now(socket, packets) {
            Ok(sent) => &packets[sent..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(_) => &packets[1..],
        };
    }
}

fn receive_now<A: Address>(
    socket: &UdpSocket,
    buffers: &mut [[u8; MAX_PACKET]; MOST],
    received: &mut Vec<(A, usize)>,
) -> io::Result<()> {
    received.clear();
    let mut froms = [A::UNKNOWN; MOST];
    let mut parts: [iovec; MOST] =
        std::array::from_fn(|at| iovec { iov_base: buffers[at].as_mut_ptr().cast(), iov_len: MAX_PACKET });
    let mut headers: [mmsghdr; MOST] =
        std::array::from_fn(|at| header(&raw mut froms[at], &raw mut parts[at]));
    #[expect(unsafe_code, reason = "nix keeps pointers where no task may hold them while it waits")]
    // SAFETY: each header points to an address and to one part, and each part to a buffer of its length; all of them live
    // longer than the call, are written by nobody else meanwhile, and are as many as is said; the descriptor is open.
    let count = unsafe {
        let most = MOST as libc::c_uint;
        libc::recvmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), most, libc::MSG_DONTWAIT, ptr::null_mut())
    };
    let count = usize::try_from(Errno::result(count)?).unwrap_or(0);
    let packets = headers.iter().zip(&froms).take(count);
    received.extend(packets.map(|(header, from)| (A::of(from), header.msg_len as usize)));
    Ok(())
}

/// Sends as many as the kernel takes, at least one; says how many.
fn send_now<A: Address>(socket: &UdpSocket, packets: &[(A, Vec<u8>)]) -> io::Result<usize> {
    let packets = &packets[..packets.len().min(MOST)];
    let (mut tos, mut parts) = ([A::UNKNOWN; MOST], [NO_PART; MOST]);
    for (at, (to, bytes)) in packets.iter().enumerate() {
        tos[at] = to.name();
        parts[at] = iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    }
    let mut headers: [mmsghdr; MOST] = std::array::from_fn(|at| header(&raw mut tos[at], &raw mut parts[at]));
    #[expect(unsafe_code, reason = "nix keeps pointers where no task may hold them while it waits")]
    // SAFETY: as many headers as there are packets point to an address and to one part each, and that part to a packet's
    // bytes, which the kernel only reads; all of them live longer than the call; the descriptor is open.
    let sent = unsafe {
        let count = packets.len() as libc::c_uint;
        libc::sendmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), count, libc::MSG_DONTWAIT)
    };
    Ok(usize::try_from(Errno::result(sent)?).unwrap_or(1))
}

const NO_PART: iovec = iovec { iov_base: ptr::null_mut(), iov_len: 0 };

/// A message of one part, from or to an address.
fn header<N>(name: *mut N, part: *mut iovec) -> mmsghdr {
    let message = libc::msghdr {
        msg_name: name.cast(),
        msg_namelen: size_of::<N>() as libc::socklen_t,
        msg_iov: part,
        msg_iovlen: 1,
        msg_control: ptr::null_mut(),
        msg_controllen: 0,
        msg_flags: 0,
    };
    mmsghdr { msg_hdr: message, msg_len: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn packets_come_and_go_many_at_a_time_with_their_addresses() {
        come_and_go::<SocketAddrV4>("127.0.0.1:0").await;
        come_and_go::<SocketAddrV6>("[::1]:0").await;
    }

    async fn come_and_go<A: Address>(any: &str) {
        let server = UdpSocket::bind(any).await.unwrap();
        let clients = [UdpSocket::bind(any).await.unwrap(), UdpSocket::bind(any).await.unwrap()];
        let to = server.local_addr().unwrap();
        for number in 0..20_u8 {
            clients[usize::from(number % 2)].send_to(&vec![number; usize::from(number)], to).await.unwrap();
        }
        let (mut batch, mut heard) = (Batch::<A>::new(), Vec::new());
        while heard.len() < 20 {
            batch.receive(&server).await.unwrap();
            heard.extend(batch.packets().map(|(from, packet)| (from, packet.to_vec())));
        }
        let addresses = clients.each_ref().map(|client| client.local_addr().unwrap());
        for (number, (from, packet)) in heard.iter().enumerate() {
            assert_eq!((*from).into(), addresses[number % 2]);
            assert_eq!(*packet, vec![number as u8; number]);
        }
        send(&server, &heard);
        let mut buffer = [0; 64];
        for number in 0..20_usize {
            let (length, from) = clients[number % 2].recv_from(&mut buffer).await.unwrap();
            assert_eq!((from, &buffer[..length]), (to, &vec![number as u8; number][..]));
        }
    }

    #[tokio::test]
    async fn one_that_cannot_be_sent_holds_up_no_other() {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let std::net::SocketAddr::V4(to) = client.local_addr().unwrap() else { panic!("an address of IPv4") };
        // No packet is as large as the first one.
        send(&server, &[(to, vec![0; 70_000]), (to, vec![7])]);
        let mut buffer = [0; 64];
        assert_eq!(client.recv(&mut buffer).await.unwrap(), 1);
    }
}
