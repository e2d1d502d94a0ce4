//! A picture in memory, of which what has changed is shown.

use crate::{machine, memory};

/// A part of a picture.
#[derive(Clone, Copy)]
pub(crate) struct Rect {
    pub(crate) x: usize,
    pub(crate) y: usize,
    pub(crate) width: usize,
    pub(crate) height: usize,
}

impl Rect {
    pub(crate) fn new(x: usize, y: usize, width: usize, height: usize) -> Self {
        Self { x, y, width, height }
    }

    /// The smallest one that has both in it.
    fn with(self, other: Self) -> Self {
        let (x, y) = (self.x.min(other.x), self.y.min(other.y));
        let right = (self.x + self.width).max(other.x + other.width);
        let bottom = (self.y + self.height).max(other.y + other.height);
        Self { x, y, width: right - x, height: bottom - y }
    }
}

pub(crate) struct Canvas {
    pub(crate) width: usize,
    pub(crate) height: usize,
    pixels: &'static mut [u32],
    screen: *mut u32,
    changed: Option<Rect>,
}

impl Canvas {
    /// The screen, in a mode of that size, black.
    pub(crate) fn new((width, height): (usize, usize)) -> Self {
        let (pixels, screen) = (memory::drawn(), machine::frame_buffer());
        let mut canvas = Self { width: 0, height: 0, pixels, screen, changed: None };
        canvas.resize((width, height));
        canvas
    }

    /// Another mode, unless it is that already; black.
    pub(crate) fn resize(&mut self, (width, height): (usize, usize)) {
        if (self.width, self.height) != (width, height) {
            machine::set_mode(width, height);
            (self.width, self.height) = (width, height);
        }
        self.fill(self.all(), 0);
    }

    pub(crate) fn all(&self) -> Rect {
        Rect::new(0, 0, self.width, self.height)
    }

    /// Copies what has changed to the screen.
    pub(crate) fn show(&mut self) {
        let Some(rect) = self.changed.take() else { return };
        for y in rect.y..rect.y + rect.height {
            let start = y * self.width + rect.x;
            let row = &self.pixels[start..start + rect.width];
            // SAFETY: the frame buffer is as large as the mode, and within 16 MiB.
            unsafe { core::ptr::copy_nonoverlapping(row.as_ptr(), self.screen.add(start), row.len()) }
        }
    }

    /// Sets all pixels of a rectangle, each by its place in it.
    pub(crate) fn paint(&mut self, rect: Rect, mut colour: impl FnMut(usize, usize) -> u32) {
        for y in 0..rect.height {
            let start = (rect.y + y) * self.width + rect.x;
            for (x, pixel) in self.pixels[start..start + rect.width].iter_mut().enumerate() {
                *pixel = colour(x, y);
            }
        }
        self.has_changed(rect);
    }

    pub(crate) fn fill(&mut self, rect: Rect, colour: u32) {
        self.paint(rect, |_, _| colour);
    }

    /// Moves all rows up, and leaves those at the bottom black.
    pub(crate) fn scroll(&mut self, rows: usize) {
        let end = self.width * self.height;
        self.pixels.copy_within(self.width * rows..end, 0);
        self.fill(Rect::new(0, self.height - rows, self.width, rows), 0);
        self.has_changed(self.all());
    }

    /// Copies a rectangle out.
    pub(crate) fn copy(&self, rect: Rect, to: &mut [u32]) {
        for (y, row) in to.chunks_exact_mut(rect.width).take(rect.height).enumerate() {
            let start = (rect.y + y) * self.width + rect.x;
            row.copy_from_slice(&self.pixels[start..start + rect.width]);
        }
    }

    /// Copies one in, from what has so many pixels in a row.
    pub(crate) fn put(&mut self, rect: Rect, from: &[u32], pitch: usize) {
        for y in 0..rect.height {
            let start = (rect.y + y) * self.width + rect.x;
            self.pixels[start..start + rect.width].copy_from_slice(&from[y * pitch..][..rect.width]);
        }
        self.has_changed(rect);
    }

    fn has_changed(&mut self, rect: Rect) {
        self.changed = Some(self.changed.map_or(rect, |before| before.with(rect)));
    }
}
