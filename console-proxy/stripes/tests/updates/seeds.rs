//! Chains of good bodies from a fresh one on, each with its length before it (four bytes, the highest first), one folder of
//! `tests/corpus` for each part of a body.

use std::path::PathBuf;
use std::{env, fs};

use podzol_stripes::decode::{Applied, View};
use podzol_stripes::{Cursor, Rect, Size};

use crate::world::{ALL, World};

/// The kinds, which are the folders.
pub(crate) const KINDS: [&str; 7] = ["copies", "fills", "hits", "bits", "png", "jpeg", "cursor"];

/// All chains of a kind with their names.
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

/// The bodies of a chain.
pub(crate) fn bodies(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut bodies = vec![];
    while let Some((length, rest)) = bytes.split_first_chunk() {
        let (body, rest) = rest.split_at(u32::from_be_bytes(*length) as usize);
        bodies.push(body.to_vec());
        bytes = rest;
    }
    bodies
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/corpus")
}

#[test]
fn all_seeds_are_applied() {
    if env::var_os("PODZOL_RENEW_CORPUS").is_some() {
        KINDS.into_iter().for_each(|kind| {
            fs::create_dir_all(folder().join(kind)).unwrap();
            fs::write(folder().join(kind).join("made"), made(kind)).unwrap();
        });
    }
    for (kind, name, bytes) in
        KINDS.iter().flat_map(|kind| of(kind).into_iter().map(move |(n, b)| (kind, n, b)))
    {
        let mut view = View::new(2000 * 2000);
        for body in bodies(&bytes) {
            assert_eq!(view.apply(&body), Ok(Applied::New), "{kind}/{name}");
        }
    }
}

/// The bytes of a chain in which a part of a body is.
fn made(kind: &str) -> Vec<u8> {
    let mut world = World::new(Size::new(200, 150), 1);
    let mut bytes = vec![];
    for step in 0..3 {
        step_of(kind, step, &mut world);
        if world.ask(0, ALL) {
            let body = world.viewers[0].line[0].clone();
            bytes.extend((body.len() as u32).to_be_bytes());
            bytes.extend(body);
            world.viewers[0].arrive();
        }
    }
    bytes
}

fn step_of(kind: &str, step: u16, world: &mut World) {
    let whole = Rect::new(0, 0, 200, 150);
    let noise = |x: u16, y: u16| {
        let mixed = (u32::from(x) << 16 | u32::from(y)).wrapping_mul(0x9e37_79b1);
        (mixed ^ mixed >> 15).wrapping_mul(0x85eb_ca6b) >> 8
    };
    match kind {
        "copies" => world.paint(whole, |x, y| noise(x + step * 3, y + step * 5) & 0x0f_0f0f),
        "fills" => {
            world.paint(Rect::new(16, 16, 100, 90), |x, _| if x < 50 { u32::from(step) } else { 0xff })
        }
        "hits" => world.paint(whole, |x, y| noise(x / 3 + step % 2 * 900, y / 3)),
        "bits" => {
            world.paint(whole, |x, y| [0, 0xff_ffff, 0x80, 9, 8][usize::from((x * y + step) % (2 + step))])
        }
        "png" if step == 0 => world.paint(whole, |x, y| noise(x, y) & 0x03_0703),
        "png" => world.paint(whole, |x, y| noise(x + step, y)),
        "jpeg" => {
            world.paint(whole, |x, y| 0x50_6070 + u32::from(x / 2) + (noise(x + step, y) & 15) * 0x01_0101)
        }
        _ => {
            let pixels = (0..35).map(|pixel| (pixel * 0x0701_0203 / 35) | u32::from(step)).collect();
            let cursor = Cursor { hotspot: (2, 3), size: Size::new(7, 5), pixels };
            world.screen.set_cursor((step != 2).then_some(&cursor));
        }
    }
}
