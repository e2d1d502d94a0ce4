//! JPEG images, whose heads are looked at before the library sees them.
//!
//! The library takes far more than a body may have, and fails with a panic on some of that (zune-jpeg 0.5.15, its issues 361 and
//! 409: components of odd sizes, tables that are missing). So only what `FORMAT.md` allows is given to it: baseline, three
//! components, colour whole or halved both ways, each component once in a scan. If it panics all the same, the image is broken
//! and the caller's thread goes on.

use std::panic::{AssertUnwindSafe, catch_unwind};

use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::image::check;
use super::{Error, Reader};

/// Three bytes for each pixel.
pub(super) fn decode(bytes: &[u8], width: usize, height: usize) -> Result<Vec<u8>, Error> {
    check(head(bytes)?, width, height)?;
    let library = || catch_unwind(AssertUnwindSafe(|| by_library(bytes, width, height)));
    library().unwrap_or_else(|_| Err(broken("its decoder has failed")))
}

fn by_library(bytes: &[u8], width: usize, height: usize) -> Result<Vec<u8>, Error> {
    let failed = |error: zune_jpeg::errors::DecodeErrors| Error::Image { reason: error.to_string() };
    let options = DecoderOptions::default()
        .set_max_width(width)
        .set_max_height(height)
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    decoder.decode_headers().map_err(failed)?;
    check(decoder.dimensions().unwrap_or_default(), width, height)?;
    let mut samples = vec![0; width * height * 3];
    decoder.decode_into(&mut samples).map_err(failed)?;
    Ok(samples)
}

fn broken(reason: &str) -> Error {
    Error::Image { reason: reason.into() }
}

/// Width and height of an image that has just what it may have.
fn head(bytes: &[u8]) -> Result<(usize, usize), Error> {
    let mut reader = Reader::new(bytes);
    let (mut size, mut scanned) = (None, 0);
    if reader.take(2)? != [0xff, 0xd8] {
        return Err(broken("it does not begin as JPEG"));
    }
    loop {
        match (reader.take(2)?, size) {
            // The end of the image.
            ([0xff, 0xd9], Some(size)) if scanned == 3 => return Ok(size),
            // Tables, what programs and people say.
            ([0xff, 0xc4 | 0xdb | 0xe0..=0xef | 0xfe], _) => drop(segment(&mut reader)?),
            ([0xff, 0xc0], None) => size = Some(frame(segment(&mut reader)?)?),
            ([0xff, 0xda], Some(_)) => {
                scanned += usize::from(*segment(&mut reader)?.first().ok_or(Error::Ended)?);
                entropy(&mut reader)?;
            }
            _ => return Err(broken("it has something that images of tiles do not have")),
        }
    }
}

/// What follows a marker and its length.
fn segment<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], Error> {
    let length = reader.take(2)?;
    let length = usize::from(length[0]) << 8 | usize::from(length[1]);
    reader.take(length.checked_sub(2).ok_or(Error::Ended)?)
}

/// Width and height of a frame of three components.
fn frame(segment: &[u8]) -> Result<(usize, usize), Error> {
    let number = |high: u8, low: u8| usize::from(high) << 8 | usize::from(low);
    match segment {
        [8, h1, h0, w1, w0, 3, one, 0x11 | 0x22, _, two, 0x11, _, three, 0x11, _]
            if one != two && two != three && one != three =>
        {
            Ok((number(*w1, *w0), number(*h1, *h0)))
        }
        _ => Err(broken("its components are not those of tiles")),
    }
}

/// Skips packed pixels up to the next marker.
fn entropy(reader: &mut Reader<'_>) -> Result<(), Error> {
    while let [first, second] = *reader.peek(2)? {
        if first == 0xff && second != 0 {
            break;
        }
        reader.take(if first == 0xff { 2 } else { 1 })?;
    }
    Ok(())
}
