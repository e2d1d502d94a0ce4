//! Writes answers: the question as it came, records whose owners point into it, and an OPT record where one was asked.

use crate::query::{Asked, Edns, Head};
use crate::records::Section;
use crate::wire::{HEADER, IN, UDP_SIZE, flag, kind};

/// The length of the OPT record of answers, which has no options.
const OPT: usize = 11;

/// An answer in the making. There are no more records than a `u16` counts, for they are an answer of this crate's own
/// or of at most 64 KiB.
pub(crate) struct Reply {
    out: Vec<u8>,
    question_end: usize,
}

impl Reply {
    /// Begins an answer. The flags are those besides what all answers have.
    pub(crate) fn to(asked: Asked<'_>, flags: u16) -> Self {
        let mut reply = Self::header(asked.head, flags);
        reply.out[5] = 1;
        reply.out.extend_from_slice(asked.question);
        reply.question_end = reply.out.len();
        reply
    }

    /// An answer that is only a header with an error.
    pub(crate) fn error(head: Head, code: u16) -> Vec<u8> {
        Self::header(head, code).out
    }

    /// An answer that is only a code, with the question.
    pub(crate) fn code(asked: Asked<'_>, code: u16) -> Vec<u8> {
        let mut reply = Self::to(asked, code & flag::RCODE);
        reply.opt(asked.edns, (code >> 4) as u8);
        reply.out
    }

    /// An answer that says that the whole is to be had over TCP.
    pub(crate) fn truncated(asked: Asked<'_>) -> Vec<u8> {
        Self::to(asked, flag::TRUNCATED).finish(asked)
    }

    /// Adds a record. Its owner is the part of the question's name that begins at a place in that name.
    pub(crate) fn record(
        &mut self,
        section: Section,
        owner: usize,
        kind: u16,
        ttl: u32,
        data: impl FnOnce(&mut Vec<u8>),
    ) {
        let pointer = 0xc000 | (HEADER + owner) as u16;
        for word in [pointer, kind, IN] {
            self.out.extend_from_slice(&word.to_be_bytes());
        }
        self.out.extend_from_slice(&ttl.to_be_bytes());
        let length_at = self.out.len();
        self.out.extend_from_slice(&[0, 0]);
        data(&mut self.out);
        let length = (self.out.len() - length_at - 2) as u16;
        self.out[length_at..length_at + 2].copy_from_slice(&length.to_be_bytes());
        self.count(section, 1);
    }

    /// Adds another server's records as they are, behind a question of the same length, with how many there are in each
    /// section.
    pub(crate) fn records(&mut self, bytes: &[u8], counts: [u16; 3]) {
        self.out.extend_from_slice(bytes);
        for (section, count) in
            [Section::Answer, Section::Authority, Section::Additional].into_iter().zip(counts)
        {
            self.count(section, count);
        }
    }

    /// The bytes of the answer so far.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.out
    }

    /// The answer, with an OPT record if the query had one, and cut to the question if it is longer than the client or
    /// its transport takes (RFC 2181, 9).
    pub(crate) fn finish(mut self, asked: Asked<'_>) -> Vec<u8> {
        self.opt(asked.edns, 0);
        if self.out.len() > asked.limit {
            self.out.truncate(self.question_end);
            self.out[2] |= (flag::TRUNCATED >> 8) as u8;
            self.out[6..12].fill(0);
            self.opt(asked.edns, 0);
        }
        self.out
    }

    fn header(head: Head, flags: u16) -> Self {
        let kept = head.flags & (flag::OPCODE | flag::RECURSION_DESIRED | flag::CHECKING_DISABLED);
        let flags = flag::ANSWER | kept | flag::RECURSION_AVAILABLE | flags;
        let mut out = Vec::with_capacity(512);
        out.extend_from_slice(&head.id.to_be_bytes());
        out.extend_from_slice(&flags.to_be_bytes());
        out.extend_from_slice(&[0; 8]);
        Self { out, question_end: HEADER }
    }

    fn count(&mut self, section: Section, more: u16) {
        let at = match section {
            Section::Answer => 6,
            Section::Authority => 8,
            Section::Additional => 10,
        };
        let count = u16::from_be_bytes([self.out[at], self.out[at + 1]]).saturating_add(more);
        self.out[at..at + 2].copy_from_slice(&count.to_be_bytes());
    }

    /// Adds the OPT record with the upper bits of the code.
    fn opt(&mut self, edns: Option<Edns>, code: u8) {
        let Some(edns) = edns else { return };
        let start = self.out.len();
        self.out.extend_from_slice(&[0; OPT]);
        let opt = &mut self.out[start..];
        opt[1..3].copy_from_slice(&kind::OPT.to_be_bytes());
        opt[3..5].copy_from_slice(&(UDP_SIZE as u16).to_be_bytes());
        opt[5] = code;
        opt[7] = u8::from(edns.wants_dnssec) << 7;
        self.count(Section::Additional, 1);
    }
}
