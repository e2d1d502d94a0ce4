//! Sizes, rectangles, and the grid of tiles that lies on a desktop.

use std::fmt;

/// Width and height of a tile in pixels. See the crate's design notes for how it was chosen.
pub const TILE: u16 = 16;

/// Pixels of a tile.
pub(crate) const TILE_PIXELS: usize = TILE as usize * TILE as usize;

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
    pub const fn pixels(self) -> usize {
        self.width as usize * self.height as usize
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
    /// A rectangle.
    pub const fn new(x: u16, y: u16, width: u16, height: u16) -> Self {
        Self { x, y, width, height }
    }

    /// Whether all of it is inside a desktop of this size.
    pub const fn is_within(self, size: Size) -> bool {
        self.x as u32 + self.width as u32 <= size.width as u32
            && self.y as u32 + self.height as u32 <= size.height as u32
    }

    /// How many pixels it has.
    pub const fn area(self) -> usize {
        self.width as usize * self.height as usize
    }

    /// Whether all of another one is inside of it.
    pub(crate) fn holds(self, other: Self) -> bool {
        let end = |start: u16, length: u16| u32::from(start) + u32::from(length);
        self.x <= other.x
            && self.y <= other.y
            && end(other.x, other.width) <= end(self.x, self.width)
            && end(other.y, other.height) <= end(self.y, self.height)
    }

    /// What of it is inside a desktop of this size.
    pub(crate) fn clipped(self, size: Size) -> Self {
        let (x, y) = (self.x.min(size.width), self.y.min(size.height));
        Self { x, y, width: self.width.min(size.width - x), height: self.height.min(size.height - y) }
    }
}

impl fmt::Display for Rect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{} at {},{}", self.width, self.height, self.x, self.y)
    }
}

/// The tiles of a desktop, numbered row by row from the one at the left and the top. Those of the last column and row may
/// reach past the desktop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Grid {
    pub(crate) size: Size,
    pub(crate) columns: usize,
    pub(crate) rows: usize,
}

impl Grid {
    pub(crate) fn new(size: Size) -> Self {
        let tiles = |pixels: u16| usize::from(pixels.div_ceil(TILE));
        // A desktop without rows has no columns either.
        if size.pixels() == 0 {
            return Self { size, columns: 0, rows: 0 };
        }
        Self { size, columns: tiles(size.width), rows: tiles(size.height) }
    }

    pub(crate) const fn tiles(self) -> usize {
        self.columns * self.rows
    }

    /// The pixels of a tile, without its padding.
    pub(crate) fn rect(self, tile: usize) -> Rect {
        let place = |number: usize| number as u16 * TILE;
        let (x, y) = (place(tile % self.columns), place(tile / self.columns));
        Rect::new(x, y, TILE.min(self.size.width - x), TILE.min(self.size.height - y))
    }

    /// The tiles that a rectangle touches, as far as it is within the desktop.
    pub(crate) fn touched(self, rect: Rect) -> impl Iterator<Item = usize> {
        let rect = rect.clipped(self.size);
        let empty = rect.area() == 0;
        let span = |from: u16, length: u16| {
            let first = usize::from(from / TILE);
            if empty { first..first } else { first..usize::from((from + length - 1) / TILE) + 1 }
        };
        let columns = span(rect.x, rect.width);
        span(rect.y, rect.height)
            .flat_map(move |row| columns.clone().map(move |column| row * self.columns + column))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rectangle_touches_the_tiles_that_it_has_pixels_in() {
        let grid = Grid::new(Size::new(40, 33));
        let touched = |x, y, width, height| grid.touched(Rect::new(x, y, width, height)).collect::<Vec<_>>();
        assert_eq!((grid.columns, grid.rows), (3, 3));
        assert_eq!(touched(0, 0, 16, 16), [0]);
        assert_eq!(touched(15, 15, 2, 2), [0, 1, 3, 4]);
        assert_eq!(touched(39, 32, 1000, 65_535), [8]);
        assert!(touched(40, 0, 5, 5).is_empty() && touched(3, 3, 0, 9).is_empty());
        assert!(Grid::new(Size::new(0, 9)).touched(Rect::new(0, 0, 9, 9)).next().is_none());
    }

    #[test]
    fn tiles_at_the_edges_are_smaller() {
        let grid = Grid::new(Size::new(40, 33));
        assert_eq!(grid.rect(8), Rect::new(32, 32, 8, 1));
        assert_eq!(grid.rect(0), Rect::new(0, 0, 16, 16));
    }
}
