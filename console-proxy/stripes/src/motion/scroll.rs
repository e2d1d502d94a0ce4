//! Vertical shifts, found by the hashes of rows in the area that has changed.

use std::collections::HashMap;

use super::{Plane, Rows, Shift, around};
use crate::geometry::{Grid, Rect};

/// Rows that must agree on a shift: half a line of text.
const MIN_VOTES: u32 = 8;

/// The same when few rows are looked for.
const MIN_SAMPLED_VOTES: u32 = 3;

/// Shifts that are tried. More than one if regions scroll by themselves.
const MAX_SHIFTS: usize = 2;

/// Stretches of a row that are looked at first, at equal distances.
const SAMPLES: usize = 8;

/// Pixels of a stretch: what memory gives at a time.
const STRETCH: usize = 16;

/// What is looked at.
struct Looks {
    /// Of so many stretches of a row one is.
    every: usize,
    /// Those that are looked for.
    rows: Rows,
    /// Votes that are enough.
    enough: u32,
}

/// Shifts that many rows agree on by samples of them, the best one first.
pub(super) fn shifts(before: Plane<'_>, now: Plane<'_>, grid: Grid, wrong: &[usize]) -> Vec<Shift> {
    let area = around(grid, wrong);
    let every = usize::from(area.width).div_ceil(STRETCH * SAMPLES);
    agreed(before, now, area, Looks { every, rows: Rows::Bands, enough: MIN_SAMPLED_VOTES })
}

/// The same by all pixels: of what scrolls in a narrow place, samples may have nothing.
pub(super) fn narrow_shifts(before: Plane<'_>, now: Plane<'_>, grid: Grid, wrong: &[usize]) -> Vec<Shift> {
    agreed(before, now, around(grid, wrong), Looks { every: 1, rows: Rows::All, enough: MIN_VOTES })
}

/// Those on which rows agree.
fn agreed(before: Plane<'_>, now: Plane<'_>, area: Rect, Looks { every, rows, enough }: Looks) -> Vec<Shift> {
    let hash = |plane: Plane<'_>, y: u16| hash(plane.row(area.x.into(), y.into(), area.width.into()), every);
    let mut places: HashMap<u64, Option<u16>> = HashMap::with_capacity(area.height.into());
    for y in Rows::All.of(area) {
        // Rows that are there twice, as blank ones are, say nothing.
        places.entry(hash(before, y)).and_modify(|place| *place = None).or_insert(Some(y));
    }
    let mut votes: HashMap<i32, u32> = HashMap::new();
    for y in rows.of(area) {
        if let Some(Some(place)) = places.get(&hash(now, y)) {
            *votes.entry(i32::from(y) - i32::from(*place)).or_default() += 1;
        }
    }
    let mut votes: Vec<_> =
        votes.into_iter().filter(|(shift, votes)| *shift != 0 && *votes >= enough).collect();
    votes.sort_by_key(|(shift, votes)| (std::cmp::Reverse(*votes), *shift));
    votes.into_iter().take(MAX_SHIFTS).map(|(y, _)| Shift { x: 0, y }).collect()
}

/// Any quick hash will do, as pixels are compared later. Two pixels are one number, and four numbers at a time do not wait for one another.
fn hash(row: &[u32], every: usize) -> u64 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let step = |hash: u64, number: u64| (hash.rotate_left(23) ^ number).wrapping_mul(FACTOR);
    let mut lanes = [1_u64, 2, 3, 4];
    for stretch in row.chunks(STRETCH).step_by(every) {
        let (pairs, rest) = stretch.as_chunks::<2>();
        for four in pairs.chunks(4) {
            lanes.iter_mut().zip(four).for_each(|(lane, [one, other])| {
                *lane = step(*lane, u64::from(*one) << 32 | u64::from(*other))
            });
        }
        rest.iter().for_each(|pixel| lanes[0] = step(lanes[0], (*pixel).into()));
    }
    lanes.into_iter().fold(0, |hash, lane| (hash.rotate_left(17) ^ lane).wrapping_mul(FACTOR))
}
