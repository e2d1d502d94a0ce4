//! Graphical desktops.

use super::font::{CELL, Font, Words};
use super::photo::Landscape;
use super::{Canvas, Scene};
use podzol_stripes::Rect;

/// A window of 400x300 that is dragged over a photograph, 30 times in a second.
pub(crate) struct Drag {
    wallpaper: Landscape,
    window: Vec<u32>,
    place: (u16, u16),
    step: u16,
}

const WINDOW: (u16, u16) = (400, 300);

impl Drag {
    pub(crate) fn new() -> Self {
        Self { wallpaper: Landscape::new(6), window: vec![], place: (100, 80), step: 0 }
    }

    fn wallpaper(&self, canvas: &mut Canvas<'_>, rect: Rect) {
        canvas.paint(rect, |x, y| {
            let (x, y) = (u32::from(rect.x + x), u32::from(rect.y + y));
            let grain =
                (x.wrapping_mul(0x9e37_79b1) ^ y.wrapping_mul(0x85eb_ca6b)).wrapping_mul(0xc2b2_ae35) >> 30;
            self.wallpaper.colour(x as f32, y as f32, grain as i32 - 1)
        });
    }

    fn show(&self, canvas: &mut Canvas<'_>) {
        let (x, y) = self.place;
        canvas.paint(Rect::new(x, y, WINDOW.0, WINDOW.1), |x, y| {
            self.window[usize::from(y) * usize::from(WINDOW.0) + usize::from(x)]
        });
    }

    /// A title, a frame and text.
    fn draw_window(&mut self, canvas: &mut Canvas<'_>) {
        let (font, mut words) = (Font::new(), Words::new(7));
        canvas.fill(Rect::new(0, 0, WINDOW.0, WINDOW.1), 0x40_4040);
        canvas.paint(Rect::new(1, 1, WINDOW.0 - 2, 22), |x, _| 0x30_50a0 + u32::from(x / 4));
        canvas.fill(Rect::new(1, 23, WINDOW.0 - 2, WINDOW.1 - 24), 0xff_ffff);
        for row in 0..16 {
            font.line(canvas, (10, 30 + row * CELL.1), &words.line(46), [0x20_2020, 0xff_ffff]);
        }
    }
}

impl Scene for Drag {
    fn begin(&mut self, canvas: &mut Canvas<'_>) {
        self.draw_window(canvas);
        self.window = canvas.copy(Rect::new(0, 0, WINDOW.0, WINDOW.1));
        let size = canvas.size();
        self.wallpaper(canvas, Rect::new(0, 0, size.width, size.height));
        self.show(canvas);
    }

    fn step(&mut self, canvas: &mut Canvas<'_>) {
        let (x, y) = self.place;
        self.step += 1;
        let across = [7, 9, 11, 6, 8][usize::from(self.step % 5)];
        let down = [3, 5, 4, 2][usize::from(self.step % 4)];
        let back = self.step / 30 % 2 == 1;
        self.place = if back { (x - across, y - down) } else { (x + across, y + down) };
        self.wallpaper(canvas, Rect::new(x, y, WINDOW.0, WINDOW.1));
        self.show(canvas);
    }

    fn pace(&self) -> u64 {
        33
    }
}

/// A page that is scrolled within its window, by some rows of pixels at a time, with an animation beside it.
pub(crate) struct Page {
    font: Font,
    words: Words,
    step: u16,
}

const PAGE: Rect = Rect::new(213, 111, 601, 503);

impl Page {
    pub(crate) fn new() -> Self {
        Self { font: Font::new(), words: Words::new(8), step: 0 }
    }
}

impl Scene for Page {
    fn begin(&mut self, canvas: &mut Canvas<'_>) {
        let size = canvas.size();
        canvas.paint(Rect::new(0, 0, size.width, size.height), |x, y| 0x00_2040 + u32::from((x + y) / 16));
        canvas.fill(PAGE, 0xff_ffff);
        for row in 0..PAGE.height / CELL.1 {
            self.font.line(canvas, (PAGE.x, PAGE.y + row * CELL.1), &self.words.line(74), [0, 0xff_ffff]);
        }
    }

    fn step(&mut self, canvas: &mut Canvas<'_>) {
        self.step += 1;
        canvas.scroll(PAGE, CELL.1 * 3);
        let bottom = PAGE.y + PAGE.height - CELL.1 * 3;
        canvas.fill(Rect::new(PAGE.x, bottom, PAGE.width, CELL.1 * 3), 0xff_ffff);
        for row in 0..3 {
            self.font.line(canvas, (PAGE.x, bottom + row * CELL.1), &self.words.line(74), [0, 0xff_ffff]);
        }
        canvas.fill(Rect::new(900, 700, 40, 40), (u32::from(self.step) * 0x10_2030) & 0xff_ffff);
    }

    fn pace(&self) -> u64 {
        50
    }
}
