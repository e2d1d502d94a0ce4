//! Many DHCP clients: frames as clients without an address send them, at the pace that the router lets pass, and a check of
//! each answer.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use nix::ifaddrs::getifaddrs;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::sockopt::RcvBufForce;
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, recv, sendto, setsockopt, socket,
};
use podzol_netns_tests::Namespace;

use crate::services::{LINKS, VMS, address, gateway, mac_of, name};

/// Requests a second on all links: somewhat less than the router lets pass of each link, 500, and of each VM, 2.
const PER_SECOND: f64 = 400.0 * LINKS as f64;

/// How long the last answers may take.
const LAST: Duration = Duration::from_secs(2);

/// What clients ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    /// An address (DHCPDISCOVER).
    Discover,
    /// The one that was offered (DHCPREQUEST).
    Request,
}

/// A request: who asks, and its number.
#[derive(Debug, Clone, Copy)]
struct Request {
    link: u8,
    vm: u16,
    number: u32,
}

/// Has all clients ask in turn, so many times, until each request is answered rightly, and gives how many had to be asked
/// again: a socket has room for few packets, and a machine that is busy may let a server wait for longer than that.
pub(crate) fn ask(space: &Namespace, asked: Asked, requests: usize) -> Result<usize> {
    /// How often a request is asked.
    const TRIES: usize = 5;
    space.inside(|| {
        let flags = SockFlag::SOCK_CLOEXEC;
        let hearing = socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthIp)?;
        setsockopt(&hearing, RcvBufForce, &(32 << 20))?;
        let speaking = socket(AddressFamily::Packet, SockType::Raw, flags, None)?;
        let links = links()?;
        let (mut seen, mut again) = (vec![false; requests], 0);
        for _ in 0..TRIES {
            let left: Vec<usize> = (0..requests).filter(|number| !seen[*number]).collect();
            if left.is_empty() {
                return Ok(again - requests);
            }
            again += left.len();
            let sent = AtomicBool::new(false);
            std::thread::scope(|scope| {
                let hearing = scope.spawn(|| hear(&hearing, asked, &mut seen, &sent));
                let spoke = speak(&speaking, &links, asked, &left);
                sent.store(true, Ordering::Relaxed);
                hearing.join().map_err(|_| anyhow!("the thread that hears has panicked"))?.and(spoke)
            })?;
        }
        bail!("{} of {requests} are not answered", seen.iter().filter(|seen| !**seen).count())
    })
}

/// The addresses of links, in their order.
fn links() -> Result<Vec<LinkAddr>> {
    let of = |link| {
        let mut all = getifaddrs()?.filter(|one| one.interface_name == name(link));
        all.find_map(|one| one.address?.as_link_addr().copied()).context("a link has gone")
    };
    (0..LINKS).map(of).collect()
}

fn request(number: usize) -> Request {
    let link = (number % usize::from(LINKS)) as u8;
    let vm = (number / usize::from(LINKS) % usize::from(VMS)) as u16;
    Request { link, vm, number: number as u32 }
}

fn speak(socket: &OwnedFd, links: &[LinkAddr], asked: Asked, numbers: &[usize]) -> Result<()> {
    let begun = Instant::now();
    for (turn, number) in numbers.iter().enumerate() {
        let due = Duration::from_secs_f64(turn as f64 / PER_SECOND);
        std::thread::sleep(due.saturating_sub(begun.elapsed()));
        let request = request(*number);
        let link = links.get(usize::from(request.link)).context("a link")?;
        sendto(socket.as_raw_fd(), &frame(&request, asked), link, MsgFlags::empty())?;
    }
    Ok(())
}

/// Notes which are answered rightly, until all are, or all are sent and nothing more comes.
fn hear(socket: &OwnedFd, asked: Asked, seen: &mut [bool], sent: &AtomicBool) -> Result<()> {
    let mut left = seen.iter().filter(|seen| !**seen).count();
    let (mut buffer, mut heard) = ([0; 2048], Instant::now());
    while left > 0 && !(sent.load(Ordering::Relaxed) && heard.elapsed() > LAST) {
        let mut ready = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
        if poll(&mut ready, PollTimeout::from(100_u8))? == 0 {
            continue;
        }
        let length = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
        heard = Instant::now();
        let Some(number) = buffer.get(..length).and_then(|frame| answer(frame, asked)) else { continue };
        if let Some(seen) = seen.get_mut(number) {
            left -= usize::from(!*seen);
            *seen = true;
        }
    }
    Ok(())
}

/// The number of the request that a frame answers rightly.
fn answer(frame: &[u8], asked: Asked) -> Option<usize> {
    const UDP: u8 = 17;
    let (ip, bootp) = (frame.get(14..34)?, frame.get(42..)?);
    if ip[9] != UDP || frame[36..38] != 68_u16.to_be_bytes() || bootp.len() < 243 || bootp[0] != 2 {
        return None;
    }
    let number = u32::from_be_bytes(bootp[4..8].try_into().ok()?) as usize;
    let Request { link, vm, .. } = request(number);
    let kind = if asked == Asked::Discover { 2 } else { 5 };
    let is_right = bootp[16..20] == address(link, vm).octets()
        && bootp[28..34] == mac_of(link, vm).octets()
        && bootp[240..243] == [53, 1, kind];
    is_right.then_some(number)
}

/// A broadcast of a client that has no address.
fn frame(request: &Request, asked: Asked) -> Vec<u8> {
    let mac = mac_of(request.link, request.vm).octets();
    let bootp = bootp(request, asked);
    let udp_length = 8 + bootp.len() as u16;
    let mut ip = [0; 20];
    ip[0] = 0x45;
    ip[2..4].copy_from_slice(&(20 + udp_length).to_be_bytes());
    ip[8] = 64;
    ip[9] = 17;
    ip[16..].fill(0xff);
    let sum = ip.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum::<u32>();
    ip[10..12].copy_from_slice(&(!((sum & 0xffff) + (sum >> 16)) as u16).to_be_bytes());
    let mut udp = [0; 8];
    udp[..2].copy_from_slice(&68_u16.to_be_bytes());
    udp[2..4].copy_from_slice(&67_u16.to_be_bytes());
    udp[4..6].copy_from_slice(&udp_length.to_be_bytes());
    // Without a checksum, as IPv4 allows.
    [&[0xff; 6][..], &mac, &[8, 0], &ip, &udp, &bootp].concat()
}

/// What Debian's clients ask for, with their usual options (RFC 2131).
fn bootp(request: &Request, asked: Asked) -> Vec<u8> {
    let mut packet = vec![0; 236];
    packet[..3].copy_from_slice(&[1, 1, 6]);
    packet[4..8].copy_from_slice(&request.number.to_be_bytes());
    packet[28..34].copy_from_slice(&mac_of(request.link, request.vm).octets());
    packet.extend([99, 130, 83, 99]);
    packet.extend([53, 1, if asked == Asked::Discover { 1 } else { 3 }]);
    if asked == Asked::Request {
        packet.extend([50, 4].iter().chain(&address(request.link, request.vm).octets()));
        packet.extend([54, 4].iter().chain(&gateway(request.link).octets()));
    }
    packet.extend([55, 7, 1, 3, 6, 12, 15, 26, 28]);
    packet.push(255);
    packet.resize(300, 0);
    packet
}
