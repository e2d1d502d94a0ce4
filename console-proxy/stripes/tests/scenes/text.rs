//! Text consoles.

use super::font::{CELL, Font, Words};
use super::{Canvas, Scene};
use podzol_stripes::Rect;

const COLOURS: [u32; 2] = [0xaa_aaaa, 0x00_0000];

/// A screen full of text to which a line is added at a time, 20 in a second.
pub(crate) struct Scroll {
    font: Font,
    words: Words,
}

impl Scroll {
    pub(crate) fn new() -> Self {
        Self { font: Font::new(), words: Words::new(1) }
    }

    fn add(&mut self, canvas: &mut Canvas<'_>) {
        let line = self.words.line(100);
        add_line(&self.font, canvas, &line);
    }
}

impl Scene for Scroll {
    fn begin(&mut self, canvas: &mut Canvas<'_>) {
        (0..canvas.size().height / CELL.1).for_each(|_| self.add(canvas));
    }

    fn step(&mut self, canvas: &mut Canvas<'_>) {
        self.add(canvas);
    }

    fn pace(&self) -> u64 {
        50
    }
}

/// What a kernel says, 100 lines in a second.
pub(crate) struct Boot {
    font: Font,
    words: Words,
    micros: u32,
}

impl Boot {
    pub(crate) fn new() -> Self {
        Self { font: Font::new(), words: Words::new(2), micros: 0 }
    }

    fn add(&mut self, canvas: &mut Canvas<'_>) {
        self.micros += 1000 + self.words.number(18_000);
        let time = format!("[{:5}.{:06}] ", self.micros / 1_000_000, self.micros % 1_000_000);
        let line = time + &self.words.line(70);
        add_line(&self.font, canvas, &line);
    }
}

impl Scene for Boot {
    fn begin(&mut self, canvas: &mut Canvas<'_>) {
        (0..canvas.size().height / CELL.1).for_each(|_| self.add(canvas));
    }

    fn step(&mut self, canvas: &mut Canvas<'_>) {
        (0..4).for_each(|_| self.add(canvas));
    }

    fn pace(&self) -> u64 {
        40
    }
}

/// Somebody who types 8 characters in a second, with a block for a cursor.
pub(crate) struct Typing {
    font: Font,
    words: Words,
    line: String,
    place: (u16, u16),
}

impl Typing {
    pub(crate) fn new() -> Self {
        Self { font: Font::new(), words: Words::new(3), line: String::new(), place: (0, 0) }
    }
}

impl Scene for Typing {
    fn begin(&mut self, canvas: &mut Canvas<'_>) {
        (0..20).for_each(|row| self.font.line(canvas, (0, row * CELL.1), &self.words.line(100), COLOURS));
        self.place = (0, 20 * CELL.1);
    }

    fn step(&mut self, canvas: &mut Canvas<'_>) {
        if self.line.is_empty() {
            self.line = self.words.line(60);
            self.font.draw(canvas, self.place, b' ', COLOURS);
            self.place = (0, self.place.1 + CELL.1);
        }
        self.font.draw(canvas, self.place, self.line.remove(0).try_into().unwrap(), COLOURS);
        self.place.0 += CELL.0;
        canvas.fill(Rect::new(self.place.0, self.place.1, CELL.0, CELL.1), COLOURS[0]);
    }

    fn pace(&self) -> u64 {
        125
    }
}

fn add_line(font: &Font, canvas: &mut Canvas<'_>, line: &str) {
    let size = canvas.size();
    canvas.scroll(Rect::new(0, 0, size.width, size.height), CELL.1);
    let y = size.height - CELL.1;
    canvas.fill(Rect::new(0, y, size.width, CELL.1), COLOURS[1]);
    font.line(canvas, (0, y), line, COLOURS);
}
