//! Hextile: tiles of 16x16 pixels, each a background with sub-rectangles on it (RFC 6143, 7.7.4).
//!
//! This is what QEMU sends next to the host, a thousand small rectangles an update, so the whole of a tile is taken from one
//! slice whose length is known from the tile's head.
//!
//! # Design notes
//! Colours that a tile should have said but did not are those of the tile before, whatever that was: the RFC forbids this
//! after raw and coloured tiles, but nothing can go wrong.

use super::Painter;
use super::pen::{Form, Pen, Pixel};
use crate::error::Rule;
use crate::frame::{Frame, Rect};

const RAW: u8 = 1;
const BACKGROUND: u8 = 2;
const FOREGROUND: u8 = 4;
const SUBRECTANGLES: u8 = 8;
const COLOURED: u8 = 16;

/// Pixels of a tile's side.
const SIDE: u16 = 16;

/// The tiles of one rectangle.
#[derive(Debug, Default)]
pub(crate) struct Hextile {
    rect: Rect,
    /// Where the next tile begins within the rectangle.
    x: u16,
    y: u16,
    background: u32,
    foreground: u32,
}

impl Hextile {
    /// The tiles of a rectangle.
    pub(crate) fn new(rect: Rect) -> Self {
        let y = if rect.width == 0 { rect.height } else { 0 };
        Self { rect, x: 0, y, background: 0, foreground: 0 }
    }

    fn tile(&self) -> Rect {
        let Rect { x, y, width, height } = self.rect;
        Rect {
            x: x + self.x,
            y: y + self.y,
            width: SIDE.min(width - self.x),
            height: SIDE.min(height - self.y),
        }
    }

    fn go_on(&mut self) {
        // Neither can wrap: a rectangle's end is within 16 bits, and the step is taken only if there is more behind it.
        if self.rect.width - self.x > SIDE {
            self.x += SIDE;
        } else {
            self.x = 0;
            self.y += SIDE.min(self.rect.height - self.y);
        }
    }

    /// Paints a tile whose bytes are there; tells how many they were, or none if there are too few.
    fn paint_tile(&mut self, bytes: &[u8], frame: &mut Frame<'_>) -> Result<Option<usize>, Rule> {
        let Some(&flags) = bytes.first() else { return Ok(None) };
        let tile = self.tile();
        if flags & RAW != 0 {
            let length = 1 + tile.size().pixels() as usize * Pixel::BYTES;
            return Ok(bytes.get(1..length).map(|pixels| {
                Pen::new(tile).pixels::<Pixel>(pixels, frame);
                length
            }));
        }
        let Some((head, length)) = lengths(flags, bytes) else { return Ok(None) };
        let Some(subrectangles) = bytes.get(head..length) else { return Ok(None) };
        self.colours(flags, bytes);
        frame.fill(tile, self.background);
        if flags & COLOURED != 0 {
            for bytes in subrectangles.chunks_exact(6) {
                frame.fill(within(tile, bytes[4], bytes[5])?, Pixel::colour(bytes));
            }
        } else {
            for bytes in subrectangles.chunks_exact(2) {
                frame.fill(within(tile, bytes[0], bytes[1])?, self.foreground);
            }
        }
        Ok(Some(length))
    }

    fn colours(&mut self, flags: u8, bytes: &[u8]) {
        let mut at = 1;
        if flags & BACKGROUND != 0 {
            self.background = Pixel::colour(&bytes[at..]);
            at += Pixel::BYTES;
        }
        if flags & FOREGROUND != 0 {
            self.foreground = Pixel::colour(&bytes[at..]);
        }
    }
}

impl Painter for Hextile {
    fn paint(&mut self, bytes: &[u8], frame: &mut Frame<'_>) -> Result<usize, Rule> {
        let mut used = 0;
        while !self.is_done() {
            let Some(length) = self.paint_tile(&bytes[used..], frame)? else { break };
            used += length;
            self.go_on();
        }
        Ok(used)
    }

    fn is_done(&self) -> bool {
        self.y >= self.rect.height
    }
}

/// The length of a tile's head, and of all of it, once the head is there.
fn lengths(flags: u8, bytes: &[u8]) -> Option<(usize, usize)> {
    let colours = usize::from(flags & BACKGROUND != 0) + usize::from(flags & FOREGROUND != 0);
    let head = 1 + colours * Pixel::BYTES;
    if flags & SUBRECTANGLES == 0 {
        return (bytes.len() >= head).then_some((head, head));
    }
    let each = if flags & COLOURED == 0 { 2 } else { 2 + Pixel::BYTES };
    let count = usize::from(*bytes.get(head)?);
    Some((head + 1, head + 1 + count * each))
}

/// A sub-rectangle in the frame.
fn within(tile: Rect, place: u8, size: u8) -> Result<Rect, Rule> {
    let high = |byte: u8| u16::from(byte >> 4);
    let low = |byte: u8| u16::from(byte & 15);
    let (x, y, width, height) = (high(place), low(place), high(size) + 1, low(size) + 1);
    if x + width > tile.width || y + height > tile.height {
        return Err(Rule::Subrectangle);
    }
    Ok(Rect { x: tile.x + x, y: tile.y + y, width, height })
}
