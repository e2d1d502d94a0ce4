//! Images of up to 16 colours, packed by leaving out rows.

use super::sheet::Indexed;
use crate::geometry::{TILE, TILE_PIXELS};
use crate::tile;

/// Most colours.
pub(crate) const MAX_BITS_COLOURS: usize = 16;

const SIDE: usize = TILE as usize;

/// Encodes tiles as `FORMAT.md` says.
pub(crate) fn encode(indexed: &Indexed) -> Vec<u8> {
    let mut bytes = vec![indexed.colours.len() as u8];
    bytes.extend(indexed.colours.iter().copied().flat_map(tile::bytes_of));
    let bits = tile::bits(indexed.colours.len());
    indexed.tiles.iter().for_each(|numbers| encode_tile(numbers, bits, &mut bytes));
    bytes
}

/// A bit for each row that is not like the one above, and those rows. Above the first one all is of the first colour.
fn encode_tile(numbers: &[u8; TILE_PIXELS], bits: usize, bytes: &mut Vec<u8>) {
    let start = bytes.len();
    bytes.extend([0; SIDE / 8]);
    let mut above: &[u8] = &[0; SIDE];
    for (row, numbers) in numbers.chunks_exact(SIDE).enumerate() {
        if numbers != above {
            bytes[start + row / 8] |= 0x80 >> (row % 8);
            bytes.extend(tile::pack(numbers, bits));
        }
        above = numbers;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_like_the_one_above_are_left_out() {
        let mut numbers = [0; TILE_PIXELS];
        numbers[2 * SIDE..10 * SIDE].fill(1);
        let indexed = Indexed { colours: vec![0x01_0203, 0xff_0000], tiles: vec![numbers], columns: 1 };
        assert_eq!(encode(&indexed), [2, 1, 2, 3, 255, 0, 0, 0b0010_0000, 0b0010_0000, 0xff, 0xff, 0, 0]);
    }
}
