//! Good connections, from a server's first byte on, one folder of `tests/corpus` for each message or encoding. Those that are
//! made here are checked in beside what real servers have sent (`tests/servers` can record that).

use std::path::PathBuf;
use std::{env, fs};

use podzol_rfb::{Encoding, Error};

use crate::hostile::world;
use crate::tight::png;
use crate::wire::*;

/// The kinds, which are the folders.
pub(crate) const KINDS: [&str; 12] = [
    "handshake",
    "raw",
    "copyrect",
    "hextile",
    "zlib",
    "zrle",
    "tight",
    "tight-png",
    "cursor",
    "desktop",
    "clipboard",
    "messages",
];

/// All connections of a kind with their names.
pub(crate) fn of(kind: &str) -> Vec<(String, Vec<u8>)> {
    let files = fs::read_dir(folder().join(kind)).unwrap_or_else(|error| panic!("{kind}: {error}"));
    let mut seeds: Vec<_> = files
        .map(|file| {
            let path = file.unwrap().path();
            (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(&path).unwrap())
        })
        .collect();
    seeds.sort();
    assert!(!seeds.is_empty(), "{kind} has no seeds");
    seeds
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/corpus")
}

/// They are compared by what they do and not by their bytes, as packers make others on other processors.
#[test]
fn all_seeds_are_good_connections_or_refuse_in_good_form() {
    if env::var_os("PODZOL_RENEW_CORPUS").is_some() {
        made().into_iter().for_each(|(kind, name, bytes)| {
            fs::create_dir_all(folder().join(kind)).unwrap();
            fs::write(folder().join(kind).join(name), bytes).unwrap();
        });
    }
    for (kind, name, bytes) in
        KINDS.iter().flat_map(|kind| of(kind).into_iter().map(move |(name, bytes)| (kind, name, bytes)))
    {
        let mut world = world();
        match world.give(&bytes) {
            Ok(()) => assert!(!world.events.is_empty() && world.client.buffered() == 0, "{kind}/{name}"),
            Err(error) => assert_eq!(error, Error::Refused { reason: "sorry".into() }, "{kind}/{name}"),
        }
    }
    assert!(
        made().iter().all(|(kind, name, _)| folder().join(kind).join(name).exists()),
        "PODZOL_RENEW_CORPUS=1 writes them"
    );
}

/// Kind, name and bytes.
fn made() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let mut seeds = vec![
        ("handshake", "none", handshake()),
        (
            "handshake",
            "vnc",
            [b"RFB 003.008\n\x02\x02\x10", &[7; 16][..], &[0; 4], &init(4, 3, b"name")].concat(),
        ),
        ("handshake", "vencrypt", vencrypt()),
        ("handshake", "refused", b"RFB 003.889\n\x01\x01\0\0\0\x01\0\0\0\x05sorry".to_vec()),
        ("handshake", "no-types", b"RFB 003.008\n\0\0\0\0\x05sorry".to_vec()),
    ];
    let whole = (0, 0, 40, 30);
    let ramp = |count: u32| (0..count).map(|index| (index * 0x01_0307) & 0xff_ffff);
    let plain = pixels(pixel, ramp(1200));
    let raw = [rectangle(whole, Encoding::Raw, &plain), rectangle((39, 29, 1, 1), Encoding::Raw, &pixel(1))];
    seeds.push(("raw", "two", connection(&raw)));
    let copies = [(0, 0, 5, 5), (1, 1, 5, 5), (35, 25, 5, 5)];
    let copy = copies.map(|place| rectangle(place, Encoding::CopyRect, &[0, 3, 0, 2]));
    seeds.push(("copyrect", "three", connection(&copy)));
    seeds.push(("hextile", "tiles", connection(&[hextile()])));
    let mut packer = Packer::new();
    let zlib = [whole, whole].map(|place| rectangle(place, Encoding::Zlib, &packer.long(&plain)));
    seeds.push(("zlib", "two", connection(&zlib)));
    let mut packer = Packer::new();
    let zrle = zrle_tiles().map(|(place, plain)| rectangle(place, Encoding::Zrle, &packer.long(&plain)));
    seeds.push(("zrle", "tiles", connection(&zrle)));
    seeds.push(("tight", "filters", connection(&tight())));
    let image = png(png::ColorType::Rgb, png::BitDepth::Eight, &pixels(tpixel, ramp(27)));
    let image = [&[0xa0], &compact(image.len())[..], &image].concat();
    seeds.push(("tight-png", "one", connection(&[rectangle((1, 1, 9, 3), Encoding::TightPng, &image)])));
    seeds.extend([cursors(), desktop(), clipboard(), messages()]);
    seeds
}

fn connection(rectangles: &[Vec<u8>]) -> Vec<u8> {
    [handshake(), update(rectangles), vec![2]].concat()
}

fn vencrypt() -> Vec<u8> {
    let types = [257_u32, 258, 259, 260, 261, 262, 256].map(u32::to_be_bytes).concat();
    [&b"RFB 003.008\n\x01\x13\0\x02\0\x07"[..], &types, &[0; 4], &init(4, 3, b"name")].concat()
}

fn hextile() -> Vec<u8> {
    let tiles = [
        [&[2 | 4 | 8][..], &pixel(1), &pixel(2), &[2, 0x00, 0x33, 0x44, 0x55]].concat(),
        [&[8 | 16, 1][..], &pixel(3), &[0x12, 0x21]].concat(),
        [&[2][..], &pixel(4)].concat(),
        [&[1][..], &pixels(pixel, 0..16 * 14)].concat(),
        [&[0][..], &[8, 1, 0x00, 0x00]].concat(),
    ];
    rectangle((0, 0, 40, 30), Encoding::Hextile, &tiles.concat())
}

/// Tiles of ZRLE before they are packed.
pub(crate) fn zrle_tiles() -> [(Place, Vec<u8>); 7] {
    let place = (3, 4, 5, 2);
    [
        (place, [&[0][..], &pixels(cpixel, 1..11)].concat()),
        (place, [&[1][..], &cpixel(9)].concat()),
        (place, [&[2][..], &pixels(cpixel, [1, 2]), &[0x58, 0x80]].concat()),
        (place, [&[4][..], &pixels(cpixel, [1, 2, 3, 4]), &[0x1b, 0x40, 0xe4, 0]].concat()),
        (place, [&[16][..], &pixels(cpixel, 1..17), &[0x01, 0x23, 0x40, 0xfe, 0xdc, 0xb0]].concat()),
        ((0, 0, 30, 30), [&[128][..], &cpixel(1), &[255, 255, 0], &cpixel(2), &[255, 133]].concat()),
        (place, [&[130][..], &pixels(cpixel, [1, 2]), &[0, 0x81, 4, 0, 0x80, 2]].concat()),
    ]
}

fn tight() -> Vec<Vec<u8>> {
    let (plain, place) = (pixels(tpixel, 1..28), (2, 1, 9, 3));
    let indices: Vec<u8> = (0..27).map(|index| index % 3).collect();
    let mut jpeg = Vec::new();
    jpeg_encoder::Encoder::new(&mut jpeg, 90).encode(&[99; 81], 9, 3, jpeg_encoder::ColorType::Rgb).unwrap();
    let bodies = [
        [&[0x80][..], &tpixel(5)].concat(),
        [&[0x00][..], &Packer::new().compact(&plain)].concat(),
        [&[0x50, 1, 1][..], &pixels(tpixel, [5, 6]), &[0xaa, 0x80, 0, 0, 0xff, 0x80]].concat(),
        [&[0x60, 1, 2][..], &pixels(tpixel, [7, 8, 9]), &Packer::new().compact(&indices)].concat(),
        [&[0x71, 2][..], &Packer::new().compact(&plain)].concat(),
        [&[0xa0][..], &compact(plain.len()), &plain].concat(),
        [&[0x9f][..], &compact(jpeg.len()), &jpeg].concat(),
    ];
    bodies.map(|body| rectangle(place, Encoding::Tight, &body)).to_vec()
}

fn cursors() -> (&'static str, &'static str, Vec<u8>) {
    let masked = [&pixels(pixel, 1..21)[..], &[0xc0, 0x40, 0x00, 0x80]].concat();
    let rectangles = [
        rectangle((3, 2, 10, 2), Encoding::Cursor, &masked),
        rectangle((0, 0, 2, 1), Encoding::CursorAlpha, &[0, 0, 0, 0, 1, 2, 3, 4, 0x80, 0, 0, 0x80]),
        rectangle((0, 0, 0, 0), Encoding::Cursor, &[]),
    ];
    ("cursor", "three", connection(&rectangles))
}

fn desktop() -> (&'static str, &'static str, Vec<u8>) {
    let screens = [&[2, 0, 0, 0][..], &[1; 32]].concat();
    let rectangles = [
        rectangle((0, 0, 50, 20), Encoding::DesktopSize, &[]),
        rectangle((1, 0, 30, 30), Encoding::ExtendedDesktopSize, &screens),
        rectangle((1, 3, 9, 9), Encoding::ExtendedDesktopSize, &screens),
        rectangle((29, 29, 1, 1), Encoding::Raw, &pixel(5)),
        rectangle((0, 0, 0, 0), Encoding::DesktopName, b"\0\0\0\x04name"),
        rectangle((0, 0, 0, 0), Encoding::LedState, &[5]),
        rectangle((0, 0, 0, 0), Encoding::VmwareLedState, &[0, 0, 0, 5]),
        rectangle((0, 0, 0, 0), Encoding::ExtendedKeys, &[]),
        rectangle((1, 0, 0, 0), Encoding::PointerMode, &[]),
        rectangle((0, 0, 0, 0), Encoding::LastRect, &[]),
    ];
    ("desktop", "all", connection(&rectangles))
}

fn clipboard() -> (&'static str, &'static str, Vec<u8>) {
    let packed = zlib(b"\0\0\0\x05a\r\nb\0");
    let flags = |flag: u32, bytes: &[u8]| extended(flag, bytes);
    let messages = [
        cut_text(4, b"text"),
        flags(0x1f00_0001, &[0; 4]),
        flags(0x0800_0001, &[]),
        flags(0x0200_0001, &[]),
        flags(0x0400_0000, &[]),
        flags(0x1000_0001, &packed),
        cut_text(1200, &[b'a'; 1200]),
    ];
    ("clipboard", "all", [handshake(), messages.concat()].concat())
}

fn messages() -> (&'static str, &'static str, Vec<u8>) {
    let map = [&[1, 0, 0, 5, 0, 3][..], &[9; 18]].concat();
    (
        "messages",
        "all",
        [handshake(), vec![2], map, vec![250, 0, 1, 1, 250, 0, 1, 0], update(&[]), vec![2]].concat(),
    )
}
