//! Hextile.

use podzol_rfb::{Encoding, Event, Rule};

use crate::wire::{Place, pixel, pixels, rect, rectangle};
use crate::world::{World, refused};

const RAW: u8 = 1;
const BACKGROUND: u8 = 2;
const FOREGROUND: u8 = 4;
const SUBRECTANGLES: u8 = 8;
const COLOURED: u8 = 16;

fn hextile(place: Place, tiles: &[&[u8]]) -> Vec<u8> {
    rectangle(place, Encoding::Hextile, &tiles.concat())
}

#[test]
fn colours_are_those_of_the_tile_before_unless_they_are_said() {
    let mut world = World::connected();
    let (one, two) = (pixel(1), pixel(2));
    let first = [&[BACKGROUND | FOREGROUND | SUBRECTANGLES], &one[..], &two, &[1, 0x00, 0xf0]].concat();
    // Background and foreground of the first, one column of it: at 3,1, one wide, 15 high.
    let second = [SUBRECTANGLES, 1, 0x31, 0x0e];
    let events = world.update(&[hextile((0, 0, 32, 16), &[&first, &second])]).unwrap();
    assert_eq!(events, [Event::Painted(rect(0, 0, 32, 16))]);
    assert_eq!(world.inside((0, 0, 16, 1)), [2; 16]);
    assert_eq!(world.inside((0, 1, 16, 15)), [1; 240]);
    assert_eq!(world.inside((16, 0, 16, 1)), [1; 16]);
    assert_eq!(world.inside((19, 1, 1, 15)), [2; 15]);
    assert_eq!(world.inside((20, 1, 1, 15)), [1; 15]);
}

#[test]
fn tiles_at_the_edges_are_smaller() {
    let mut world = World::connected();
    // 20x18 at 20,12: four tiles, of 16x16, 4x16, 16x2 and 4x2.
    let tile = |colour| [&[BACKGROUND][..], &pixel(colour)].concat();
    let raw = [&[RAW][..], &pixels(pixel, 10..18)].concat();
    world.update(&[hextile((20, 12, 20, 18), &[&tile(1), &tile(2), &tile(3), &raw])]).unwrap();
    assert_eq!(world.inside((20, 12, 16, 16)), [1; 256]);
    assert_eq!(world.inside((36, 12, 4, 16)), [2; 64]);
    assert_eq!(world.inside((20, 28, 16, 2)), [3; 32]);
    assert_eq!(world.inside((36, 28, 4, 2)), (10..18).collect::<Vec<_>>());
    assert_eq!(world.pixels.iter().filter(|pixel| **pixel != 0).count(), 20 * 18);
}

#[test]
fn coloured_sub_rectangles_lie_on_one_another() {
    let mut world = World::connected();
    let tile = [
        &[BACKGROUND | SUBRECTANGLES | COLOURED][..],
        &pixel(9),
        &[2],
        &[&pixel(1)[..], &[0x00, 0x33]].concat(),
        &[&pixel(2)[..], &[0x11, 0x00]].concat(),
    ];
    world.update(&[hextile((0, 0, 5, 5), &[&tile.concat()])]).unwrap();
    assert_eq!(world.inside((0, 0, 5, 2)), [1, 1, 1, 1, 9, 1, 2, 1, 1, 9]);
}

#[test]
fn colours_begin_anew_with_each_rectangle() {
    let mut world = World::connected();
    let first = [&[BACKGROUND][..], &pixel(7)].concat();
    world.update(&[hextile((0, 0, 1, 1), &[&first]), hextile((1, 0, 1, 1), &[&[0]])]).unwrap();
    assert_eq!(world.inside((0, 0, 2, 1)), [7, 0]);
}

#[test]
fn a_sub_rectangle_that_leaves_its_tile_is_refused() {
    for (place, size) in [(0x50, 0x00), (0x00, 0x50), (0x04, 0x01), (0xff, 0xff)] {
        let tile = [SUBRECTANGLES, 1, place, size];
        assert_eq!(refused(hextile((0, 0, 5, 5), &[&tile])), Rule::Subrectangle, "{place:x} {size:x}");
    }
}
