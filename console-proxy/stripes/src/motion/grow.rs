//! The largest rectangle that a shift makes right.

use super::{Plane, Shift};
use crate::geometry::{Rect, TILE, TILE_PIXELS};

/// A copy must have at least so many pixels.
const MIN_AREA: usize = 2 * TILE_PIXELS;

/// Edges of a rectangle, the right and the lower one past it.
#[derive(Clone, Copy)]
struct Edges {
    left: i32,
    top: i32,
    right: i32,
    bottom: i32,
}

/// What is compared, and how far it may go.
struct Comparison<'a> {
    before: Plane<'a>,
    now: Plane<'a>,
    shift: Shift,
    /// Where both the rectangle and what it is copied from are within the area.
    limits: Edges,
}

/// Whether pixels are as they should be.
pub(super) fn is_right(before: Plane<'_>, now: Plane<'_>, place: Rect) -> bool {
    (place.y..place.y + place.height).all(|y| {
        let (x, y, width) = (place.x.into(), y.into(), place.width.into());
        before.row(x, y, width) == now.row(x, y, width)
    })
}

/// Grows a tile that is right after a shift, first to the sides or first up and down, whichever ends larger.
pub(super) fn grown(before: Plane<'_>, now: Plane<'_>, area: Rect, shift: Shift, tile: Rect) -> Option<Rect> {
    let comparison = Comparison { before, now, shift, limits: limits(area, shift) };
    let start = Edges::from(tile);
    if !comparison.allows(start) {
        return None;
    }
    let sides_first = comparison.up_and_down(comparison.sides(start));
    // Nothing is larger than all of it: so it is when a desktop scrolls, and pixels are not compared once more.
    if Rect::from(sides_first) == Rect::from(comparison.limits) {
        return Some(sides_first.into()).filter(|rect: &Rect| rect.area() >= MIN_AREA);
    }
    let sides_last = comparison.sides(comparison.up_and_down(start));
    let largest = [sides_first, sides_last].map(Rect::from).into_iter().max_by_key(|rect| rect.area());
    largest.filter(|rect| rect.area() >= MIN_AREA)
}

impl Comparison<'_> {
    /// Whether all of this is within limits and right.
    fn allows(&self, edges: Edges) -> bool {
        let limits = self.limits;
        let within = limits.left <= edges.left
            && limits.top <= edges.top
            && edges.right <= limits.right
            && edges.bottom <= limits.bottom;
        within && (edges.top..edges.bottom).all(|y| self.row(edges.left, edges.right, y))
    }

    fn row(&self, left: i32, right: i32, y: i32) -> bool {
        let width = (right - left) as usize;
        let (x, y_before) = (left - self.shift.x, y - self.shift.y);
        self.now.row(left as usize, y as usize, width)
            == self.before.row(x as usize, y_before as usize, width)
    }

    fn up_and_down(&self, mut edges: Edges) -> Edges {
        let right = |y: &i32| self.row(edges.left, edges.right, *y);
        edges.bottom += (edges.bottom..self.limits.bottom).take_while(right).count() as i32;
        edges.top -= (self.limits.top..edges.top).rev().take_while(right).count() as i32;
        edges
    }

    /// By a tile's width as long as that is right, then by what is left of it.
    fn sides(&self, mut edges: Edges) -> Edges {
        for step in [i32::from(TILE), 4, 1] {
            while self.allows(Edges { left: edges.right, right: edges.right + step, ..edges }) {
                edges.right += step;
            }
            while self.allows(Edges { left: edges.left - step, right: edges.left, ..edges }) {
                edges.left -= step;
            }
        }
        edges
    }
}

fn limits(area: Rect, Shift { x, y }: Shift) -> Edges {
    let Edges { left, top, right, bottom } = Edges::from(area);
    Edges { left: left + x.max(0), top: top + y.max(0), right: right + x.min(0), bottom: bottom + y.min(0) }
}

impl From<Rect> for Edges {
    fn from(rect: Rect) -> Self {
        let [x, y, width, height] = [rect.x, rect.y, rect.width, rect.height].map(i32::from);
        Self { left: x, top: y, right: x + width, bottom: y + height }
    }
}

impl From<Edges> for Rect {
    fn from(edges: Edges) -> Self {
        let [x, y, width, height] =
            [edges.left, edges.top, edges.right - edges.left, edges.bottom - edges.top]
                .map(|edge| edge as u16);
        Self { x, y, width, height }
    }
}
