//! Where pixels go: a view of memory that belongs to the caller.
//!
//! A pixel is `0x00RRGGBB` in the machine's own order of bytes; the uppermost byte is always zero.

use std::fmt;

use crate::error::FrameError;

/// Pixels of the caller that the decoder writes into, row by row from the top.
#[derive(Debug)]
pub struct Frame<'a> {
    pixels: &'a mut [u32],
    size: Size,
    stride: usize,
}

impl<'a> Frame<'a> {
    /// A view of `size` on memory whose rows begin `stride` pixels apart.
    ///
    /// # Errors
    /// When a row is longer than the stride, or the rows are longer than the memory.
    pub fn new(pixels: &'a mut [u32], size: Size, stride: usize) -> Result<Self, FrameError> {
        let (width, height) = (usize::from(size.width), usize::from(size.height));
        let last = height.checked_sub(1).map_or(Some(0), |rows| rows.checked_mul(stride)?.checked_add(width));
        match last {
            Some(last) if width <= stride && last <= pixels.len() => Ok(Self { pixels, size, stride }),
            _ => Err(FrameError { size, stride, pixels: pixels.len() }),
        }
    }

    /// A view without pixels: what there is before the server has said how large its desktop is.
    pub fn empty() -> Self {
        Self { pixels: &mut [], size: Size::default(), stride: 0 }
    }

    /// Its size in pixels.
    pub const fn size(&self) -> Size {
        self.size
    }

    /// Pixels of one row from `x` on. All of them must be within the frame, as everything below.
    pub(crate) fn row(&mut self, x: u16, y: u16, width: u16) -> &mut [u32] {
        let start = usize::from(y) * self.stride + usize::from(x);
        &mut self.pixels[start..start + usize::from(width)]
    }

    /// One pixel.
    pub(crate) fn at(&self, x: u16, y: u16) -> u32 {
        self.pixels[usize::from(y) * self.stride + usize::from(x)]
    }

    /// Gives all pixels of a rectangle one colour.
    pub(crate) fn fill(&mut self, rect: Rect, colour: u32) {
        for y in rect.y..rect.y + rect.height {
            self.row(rect.x, y, rect.width).fill(colour);
        }
    }

    /// Copies a rectangle of the same size that begins at another place. They may overlap.
    pub(crate) fn copy(&mut self, (from_x, from_y): (u16, u16), to: Rect) {
        let mut copy_row = |row: u16| {
            let start = |x, y| usize::from(y) * self.stride + usize::from(x);
            let from = start(from_x, from_y + row);
            self.pixels.copy_within(from..from + usize::from(to.width), start(to.x, to.y + row));
        };
        // What is moved down is copied from below, so that no row is overwritten before it is read.
        if to.y > from_y {
            (0..to.height).rev().for_each(&mut copy_row)
        } else {
            (0..to.height).for_each(&mut copy_row)
        }
    }
}

/// Width and height in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Size {
    /// Pixels in a row.
    pub width: u16,
    /// Rows.
    pub height: u16,
}

impl Size {
    /// A size.
    pub const fn new(width: u16, height: u16) -> Self {
        Self { width, height }
    }

    /// How many pixels that are.
    pub const fn pixels(self) -> u32 {
        self.width as u32 * self.height as u32
    }

    /// The rectangle that is all of it.
    pub const fn whole(self) -> Rect {
        Rect { x: 0, y: 0, width: self.width, height: self.height }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}

/// Pixels of a desktop: as many as its size says, from the one at the left and the top.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Rect {
    /// The leftmost column.
    pub x: u16,
    /// The topmost row.
    pub y: u16,
    /// Columns.
    pub width: u16,
    /// Rows.
    pub height: u16,
}

impl Rect {
    /// Its size.
    pub const fn size(self) -> Size {
        Size { width: self.width, height: self.height }
    }

    /// Whether it has no pixels.
    pub const fn is_empty(self) -> bool {
        self.width == 0 || self.height == 0
    }

    /// Whether all of it is inside a desktop of this size.
    pub const fn is_within(self, size: Size) -> bool {
        self.x as u32 + self.width as u32 <= size.width as u32
            && self.y as u32 + self.height as u32 <= size.height as u32
    }
}

impl fmt::Display for Rect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {},{}", self.size(), self.x, self.y)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_needs_memory_for_all_its_rows_but_not_for_the_rest_of_the_last_one() {
        let fits = |pixels, width, height, stride| {
            Frame::new(&mut vec![0; pixels], Size::new(width, height), stride).is_ok()
        };
        assert!(fits(13, 3, 2, 10));
        assert!(!fits(12, 3, 2, 10));
        assert!(!fits(100, 11, 2, 10));
        assert!(fits(0, 0, 0, 0) && fits(0, 0, 65_535, 0) && fits(0, 65_535, 0, 65_535));
        assert!(!fits(9, 1, 3, usize::MAX));
    }

    #[test]
    fn rectangles_that_overlap_are_copied_in_every_direction() {
        for (x, y) in [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (2, 1), (0, 2), (1, 2), (2, 2)] {
            let mut pixels: Vec<u32> = (0..36).collect();
            let before = pixels.clone();
            let mut frame = Frame::new(&mut pixels, Size::new(6, 6), 6).unwrap();
            frame.copy((1, 1), Rect { x, y, width: 4, height: 4 });
            for (row, column) in (0..4).flat_map(|row| (0..4).map(move |column| (row, column))) {
                let from = before[(row + 1) * 6 + column + 1];
                assert_eq!(pixels[(row + usize::from(y)) * 6 + column + usize::from(x)], from, "to {x},{y}");
            }
        }
    }

    #[test]
    fn a_rectangle_at_the_edge_is_within_and_one_past_it_is_not() {
        let rect = Rect { x: 65_530, y: 0, width: 5, height: 1 };
        assert!(rect.is_within(Size::new(65_535, 1)));
        assert!(!Rect { width: 6, ..rect }.is_within(Size::new(65_535, 1)));
        assert!(!Rect { x: 65_535, width: 65_535, ..rect }.is_within(Size::new(65_535, 1)));
    }
}
