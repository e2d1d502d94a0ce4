//! Tight and Tight PNG.

use podzol_rfb::{Encoding, Rule};

use crate::wire::{Packer, Place, compact, pixels, rectangle, tpixel};
use crate::world::{World, refused};

const PLACE: Place = (2, 1, 9, 3);

fn tight(bytes: &[&[u8]]) -> Vec<u8> {
    rectangle(PLACE, Encoding::Tight, &bytes.concat())
}

/// What a rectangle of 9x3 looks like.
fn painted(bytes: &[&[u8]]) -> Vec<u32> {
    let mut world = World::connected();
    world.update(&[tight(bytes)]).unwrap();
    world.inside(PLACE)
}

#[test]
fn a_fill_has_one_colour() {
    assert_eq!(painted(&[&[0x80], &tpixel(0x12_3456)]), [0x12_3456; 27]);
}

#[test]
fn pixels_without_a_filter_are_packed_in_the_stream_that_is_named() {
    let colours: Vec<u32> = (0x01_0203..).step_by(0x11).take(27).collect();
    let plain = pixels(tpixel, colours.iter().copied());
    for control in [0x00, 0x10, 0x20, 0x30] {
        assert_eq!(painted(&[&[control], &Packer::new().compact(&plain)]), colours);
    }
    assert_eq!(painted(&[&[0x40, 0], &Packer::new().compact(&plain)]), colours);
}

#[test]
fn a_palette_of_two_has_bits_and_a_larger_one_bytes() {
    let bits = [0b1010_1010, 0x80, 0, 0, 0xff, 0x80];
    let two = painted(&[&[0x50, 1, 1], &pixels(tpixel, [5, 6]), &bits]);
    assert_eq!(two[..10], [6, 5, 6, 5, 6, 5, 6, 5, 6, 5]);
    assert_eq!(two[18..], [6; 9]);
    let indices: Vec<u8> = (0..27).map(|index| index % 3).collect();
    let three = painted(&[&[0x60, 1, 2], &pixels(tpixel, [7, 8, 9]), &Packer::new().compact(&indices)]);
    assert_eq!(three, indices.iter().map(|index| u32::from(*index) + 7).collect::<Vec<_>>());
}

#[test]
fn a_gradient_is_the_difference_to_what_the_neighbours_let_expect() {
    // A slope whose neighbours tell it exactly: only the first pixel is a difference, and one in each row and column.
    let slope = |x: u32, y: u32| (10 + 20 * x) << 16 | (200 - 7 * x) << 8 | (5 * y);
    let colours: Vec<u32> = (0..3).flat_map(|y| (0..9).map(move |x| slope(x, y))).collect();
    let part = |x: i32, y: i32, shift: u32| {
        if x < 0 || y < 0 { 0 } else { i32::from((slope(x as u32, y as u32) >> shift) as u8) }
    };
    let difference = |x: i32, y: i32, shift: u32| {
        let expected = part(x - 1, y, shift) + part(x, y - 1, shift) - part(x - 1, y - 1, shift);
        (part(x, y, shift) - expected.clamp(0, 255)) as u8
    };
    let places = (0..3).flat_map(|y| (0..9).map(move |x| (x, y)));
    let plain: Vec<u8> = places.flat_map(|(x, y)| [16, 8, 0].map(|shift| difference(x, y, shift))).collect();
    assert_eq!(painted(&[&[0x40, 2], &Packer::new().compact(&plain)]), colours);
}

#[test]
fn fewer_than_twelve_bytes_are_not_packed() {
    let mut world = World::connected();
    let short = rectangle((0, 0, 3, 1), Encoding::Tight, &[&[0x00][..], &pixels(tpixel, [1, 2, 3])].concat());
    let gradient = rectangle((0, 1, 1, 1), Encoding::Tight, &[0x40, 2, 9, 8, 7]);
    world.update(&[short, gradient]).unwrap();
    assert_eq!(world.inside((0, 0, 3, 1)), [1, 2, 3]);
    assert_eq!(world.inside((0, 1, 1, 1)), [0x09_0807]);
}

#[test]
fn streams_go_on_until_they_are_reset() {
    let (mut world, mut packers) = (World::connected(), [0; 4].map(|_| Packer::new()));
    let plain = pixels(tpixel, 1..28);
    for (round, stream) in [0_u8, 1, 0, 3, 1, 2, 3].into_iter().enumerate() {
        let packed = packers[usize::from(stream)].compact(&plain);
        world.update(&[tight(&[&[stream << 4], &packed])]).unwrap();
        assert_eq!(world.inside(PLACE), (1..28).collect::<Vec<_>>(), "{round}");
    }
    // A fill resets streams 0 and 3, another rectangle its own: what follows begins anew.
    let filled = tight(&[&[0x89], &tpixel(0)]);
    let anew = |control: u8| tight(&[&[control], &Packer::new().compact(&plain)]);
    world.update(&[filled, anew(0x00), anew(0x30), anew(0x12)]).unwrap();
    assert_eq!(world.inside(PLACE), (1..28).collect::<Vec<_>>());
    // Stream 2 was not reset.
    world.update(&[tight(&[&[0x20], &packers[2].compact(&plain)])]).unwrap();
}

#[test]
fn pixels_that_are_not_packed_at_all_are_taken_in_plain_tight() {
    let plain = pixels(tpixel, 1..28);
    let whole: Vec<u32> = (1..28).collect();
    assert_eq!(painted(&[&[0xa0], &compact(plain.len()), &plain]), whole);
    assert_eq!(painted(&[&[0xe0, 0], &compact(plain.len()), &plain]), whole);
    assert_eq!(refused(tight(&[&[0xa0], &compact(plain.len() - 1), &plain])), Rule::Missing);
    assert_eq!(refused(tight(&[&[0xa0], &compact(plain.len() + 1), &plain])), Rule::Excess);
}

#[test]
fn a_jpeg_is_painted_nearly_as_it_was() {
    let image: Vec<u8> = (0..27_u8).flat_map(|_| [200, 100, 50]).collect();
    let mut jpeg = Vec::new();
    jpeg_encoder::Encoder::new(&mut jpeg, 95).encode(&image, 9, 3, jpeg_encoder::ColorType::Rgb).unwrap();
    for pixel in painted(&[&[0x90], &compact(jpeg.len()), &jpeg]) {
        let [_, red, green, blue] = pixel.to_be_bytes();
        assert!(red.abs_diff(200) < 6 && green.abs_diff(100) < 6 && blue.abs_diff(50) < 6, "{pixel:06x}");
    }
    let mut grey = Vec::new();
    jpeg_encoder::Encoder::new(&mut grey, 95).encode(&[77; 27], 9, 3, jpeg_encoder::ColorType::Luma).unwrap();
    for pixel in painted(&[&[0x90], &compact(grey.len()), &grey]) {
        let [_, red, green, blue] = pixel.to_be_bytes();
        assert!(red.abs_diff(77) < 3 && green == red && blue == red, "{pixel:06x}");
    }
}

/// A PNG image of 9x3.
pub(crate) fn png(colour: png::ColorType, depth: png::BitDepth, data: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, 9, 3);
    encoder.set_color(colour);
    encoder.set_depth(depth);
    if colour == png::ColorType::Indexed {
        encoder.set_palette(pixels(tpixel, [1, 2, 3, 4]));
    }
    encoder.write_header().unwrap().write_image_data(data).unwrap();
    bytes
}

#[test]
fn a_png_keeps_every_pixel_whatever_its_kind() {
    let shown = |png: Vec<u8>| {
        let mut world = World::connected();
        let bytes = [&[0xa0], &compact(png.len())[..], &png].concat();
        world.update(&[rectangle(PLACE, Encoding::TightPng, &bytes)]).unwrap();
        world.inside(PLACE)
    };
    use png::{BitDepth, ColorType};
    let colours: Vec<u32> = (0x12_3400..).take(27).collect();
    let rgb = pixels(tpixel, colours.iter().copied());
    assert_eq!(shown(png(ColorType::Rgb, BitDepth::Eight, &rgb)), colours);
    let rgba: Vec<u8> = colours.iter().flat_map(|colour| [&tpixel(*colour)[..], &[9]].concat()).collect();
    assert_eq!(shown(png(ColorType::Rgba, BitDepth::Eight, &rgba)), colours);
    let indexed = [[0b0001_1011, 0, 0]; 3].concat();
    assert_eq!(shown(png(ColorType::Indexed, BitDepth::Two, &indexed))[..5], [1, 2, 3, 4, 1]);
    assert_eq!(shown(png(ColorType::Grayscale, BitDepth::Eight, &[0x42; 27])), [0x42_4242; 27]);
    assert_eq!(shown(png(ColorType::GrayscaleAlpha, BitDepth::Eight, &[0x42; 54])), [0x42_4242; 27]);
}

#[test]
fn an_image_that_is_broken_or_of_another_size_is_refused() {
    let mut jpeg = Vec::new();
    jpeg_encoder::Encoder::new(&mut jpeg, 90).encode(&[0; 48], 4, 4, jpeg_encoder::ColorType::Rgb).unwrap();
    let size = refused(tight(&[&[0x90], &compact(jpeg.len()), &jpeg]));
    assert!(matches!(size, Rule::ImageSize { width: 4, height: 4 } | Rule::Image(_)), "{size:?}");
    assert!(matches!(refused(tight(&[&[0x90, 3], b"abc"])), Rule::Image(_)));
    let png = png(png::ColorType::Rgb, png::BitDepth::Eight, &[0; 81]);
    let bytes = [&[0xa0], &compact(png.len())[..], &png].concat();
    let other = rectangle((0, 0, 3, 9), Encoding::TightPng, &bytes);
    assert_eq!(refused(other), Rule::ImageSize { width: 9, height: 3 });
    assert!(matches!(refused(rectangle(PLACE, Encoding::TightPng, b"\xa0\x03abc")), Rule::Image(_)));
}

#[test]
fn what_breaks_the_rules_is_refused() {
    assert_eq!(refused(tight(&[&[0x40, 3]])), Rule::Filter(3));
    assert_eq!(refused(tight(&[&[0x40, 1, 0]])), Rule::Palette);
    for control in [0xb0, 0xc0, 0xd0, 0xf0] {
        assert_eq!(refused(tight(&[&[control]])), Rule::Subencoding(control));
    }
    assert_eq!(refused(rectangle(PLACE, Encoding::TightPng, &[0x00])), Rule::Subencoding(0));
    let wrong = [&[0x60, 1, 2][..], &pixels(tpixel, [7, 8, 9]), &Packer::new().compact(&[3; 27])].concat();
    assert_eq!(refused(tight(&[&wrong])), Rule::Colour { index: 3, colours: 3 });
    assert_eq!(refused(tight(&[&[0x00], &Packer::new().compact(&[0; 80])])), Rule::Missing);
    assert_eq!(refused(tight(&[&[0x00], &Packer::new().compact(&[0; 82])])), Rule::Excess);
    let length = refused(tight(&[&[0x00, 0xff, 0xff, 0xff]]));
    assert_eq!(length, Rule::TooLong { length: 4_194_303, limit: 27 * 8 + 65_536 });
}
