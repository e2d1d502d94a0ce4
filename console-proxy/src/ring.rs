//! The last of what a VM has written to its serial port.

use std::collections::VecDeque;

use bytes::Bytes;

/// How many bytes are kept: some 1,000 lines.
const KEPT: usize = 64 << 10;

/// The last bytes, and how many came before them.
#[derive(Debug, Default)]
pub(crate) struct Ring {
    bytes: VecDeque<u8>,
    from: u64,
}

impl Ring {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        let dropped = (self.bytes.len() + bytes.len()).saturating_sub(KEPT);
        let of_kept = dropped.min(self.bytes.len());
        self.bytes.drain(..of_kept);
        self.bytes.extend(&bytes[dropped - of_kept..]);
        self.from += dropped as u64;
    }

    /// What follows the first `after` bytes, and how many came before that: more if some are forgotten, and fewer if there
    /// never were so many. None if nothing follows.
    pub(crate) fn read(&self, after: u64) -> Option<(u64, Bytes)> {
        let end = self.from + self.bytes.len() as u64;
        let from = if after > end { self.from } else { after.max(self.from) };
        let skip = usize::try_from(from - self.from).expect("no more than there is");
        let bytes: Bytes = self.bytes.iter().skip(skip).copied().collect();
        (!bytes.is_empty()).then_some((from, bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_gets_what_follows_and_hears_of_what_is_forgotten() {
        let mut ring = Ring::default();
        assert_eq!(ring.read(0), None);
        ring.push(b"abc");
        assert_eq!(ring.read(0), Some((0, Bytes::from("abc"))));
        assert_eq!(ring.read(2), Some((2, Bytes::from("c"))));
        assert_eq!((ring.read(3), ring.read(4)), (None, Some((0, Bytes::from("abc")))));
        ring.push(&[b'x'; KEPT - 1]);
        assert_eq!(ring.read(0).map(|(from, bytes)| (from, bytes.len(), bytes[0])), Some((2, KEPT, b'c')));
        ring.push(&[b'y'; KEPT * 3]);
        assert_eq!(ring.read(5).map(|(from, bytes)| (from, bytes.len())), Some((KEPT as u64 * 3 + 2, KEPT)));
    }
}
