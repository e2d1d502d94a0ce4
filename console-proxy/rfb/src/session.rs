//! After the handshake: the server's messages (RFC 6143, 7.6), and which of its extensions it has shown.

mod clipboard;
mod pseudo;
mod update;

use crate::config::Limits;
use crate::encoding::{Encoding, Offered};
use crate::error::{Error, Message, Rule, SendError};
use crate::event::{Clipboard, Event, PointerMode, Xvp};
use crate::frame::{Frame, Size};
use crate::input::{Input, u16_at};
use crate::message::ClientMessage;

use update::Update;

/// The part of a message that a client asks for pixels in this format: 32 bits of which 24 count, least significant byte
/// first, a byte for each colour, blue lowest (RFC 6143, 7.4).
const PIXEL_FORMAT: [u8; 16] = [32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0, 0, 0, 0];

/// A connection whose handshake is over.
#[derive(Debug)]
pub(crate) struct Session {
    limits: Limits,
    offered: Offered,
    extensions: Extensions,
    size: Size,
    doing: Doing,
    update: Update,
}

/// What a server has shown that it understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Extensions {
    /// Scancodes of keys. Of the servers known to do so, QEMU is the only one next to a host.
    pub extended_keys: bool,
    /// A clipboard of Unicode text.
    pub clipboard: bool,
    /// Power control.
    pub xvp: bool,
    /// Other sizes of the desktop at a client's wish.
    pub resize: bool,
    /// What the pointer's coordinates mean.
    pub pointer: PointerMode,
}

/// What the next bytes are.
#[derive(Debug)]
enum Doing {
    /// A message's type.
    Message,
    /// Rectangles of an update.
    Update,
    /// Bytes that are passed over, and what is told after them.
    Skip(u64, Option<Event>),
}

impl Session {
    /// Begins: sets the format of pixels and asks for encodings.
    pub(crate) fn new(size: Size, limits: Limits, encodings: &[Encoding], output: &mut Vec<u8>) -> Self {
        output.extend([0; 4]);
        output.extend(PIXEL_FORMAT);
        let mut session = Self {
            limits,
            offered: Offered::default(),
            extensions: Extensions::default(),
            size,
            doing: Doing::Message,
            update: Update::default(),
        };
        session.ask(encodings, output);
        session
    }

    /// Asks for encodings (RFC 6143, 7.5.2).
    pub(crate) fn ask(&mut self, encodings: &[Encoding], output: &mut Vec<u8>) {
        self.offered.add(encodings);
        let encodings = &encodings[..encodings.len().min(usize::from(u16::MAX))];
        output.extend([2, 0]);
        output.extend((encodings.len() as u16).to_be_bytes());
        encodings.iter().for_each(|encoding| output.extend(encoding.code().to_be_bytes()));
    }

    pub(crate) const fn size(&self) -> Size {
        self.size
    }

    /// Whether an update has begun and not ended.
    pub(crate) const fn is_updating(&self) -> bool {
        matches!(self.doing, Doing::Update)
    }

    pub(crate) const fn extensions(&self) -> Extensions {
        self.extensions
    }

    /// Appends a message, if the server understands it.
    pub(crate) fn send(&self, message: ClientMessage<'_>, output: &mut Vec<u8>) -> Result<(), SendError> {
        let needs = match message {
            ClientMessage::Scancode { .. } => (self.extensions.extended_keys, "scancodes"),
            ClientMessage::Power(_) => (self.extensions.xvp, "power control"),
            ClientMessage::Resize { .. } => (self.extensions.resize, "other sizes"),
            ClientMessage::ClipboardChanged(_)
            | ClientMessage::ClipboardRequest
            | ClientMessage::ClipboardPeek
            | ClientMessage::ClipboardText(_) => (self.extensions.clipboard, "the extended clipboard"),
            _ => (true, ""),
        };
        if !needs.0 {
            return Err(SendError::NotOffered(needs.1));
        }
        message.write(output);
        Ok(())
    }

    /// Goes on until something has happened, or more bytes are needed.
    ///
    /// # Errors
    /// When a rule is broken.
    pub(crate) fn advance(
        &mut self,
        input: &mut Input,
        output: &mut Vec<u8>,
        frame: &mut Frame<'_>,
    ) -> Result<Option<Event>, Error> {
        loop {
            let event = match &mut self.doing {
                Doing::Update => return self.advance_update(input, frame),
                Doing::Skip(left, event) => {
                    let now = input.rest().len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    input.skip(now);
                    *left -= now as u64;
                    if *left > 0 {
                        return Ok(None);
                    }
                    let event = event.take();
                    self.doing = Doing::Message;
                    event
                }
                Doing::Message => match self.message(input, output)? {
                    Some(event) => event,
                    None => return Ok(None),
                },
            };
            if event.is_some() {
                return Ok(event);
            }
        }
    }

    /// Rectangles up to an event; after the last one, messages again.
    fn advance_update(&mut self, input: &mut Input, frame: &mut Frame<'_>) -> Result<Option<Event>, Error> {
        let event = self.rectangles(input, frame)?;
        if event == Some(Event::UpdateEnd) {
            self.doing = Doing::Message;
        }
        Ok(event)
    }

    /// Begins a message, or takes a short one whole. None if bytes are missing; no event if it says nothing.
    fn message(&mut self, input: &mut Input, output: &mut Vec<u8>) -> Result<Option<Option<Event>>, Error> {
        let Some([kind]) = input.peek() else { return Ok(None) };
        match kind {
            0 => Ok(input.array::<4>().map(|head| {
                self.update.begin(u16_at(&head, 2));
                self.doing = Doing::Update;
                None
            })),
            // A map of colours means nothing to a client that has colours in its pixels (RFC 6143, 7.6.2).
            1 => Ok(input.array::<6>().map(|head| {
                self.doing = Doing::Skip(u64::from(u16_at(&head, 4)) * 6, None);
                None
            })),
            2 => Ok(input.array::<1>().map(|_| Some(Event::Bell))),
            3 => self.cut_text(input, output),
            250 => match input.array::<4>() {
                Some(bytes) => self.xvp(bytes).map(|event| Some(Some(event))),
                None => Ok(None),
            },
            other => Err(Error::Broken { message: Message::Unknown, rule: Rule::UnknownMessage(other) }),
        }
    }

    /// rfbproto, "xvp Server Message".
    fn xvp(&mut self, [_, _, _, code]: [u8; 4]) -> Result<Event, Error> {
        let broken = |rule| Err(Error::Broken { message: Message::Xvp, rule });
        match code {
            _ if !self.offered.has(Encoding::Xvp) => broken(Rule::NotOffered),
            0 => Ok(Event::Xvp(Xvp::Failed)),
            1 => {
                self.extensions.xvp = true;
                Ok(Event::Xvp(Xvp::Offered))
            }
            other => broken(Rule::UnknownResult(other.into())),
        }
    }

    /// Passes over a text that is too long.
    fn skip_text(&mut self, length: u64) {
        self.doing = Doing::Skip(length, Some(Event::Clipboard(Clipboard::TooLong)));
    }
}
