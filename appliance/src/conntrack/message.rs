//! What the kernel says of a connection, taken out of its netlink messages (linux/netfilter/nfnetlink_conntrack.h). No I/O.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The subsystem `NFNL_SUBSYS_CTNETLINK` in the upper byte, and the message in the lower.
const GET: u16 = 1 << 8 | 1;
const NEW: u16 = 1 << 8;
/// `NLM_F_REQUEST | NLM_F_DUMP`.
const FLAGS: u16 = 1 | 0x300;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;

/// `struct nlmsghdr`, and `struct nfgenmsg` after it.
const HEADER: usize = 16;
const BOTH_HEADERS: usize = HEADER + 4;

/// The bits of an attribute's kind that are not its number.
const NUMBER: u16 = 0x3fff;

const CTA_TUPLE_ORIG: u16 = 1;
const CTA_STATUS: u16 = 3;
const CTA_PROTOINFO: u16 = 4;
const CTA_TUPLE_IP: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;
const CTA_IP_V4_SRC: u16 = 1;
const CTA_IP_V6_SRC: u16 = 3;
const CTA_PROTO_NUM: u16 = 1;
const CTA_PROTOINFO_TCP: u16 = 1;
const CTA_PROTOINFO_TCP_STATE: u16 = 1;
/// `IPS_SEEN_REPLY`.
const SEEN_REPLY: u32 = 2;

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

/// Asks for all connections of both families.
pub(super) const REQUEST: [u8; BOTH_HEADERS] = {
    let mut request = [0; BOTH_HEADERS];
    request[0] = BOTH_HEADERS as u8;
    let ([a, b], [c, d]) = (GET.to_ne_bytes(), FLAGS.to_ne_bytes());
    (request[4], request[5], request[6], request[7]) = (a, b, c, d);
    request
};

const _: () = assert!(cfg!(target_endian = "little"), "the length above is one byte");

/// A message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part {
    Entry(Entry),
    End,
    /// With the error's number.
    Error(i32),
    Other,
}

/// A connection, as far as it is counted.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Who has begun it.
    pub(super) source: IpAddr,
    protocol: u8,
    status: u32,
    tcp_state: Option<u8>,
}

impl Entry {
    pub(super) fn protocol(&self) -> String {
        match self.protocol {
            1 => "icmp".into(),
            6 => "tcp".into(),
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
pub(super) fn parts(mut bytes: &[u8]) -> impl Iterator<Item = Part> + '_ {
    std::iter::from_fn(move || {
        let length = u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
        let message = bytes.get(..length).filter(|message| message.len() >= HEADER)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(part(message))
    })
}

fn part(message: &[u8]) -> Part {
    let kind = u16::from_ne_bytes([message[4], message[5]]);
    let found = match kind {
        NLMSG_DONE => Some(Part::End),
        NLMSG_ERROR => number(message.get(HEADER..)).map(|number| Part::Error(-i32::from_ne_bytes(number))),
        NEW => message.get(BOTH_HEADERS..).and_then(entry).map(Part::Entry),
        _ => None,
    };
    found.unwrap_or(Part::Other)
}

fn entry(attributes: &[u8]) -> Option<Entry> {
    let tuple = find(attributes, CTA_TUPLE_ORIG)?;
    let addresses = find(tuple, CTA_TUPLE_IP)?;
    let four =
        || number::<4>(find(addresses, CTA_IP_V4_SRC)).map(|octets| IpAddr::from(Ipv4Addr::from(octets)));
    let six =
        || number::<16>(find(addresses, CTA_IP_V6_SRC)).map(|octets| IpAddr::from(Ipv6Addr::from(octets)));
    let protocol = *find(find(tuple, CTA_TUPLE_PROTO)?, CTA_PROTO_NUM)?.first()?;
    let status = number(find(attributes, CTA_STATUS)).map_or(0, u32::from_be_bytes);
    let of_tcp = find(attributes, CTA_PROTOINFO).and_then(|info| find(info, CTA_PROTOINFO_TCP));
    let tcp_state = of_tcp.and_then(|info| find(info, CTA_PROTOINFO_TCP_STATE)?.first().copied());
    Some(Entry { source: four().or_else(six)?, protocol, status, tcp_state })
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

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = ((4 + value.len()) as u16).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn message(kind: u16, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; HEADER];
        bytes[..4].copy_from_slice(&((HEADER + payload.len()) as u32).to_ne_bytes());
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes.extend(payload);
        bytes
    }

    fn connection() -> Vec<u8> {
        let nested = 0x8000;
        let addresses = attribute(nested | CTA_TUPLE_IP, &attribute(CTA_IP_V4_SRC, &[10, 1, 1, 2]));
        let protocol = attribute(nested | CTA_TUPLE_PROTO, &attribute(CTA_PROTO_NUM, &[6]));
        let tuple = attribute(nested | CTA_TUPLE_ORIG, &[addresses, protocol].concat());
        let state = attribute(nested | CTA_PROTOINFO_TCP, &attribute(CTA_PROTOINFO_TCP_STATE, &[3]));
        let status = attribute(CTA_STATUS, &SEEN_REPLY.to_be_bytes());
        [vec![2, 0, 0, 0], tuple, status, attribute(nested | CTA_PROTOINFO, &state)].concat()
    }

    #[test]
    fn a_connection_is_read_and_the_end_after_it() {
        let bytes = [message(NEW, &connection()), message(NLMSG_DONE, &[0; 4])].concat();
        let found: Vec<Part> = parts(&bytes).collect();
        let [Part::Entry(entry), Part::End] = &found[..] else { panic!("{found:?}") };
        assert_eq!((entry.source, entry.state()), ([10, 1, 1, 2].into(), "established"));
        assert_eq!(entry.protocol(), "tcp");
    }

    #[test]
    fn what_is_cut_short_is_no_connection_and_an_error_is_one() {
        let whole = connection();
        for length in 0..whole.len() - 8 {
            let bytes = message(NEW, &whole[..length]);
            assert!(!matches!(parts(&bytes).next(), Some(Part::Entry(entry)) if entry.tcp_state.is_some()));
        }
        assert_eq!(parts(&message(NLMSG_ERROR, &(-1_i32).to_ne_bytes())).next(), Some(Part::Error(1)));
        assert_eq!(parts(&[0; 20]).next(), None);
    }
}
