//! Shapes of cursors.

use super::pen::{Form, Pixel};
use crate::error::Rule;
use crate::event::Cursor;
use crate::frame::Rect;

/// The bytes of a cursor with a mask (RFC 6143, 7.8.1).
pub(crate) fn mask_cursor_bytes(rect: Rect) -> usize {
    rect.size().pixels() as usize * Pixel::BYTES + mask_stride(rect) * usize::from(rect.height)
}

/// A cursor with a mask: pixels, and then a bit for each that is to be seen. None if it has no pixels.
pub(crate) fn mask_cursor(rect: Rect, bytes: &[u8]) -> Option<Cursor> {
    let (pixels, mask) = bytes.split_at(rect.size().pixels() as usize * Pixel::BYTES);
    let (width, stride) = (usize::from(rect.width), mask_stride(rect));
    let pixel = |(index, bytes)| {
        let (x, y) = (index % width, index / width);
        let seen = mask[y * stride + x / 8] & 0x80_u8 >> (x % 8) != 0;
        if seen { 0xff00_0000 | Pixel::colour(bytes) } else { 0 }
    };
    cursor(rect, pixels.chunks_exact(Pixel::BYTES).enumerate().map(pixel).collect())
}

/// The bytes of a cursor with transparency, after its encoding.
///
/// # Errors
/// When the encoding is not raw. Servers send no other, as others leave no room for transparency.
pub(crate) fn alpha_cursor_bytes(rect: Rect, encoding: i32) -> Result<usize, Rule> {
    if encoding == 0 { Ok(rect.size().pixels() as usize * 4) } else { Err(Rule::CursorEncoding(encoding)) }
}

/// A cursor with transparency (rfbproto, "Cursor With Alpha"): red, green, blue, alpha. None if it has no pixels.
pub(crate) fn alpha_cursor(rect: Rect, bytes: &[u8]) -> Option<Cursor> {
    let pixel = |bytes: &[u8]| u32::from_be_bytes([bytes[3], bytes[0], bytes[1], bytes[2]]);
    cursor(rect, bytes.chunks_exact(4).map(pixel).collect())
}

fn cursor(rect: Rect, pixels: Vec<u32>) -> Option<Cursor> {
    (!rect.is_empty()).then(|| Cursor { hotspot: (rect.x, rect.y), size: rect.size(), pixels })
}

fn mask_stride(rect: Rect) -> usize {
    usize::from(rect.width).div_ceil(8)
}
