//! Pixels of a screen, and what of them was painted.

use podzol_stripes::{Rect, Screen, Size};

/// Paints on a screen.
pub(crate) struct Canvas<'a> {
    screen: &'a mut Screen,
}

impl<'a> Canvas<'a> {
    pub(crate) fn new(screen: &'a mut Screen) -> Self {
        Self { screen }
    }

    pub(crate) fn size(&self) -> Size {
        self.screen.size()
    }

    /// Gives each pixel of a rectangle the colour of its place, which is counted from the rectangle's corner.
    pub(crate) fn paint(&mut self, rect: Rect, mut colour: impl FnMut(u16, u16) -> u32) {
        let width = usize::from(self.size().width);
        let pixels = self.screen.pixels();
        for y in 0..rect.height {
            let start = usize::from(rect.y + y) * width + usize::from(rect.x);
            let row = &mut pixels[start..start + usize::from(rect.width)];
            row.iter_mut().zip(0..).for_each(|(pixel, x)| *pixel = colour(x, y));
        }
        self.screen.painted(rect);
    }

    pub(crate) fn fill(&mut self, rect: Rect, colour: u32) {
        self.paint(rect, |_, _| colour);
    }

    /// The pixels of a rectangle.
    pub(crate) fn copy(&mut self, rect: Rect) -> Vec<u32> {
        let width = usize::from(self.size().width);
        let pixels = self.screen.pixels();
        let row = |y: u16| usize::from(y) * width + usize::from(rect.x);
        (rect.y..rect.y + rect.height)
            .flat_map(|y| pixels[row(y)..row(y) + usize::from(rect.width)].to_vec())
            .collect()
    }

    /// Moves the rows of a rectangle up. It is all painted, as QEMU knows nothing of moves.
    pub(crate) fn scroll(&mut self, rect: Rect, rows: u16) {
        let width = usize::from(self.size().width);
        let pixels = self.screen.pixels();
        for y in rect.y..rect.y + rect.height - rows {
            let place = |y: u16| usize::from(y) * width + usize::from(rect.x);
            pixels.copy_within(place(y + rows)..place(y + rows) + usize::from(rect.width), place(y));
        }
        self.screen.painted(rect);
    }
}
