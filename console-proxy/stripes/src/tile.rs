//! A tile's pixels in little memory.
//!
//! Pictures keep all tiles of a desktop. One of text has few colours, so that its 1024 bytes become 32 and the colours;
//! nothing is packed by time-consuming means, as each changed tile goes through here.

use crate::geometry::{TILE, TILE_PIXELS};
use crate::palette::Palette;
use crate::secret::{Block, TileKey};

/// More colours than this are kept as they are.
const MAX_INDEXED: usize = 64;

/// Tiles with fewer colours are drawn, not photographed: so has text that is smoothed on a plain ground in few shades.
const PHOTO_COLOURS: usize = 32;

/// More pairs of equal neighbours than this share of all (in 1/16) are from drawings or text: grounds are plain. Photographs
/// have few, and so have their flat parts, if there is the least noise of a camera.
const PHOTO_EQUALS: u32 = 4;

/// More pairs of neighbours with a sharp edge between them than this share of all (in 1/64) are from text, which may be on a
/// photograph. A photograph's edges are softer than a letter's.
const PHOTO_EDGES: u32 = 2;

/// The least difference in green, which is most of light, that is a sharp edge.
const EDGE: u32 = 72;

/// What a tile shows, by which its encoding is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    /// One colour.
    Solid(u32),
    /// Text and drawings, which are never sent with loss.
    Drawn,
    /// Something soft beside something plain, as the edges of a video are: sent with loss as long as it changes often.
    Mixed,
    /// A photograph or video.
    Photo,
}

/// A tile's content. It never changes.
#[derive(Debug)]
pub(crate) struct Tile {
    pub(crate) key: TileKey,
    pub(crate) content: Content,
    pixels: Pixels,
}

#[derive(Debug)]
enum Pixels {
    Solid,
    /// The colours, three bytes each; then numbers of them, of as many bits as it takes (1, 2, 4 or 8), the first in the
    /// highest bits.
    Indexed {
        colours: u8,
        bytes: Box<[u8]>,
    },
    /// Three bytes each.
    Plain(Box<[u8]>),
}

impl Tile {
    /// A tile of these pixels, whose key has been made. What the palette has is forgotten; a new one for each tile would take as long
    /// as all else.
    pub(crate) fn new(block: &Block, key: TileKey, palette: &mut Palette) -> Self {
        if block.iter().all(|pixel| *pixel == block[0]) {
            return Self { key, content: Content::Solid(block[0]), pixels: Pixels::Solid };
        }
        let pairs = Pairs::of(block);
        // Most tiles of photographs need no palette to be told from others, which takes longer than all else.
        if !pairs.are_plain() && surely_many(block) {
            return Self { key, content: pairs.content(), pixels: Pixels::Plain(three_bytes(block).into()) };
        }
        palette.clear();
        let mut numbers = [0; TILE_PIXELS];
        let (mut last, mut its_number) = (!block[0], 0);
        for (number, pixel) in numbers.iter_mut().zip(block) {
            if *pixel == last {
                *number = its_number;
                continue;
            }
            (last, its_number) = (*pixel, palette.number(*pixel).unwrap_or_default());
            *number = its_number;
            // How many more there are makes no difference.
            if palette.colours().len() > MAX_INDEXED {
                break;
            }
        }
        let colours = palette.colours();
        let content = if colours.len() < PHOTO_COLOURS { Content::Drawn } else { pairs.content() };
        Self { key, content, pixels: packed(block, &numbers, colours) }
    }

    /// All pixels.
    pub(crate) fn read(&self, block: &mut Block) {
        match &self.pixels {
            Pixels::Solid => block.fill(self.solid().unwrap_or_default()),
            Pixels::Plain(bytes) => block
                .iter_mut()
                .zip(bytes.as_chunks::<3>().0)
                .for_each(|(pixel, bytes)| *pixel = colour(bytes)),
            Pixels::Indexed { colours, bytes } => {
                let colours = usize::from(*colours);
                let (palette, numbers) = bytes.split_at(colours * 3);
                match bits(colours) {
                    1 => unpack::<1, 2>(palette, numbers, block),
                    2 => unpack::<2, 4>(palette, numbers, block),
                    4 => unpack::<4, 16>(palette, numbers, block),
                    _ => unpack::<8, 256>(palette, numbers, block),
                }
            }
        }
    }

    pub(crate) fn solid(&self) -> Option<u32> {
        match self.content {
            Content::Solid(colour) => Some(colour),
            Content::Drawn | Content::Mixed | Content::Photo => None,
        }
    }

    /// Its colours; none if they are many.
    pub(crate) fn colours(&self) -> Option<Vec<u32>> {
        match &self.pixels {
            Pixels::Solid => self.solid().map(|colour| vec![colour]),
            Pixels::Indexed { colours, bytes } => {
                Some(bytes.chunks_exact(3).take(usize::from(*colours)).map(colour).collect())
            }
            Pixels::Plain(_) => None,
        }
    }

    /// Bytes of memory beside the tile itself.
    pub(crate) fn heap(&self) -> usize {
        match &self.pixels {
            Pixels::Solid => 0,
            Pixels::Indexed { bytes, .. } | Pixels::Plain(bytes) => bytes.len(),
        }
    }
}

/// Bits of a number of one of so many colours, as PNG has them.
pub(crate) fn bits(colours: usize) -> usize {
    match colours {
        0..=2 => 1,
        3..=4 => 2,
        5..=16 => 4,
        _ => 8,
    }
}

/// Puts numbers of so many bits together, the first in the highest bits.
pub(crate) fn pack(numbers: &[u8], bits: usize) -> impl Iterator<Item = u8> {
    numbers.chunks(8 / bits).map(move |numbers| {
        numbers.iter().enumerate().fold(0, |byte, (place, number)| byte | number << (8 - bits * (place + 1)))
    })
}

/// Takes numbers of so many bits apart again, each the place of a colour in a table of so many. A function for each number of bits,
/// as all tiles of a desktop go through here for each update that is large.
fn unpack<const BITS: usize, const COLOURS: usize>(palette: &[u8], numbers: &[u8], block: &mut Block) {
    let mut table = [0; COLOURS];
    table.iter_mut().zip(palette.chunks_exact(3)).for_each(|(entry, bytes)| *entry = colour(bytes));
    for (pixels, byte) in block.chunks_exact_mut(8 / BITS).zip(numbers) {
        for (place, pixel) in pixels.iter_mut().enumerate() {
            *pixel = table[usize::from(*byte) >> (8 - BITS * (place + 1)) & (COLOURS - 1)];
        }
    }
}

pub(crate) fn bytes_of(colour: u32) -> [u8; 3] {
    let [_, red, green, blue] = colour.to_be_bytes();
    [red, green, blue]
}

fn colour(bytes: &[u8]) -> u32 {
    u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]])
}

fn packed(block: &Block, numbers: &[u8; TILE_PIXELS], colours: &[u32]) -> Pixels {
    if colours.len() > MAX_INDEXED {
        return Pixels::Plain(three_bytes(block).into());
    }
    let mut bytes = three_bytes(colours);
    bytes.extend(pack(numbers, bits(colours.len())));
    Pixels::Indexed { colours: colours.len() as u8, bytes: bytes.into() }
}

fn three_bytes(colours: &[u32]) -> Vec<u8> {
    let mut bytes = vec![0; colours.len() * 3];
    let places = bytes.as_chunks_mut::<3>().0;
    places.iter_mut().zip(colours).for_each(|(place, colour)| *place = bytes_of(*colour));
    bytes
}

/// Whether there are more colours than an index may have. It may be so without this being true, as two colours may be taken for one.
fn surely_many(block: &Block) -> bool {
    const WORDS: usize = 64;
    let mut seen = [0_u64; WORDS];
    for pixel in block {
        let hash = pixel.wrapping_mul(0x9e37_79b1) >> 20;
        seen[hash as usize / 64] |= 1 << (hash % 64);
    }
    seen.iter().map(|word| word.count_ones()).sum::<u32>() as usize > MAX_INDEXED
}

/// Pairs of neighbours, beside and below one another.
#[derive(Clone, Copy, Default)]
struct Pairs {
    /// Those of one colour.
    equal: u32,
    /// Those with a sharp edge between them.
    edges: u32,
}

impl Pairs {
    const ALL: u32 = 2 * TILE as u32 * (TILE as u32 - 1);

    fn of(block: &Block) -> Self {
        let mut pairs = Self::default();
        pairs.count(block, &block[usize::from(TILE)..]);
        let rows = block.as_chunks::<{ TILE as usize }>().0;
        rows.iter().for_each(|row| pairs.count(row, &row[1..]));
        pairs
    }

    fn count(&mut self, ones: &[u32], others: &[u32]) {
        for (one, other) in ones.iter().zip(others) {
            let [one_green, other_green] = [one, other].map(|pixel| pixel >> 8 & 0xff);
            self.equal += u32::from(one == other);
            // Less than the edge, either way.
            let is_soft = one_green.wrapping_sub(other_green).wrapping_add(EDGE - 1) <= 2 * (EDGE - 1);
            self.edges += u32::from(!is_soft);
        }
    }

    const fn are_plain(self) -> bool {
        self.equal * 16 > PHOTO_EQUALS * Self::ALL
    }

    /// What has them, if it has many colours.
    fn content(self) -> Content {
        // What is mixed may have one straight edge from side to side.
        let most = if self.are_plain() { PHOTO_EDGES * 2 } else { PHOTO_EDGES };
        match (self.edges * 64 > most * Self::ALL, self.are_plain()) {
            (true, _) => Content::Drawn,
            (false, true) => Content::Mixed,
            (false, false) => Content::Photo,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    #[test]
    fn pixels_come_back_whatever_the_number_of_colours() {
        let secret = Secret::new([1, 2, 3, 4]);
        for colours in [1, 2, 3, 4, 5, 16, 17, 64, 65, 256] {
            let block = std::array::from_fn(|index| (index as u32 % colours) * 0x00_fedc);
            let (tile, mut read) =
                (Tile::new(&block, secret.key(&block), &mut Palette::new()), [1; TILE_PIXELS]);
            tile.read(&mut read);
            assert!(read == block, "{colours} colours");
        }
    }

    #[test]
    fn pairs_are_counted_to_either_side_and_never_from_one_row_to_the_next() {
        let pairs = |colour: &dyn Fn(u32) -> u32| {
            let Pairs { equal, edges } = Pairs::of(&std::array::from_fn(|index| colour(index as u32)));
            (equal, edges)
        };
        assert_eq!(pairs(&|_| 5), (480, 0));
        assert_eq!(pairs(&|index| index % 16), (240, 0), "columns");
        let rows = |index: u32, green: u32| (index / 16 % 2 * green) << 8;
        assert_eq!(pairs(&|index| rows(index, EDGE)), (240, 240), "rows");
        assert_eq!(pairs(&|index| rows(index, EDGE - 1)), (240, 0));
        assert_eq!(pairs(&|index| 0xffff - rows(index, EDGE)), (240, 240), "the other way");
    }

    #[test]
    fn many_colours_are_many_with_and_without_a_palette() {
        let of = |colours: u32| std::array::from_fn(|index| index as u32 % colours * 0x01_0305);
        assert!(surely_many(&of(256)) && surely_many(&of(100)));
        assert!(!surely_many(&of(64)) && !surely_many(&of(1)));
    }

    #[test]
    fn grain_is_a_photo_but_text_is_drawn_even_on_one() {
        let secret = Secret::new([1, 2, 3, 4]);
        let content = |colour: &dyn Fn(u32) -> u32| {
            let block = std::array::from_fn(|index| colour(index as u32));
            Tile::new(&block, secret.key(&block), &mut Palette::new()).content
        };
        let grain = |index: u32| 0x40_5060 + (index.wrapping_mul(0x9e37_79b1) >> 26) * 0x01_0101;
        let text = |index: u32| index % 16 < 9 && (index / 16).is_multiple_of(3);
        assert_eq!(content(&grain), Content::Photo);
        assert_eq!(content(&|index| if text(index) { 0xff_ffff } else { grain(index) }), Content::Drawn);
        assert_eq!(content(&|index| if index % 5 < 3 { 0 } else { index * 0x01_0101 }), Content::Drawn);
        assert_eq!(content(&|index| if index % 16 < 8 { 0 } else { grain(index) }), Content::Mixed);
        assert_eq!(content(&|index| index / 8 % 16 * 0x01_0101), Content::Drawn, "a gradient");
    }
}
