//! Text consoles, and a block that changes.

use core::fmt::Write;

use crate::Scene;
use crate::canvas::{Canvas, Rect};
use crate::font::{CELL, Font};
use crate::random::Words;

const COLOURS: [u32; 2] = [0xaa_aaaa, 0];

/// A screen full of what a system logs, to which lines are added.
pub(crate) struct Scroll {
    font: Font,
    words: Words,
    micros: usize,
    lines: usize,
    pace: u64,
}

impl Scroll {
    /// So many lines at a time, and the milliseconds between.
    pub(crate) fn new(seed: u64, lines: usize, pace: u64) -> Self {
        Self { font: Font::new(), words: Words::new(seed), micros: 0, lines, pace }
    }

    fn add(&mut self, canvas: &mut Canvas, row: usize) {
        self.micros += 1000 + self.words.below(18_000);
        let mut line = Line::default();
        _ = write!(line, "[{:5}.{:06}] ", self.micros / 1_000_000, self.micros % 1_000_000);
        line.length += self.words.line(&mut line.bytes[line.length..110]);
        self.font.draw(canvas, (0, row * CELL.1), line.bytes(), COLOURS);
    }
}

impl Scene for Scroll {
    fn begin(&mut self, canvas: &mut Canvas) {
        (0..canvas.height / CELL.1).for_each(|row| self.add(canvas, row));
    }

    fn step(&mut self, canvas: &mut Canvas) -> u64 {
        canvas.scroll(CELL.1 * self.lines);
        let rows = canvas.height / CELL.1;
        (rows - self.lines..rows).for_each(|row| self.add(canvas, row));
        self.pace
    }
}

/// Somebody who types a character each 150 ms, with a block for a cursor.
pub(crate) struct Typing {
    font: Font,
    words: Words,
    line: Line,
    place: (usize, usize),
    typed: usize,
}

impl Typing {
    pub(crate) fn new(seed: u64) -> Self {
        Self { font: Font::new(), words: Words::new(seed), line: Line::default(), place: (0, 0), typed: 0 }
    }
}

impl Scene for Typing {
    fn begin(&mut self, canvas: &mut Canvas) {
        for row in 0..20 {
            self.line.length = self.words.line(&mut self.line.bytes[..100]);
            self.font.draw(canvas, (0, row * CELL.1), self.line.bytes(), COLOURS);
        }
        self.line.length = 0;
        self.place = (0, 19 * CELL.1);
    }

    fn step(&mut self, canvas: &mut Canvas) -> u64 {
        if self.typed == self.line.length {
            self.line.length = self.words.line(&mut self.line.bytes[..60]);
            self.font.draw(canvas, self.place, b" ", COLOURS);
            self.place = (0, self.place.1 + CELL.1);
            self.typed = 0;
        }
        self.font.draw(canvas, self.place, &self.line.bytes[self.typed..=self.typed], COLOURS);
        self.typed += 1;
        self.place.0 += CELL.0;
        canvas.fill(Rect::new(self.place.0, self.place.1, CELL.0, CELL.1), COLOURS[0]);
        150
    }
}

/// A block that gets another colour: each as good as never seen before, and its number in it. A text is beside it.
pub(crate) struct Block {
    words: Words,
    font: Font,
    number: u32,
    changes: Changes,
}

/// When it changes.
enum Changes {
    /// 60 times a second.
    Often,
    /// After 5 s of quiet and something more.
    Seldom,
    /// With each key.
    Keys,
}

/// Where it is.
const BLOCK: Rect = Rect { x: 160, y: 96, width: 32, height: 32 };

impl Block {
    fn new(seed: u64, changes: Changes) -> Self {
        Self { words: Words::new(seed), font: Font::new(), number: 0, changes }
    }

    pub(crate) fn pulse(seed: u64) -> Self {
        Self::new(seed, Changes::Often)
    }

    pub(crate) fn quiet(seed: u64) -> Self {
        Self::new(seed, Changes::Seldom)
    }

    pub(crate) fn key(seed: u64) -> Self {
        Self::new(seed, Changes::Keys)
    }

    fn change(&mut self, canvas: &mut Canvas) {
        self.number += 1;
        // An odd factor, so that no two of 2^24 are alike.
        canvas.fill(BLOCK, (self.number.wrapping_mul(0x6d_2b79) & 0xff_ffff) | 0x10_1010);
    }
}

impl Scene for Block {
    fn begin(&mut self, canvas: &mut Canvas) {
        let mut line = Line::default();
        for row in 20..30 {
            line.length = self.words.line(&mut line.bytes[..100]);
            self.font.draw(canvas, (0, row * CELL.1), line.bytes(), COLOURS);
        }
        self.change(canvas);
    }

    fn step(&mut self, canvas: &mut Canvas) -> u64 {
        match self.changes {
            Changes::Often => {
                self.change(canvas);
                16
            }
            Changes::Seldom => {
                self.change(canvas);
                5000 + self.words.below(400) as u64
            }
            Changes::Keys => 1000,
        }
    }

    fn key(&mut self, canvas: &mut Canvas) -> bool {
        if let Changes::Keys = self.changes {
            self.change(canvas);
            return true;
        }
        false
    }

    fn tells_steps(&self) -> bool {
        matches!(self.changes, Changes::Seldom)
    }
}

/// A line of text.
struct Line {
    bytes: [u8; 128],
    length: usize,
}

impl Line {
    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl Default for Line {
    fn default() -> Self {
        Self { bytes: [b' '; 128], length: 0 }
    }
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        let room = &mut self.bytes[self.length..];
        let length = text.len().min(room.len());
        room[..length].copy_from_slice(&text.as_bytes()[..length]);
        self.length += length;
        Ok(())
    }
}
