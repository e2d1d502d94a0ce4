//! Walks over the records of a packet that may be hostile: each is looked at once, nothing is followed, nothing copied.

use crate::wire::HEADER;

/// A record's place and fixed part (RFC 1035, 4.1.3).
pub(crate) struct Record {
    pub(crate) section: Section,
    /// Where its name begins.
    pub(crate) start: usize,
    pub(crate) kind: u16,
    pub(crate) class: u16,
    pub(crate) ttl: u32,
    /// Where its TTL is.
    pub(crate) ttl_at: usize,
    /// Where its data ends, and the record.
    pub(crate) end: usize,
}

/// A part of a packet that records are in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Section {
    Answer,
    Authority,
    Additional,
}

/// The records of a packet in their order; `None` once, and then the end, where one is broken.
pub(crate) struct Records<'p> {
    packet: &'p [u8],
    at: usize,
    left: [u16; 3],
}

impl<'p> Records<'p> {
    /// The records that begin at a place, behind the question.
    pub(crate) fn of(packet: &'p [u8], at: usize) -> Self {
        let count = |at| u16_at(packet, at).unwrap_or_default();
        Self { packet, at, left: [count(6), count(8), count(10)] }
    }

    fn record(&self, section: Section) -> Option<Record> {
        let fixed = name_end(self.packet, self.at)?;
        let ttl = u32_at(self.packet, fixed + 4)?;
        let end = fixed + 10 + usize::from(u16_at(self.packet, fixed + 8)?);
        let record = Record {
            section,
            start: self.at,
            kind: u16_at(self.packet, fixed)?,
            class: u16_at(self.packet, fixed + 2)?,
            ttl,
            ttl_at: fixed + 4,
            end,
        };
        (end <= self.packet.len()).then_some(record)
    }
}

impl Iterator for Records<'_> {
    type Item = Option<Record>;

    fn next(&mut self) -> Option<Self::Item> {
        let index = self.left.iter().position(|left| *left > 0)?;
        self.left[index] -= 1;
        let section = [Section::Answer, Section::Authority, Section::Additional][index];
        let record = self.record(section);
        match &record {
            Some(record) => self.at = record.end,
            None => self.left = [0; 3],
        }
        Some(record)
    }
}

/// Where a name ends, which may point back to an earlier one but not forward, so that no reader runs in circles.
fn name_end(packet: &[u8], start: usize) -> Option<usize> {
    let mut at = start;
    loop {
        match *packet.get(at)? {
            0 => return Some(at + 1),
            length @ 1..=63 => at += 1 + usize::from(length),
            0xc0.. => {
                let target = usize::from(u16_at(packet, at)? & 0x3fff);
                return (HEADER..start).contains(&target).then_some(at + 2);
            }
            _ => return None,
        }
        if at - start > 254 {
            return None;
        }
    }
}

/// The 16-bit number at a place.
pub(crate) fn u16_at(packet: &[u8], at: usize) -> Option<u16> {
    let bytes = packet.get(at..at + 2)?;
    Some(u16::from_be_bytes([bytes[0], bytes[1]]))
}

/// The 32-bit number at a place.
pub(crate) fn u32_at(packet: &[u8], at: usize) -> Option<u32> {
    let bytes = packet.get(at..at + 4)?;
    Some(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(names: &[&[u8]]) -> Vec<u8> {
        let mut packet = vec![0; HEADER];
        packet[7] = names.len() as u8;
        for name in names {
            packet.extend_from_slice(name);
            packet.extend_from_slice(b"\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\x0a\x01\x01\x02");
        }
        packet
    }

    #[test]
    fn records_are_found_whether_their_names_are_compressed_or_not() {
        let packet = packet(&[b"\x01a\x00", b"\xc0\x0c", b"\x01b\xc0\x0c", b"\x00"]);
        let ends: Vec<_> = Records::of(&packet, HEADER).map(|record| record.unwrap().end).collect();
        assert_eq!((ends.len(), ends[3]), (4, packet.len()));
    }

    #[test]
    fn a_name_that_points_to_itself_or_forward_is_refused() {
        for name in [&b"\xc0\x0c"[..], b"\xc0\x20", b"\x01a\xc0\x0c", b"\xc0\x00"] {
            assert!(Records::of(&packet(&[name]), HEADER).next().unwrap().is_none(), "{name:?}");
        }
    }

    #[test]
    fn more_records_said_than_there_are_end_the_walk() {
        let mut packet = packet(&[b"\x00"]);
        packet[6..12].fill(0xff);
        assert_eq!(Records::of(&packet, HEADER).count(), 2);
    }
}
