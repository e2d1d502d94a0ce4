//! Graphical desktops.

use crate::Scene;
use crate::canvas::{Canvas, Rect};
use crate::font::{CELL, Font};
use crate::memory;
use crate::photo::Landscape;
use crate::random::{Random, Words};

const INK: [u32; 2] = [0x20_2020, 0xff_ffff];

/// Text all over a rectangle of paper.
fn page(canvas: &mut Canvas, font: &Font, words: &mut Words, rect: Rect) {
    canvas.fill(rect, INK[1]);
    let mut line = [0; 128];
    for row in 0..rect.height / CELL.1 {
        let length = words.line(&mut line[..(rect.width / CELL.0).min(128)]);
        font.draw(canvas, (rect.x, rect.y + row * CELL.1), &line[..length], INK);
    }
}

/// A window of 400x300 that is dragged over a photograph, 30 times in a second.
pub(crate) struct Drag {
    seed: u64,
    wallpaper: &'static mut [u32],
    window: &'static mut [u32],
    place: (usize, usize),
    step: usize,
}

const WINDOW: (usize, usize) = (400, 300);

impl Drag {
    pub(crate) fn new(seed: u64) -> Self {
        let (wallpaper, window) = memory::kept().split_at_mut(1024 * 768);
        Self { seed, wallpaper, window, place: (100, 80), step: 0 }
    }

    fn rect(&self) -> Rect {
        Rect::new(self.place.0, self.place.1, WINDOW.0, WINDOW.1)
    }

    /// A title, a frame, text, and a picture that becomes darker.
    fn draw_window(&mut self, canvas: &mut Canvas) {
        let (font, mut words) = (Font::new(), Words::new(self.seed));
        canvas.fill(Rect::new(0, 0, WINDOW.0, WINDOW.1), 0x40_4040);
        canvas.paint(Rect::new(1, 1, WINDOW.0 - 2, 22), |x, _| 0x30_50a0 + (x / 5) as u32);
        page(canvas, &font, &mut words, Rect::new(1, 23, WINDOW.0 - 2, WINDOW.1 - 24));
        canvas.paint(Rect::new(280, 40, 110, 100), |x, y| {
            let light = 0xff - (x + y) as u32;
            light << 16 | light << 8 | 0x80
        });
        canvas.copy(Rect::new(0, 0, WINDOW.0, WINDOW.1), self.window);
    }
}

impl Scene for Drag {
    fn begin(&mut self, canvas: &mut Canvas) {
        self.draw_window(canvas);
        Landscape::new(self.seed).draw(self.wallpaper, canvas.width, 1);
        canvas.put(canvas.all(), self.wallpaper, canvas.width);
        canvas.put(self.rect(), self.window, WINDOW.0);
    }

    fn step(&mut self, canvas: &mut Canvas) -> u64 {
        let before = self.rect();
        self.step += 1;
        let across = [7, 9, 11, 6, 8][self.step % 5];
        let down = [3, 5, 4, 2][self.step % 4];
        let (x, y) = self.place;
        // To and fro: 30 steps there, and the same ones back.
        self.place = if self.step / 30 % 2 == 1 {
            (x.saturating_sub(across), y.saturating_sub(down))
        } else {
            ((x + across).min(canvas.width - WINDOW.0), (y + down).min(canvas.height - WINDOW.1))
        };
        canvas.put(before, &self.wallpaper[before.y * canvas.width + before.x..], canvas.width);
        canvas.put(self.rect(), self.window, WINDOW.0);
        33
    }
}

/// Several modes one after the other, each with text, a photograph and a colour.
pub(crate) struct Resize {
    seed: u64,
    step: usize,
}

/// The last one is what all other scenes have.
const MODES: [(usize, usize); 4] = [(640, 480), (1280, 720), (800, 600), (1024, 768)];

impl Resize {
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, step: 0 }
    }
}

impl Scene for Resize {
    fn begin(&mut self, canvas: &mut Canvas) {
        canvas.fill(canvas.all(), 0x60_2020);
    }

    fn step(&mut self, canvas: &mut Canvas) -> u64 {
        canvas.resize(MODES[self.step % MODES.len()]);
        self.step += 1;
        let (seed, photo) = (self.seed + self.step as u64, &mut memory::kept()[..200 * 150]);
        canvas.fill(canvas.all(), 0x20_2040 + Random::new(seed).bits() % 64);
        let half = Rect::new(20, 30, canvas.width / 2, canvas.height / 2);
        page(canvas, &Font::new(), &mut Words::new(seed), half);
        Landscape::new(seed).draw(photo, 200, 1);
        canvas.put(Rect::new(canvas.width - 210, canvas.height - 160, 200, 150), photo, 200);
        300
    }
}

/// An arrow that is moved over a page, 30 times in a second.
pub(crate) struct Cursor {
    random: Random,
    words: Words,
    under: &'static mut [u32],
    place: (usize, usize),
    to: (usize, usize),
}

const ARROW: (usize, usize) = (12, 19);

impl Cursor {
    pub(crate) fn new(seed: u64) -> Self {
        let under = &mut memory::kept()[..ARROW.0 * ARROW.1];
        Self { random: Random::new(seed), words: Words::new(seed), under, place: (500, 400), to: (500, 400) }
    }

    fn rect(&self) -> Rect {
        Rect::new(self.place.0, self.place.1, ARROW.0, ARROW.1)
    }

    /// Takes what is under it, and paints it: white with a black edge.
    fn put_down(&mut self, canvas: &mut Canvas) {
        canvas.copy(self.rect(), self.under);
        let under = &self.under;
        canvas.paint(self.rect(), |x, y| match (x, y) {
            _ if x > y || x + y > 19 => under[y * ARROW.0 + x],
            _ if x == 0 || x == y || x + y == 19 || y == ARROW.1 - 1 => 0,
            _ => 0xff_ffff,
        });
    }
}

impl Scene for Cursor {
    fn begin(&mut self, canvas: &mut Canvas) {
        page(canvas, &Font::new(), &mut self.words, canvas.all());
        self.put_down(canvas);
    }

    fn step(&mut self, canvas: &mut Canvas) -> u64 {
        canvas.put(self.rect(), self.under, ARROW.0);
        if self.place.0.abs_diff(self.to.0) + self.place.1.abs_diff(self.to.1) < 8 {
            self.to = (self.random.below(1000), self.random.below(740));
        }
        let towards = |from: usize, to: usize| (from * 7 + to + 3) / 8;
        self.place = (towards(self.place.0, self.to.0), towards(self.place.1, self.to.1));
        self.put_down(canvas);
        33
    }
}
