//! Numbers of a body.

use super::Error;

/// What is left of a body.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    pub(super) fn byte(&mut self) -> Result<u8, Error> {
        Ok(self.take(1)?[0])
    }

    /// The next bytes, which stay.
    pub(super) fn peek(&self, length: usize) -> Result<&'a [u8], Error> {
        self.bytes.get(..length).ok_or(Error::Ended)
    }

    pub(super) fn take(&mut self, length: usize) -> Result<&'a [u8], Error> {
        let (taken, left) = self.bytes.split_at_checked(length).ok_or(Error::Ended)?;
        self.bytes = left;
        Ok(taken)
    }

    /// Seven bits a byte, the lowest first.
    pub(super) fn number(&mut self) -> Result<u32, Error> {
        let mut number = 0;
        for place in 0..5 {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << (7 * place);
            if byte & 0x80 == 0 {
                return u32::try_from(number).map_err(|_| Error::Number { most: u32::MAX.into() });
            }
        }
        Err(Error::Number { most: u32::MAX.into() })
    }

    /// 0, -1, 1, -2, ...
    pub(super) fn signed(&mut self) -> Result<i32, Error> {
        let number = self.number()?;
        Ok((number >> 1) as i32 ^ -((number & 1) as i32))
    }

    /// A number of pixels.
    pub(super) fn side(&mut self) -> Result<u16, Error> {
        u16::try_from(self.number()?).map_err(|_| Error::Number { most: u16::MAX.into() })
    }

    /// How many there are of something that there are so many of at most; never none.
    pub(super) fn count(&mut self, most: usize) -> Result<usize, Error> {
        let count = self.number()? as usize;
        if (1..=most).contains(&count) { Ok(count) } else { Err(Error::Number { most: most as u64 }) }
    }

    pub(super) fn colour(&mut self) -> Result<u32, Error> {
        Ok(self.take(3)?.iter().fold(0, |colour, byte| colour << 8 | u32::from(*byte)))
    }

    /// Bytes that are counted.
    pub(super) fn blob(&mut self) -> Result<&'a [u8], Error> {
        let length = self.number()? as usize;
        self.take(length)
    }

    pub(super) const fn end(&self) -> Result<(), Error> {
        match self.bytes.len() {
            0 => Ok(()),
            bytes => Err(Error::TooLong { bytes }),
        }
    }
}
