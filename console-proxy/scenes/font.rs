//! Text in the VGA's own font of 8x16 pixels, out of its BIOS.

use crate::canvas::{Canvas, Rect};

/// Width and height of a character.
pub(crate) const CELL: (usize, usize) = (8, 16);

/// The letter A, by which the font is found.
const LETTER_A: [u8; 16] = [0, 0, 0x10, 0x38, 0x6c, 0xc6, 0xc6, 0xfe, 0xc6, 0xc6, 0xc6, 0xc6, 0, 0, 0, 0];

pub(crate) struct Font(&'static [u8]);

impl Font {
    pub(crate) fn new() -> Self {
        // SAFETY: there the BIOS has copied the VGA's, and nothing writes to it.
        let rom = unsafe { core::slice::from_raw_parts(0xc_0000 as *const u8, 0x1_0000) };
        let found = rom.windows(16).position(|bytes| bytes == LETTER_A);
        let start = found.expect("the VGA's BIOS has a font") - usize::from(b'A') * CELL.1;
        Self(&rom[start..start + 256 * CELL.1])
    }

    /// Draws a text at a place, ink on ground, as far as there is room.
    pub(crate) fn draw(
        &self,
        canvas: &mut Canvas,
        (x, y): (usize, usize),
        text: &[u8],
        [ink, ground]: [u32; 2],
    ) {
        let room = (canvas.width - x) / CELL.0;
        for (column, byte) in text.iter().take(room).enumerate() {
            let glyph = &self.0[usize::from(*byte) * CELL.1..][..CELL.1];
            let cell = Rect::new(x + column * CELL.0, y, CELL.0, CELL.1);
            canvas.paint(cell, |x, y| if glyph[y] >> (7 - x) & 1 == 1 { ink } else { ground });
        }
    }
}
