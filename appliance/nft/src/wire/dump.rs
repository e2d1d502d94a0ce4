//! What counting sets have counted, as the kernel tells it (`NFT_MSG_GETSETELEM` of `linux/netfilter/nf_tables.h`).
//!
//! nft(8) reads all sets and rules before it lists a few of them. Counters are asked for every few seconds, so they are read here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use nix::errno::Errno;

use super::{NEW_ELEMENTS, NLM_F_REQUEST, NLMSG_ERROR, SUBSYSTEM, Writer, message};
use crate::counters::Counted;
use crate::ruleset::Set;

const GET_ELEMENTS: u16 = SUBSYSTEM << 8 | 13;

const NLMSG_DONE: u16 = 3;
const NLM_F_DUMP: u16 = 0x300;
const NLM_F_DUMP_INTR: u16 = 0x10;
/// The kind of an attribute without `NLA_F_NESTED` and `NLA_F_NET_BYTEORDER`.
const NLA_TYPE_MASK: u16 = 0x3fff;

/// `struct nfgenmsg`.
const ABOUT: usize = 4;

/// A question for all elements of one counting set. A socket takes one at a time.
#[derive(Debug, Clone)]
pub struct Dump {
    set: Set,
    bytes: Vec<u8>,
}

/// Why the elements of a set are not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DumpError {
    /// The kernel refuses to tell them.
    #[error("the kernel does not tell the elements of {set}: {error}")]
    Refused {
        /// The set.
        set: &'static str,
        /// The kernel's reason.
        error: Errno,
    },
    /// Something was changed meanwhile: to be asked again.
    #[error("{0} was changed while it was read")]
    Changed(&'static str),
    /// The answer has no end.
    #[error("the kernel has not told all elements of {0}")]
    Cut(&'static str),
    /// An element is not of the form that a counting set has.
    #[error("an element of {0} has no address or no counter")]
    Element(&'static str),
}

impl Dump {
    /// One for each counting set.
    pub fn all() -> [Self; 6] {
        Set::COUNTING.map(|set| {
            let mut writer = Writer::empty();
            writer.header(GET_ELEMENTS, NLM_F_REQUEST | NLM_F_DUMP, 1);
            writer.set(set);
            writer.end(0);
            Self { set, bytes: writer.bytes }
        })
    }

    /// The bytes for a socket of `NETLINK_NETFILTER`.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Adds what the set has counted, by all that the kernel has answered on that socket.
    ///
    /// # Errors
    /// When that is not all, or not of one moment; a part may have been added then.
    pub fn read(&self, mut answers: &[u8], counted: &mut Counted) -> Result<(), DumpError> {
        let set = self.set.place().name;
        let mut is_whole = true;
        while let Some((kind, flags, _, body)) = message(&mut answers) {
            is_whole &= flags & NLM_F_DUMP_INTR == 0;
            match kind {
                NLMSG_ERROR | NLMSG_DONE => {
                    // Where nothing is wrong both begin with a zero, and dumps end with the latter.
                    let code = body.first_chunk().copied().map_or(0, i32::from_ne_bytes);
                    if code != 0 {
                        return Err(DumpError::Refused { set, error: Errno::from_raw(-code) });
                    }
                    if kind == NLMSG_DONE {
                        return if is_whole { Ok(()) } else { Err(DumpError::Changed(set)) };
                    }
                }
                NEW_ELEMENTS => {
                    let body = body.get(ABOUT..).unwrap_or_default();
                    for (_, element) in attributes(attribute(body, 3).unwrap_or_default()) {
                        self.add(element, counted).ok_or(DumpError::Element(set))?;
                    }
                }
                _ => {}
            }
        }
        Err(DumpError::Cut(set))
    }

    /// Adds an element: attributes of `enum nft_set_elem_attributes`.
    fn add(&self, element: &[u8], counted: &mut Counted) -> Option<()> {
        let key = attribute(attribute(element, 1)?, 1)?;
        let address = match key.len() {
            4 => IpAddr::from(Ipv4Addr::from(<[u8; 4]>::try_from(key).ok()?)),
            _ => IpAddr::from(Ipv6Addr::from(<[u8; 16]>::try_from(key).ok()?)),
        };
        let expression = attribute(element, 7)?;
        if attribute(expression, 1)? != b"counter\0" {
            return None;
        }
        let counter = attribute(expression, 2)?;
        let number = |kind| attribute(counter, kind)?.try_into().ok().map(u64::from_be_bytes);
        counted.add(self.set, address, number(2)?, number(1)?)
    }
}

/// The value of the first attribute of a kind.
fn attribute(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).find(|(found, _)| *found == kind).map(|(_, value)| value)
}

/// Kinds and values of attributes, up to the first one that is cut.
fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let header = bytes.first_chunk::<4>()?;
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let kind = u16::from_ne_bytes([header[2], header[3]]) & NLA_TYPE_MASK;
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

#[cfg(test)]
mod tests {
    use podzol_appliance_api::Counters;

    use super::*;

    /// Two elements of `nic_sent` and the end, in the form in which the kernel tells them.
    fn answer(flags: u16) -> Vec<u8> {
        let mut writer = Writer::empty();
        writer.header(NEW_ELEMENTS, 2 | flags, 1);
        writer.bytes.extend([1, 0, 0, 7]);
        writer.text(1, "podzol_count");
        writer.text(2, "nic_sent");
        let list = writer.open(3);
        for (address, packets, bytes) in [([10, 1, 1, 5], 1_u64, 84_u64), ([10, 1, 1, 6], 1 << 40, 1 << 50)] {
            let element = writer.open(1);
            writer.data(1, &address);
            let expression = writer.open(7);
            writer.text(1, "counter");
            let counter = writer.open(2);
            writer.value(1, &bytes.to_be_bytes());
            writer.value(3, &[]);
            writer.value(2, &packets.to_be_bytes());
            for nest in [counter, expression, element] {
                writer.close(nest);
            }
        }
        writer.close(list);
        writer.end(0);
        let end = writer.bytes.len();
        writer.header(NLMSG_DONE, 2, 1);
        writer.bytes.extend([0; 4]);
        writer.end(end);
        writer.bytes
    }

    fn read(answers: &[u8]) -> Result<Counted, DumpError> {
        let mut counted = Counted::default();
        Dump::all()[0].read(answers, &mut counted).map(|()| counted)
    }

    #[test]
    fn counters_are_by_address() {
        let sent =
            |packets, bytes| Counters { sent_packets: packets, sent_bytes: bytes, ..Counters::default() };
        let nics = [([10, 1, 1, 5].into(), sent(1, 84)), ([10, 1, 1, 6].into(), sent(1 << 40, 1 << 50))];
        assert_eq!(read(&answer(0)), Ok(Counted { nics: nics.into(), ..Counted::default() }));
    }

    #[test]
    fn what_is_cut_refused_or_of_several_moments_is_not_taken() {
        let whole = answer(0);
        for length in 0..whole.len() {
            assert_eq!(read(&whole[..length]), Err(DumpError::Cut("nic_sent")), "{length}");
        }
        assert_eq!(read(&answer(NLM_F_DUMP_INTR)), Err(DumpError::Changed("nic_sent")));
        let mut refused = whole[whole.len() - 20..].to_vec();
        refused[16..].copy_from_slice(&(-2_i32).to_ne_bytes());
        let error = DumpError::Refused { set: "nic_sent", error: Errno::ENOENT };
        assert_eq!(read(&refused), Err(error.clone()));
        refused[4..6].copy_from_slice(&NLMSG_ERROR.to_ne_bytes());
        assert_eq!(read(&refused), Err(error));
    }

    #[test]
    fn elements_of_another_form_are_refused_and_damaged_ones_have_an_end() {
        let whole = answer(0);
        let name = whole.windows(7).position(|bytes| bytes == b"counter").unwrap();
        let mut other = whole.clone();
        other[name..name + 7].copy_from_slice(b"limited");
        assert_eq!(read(&other), Err(DumpError::Element("nic_sent")));
        for at in 20..whole.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut bytes = whole.clone();
                bytes[at] = value;
                // Whatever it is, it has an end.
                let _ = read(&bytes);
            }
        }
    }
}
