//! An update while it is made.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Update;
use super::choice::Chosen;
use crate::body::{Body, Start};
use crate::geometry::Rect;
use crate::image::{Kind, Loss};
use crate::lru::CACHE_SLOTS;
use crate::marks::{Mark, Marks};
use crate::mirror::Undo;
use crate::motion::Copy;
use crate::picture::Picture;
use crate::screen::Screen;
use crate::secret::KeySet;
use crate::viewer::{State, Viewer};

/// Fewer photographic tiles are sent without loss at once: a JPEG image has 600 bytes beside its pixels.
const MIN_PHOTOS: usize = 3;

/// What a viewer has, and what it will be sent.
pub(super) struct Draft {
    /// What the viewer will have.
    pub(super) picture: Arc<Picture>,
    /// What it has, but for stale tiles.
    pub(super) before: Arc<Picture>,
    /// Tiles that differ, in their order.
    pub(super) wrong: Vec<usize>,
    /// Those of them that it has never got.
    pub(super) stale: Vec<(usize, u8)>,
    pub(super) lossy: Marks,
    pub(super) chosen: Chosen,
    pub(super) body: Body,
    undo: Vec<Undo>,
    cursor: u32,
    overwritten: usize,
}

impl Draft {
    pub(super) fn new(picture: Arc<Picture>, viewer: &Viewer, screen: &Screen) -> Self {
        let size = picture.grid.size;
        let state = viewer.states.back();
        let cursor = state.map_or(0, |state| state.cursor);
        let same_size = state.filter(|state| state.picture.grid.size == size);
        let before = same_size.map_or_else(
            || Arc::new(Picture::black(size, screen.secret())),
            |state| Arc::clone(&state.picture),
        );
        let stale = same_size.map(|state| state.stale.clone()).unwrap_or_default();
        let lossy = same_size.map_or_else(|| Marks::new(picture.grid.tiles()), |state| state.lossy.clone());
        let body = Body {
            number: viewer.number + 1,
            start: viewer.start(),
            desktop: same_size.is_none().then_some(size),
            cursor: (cursor != screen.cursor.number).then(|| screen.cursor.image.clone()),
            ..Body::default()
        };
        let wrong = wrong(&before, &picture, &stale);
        let overwritten = match state {
            Some(state) if same_size.is_none() => state.picture.memory(),
            _ => before.not_in(&picture, &wrong),
        };
        let (chosen, undo, cursor) = (Chosen::default(), vec![], screen.cursor.number);
        Self { picture, before, wrong, stale, lossy, chosen, body, undo, cursor, overwritten }
    }

    /// Whether the viewer has pixels that could have moved.
    pub(super) const fn can_move(&self) -> bool {
        self.body.desktop.is_none()
    }

    /// What is copied from tiles with loss has loss.
    pub(super) fn spread_loss(&mut self, copy: Copy) {
        if self.lossy.is_empty() {
            return;
        }
        let (grid, from) = (self.picture.grid, copy.from());
        let before = self.lossy.clone();
        for tile in grid.touched(copy.to) {
            let (place, part) = (grid.rect(tile), common(grid.rect(tile), copy.to));
            let source = Rect { x: from.x + (part.x - copy.to.x), y: from.y + (part.y - copy.to.y), ..part };
            let copied = grid.touched(source).any(|tile| before.has(tile));
            let kept = part != place && before.has(tile);
            self.lossy.put(tile, Mark::from(copied || kept));
        }
    }

    /// Sorts the chosen tiles by how they are sent, and makes images of those that have to be.
    pub(super) fn paint(&mut self, screen: &mut Screen, viewer: &mut Viewer) {
        let picture = Arc::clone(&self.picture);
        let (mut fills, mut sheets) = (BTreeMap::<u32, Vec<usize>>::new(), Sheets::default());
        for tile in self.chosen.tiles() {
            let content = &picture.tile(tile);
            if let Some(colour) = content.solid() {
                fills.entry(colour).or_default().push(tile);
            } else if let Some(slot) = viewer.mirror.find(content.key) {
                self.body.hits.push((tile, slot));
            } else if self.chosen.is_soft(tile) {
                sheets.photos.push(tile);
            } else {
                sheets.exact.push(tile);
            }
            self.lossy.clear(tile);
        }
        self.body.fills = fills.into_iter().collect();
        sheets.settle();
        let repeated = sheets.take_repeated(&picture);
        let loss = self.chosen.loss(&sheets.photos);
        for (tiles, loss) in [(sheets.exact, Loss::None), (sheets.photos, loss)] {
            if !tiles.is_empty() {
                self.body.stripes.extend(screen.stripes(&picture, tiles, loss));
            }
        }
        self.use_cache(viewer, &repeated);
    }

    /// Does to the cache what the viewer will do: hits, then what is new, then what is repeated.
    fn use_cache(&mut self, viewer: &mut Viewer, repeated: &[usize]) {
        let mirror = &mut viewer.mirror;
        self.undo.extend(self.body.hits.iter().map(|(_, slot)| mirror.touch(*slot)));
        for stripe in &self.body.stripes {
            if stripe.image.kind == Kind::Jpeg {
                stripe.tiles.iter().for_each(|tile| self.lossy.set(*tile));
            } else {
                let keys = stripe.tiles.iter().map(|tile| self.picture.tile(*tile).key);
                self.undo.extend(keys.map(|key| mirror.insert(key)));
            }
        }
        for tile in repeated {
            let slot = mirror.find(self.picture.tile(*tile).key);
            let slot = slot.expect("what is repeated was put there, and is less than the cache has");
            self.body.repeats.push((*tile, slot));
            self.undo.push(mirror.touch(slot));
        }
    }

    /// Makes the bytes, and keeps what the viewer has after them.
    pub(super) fn finish(self, viewer: &mut Viewer) -> Option<Update> {
        if self.body.is_empty() {
            return None;
        }
        let (number, body) = (self.body.number, self.body.encode());
        let Self { picture, mut lossy, cursor, undo, overwritten, .. } = self;
        let stale = self.chosen.left;
        stale.iter().for_each(|(tile, _)| lossy.clear(*tile));
        // What is begun anew cannot be gone back from.
        if self.body.start == Start::Fresh {
            viewer.states.clear();
        }
        viewer.number = number;
        viewer.states.push_back(State { number, picture, lossy, stale, cursor, undo, overwritten });
        Some(Update { number, body })
    }
}

/// Tiles that go into images.
#[derive(Default)]
struct Sheets {
    exact: Vec<usize>,
    photos: Vec<usize>,
}

impl Sheets {
    /// A few photographic tiles are no JPEG image.
    fn settle(&mut self) {
        if self.photos.len() < MIN_PHOTOS {
            self.exact.append(&mut self.photos);
            self.exact.sort_unstable();
        }
    }

    /// Takes out those that are there before, if the cache keeps all of them until they are repeated.
    fn take_repeated(&mut self, picture: &Picture) -> Vec<usize> {
        let mut seen = KeySet::default();
        let (first, repeated): (Vec<_>, Vec<_>) =
            self.exact.iter().copied().partition(|tile| seen.insert(picture.tile(*tile).key));
        if first.len() > usize::from(CACHE_SLOTS) {
            return vec![];
        }
        self.exact = first;
        repeated
    }
}

fn wrong(before: &Arc<Picture>, picture: &Arc<Picture>, stale: &[(usize, u8)]) -> Vec<usize> {
    if Arc::ptr_eq(before, picture) {
        return stale.iter().map(|(tile, _)| *tile).collect();
    }
    let mut marks = Marks::new(picture.grid.tiles());
    stale.iter().map(|(tile, _)| *tile).chain(before.differing(picture)).for_each(|tile| marks.set(tile));
    marks.iter().collect()
}

/// What two rectangles that touch have in common.
fn common(one: Rect, other: Rect) -> Rect {
    let (x, y) = (one.x.max(other.x), one.y.max(other.y));
    let right = (one.x + one.width).min(other.x + other.width);
    let bottom = (one.y + one.height).min(other.y + other.height);
    Rect::new(x, y, right - x, bottom - y)
}
