//! From the bytes of rectangles to pixels.
//!
//! A painter takes bytes as they come and paints what can be painted: it keeps a place, not bytes. What it leaves is less
//! than one unit (a pixel, a tile's head, a run), and is given to it once more with what follows. Decoders live as long as
//! the connection and are begun anew for each rectangle, so that a rectangle allocates nothing.
//!
//! It does not know messages: who decides which rectangle is decoded how is `session`.

mod hextile;
mod image;
mod inflate;
mod jpeg;
mod pen;
mod shape;
mod tight;
mod zrle;

pub(crate) use hextile::Hextile;
pub(crate) use inflate::{Inflate, Stream};
pub(crate) use pen::Pen;
pub(crate) use shape::{alpha_cursor, alpha_cursor_bytes, mask_cursor, mask_cursor_bytes};
pub(crate) use tight::{Flavour, Tight};
pub(crate) use zrle::Zrle;

use crate::error::Rule;
use crate::frame::{Frame, Rect};
use crate::input::Input;

/// Something that turns bytes into pixels of one rectangle.
pub(crate) trait Painter {
    /// Paints all that can be painted with these bytes, and tells how many it has used up.
    ///
    /// # Errors
    /// When the bytes break a rule.
    fn paint(&mut self, bytes: &[u8], frame: &mut Frame<'_>) -> Result<usize, Rule>;

    /// Whether all pixels are painted.
    fn is_done(&self) -> bool;
}

/// A rectangle that is a length and so many packed bytes: Zlib and ZRLE.
#[derive(Debug, Default)]
pub(crate) struct Packed {
    left: Option<u32>,
}

impl Packed {
    /// Begins a rectangle.
    pub(crate) fn begin(&mut self) {
        self.left = None;
    }

    /// Gives a painter what has come. True when the rectangle is complete.
    ///
    /// # Errors
    /// When a rule is broken.
    pub(crate) fn advance(
        &mut self,
        (rect, stream): (Rect, Stream),
        painter: &mut impl Painter,
        input: &mut Input,
        inflate: &mut Inflate,
        frame: &mut Frame<'_>,
    ) -> Result<bool, Rule> {
        if self.left.is_none() {
            self.left = input.u32();
            let (length, limit) = (self.left.unwrap_or(0).into(), packed_limit(rect));
            if length > limit {
                return Err(Rule::TooLong { length, limit });
            }
        }
        match &mut self.left {
            Some(left) => inflate.paint(stream, left, input, painter, frame),
            None => Ok(false),
        }
    }
}

/// More bytes than any encoder needs for a rectangle, with plenty of room for marks between blocks.
fn packed_limit(rect: Rect) -> u64 {
    u64::from(rect.size().pixels()) * 8 + 65_536
}
