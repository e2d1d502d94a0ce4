//! ICMP and ICMPv6 echo through the kernel's ping sockets, which fill in the identifier and the checksum.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use nix::libc;

use crate::sys;

const ECHO_V4: (u8, u8) = (8, 0);
const ECHO_V6: (u8, u8) = (128, 129);

/// Sends up to `tries` echo requests, each waiting for `patience`. The time of the first answer, or `None`.
pub(crate) fn ping(ip: IpAddr, tries: u16, patience: Duration) -> io::Result<Option<Duration>> {
    let (family, protocol, (request, reply)) = match ip {
        IpAddr::V4(_) => (libc::AF_INET, libc::IPPROTO_ICMP, ECHO_V4),
        IpAddr::V6(_) => (libc::AF_INET6, libc::IPPROTO_ICMPV6, ECHO_V6),
    };
    // A ping socket sends and receives datagrams just as a UDP socket does; the port of the address is not used.
    let socket = UdpSocket::from(sys::socket(family, libc::SOCK_DGRAM, protocol)?);
    for sequence in 1..=tries {
        let [high, low] = sequence.to_be_bytes();
        let start = Instant::now();
        match socket
            .send_to(&[request, 0, 0, 0, 0, 0, high, low, b't', b'i', b'n', b'y'], SocketAddr::new(ip, 0))
        {
            Ok(_) => {}
            // The neighbour did not answer the last try: that is still "no answer".
            Err(error) if error.kind() == ErrorKind::HostUnreachable => continue,
            Err(error) => return Err(error),
        }
        if answered(&socket, reply, [high, low], start + patience)? {
            return Ok(Some(start.elapsed()));
        }
    }
    Ok(None)
}

/// Waits for the answer with this sequence number.
fn answered(socket: &UdpSocket, reply: u8, sequence: [u8; 2], deadline: Instant) -> io::Result<bool> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        socket.set_read_timeout(Some(left))?;
        let mut answer = [0_u8; 64];
        match socket.recv(&mut answer) {
            Ok(count) if count >= 8 && answer[0] == reply && answer[6..8] == sequence => return Ok(true),
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return Ok(false);
            }
            Err(error) if error.kind() == ErrorKind::HostUnreachable => return Ok(false),
            Err(error) => return Err(error),
        }
    }
}
