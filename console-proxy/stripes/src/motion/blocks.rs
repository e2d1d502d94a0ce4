//! Shifts in any direction, found by pieces of rows.
//!
//! Each wrong tile gives one piece of a row, the one in which most happens. Their hashes are looked for at each pixel of the
//! area that has changed, as a window that was dragged has left it and is in it. Where one is found, it votes for a shift.

use std::collections::HashMap;

use super::{Plane, Rows, Shift, around};
use crate::geometry::{Grid, Rect, TILE};

/// Pixels of a piece.
const PIECE: usize = TILE as usize;

/// Pieces that must agree on a shift.
const MIN_VOTES: u32 = 3;

/// With so many votes for one shift, the rest of the area is not looked at: a window has them in its first rows. If much is still wrong
/// then, as another one has moved otherwise, the next search finds that.
const ENOUGH_VOTES: u32 = 12;

/// The same where all rows are looked at, as few were not enough.
const MORE_VOTES: u32 = 32;

/// Shifts that are tried.
const MAX_SHIFTS: usize = 4;

/// Changes of colour that a piece must have at least: others are found everywhere.
const MIN_STEPS: usize = 2;

/// Votes that are counted in all, so that patterns do not take long.
const MAX_VOTES: usize = 50_000;

/// The factor of hashes, which roll along a row.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// Places of the table that tells quickly what is not there.
const FILTER: usize = 1 << 14;

/// What has not moved.
const STILL: Shift = Shift { x: 0, y: 0 };

/// Pieces of what is there now, by their hashes.
struct Pieces {
    filter: Vec<u64>,
    places: HashMap<u64, Option<(u16, u16)>>,
}

/// Shifts that several pieces agree on that were in bands of rows, the best one first.
pub(super) fn shifts(before: Plane<'_>, now: Plane<'_>, grid: Grid, wrong: &[usize]) -> Vec<Shift> {
    Pieces::new(now, grid, wrong).agreed(before, around(grid, wrong), Rows::Bands)
}

/// The same of pieces that were anywhere.
pub(super) fn all_shifts(before: Plane<'_>, now: Plane<'_>, grid: Grid, wrong: &[usize]) -> Vec<Shift> {
    Pieces::new(now, grid, wrong).agreed(before, around(grid, wrong), Rows::All)
}

impl Pieces {
    fn new(now: Plane<'_>, grid: Grid, wrong: &[usize]) -> Self {
        let mut pieces = Self { filter: vec![0; FILTER / 64], places: HashMap::new() };
        for tile in wrong {
            let place = grid.rect(*tile);
            if let Some((y, piece)) = busiest(now, place) {
                let hash = piece.iter().fold(0, |hash, pixel| roll(hash, *pixel));
                let (word, bit) = bit(hash);
                pieces.filter[word] |= bit;
                // Pieces that are there twice say nothing.
                pieces.places.entry(hash).and_modify(|place| *place = None).or_insert(Some((place.x, y)));
            }
        }
        pieces
    }

    /// Shifts that several agree on.
    fn agreed(&self, before: Plane<'_>, area: Rect, rows: Rows) -> Vec<Shift> {
        let mut votes: HashMap<Shift, u32> = HashMap::new();
        let mut left = MAX_VOTES;
        let enough = if rows == Rows::Bands { ENOUGH_VOTES } else { MORE_VOTES };
        self.each_found(before, (area, rows), |from, to| {
            let shift =
                Shift { x: i32::from(to.0) - i32::from(from.0), y: i32::from(to.1) - i32::from(from.1) };
            let votes = votes.entry(shift).or_default();
            *votes += 1;
            left -= 1;
            left > 0 && (*votes < enough || shift == STILL)
        });
        let mut votes: Vec<_> =
            votes.into_iter().filter(|(shift, votes)| *shift != STILL && *votes >= MIN_VOTES).collect();
        votes.sort_by_key(|(shift, votes)| (std::cmp::Reverse(*votes), *shift));
        votes.into_iter().take(MAX_SHIFTS).map(|(shift, _)| shift).collect()
    }

    /// Tells where pieces are found in an area, and where they are now, for as long as it is wanted.
    fn each_found(
        &self,
        before: Plane<'_>,
        (area, rows): (Rect, Rows),
        mut found: impl FnMut((u16, u16), (u16, u16)) -> bool,
    ) {
        if usize::from(area.width) < PIECE {
            return;
        }
        // The first pixel of a piece was multiplied once less than there are pixels.
        let first = (1..PIECE).fold(1, |power: u64, _| power.wrapping_mul(FACTOR));
        for y in rows.of(area) {
            let row = before.row(area.x.into(), y.into(), area.width.into());
            let mut hash = row[..PIECE - 1].iter().fold(0, |hash, pixel| roll(hash, *pixel));
            for (x, pixel) in row[PIECE - 1..].iter().enumerate() {
                hash = roll(hash, *pixel);
                let (word, bit) = bit(hash);
                if self.filter[word] & bit != 0
                    && let Some(Some(place)) = self.places.get(&hash)
                    && !found((area.x + x as u16, y), *place)
                {
                    return;
                }
                hash = hash.wrapping_sub((u64::from(row[x]) + 1).wrapping_mul(first));
            }
        }
    }
}

/// The row of a tile in which colours change most, if they do.
fn busiest(now: Plane<'_>, place: Rect) -> Option<(u16, &[u32])> {
    if usize::from(place.width) < PIECE {
        return None;
    }
    let steps = |row: &[u32]| row.windows(2).filter(|pair| pair[0] != pair[1]).count();
    (place.y..place.y + place.height)
        .map(|y| (y, now.row(place.x.into(), y.into(), PIECE)))
        .map(|(y, row)| (steps(row), y, row))
        .filter(|(steps, ..)| *steps >= MIN_STEPS)
        .max_by_key(|(steps, y, _)| (*steps, std::cmp::Reverse(*y)))
        .map(|(_, y, row)| (y, row))
}

/// Takes one pixel more into a hash.
fn roll(hash: u64, pixel: u32) -> u64 {
    hash.wrapping_mul(FACTOR).wrapping_add(u64::from(pixel) + 1)
}

fn bit(hash: u64) -> (usize, u64) {
    let place = (hash.wrapping_mul(0xd6e8_feb8_6659_fd93) >> (64 - FILTER.trailing_zeros())) as usize;
    (place / 64, 1 << (place % 64))
}
