//! A font of 8x16 pixels, made of strokes as real ones are, and words.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::Canvas;
use podzol_stripes::Rect;

/// Width and height of a character.
pub(crate) const CELL: (u16, u16) = (8, 16);

/// Glyphs of all bytes; a bit for each pixel.
pub(crate) struct Font([[u8; 16]; 256]);

impl Font {
    pub(crate) fn new() -> Self {
        let mut random = StdRng::seed_from_u64(0xf0);
        let mut glyphs = [[0; 16]; 256];
        for glyph in &mut glyphs[33..] {
            *glyph = strokes(&mut random);
        }
        Self(glyphs)
    }

    /// Draws a byte at a column and row of text.
    pub(crate) fn draw(
        &self,
        canvas: &mut Canvas<'_>,
        (x, y): (u16, u16),
        byte: u8,
        [ink, ground]: [u32; 2],
    ) {
        let glyph = &self.0[usize::from(byte)];
        canvas.paint(Rect::new(x, y, CELL.0, CELL.1), |x, y| {
            if glyph[usize::from(y)] >> (7 - x) & 1 == 1 { ink } else { ground }
        });
    }

    /// Draws a line of text, as far as there is room.
    pub(crate) fn line(&self, canvas: &mut Canvas<'_>, (x, y): (u16, u16), text: &str, colours: [u32; 2]) {
        let room = (canvas.size().width - x) / CELL.0;
        for (column, byte) in (0..room).zip(text.bytes()) {
            self.draw(canvas, (x + column * CELL.0, y), byte, colours);
        }
    }
}

/// Two to four strokes of two pixels' width, upright, across or slanted.
fn strokes(random: &mut StdRng) -> [u8; 16] {
    let mut glyph = [0; 16];
    for _ in 0..random.random_range(2..=4) {
        let (x, y) = (random.random_range(0..6), [3, 7, 11][random.random_range(0..3)]);
        match random.random_range(0..5) {
            0 | 1 => (3..13).for_each(|row: usize| glyph[row] |= 0b1100_0000 >> x),
            2 | 3 => glyph[y] |= 0b0111_1110,
            _ => (3..13).for_each(|row| glyph[row] |= 0b1100_0000 >> ((row - 3) / 2)),
        }
    }
    glyph
}

/// Words that texts are made of.
pub(crate) struct Words {
    words: Vec<String>,
    random: StdRng,
}

impl Words {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let word = |random: &mut StdRng| {
            let letter =
                |_| char::from(b"etaoinshrdlucmfwypvbgkjqxz"[random.random_range(0..26_usize).min(25)]);
            (0..7).map(letter).collect::<String>()
        };
        let words: Vec<_> = (0..400)
            .map(|_| {
                let whole = word(&mut random);
                whole[..random.random_range(2..=7)].to_owned()
            })
            .collect();
        Self { words, random }
    }

    /// A line of up to so many bytes.
    pub(crate) fn line(&mut self, most: usize) -> String {
        let (length, mut line) = (self.random.random_range(most / 3..=most), String::new());
        loop {
            // Few words are frequent.
            let number = (self.random.random::<f64>().powi(2) * 400.0) as usize;
            if line.len() + self.words[number].len() + 1 > length {
                return line;
            }
            line.push_str(&self.words[number]);
            line.push(' ');
        }
    }

    pub(crate) fn number(&mut self, most: u32) -> u32 {
        self.random.random_range(0..most)
    }
}
