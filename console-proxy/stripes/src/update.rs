//! What a viewer is sent: the way from what it has to the newest picture.
//!
//! 1. Tiles that differ are *wrong*. What has [moved](crate::motion) is copied, and the tiles that are right then are done; where nothing
//!    was found several times, it is looked for more seldom.
//! 2. If the others cost more than the budget, the hottest go first, and those that were left out before. The rest is stale:
//!    it waits for the next update, and nothing is copied from it.
//! 3. Tiles of one colour are filled, those in the viewer's cache are hits, and those that are there twice are sent once.
//! 4. The others are in [stripes](crate::image): photographs with loss, all else without. What is sent without loss goes
//!    into the cache.
//! 5. Tiles that are shown with loss and have rested are sent once more, without.

mod choice;
mod draft;
mod pixels;
mod searches;

use std::time::Duration;

use self::draft::Draft;
use self::pixels::Pixels;
pub(crate) use self::searches::Searches;
use crate::geometry::TILE_PIXELS;
use crate::motion;
use crate::picture;
use crate::screen::Screen;
use crate::viewer::Viewer;

/// Makes updates. It has memory for pixels that all screens of a thread may share: 8 bytes for each pixel of the largest.
#[derive(Debug, Default)]
pub struct Composer {
    before: Pixels,
    /// For a screen whose own pixels are not its picture's.
    now: Vec<u32>,
}

/// An update for a viewer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Update {
    /// Its number, which the viewer acknowledges.
    pub number: u32,
    /// Its bytes, as `FORMAT.md` describes them.
    pub body: Vec<u8>,
}

/// What a viewer has of pixels that it does not have: no colour, as the uppermost byte of a pixel is zero.
const NO_COLOUR: u32 = 0xff00_0000;

/// With fewer tiles that are wrong, nothing is looked for.
const MIN_TO_MOVE: usize = 6;

impl Composer {
    /// A composer without memory yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The next update of a viewer, after all that was sent to it; none if it has everything, or too much is on its way: see
    /// [`MAX_SENT`](crate::MAX_SENT) and [`MAX_OVERWRITTEN`](crate::MAX_OVERWRITTEN). It has about `budget` bytes, but always some of what there is to send.
    pub fn update(
        &mut self,
        screen: &mut Screen,
        viewer: &mut Viewer,
        budget: usize,
        now: Duration,
    ) -> Option<Update> {
        if !viewer.may_send() || viewer.has_all(screen) {
            return None;
        }
        let picture = screen.commit(now);
        let mut draft = Draft::new(picture, viewer, screen);
        if draft.wrong.len() >= MIN_TO_MOVE && draft.can_move() && viewer.searches.is_due(now) {
            let found_by = self.find_moved(&mut draft, screen, viewer.searches.first(now));
            viewer.searches.done(found_by, now);
        }
        self.before.follow(&draft.before, &draft.picture, &draft.wrong);
        draft.choose(screen, viewer, budget, now);
        draft.paint(screen, viewer);
        draft.finish(viewer)
    }

    /// Gives the way of searching that has found something.
    fn find_moved(&mut self, draft: &mut Draft, screen: &Screen, first: usize) -> Option<usize> {
        let (grid, picture) = (draft.picture.grid, &draft.picture);
        // What has moved was where something has changed, and is there too.
        let area = motion::around(grid, &draft.wrong);
        let now = screen.settled_pixels().unwrap_or_else(|| {
            self.now.resize(grid.size.pixels(), 0);
            self.now.shrink_to(grid.size.pixels() * 4);
            picture.write(grid.touched(area), &mut self.now);
            &self.now
        });
        let before = self.before.show(&draft.before, grid.touched(area));
        for (tile, _) in &draft.stale {
            picture::put(before, grid, *tile, &[NO_COLOUR; TILE_PIXELS]);
        }
        let is_plain = |tile: usize| picture.tile(tile).solid().is_some();
        let field = motion::Field { grid, area };
        let (copies, found_by) = motion::find(before, now, field, &mut draft.wrong, is_plain, first);
        copies.iter().for_each(|copy| draft.spread_loss(*copy));
        draft.body.copies = copies;
        found_by
    }
}
