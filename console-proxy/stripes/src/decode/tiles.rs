//! Lists of tiles.

use super::{Error, Reader};
use crate::geometry::Grid;
use crate::marks::Marks;

/// The tiles that a body has painted, each of which it may paint once.
pub(super) struct Painted {
    marks: Marks,
    tiles: usize,
}

impl Painted {
    pub(super) fn new(grid: Grid) -> Self {
        Self { marks: Marks::new(grid.tiles()), tiles: grid.tiles() }
    }

    /// Reads a list of tiles in their order, which are painted now.
    pub(super) fn list(&mut self, reader: &mut Reader<'_>) -> Result<Vec<usize>, Error> {
        let mut tiles = vec![];
        let mut after = 0_u64;
        for _ in 0..reader.count(self.tiles)? {
            let gap = reader.number()?;
            let start = after + u64::from(gap >> 1);
            let length = if gap & 1 == 1 { u64::from(reader.number()?) + 2 } else { 1 };
            after = start + length;
            if after > self.tiles as u64 {
                return Err(Error::Tile { tile: after - 1 });
            }
            for tile in start as usize..after as usize {
                if self.marks.has(tile) {
                    return Err(Error::Tile { tile: tile as u64 });
                }
                self.marks.set(tile);
                tiles.push(tile);
            }
        }
        Ok(tiles)
    }
}
