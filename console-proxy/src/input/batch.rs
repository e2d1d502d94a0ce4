//! Batches of input, as PROTOCOL.md describes their bytes.

use podzol_rfb::Press;

/// The most bytes of a clipboard's text that a page gives.
pub(crate) const MAX_CLIPBOARD: usize = 256 << 10;

/// The most bytes of a batch without a clipboard's text.
pub(crate) const MAX_BATCH: usize = 64 << 10;

/// The most bytes of any batch.
pub(crate) const MAX_BODY: usize = MAX_BATCH + MAX_CLIPBOARD;

/// A batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Batch {
    /// Whether the page cannot be seen now.
    pub(crate) hidden: bool,
    /// Whether its user says that he is still there.
    pub(crate) here: bool,
    /// The last update that the page has applied.
    pub(crate) after: u32,
    /// The number of the first event.
    pub(crate) first: u32,
    pub(crate) events: Vec<Event>,
}

/// Something that a user did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// A key went down, again if it is held, or up.
    Key(Press, Key),
    /// The pointer is somewhere.
    Pointer { buttons: u8, x: u32, y: u32 },
    /// The pointer moved.
    Move { buttons: u8, right: i32, down: i32 },
    /// All that is down goes up.
    Release,
    /// The user's clipboard.
    Clipboard(String),
}

/// A key: by its place on the keyboard, and by what it means in the user's layout; one of them may be 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    pub(crate) scancode: u32,
    pub(crate) keysym: u32,
}

/// Which rule a batch breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BatchError {
    #[error("version: must be 1")]
    Version,
    #[error("flags: must be none but 1 and 2")]
    Flags,
    #[error("first: must be at least 1")]
    First,
    #[error("the batch ends within a field")]
    Short,
    #[error("a number must have 32 bits, in at most five bytes")]
    Number,
    #[error("event {0}: must be 1 to 6")]
    Kind(u8),
    #[error("buttons: must have seven bits")]
    Buttons,
    #[error("a key must have a scancode of eight bits, or a keysym")]
    Key,
    #[error("clipboard: must be text in UTF-8 with at most {MAX_CLIPBOARD} bytes")]
    Clipboard,
    #[error(
        "the events must be less than {MAX_BATCH} bytes without the clipboard, and their last number less than 2^32"
    )]
    TooLong,
}

impl Batch {
    /// Reads a batch.
    ///
    /// # Errors
    /// Which rule it breaks.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, BatchError> {
        let mut reader = Reader(bytes);
        if reader.byte()? != 1 {
            return Err(BatchError::Version);
        }
        let flags = reader.byte()?;
        if flags & !3 != 0 {
            return Err(BatchError::Flags);
        }
        let (after, first) = (reader.number()?, reader.number()?);
        if first == 0 {
            return Err(BatchError::First);
        }
        let (mut events, mut texts) = (Vec::new(), 0);
        while !reader.0.is_empty() {
            let event = event(&mut reader)?;
            if let Event::Clipboard(text) = &event {
                texts += text.len();
            }
            events.push(event);
        }
        if bytes.len() - texts > MAX_BATCH
            || texts > MAX_CLIPBOARD
            || first.checked_add(events.len() as u32).is_none()
        {
            return Err(BatchError::TooLong);
        }
        Ok(Self { hidden: flags & 1 != 0, here: flags & 2 != 0, after, first, events })
    }
}

fn event(reader: &mut Reader<'_>) -> Result<Event, BatchError> {
    Ok(match reader.byte()? {
        1 => Event::Key(Press::Down, key(reader)?),
        2 => Event::Key(Press::Up, key(reader)?),
        3 => Event::Pointer { buttons: buttons(reader)?, x: reader.number()?, y: reader.number()? },
        4 => Event::Move { buttons: buttons(reader)?, right: reader.signed()?, down: reader.signed()? },
        5 => Event::Release,
        6 => {
            let length = reader.number()? as usize;
            let text = reader.take(length)?;
            let text = std::str::from_utf8(text).ok().filter(|text| text.len() <= MAX_CLIPBOARD);
            Event::Clipboard(text.ok_or(BatchError::Clipboard)?.to_owned())
        }
        other => return Err(BatchError::Kind(other)),
    })
}

fn key(reader: &mut Reader<'_>) -> Result<Key, BatchError> {
    let key = Key { scancode: reader.number()?, keysym: reader.number()? };
    let is_key = key.scancode <= 0xff && (key.scancode, key.keysym) != (0, 0);
    is_key.then_some(key).ok_or(BatchError::Key)
}

fn buttons(reader: &mut Reader<'_>) -> Result<u8, BatchError> {
    Some(reader.byte()?).filter(|buttons| *buttons < 0x80).ok_or(BatchError::Buttons)
}

/// Reads the numbers of FORMAT.md.
#[derive(Debug)]
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Result<u8, BatchError> {
        let (first, rest) = self.0.split_first().ok_or(BatchError::Short)?;
        self.0 = rest;
        Ok(*first)
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], BatchError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(BatchError::Short)?;
        self.0 = rest;
        Ok(taken)
    }

    /// A `number`.
    pub(crate) fn number(&mut self) -> Result<u32, BatchError> {
        let mut value = 0_u64;
        for shift in (0..35).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return u32::try_from(value).map_err(|_| BatchError::Number);
            }
        }
        Err(BatchError::Number)
    }

    fn signed(&mut self) -> Result<i32, BatchError> {
        let number = self.number()?;
        Ok((number >> 1) as i32 ^ -((number & 1) as i32))
    }
}

#[cfg(test)]
mod tests {
    use rand::Rng;
    use rand::rngs::StdRng;

    use super::*;

    fn check(bytes: &[u8], expected: BatchError) {
        assert_eq!(Batch::decode(bytes), Err(expected), "{bytes:?}");
    }

    #[test]
    fn every_event_is_read_as_the_protocol_has_it() {
        let bytes = [
            &[1, 3, 0xac, 2, 7][..],
            &[1, 0x9d, 1, 0xe4, 0xff, 3, 2, 30, 0],
            &[3, 5, 0x80, 8, 1, 4, 0, 1, 4, 5, 6, 2, 0xc3, 0xa4],
        ]
        .concat();
        let events = vec![
            Event::Key(Press::Down, Key { scancode: 0x9d, keysym: 0xffe4 }),
            Event::Key(Press::Up, Key { scancode: 30, keysym: 0 }),
            Event::Pointer { buttons: 5, x: 1024, y: 1 },
            Event::Move { buttons: 0, right: -1, down: 2 },
            Event::Release,
            Event::Clipboard("ä".into()),
        ];
        let expected = Batch { hidden: true, here: true, after: 300, first: 7, events };
        assert_eq!(Batch::decode(&bytes), Ok(expected));
    }

    #[test]
    fn each_rule_has_its_error() {
        check(&[], BatchError::Short);
        check(&[2, 0, 0, 1], BatchError::Version);
        check(&[1, 4, 0, 1], BatchError::Flags);
        check(&[1, 0, 0, 0], BatchError::First);
        check(&[1, 0, 0, 1, 7], BatchError::Kind(7));
        check(&[1, 0, 0, 1, 3, 0x80, 1, 1], BatchError::Buttons);
        check(&[1, 0, 0, 1, 1, 0, 0], BatchError::Key);
        check(&[1, 0, 0, 1, 1, 0x80, 2, 0], BatchError::Key);
        check(&[1, 0, 0, 1, 6, 1, 0xff], BatchError::Clipboard);
        check(&[1, 0, 0, 1, 6, 2, b'a'], BatchError::Short);
        check(&[1, 0, 0xff, 0xff, 0xff, 0xff, 0x1f, 1], BatchError::Number);
        check(&[1, 0, 0x80, 0x80, 0x80, 0x80, 0x80, 0, 1], BatchError::Number);
        check(&[1, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f, 5], BatchError::TooLong);
        check(&[&[1, 0, 0, 1][..], &[5; MAX_BATCH]].concat(), BatchError::TooLong);
    }

    #[test]
    fn a_batch_that_ends_anywhere_is_refused_or_shorter() {
        let bytes = [1, 0, 0, 1, 1, 30, 0, 3, 1, 100, 100, 6, 3, b'a', b'b', b'c'];
        let whole = Batch::decode(&bytes).unwrap();
        for end in 0..bytes.len() {
            if let Ok(batch) = Batch::decode(&bytes[..end]) {
                assert!(whole.events.starts_with(&batch.events) && batch.events.len() < whole.events.len());
            }
        }
    }

    /// Batches that pages send: each event, large numbers, and a text.
    const SEEDS: [&[u8]; 5] = [
        &[1, 0, 0, 1],
        &[1, 3, 0xac, 2, 7, 1, 0x9d, 1, 0xe4, 0xff, 3, 2, 30, 0],
        &[1, 1, 0xff, 0xff, 0xff, 0xff, 0x0f, 0x80, 0x80, 1, 3, 5, 0x80, 8, 1, 3, 0, 0xff, 0x7f, 0],
        &[1, 2, 0, 9, 4, 0, 1, 4, 4, 0x7f, 0xff, 0xff, 0xff, 0xff, 0x0f, 2, 5],
        &[1, 0, 0, 1, 6, 9, 0xc3, 0xa4, b't', b'e', b'x', b't', 0xe2, 0x82, 0xac, 5],
    ];

    fn damage(random: &mut StdRng, bytes: &mut Vec<u8>) {
        for _ in 0..random.random_range(0..=3) {
            if bytes.is_empty() {
                return;
            }
            let at = random.random_range(0..bytes.len());
            match random.random_range(0..6) {
                0 => bytes[at] ^= 1 << random.random_range(0..8),
                1 => bytes[at] = random.random(),
                2 => bytes.truncate(at),
                3 => bytes.extend_from_within(at..),
                4 => drop(bytes.splice(at..at, [0xff, 0xff, 0xff, 0xff, 0x0f])),
                _ => bytes.insert(at, random.random_range(0..8)),
            }
        }
    }

    #[test]
    fn damaged_batches_are_refused_or_no_more_than_their_bytes() {
        let (mut good, mut refused) = (0, 0);
        let all = podzol_fuzz::rounds(60_000, 0x6261_7463, |round, random| {
            let mut bytes = SEEDS[round % SEEDS.len()].to_vec();
            damage(random, &mut bytes);
            let Ok(batch) = Batch::decode(&bytes) else { return refused += 1 };
            good += 1;
            let last = u64::from(batch.first) + batch.events.len() as u64;
            assert!(batch.events.len() < bytes.len() && batch.first > 0 && last <= u64::from(u32::MAX));
            let texts = batch.events.iter().map(|event| match event {
                Event::Clipboard(text) => text.len(),
                _ => 1,
            });
            assert!(texts.sum::<usize>() <= bytes.len());
        });
        assert_eq!(good + refused, all);
        assert!(good > all / 20 && refused > all / 20, "{good} good, {refused} refused");
    }
}
