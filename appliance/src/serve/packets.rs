//! What comes to the port of DHCP servers on a link, with who sent the frame: that is in no packet of a UDP socket.
//!
//! The kernel filters ([`FILTER`]), so that of all that goes through a router, nothing else gets here. It is heard before the
//! packet filter of the router has seen it, so that the caller has to look at where it comes from.

use std::io;
use std::net::Ipv4Addr;
use std::ops::Range;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{AddressFamily, LinkAddr, SockFlag, SockType, recvfrom, socket};
use podzol_vocab::InterfaceName;
use tokio::io::unix::AsyncFd;

use super::frame::Mac;

/// UDP to port 67, and no fragment (linux/filter.h, with offsets from the start of the IP header).
const FILTER: [libc::sock_filter; 9] = [
    // The protocol is UDP,
    step(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, 0, 0, 9),
    step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 5, 17),
    // there are no more fragments and none before,
    step(libc::BPF_LD | libc::BPF_H | libc::BPF_ABS, 0, 0, 6),
    step(libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K, 3, 0, 0x3fff),
    // and behind a header of whatever length, the port is 67.
    step(libc::BPF_LDX | libc::BPF_B | libc::BPF_MSH, 0, 0, 0),
    step(libc::BPF_LD | libc::BPF_H | libc::BPF_IND, 0, 0, 2),
    step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 1, 0, 67),
    step(libc::BPF_RET | libc::BPF_K, 0, 0, 0),
    step(libc::BPF_RET | libc::BPF_K, 0, 0, u16::MAX as u32),
];

const fn step(code: u32, jt: u8, jf: u8, k: u32) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt, jf, k }
}

/// Hears them.
#[derive(Debug)]
pub(super) struct Packets(AsyncFd<OwnedFd>);

/// A packet, and where it comes from.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Packet<'a> {
    /// The source of the frame.
    pub(super) frame: Mac,
    /// The source of the IP packet.
    pub(super) from: Ipv4Addr,
    /// The address that it is for: one of this machine's, or all.
    pub(super) to: Ipv4Addr,
    pub(super) payload: &'a [u8],
}

impl Packets {
    pub(super) fn open(link: &InterfaceName) -> io::Result<Self> {
        let index = nix::net::if_::if_nametoindex(link.as_str())?;
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        // Without a protocol it hears nothing until it is bound, and by then it has its filter.
        let socket = socket(AddressFamily::Packet, SockType::Datagram, flags, None)?;
        attach(&socket)?;
        bind(&socket, index)?;
        #[expect(unsafe_code, reason = "tokio has no socket of this kind")]
        // SAFETY: the socket gives the same descriptor until it is dropped, and closes it only then.
        let registered = unsafe { AsyncFd::register(socket) };
        Ok(Self(registered?))
    }

    /// The next one. Others wait in the kernel, which has room for some hundred.
    pub(super) async fn next<'a>(&self, buffer: &'a mut [u8]) -> io::Result<Packet<'a>> {
        loop {
            let mut ready = self.0.readable().await?;
            let received = ready.try_io(|socket| Ok(recvfrom::<LinkAddr>(socket.as_raw_fd(), buffer)?));
            let Ok(received) = received else { continue };
            let (length, from) = received?;
            // One for somebody else is what a switch has sent everywhere.
            let frame =
                from.filter(|from| from.pkttype() != libc::PACKET_OTHERHOST).and_then(|from| from.addr());
            if let (Some(frame), Some((from, to, payload))) = (frame, parse(&buffer[..length])) {
                return Ok(Packet { frame, from, to, payload: &buffer[payload] });
            }
        }
    }
}

/// The addresses, and where in the packet that is which is in the UDP packet (RFC 791, 768). Checksums are not looked at: what
/// comes from a VM on the same host often has none yet.
fn parse(packet: &[u8]) -> Option<(Ipv4Addr, Ipv4Addr, Range<usize>)> {
    let first = *packet.first()?;
    let header = usize::from(first & 0xf) * 4;
    let short = |at: usize| Some(usize::from(u16::from_be_bytes(packet.get(at..at + 2)?.try_into().ok()?)));
    let address = |at: usize| Some(Ipv4Addr::from(<[u8; 4]>::try_from(packet.get(at..at + 4)?).ok()?));
    let end = short(2)?;
    let length = short(header + 4)?;
    let is_whole =
        first >> 4 == 4 && header >= 20 && length >= 8 && header + length <= end && end <= packet.len();
    Some((address(12)?, address(16)?, header + 8..header + length)).filter(|_| is_whole)
}

fn attach(socket: &OwnedFd) -> io::Result<()> {
    let mut filter = FILTER;
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    #[expect(unsafe_code, reason = "nix has no such option")]
    // SAFETY: the program and the filter that it points to live until the call ends, and the kernel copies them; the size is
    // that of the program; and the descriptor is open.
    let set = unsafe {
        let size = size_of::<libc::sock_fprog>() as libc::socklen_t;
        let program = (&raw const program).cast();
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, program, size)
    };
    Errno::result(set)?;
    Ok(())
}

fn bind(socket: &OwnedFd, index: u32) -> io::Result<()> {
    #[expect(unsafe_code, reason = "nix cannot make the address of a link")]
    // SAFETY: the address is plain data for which zero is a value, and is passed with its size; the descriptor is open.
    let bound = unsafe {
        let mut to: libc::sockaddr_ll = std::mem::zeroed();
        to.sll_family = libc::AF_PACKET as u16;
        to.sll_protocol = (libc::ETH_P_IP as u16).to_be();
        to.sll_ifindex = index.cast_signed();
        let size = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        libc::bind(socket.as_raw_fd(), (&raw const to).cast(), size)
    };
    Errno::result(bound)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddrV4;

    use super::super::frame;
    use super::*;

    fn packet(payload: &[u8]) -> Vec<u8> {
        let at = |last, port| SocketAddrV4::new(Ipv4Addr::new(10, 1, 1, last), port);
        frame::udp(([2; 6], at(2, 68)), ([4; 6], at(1, 67)), payload)[14..].to_vec()
    }

    #[test]
    fn a_packet_is_taken_apart_and_one_that_is_cut_short_is_none() {
        let packet = packet(b"discover");
        let parts = (Ipv4Addr::new(10, 1, 1, 2), Ipv4Addr::new(10, 1, 1, 1), 28..36);
        assert_eq!(parse(&packet), Some(parts.clone()));
        // Padding of short frames.
        assert_eq!(parse(&[&packet[..], &[0; 18]].concat()), Some(parts));
        for length in 0..packet.len() {
            assert_eq!(parse(&packet[..length]), None, "{length}");
        }
    }

    #[test]
    fn lengths_that_lie_lead_nowhere() {
        let spoiled = |at: usize, value: u8| {
            let mut packet = packet(b"x");
            packet[at] = value;
            packet
        };
        // The version, the header's length, the packet's, and that of the UDP packet, longer and shorter.
        for (at, value) in [(0, 0x65), (0, 0x44), (0, 0x4f), (3, 28), (25, 200), (25, 7)] {
            assert_eq!(parse(&spoiled(at, value)), None, "{at} {value}");
        }
    }
}
