//! JPEG and PNG images of Tight rectangles.
//!
//! Decoding is done by libraries, which allocate for each image. An image that is not of its rectangle's size is refused
//! by its head, so what they take is a few times the rectangle's pixels.

use std::io::Cursor;

use super::jpeg;
use crate::error::Rule;
use crate::frame::{Frame, Rect};

/// Memory of the PNG decoder beside the pixels: chunks that it holds whole.
const PNG_MEMORY: usize = 4 << 20;

/// A format of images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Jpeg,
    Png,
}

/// Decodes an image, with memory that is used again, and paints it.
pub(crate) fn paint(
    kind: Kind,
    bytes: &[u8],
    rect: Rect,
    pixels: &mut Vec<u8>,
    frame: &mut Frame<'_>,
) -> Result<(), Rule> {
    let samples = match kind {
        Kind::Jpeg => {
            jpeg::decode(bytes, rect, pixels)?;
            3
        }
        Kind::Png => png(bytes, rect, pixels)?,
    };
    let colour = |pixel: &[u8]| match *pixel {
        [red, green, blue, ..] => u32::from_be_bytes([0, red, green, blue]),
        [grey, ..] => u32::from_be_bytes([0, grey, grey, grey]),
        [] => 0,
    };
    let rows = pixels.chunks_exact(usize::from(rect.width) * samples);
    for (y, row) in (rect.y..rect.y + rect.height).zip(rows) {
        let target = frame.row(rect.x, y, rect.width).iter_mut();
        target.zip(row.chunks_exact(samples)).for_each(|(target, pixel)| *target = colour(pixel));
    }
    Ok(())
}

/// Decodes a PNG image, and tells how many samples a pixel has.
fn png(bytes: &[u8], rect: Rect, pixels: &mut Vec<u8>) -> Result<usize, Rule> {
    let broken = |error: png::DecodingError| Rule::Image(error.to_string());
    let limits = png::Limits { bytes: PNG_MEMORY };
    let mut decoder = png::Decoder::new_with_limits(Cursor::new(bytes), limits);
    decoder.set_transformations(png::Transformations::normalize_to_color8());
    let mut reader = decoder.read_info().map_err(broken)?;
    let (width, height) = reader.info().size();
    check(rect, width as usize, height as usize)?;
    let samples = reader.output_color_type().0.samples();
    pixels.resize(width as usize * height as usize * samples, 0);
    reader.next_frame(pixels).map_err(broken)?;
    // Grey with transparency has two samples, of which the first counts, as it does alone.
    Ok(samples)
}

/// An image must have its rectangle's size.
pub(super) fn check(rect: Rect, width: usize, height: usize) -> Result<(), Rule> {
    let fits = (width, height) == (usize::from(rect.width), usize::from(rect.height));
    if fits && !rect.is_empty() { Ok(()) } else { Err(Rule::ImageSize { width, height }) }
}
