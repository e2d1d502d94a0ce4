//! Rectangles that are no pixels of the desktop, and other messages of the server.

use podzol_rfb::{
    Cursor, Denial, Desktop, Encoding, Event, Extensions, Leds, Origin, PointerMode, Rule, Screen, Size, Xvp,
};

use crate::wire::{Place, pixel, pixels, rect, rectangle, update};
use crate::world::{World, refused};

/// The one event of a rectangle.
fn event(place: Place, encoding: Encoding, bytes: &[u8]) -> Event {
    let mut events = World::connected().update(&[rectangle(place, encoding, bytes)]).unwrap();
    assert_eq!(events.len(), 1);
    events.remove(0)
}

#[test]
fn a_cursor_with_a_mask_is_seen_where_its_bits_are() {
    let bytes = [&pixels(pixel, 1..21)[..], &[0b1000_0000, 0b0100_0000, 0b1100_0000, 0]].concat();
    let bytes = [&bytes[..20 * 4], &[0xc0, 0x40, 0x00, 0x80]].concat();
    let Event::Cursor(Some(cursor)) = event((3, 2, 10, 2), Encoding::Cursor, &bytes) else { panic!() };
    let (hotspot, size) = ((3, 2), Size::new(10, 2));
    let mut pixels = vec![0; 20];
    (pixels[0], pixels[1], pixels[9]) = (0xff00_0001, 0xff00_0002, 0xff00_000a);
    pixels[18] = 0;
    // The second row's bits are 0x00 and 0x80: its ninth pixel.
    pixels[18] = 0xff00_0013;
    assert_eq!(cursor, Cursor { hotspot, size, pixels });
}

#[test]
fn a_cursor_with_transparency_keeps_it() {
    let bytes = [&[0; 4][..], &[1, 2, 3, 4, 0x80, 0, 0, 0x80]].concat();
    let Event::Cursor(Some(cursor)) = event((0, 0, 2, 1), Encoding::CursorAlpha, &bytes) else { panic!() };
    assert_eq!(cursor.pixels, [0x0401_0203, 0x8080_0000]);
    let bytes = [&Encoding::Zrle.code().to_be_bytes()[..], &[0; 8]].concat();
    let rule = refused(rectangle((0, 0, 2, 1), Encoding::CursorAlpha, &bytes));
    assert_eq!(rule, Rule::CursorEncoding(16));
}

#[test]
fn a_cursor_without_pixels_is_none() {
    assert_eq!(event((0, 0, 0, 0), Encoding::Cursor, &[]), Event::Cursor(None));
    assert_eq!(event((0, 0, 0, 5), Encoding::CursorAlpha, &[0; 4]), Event::Cursor(None));
}

#[test]
fn a_cursor_has_a_size_that_a_cursor_can_have() {
    let size = Size::new(513, 512);
    for encoding in [Encoding::Cursor, Encoding::CursorAlpha] {
        let rule = refused(rectangle((0, 0, size.width, size.height), encoding, &[]));
        assert_eq!(rule, Rule::TooLarge { size, limit: 512 * 512 });
    }
}

#[test]
fn a_desktop_changes_its_size_and_rectangles_may_be_there_at_once() {
    let mut world = World::connected();
    let raw = rectangle((99, 79, 1, 1), Encoding::Raw, &pixel(5));
    let events = world.update(&[rectangle((0, 0, 100, 80), Encoding::DesktopSize, &[]), raw]).unwrap();
    let size = Size::new(100, 80);
    assert_eq!(events[0], Event::Desktop(Desktop { size, origin: Origin::Server, screens: Vec::new() }));
    assert_eq!(world.inside((99, 79, 1, 1)), [5]);
    let size = Size::new(101, 100);
    assert_eq!(
        refused(rectangle((0, 0, 101, 100), Encoding::DesktopSize, &[])),
        Rule::TooLarge { size, limit: 10_000 }
    );
}

#[test]
fn a_desktop_with_screens_tells_who_changed_it() {
    let screen = |id: u32| [&id.to_be_bytes()[..], &[0, 1, 0, 2, 0, 30, 0, 20], &[0, 0, 0, 9]].concat();
    let bytes = [&[2, 0, 0, 0][..], &screen(7), &screen(8)].concat();
    let told = |x, y| match event((x, y, 50, 20), Encoding::ExtendedDesktopSize, &bytes) {
        Event::Desktop(desktop) => desktop,
        other => panic!("{other:?}"),
    };
    let screens = [7, 8].map(|id| Screen { id, area: rect(1, 2, 30, 20), flags: 9 }).to_vec();
    assert_eq!(told(0, 0), Desktop { size: Size::new(50, 20), origin: Origin::Server, screens });
    assert_eq!(told(1, 0).origin, Origin::Asked);
    assert_eq!(told(2, 0).origin, Origin::OtherClient);
    assert_eq!(told(9, 0).origin, Origin::Server);
    for (status, denial) in [
        (1, Denial::Prohibited),
        (2, Denial::OutOfResources),
        (3, Denial::Invalid),
        (4, Denial::Forwarded),
        (99, Denial::Other(99)),
    ] {
        let denied = told(1, status);
        assert_eq!(
            (denied.origin, denied.size),
            (Origin::Denied(denial), Size::new(40, 30)),
            "nothing has changed"
        );
    }
}

#[test]
fn an_update_ends_with_its_last_rectangle() {
    let mut world = World::connected();
    let mut bytes = update(&[
        rectangle((0, 0, 1, 1), Encoding::Raw, &pixel(1)),
        rectangle((0, 0, 0, 0), Encoding::LastRect, &[]),
    ]);
    bytes[2..4].copy_from_slice(&[0xff, 0xff]);
    world.give(&bytes).unwrap();
    assert_eq!(world.events, [Event::Painted(rect(0, 0, 1, 1)), Event::UpdateEnd]);
    world.give(&[2]).unwrap();
    assert_eq!(world.events.last(), Some(&Event::Bell));
}

#[test]
fn lights_names_and_extensions_are_told() {
    let place = (0, 0, 0, 0);
    let leds = |scroll, num, caps| Event::Leds(Leds { scroll, num, caps });
    assert_eq!(event(place, Encoding::LedState, &[0b1111_1010]), leds(false, true, false));
    assert_eq!(event(place, Encoding::VmwareLedState, &[0, 0, 0, 0b101]), leds(true, false, true));
    assert_eq!(
        event(place, Encoding::DesktopName, b"\0\0\0\x06a\x1b[0\xc3\xbc"),
        Event::Name("a [0ü".into())
    );
    assert_eq!(event(place, Encoding::ExtendedKeys, &[]), Event::ExtendedKeys);
    assert_eq!(event((0, 0, 40, 30), Encoding::PointerMode, &[]), Event::Pointer(PointerMode::Relative));
    assert_eq!(event((1, 0, 40, 30), Encoding::PointerMode, &[]), Event::Pointer(PointerMode::Absolute));
}

#[test]
fn what_a_server_has_shown_is_kept() {
    let mut world = World::connected();
    assert_eq!(world.client.extensions(), Extensions::default());
    let keys = rectangle((0, 0, 0, 0), Encoding::ExtendedKeys, &[]);
    let pointer = rectangle((0, 0, 0, 0), Encoding::PointerMode, &[]);
    let size = rectangle((0, 0, 40, 30), Encoding::ExtendedDesktopSize, &[0; 4]);
    world.update(&[keys, pointer, size]).unwrap();
    world.give(&[250, 0, 1, 1]).unwrap();
    world.give(&crate::wire::extended(1 << 24, &[])).unwrap();
    let all = Extensions {
        extended_keys: true,
        clipboard: true,
        xvp: true,
        resize: true,
        pointer: PointerMode::Relative,
    };
    assert_eq!(world.client.extensions(), all);
}

#[test]
fn power_control_is_offered_and_may_fail() {
    let mut world = World::connected();
    world.give(&[250, 0, 1, 1, 250, 0, 1, 0]).unwrap();
    assert_eq!(world.events, [Event::Xvp(Xvp::Offered), Event::Xvp(Xvp::Failed)]);
    assert!(world.give(&[250, 0, 1, 2]).is_err());
}

#[test]
fn a_map_of_colours_is_passed_over() {
    let mut world = World::connected();
    let map = [&[1, 0, 0, 5, 0xff, 0xff][..], &vec![2; 65_535 * 6], &[2]].concat();
    world.give(&map).unwrap();
    assert_eq!(world.events, [Event::Bell]);
}

#[test]
fn a_name_that_is_too_long_is_refused() {
    let rule = refused(rectangle((0, 0, 0, 0), Encoding::DesktopName, &[0, 1, 0, 0]));
    assert_eq!(rule, Rule::TooLong { length: 65_536, limit: 4096 });
}
