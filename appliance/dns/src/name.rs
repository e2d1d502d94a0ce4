//! Names as they are in packets (RFC 1035, 3.1), read without a copy on the heap.

/// The longest name in bytes, lengths and root included (RFC 1035, 2.3.4).
const MAX_NAME: usize = 255;

/// A name has at most this many labels, for each takes two bytes at least.
const MAX_LABELS: usize = 127;

/// A name of a question, in lower case, as it is in packets.
pub(crate) struct Name {
    bytes: [u8; MAX_NAME],
    length: usize,
    labels: [u8; MAX_LABELS],
    count: usize,
}

impl Name {
    /// Reads the name at a place in a packet, and says where it ends. Compression has no place in a question, and a
    /// name with it is refused like one that is too long or cut off.
    pub(crate) fn read(packet: &[u8], start: usize) -> Option<(Self, usize)> {
        let mut name = Self { bytes: [0; MAX_NAME], length: 0, labels: [0; MAX_LABELS], count: 0 };
        let mut at = start;
        loop {
            let length = usize::from(*packet.get(at)?);
            if length == 0 {
                break;
            }
            let end = at + 1 + length;
            // The root's byte must fit behind it. Two high bits say that it is no label (RFC 1035, 4.1.4).
            if length > 63 || end - start >= MAX_NAME {
                return None;
            }
            *name.labels.get_mut(name.count)? = (at - start) as u8;
            name.count += 1;
            name.bytes[at - start..end - start].copy_from_slice(packet.get(at..end)?);
            at = end;
        }
        name.length = at + 1 - start;
        // Lengths are below 64 and letters are above it: this leaves lengths alone.
        name.bytes[..name.length].make_ascii_lowercase();
        Some((name, at + 1))
    }

    /// The name in lower case.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    /// The names that it is in, itself first, each with the place where it begins. The root is not among them.
    pub(crate) fn suffixes(&self) -> impl Iterator<Item = (usize, &[u8])> {
        let starts = self.labels[..self.count].iter();
        starts.map(|start| (usize::from(*start), &self.bytes[usize::from(*start)..self.length]))
    }

    /// Its labels without their lengths, the last first, each with the place where it begins.
    pub(crate) fn labels_from_end(&self) -> impl Iterator<Item = (usize, &[u8])> {
        self.labels[..self.count].iter().rev().map(|start| {
            let start = usize::from(*start);
            let length = usize::from(self.bytes[start]);
            (start, &self.bytes[start + 1..start + 1 + length])
        })
    }
}

/// A name written with dots, as it is in packets. The caller knows that it is short enough.
pub(crate) fn wire(text: &str) -> Box<[u8]> {
    let mut bytes = Vec::with_capacity(text.len() + 2);
    for label in text.split('.') {
        bytes.push(label.len() as u8);
        bytes.extend_from_slice(label.as_bytes());
    }
    bytes.push(0);
    bytes.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_in_lower_case_with_all_that_it_is_in() {
        let (name, end) = Name::read(b"\x03WwW\x07eXample\x00rest", 0).unwrap();
        assert_eq!((name.as_bytes(), end), (&b"\x03www\x07example\x00"[..], 13));
        let suffixes: Vec<_> = name.suffixes().collect();
        assert_eq!(suffixes, [(0, &b"\x03www\x07example\x00"[..]), (4, &b"\x07example\x00"[..])]);
        assert_eq!(name.labels_from_end().next().unwrap(), (4, &b"example"[..]));
    }

    #[test]
    fn the_longest_name_is_read_and_a_longer_one_is_not() {
        let label = |length: u8| [vec![length], vec![b'a'; length.into()]].concat();
        let longest = [label(63), label(63), label(63), label(61), vec![0]].concat();
        assert_eq!(Name::read(&longest, 0).unwrap().1, 255);
        let longer = [label(63), label(63), label(63), label(62), vec![0]].concat();
        assert!(Name::read(&longer, 0).is_none());
        let many = [b"\x01a".repeat(127), vec![0]].concat();
        assert_eq!(Name::read(&many, 0).unwrap().0.suffixes().count(), 127);
    }

    #[test]
    fn a_name_that_is_cut_off_or_compressed_is_refused() {
        for bytes in [&b""[..], b"\x03ww", b"\x03www", b"\xc0\x0c", b"\x01a\xc0\x0c", b"\x40", b"\x80"] {
            assert!(Name::read(bytes, 0).is_none(), "{bytes:?}");
        }
    }

    #[test]
    fn a_written_name_becomes_one_of_packets() {
        assert_eq!(*wire("a.bc"), *b"\x01a\x02bc\x00");
    }
}
