//! Tiles laid out in two dimensions.
//!
//! A sheet is as wide as the longest run of tiles that lie side by side, so that an area of the desktop is an area of the
//! image and rows of text go on; but nearly square at least, as images have limits and the last row is not full. A few
//! tiles are one row.

use crate::geometry::{TILE, TILE_PIXELS};
use crate::palette::Palette;
use crate::picture::Picture;
use crate::secret::Block;

const SIDE: usize = TILE as usize;

/// So many tiles are one row: as many as a desktop of 1024 pixels is wide.
const ONE_ROW: usize = 1024 / SIDE;

/// Most tiles of a row: browsers take images up to 32767 pixels wide.
const MAX_COLUMNS: usize = 16_384 / SIDE;

/// Tiles of a picture on a sheet, row by row. Places without a tile, in the last row, are black.
pub(crate) struct Sheet<'a> {
    picture: &'a Picture,
    tiles: &'a [usize],
    columns: usize,
}

/// A sheet of few colours.
pub(crate) struct Indexed {
    pub(crate) colours: Vec<u32>,
    /// The pixels of each tile, row by row.
    pub(crate) tiles: Vec<[u8; TILE_PIXELS]>,
    pub(crate) columns: usize,
}

impl<'a> Sheet<'a> {
    pub(crate) fn new(picture: &'a Picture, tiles: &'a [usize]) -> Self {
        let columns = columns(tiles, picture.grid.columns);
        Self { picture, tiles, columns }
    }

    pub(crate) const fn columns(&self) -> usize {
        self.columns
    }

    pub(crate) const fn tiles(&self) -> usize {
        self.tiles.len()
    }

    pub(crate) fn width(&self) -> usize {
        self.columns * SIDE
    }

    pub(crate) fn height(&self) -> usize {
        self.tiles.len().div_ceil(self.columns) * SIDE
    }

    /// Its pixels, three bytes each.
    pub(crate) fn samples(&self) -> Vec<u8> {
        let mut samples = vec![0; self.width() * self.height() * 3];
        for (number, block) in self.blocks().enumerate() {
            let start = place(number, self.columns);
            for (row, pixels) in block.chunks_exact(SIDE).enumerate() {
                let start = (start + row * self.width()) * 3;
                let to = samples[start..start + SIDE * 3].chunks_exact_mut(3);
                to.zip(pixels).for_each(|(to, pixel)| to.copy_from_slice(&crate::tile::bytes_of(*pixel)));
            }
        }
        samples
    }

    /// Its pixels as numbers of colours, if there are not too many.
    pub(crate) fn indexed(&self) -> Option<Indexed> {
        let mut palette = Palette::new();
        let mut tiles = Vec::with_capacity(self.tiles.len());
        for block in self.blocks() {
            let mut numbers = [0; TILE_PIXELS];
            for (number, pixel) in numbers.iter_mut().zip(block) {
                *number = palette.number(pixel)?;
            }
            tiles.push(numbers);
        }
        Some(Indexed { colours: palette.colours().to_vec(), tiles, columns: self.columns })
    }

    /// The pixels of each tile.
    pub(crate) fn blocks(&self) -> impl Iterator<Item = Block> {
        self.tiles.iter().map(|tile| {
            let mut block = [0; TILE_PIXELS];
            self.picture.tile(*tile).read(&mut block);
            block
        })
    }
}

/// The pixel of a sheet where a tile begins.
pub(crate) const fn place(number: usize, columns: usize) -> usize {
    (number / columns * columns * SIDE + number % columns) * SIDE
}

/// How many tiles a row has.
fn columns(tiles: &[usize], of_desktop: usize) -> usize {
    if tiles.len() <= ONE_ROW {
        return tiles.len().max(1);
    }
    let (mut longest, mut run) = (1, 1);
    for pair in tiles.windows(2) {
        let beside = pair[1] == pair[0] + 1 && pair[1] % of_desktop != 0;
        run = if beside { run + 1 } else { 1 };
        longest = longest.max(run);
    }
    longest.max(tiles.len().isqrt()).min(MAX_COLUMNS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_area_keeps_its_width_and_a_long_column_is_folded() {
        let area: Vec<_> = (10..30).flat_map(|row| (5..25).map(move |column| row * 64 + column)).collect();
        assert_eq!(columns(&area, 64), 20);
        let column: Vec<_> = (0..100).map(|row| row * 64).collect();
        assert_eq!(columns(&column, 64), 10);
        assert_eq!(columns(&column[..64], 64), 64);
        assert_eq!(columns(&(0..3072).collect::<Vec<_>>(), 64), 64);
        assert_eq!(columns(&(0..4_000_000).collect::<Vec<_>>(), 4096), MAX_COLUMNS);
    }

    #[test]
    fn tiles_begin_side_by_side_and_then_below() {
        assert_eq!([0, 1, 2, 3, 5].map(|number| place(number, 3)), [0, 16, 32, 768, 800]);
    }
}
