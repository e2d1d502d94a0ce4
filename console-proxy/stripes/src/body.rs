//! The bytes of an update, as `FORMAT.md` describes them.

use std::sync::Arc;

use crate::cursor::Image as CursorImage;
use crate::geometry::{Rect, Size};
use crate::image::Stripe;
use crate::motion::Copy;

/// The version of the format, the first byte of each body.
pub const FORMAT_VERSION: u8 = 1;

/// What there is in a body: bits of its second byte.
pub(crate) mod part {
    pub(crate) const FRESH: u8 = 0x01;
    pub(crate) const DESKTOP: u8 = 0x02;
    pub(crate) const COPIES: u8 = 0x04;
    pub(crate) const FILLS: u8 = 0x08;
    pub(crate) const HITS: u8 = 0x10;
    pub(crate) const STRIPES: u8 = 0x20;
    pub(crate) const CURSOR: u8 = 0x40;
    pub(crate) const REPEATS: u8 = 0x80;
}

/// An update before it is bytes.
#[derive(Debug, Default)]
pub(crate) struct Body {
    pub(crate) number: u32,
    pub(crate) start: Start,
    /// The desktop's size, if the viewer's picture becomes black and of that size.
    pub(crate) desktop: Option<Size>,
    pub(crate) copies: Vec<Copy>,
    /// Tiles of one colour, for each colour.
    pub(crate) fills: Vec<(u32, Vec<usize>)>,
    /// Tiles in their order, and the slots where their pixels are.
    pub(crate) hits: Vec<(usize, u16)>,
    pub(crate) stripes: Vec<Stripe>,
    /// As hits, but of what was in the stripes.
    pub(crate) repeats: Vec<(usize, u16)>,
    pub(crate) cursor: Option<Option<Arc<CursorImage>>>,
}

/// What a viewer must have for an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Start {
    /// Nothing: its cache is emptied.
    #[default]
    Fresh,
    /// The update with this number.
    After(u32),
}

impl Body {
    /// Whether there is nothing to tell.
    pub(crate) fn is_empty(&self) -> bool {
        self.parts() == 0
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![FORMAT_VERSION, self.parts()];
        number(&mut bytes, self.number);
        if let Start::After(base) = self.start {
            number(&mut bytes, self.number - base);
        }
        if let Some(size) = self.desktop {
            number(&mut bytes, size.width.into());
            number(&mut bytes, size.height.into());
        }
        list(&mut bytes, &self.copies, copy);
        list(&mut bytes, &self.fills, |bytes, (colour, tiles)| {
            bytes.extend(crate::tile::bytes_of(*colour));
            tile_list(bytes, tiles);
        });
        hits(&mut bytes, &self.hits);
        list(&mut bytes, &self.stripes, stripe);
        hits(&mut bytes, &self.repeats);
        if let Some(image) = &self.cursor {
            cursor(&mut bytes, image.as_deref());
        }
        bytes
    }

    fn parts(&self) -> u8 {
        let parts = [
            (part::FRESH, self.start == Start::Fresh),
            (part::DESKTOP, self.desktop.is_some()),
            (part::COPIES, !self.copies.is_empty()),
            (part::FILLS, !self.fills.is_empty()),
            (part::HITS, !self.hits.is_empty()),
            (part::STRIPES, !self.stripes.is_empty()),
            (part::CURSOR, self.cursor.is_some()),
            (part::REPEATS, !self.repeats.is_empty()),
        ];
        parts.into_iter().filter(|(_, there)| *there).map(|(part, _)| part).sum()
    }
}

/// Seven bits a byte, the lowest first; all but the last byte have the eighth bit.
fn number(bytes: &mut Vec<u8>, mut number: u32) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// Small numbers of either sign: 0, -1, 1, -2, ...
fn signed(bytes: &mut Vec<u8>, signed: i32) {
    number(bytes, (signed << 1 ^ signed >> 31) as u32);
}

/// A list that is not there if it is empty.
fn list<T>(bytes: &mut Vec<u8>, items: &[T], mut item: impl FnMut(&mut Vec<u8>, &T)) {
    if !items.is_empty() {
        number(bytes, items.len() as u32);
        items.iter().for_each(|one| item(bytes, one));
    }
}

fn copy(bytes: &mut Vec<u8>, copy: &Copy) {
    let Rect { x, y, width, height } = copy.to;
    [x, y, width, height].into_iter().for_each(|side| number(bytes, side.into()));
    signed(bytes, copy.shift.x);
    signed(bytes, copy.shift.y);
}

/// Tiles in their order, as runs: the gap before it, doubled, and one if it has more than one tile, of which then all but two
/// are counted.
fn tile_list(bytes: &mut Vec<u8>, tiles: &[usize]) {
    let runs: Vec<&[usize]> = tiles.chunk_by(|one, next| one + 1 == *next).collect();
    number(bytes, runs.len() as u32);
    let mut after = 0;
    for run in runs {
        let long = run.len() > 1;
        number(bytes, ((run[0] - after) as u32) << 1 | u32::from(long));
        if long {
            number(bytes, run.len() as u32 - 2);
        }
        after = run[0] + run.len();
    }
}

/// Each slot as its distance from the one that comes after the last one.
fn hits(bytes: &mut Vec<u8>, hits: &[(usize, u16)]) {
    if hits.is_empty() {
        return;
    }
    tile_list(bytes, &hits.iter().map(|(tile, _)| *tile).collect::<Vec<_>>());
    let mut next = 0;
    for (_, slot) in hits {
        signed(bytes, i32::from(*slot) - next);
        next = i32::from(*slot) + 1;
    }
}

fn stripe(bytes: &mut Vec<u8>, stripe: &Stripe) {
    bytes.push(stripe.image.kind as u8);
    tile_list(bytes, &stripe.tiles);
    number(bytes, stripe.columns as u32);
    blob(bytes, &stripe.image.bytes);
}

fn cursor(bytes: &mut Vec<u8>, image: Option<&CursorImage>) {
    match image {
        None => number(bytes, 0),
        Some(image) => {
            blob(bytes, &image.png);
            number(bytes, image.hotspot.0.into());
            number(bytes, image.hotspot.1.into());
        }
    }
}

fn blob(bytes: &mut Vec<u8>, blob: &[u8]) {
    number(bytes, blob.len() as u32);
    bytes.extend(blob);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut bytes = vec![];
        write(&mut bytes);
        bytes
    }

    #[test]
    fn numbers_take_seven_bits_a_byte() {
        assert_eq!(bytes(|b| number(b, 127)), [127]);
        assert_eq!(bytes(|b| number(b, 300)), [0xac, 2]);
        assert_eq!(bytes(|b| number(b, u32::MAX)), [255, 255, 255, 255, 15]);
        assert_eq!(bytes(|b| [0, -1, 1, -64, 64].iter().for_each(|n| signed(b, *n))), [0, 1, 2, 127, 128, 1]);
    }

    #[test]
    fn tiles_are_listed_as_runs() {
        assert_eq!(bytes(|b| tile_list(b, &[5])), [1, 10]);
        assert_eq!(bytes(|b| tile_list(b, &[0, 1, 2, 9, 11, 12])), [3, 1, 1, 12, 3, 0]);
    }

    #[test]
    fn slots_that_follow_one_another_take_a_byte_each() {
        assert_eq!(bytes(|b| hits(b, &[(3, 70), (4, 71), (5, 60)])), [1, 7, 1, 140, 1, 0, 23]);
    }

    #[test]
    fn an_update_says_what_it_comes_after() {
        let body = Body { number: 9, start: Start::After(7), cursor: Some(None), ..Body::default() };
        assert_eq!(body.encode(), [1, part::CURSOR, 9, 2, 0]);
        let fresh = Body { number: 1, desktop: Some(Size::new(640, 1)), ..Body::default() };
        assert_eq!(fresh.encode(), [1, part::FRESH | part::DESKTOP, 1, 0x80, 5, 1]);
    }
}
