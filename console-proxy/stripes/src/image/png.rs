//! PNG images without loss.
//!
//! Palettes are packed by zlib at level 6, whose matches find repeated glyphs. Measured on the scenes of `tests/updates`:
//! fdeflate, which finds runs of one colour alone, takes 8 times the bytes for a page that is scrolled, and zlib's level 1 takes
//! twice. Three bytes a pixel are filtered and go through fdeflate: zlib takes a quarter less for a photograph, and more than ten
//! times as long (one run of each, beside other load).

use super::sheet::{Indexed, Sheet, place};
use crate::geometry::TILE;
use crate::tile;

const SIDE: usize = TILE as usize;

/// zlib's level for palettes, see above.
const LEVEL: u8 = 6;

/// An image with a palette.
pub(crate) fn indexed(indexed: &Indexed) -> Vec<u8> {
    let (width, rows) = (indexed.columns * SIDE, indexed.tiles.len().div_ceil(indexed.columns));
    let mut numbers = vec![0; width * rows * SIDE];
    for (number, tile) in indexed.tiles.iter().enumerate() {
        let start = place(number, indexed.columns);
        for (row, pixels) in tile.chunks_exact(SIDE).enumerate() {
            let start = start + row * width;
            numbers[start..start + SIDE].copy_from_slice(pixels);
        }
    }
    let bits = tile::bits(indexed.colours.len());
    let samples: Vec<u8> = numbers.chunks_exact(width).flat_map(|row| tile::pack(row, bits)).collect();
    let palette: Vec<u8> = indexed.colours.iter().copied().flat_map(tile::bytes_of).collect();
    write(width, rows * SIDE, &samples, |encoder| {
        encoder.set_color(png::ColorType::Indexed);
        encoder.set_depth(match bits {
            1 => png::BitDepth::One,
            2 => png::BitDepth::Two,
            4 => png::BitDepth::Four,
            _ => png::BitDepth::Eight,
        });
        encoder.set_palette(palette);
        encoder.set_deflate_compression(png::DeflateCompression::Level(LEVEL));
        encoder.set_filter(png::Filter::NoFilter);
    })
}

/// An image of three bytes a pixel.
pub(crate) fn plain(sheet: &Sheet<'_>) -> Vec<u8> {
    write(sheet.width(), sheet.height(), &sheet.samples(), |encoder| {
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_compression(png::Compression::Fast);
    })
}

fn write(
    width: usize,
    height: usize,
    samples: &[u8],
    set: impl FnOnce(&mut png::Encoder<'_, &mut Vec<u8>>),
) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width as u32, height as u32);
    set(&mut encoder);
    let written = encoder.write_header().and_then(|mut writer| {
        writer.write_image_data(samples)?;
        writer.finish()
    });
    written.expect("memory takes what is written, and samples are as many as the size says");
    bytes
}
