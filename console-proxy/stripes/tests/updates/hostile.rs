//! Bodies of `tests/corpus`, damaged at random for as many rounds as take a second or two, and then for as long as
//! `PODZOL_FUZZ_SECONDS` says, with another beginning each time.

use podzol_fuzz::rounds;
use podzol_stripes::decode::View;
use rand::Rng;
use rand::rngs::StdRng;

use crate::seeds;

/// Rounds of each kind.
const ROUNDS: usize = 4000;

/// Where the rounds that are always the same begin.
pub(crate) const BEGINNING: u64 = 0x7374_7269;

/// Pixels that the viewer takes: twice the seeds' desktops.
const PIXELS: usize = 2 * 208 * 160;

/// Damages one body of a chain: the others are good, so that there is something to damage.
fn damage_all(kind: &str) {
    let seeds: Vec<Vec<Vec<u8>>> = seeds::of(kind).iter().map(|(_, bytes)| seeds::bodies(bytes)).collect();
    let (mut good, mut refused) = (0, 0);
    rounds(ROUNDS, BEGINNING, |round, random| {
        let mut bodies = seeds[round % seeds.len()].clone();
        let at = random.random_range(0..bodies.len());
        damage(random, &mut bodies[at]);
        let mut view = View::new(PIXELS);
        for body in bodies {
            match view.apply(&body) {
                Ok(_) => good += 1,
                Err(_) => refused += 1,
            }
            assert!(view.pixels().len() == view.size().pixels() && view.pixels().len() <= PIXELS);
            assert!(view.pixels().iter().step_by(97).all(|pixel| pixel >> 24 == 0));
        }
    });
    assert!(good > ROUNDS / 100 && refused > ROUNDS / 100, "{kind}: {good} good, {refused} refused");
}

/// Changes one to three places: a bit, a byte, a number, a piece twice or away, or the end.
fn damage(random: &mut StdRng, bytes: &mut Vec<u8>) {
    for _ in 0..random.random_range(1..=3) {
        if bytes.is_empty() {
            return;
        }
        // Heads are at the front, where most damage should be.
        let end = if random.random() { bytes.len() } else { bytes.len().min(60) };
        let at = random.random_range(0..end);
        match random.random_range(0..8) {
            0 => bytes[at] ^= 1 << random.random_range(0..8),
            1 => bytes[at] = random.random(),
            2 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][random.random_range(0..5)],
            3 => {
                let number = [&[0xff, 0xff, 0xff, 0xff, 0x0f][..], &[0xff, 0xff, 0x03], &[0x80, 0x80, 0x01]];
                let number = number[random.random_range(0..3)];
                bytes[at..].iter_mut().zip(number).for_each(|(byte, new)| *byte = *new);
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
    damaged_copies_are_survived: "copies",
    damaged_fills_are_survived: "fills",
    damaged_hits_are_survived: "hits",
    damaged_bits_are_survived: "bits",
    damaged_png_is_survived: "png",
    damaged_jpeg_is_survived: "jpeg",
    damaged_cursors_are_survived: "cursor",
}

#[test]
fn noise_is_survived() {
    rounds(ROUNDS, BEGINNING, |_, random| {
        let mut noise = vec![0; random.random_range(0..500)];
        random.fill(&mut noise[..]);
        let fresh = [&[1, 3 | noise.first().copied().unwrap_or_default(), 1, 40, 40][..], &noise].concat();
        for body in [noise, fresh] {
            drop(View::new(PIXELS).apply(&body));
        }
    });
}
