//! Which packets are wanted: a frame goes in, and whether it matches goes out. No I/O.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use podzol_appliance_api::{Capture, CaptureProtocol, PORT};

/// How many bytes of a frame are looked at: Ethernet, IPv6, some further headers, and ports.
pub(super) const LOOKED_AT: usize = 192;

const ETHERNET: usize = 14;
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const ARP: u16 = 0x0806;

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP6: u8 = 58;
/// The header of an IPv6 fragment, and the others that stand before what is carried (RFC 8200, 4.1).
const FRAGMENT: u8 = 44;
const OPTIONS: [u8; 3] = [0, 43, 60];

/// What is wanted, and what never is.
#[derive(Debug)]
pub(super) struct Filter {
    host: Option<IpAddr>,
    protocol: Option<CaptureProtocol>,
    port: Option<u16>,
    /// Where the control API is.
    control: IpAddr,
}

/// What a frame says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    from: IpAddr,
    to: IpAddr,
    protocol: Option<CaptureProtocol>,
    /// None in fragments after the first, and where there are none.
    ports: Option<(u16, u16)>,
}

impl Filter {
    pub(super) fn new(capture: &Capture, control: Ipv4Addr) -> Self {
        let Capture { host, protocol, port, .. } = *capture;
        Self { host, protocol, port, control: control.into() }
    }

    /// Whether a frame is wanted, of which these are the first bytes. One that is not understood is if all are.
    pub(super) fn admits(&self, frame: &[u8]) -> bool {
        let wants_all = self.host.is_none() && self.protocol.is_none() && self.port.is_none();
        let Some(seen) = seen(frame) else { return wants_all };
        let is_wanted = self.host.is_none_or(|host| seen.from == host || seen.to == host)
            && self.protocol.is_none_or(|protocol| seen.protocol == Some(protocol))
            && self.port.is_none_or(|port| seen.ports.is_some_and(|(from, to)| from == port || to == port));
        is_wanted && !self.is_control(&seen)
    }

    fn is_control(&self, seen: &Seen) -> bool {
        let Some((from, to)) = seen.ports.filter(|_| seen.protocol == Some(CaptureProtocol::Tcp)) else {
            return false;
        };
        (seen.from, from) == (self.control, PORT) || (seen.to, to) == (self.control, PORT)
    }
}

fn seen(frame: &[u8]) -> Option<Seen> {
    let packet = frame.get(ETHERNET..)?;
    match short(frame, 12)? {
        IPV4 => seen_4(packet),
        IPV6 => seen_6(packet),
        ARP => seen_arp(packet),
        _ => None,
    }
}

fn seen_4(packet: &[u8]) -> Option<Seen> {
    let header = usize::from(packet.first()? & 0xf) * 4;
    let is_later = short(packet, 6)? & 0x1fff != 0;
    let (protocol, from, to) = (*packet.get(9)?, four(packet, 12)?, four(packet, 16)?);
    let ports = packet.get(header..).filter(|_| !is_later && header >= 20);
    Some(Seen { from, to, protocol: known(protocol), ports: ports.and_then(|rest| ports_of(protocol, rest)) })
}

fn seen_6(packet: &[u8]) -> Option<Seen> {
    let (from, to) = (six(packet, 8)?, six(packet, 24)?);
    let (mut next, mut at, mut is_later) = (*packet.get(6)?, 40, false);
    // Each is at least eight bytes of the few that are here.
    while let Some([following, length]) = packet.get(at..at + 2) {
        if next == FRAGMENT {
            is_later |= short(packet, at + 2).is_none_or(|field| field >> 3 != 0);
            at += 8;
        } else if OPTIONS.contains(&next) {
            at += 8 + 8 * usize::from(*length);
        } else {
            break;
        }
        next = *following;
    }
    let ports = packet.get(at..).filter(|_| !is_later).and_then(|rest| ports_of(next, rest));
    Some(Seen { from, to, protocol: known(next), ports })
}

/// Who asks, and for whom.
fn seen_arp(packet: &[u8]) -> Option<Seen> {
    let (from, to) = (four(packet, 14)?, four(packet, 24)?);
    Some(Seen { from, to, protocol: Some(CaptureProtocol::Arp), ports: None })
}

const fn known(protocol: u8) -> Option<CaptureProtocol> {
    match protocol {
        ICMP => Some(CaptureProtocol::Icmp),
        TCP => Some(CaptureProtocol::Tcp),
        UDP => Some(CaptureProtocol::Udp),
        ICMP6 => Some(CaptureProtocol::Icmp6),
        _ => None,
    }
}

fn ports_of(protocol: u8, rest: &[u8]) -> Option<(u16, u16)> {
    matches!(protocol, TCP | UDP).then(|| Some((short(rest, 0)?, short(rest, 2)?))).flatten()
}

fn short(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2)?.try_into().ok().map(u16::from_be_bytes)
}

fn four(bytes: &[u8], at: usize) -> Option<IpAddr> {
    <[u8; 4]>::try_from(bytes.get(at..at + 4)?).ok().map(|octets| Ipv4Addr::from(octets).into())
}

fn six(bytes: &[u8], at: usize) -> Option<IpAddr> {
    <[u8; 16]>::try_from(bytes.get(at..at + 16)?).ok().map(|octets| Ipv6Addr::from(octets).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTROL: Ipv4Addr = Ipv4Addr::new(192, 168, 99, 2);

    fn filter(host: Option<&str>, protocol: Option<CaptureProtocol>, port: Option<u16>) -> Filter {
        let host = host.map(|host| host.parse().unwrap());
        Filter { host, protocol, port, control: CONTROL.into() }
    }

    /// An IPv4 frame with ports, and an offset of its fragment.
    fn frame_4(from: [u8; 4], protocol: u8, ports: (u16, u16), offset: u16) -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend(IPV4.to_be_bytes());
        frame.extend([0x45, 0, 0, 28, 0, 0]);
        frame.extend(offset.to_be_bytes());
        frame.extend([64, protocol, 0, 0]);
        frame.extend(from);
        frame.extend([192, 168, 99, 2]);
        frame.extend([ports.0, ports.1].iter().flat_map(|port| port.to_be_bytes()));
        frame
    }

    /// An IPv6 frame of UDP to port 53 behind headers.
    fn frame_6(first: u8, headers: &[u8]) -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend(IPV6.to_be_bytes());
        frame.extend([0x60, 0, 0, 0, 0, 8, first, 64]);
        frame.extend([Ipv6Addr::LOCALHOST.octets(), Ipv6Addr::LOCALHOST.octets()].concat());
        frame.extend(headers);
        frame.extend([200, 1, 0, 53]);
        frame
    }

    #[test]
    fn all_that_is_asked_for_must_match() {
        let frame = frame_4([10, 1, 1, 2], UDP, (5000, 53), 0);
        let udp = Some(CaptureProtocol::Udp);
        assert!(filter(None, None, None).admits(&frame));
        assert!(filter(Some("10.1.1.2"), udp, Some(53)).admits(&frame));
        assert!(filter(Some("192.168.99.2"), udp, Some(5000)).admits(&frame));
        assert!(!filter(Some("10.1.1.3"), udp, Some(53)).admits(&frame));
        assert!(!filter(None, Some(CaptureProtocol::Tcp), Some(53)).admits(&frame));
        assert!(!filter(None, None, Some(54)).admits(&frame));
        // What stands where ports would be is none in a later fragment.
        assert!(!filter(None, None, Some(53)).admits(&frame_4([10, 1, 1, 2], UDP, (5000, 53), 7)));
    }

    #[test]
    fn ports_stand_behind_headers_of_ipv6() {
        let port = filter(None, Some(CaptureProtocol::Udp), Some(53));
        assert!(port.admits(&frame_6(UDP, &[])));
        assert!(port.admits(&frame_6(0, &[UDP, 0, 0, 0, 0, 0, 0, 0])));
        assert!(port.admits(&frame_6(FRAGMENT, &[UDP, 0, 0, 1, 0, 0, 0, 0])));
        assert!(!port.admits(&frame_6(FRAGMENT, &[UDP, 0, 1, 1, 0, 0, 0, 0])));
        // A chain that goes on beyond what is here.
        assert!(!port.admits(&frame_6(0, &[0, 255, 0, 0, 0, 0, 0, 0])));
    }

    #[test]
    fn control_connections_are_never_wanted() {
        let all = filter(None, None, None);
        assert!(!all.admits(&frame_4([192, 168, 99, 1], TCP, (5000, PORT), 0)));
        assert!(all.admits(&frame_4([192, 168, 99, 1], TCP, (PORT, 5000), 0)));
        assert!(all.admits(&frame_4([192, 168, 99, 1], UDP, (5000, PORT), 0)));
    }

    #[test]
    fn what_is_cut_short_is_wanted_only_if_all_is() {
        for length in 0..30 {
            let frame = &frame_4([10, 1, 1, 2], UDP, (5000, 53), 0)[..length];
            assert!(filter(None, None, None).admits(frame), "{length}");
            assert!(!filter(Some("10.1.1.2"), None, None).admits(frame), "{length}");
        }
    }
}
