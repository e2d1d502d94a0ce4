//! What happens does not depend on the pieces in which bytes come.

use podzol_rfb::{Error, Event};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::hostile::world;
use crate::seeds;

/// What is seen of a connection: events, pixels, what the client says, and how it ends.
#[derive(Debug, PartialEq)]
struct Seen {
    events: Vec<Event>,
    pixels: Vec<u32>,
    said: Vec<u8>,
    ended: Result<(), Error>,
}

/// Gives a connection in pieces, whose lengths come from a function of what is left.
fn seen(bytes: &[u8], mut length: impl FnMut(usize) -> usize) -> Seen {
    let (mut world, mut left, mut ended) = (world(), bytes, Ok(()));
    while !left.is_empty() && ended.is_ok() {
        let piece;
        (piece, left) = left.split_at(length(left.len()).clamp(1, left.len()));
        ended = world.give(piece);
    }
    // Of a broken rectangle, pixels may have been painted or not.
    let pixels = if ended.is_ok() { world.pixels.clone() } else { Vec::new() };
    let said = world.said();
    Seen { events: world.events, pixels, said, ended }
}

#[test]
fn byte_by_byte_the_same_happens_as_at_once() {
    for (kind, name, bytes) in all() {
        assert_eq!(seen(&bytes, |_| 1), seen(&bytes, whole), "{kind}/{name}");
    }
}

#[test]
fn at_every_place_a_connection_can_be_cut_in_two() {
    for (kind, name, bytes) in all().into_iter().filter(|(_, _, bytes)| bytes.len() < 1500) {
        let at_once = seen(&bytes, whole);
        for place in 1..bytes.len() {
            let mut first = Some(place);
            let cut = seen(&bytes, |left| first.take().unwrap_or(left));
            assert_eq!(cut, at_once, "{kind}/{name} cut at {place}");
        }
    }
}

#[test]
fn pieces_of_any_length_do_the_same_and_so_do_damaged_bytes() {
    let mut random = StdRng::seed_from_u64(0x72_6662);
    for (kind, name, bytes) in all() {
        for round in 0..40 {
            let mut bytes = bytes.clone();
            if round % 2 == 1 {
                let place = random.random_range(0..bytes.len());
                bytes[place] = random.random();
            }
            let longest = [3, 20, 200, 5000][round / 2 % 4];
            let pieces = seen(&bytes, |_| random.random_range(1..=longest));
            assert_eq!(pieces, seen(&bytes, whole), "{kind}/{name}");
        }
    }
}

fn whole(left: usize) -> usize {
    left
}

fn all() -> Vec<(&'static str, String, Vec<u8>)> {
    seeds::KINDS
        .iter()
        .flat_map(|kind| seeds::of(kind).into_iter().map(move |(name, bytes)| (*kind, name, bytes)))
        .collect()
}
