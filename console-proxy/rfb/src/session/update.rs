//! Rectangles of an update (RFC 6143, 7.6.1): which decoder each one has, and that it is within the desktop.

use super::{Session, pseudo};
use crate::decode::{Flavour, Hextile, Inflate, Packed, Painter, Pen, Stream, Tight, Zrle};
use crate::encoding::Encoding;
use crate::error::{Error, Message, Rule};
use crate::event::Event;
use crate::frame::{Frame, Rect};
use crate::input::{Input, u16_at};

/// An update that is being decoded, and all decoders, whose streams go on from update to update.
#[derive(Debug, Default)]
pub(crate) struct Update {
    /// Rectangles whose heads have not come.
    left: u16,
    current: Option<(Rect, Encoding)>,
    raw: Pen,
    hextile: Hextile,
    packed: Packed,
    zrle: Box<Zrle>,
    tight: Box<Tight>,
    inflate: Inflate,
}

impl Update {
    /// Begins an update.
    pub(super) fn begin(&mut self, rectangles: u16) {
        self.left = rectangles;
    }

    fn begin_rectangle(&mut self, rect: Rect, encoding: Encoding) {
        self.current = Some((rect, encoding));
        match encoding {
            Encoding::Raw => self.raw = Pen::new(rect),
            Encoding::Hextile => self.hextile = Hextile::new(rect),
            Encoding::Zlib => {
                self.packed.begin();
                self.raw = Pen::new(rect);
            }
            Encoding::Zrle => {
                self.packed.begin();
                self.zrle.begin(rect);
            }
            Encoding::Tight => self.tight.begin(rect, Flavour::Plain),
            Encoding::TightPng => self.tight.begin(rect, Flavour::Png),
            _ => {}
        }
    }

    /// Decodes what has come of a rectangle of pixels. True when it is complete.
    fn pixels(
        &mut self,
        (rect, encoding): (Rect, Encoding),
        input: &mut Input,
        frame: &mut Frame<'_>,
    ) -> Result<bool, Rule> {
        match encoding {
            Encoding::Hextile => straight(&mut self.hextile, input, frame),
            Encoding::Raw => straight(&mut self.raw, input, frame),
            Encoding::Zlib => {
                self.packed.advance((rect, Stream::Zlib), &mut self.raw, input, &mut self.inflate, frame)
            }
            Encoding::Zrle => {
                self.packed.advance((rect, Stream::Zrle), &mut *self.zrle, input, &mut self.inflate, frame)
            }
            _ => self.tight.advance(input, &mut self.inflate, frame),
        }
    }
}

impl Session {
    /// Goes on until something has happened, or more bytes are needed.
    pub(super) fn rectangles(
        &mut self,
        input: &mut Input,
        frame: &mut Frame<'_>,
    ) -> Result<Option<Event>, Error> {
        loop {
            let Some((rect, encoding)) = self.update.current else {
                if self.update.left == 0 {
                    return Ok(Some(Event::UpdateEnd));
                }
                let Some(head) = input.array::<12>() else { return Ok(None) };
                self.update.left -= 1;
                let (rect, encoding) = self.head(&head)?;
                self.update.begin_rectangle(rect, encoding);
                continue;
            };
            let message = Message::Rectangle(encoding);
            let event = self.rectangle(rect, encoding, input, frame);
            match event.map_err(|rule| Error::Broken { message, rule })? {
                Some(event) => {
                    self.update.current = None;
                    if event.is_some() {
                        return Ok(event);
                    }
                }
                None => return Ok(None),
            }
        }
    }

    /// A rectangle's head: a place that is in the desktop, or means something else, and an encoding that was asked for.
    fn head(&self, head: &[u8; 12]) -> Result<(Rect, Encoding), Error> {
        let [x, y, width, height] = [0, 2, 4, 6].map(|at| u16_at(head, at));
        let (rect, code) =
            (Rect { x, y, width, height }, i32::from_be_bytes([head[8], head[9], head[10], head[11]]));
        let broken = |message, rule| Err(Error::Broken { message, rule });
        let Some(encoding) = Encoding::of_rectangle(code) else {
            return broken(Message::FramebufferUpdate, Rule::UnknownEncoding(code));
        };
        if !self.offered.has(encoding) {
            return broken(Message::Rectangle(encoding), Rule::NotOffered);
        }
        if encoding.has_pixels() && !rect.is_within(self.size) {
            return broken(Message::Rectangle(encoding), Rule::Outside { rect, desktop: self.size });
        }
        Ok((rect, encoding))
    }

    /// Goes on with a rectangle. None if bytes are missing; no event if nothing has changed.
    fn rectangle(
        &mut self,
        rect: Rect,
        encoding: Encoding,
        input: &mut Input,
        frame: &mut Frame<'_>,
    ) -> Result<Option<Option<Event>>, Rule> {
        match encoding {
            Encoding::CopyRect => self.copy(rect, input, frame),
            encoding if encoding.has_pixels() => {
                let done = self.update.pixels((rect, encoding), input, frame)?;
                Ok(done.then(|| (!rect.is_empty()).then_some(Event::Painted(rect))))
            }
            Encoding::LastRect => {
                self.update.left = 0;
                Ok(Some(None))
            }
            Encoding::DesktopSize => self.desktop_size(rect).map(|event| Some(Some(event))),
            Encoding::ExtendedDesktopSize => self.extended_desktop_size(rect, input),
            Encoding::ExtendedKeys => {
                self.extensions.extended_keys = true;
                Ok(Some(Some(Event::ExtendedKeys)))
            }
            Encoding::PointerMode => Ok(Some(Some(self.pointer_mode(rect)))),
            other => Ok(pseudo::rectangle(other, rect, input)?.map(Some)),
        }
    }

    /// RFC 6143, 7.7.2.
    fn copy(
        &self,
        to: Rect,
        input: &mut Input,
        frame: &mut Frame<'_>,
    ) -> Result<Option<Option<Event>>, Rule> {
        let Some(bytes) = input.array::<4>() else { return Ok(None) };
        let from = (u16_at(&bytes, 0), u16_at(&bytes, 2));
        let source = Rect { x: from.0, y: from.1, ..to };
        if !source.is_within(self.size) {
            return Err(Rule::Outside { rect: source, desktop: self.size });
        }
        frame.copy(from, to);
        Ok(Some((!to.is_empty()).then_some(Event::Copied { from, to })))
    }
}

/// Gives a painter what has come, without unpacking it.
fn straight(painter: &mut impl Painter, input: &mut Input, frame: &mut Frame<'_>) -> Result<bool, Rule> {
    let used = painter.paint(input.rest(), frame)?;
    input.skip(used);
    Ok(painter.is_done())
}
