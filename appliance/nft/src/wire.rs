//! Elements as the kernel takes them: messages of nfnetlink (`linux/netfilter/nfnetlink.h`, `nf_tables.h`), of which a batch is
//! one transaction, without I/O.
//!
//! nft(8) takes 14 MB and some milliseconds for one element, and 32 MB for ten thousand, as it reads all definitions first. A
//! batch is some hundred bytes for an element. Only elements of sets whose keys are compared field by field are made here:
//! what the kernel keeps as a tree of intervals (`nft_set_rbtree`) and rules are nft(8)'s. So is the batch of the first load,
//! which was recorded from it and is only sent from here.

mod dump;
mod form;

pub use self::dump::{Dump, DumpError};
pub(crate) use self::form::{Form, Protocol};
use crate::ruleset::{Family, Place, Set};

const SUBSYSTEM: u16 = 10;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const NEW_ELEMENTS: u16 = SUBSYSTEM << 8 | 12;
const DELETE_ELEMENTS: u16 = SUBSYSTEM << 8 | 14;

const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_CREATE: u16 = 0x400;
const NLA_F_NESTED: u16 = 0x8000;

const NFPROTO_INET: u8 = 1;
const NFPROTO_IPV4: u8 = 2;
const NFPROTO_IPV6: u8 = 10;

/// `struct nlmsghdr`.
const HEADER: usize = 16;

/// So many elements a message has at most: an attribute has at most 64 KiB, and an element some hundred bytes.
const OF_ONE: usize = 400;

/// Changes of elements, all of which come into force at once, or none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    bytes: Vec<u8>,
    /// What each message is about, by its sequence number less one.
    about: Vec<&'static str>,
}

/// Why a batch did not come into force.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// The kernel refuses an element.
    #[error("the kernel refuses elements of {set}: {error}")]
    Refused {
        /// The set.
        set: &'static str,
        /// The kernel's reason.
        error: nix::errno::Errno,
    },
    /// The kernel did not say that it has taken them.
    #[error("the kernel has not answered")]
    Unanswered,
}

impl Batch {
    /// What nft(8) has sent: messages with numbers from 1 on between those that begin and end the batch.
    pub(crate) fn recorded(bytes: &[u8], about: &'static str) -> Self {
        let (mut bytes, mut last, mut count) = (bytes.to_vec(), None, 0);
        let (mut rest, mut at) = (&bytes[..], 0);
        while let Some((kind, ..)) = message(&mut rest) {
            if !matches!(kind, BATCH_BEGIN | BATCH_END) {
                (last, count) = (Some(at), count + 1);
            }
            at = bytes.len() - rest.len();
        }
        if let Some(last) = last {
            ask_for_answer(&mut bytes, last);
        }
        Self { bytes, about: vec![about; count] }
    }

    /// The bytes for a socket of `NETLINK_NETFILTER`.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What has become of it, by all that the kernel has answered on that socket.
    ///
    /// # Errors
    /// When it is not in force. Nothing of it is then.
    pub fn outcome(&self, mut answers: &[u8]) -> Result<(), BatchError> {
        let mut is_taken = false;
        while let Some((kind, _, sequence, body)) = message(&mut answers) {
            let Some(code) = body.first_chunk().filter(|_| kind == NLMSG_ERROR) else { continue };
            match i32::from_ne_bytes(*code) {
                0 => is_taken |= usize::try_from(sequence) == Ok(self.about.len()),
                code => {
                    let at = usize::try_from(sequence).unwrap_or(0).checked_sub(1);
                    let set = at.and_then(|at| self.about.get(at)).copied().unwrap_or("all sets");
                    return Err(BatchError::Refused { set, error: nix::errno::Errno::from_raw(-code) });
                }
            }
        }
        if is_taken { Ok(()) } else { Err(BatchError::Unanswered) }
    }
}

/// The next message: its type, its flags, its sequence number, and what is after its header.
fn message<'a>(bytes: &mut &'a [u8]) -> Option<(u16, u16, u32, &'a [u8])> {
    let header = bytes.first_chunk::<HEADER>()?;
    let length = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
    let kind = u16::from_ne_bytes([header[4], header[5]]);
    let flags = u16::from_ne_bytes([header[6], header[7]]);
    let sequence = u32::from_ne_bytes([header[8], header[9], header[10], header[11]]);
    let body = bytes.get(HEADER..length)?;
    *bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    Some((kind, flags, sequence, body))
}

/// Has the kernel answer the message that begins there.
fn ask_for_answer(bytes: &mut [u8], at: usize) {
    let flags = at + 6..at + 8;
    let asked = u16::from_ne_bytes([bytes[flags.start], bytes[flags.start + 1]]) | NLM_F_ACK;
    bytes[flags].copy_from_slice(&asked.to_ne_bytes());
}

/// Makes a batch.
pub(crate) struct Writer {
    bytes: Vec<u8>,
    about: Vec<&'static str>,
    /// Where the last message begins.
    last: usize,
}

impl Writer {
    const fn empty() -> Self {
        Self { bytes: Vec::new(), about: Vec::new(), last: 0 }
    }

    pub(crate) fn new() -> Self {
        let mut writer = Self::empty();
        writer.boundary(BATCH_BEGIN);
        writer
    }

    /// Takes elements out of a set. Nothing if one of them is in no form that is known here.
    pub(crate) fn delete<'a>(&mut self, set: Set, keys: impl Iterator<Item = &'a str>) -> Option<()> {
        self.elements(DELETE_ELEMENTS, 0, set, keys.map(|key| (key, None)))
    }

    /// Puts elements into a set. Nothing if one of them is in no form that is known here.
    pub(crate) fn add<'a>(
        &mut self,
        set: Set,
        elements: impl Iterator<Item = (&'a str, Option<&'a str>)>,
    ) -> Option<()> {
        self.elements(NEW_ELEMENTS, NLM_F_CREATE, set, elements)
    }

    /// The batch; nothing if there is nothing in it.
    pub(crate) fn finish(mut self) -> Option<Batch> {
        if self.about.is_empty() {
            return None;
        }
        // The kernel answers this one when all have come into force.
        ask_for_answer(&mut self.bytes, self.last);
        self.boundary(BATCH_END);
        Some(Batch { bytes: self.bytes, about: self.about })
    }

    fn elements<'a>(
        &mut self,
        kind: u16,
        flags: u16,
        set: Set,
        elements: impl Iterator<Item = (&'a str, Option<&'a str>)>,
    ) -> Option<()> {
        let form = Form::of(set)?;
        let mut elements = elements.peekable();
        while elements.peek().is_some() {
            self.about.push(set.place().name);
            self.last = self.begin(kind, flags);
            self.set(set);
            let list = self.open(3);
            for (key, value) in elements.by_ref().take(OF_ONE) {
                let element = self.open(1);
                form.write(self, key, value)?;
                self.close(element);
            }
            self.close(list);
            self.end(self.last);
        }
        Some(())
    }

    /// A message that begins or ends the batch. It has no number of its own.
    fn boundary(&mut self, kind: u16) {
        let at = self.bytes.len();
        self.header(kind, NLM_F_REQUEST, 0);
        self.bytes.extend([0, 0]);
        self.bytes.extend(SUBSYSTEM.to_be_bytes());
        self.end(at);
    }

    fn begin(&mut self, kind: u16, flags: u16) -> usize {
        let at = self.bytes.len();
        self.header(kind, NLM_F_REQUEST | flags, self.about.len() as u32);
        at
    }

    /// `struct nfgenmsg`, and the set that a message is about.
    fn set(&mut self, set: Set) {
        let Place { family, table, name } = set.place();
        let family = match family {
            Family::Inet => NFPROTO_INET,
            Family::Ip => NFPROTO_IPV4,
            Family::Ip6 => NFPROTO_IPV6,
        };
        self.bytes.extend([family, 0, 0, 0]);
        self.text(1, table);
        self.text(2, name);
    }

    /// A header, whose length is not known yet.
    fn header(&mut self, kind: u16, flags: u16, sequence: u32) {
        self.bytes.extend([0; 4]);
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(flags.to_ne_bytes());
        self.bytes.extend(sequence.to_ne_bytes());
        self.bytes.extend([0; 4]);
    }

    fn end(&mut self, at: usize) {
        let length = (self.bytes.len() - at) as u32;
        self.bytes[at..at + 4].copy_from_slice(&length.to_ne_bytes());
    }

    fn text(&mut self, kind: u16, text: &str) {
        let attribute = self.open(kind);
        self.bytes.extend(text.as_bytes());
        self.bytes.push(0);
        self.close(attribute);
        // Text is no nest.
        self.bytes[attribute + 2..attribute + 4].copy_from_slice(&kind.to_ne_bytes());
    }

    fn value(&mut self, kind: u16, value: &[u8]) {
        self.bytes.extend((value.len() as u16 + 4).to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(value);
        self.pad();
    }

    /// Begins an attribute with others in it.
    fn open(&mut self, kind: u16) -> usize {
        let at = self.bytes.len();
        self.bytes.extend([0, 0]);
        self.bytes.extend((kind | NLA_F_NESTED).to_ne_bytes());
        at
    }

    fn close(&mut self, at: usize) {
        let length = (self.bytes.len() - at) as u16;
        self.bytes[at..at + 2].copy_from_slice(&length.to_ne_bytes());
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    /// `NFTA_DATA_VALUE` in an attribute.
    fn data(&mut self, kind: u16, value: &[u8]) {
        let data = self.open(kind);
        self.value(1, value);
        self.close(data);
    }
}

#[cfg(test)]
mod tests {
    use nix::errno::Errno;

    use super::*;

    fn batch() -> Batch {
        let mut writer = Writer::new();
        writer.delete(Set::IngressPort, ["203.0.113.5 . tcp . 80"].into_iter()).unwrap();
        writer.add(Set::StaticIn, [("203.0.113.6", Some("10.1.1.7"))].into_iter()).unwrap();
        writer.finish().unwrap()
    }

    fn answer(kind: u16, sequence: u32, code: i32) -> Vec<u8> {
        let mut bytes = vec![36, 0, 0, 0];
        bytes.extend(kind.to_ne_bytes());
        bytes.extend([0, 0]);
        bytes.extend(sequence.to_ne_bytes());
        bytes.extend([0; 4]);
        bytes.extend(code.to_ne_bytes());
        bytes.extend([0; 16]);
        bytes
    }

    #[test]
    fn messages_have_their_lengths_and_numbers_and_the_last_one_is_answered() {
        let batch = batch();
        let (mut bytes, mut found) = (batch.bytes(), Vec::new());
        let mut at = 0;
        while let Some((kind, flags, sequence, body)) = message(&mut bytes) {
            found.push((kind, sequence, flags));
            at += HEADER + body.len();
        }
        let expected = [
            (BATCH_BEGIN, 0, NLM_F_REQUEST),
            (DELETE_ELEMENTS, 1, NLM_F_REQUEST),
            (NEW_ELEMENTS, 2, NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE),
            (BATCH_END, 0, NLM_F_REQUEST),
        ];
        assert_eq!(found, expected);
        assert_eq!(at, batch.bytes().len());
        assert_eq!(Writer::new().finish(), None);
    }

    #[test]
    fn a_batch_is_in_force_once_its_last_message_is_answered_and_none_is_refused() {
        let batch = batch();
        assert_eq!(batch.outcome(&answer(NLMSG_ERROR, 2, 0)), Ok(()));
        assert_eq!(batch.outcome(&[]), Err(BatchError::Unanswered));
        assert_eq!(batch.outcome(&answer(3, 2, 0)), Err(BatchError::Unanswered));
        let refused = [answer(NLMSG_ERROR, 1, -2), answer(NLMSG_ERROR, 2, 0)].concat();
        let error = BatchError::Refused { set: "ingress_port", error: Errno::ENOENT };
        assert_eq!(batch.outcome(&refused), Err(error));
        assert_eq!(batch.outcome(&refused[..30]), Err(BatchError::Unanswered));
    }

    #[test]
    fn what_was_recorded_is_numbered_and_its_last_message_is_answered() {
        let (batch, again) = (batch(), Batch::recorded(batch().bytes(), "both"));
        assert_eq!(again.bytes(), batch.bytes());
        assert_eq!(again.outcome(&answer(NLMSG_ERROR, 2, 0)), Ok(()));
        let error = BatchError::Refused { set: "both", error: Errno::ENOENT };
        assert_eq!(again.outcome(&answer(NLMSG_ERROR, 1, -2)), Err(error));
        assert_eq!(Batch::recorded(&[], "none").outcome(&[]), Err(BatchError::Unanswered));
    }

    #[test]
    fn what_is_recorded_of_the_skeleton_is_whole_and_first_removes_all_rules() {
        let (batch, mut found) = (crate::first_load(), Vec::new());
        let mut rest = batch.bytes();
        while let Some((kind, _, sequence, body)) = message(&mut rest) {
            found.push((kind, sequence, body));
        }
        assert_eq!(rest.len(), 0);
        let [(BATCH_BEGIN, ..), messages @ .., (BATCH_END, ..)] = &found[..] else { panic!("{found:?}") };
        assert_eq!(messages[0], (SUBSYSTEM << 8 | 2, 1, &[0; 4][..]), "all tables of all families go");
        let numbers = messages.iter().map(|(_, sequence, _)| *sequence);
        assert!(numbers.eq(1..=batch.about.len() as u32));
    }

    #[test]
    fn thousands_of_elements_are_in_messages_of_some_hundred() {
        let keys: Vec<String> = (0..1000).map(|port| format!("203.0.113.5 . tcp . {port}")).collect();
        let mut writer = Writer::new();
        writer.add(Set::IngressPort, keys.iter().map(|key| (key.as_str(), None))).unwrap();
        let batch = writer.finish().unwrap();
        assert_eq!(batch.about.len(), 3);
        assert!(batch.bytes().len() < 60_000, "{}", batch.bytes().len());
    }

    #[test]
    fn what_is_a_tree_or_of_no_known_form_is_not_made_here() {
        let add = |set, key, value| Writer::new().add(set, [(key, value)].into_iter());
        assert_eq!(add(Set::EgressPolicy, "10.1.1.0/24", Some("goto egress_deny")), None);
        assert_eq!(add(Set::IngressPort, "203.0.113.5 . sctp . 80", None), None);
        assert_eq!(add(Set::IngressPort, "203.0.113.5 . tcp . 80-90", None), None);
        assert_eq!(add(Set::Balancers, "203.0.113.5 . tcp . 80", Some("jump lb-1")), None);
    }
}
