//! The server's clipboard: text in Latin-1, or messages about Unicode text (RFC 6143, 7.6.4; rfbproto, "Extended Clipboard").
//!
//! # Design notes
//! A text that is too long ends nothing: whoever copies a book in a VM keeps the console. It is passed over as it comes. Only
//! a length that no clipboard has is taken for a lie.

use flate2::{Decompress, FlushDecompress, Status};

use super::Session;
use crate::encoding::Encoding;
use crate::error::{Error, Message, Rule};
use crate::event::{Clipboard, Contents, Event};
use crate::input::{Input, u32_at};
use crate::message::{clipboard as flag, clipboard_caps};

/// The longest text that is passed over.
const LONGEST: u32 = 256 << 20;

/// What a text unpacks to beyond its own bytes: lengths, line ends, other forms of it that come before it.
const ROOM: usize = 64;

impl Session {
    /// A text or an extended message, once all of it is there.
    pub(super) fn cut_text(
        &mut self,
        input: &mut Input,
        output: &mut Vec<u8>,
    ) -> Result<Option<Option<Event>>, Error> {
        let broken = |rule| Error::Broken { message: Message::ServerCutText, rule };
        let Some(head) = input.peek::<8>() else { return Ok(None) };
        let length = u32_at(&head, 4);
        let is_extended = (length as i32) < 0 && self.offered.has(Encoding::ExtendedClipboard);
        let length = if is_extended { length.wrapping_neg() } else { length };
        if length > LONGEST {
            return Err(broken(Rule::TooLong { length: length.into(), limit: LONGEST.into() }));
        }
        if length > self.limits.clipboard {
            input.skip(head.len());
            self.skip_text(length.into());
            return Ok(Some(None));
        }
        let Some(bytes) = input.take(head.len() + length as usize) else { return Ok(None) };
        let bytes = &bytes[head.len()..];
        if !is_extended {
            let text = bytes.iter().copied().map(char::from).filter(|letter| *letter != '\r').collect();
            return Ok(Some(Some(Event::Clipboard(Clipboard::Text(text)))));
        }
        let event = self.extended(bytes, output).map_err(broken)?;
        Ok(Some(event.map(Event::Clipboard)))
    }

    /// An extended message: flags and what belongs to them.
    fn extended(&mut self, bytes: &[u8], output: &mut Vec<u8>) -> Result<Option<Clipboard>, Rule> {
        let Some((flags, rest)) = bytes.split_first_chunk() else {
            return Err(Rule::TooShort { length: bytes.len() as u64 });
        };
        let flags = u32::from_be_bytes(*flags);
        let has_text = flags & flag::TEXT != 0;
        if flags & flag::CAPS != 0 {
            return Ok(self.clipboard_offered(output));
        }
        match flags & flag::ACTIONS {
            flag::NOTIFY => {
                let contents = if has_text { Contents::Text } else { Contents::Nothing };
                Ok(Some(Clipboard::Changed(contents)))
            }
            flag::REQUEST => Ok(has_text.then_some(Clipboard::Request)),
            flag::PEEK => Ok(Some(Clipboard::Peek)),
            // Text has the lowest bit and comes first, so nothing else needs to be unpacked.
            flag::PROVIDE => has_text.then(|| provided(rest, self.limits.clipboard)).transpose(),
            _ => Err(Rule::Flags(flags)),
        }
    }

    /// The server can do it. Once, this client says what it can do; a server that says it each time SetEncodings comes
    /// gets no more answers.
    fn clipboard_offered(&mut self, output: &mut Vec<u8>) -> Option<Clipboard> {
        if self.extensions.clipboard {
            return None;
        }
        self.extensions.clipboard = true;
        clipboard_caps(output);
        Some(Clipboard::Extended)
    }
}

/// Unpacks a text: its length, and so many bytes with CR LF at the ends of lines and a zero at its end.
fn provided(packed: &[u8], limit: u32) -> Result<Clipboard, Rule> {
    let mut plain = Vec::with_capacity((limit as usize).min(packed.len().saturating_mul(4)) + ROOM);
    let mut stream = Decompress::new(true);
    loop {
        let used = stream.total_in() as usize;
        let before = stream.total_out();
        let status = stream.decompress_vec(&packed[used..], &mut plain, FlushDecompress::None);
        let status = status.map_err(|_| Rule::Zlib)?;
        let stands = stream.total_in() as usize == used && stream.total_out() == before;
        match plain.first_chunk().map(|length| u32::from_be_bytes(*length)) {
            Some(length) if length > limit => return Ok(Clipboard::TooLong),
            Some(length) if plain.len() - 4 >= length as usize => {
                return Ok(text(&plain[4..4 + length as usize]));
            }
            _ if status == Status::StreamEnd || (stands && plain.len() < plain.capacity()) => {
                return Err(Rule::Missing);
            }
            // Its length is known to be within the limit, so this ends.
            _ => plain.reserve(plain.len().max(ROOM)),
        }
    }
}

fn text(bytes: &[u8]) -> Clipboard {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    Clipboard::Text(String::from_utf8_lossy(&bytes[..end]).replace("\r\n", "\n"))
}
