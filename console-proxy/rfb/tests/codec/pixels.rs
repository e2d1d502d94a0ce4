//! Raw, CopyRect and Zlib.

use podzol_rfb::{Encoding, Event, Rule, Size};

use crate::wire::{self, Packer, pixel, pixels, rect, rectangle};
use crate::world::{World, refused};

#[test]
fn raw_pixels_are_painted_where_they_belong_and_the_fourth_byte_is_not_looked_at() {
    let mut world = World::connected();
    let raw = rectangle((38, 28, 2, 2), Encoding::Raw, &pixels(pixel, [0x11_2233, 0xffffff, 0, 0x80_0000]));
    assert_eq!(world.update(&[raw]).unwrap(), [Event::Painted(rect(38, 28, 2, 2))]);
    assert_eq!(world.inside((38, 28, 2, 2)), [0x11_2233, 0xffffff, 0, 0x80_0000]);
    assert_eq!(world.pixels.iter().filter(|pixel| **pixel != 0).count(), 3);
}

#[test]
fn a_copy_is_told_with_its_source() {
    let mut world = World::connected();
    let raw = rectangle((0, 0, 2, 1), Encoding::Raw, &pixels(pixel, [1, 2]));
    let copy = rectangle((1, 0, 2, 1), Encoding::CopyRect, &[0, 0, 0, 0]);
    let events = world.update(&[raw, copy]).unwrap();
    assert_eq!(events[1], Event::Copied { from: (0, 0), to: rect(1, 0, 2, 1) });
    assert_eq!(world.inside((0, 0, 4, 1)), [1, 1, 2, 0]);
}

#[test]
fn a_zlib_stream_goes_on_from_rectangle_to_rectangle() {
    let (mut world, mut packer) = (World::connected(), Packer::new());
    for colour in [7, 8] {
        let plain = pixels(pixel, (0..40 * 30).map(|index| index + colour));
        let zlib = rectangle((0, 0, 40, 30), Encoding::Zlib, &packer.long(&plain));
        world.update(&[zlib]).unwrap();
        assert_eq!(world.pixels, (0..40 * 30).map(|index| index + colour).collect::<Vec<_>>());
    }
}

#[test]
fn rectangles_without_pixels_are_taken_and_not_told() {
    let mut world = World::connected();
    let rectangles = [
        rectangle((40, 30, 0, 0), Encoding::Raw, &[]),
        rectangle((0, 0, 0, 30), Encoding::Hextile, &[]),
        rectangle((0, 0, 0, 0), Encoding::CopyRect, &[0; 4]),
        rectangle((0, 0, 40, 0), Encoding::Zlib, &Packer::new().long(&[])),
        rectangle((0, 0, 0, 1), Encoding::Zrle, &Packer::new().long(&[])),
        rectangle((0, 0, 0, 1), Encoding::Tight, &[0]),
    ];
    assert_eq!(world.update(&rectangles).unwrap(), []);
    assert_eq!(world.update(&[]).unwrap(), []);
}

#[test]
fn what_is_outside_the_desktop_is_refused() {
    let desktop = Size::new(40, 30);
    for place in [(39, 0, 2, 1), (0, 29, 1, 2), (65_535, 0, 65_535, 1), (40, 0, 1, 1)] {
        let (x, y, width, height) = place;
        let outside = Rule::Outside { rect: rect(x, y, width, height), desktop };
        for encoding in [Encoding::Raw, Encoding::CopyRect, Encoding::Hextile, Encoding::Tight] {
            assert_eq!(refused(rectangle(place, encoding, &[])), outside);
        }
    }
    let source = Rule::Outside { rect: rect(39, 0, 2, 1), desktop };
    assert_eq!(refused(rectangle((0, 0, 2, 1), Encoding::CopyRect, &[0, 39, 0, 0])), source);
}

#[test]
fn zlib_data_must_be_as_many_pixels_as_their_rectangle_has() {
    let zlib =
        |bytes: usize| refused(rectangle((0, 0, 2, 2), Encoding::Zlib, &Packer::new().long(&vec![1; bytes])));
    assert_eq!(zlib(15), Rule::Missing);
    assert_eq!(zlib(17), Rule::Excess);
    assert_eq!(zlib(1_000_000), Rule::Excess);
    let length = |length: u32| refused(rectangle((0, 0, 2, 2), Encoding::Zlib, &length.to_be_bytes()));
    assert_eq!(length(u32::MAX), Rule::TooLong { length: u32::MAX.into(), limit: 65_568 });
    let broken = [&[0, 0, 0, 9][..], b"not zlib!"].concat();
    assert_eq!(refused(rectangle((0, 0, 2, 2), Encoding::Zlib, &broken)), Rule::Zlib);
}

#[test]
fn a_stream_that_has_ended_takes_nothing_more() {
    let mut world = World::connected();
    let ended = wire::zlib(&pixels(pixel, [1, 2]));
    let ended = [&(ended.len() as u32).to_be_bytes(), &ended[..]].concat();
    world.update(&[rectangle((0, 0, 2, 1), Encoding::Zlib, &ended)]).unwrap();
    assert!(world.update(&[rectangle((0, 0, 2, 1), Encoding::Zlib, &ended)]).is_err());
}
