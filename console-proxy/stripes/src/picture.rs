//! A desktop's pixels at one moment, tile by tile.
//!
//! Pictures share the tiles that are the same, and rows of tiles: the next one costs what has changed, a pointer for each tile of the
//! rows in which that is, and one for each row. To find what differs, no tile is looked at whose row is shared.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use crate::geometry::{Grid, Rect, Size, TILE, TILE_PIXELS};
use crate::palette::Palette;
use crate::secret::{Block, KeyMap, Secret};
use crate::tile::Tile;

/// Tiles beside each other, from the left edge to the right one.
type Row = Arc<[Arc<Tile>]>;

/// What a desktop shows at one moment.
#[derive(Debug, Clone)]
pub(crate) struct Picture {
    pub(crate) grid: Grid,
    rows: Vec<Row>,
}

impl Picture {
    /// All black, as a browser's picture is at first.
    pub(crate) fn black(size: Size, secret: &Secret) -> Self {
        let block = [0; TILE_PIXELS];
        let (grid, black) =
            (Grid::new(size), Arc::new(Tile::new(&block, secret.key(&block), &mut Palette::new())));
        let row: Row = vec![black; grid.columns].into();
        Self { grid, rows: vec![row; grid.rows] }
    }

    pub(crate) fn tile(&self, tile: usize) -> &Arc<Tile> {
        let columns = self.grid.columns;
        &self.rows[tile / columns][tile % columns]
    }

    /// Gives a tile another content.
    pub(crate) fn set(&mut self, number: usize, tile: Arc<Tile>) {
        let columns = self.grid.columns;
        Arc::make_mut(&mut self.rows[number / columns])[number % columns] = tile;
    }

    fn tiles(&self) -> impl Iterator<Item = &Arc<Tile>> {
        self.rows.iter().flat_map(|row| row.iter())
    }

    /// All tiles that differ from one another.
    pub(crate) fn distinct(&self) -> KeyMap<Arc<Tile>> {
        self.tiles().map(|tile| (tile.key, Arc::clone(tile))).collect()
    }

    /// Tiles that show something else in another picture of this size, in their order.
    pub(crate) fn differing(&self, other: &Self) -> impl Iterator<Item = usize> {
        let columns = self.grid.columns;
        let rows = self.rows.iter().zip(&other.rows).enumerate();
        let others = rows.filter(|(_, (one, other))| !Arc::ptr_eq(one, other));
        others.flat_map(move |(row, (one, other))| {
            let tiles = one.iter().zip(other.iter()).enumerate();
            tiles
                .filter(|(_, (one, other))| !is_same(one, other))
                .map(move |(column, _)| row * columns + column)
        })
    }

    /// Writes tiles into pixels of the desktop's size.
    pub(crate) fn write(&self, tiles: impl Iterator<Item = usize>, pixels: &mut [u32]) {
        let mut block = [0; TILE_PIXELS];
        for number in tiles {
            self.tile(number).read(&mut block);
            put(pixels, self.grid, number, &block);
        }
    }

    /// Bytes of memory, as if nothing was shared with another picture.
    pub(crate) fn memory(&self) -> usize {
        memory(self.tiles()) + self.rows.len() * self.row_memory()
    }

    /// Bytes of memory that another picture of this size does not share, if these tiles are all that may differ.
    pub(crate) fn not_in(&self, other: &Self, tiles: &[usize]) -> usize {
        let differ = tiles.iter().filter(|tile| !is_same(self.tile(**tile), other.tile(**tile)));
        let rows = self.rows.iter().zip(&other.rows).filter(|(one, other)| !Arc::ptr_eq(one, other)).count();
        memory(differ.map(|tile| self.tile(*tile))) + rows * self.row_memory()
    }

    fn row_memory(&self) -> usize {
        size_of::<Row>() + 16 + self.grid.columns * size_of::<Arc<Tile>>()
    }
}

fn is_same(one: &Arc<Tile>, other: &Arc<Tile>) -> bool {
    Arc::ptr_eq(one, other) || one.key == other.key
}

/// Hashes addresses, which nobody chooses.
#[derive(Default)]
struct AddressHasher(u64);

impl Hasher for AddressHasher {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_usize((*byte).into()));
    }

    fn write_usize(&mut self, number: usize) {
        self.0 = (self.0 ^ number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Bytes of memory of tiles.
fn memory<'a>(tiles: impl IntoIterator<Item = &'a Arc<Tile>>) -> usize {
    let mut seen: HashSet<usize, BuildHasherDefault<AddressHasher>> = HashSet::default();
    let own = tiles.into_iter().filter(|tile| seen.insert(Arc::as_ptr(tile).addr()));
    own.map(|tile| size_of::<Tile>() + 16 + tile.heap()).sum()
}

/// Writes a tile's pixels where they belong.
pub(crate) fn put(pixels: &mut [u32], grid: Grid, tile: usize, block: &Block) {
    let place = grid.rect(tile);
    let width = usize::from(place.width);
    for (row, from) in rows(grid, place).zip(block.chunks_exact(usize::from(TILE))) {
        pixels[row..row + width].copy_from_slice(&from[..width]);
    }
}

/// Reads a tile's pixels. Past the desktop's edges its last pixels are repeated, which costs images least.
pub(crate) fn get(pixels: &[u32], grid: Grid, tile: usize, block: &mut Block) {
    let place = grid.rect(tile);
    let width = usize::from(place.width);
    for (row, to) in rows(grid, place).zip(block.chunks_exact_mut(usize::from(TILE))) {
        let from = &pixels[row..row + width];
        to[..width].iter_mut().zip(from).for_each(|(to, from)| *to = from & 0x00ff_ffff);
        let last = to[width - 1];
        to[width..].fill(last);
    }
    let (height, width) = (usize::from(place.height), usize::from(TILE));
    for row in height..width {
        block.copy_within((height - 1) * width..height * width, row * width);
    }
}

/// Where the rows of a rectangle begin.
fn rows(grid: Grid, rect: Rect) -> impl Iterator<Item = usize> {
    let start = move |y: u16| usize::from(y) * usize::from(grid.size.width) + usize::from(rect.x);
    (rect.y..rect.y + rect.height).map(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_found_wherever_rows_are_shared_and_changes_reach_no_other_picture() {
        let secret = Secret::new([1, 2, 3, 4]);
        let black = Picture::black(Size::new(50, 40), &secret);
        let other =
            Arc::new(Tile::new(&[7; TILE_PIXELS], secret.key(&[7; TILE_PIXELS]), &mut Palette::new()));
        let mut changed = black.clone();
        [1, 6, 11].iter().for_each(|tile| changed.set(*tile, Arc::clone(&other)));
        assert_eq!(black.differing(&changed).collect::<Vec<_>>(), [1, 6, 11]);
        assert_eq!(changed.tile(6).key, other.key);
        assert!((0..12).all(|tile| black.tile(tile).key != other.key));
        let mut back = changed.clone();
        back.set(6, Arc::clone(black.tile(6)));
        assert_eq!(back.differing(&changed).collect::<Vec<_>>(), [6]);
        assert_eq!(back.differing(&black).collect::<Vec<_>>(), [1, 11]);
        assert!(black.not_in(&changed, &[1, 6, 11]) > black.not_in(&black, &[]));
    }

    #[test]
    fn a_tile_at_the_edge_is_padded_by_its_last_pixels() {
        let grid = Grid::new(Size::new(17, 2));
        let pixels: Vec<u32> = (0..34).collect();
        let mut block = [99; TILE_PIXELS];
        get(&pixels, grid, 1, &mut block);
        assert!(block[..16] == [16; 16] && block[16..].iter().all(|pixel| *pixel == 33));
        let mut again = pixels.clone();
        again[16] = 0;
        again[33] = 0;
        put(&mut again, grid, 1, &block);
        assert_eq!(again, pixels);
    }
}
