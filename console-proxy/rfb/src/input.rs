//! Bytes that have come and are not decoded yet.

/// A queue of bytes. What is in it after decoding is the begun part of a message, which has a limit of its own.
#[derive(Debug, Default)]
pub(crate) struct Input {
    bytes: Vec<u8>,
    at: usize,
}

/// What an idle connection may keep, so that many of them are small.
const KEPT: usize = 4096;

impl Input {
    /// Appends what has come.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.compact();
        self.bytes.extend_from_slice(bytes);
    }

    /// All that is there.
    pub(crate) fn rest(&self) -> &[u8] {
        &self.bytes[self.at..]
    }

    /// Passes over bytes that are there.
    pub(crate) fn skip(&mut self, count: usize) {
        self.at += count;
        debug_assert!(self.at <= self.bytes.len());
    }

    /// So many bytes, once all of them are there.
    pub(crate) fn take(&mut self, count: usize) -> Option<&[u8]> {
        let bytes = self.bytes.get(self.at..self.at.checked_add(count)?)?;
        self.at += count;
        Some(bytes)
    }

    /// So many bytes, which stay where they are.
    pub(crate) fn peek<const N: usize>(&self) -> Option<[u8; N]> {
        self.rest().first_chunk().copied()
    }

    /// So many bytes.
    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let bytes = self.peek()?;
        self.at += N;
        Some(bytes)
    }

    /// A number.
    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_be_bytes)
    }

    /// A number.
    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    /// Moves what is left to the front, and gives memory back that a large message needed once it is decoded.
    pub(crate) fn compact(&mut self) {
        self.bytes.drain(..self.at);
        self.at = 0;
        // While a large one is coming, its memory stays: else each byte of it could cost a copy of all.
        if self.bytes.len() < KEPT {
            self.bytes.shrink_to(KEPT);
        }
    }
}

/// A number at a place of a message whose length is known.
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// A number at a place of a message whose length is known.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_taken_only_when_all_of_it_is_there() {
        let mut input = Input::default();
        input.push(&[1, 2, 3]);
        assert_eq!(input.u32(), None);
        input.push(&[4, 5]);
        assert_eq!(input.u32(), Some(0x0102_0304));
        assert_eq!(input.rest(), [5]);
        assert_eq!(input.take(usize::MAX), None);
    }

    #[test]
    fn memory_for_a_large_message_is_given_back() {
        let mut input = Input::default();
        input.push(&[0; 1_000_000]);
        input.skip(999_999);
        input.compact();
        assert!(input.bytes.capacity() <= KEPT && input.rest().len() == 1);
    }
}
