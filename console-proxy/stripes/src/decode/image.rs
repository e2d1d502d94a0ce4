//! Images of a body.

use std::io::Cursor;

use super::{CursorImage, Error, Reader, jpeg};
use crate::cursor::MAX_CURSOR;
use crate::geometry::{Size, TILE};
use crate::image::{Kind, MAX_BITS_COLOURS};
use crate::secret::Block;
use crate::tile;

const SIDE: usize = TILE as usize;

/// Memory of the PNG decoder beside the pixels: chunks that it holds whole.
const PNG_MEMORY: usize = 4 << 20;

/// Tiles of the image that was decoded last.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    tiles: Vec<Block>,
}

impl Kind {
    /// Whether nothing is lost, so that its tiles go into the cache.
    pub(super) const fn is_exact(self) -> bool {
        !matches!(self, Self::Jpeg)
    }

    fn of(kind: u8) -> Result<Self, Error> {
        let kinds = [Self::Bits, Self::Png, Self::Jpeg];
        kinds.into_iter().find(|known| *known as u8 == kind).ok_or(Error::Kind { kind })
    }
}

impl Scratch {
    /// Decodes an image of so many tiles in rows of so many columns.
    pub(super) fn decode(
        &mut self,
        kind: u8,
        bytes: &[u8],
        tiles: usize,
        columns: usize,
    ) -> Result<Kind, Error> {
        let kind = Kind::of(kind)?;
        self.tiles.clear();
        let (width, height) = (columns * SIDE, tiles.div_ceil(columns) * SIDE);
        match kind {
            Kind::Bits => self.bits(bytes, tiles)?,
            Kind::Png => self.cut(&png(bytes, width, height)?, tiles, columns),
            Kind::Jpeg => self.cut(&jpeg::decode(bytes, width, height)?, tiles, columns),
        }
        Ok(kind)
    }

    /// A tile of it.
    pub(super) fn tile(&self, number: usize) -> &Block {
        &self.tiles[number]
    }

    /// Cuts tiles out of pixels of three bytes.
    fn cut(&mut self, samples: &[u8], tiles: usize, columns: usize) {
        for number in 0..tiles {
            let start = crate::image::place(number, columns);
            self.tiles.push(std::array::from_fn(|pixel| {
                let place = (start + pixel / SIDE * columns * SIDE + pixel % SIDE) * 3;
                u32::from_be_bytes([0, samples[place], samples[place + 1], samples[place + 2]])
            }));
        }
    }

    fn bits(&mut self, bytes: &[u8], tiles: usize) -> Result<(), Error> {
        let mut reader = Reader::new(bytes);
        let colours = reader.count(MAX_BITS_COLOURS)?;
        let mut palette = [0; MAX_BITS_COLOURS];
        for colour in palette.iter_mut().take(colours) {
            *colour = reader.colour()?;
        }
        let bits = tile::bits(colours);
        for _ in 0..tiles {
            self.tiles.push(bits_tile(&mut reader, &palette, bits)?);
        }
        reader.end()
    }
}

/// A tile whose rows are left out if they are like the one above.
fn bits_tile(reader: &mut Reader<'_>, palette: &[u32], bits: usize) -> Result<Block, Error> {
    let mask = reader.take(SIDE / 8)?;
    let mut block = [palette[0]; SIDE * SIDE];
    for row in 0..SIDE {
        let start = row * SIDE;
        if mask[row / 8] & 0x80 >> (row % 8) != 0 {
            let packed = reader.take(SIDE * bits / 8)?;
            for (column, pixel) in block[start..start + SIDE].iter_mut().enumerate() {
                let byte = packed[column * bits / 8];
                let number = byte >> (8 - bits - column * bits % 8) & ((1 << bits) - 1);
                *pixel = palette[usize::from(number)];
            }
        } else if row > 0 {
            block.copy_within(start - SIDE..start, start);
        }
    }
    Ok(block)
}

/// Three bytes for each pixel.
fn png(bytes: &[u8], width: usize, height: usize) -> Result<Vec<u8>, Error> {
    let broken = |error: png::DecodingError| Error::Image { reason: error.to_string() };
    let limits = png::Limits { bytes: PNG_MEMORY };
    let mut decoder = png::Decoder::new_with_limits(Cursor::new(bytes), limits);
    decoder.set_transformations(png::Transformations::normalize_to_color8());
    let mut reader = decoder.read_info().map_err(broken)?;
    let found = reader.info().size();
    check((found.0 as usize, found.1 as usize), width, height)?;
    if reader.output_color_type() != (png::ColorType::Rgb, png::BitDepth::Eight) {
        return Err(Error::Image { reason: "neither a palette nor three bytes a pixel".into() });
    }
    let mut samples = vec![0; width * height * 3];
    reader.next_frame(&mut samples).map_err(broken)?;
    Ok(samples)
}

/// Whether an image has its tiles' size.
pub(super) fn check(found: (usize, usize), width: usize, height: usize) -> Result<(), Error> {
    if found == (width, height) { Ok(()) } else { Err(Error::ImageSize { width: found.0, height: found.1 }) }
}

/// Reads a cursor's shape, or that there is none.
pub(super) fn cursor(reader: &mut Reader<'_>) -> Result<Option<CursorImage>, Error> {
    let bytes = reader.blob()?;
    if bytes.is_empty() {
        return Ok(None);
    }
    let hotspot = (reader.side()?, reader.side()?);
    let broken = |error: png::DecodingError| Error::Image { reason: error.to_string() };
    let limits = png::Limits { bytes: PNG_MEMORY };
    let mut decoder =
        png::Decoder::new_with_limits(Cursor::new(bytes), limits).read_info().map_err(broken)?;
    let (width, height) = decoder.info().size();
    let size = Size::new(width.min(0xffff) as u16, height.min(0xffff) as u16);
    if size.width > MAX_CURSOR
        || size.height > MAX_CURSOR
        || hotspot.0 >= size.width
        || hotspot.1 >= size.height
    {
        return Err(Error::Cursor { size, hotspot });
    }
    if decoder.output_color_type() != (png::ColorType::Rgba, png::BitDepth::Eight) {
        return Err(Error::Image { reason: "a cursor without four bytes a pixel".into() });
    }
    let mut samples = vec![0; size.pixels() * 4];
    decoder.next_frame(&mut samples).map_err(broken)?;
    Ok(Some(CursorImage { hotspot, size, samples }))
}
