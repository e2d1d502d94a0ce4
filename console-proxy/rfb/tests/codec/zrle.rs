//! ZRLE.

use podzol_rfb::{Encoding, Rule};

use crate::wire::{Packer, Place, cpixel, pixels, rectangle};
use crate::world::{World, refused};

/// A rectangle of tiles.
fn zrle(place: Place, tiles: &[&[u8]]) -> Vec<u8> {
    rectangle(place, Encoding::Zrle, &Packer::new().long(&tiles.concat()))
}

/// What a tile of 5x2 looks like.
fn tile(head: u8, bytes: &[u8]) -> Vec<u32> {
    let mut world = World::connected();
    world.update(&[zrle((3, 4, 5, 2), &[&[head], bytes])]).unwrap();
    world.inside((3, 4, 5, 2))
}

/// Why a tile of 5x2 is refused.
fn broken(head: u8, bytes: &[u8]) -> Rule {
    refused(zrle((3, 4, 5, 2), &[&[head], bytes]))
}

#[test]
fn a_tile_is_raw_or_of_one_colour() {
    assert_eq!(tile(0, &pixels(cpixel, 0x10_2030..0x10_203a)), (0x10_2030..0x10_203a).collect::<Vec<_>>());
    assert_eq!(tile(1, &cpixel(0xab_cdef)), [0xab_cdef; 10]);
}

#[test]
fn indices_have_one_two_or_four_bits() {
    let two = [pixels(cpixel, [1, 2]), vec![0b0101_1000, 0b1000_0000]].concat();
    assert_eq!(tile(2, &two), [1, 2, 1, 2, 2, 2, 1, 1, 1, 1]);
    let three = [pixels(cpixel, [1, 2, 3]), vec![0b0001_1000, 0b0100_0000, 0b1010_1010, 0]].concat();
    assert_eq!(tile(3, &three), [1, 2, 3, 1, 2, 3, 3, 3, 3, 1]);
    let sixteen = [pixels(cpixel, 100..116), vec![0x01, 0x23, 0x40, 0xfe, 0xdc, 0xb0]].concat();
    assert_eq!(tile(16, &sixteen), [100, 101, 102, 103, 104, 115, 114, 113, 112, 111]);
}

#[test]
fn runs_go_over_the_ends_of_rows() {
    let runs = [&cpixel(1)[..], &[6], &cpixel(2), &[0], &cpixel(3), &[1]].concat();
    assert_eq!(tile(128, &runs), [1, 1, 1, 1, 1, 1, 1, 2, 3, 3]);
    let runs = [&pixels(cpixel, [1, 2])[..], &[0, 0x81, 4, 0, 0x80, 2]].concat();
    assert_eq!(tile(130, &runs), [1, 2, 2, 2, 2, 2, 1, 1, 1, 1]);
}

#[test]
fn a_run_may_be_longer_than_a_byte_says() {
    let mut world = World::connected();
    // 30x30: 1 + 255 + 255 + 0 pixels, and 1 + 255 + 133.
    let runs = [&[128][..], &cpixel(1), &[255, 255, 0], &cpixel(2), &[255, 133]].concat();
    world.update(&[zrle((0, 0, 30, 30), &[&runs])]).unwrap();
    let ones = world.inside((0, 0, 30, 30)).iter().filter(|pixel| **pixel == 1).count();
    assert_eq!(ones, 511);
}

#[test]
fn a_rectangle_has_tiles_of_64_pixels_from_left_to_right() {
    let mut world = World::connected();
    world.give(&crate::wire::update(&[rectangle((0, 0, 100, 70), Encoding::DesktopSize, &[])])).unwrap();
    world.events.clear();
    let solid = |colour| [&[1][..], &cpixel(colour)].concat();
    world.update(&[zrle((0, 0, 100, 70), &[&solid(1), &solid(2), &solid(3), &solid(4)])]).unwrap();
    let corners = [(0, 0), (63, 63), (64, 0), (99, 63), (0, 64), (63, 69), (64, 64), (99, 69)];
    assert_eq!(corners.map(|(x, y)| world.inside((x, y, 1, 1))[0]), [1, 1, 2, 2, 3, 3, 4, 4]);
}

#[test]
fn the_stream_goes_on_from_rectangle_to_rectangle() {
    let (mut world, mut packer) = (World::connected(), Packer::new());
    for colour in 1..50 {
        let tile = [&[1][..], &cpixel(colour)].concat();
        world.update(&[rectangle((0, 0, 3, 3), Encoding::Zrle, &packer.long(&tile))]).unwrap();
        assert_eq!(world.inside((0, 0, 3, 3)), [colour; 9]);
    }
}

#[test]
fn what_breaks_a_tiles_rules_is_refused() {
    for head in [17, 64, 127, 129] {
        assert_eq!(broken(head, &[]), Rule::Subencoding(head));
    }
    let three = [pixels(cpixel, [1, 2, 3]), vec![0b1100_0000; 4]].concat();
    assert_eq!(broken(3, &three), Rule::Colour { index: 3, colours: 3 });
    let two = [pixels(cpixel, [1, 2]), vec![2]].concat();
    assert_eq!(broken(130, &two), Rule::Colour { index: 2, colours: 2 });
    assert_eq!(broken(128, &[1, 2, 3, 10]), Rule::Run);
    assert_eq!(broken(130, &[&[0; 6][..], &[0x80, 255]].concat()), Rule::Run);
    assert_eq!(broken(1, &[1, 2]), Rule::Missing);
    assert_eq!(broken(1, &[1, 2, 3, 4]), Rule::Excess);
    assert_eq!(broken(0, &[0; 29]), Rule::Missing);
}
