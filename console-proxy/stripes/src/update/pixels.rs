//! Pixels of what a viewer has, kept from one of its updates to the next.
//!
//! To unpack all tiles of a desktop takes a third of what text costs that scrolls. But after an update the pixels that it began with
//! are, copies done, those of the next one's beginning, but for the tiles that were sent. So what was unpacked once stays, as long
//! as the updates of one viewer follow one another, or of viewers that have the same.

use std::sync::{Arc, Weak};

use crate::marks::Marks;
use crate::picture::Picture;

/// Pixels of a picture, as far as they were needed.
#[derive(Debug, Default)]
pub(super) struct Pixels {
    /// A picture that nobody has any more is never the next one: as long as this is kept, no other one is at its place in memory.
    of: Weak<Picture>,
    there: Marks,
    pixels: Vec<u32>,
}

impl Pixels {
    /// The pixels of a picture. Those of other tiles than these may be anything.
    pub(super) fn show(
        &mut self,
        picture: &Arc<Picture>,
        tiles: impl Iterator<Item = usize>,
    ) -> &mut Vec<u32> {
        if self.of.as_ptr() != Arc::as_ptr(picture) {
            let size = picture.grid.size.pixels();
            self.pixels.resize(size, 0);
            self.pixels.shrink_to(size * 4);
            self.there = Marks::new(picture.grid.tiles());
            self.of = Arc::downgrade(picture);
        }
        let missing = tiles.filter(|tile| {
            let is_there = self.there.has(*tile);
            self.there.set(*tile);
            !is_there
        });
        picture.write(missing, &mut self.pixels);
        &mut self.pixels
    }

    /// What was one picture is another one of the same size now, but for these tiles.
    pub(super) fn follow(&mut self, before: &Arc<Picture>, now: &Arc<Picture>, but: &[usize]) {
        if self.of.as_ptr() == Arc::as_ptr(before) {
            but.iter().for_each(|tile| self.there.clear(*tile));
            self.of = Arc::downgrade(now);
        }
    }
}
