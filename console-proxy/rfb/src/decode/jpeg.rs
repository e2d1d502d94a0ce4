//! JPEG images, whose heads are looked at before the library sees them.
//!
//! The library takes far more than servers send, and fails with a panic on some of that (zune-jpeg 0.5.15, its issues 361 and 409:
//! components of odd sizes, tables that are missing). So only what servers send is given to it: baseline, grey or three
//! components, colour whole or halved, each component once in a scan. If it panics all the same, the image is broken like others.

use std::panic::{AssertUnwindSafe, catch_unwind};

use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::image::check;
use crate::error::Rule;
use crate::frame::Rect;

/// Decodes an image of a rectangle's size to three bytes for each pixel.
pub(super) fn decode(bytes: &[u8], rect: Rect, pixels: &mut Vec<u8>) -> Result<(), Rule> {
    let (width, height) = head(bytes)?;
    check(rect, width, height)?;
    let decoded = catch_unwind(AssertUnwindSafe(|| by_library(bytes, rect, pixels)));
    decoded.unwrap_or_else(|_| Err(broken("its decoder has failed")))
}

fn by_library(bytes: &[u8], rect: Rect, pixels: &mut Vec<u8>) -> Result<(), Rule> {
    let failed = |error: zune_jpeg::errors::DecodeErrors| Rule::Image(error.to_string());
    let options = DecoderOptions::default()
        .set_max_width(usize::from(rect.width))
        .set_max_height(usize::from(rect.height))
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    decoder.decode_headers().map_err(failed)?;
    let (width, height) = decoder.dimensions().unwrap_or_default();
    check(rect, width, height)?;
    pixels.resize(width * height * 3, 0);
    decoder.decode_into(pixels).map_err(failed)
}

fn broken(reason: &str) -> Rule {
    Rule::Image(reason.into())
}

/// Width and height of an image that has just what servers send.
fn head(bytes: &[u8]) -> Result<(usize, usize), Rule> {
    let mut rest = bytes;
    let (mut frame, mut scanned) = (None, 0);
    if take(&mut rest, 2)? != [0xff, 0xd8] {
        return Err(broken("it does not begin as JPEG"));
    }
    loop {
        match (take(&mut rest, 2)?, frame) {
            // The end of the image.
            ([0xff, 0xd9], Some((size, components))) if scanned == components => return Ok(size),
            // Tables, what programs and people say.
            ([0xff, 0xc4 | 0xdb | 0xe0..=0xef | 0xfe], _) => drop(segment(&mut rest)?),
            ([0xff, 0xc0], None) => frame = Some(frame_of(segment(&mut rest)?)?),
            ([0xff, 0xda], Some(_)) => {
                scanned += usize::from(*segment(&mut rest)?.first().ok_or_else(ended)?);
                skip_pixels(&mut rest)?;
            }
            _ => return Err(broken("it has something that servers do not send")),
        }
    }
}

fn ended() -> Rule {
    broken("it ends too early")
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Result<&'a [u8], Rule> {
    let (taken, after) = rest.split_at_checked(count).ok_or_else(ended)?;
    *rest = after;
    Ok(taken)
}

/// What follows a marker and its length.
fn segment<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], Rule> {
    let length = take(rest, 2)?;
    let length = usize::from(length[0]) << 8 | usize::from(length[1]);
    take(rest, length.checked_sub(2).ok_or_else(ended)?)
}

/// Width and height of a frame, and how many components it has.
fn frame_of(segment: &[u8]) -> Result<((usize, usize), usize), Rule> {
    let number = |high: u8, low: u8| usize::from(high) << 8 | usize::from(low);
    match segment {
        [8, h1, h0, w1, w0, 1, _, 0x11, _] => Ok(((number(*w1, *w0), number(*h1, *h0)), 1)),
        [8, h1, h0, w1, w0, 3, one, 0x11 | 0x21 | 0x22, _, two, 0x11, _, three, 0x11, _]
            if one != two && two != three && one != three =>
        {
            Ok(((number(*w1, *w0), number(*h1, *h0)), 3))
        }
        _ => Err(broken("its components are not those that servers send")),
    }
}

/// Skips packed pixels up to the next marker.
fn skip_pixels(rest: &mut &[u8]) -> Result<(), Rule> {
    loop {
        match **rest {
            [0xff, 0, ..] => *rest = &rest[2..],
            [0xff, _, ..] => return Ok(()),
            [_, _, ..] => *rest = &rest[1..],
            _ => return Err(ended()),
        }
    }
}

#[cfg(test)]
mod tests {
    use jpeg_encoder::{ColorType, Encoder, SamplingFactor};

    use super::*;

    const RECT: Rect = Rect { x: 0, y: 0, width: 33, height: 17 };

    fn encoded(factor: SamplingFactor, is_progressive: bool) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut encoder = Encoder::new(&mut bytes, 90);
        encoder.set_sampling_factor(factor);
        encoder.set_progressive(is_progressive);
        encoder.encode(&[100; 33 * 17 * 3], 33, 17, ColorType::Rgb).unwrap();
        bytes
    }

    #[test]
    fn what_servers_send_is_decoded_and_an_odd_head_never_gets_to_the_library() {
        for factor in [SamplingFactor::F_1_1, SamplingFactor::F_2_1, SamplingFactor::F_2_2] {
            let mut pixels = Vec::new();
            decode(&encoded(factor, false), RECT, &mut pixels).unwrap();
            assert_eq!(pixels.len(), 33 * 17 * 3);
        }
        assert!(head(&encoded(SamplingFactor::F_1_1, true)).is_err());
        assert!(head(&encoded(SamplingFactor::F_4_1, false)).is_err());
    }

    #[test]
    fn an_image_that_ends_anywhere_is_broken() {
        let bytes = encoded(SamplingFactor::F_2_2, false);
        assert_eq!(head(&bytes).unwrap(), (33, 17));
        for end in 0..bytes.len() {
            assert!(head(&bytes[..end]).is_err(), "{end}");
        }
    }
}
