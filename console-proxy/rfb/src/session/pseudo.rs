//! Rectangles that are no pixels of the desktop: cursors, sizes, lights, names (RFC 6143, 7.8, and rfbproto).

use super::Session;
use crate::decode::{alpha_cursor, alpha_cursor_bytes, mask_cursor, mask_cursor_bytes};
use crate::encoding::Encoding;
use crate::error::Rule;
use crate::event::{Denial, Desktop, Event, Leds, Origin, PointerMode, Screen};
use crate::frame::{Rect, Size};
use crate::handshake::words_of;
use crate::input::{Input, u16_at, u32_at};

/// The largest cursor that is taken: 512x512, QEMU's own limit, in any shape.
const CURSOR: u32 = 512 * 512;

/// The longest name of a desktop.
const NAME: u32 = 4096;

/// Bytes of one screen.
const SCREEN: usize = 16;

/// A rectangle that changes nothing here; none if bytes are missing.
pub(super) fn rectangle(encoding: Encoding, rect: Rect, input: &mut Input) -> Result<Option<Event>, Rule> {
    match encoding {
        Encoding::Cursor => {
            check_cursor(rect)?;
            Ok(input.take(mask_cursor_bytes(rect)).map(|bytes| Event::Cursor(mask_cursor(rect, bytes))))
        }
        Encoding::CursorAlpha => {
            check_cursor(rect)?;
            let Some(head) = input.peek() else { return Ok(None) };
            let length = alpha_cursor_bytes(rect, i32::from_be_bytes(head))?;
            Ok(input
                .take(head.len() + length)
                .map(|bytes| Event::Cursor(alpha_cursor(rect, &bytes[head.len()..]))))
        }
        Encoding::LedState => Ok(input.u8().map(|bits| Event::Leds(leds(bits.into())))),
        Encoding::VmwareLedState => Ok(input.u32().map(|bits| Event::Leds(leds(bits)))),
        Encoding::DesktopName => name(input),
        // No server sends a rectangle for any other; it has no bytes that could be passed over.
        other => Err(Rule::UnknownEncoding(other.code())),
    }
}

impl Session {
    /// RFC 6143, 7.8.2.
    pub(super) fn desktop_size(&mut self, rect: Rect) -> Result<Event, Rule> {
        self.set_size(rect.size())?;
        Ok(Event::Desktop(Desktop { size: self.size, origin: Origin::Server, screens: Vec::new() }))
    }

    /// rfbproto, "ExtendedDesktopSize": the place says why, and how a client's wish ended.
    pub(super) fn extended_desktop_size(
        &mut self,
        rect: Rect,
        input: &mut Input,
    ) -> Result<Option<Option<Event>>, Rule> {
        let Some([count]) = input.peek() else { return Ok(None) };
        let Some(bytes) = input.take(4 + SCREEN * usize::from(count)) else { return Ok(None) };
        let screens = bytes[4..].chunks_exact(SCREEN).map(screen).collect();
        let origin = origin(rect);
        if !matches!(origin, Origin::Denied(_)) {
            self.set_size(rect.size())?;
        }
        self.extensions.resize = true;
        Ok(Some(Some(Event::Desktop(Desktop { size: self.size, origin, screens }))))
    }

    fn set_size(&mut self, size: Size) -> Result<(), Rule> {
        let limit = self.limits.pixels;
        if size.pixels() > limit {
            return Err(Rule::TooLarge { size, limit });
        }
        self.size = size;
        Ok(())
    }

    /// rfbproto, "QEMU Pointer Motion Change".
    pub(super) fn pointer_mode(&mut self, rect: Rect) -> Event {
        self.extensions.pointer = if rect.x == 0 { PointerMode::Relative } else { PointerMode::Absolute };
        Event::Pointer(self.extensions.pointer)
    }
}

fn check_cursor(rect: Rect) -> Result<(), Rule> {
    let size = rect.size();
    if size.pixels() > CURSOR { Err(Rule::TooLarge { size, limit: CURSOR }) } else { Ok(()) }
}

fn origin(rect: Rect) -> Origin {
    match (rect.x, rect.y) {
        (1, 0) => Origin::Asked,
        (1, 1) => Origin::Denied(Denial::Prohibited),
        (1, 2) => Origin::Denied(Denial::OutOfResources),
        (1, 3) => Origin::Denied(Denial::Invalid),
        (1, 4) => Origin::Denied(Denial::Forwarded),
        (1, other) => Origin::Denied(Denial::Other(other)),
        (2, _) => Origin::OtherClient,
        _ => Origin::Server,
    }
}

fn screen(bytes: &[u8]) -> Screen {
    let [x, y, width, height] = [4, 6, 8, 10].map(|at| u16_at(bytes, at));
    Screen { id: u32_at(bytes, 0), area: Rect { x, y, width, height }, flags: u32_at(bytes, 12) }
}

fn leds(bits: u32) -> Leds {
    Leds { scroll: bits & 1 != 0, num: bits & 2 != 0, caps: bits & 4 != 0 }
}

fn name(input: &mut Input) -> Result<Option<Event>, Rule> {
    let Some(head) = input.peek() else { return Ok(None) };
    let length = u32::from_be_bytes(head);
    if length > NAME {
        return Err(Rule::TooLong { length: length.into(), limit: NAME.into() });
    }
    let bytes = input.take(head.len() + length as usize);
    Ok(bytes.map(|bytes| Event::Name(words_of(&bytes[head.len()..]))))
}
