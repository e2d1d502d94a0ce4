//! Just enough rtnetlink to set links up and add addresses and routes.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::IpAddr;

use nix::libc;

use crate::config::{Prefix, Route};
use crate::sys;

const HEADER: usize = 16;
/// The gateway is reachable though no address of the link says so. Not in `libc`.
const RTNH_F_ONLINK: u32 = 4;

/// A route netlink socket.
pub(crate) struct Netlink {
    socket: File,
    buffer: Vec<u8>,
}

impl Netlink {
    /// Opens a socket.
    pub(crate) fn open() -> io::Result<Self> {
        let socket = File::from(sys::socket(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_ROUTE)?);
        Ok(Self { socket, buffer: Vec::new() })
    }

    /// Sets a link up, and its MTU if one is given.
    pub(crate) fn link_up(&mut self, index: u32, mtu: Option<u32>) -> io::Result<()> {
        self.begin(libc::RTM_NEWLINK, 0);
        // struct ifinfomsg: family, pad, type, index, flags, change mask.
        self.buffer.extend([0; 4]);
        self.buffer.extend(index.to_ne_bytes());
        self.buffer.extend((libc::IFF_UP as u32).to_ne_bytes());
        self.buffer.extend((libc::IFF_UP as u32).to_ne_bytes());
        if let Some(mtu) = mtu {
            self.attribute(libc::IFLA_MTU, &mtu.to_ne_bytes());
        }
        self.send()
    }

    /// Adds an address to a link. IPv6 skips duplicate detection, so that the address works at once.
    pub(crate) fn add_address(&mut self, index: u32, (ip, length): Prefix) -> io::Result<()> {
        self.begin(libc::RTM_NEWADDR, libc::NLM_F_CREATE | libc::NLM_F_REPLACE);
        // struct ifaddrmsg: family, prefix length, flags, scope, index.
        let flags = if ip.is_ipv6() { libc::IFA_F_NODAD as u8 } else { 0 };
        self.buffer.extend([family(ip), length, flags, 0]);
        self.buffer.extend(index.to_ne_bytes());
        self.address_attribute(libc::IFA_LOCAL, ip);
        self.address_attribute(libc::IFA_ADDRESS, ip);
        self.send()
    }

    /// Adds a route through a gateway of a link.
    pub(crate) fn add_route(&mut self, index: u32, route: Route) -> io::Result<()> {
        self.begin(libc::RTM_NEWROUTE, libc::NLM_F_CREATE | libc::NLM_F_REPLACE);
        let (network, length) = route.to;
        // struct rtmsg: family, destination and source length, tos, table, protocol, scope, type, flags.
        self.buffer.extend([family(network), length, 0, 0]);
        self.buffer.extend([
            libc::RT_TABLE_MAIN,
            libc::RTPROT_STATIC,
            libc::RT_SCOPE_UNIVERSE,
            libc::RTN_UNICAST,
        ]);
        let flags = if route.on_link { RTNH_F_ONLINK } else { 0 };
        self.buffer.extend(flags.to_ne_bytes());
        if length > 0 {
            self.address_attribute(libc::RTA_DST, network);
        }
        self.address_attribute(libc::RTA_GATEWAY, route.via);
        self.attribute(libc::RTA_OIF, &index.to_ne_bytes());
        self.send()
    }

    /// Starts a request. The length is filled in by `send`.
    fn begin(&mut self, kind: u16, flags: libc::c_int) {
        let flags = (flags | libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16;
        self.buffer.clear();
        self.buffer.extend([0; 4]);
        self.buffer.extend(kind.to_ne_bytes());
        self.buffer.extend(flags.to_ne_bytes());
        self.buffer.extend([0; 8]);
    }

    fn attribute(&mut self, kind: u16, value: &[u8]) {
        self.buffer.extend((4 + value.len() as u16).to_ne_bytes());
        self.buffer.extend(kind.to_ne_bytes());
        self.buffer.extend(value);
        self.buffer.resize(self.buffer.len().next_multiple_of(4), 0);
    }

    fn address_attribute(&mut self, kind: u16, ip: IpAddr) {
        match ip {
            IpAddr::V4(ip) => self.attribute(kind, &ip.octets()),
            IpAddr::V6(ip) => self.attribute(kind, &ip.octets()),
        }
    }

    /// Sends the request and waits for the kernel's answer.
    fn send(&mut self) -> io::Result<()> {
        let length = self.buffer.len() as u32;
        self.buffer[..4].copy_from_slice(&length.to_ne_bytes());
        self.socket.write_all(&self.buffer)?;
        let mut answer = [0_u8; 4096];
        let count = self.socket.read(&mut answer)?;
        result_of(&answer[..count])
    }
}

/// The error code of an NLMSG_ERROR message; code 0 is the acknowledgement.
fn result_of(answer: &[u8]) -> io::Result<()> {
    let Some(code) =
        answer.get(HEADER..HEADER + 4).and_then(|bytes| bytes.try_into().ok()).map(i32::from_ne_bytes)
    else {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "short netlink answer"));
    };
    if code == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(-code)) }
}

fn family(ip: IpAddr) -> u8 {
    (if ip.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 }) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_understood() {
        let mut answer = vec![0_u8; 20];
        assert!(result_of(&answer).is_ok());
        answer[16..20].copy_from_slice(&(-17_i32).to_ne_bytes());
        assert_eq!(result_of(&answer).unwrap_err().raw_os_error(), Some(17));
        assert!(result_of(&answer[..10]).is_err());
    }
}
