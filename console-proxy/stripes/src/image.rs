//! Images of tiles: which tile goes into which, and what was made lately.
//!
//! - **Bits** for at most 16 colours, as text has: rows of a tile that are like the one above cost nothing. A viewer needs no
//!   decoder of images for it, so a typed character is on its screen at once.
//! - **PNG** with a palette if that is smaller or there are more colours, up to 256; else with three bytes a pixel.
//! - **JPEG** for photographic tiles alone. How good it is is measured, not assumed: see [`jpeg`].

mod bits;
mod jpeg;
mod png;
mod sheet;

use std::collections::VecDeque;
use std::sync::Arc;

pub(crate) use self::bits::MAX_BITS_COLOURS;
use self::sheet::Sheet;
pub(crate) use self::sheet::place;
use crate::palette::Palette;
use crate::picture::Picture;
use crate::secret::{Secret, TileKey};

/// Most bytes of images that a screen keeps for other viewers at the same version: a screenful of text has a tenth, video of
/// 640x480 a quarter.
pub const MAX_IMAGES: usize = 256 << 10;

/// Most bytes of larger images, which are kept only until the picture is another: the first one of each viewer that comes meanwhile.
/// A photograph of 1920x1080 without loss has this. Larger ones are made again for each viewer.
pub const MAX_LARGE_IMAGES: usize = 4 << 20;

/// Bits are not compared with PNG below this size: PNG has 70 bytes beside its pixels and colours.
const SURELY_BITS: usize = 160;

/// How an image is encoded, as a body says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Bits = 1,
    Png = 2,
    Jpeg = 3,
}

/// Tiles of a picture and their image.
#[derive(Debug, Clone)]
pub(crate) struct Stripe {
    pub(crate) tiles: Vec<usize>,
    pub(crate) columns: usize,
    pub(crate) image: Image,
}

/// An encoded image.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    pub(crate) kind: Kind,
    pub(crate) bytes: Arc<[u8]>,
}

/// Whether anything may be lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loss {
    /// Nothing.
    None,
    /// Of photographs that stay for a while.
    Still,
    /// Of those that change often.
    Moving,
}

/// Makes images, and keeps those made lately, by the keys of their tiles.
#[derive(Debug)]
pub(crate) struct Images {
    recent: VecDeque<(TileKey, Image)>,
    bytes: usize,
    /// Those of the newest picture that are too large to be among them.
    large: Vec<(TileKey, Image)>,
    /// For what stays and for what moves.
    qualities: [jpeg::Quality; 2],
}

impl Images {
    pub(crate) const fn new() -> Self {
        Self { recent: VecDeque::new(), bytes: 0, large: Vec::new(), qualities: [jpeg::Quality::new(); 2] }
    }

    /// The stripes of some tiles, which are in their order.
    pub(crate) fn stripes(
        &mut self,
        picture: &Picture,
        tiles: Vec<usize>,
        loss: Loss,
        secret: &Secret,
    ) -> Vec<Stripe> {
        let parts = match loss {
            Loss::Still | Loss::Moving => vec![tiles],
            Loss::None => by_colours(picture, &tiles).into(),
        };
        let filled = parts.into_iter().filter(|tiles| !tiles.is_empty());
        filled.map(|tiles| self.stripe(picture, tiles, loss, secret)).collect()
    }

    pub(crate) fn clear(&mut self) {
        self.recent = VecDeque::new();
        self.bytes = 0;
        self.forget_large();
    }

    /// The picture is another.
    pub(crate) fn forget_large(&mut self) {
        self.large = Vec::new();
    }

    fn large_bytes(&self) -> usize {
        self.large.iter().map(|(_, image)| image.bytes.len()).sum()
    }

    pub(crate) fn memory(&self) -> usize {
        let places = self.recent.capacity() + self.large.capacity();
        self.bytes + self.large_bytes() + places * size_of::<(TileKey, Image)>()
    }

    fn stripe(&mut self, picture: &Picture, tiles: Vec<usize>, loss: Loss, secret: &Secret) -> Stripe {
        let sheet = Sheet::new(picture, &tiles);
        let columns = sheet.columns();
        let head = TileKey([columns as u64, loss as u64]);
        let keys = tiles.iter().map(|tile| picture.tile(*tile).key);
        let key = secret.key_of_keys(std::iter::once(head).chain(keys));
        if let Some((_, image)) = self.recent.iter().chain(&self.large).find(|(made, _)| *made == key) {
            return Stripe { image: image.clone(), columns, tiles };
        }
        let (kind, bytes) = match loss {
            Loss::None => lossless(&sheet),
            Loss::Still | Loss::Moving => {
                let jpeg = self.qualities[usize::from(loss == Loss::Moving)].encode(&sheet, loss);
                jpeg.map_or_else(|| lossless(&sheet), |bytes| (Kind::Jpeg, bytes))
            }
        };
        let image = Image { kind, bytes: bytes.into() };
        self.keep(key, image.clone());
        Stripe { image, columns, tiles }
    }

    fn keep(&mut self, key: TileKey, image: Image) {
        if image.bytes.len() > MAX_IMAGES {
            if self.large_bytes() + image.bytes.len() <= MAX_LARGE_IMAGES {
                self.large.push((key, image));
            }
            return;
        }
        self.bytes += image.bytes.len();
        self.recent.push_back((key, image));
        while self.bytes > MAX_IMAGES || self.recent.len() > 8 {
            let Some((_, image)) = self.recent.pop_front() else { break };
            self.bytes -= image.bytes.len();
        }
    }
}

/// After so many tiles one after the other that do not fit into a palette, no other one is tried: those of a photograph are many, and
/// none of them fits.
const MANY_IN_VAIN: usize = 16;

/// Those that fit into one palette, and the others. Tiles with few colours come first: a gradient shall not drive text out.
fn by_colours(picture: &Picture, tiles: &[usize]) -> [Vec<usize>; 2] {
    let (mut palette, mut in_vain) = (Palette::new(), 0);
    let colours = |tile: &usize| picture.tile(*tile).colours();
    let mut sorted: Vec<_> = tiles.iter().map(|tile| (colours(tile), *tile)).collect();
    sorted.sort_by_key(|(colours, _)| colours.as_ref().map_or(usize::MAX, Vec::len));
    let mut parts = [vec![], vec![]];
    for (colours, tile) in sorted {
        let fits = in_vain < MANY_IN_VAIN && colours.is_some_and(|colours| palette.take(&colours).is_some());
        in_vain = if fits { 0 } else { in_vain + 1 };
        parts[usize::from(!fits)].push(tile);
    }
    parts.iter_mut().for_each(|part| part.sort_unstable());
    parts
}

/// The smaller one of the encodings that these colours allow.
fn lossless(sheet: &Sheet<'_>) -> (Kind, Vec<u8>) {
    let Some(indexed) = sheet.indexed() else {
        return (Kind::Png, png::plain(sheet));
    };
    let bits = (indexed.colours.len() <= MAX_BITS_COLOURS).then(|| bits::encode(&indexed));
    match bits {
        Some(bits) if bits.len() <= SURELY_BITS => (Kind::Bits, bits),
        bits => {
            let png = png::indexed(&indexed);
            let smaller = bits.filter(|bits| bits.len() <= png.len());
            smaller.map_or((Kind::Png, png), |bits| (Kind::Bits, bits))
        }
    }
}
