//! The three forms that Tight brings pixels in before they are packed.

use crate::decode::Painter;
use crate::decode::pen::{Form, Pen, Tpixel, indices};
use crate::error::Rule;
use crate::frame::{Frame, Rect};

/// Pixels as a filter has left them.
#[derive(Debug)]
pub(super) struct Filtered {
    rect: Rect,
    pen: Pen,
    filter: Filter,
    palette: [u32; 256],
    colours: u16,
}

#[derive(Debug, Clone, Copy)]
enum Filter {
    Copy,
    Palette,
    Gradient,
}

impl Default for Filtered {
    fn default() -> Self {
        Self {
            rect: Rect::default(),
            pen: Pen::default(),
            filter: Filter::Copy,
            palette: [0; 256],
            colours: 0,
        }
    }
}

impl Filtered {
    /// Begins a rectangle, without a filter.
    pub(super) fn begin(&mut self, rect: Rect) {
        (self.rect, self.pen, self.filter) = (rect, Pen::new(rect), Filter::Copy);
    }

    /// Differences will come.
    pub(super) fn use_gradient(&mut self) {
        self.filter = Filter::Gradient;
    }

    /// Indices will come, of a palette whose last colour has this number.
    pub(super) fn use_palette(&mut self, last: u8) -> Result<(), Rule> {
        self.filter = Filter::Palette;
        self.colours = u16::from(last) + 1;
        if last == 0 { Err(Rule::Palette) } else { Ok(()) }
    }

    /// Colours of the palette.
    pub(super) const fn colours(&self) -> u16 {
        self.colours
    }

    /// Says what one of them is.
    pub(super) fn set_colour(&mut self, number: u16, colour: u32) {
        self.palette[usize::from(number)] = colour;
    }

    /// How many bytes the filtered pixels are.
    pub(super) fn bytes(&self) -> u32 {
        match self.filter {
            Filter::Copy | Filter::Gradient => self.rect.size().pixels() * Tpixel::BYTES as u32,
            Filter::Palette if self.colours == 2 => {
                u32::from(self.rect.width.div_ceil(8)) * u32::from(self.rect.height)
            }
            Filter::Palette => self.rect.size().pixels(),
        }
    }
}

impl Painter for Filtered {
    fn paint(&mut self, bytes: &[u8], frame: &mut Frame<'_>) -> Result<usize, Rule> {
        let palette = &self.palette[..usize::from(self.colours)];
        match self.filter {
            Filter::Copy => Ok(self.pen.pixels::<Tpixel>(bytes, frame)),
            Filter::Palette => {
                let bits = if self.colours == 2 { 1 } else { 8 };
                indices(&mut self.pen, bytes, bits, palette, frame)
            }
            Filter::Gradient => Ok(gradient(&mut self.pen, bytes, frame)),
        }
    }

    fn is_done(&self) -> bool {
        self.pen.is_done()
    }
}

/// Adds differences to what the pixels at the left and above let expect. Those are in the frame already.
fn gradient(pen: &mut Pen, bytes: &[u8], frame: &mut Frame<'_>) -> usize {
    let mut used = 0;
    for difference in bytes.chunks_exact(Tpixel::BYTES) {
        if pen.is_done() {
            break;
        }
        let ((x, y), (column, row)) = pen.place();
        let left = if column > 0 { frame.at(x - 1, y) } else { 0 };
        let above = if row > 0 { frame.at(x, y - 1) } else { 0 };
        let corner = if column > 0 && row > 0 { frame.at(x - 1, y - 1) } else { 0 };
        let colour = [16, 8, 0].iter().zip(difference).fold(0, |colour, (shift, difference)| {
            let part = |pixel: u32| i32::from((pixel >> shift) as u8);
            let expected = (part(left) + part(above) - part(corner)).clamp(0, 255) as u8;
            colour << 8 | u32::from(expected.wrapping_add(*difference))
        });
        pen.each(frame, 1, |_| colour);
        used += Tpixel::BYTES;
    }
    used
}
