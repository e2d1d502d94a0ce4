//! What is to be seen after each body of a chain, for decoders in other languages: `tests/pictures/hashes` has a line for each
//! body of each chain with the kind, the body's number in the chain, the picture's size, and hashes of its samples and of the
//! cursor's (`none` if there is none). Of the JPEG images, which no two decoders take for quite the same, there is the picture.
//!
//! Two more chains: one fills the cache, so that the oldest slots are used again; in one things move, and the desktop gets
//! another size.
//!
//! `PODZOL_RENEW_CORPUS=1` writes them all.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::{env, fs};

use podzol_stripes::decode::View;
use podzol_stripes::{Rect, Size};

use crate::seeds;
use crate::world::{ALL, World};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/pictures")
}

/// FNV-1a of 32 bits, from two beginnings.
fn hash(bytes: impl Iterator<Item = u8>) -> String {
    let (one, two) = bytes.fold((0x811c_9dc5_u32, 0x9747_b28c_u32), |(one, two), byte| {
        let step = |hash: u32| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
        (step(one), step(two))
    });
    format!("{one:08x}{two:08x}")
}

fn samples(view: &View) -> impl Iterator<Item = u8> {
    view.pixels().iter().flat_map(|pixel| pixel.to_be_bytes().into_iter().skip(1))
}

/// More distinct tiles than the cache has slots, and then some that it still has, and some that it has no longer.
fn full_cache() -> Vec<u8> {
    let mut world = World::new(Size::new(256, 208), 1);
    let mut chain = vec![];
    for page in (0..22).chain([20, 8, 2, 0, 21, 1]) {
        world.paint(Rect::new(0, 0, 256, 208), |x, y| {
            let tile = page * 208 + y / 16 * 16 + x / 16 + 1;
            u32::from(y % 16 == 3 && tile >> (x % 16) & 1 == 1) * 0xff_ffff
        });
        push(&mut chain, &mut world);
    }
    chain
}

/// A pattern of few colours that moves, on a desktop that gets larger and smaller.
fn moves() -> Vec<u8> {
    let mut world = World::new(Size::new(200, 150), 1);
    let mut chain = vec![];
    for step in 0..8_u16 {
        if step == 4 || step == 6 {
            let side = if step == 4 { 203 } else { 133 };
            world.screen.resize(Size::new(side, side / 2));
        }
        let Size { width, height } = world.screen.size();
        world.paint(Rect::new(0, 0, width, height), |x, y| {
            let (x, y) = (u32::from(x + step * 3), u32::from(y + step * 5));
            let mixed = (x << 16 | y).wrapping_mul(0x9e37_79b1);
            [0, 0xff_ffff, 0x80, 0xaa_5500, 7, 8][((mixed ^ mixed >> 15) % 6) as usize]
        });
        push(&mut chain, &mut world);
    }
    chain
}

/// The next body, which arrives.
fn push(chain: &mut Vec<u8>, world: &mut World) {
    assert!(world.ask(0, ALL));
    let body = world.viewers[0].line[0].clone();
    chain.extend((body.len() as u32).to_be_bytes());
    chain.extend(body);
    world.viewers[0].arrive();
}

fn write_picture(view: &View) {
    let size = view.size();
    let file = fs::File::create(folder().join("jpeg.png")).unwrap();
    let mut encoder = png::Encoder::new(file, size.width.into(), size.height.into());
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_compression(png::Compression::High);
    encoder.write_header().unwrap().write_image_data(&samples(view).collect::<Vec<_>>()).unwrap();
}

#[test]
fn pictures_are_those_that_other_decoders_are_tested_against() {
    let renew = env::var_os("PODZOL_RENEW_CORPUS").is_some();
    if renew {
        fs::create_dir_all(folder()).unwrap();
        fs::write(folder().join("full-cache"), full_cache()).unwrap();
        fs::write(folder().join("moves"), moves()).unwrap();
    }
    let mut chains: Vec<_> = seeds::KINDS.map(|kind| (kind, seeds::of(kind).remove(0).1)).into();
    chains.extend(["full-cache", "moves"].map(|kind| (kind, fs::read(folder().join(kind)).unwrap())));
    let mut lines = String::new();
    for (kind, chain) in chains {
        let mut view = View::new(1 << 20);
        for (number, body) in seeds::bodies(&chain).iter().enumerate() {
            view.apply(body).unwrap();
            let Size { width, height } = view.size();
            let picture = hash(samples(&view));
            let cursor = view.cursor().map(|cursor| hash(cursor.samples.iter().copied()));
            let cursor = cursor.as_deref().unwrap_or("none");
            writeln!(lines, "{kind} {number} {width} {height} {picture} {cursor}").unwrap();
        }
        if renew && kind == "jpeg" {
            write_picture(&view);
        }
    }
    if renew {
        fs::write(folder().join("hashes"), &lines).unwrap();
    }
    assert_eq!(lines, fs::read_to_string(folder().join("hashes")).unwrap());
}
