//! What has moved: text that scrolls, in all of the desktop or a region, and windows that are dragged.
//!
//! A shift is proposed by [`scroll`] or [`blocks`], which look at hashes; then each wrong tile that is right after the shift is
//! grown to the largest rectangle that is, pixel by pixel. So hashes only say where to look: whatever they say, each pixel of
//! a copy has been compared. To read all pixels is most of the work, so hashes are of samples first, and no pixel of a copy is
//! compared twice.
//!
//! Copies are done one after the other, in the viewer's picture as well as in the pixels here, so what one has overwritten
//! the next does not take.

mod blocks;
mod grow;
mod scroll;

use crate::geometry::{Grid, Rect};

/// Most copies of an update. Each is worth several tiles; more than a few are found when lines of text were shuffled.
pub(crate) const MAX_COPIES: usize = 64;

/// With fewer wrong tiles than this, nothing is searched: what they cost is less than the search.
const MIN_TILES: usize = 6;

/// When less than one of so many tiles is still wrong, what has moved was found: the next search would look at all of the area again, for
/// the few tiles that a line of text or the track of a window is.
const ENOUGH: usize = 4;

/// Pixels that were elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Copy {
    pub(crate) to: Rect,
    pub(crate) shift: Shift,
}

/// How far pixels have moved to the right and down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Shift {
    pub(crate) x: i32,
    pub(crate) y: i32,
}

/// Where something may have moved.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Field {
    pub(crate) grid: Grid,
    pub(crate) area: Rect,
}

/// Which rows of an area are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rows {
    All,
    /// Bands of them, a fourth of all. Within a band there are all: rows of a letter are often like the ones beside them, and a shift
    /// that is wrong by one would be found instead of one whose rows are left out.
    Bands,
}

/// Rows of a band, about a line of text.
const BAND: u16 = 16;

impl Rows {
    /// Those of an area.
    fn of(self, area: Rect) -> impl Iterator<Item = u16> {
        let is_in = move |y: &u16| self == Self::All || (*y - area.y) / BAND % 4 == 1;
        (area.y..area.y + area.height).filter(is_in)
    }
}

/// Pixels in rows.
#[derive(Clone, Copy)]
pub(crate) struct Plane<'a> {
    pub(crate) pixels: &'a [u32],
    pub(crate) width: usize,
}

impl<'a> Plane<'a> {
    /// Pixels of a row.
    fn row(self, x: usize, y: usize, width: usize) -> &'a [u32] {
        let start = y * self.width + x;
        &self.pixels[start..start + width]
    }
}

impl Copy {
    /// Where the pixels were.
    pub(crate) fn from(self) -> Rect {
        let moved = |place: u16, shift: i32| (i32::from(place) - shift) as u16;
        Rect { x: moved(self.to.x, self.shift.x), y: moved(self.to.y, self.shift.y), ..self.to }
    }

    /// Does it on pixels in rows of this width.
    pub(crate) fn apply(self, pixels: &mut [u32], width: usize) {
        let (from, to) = (self.from(), self.to);
        let start = |x: u16, y: u16| usize::from(y) * width + usize::from(x);
        let mut copy_row = |row: u16| {
            let from = start(from.x, from.y + row);
            pixels.copy_within(from..from + usize::from(to.width), start(to.x, to.y + row));
        };
        // What is moved down is copied from below, so that no row is overwritten before it is read.
        if to.y > from.y {
            (0..to.height).rev().for_each(&mut copy_row);
        } else {
            (0..to.height).for_each(&mut copy_row);
        }
    }
}

/// A way of searching: from what was there before and what is now, and the tiles that are wrong, to shifts.
type Search = fn(Plane<'_>, Plane<'_>, Grid, &[usize]) -> Vec<Shift>;

/// The ways of searching, the cheapest first.
const SEARCHES: [Search; 4] = [scroll::shifts, blocks::shifts, blocks::all_shifts, scroll::narrow_shifts];

/// Finds copies within an area, and does them on the pixels of before, of which those that the viewer does not have must be
/// of no colour. Pixels outside of the area are not looked at. Tiles that are right thereby are taken from the wrong ones.
/// Those of one colour are no reason to copy.
///
/// One way of searching is `first`, as what moves goes on to move: gives the one that has found something.
pub(crate) fn find(
    before: &mut [u32],
    now: &[u32],
    Field { grid, area }: Field,
    wrong: &mut Vec<usize>,
    is_plain: impl Fn(usize) -> bool,
    first: usize,
) -> (Vec<Copy>, Option<usize>) {
    let width = usize::from(grid.size.width);
    let now = Plane { pixels: now, width };
    let (mut copies, mut found_by, all) = (vec![], None, wrong.len());
    for way in std::iter::once(first).chain((0..SEARCHES.len()).filter(|way| *way != first)) {
        let drawn: Vec<usize> = wrong.iter().copied().filter(|tile| !is_plain(*tile)).collect();
        if drawn.len() < MIN_TILES || wrong.len() * ENOUGH < all {
            break;
        }
        for shift in SEARCHES[way](Plane { pixels: before, width }, now, grid, &drawn) {
            follow(before, now, Field { grid, area }, shift, &drawn, &mut copies);
        }
        if !copies.is_empty() {
            found_by.get_or_insert(way);
            wrong.retain(|tile| !is_right(&copies, Plane { pixels: before, width }, now, grid.rect(*tile)));
        }
    }
    (copies, found_by)
}

/// Copies whatever is right after a shift.
fn follow(
    before: &mut [u32],
    now: Plane<'_>,
    Field { grid, area }: Field,
    shift: Shift,
    wrong: &[usize],
    copies: &mut Vec<Copy>,
) {
    for tile in wrong {
        if copies.len() == MAX_COPIES {
            return;
        }
        let (place, plane) = (grid.rect(*tile), Plane { pixels: before, width: now.width });
        if is_right(copies, plane, now, place) {
            continue;
        }
        if let Some(to) = grow::grown(plane, now, area, shift, place) {
            let copy = Copy { to, shift };
            copy.apply(before, now.width);
            copies.push(copy);
        }
    }
}

/// Whether pixels are as they should be. Those of a copy were compared before it was done.
fn is_right(copies: &[Copy], before: Plane<'_>, now: Plane<'_>, place: Rect) -> bool {
    copies.iter().any(|copy| copy.to.holds(place)) || grow::is_right(before, now, place)
}

/// The smallest rectangle around tiles.
pub(crate) fn around(grid: Grid, tiles: &[usize]) -> Rect {
    let rects = tiles.iter().map(|tile| grid.rect(*tile));
    let join = |one: Rect, other: Rect| {
        let (x, y) = (one.x.min(other.x), one.y.min(other.y));
        let (right, bottom) = (
            (one.x + one.width).max(other.x + other.width),
            (one.y + one.height).max(other.y + other.height),
        );
        Rect::new(x, y, right - x, bottom - y)
    };
    rects.reduce(join).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::Size;

    const SIZE: Size = Size::new(320, 200);

    /// Pixels none of which has a like one nearby.
    fn texture(x: usize, y: usize) -> u32 {
        ((x * 7919 + y * 104_729) as u32).wrapping_mul(0x9e37_79b1) >> 8
    }

    fn plane(colour: impl Fn(usize, usize) -> u32) -> Vec<u32> {
        (0..SIZE.pixels()).map(|place| colour(place % 320, place / 320)).collect()
    }

    /// The copies from one plane to another, and how many tiles are wrong after them.
    fn found(mut before: Vec<u32>, now: &[u32]) -> (Vec<Copy>, usize) {
        let grid = Grid::new(SIZE);
        let area = Rect::new(0, 0, SIZE.width, SIZE.height);
        let mut wrong: Vec<_> = (0..grid.tiles()).collect();
        let (copies, _) = find(&mut before, now, Field { grid, area }, &mut wrong, |_| false, 0);
        let same = |tile: &usize| {
            let plane = |pixels| Plane { pixels, width: 320 };
            grow::is_right(plane(&before), plane(now), grid.rect(*tile))
        };
        assert!((0..grid.tiles()).all(|tile| same(&tile) != wrong.contains(&tile)));
        (copies, wrong.len())
    }

    #[test]
    fn a_desktop_that_scrolls_is_one_copy() {
        let (copies, wrong) = found(plane(texture), &plane(|x, y| texture(x, y + 17)));
        let to = Rect::new(0, 0, 320, 183);
        assert_eq!(copies, [Copy { to, shift: Shift { x: 0, y: -17 } }]);
        assert_eq!(wrong, 40);
    }

    #[test]
    fn what_scrolls_where_rows_are_not_looked_at_first_is_found_too() {
        let strip = |x: usize, y: usize| if (20..60).contains(&x) { texture(x, y) } else { 0 };
        let (copies, _) = found(plane(strip), &plane(|x, y| strip(x, y + 17)));
        assert_eq!(copies.first().map(|copy| copy.shift), Some(Shift { x: 0, y: -17 }));
    }

    #[test]
    fn a_window_that_is_dragged_is_one_copy_of_just_its_pixels() {
        let desktop = |left: usize, top: usize| {
            plane(move |x, y| {
                let inside = (left..left + 150).contains(&x) && (top..top + 90).contains(&y);
                if inside { texture(x - left, y - top) } else { texture(x + 5000, y + 9000) }
            })
        };
        let (copies, _) = found(desktop(31, 40), &desktop(44, 33));
        assert_eq!(copies, [Copy { to: Rect::new(44, 33, 150, 90), shift: Shift { x: 13, y: -7 } }]);
    }

    #[test]
    fn two_windows_that_are_dragged_at_once_are_two_copies() {
        let desktop = |one: (usize, usize), other: (usize, usize)| {
            plane(move |x, y| {
                let inside = |(left, top): (usize, usize)| {
                    (left..left + 100).contains(&x) && (top..top + 70).contains(&y)
                };
                match (inside(one), inside(other)) {
                    (true, _) => texture(x - one.0, y - one.1),
                    (_, true) => texture(x - other.0 + 900, y - other.1 + 700),
                    _ => texture(x + 5000, y + 9000),
                }
            })
        };
        let (copies, _) = found(desktop((10, 10), (200, 100)), &desktop((23, 15), (190, 93)));
        let mut shifts: Vec<_> =
            copies.iter().map(|copy| (copy.to.area(), copy.shift.x, copy.shift.y)).collect();
        shifts.sort_unstable();
        assert_eq!(shifts, [(7000, -10, -7), (7000, 13, 5)]);
    }

    #[test]
    fn pixels_that_the_viewer_does_not_have_are_not_copied() {
        let mut before = plane(texture);
        before[100 * 320..140 * 320].fill(0xff00_0000);
        let (copies, _) = found(before, &plane(|x, y| texture(x, y + 17)));
        let rows = copies.iter().map(|copy| (copy.from().y, copy.from().y + copy.from().height));
        assert_eq!(rows.collect::<Vec<_>>(), [(17, 100), (140, 200)]);
    }

    #[test]
    fn noise_is_no_reason_to_copy() {
        let (copies, wrong) = found(plane(texture), &plane(|x, y| texture(x * 3 + 1, y * 5)));
        assert_eq!((copies.len(), wrong), (0, 260));
    }
}
