//! What the kernel says of a connection, taken out of its netlink messages (linux/netfilter/nfnetlink_conntrack.h). No I/O.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The subsystem `NFNL_SUBSYS_CTNETLINK` in the upper byte, and the message in the lower.
const NEW: u16 = 1 << 8;
const GET: u16 = 1 << 8 | 1;
const DELETE: u16 = 1 << 8 | 2;
/// `NLM_F_REQUEST | NLM_F_DUMP`.
const DUMP: u16 = 1 | 0x300;
/// `NLM_F_REQUEST | NLM_F_ACK`.
const ACKNOWLEDGE: u16 = 1 | 4;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;

/// `struct nlmsghdr`, and `struct nfgenmsg` after it.
const HEADER: usize = 16;
const BOTH_HEADERS: usize = HEADER + 4;

/// The bits of an attribute's kind that are its number, and the one that says that it holds others.
const NUMBER: u16 = 0x3fff;
const NESTED: u16 = 0x8000;

const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_STATUS: u16 = 3;
const CTA_PROTOINFO: u16 = 4;
const CTA_ID: u16 = 12;
const CTA_TUPLE_IP: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;
const CTA_IP_V4_SRC: u16 = 1;
const CTA_IP_V6_SRC: u16 = 3;
const CTA_PROTO_NUM: u16 = 1;
const CTA_PROTO_SRC_PORT: u16 = 2;
const CTA_PROTOINFO_TCP: u16 = 1;
const CTA_PROTOINFO_TCP_STATE: u16 = 1;
/// `IPS_SEEN_REPLY`.
const SEEN_REPLY: u32 = 2;

const TCP: u8 = 6;

/// What TCP's states are called (`enum tcp_conntrack`).
const TCP_STATES: [&str; 10] = [
    "none",
    "syn_sent",
    "syn_recv",
    "established",
    "fin_wait",
    "close_wait",
    "last_ack",
    "time_wait",
    "close",
    "syn_sent2",
];

/// Which connections to give (`nfgen_family`).
#[derive(Debug, Clone, Copy)]
pub(super) enum Family {
    Both = 0,
    V4 = 2,
}

/// Asks for all connections of a family.
pub(super) fn dump(family: Family) -> Vec<u8> {
    request(GET, DUMP, family, &[])
}

/// Has a connection forgotten, if it still is the same one. What follows of it begins a new one.
pub(super) fn forget(entry: &Entry<'_>) -> Vec<u8> {
    let id = entry.id.map(|id| attribute(CTA_ID, id)).unwrap_or_default();
    request(
        DELETE,
        ACKNOWLEDGE,
        Family::V4,
        &[attribute(NESTED | CTA_TUPLE_ORIG, entry.original), id].concat(),
    )
}

fn request(kind: u16, flags: u16, family: Family, attributes: &[u8]) -> Vec<u8> {
    let mut request = vec![0; BOTH_HEADERS];
    request[..4].copy_from_slice(&((BOTH_HEADERS + attributes.len()) as u32).to_ne_bytes());
    request[4..6].copy_from_slice(&kind.to_ne_bytes());
    request[6..8].copy_from_slice(&flags.to_ne_bytes());
    request[HEADER] = family as u8;
    request.extend(attributes);
    request
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = ((4 + value.len()) as u16).to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// A message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part<'a> {
    Entry(Entry<'a>),
    End,
    /// With the error's number; zero acknowledges.
    Error(i32),
    Other,
}

/// A connection, as far as it matters here.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry<'a> {
    /// Who has begun it.
    pub(super) source: IpAddr,
    /// Whom it is to be answered by, if it is of TCP.
    pub(super) answerer: Option<SocketAddr>,
    protocol: u8,
    status: u32,
    tcp_state: Option<u8>,
    /// What the kernel knows it by.
    original: &'a [u8],
    id: Option<&'a [u8]>,
}

impl Entry<'_> {
    pub(super) fn is_answered(&self) -> bool {
        self.status & SEEN_REPLY != 0
    }

    pub(super) fn protocol(&self) -> String {
        match self.protocol {
            1 => "icmp".into(),
            TCP => "tcp".into(),
            17 => "udp".into(),
            58 => "icmp6".into(),
            other => format!("protocol {other}"),
        }
    }

    pub(super) fn state(&self) -> &'static str {
        match self.tcp_state {
            Some(state) => TCP_STATES.get(usize::from(state)).copied().unwrap_or("unknown"),
            None if self.status & SEEN_REPLY != 0 => "replied",
            None => "unreplied",
        }
    }
}

/// The messages in what was received at a time.
pub(super) fn parts(mut bytes: &[u8]) -> impl Iterator<Item = Part<'_>> {
    std::iter::from_fn(move || {
        let length = u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
        let message = bytes.get(..length).filter(|message| message.len() >= HEADER)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(part(message))
    })
}

fn part(message: &[u8]) -> Part<'_> {
    let kind = u16::from_ne_bytes([message[4], message[5]]);
    let found = match kind {
        NLMSG_DONE => Some(Part::End),
        NLMSG_ERROR => number(message.get(HEADER..)).map(|number| Part::Error(-i32::from_ne_bytes(number))),
        NEW => message.get(BOTH_HEADERS..).and_then(entry).map(Part::Entry),
        _ => None,
    };
    found.unwrap_or(Part::Other)
}

fn entry(attributes: &[u8]) -> Option<Entry<'_>> {
    let original = find(attributes, CTA_TUPLE_ORIG)?;
    let protocol = *find(find(original, CTA_TUPLE_PROTO)?, CTA_PROTO_NUM)?.first()?;
    let status = number(find(attributes, CTA_STATUS)).map_or(0, u32::from_be_bytes);
    let of_tcp = find(attributes, CTA_PROTOINFO).and_then(|info| find(info, CTA_PROTOINFO_TCP));
    let tcp_state = of_tcp.and_then(|info| find(info, CTA_PROTOINFO_TCP_STATE)?.first().copied());
    let answerer = || {
        let reply = find(attributes, CTA_TUPLE_REPLY).filter(|_| protocol == TCP)?;
        Some(SocketAddr::new(source(reply)?, port(reply)?))
    };
    let answerer = answerer();
    let (source, id) = (source(original)?, find(attributes, CTA_ID));
    Some(Entry { source, answerer, protocol, status, tcp_state, original, id })
}

fn source(tuple: &[u8]) -> Option<IpAddr> {
    let addresses = find(tuple, CTA_TUPLE_IP)?;
    let four =
        || number::<4>(find(addresses, CTA_IP_V4_SRC)).map(|octets| IpAddr::from(Ipv4Addr::from(octets)));
    let six =
        || number::<16>(find(addresses, CTA_IP_V6_SRC)).map(|octets| IpAddr::from(Ipv6Addr::from(octets)));
    four().or_else(six)
}

fn port(tuple: &[u8]) -> Option<u16> {
    number(find(find(tuple, CTA_TUPLE_PROTO)?, CTA_PROTO_SRC_PORT)).map(u16::from_be_bytes)
}

fn number<const N: usize>(bytes: Option<&[u8]>) -> Option<[u8; N]> {
    bytes?.get(..N)?.try_into().ok()
}

/// The value of an attribute.
fn find(mut attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let length = usize::from(u16::from_ne_bytes(number(Some(attributes))?));
        let kind = u16::from_ne_bytes(number(attributes.get(2..))?) & NUMBER;
        let value = attributes.get(4..length)?;
        if kind == wanted {
            return Some(value);
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UDP: u8 = 17;

    fn message(kind: u16, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; HEADER];
        bytes[..4].copy_from_slice(&((HEADER + payload.len()) as u32).to_ne_bytes());
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes.extend(payload);
        bytes
    }

    fn tuple(kind: u16, source: [u8; 4], protocol: u8, port: u16) -> Vec<u8> {
        let addresses = attribute(NESTED | CTA_TUPLE_IP, &attribute(CTA_IP_V4_SRC, &source));
        let number = attribute(CTA_PROTO_NUM, &[protocol]);
        let port = attribute(CTA_PROTO_SRC_PORT, &port.to_be_bytes());
        let protocol = attribute(NESTED | CTA_TUPLE_PROTO, &[number, port].concat());
        attribute(NESTED | kind, &[addresses, protocol].concat())
    }

    fn connection(protocol: u8, status: u32) -> Vec<u8> {
        let state = attribute(NESTED | CTA_PROTOINFO_TCP, &attribute(CTA_PROTOINFO_TCP_STATE, &[3]));
        let info = if protocol == TCP { attribute(NESTED | CTA_PROTOINFO, &state) } else { vec![] };
        [
            vec![2, 0, 0, 0],
            tuple(CTA_TUPLE_ORIG, [192, 0, 2, 7], protocol, 40_000),
            tuple(CTA_TUPLE_REPLY, [10, 1, 1, 2], protocol, 80),
            attribute(CTA_ID, &[1, 2, 3, 4]),
            attribute(CTA_STATUS, &status.to_be_bytes()),
            info,
        ]
        .concat()
    }

    #[test]
    fn a_connection_is_read_and_the_end_after_it() {
        let bytes = [message(NEW, &connection(TCP, SEEN_REPLY)), message(NLMSG_DONE, &[0; 4])].concat();
        let found: Vec<Part> = parts(&bytes).collect();
        let [Part::Entry(entry), Part::End] = &found[..] else { panic!("{found:?}") };
        assert_eq!((entry.source, entry.state()), ([192, 0, 2, 7].into(), "established"));
        assert_eq!(entry.protocol(), "tcp");
        assert_eq!(entry.answerer, Some(([10, 1, 1, 2], 80).into()));
    }

    #[test]
    fn only_a_connection_of_tcp_has_one_to_answer_it() {
        let found = [(TCP, SEEN_REPLY), (TCP, 0), (UDP, 0)].map(|(protocol, status)| {
            let bytes = message(NEW, &connection(protocol, status));
            let Some(Part::Entry(entry)) = parts(&bytes).next() else { panic!("{protocol}") };
            (entry.answerer.is_some(), entry.is_answered())
        });
        assert_eq!(found, [(true, true), (true, false), (false, false)]);
    }

    #[test]
    fn what_is_to_be_forgotten_is_named_as_the_kernel_names_it() {
        let bytes = message(NEW, &connection(TCP, 0));
        let Some(Part::Entry(entry)) = parts(&bytes).next() else { panic!("no entry") };
        let request = forget(&entry);
        let original = tuple(CTA_TUPLE_ORIG, [192, 0, 2, 7], TCP, 40_000);
        let attributes = [original, attribute(CTA_ID, &[1, 2, 3, 4])].concat();
        assert_eq!(request[BOTH_HEADERS..], attributes);
        assert_eq!(request[..4], (request.len() as u32).to_ne_bytes());
        assert_eq!(request[4..8], [2, 1, 5, 0]);
    }

    #[test]
    fn what_is_cut_short_is_no_connection_and_an_error_is_one() {
        let whole = connection(TCP, 0);
        for length in 0..whole.len() - 8 {
            let bytes = message(NEW, &whole[..length]);
            assert!(!matches!(parts(&bytes).next(), Some(Part::Entry(entry)) if entry.tcp_state.is_some()));
        }
        assert_eq!(parts(&message(NLMSG_ERROR, &(-1_i32).to_ne_bytes())).next(), Some(Part::Error(1)));
        assert_eq!(parts(&[0; 20]).next(), None);
    }
}
