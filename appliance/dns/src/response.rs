//! What a forwarder answers: checked, without its OPT record, ready to be given to any client.

use std::time::Duration;

use crate::query::Asked;
use crate::records::{Record, Records, Section, u16_at, u32_at};
use crate::reply::Reply;
use crate::wire::{HEADER, IN, flag, kind, rcode};

/// The longest that an answer is kept, in seconds: what changes elsewhere is known here within the hour.
const MAX_TTL: u32 = 3600;

/// The longest that it is kept that something is not there, in seconds.
const MAX_NEGATIVE_TTL: u32 = 300;

/// An answer of a forwarder.
pub(crate) struct Response {
    pub(crate) code: u16,
    pub(crate) is_truncated: bool,
    /// How long it may be kept; `None` if not at all.
    pub(crate) lifetime: Option<Duration>,
    is_authentic: bool,
    /// All behind the question, without the OPT record.
    records: Vec<u8>,
    counts: [u16; 3],
    /// Where TTLs are in the packet.
    ttls: Vec<u16>,
}

impl Response {
    /// Reads the answer to a question; `None` if it is no answer, one to something else, or broken.
    pub(crate) fn read(packet: &[u8], question: &[u8]) -> Option<Self> {
        let flags = u16_at(packet, 2)?;
        if flags & flag::ANSWER == 0 || flags & flag::OPCODE != 0 || packet.len() > usize::from(u16::MAX) {
            return None;
        }
        let start = HEADER + question.len();
        if u16_at(packet, 4) != Some(1) || !is_same(packet.get(HEADER..start)?, question) {
            return None;
        }
        let mut response = Self {
            code: flags & flag::RCODE,
            is_truncated: flags & flag::TRUNCATED != 0,
            lifetime: None,
            is_authentic: flags & flag::AUTHENTIC != 0,
            records: Vec::new(),
            counts: [0; 3],
            ttls: Vec::new(),
        };
        // What a cut answer still has is of no use: clients ask again over TCP.
        if !response.is_truncated {
            response.read_records(packet, start)?;
        }
        Some(response)
    }

    /// Whether it says something about the name, and not about the server.
    pub(crate) fn is_good(&self) -> bool {
        matches!(self.code, rcode::NO_ERROR | rcode::NO_NAME)
    }

    /// As a packet for a client, some time after it was read.
    pub(crate) fn answer(&self, asked: Asked<'_>, age: Duration) -> Vec<u8> {
        let authentic = if self.is_authentic && asked.wants_authentic() { flag::AUTHENTIC } else { 0 };
        let mut reply = Reply::to(asked, self.code | authentic);
        reply.records(&self.records, self.counts);
        let age = u32::try_from(age.as_secs()).unwrap_or(u32::MAX);
        if age > 0 {
            for at in &self.ttls {
                let at = usize::from(*at);
                let left = u32_at(reply.bytes_mut(), at).unwrap_or_default().saturating_sub(age);
                reply.bytes_mut()[at..at + 4].copy_from_slice(&left.to_be_bytes());
            }
        }
        reply.finish(asked)
    }

    /// How much memory it takes, in bytes.
    pub(crate) fn size(&self) -> usize {
        size_of::<Self>() + self.records.capacity() + 2 * self.ttls.capacity()
    }

    fn read_records(&mut self, packet: &[u8], start: usize) -> Option<()> {
        let question_kind = u16_at(packet, start - 4)?;
        let (mut end, mut has_opt, mut has_answer) = (start, false, false);
        let (mut shortest, mut negative) = (MAX_TTL, None);
        let mut ttls = Vec::new();
        for record in Records::of(packet, start) {
            let record = record?;
            if record.kind == kind::OPT {
                // A code of more than four bits is about the OPT record (RFC 6891, 6.1.3), and so about the server.
                if record.ttl >> 24 != 0 {
                    self.code = rcode::SERVER_FAILURE;
                }
                has_opt = true;
            }
            // What is behind the OPT record may point to what is behind it too: it is left out, for additional records
            // may be.
            if has_opt {
                continue;
            }
            let ttl = lifetime(packet, &record);
            if record.section == Section::Authority && record.kind == kind::SOA {
                negative = Some(ttl);
            }
            has_answer |= record.section == Section::Answer && record.kind == question_kind;
            shortest = shortest.min(ttl);
            ttls.push((record.ttl_at, ttl));
            self.counts[record.section as usize] += 1;
            end = record.end;
        }
        self.records = packet[start..end].to_vec();
        for (at, ttl) in ttls {
            self.records[at - start..at - start + 4].copy_from_slice(&ttl.to_be_bytes());
            self.ttls.push(at as u16);
        }
        let kept = match (self.code, has_answer) {
            (rcode::NO_ERROR, true) => Some(shortest),
            // Without the zone's SOA record nobody says for how long something is not there (RFC 2308, 5).
            (rcode::NO_ERROR, false) | (rcode::NO_NAME, _) => {
                negative.map(|_| shortest.min(MAX_NEGATIVE_TTL))
            }
            _ => None,
        };
        self.lifetime =
            kept.filter(|seconds| *seconds > 0).map(|seconds| Duration::from_secs(seconds.into()));
        Some(())
    }
}

/// How long a record may be kept, in seconds.
fn lifetime(packet: &[u8], record: &Record) -> u32 {
    // A TTL with the highest bit is none (RFC 2181, 8).
    let ttl = if record.ttl >> 31 == 0 { record.ttl.min(MAX_TTL) } else { 0 };
    let is_negative = record.section == Section::Authority && record.kind == kind::SOA;
    // The last number of a SOA record; before it are two names and four numbers. See RFC 2308, 5.
    if !is_negative || record.end < record.ttl_at + 6 + 22 {
        return ttl;
    }
    let minimum = u32_at(packet, record.end - 4).unwrap_or_default();
    ttl.min(minimum).min(MAX_NEGATIVE_TTL)
}

/// Whether two questions are the same but for the case of letters.
fn is_same(one: &[u8], other: &[u8]) -> bool {
    let (Some((name, kind)), Some((other, other_kind))) =
        (one.split_last_chunk::<4>(), other.split_last_chunk::<4>())
    else {
        return false;
    };
    kind == other_kind && kind[2..] == IN.to_be_bytes() && name.eq_ignore_ascii_case(other)
}
