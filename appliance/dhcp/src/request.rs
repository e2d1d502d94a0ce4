//! What a client sent: the fixed header, and those options that change the answer.
//!
//! Strict where a mistake could be an attack, and lenient nowhere that RFC 2131 is not: a packet is understood whole or
//! not at all.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use dhcproto::v4::borrowed::Message;
use dhcproto::v4::{HType, MAGIC, MessageType, Opcode};

/// The longest packet that is read, in bytes: what one Ethernet frame holds. Clients send 240 to 576.
pub const MAX_PACKET: usize = 1500;

/// A packet that went through more relays than this goes in circles (RFC 1542, 4.1.1).
const MAX_HOPS: u8 = 16;

const OPTIONS: usize = 240;
const SNAME: std::ops::Range<usize> = 44..108;
const FILE: std::ops::Range<usize> = 108..236;

/// The fixed part of a packet from a client whose hardware address could be one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Header {
    pub(crate) xid: u32,
    pub(crate) flags: dhcproto::v4::Flags,
    pub(crate) ciaddr: Ipv4Addr,
    pub(crate) giaddr: Ipv4Addr,
    pub(crate) chaddr: [u8; 6],
}

impl Header {
    /// Reads and checks it, without a look at the options.
    pub(crate) fn parse(packet: &[u8]) -> Option<Self> {
        if packet.len() > MAX_PACKET || packet.get(OPTIONS - MAGIC.len()..OPTIONS)? != MAGIC {
            return None;
        }
        let message = Message::new(packet).ok()?;
        let ethernet = message.htype() == HType::Eth && message.hlen() == 6;
        if message.opcode() != Opcode::BootRequest || !ethernet || message.hops() > MAX_HOPS {
            return None;
        }
        // Only after the check above: `chaddr` slices by a length that the sender chose.
        let chaddr: [u8; 6] = message.chaddr().try_into().ok()?;
        let multicast = chaddr[0] & 1 == 1;
        (!multicast).then(|| Self {
            xid: message.xid(),
            flags: message.flags(),
            ciaddr: message.ciaddr(),
            giaddr: message.giaddr(),
            chaddr,
        })
    }
}

/// A packet from a client.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) header: Header,
    pub(crate) kind: MessageType,
    /// The address it asks for (option 50).
    pub(crate) requested: Option<Ipv4Addr>,
    /// The server that it speaks to (option 54).
    pub(crate) server: Option<Ipv4Addr>,
    /// The options it wants, in order (option 55).
    pub(crate) parameters: Option<Vec<u8>>,
    /// The longest IP packet that it takes (option 57).
    pub(crate) max_size: Option<u16>,
    /// Who it says it is (option 61).
    pub(crate) client_id: Option<Vec<u8>>,
    /// What a relay added (option 82).
    pub(crate) relay: Option<Vec<u8>>,
}

impl Request {
    /// Reads a packet whole.
    pub(crate) fn parse(packet: &[u8]) -> Option<Self> {
        let header = Header::parse(packet)?;
        let mut found = options(packet)?;
        Some(Self {
            header,
            // Without it this is BOOTP, which is not served.
            kind: MessageType::from(u8::from_be_bytes(found.number(53)??)),
            requested: found.number(50)?.map(Ipv4Addr::from),
            server: found.number(54)?.map(Ipv4Addr::from),
            parameters: found.bytes(55),
            max_size: found.number(57)?.map(u16::from_be_bytes),
            client_id: found.bytes(61),
            relay: found.bytes(82),
        })
    }
}

/// The options that are read, each with the bytes of all its parts.
#[derive(Debug, Default)]
struct Found(BTreeMap<u8, Vec<u8>>);

/// The options that change the answer, and 52, which says that there are more in other fields.
const READ: [u8; 8] = [50, 52, 53, 54, 55, 57, 61, 82];

impl Found {
    /// Adds the options of one field. None when it is cut short; it must end with the option "end" (RFC 2131, 4.1).
    fn walk(&mut self, field: &[u8]) -> Option<()> {
        let mut rest = field;
        loop {
            let (&code, after) = rest.split_first()?;
            match code {
                0 => rest = after,
                255 => return Some(()),
                _ => {
                    let (&length, after) = after.split_first()?;
                    let (value, after) = after.split_at_checked(length.into())?;
                    if READ.contains(&code) {
                        // An option that is there again goes on (RFC 3396, 5).
                        self.0.entry(code).or_default().extend_from_slice(value);
                    }
                    rest = after;
                }
            }
        }
    }

    /// An option of fixed length, if it is there; none at all when it has another length.
    fn number<const N: usize>(&mut self, code: u8) -> Option<Option<[u8; N]>> {
        let Some(bytes) = self.0.remove(&code) else { return Some(None) };
        Some(Some(bytes.try_into().ok()?))
    }

    fn bytes(&mut self, code: u8) -> Option<Vec<u8>> {
        self.0.remove(&code).filter(|bytes| !bytes.is_empty())
    }
}

/// The options in all the fields that they may be in (RFC 2132, 9.3), in the order of RFC 2131, 4.1.
fn options(packet: &[u8]) -> Option<Found> {
    let mut found = Found::default();
    found.walk(packet.get(OPTIONS..)?)?;
    let [overload] = found.number(52)?.unwrap_or([0]);
    if overload > 3 {
        return None;
    }
    if overload & 1 != 0 {
        found.walk(packet.get(FILE)?)?;
    }
    if overload & 2 != 0 {
        found.walk(packet.get(SNAME)?)?;
    }
    // In those fields it would lead to themselves.
    (!found.0.contains_key(&52)).then_some(found)
}
