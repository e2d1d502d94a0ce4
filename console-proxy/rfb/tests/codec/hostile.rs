//! Connections of `tests/corpus`, damaged at random for as many rounds as take a second or two, and then for as long
//! as `PODZOL_FUZZ_SECONDS` says, with another beginning each time.

use podzol_fuzz::rounds;
use podzol_rfb::{Config, Limits, Security};
use rand::Rng;
use rand::rngs::StdRng;

use crate::seeds;
use crate::wire::{Packer, handshake, rectangle, update};
use crate::world::{World, config};

/// Rounds of each kind.
const ROUNDS: usize = 20_000;

/// Where the rounds that are always the same begin.
const BEGINNING: u64 = 0x72_6662;

/// A client for all seeds: it allows each security type, and desktops as large as QEMU's first one.
pub(crate) fn world() -> World {
    let security = vec![Security::None, Security::Vnc, Security::Plain, Security::X509Vnc];
    let limits = Limits { pixels: 640 * 480, clipboard: 1000 };
    World::new(Config { security, limits, ..config() })
}

/// Damages the connections of a kind behind their handshake. Some must still be good, and some must be refused.
fn damage_all(kind: &str) {
    let seeds: Vec<_> =
        seeds::of(kind).into_iter().map(|(_, bytes)| (handshake_of(&bytes, kind), bytes)).collect();
    let (mut good, mut refused) = (0, 0);
    rounds(ROUNDS, BEGINNING, |round, random| {
        let (handshake, bytes) = &seeds[round % seeds.len()];
        let mut bytes = bytes.clone();
        damage(random, &mut bytes, *handshake);
        let mut world = world();
        match world.give(&bytes) {
            Ok(()) => good += 1,
            Err(_) => refused += 1,
        }
        // Of a large desktop, some are enough.
        assert!(world.pixels.iter().step_by(1 + world.pixels.len() / 2000).all(|pixel| pixel >> 24 == 0));
    });
    assert!(good > ROUNDS / 100 && refused > ROUNDS / 100, "{kind}: {good} good, {refused} refused");
}

/// How many bytes lead to the session; none of those of a handshake itself.
fn handshake_of(bytes: &[u8], kind: &str) -> usize {
    let mut world = world();
    if kind == "handshake" {
        return 0;
    }
    let connects = |index: &usize| {
        world.give(&bytes[*index..=*index]).unwrap();
        world.client.size().is_some()
    };
    (0..bytes.len()).find(connects).unwrap() + 1
}

/// Changes one to four places from a byte on: a bit, a byte, a number, a piece twice or away, or the end.
fn damage(random: &mut StdRng, bytes: &mut Vec<u8>, from: usize) {
    for _ in 0..random.random_range(1..=4) {
        if bytes.len() <= from {
            return;
        }
        // Heads are at the front of a connection, where most damage should be.
        let end = if random.random() { bytes.len() } else { bytes.len().min(from + 40) };
        let at = random.random_range(from..end);
        match random.random_range(0..8) {
            0 => bytes[at] ^= 1 << random.random_range(0..8),
            1 => bytes[at] = random.random(),
            2 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][random.random_range(0..5)],
            3 => {
                let number: u32 =
                    [0, 1, 0xffff, 0x7fff_ffff, 0x8000_0000, u32::MAX][random.random_range(0..6)];
                bytes[at..].iter_mut().zip(number.to_be_bytes()).for_each(|(byte, new)| *byte = new);
            }
            4 => bytes.insert(at, random.random()),
            5 => drop(bytes.drain(at..bytes.len().min(at + random.random_range(1..20)))),
            6 => {
                let piece = bytes[at..bytes.len().min(at + random.random_range(1..200))].to_vec();
                drop(bytes.splice(at..at, piece));
            }
            _ => bytes.truncate(at),
        }
    }
}

macro_rules! damaged {
    ($($name:ident: $kind:literal,)*) => {
        $(#[test]
        fn $name() {
            damage_all($kind);
        })*

        #[test]
        fn each_kind_of_seeds_is_damaged() {
            assert_eq!([$($kind),*], seeds::KINDS);
        }
    };
}

damaged! {
    a_damaged_handshake_is_survived: "handshake",
    damaged_raw_pixels_are_survived: "raw",
    damaged_copies_are_survived: "copyrect",
    damaged_hextile_is_survived: "hextile",
    damaged_zlib_is_survived: "zlib",
    damaged_zrle_is_survived: "zrle",
    damaged_tight_is_survived: "tight",
    damaged_tight_png_is_survived: "tight-png",
    damaged_cursors_are_survived: "cursor",
    damaged_desktops_are_survived: "desktop",
    damaged_clipboards_are_survived: "clipboard",
    damaged_messages_are_survived: "messages",
}

/// Damage to packed bytes is mostly found by their checks, so here it is done before they are packed.
#[test]
fn damaged_tiles_in_a_good_stream_are_survived() {
    let tiles = seeds::zrle_tiles();
    let (mut good, mut refused) = (0, 0);
    rounds(ROUNDS, BEGINNING, |round, random| {
        let (place, mut plain) = tiles[round % tiles.len()].clone();
        damage(random, &mut plain, 0);
        let (encoding, bytes) = match random.random_range(0..4) {
            0 => (podzol_rfb::Encoding::Zlib, Packer::new().long(&plain)),
            1 => {
                let control = [0x00, 0x10, 0x4f, 0x60][random.random_range(0..4)];
                let filter = [vec![], vec![random.random_range(0..3), random.random()]]
                    [usize::from(control >= 0x40)]
                .clone();
                (
                    podzol_rfb::Encoding::Tight,
                    [&[control][..], &filter, &Packer::new().compact(&plain)].concat(),
                )
            }
            _ => (podzol_rfb::Encoding::Zrle, Packer::new().long(&plain)),
        };
        let bytes = [handshake(), update(&[rectangle(place, encoding, &bytes)])].concat();
        match world().give(&bytes) {
            Ok(()) => good += 1,
            Err(_) => refused += 1,
        }
    });
    assert!(good > ROUNDS / 100 && refused > ROUNDS / 100, "{good} good, {refused} refused");
}

#[test]
fn noise_is_survived() {
    rounds(ROUNDS, BEGINNING, |round, random| {
        let mut noise = vec![0; random.random_range(0..2000)];
        random.fill(&mut noise[..]);
        let kind = (round % 5) as u8;
        let bytes = if kind == 4 { noise } else { [handshake(), vec![kind], noise].concat() };
        drop(world().give(&bytes));
    });
}
