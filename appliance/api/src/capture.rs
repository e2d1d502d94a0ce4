//! What is captured of a router's packets.

use std::fmt;
use std::net::IpAddr;

use podzol_vocab::NetworkId;
use serde::{Deserialize, Serialize};

use crate::Problem;
use crate::limits::{MAX_CAPTURE_BYTES, MAX_CAPTURE_SECS, MAX_SNAP_BYTES, MIN_CAPTURE_BYTES, MIN_SNAP_BYTES};

/// The media type of a capture: a file as libpcap writes it, of Ethernet frames, with times in nanoseconds.
pub const PCAP: &str = "application/vnd.tcpdump.pcap";

/// A capture that is asked for. Packets must match all of `host`, `protocol` and `port`. The router's own control connections
/// are never in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Capture {
    /// Of which link.
    pub link: CapturedLink,
    /// How many seconds it takes at most.
    pub seconds: u32,
    /// How many bytes the file has at most. It ends before the packet that would not fit.
    pub bytes: u32,
    /// How many bytes of each packet are kept.
    pub snap_bytes: u32,
    /// Only packets from or to this address.
    #[serde(default)]
    pub host: Option<IpAddr>,
    /// Only packets of this protocol.
    #[serde(default)]
    pub protocol: Option<CaptureProtocol>,
    /// Only packets of TCP or UDP from or to this port. Fragments after the first of a packet have no ports.
    #[serde(default)]
    pub port: Option<u16>,
}

/// One of a router's links.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CapturedLink {
    /// That to a network of VMs.
    Guest(NetworkId),
    /// That to the outside.
    Public,
    /// That to the management network.
    Management,
}

impl fmt::Display for CapturedLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Guest(network) => write!(f, "network {network}"),
            Self::Public => f.write_str("public"),
            Self::Management => f.write_str("management"),
        }
    }
}

/// A protocol that can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CaptureProtocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// ICMP of IPv4.
    Icmp,
    /// ICMP of IPv6.
    Icmp6,
    /// ARP.
    Arp,
}

impl fmt::Display for CaptureProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Icmp => "icmp",
            Self::Icmp6 => "icmp6",
            Self::Arp => "arp",
        })
    }
}

impl Capture {
    /// The first rule that it breaks.
    pub fn problem(&self) -> Option<Problem> {
        let range = |field: &str, value: u32, least: u32, most: u32| {
            let rule = format!("must be {least} to {most}");
            (!(least..=most).contains(&value)).then(|| Problem { field: field.into(), rule })
        };
        range("seconds", self.seconds, 1, MAX_CAPTURE_SECS)
            .or_else(|| range("bytes", self.bytes, MIN_CAPTURE_BYTES, MAX_CAPTURE_BYTES))
            .or_else(|| range("snap_bytes", self.snap_bytes, MIN_SNAP_BYTES, MAX_SNAP_BYTES))
            .or_else(|| self.problem_of_port())
            .or_else(|| self.problem_of_protocol())
    }

    fn problem_of_port(&self) -> Option<Problem> {
        let of = |rule: &str| Some(Problem { field: "port".into(), rule: rule.into() });
        match (self.port?, self.protocol) {
            (0, _) => of("must be 1 to 65535"),
            (_, None | Some(CaptureProtocol::Tcp | CaptureProtocol::Udp)) => None,
            (_, Some(_)) => of("only TCP and UDP have ports"),
        }
    }

    fn problem_of_protocol(&self) -> Option<Problem> {
        let rule = match (self.protocol?, self.host?) {
            (CaptureProtocol::Icmp | CaptureProtocol::Arp, IpAddr::V6(_)) => {
                "an IPv6 address has none of this"
            }
            (CaptureProtocol::Icmp6, IpAddr::V4(_)) => "an IPv4 address has none of this",
            _ => return None,
        };
        Some(Problem { field: "protocol".into(), rule: rule.into() })
    }
}

/// As it stands in events: what, without who.
impl fmt::Display for Capture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { link, seconds, bytes, snap_bytes, .. } = self;
        write!(f, "{link}, at most {seconds} s and {bytes} bytes, {snap_bytes} of a packet")?;
        self.host.iter().try_for_each(|host| write!(f, ", host {host}"))?;
        self.protocol.iter().try_for_each(|protocol| write!(f, ", protocol {protocol}"))?;
        self.port.iter().try_for_each(|port| write!(f, ", port {port}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(change: impl FnOnce(&mut Capture), expected: Option<&str>) {
        let (link, seconds, bytes, snap_bytes) = (CapturedLink::Public, 10, 65_536, 256);
        let mut capture =
            Capture { link, seconds, bytes, snap_bytes, host: None, protocol: None, port: None };
        change(&mut capture);
        assert_eq!(capture.problem().map(|problem| problem.to_string()).as_deref(), expected);
    }

    #[test]
    fn what_breaks_a_rule_is_told_by_field() {
        check(|_| {}, None);
        check(|capture| (capture.protocol, capture.port) = (Some(CaptureProtocol::Udp), Some(53)), None);
        check(|capture| capture.seconds = 0, Some("seconds: must be 1 to 60"));
        check(|capture| capture.seconds = 61, Some("seconds: must be 1 to 60"));
        check(|capture| capture.bytes = 5 << 20, Some("bytes: must be 1024 to 4194304"));
        check(|capture| capture.snap_bytes = 10, Some("snap_bytes: must be 64 to 65535"));
        check(|capture| capture.port = Some(0), Some("port: must be 1 to 65535"));
        let arp = Some(CaptureProtocol::Arp);
        check(
            |capture| (capture.protocol, capture.port) = (arp, Some(53)),
            Some("port: only TCP and UDP have ports"),
        );
        check(
            |capture| (capture.protocol, capture.host) = (arp, "fd00::1".parse().ok()),
            Some("protocol: an IPv6 address has none of this"),
        );
    }
}
