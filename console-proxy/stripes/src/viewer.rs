//! What one viewer has, and what is on its way to it.
//!
//! ```text
//!   acknowledged ──▶ sent ──▶ sent ──▶ the next update comes after the last one
//!        ▲            │
//!        └────────────┘ acknowledge: what comes before is forgotten
//! ```
//! - **update**: made only when it is asked for, so a viewer that does not ask costs nothing and misses what was overtaken.
//! - **acknowledge**: the viewer has applied the update of this number.
//! - **resume**: the viewer has this and waits for nothing: what was sent after it is lost or abandoned, and the next update
//!   goes from there. A viewer that has something that is not known here begins anew.
//!
//! Numbers are never given twice, so an update that was given up and arrives late is no harm: the next one does not fit it,
//! and the viewer resumes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::body::Start;
use crate::geometry::Size;
use crate::marks::Marks;
use crate::mirror::{Mirror, Undo};
use crate::picture::Picture;
use crate::screen::Screen;
use crate::update::Searches;

/// Most updates that are on their way to a viewer: of a line with 200 ms for a round trip, 20 updates a second are four.
pub const MAX_SENT: usize = 8;

/// Most bytes of what was overwritten that are kept for updates on their way before no other one is made: video of 1024x768, of
/// which all is noise, has three of them under way, and a desktop all [`MAX_SENT`].
pub const MAX_OVERWRITTEN: usize = 8 << 20;

/// A viewer, as the server knows it.
///
/// It takes at most 28 bytes for each of [`CACHE_SLOTS`](crate::CACHE_SLOTS) and 8 KiB; its picture, as far as that is another than
/// the screen's; for each update that is on its way a bit for each tile and 32 bytes for each tile that it has sent; and, as long
/// as such updates are not acknowledged, what they have overwritten: [`MAX_OVERWRITTEN`], and what one more has.
#[derive(Debug, Default)]
pub struct Viewer {
    pub(crate) mirror: Mirror,
    /// What the viewer has acknowledged, and what was sent since, each after the one before.
    pub(crate) states: VecDeque<State>,
    /// The last number that was given.
    pub(crate) number: u32,
    acknowledged: Option<u32>,
    pub(crate) searches: Searches,
}

/// What a viewer has after an update.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) number: u32,
    pub(crate) picture: Arc<Picture>,
    /// Tiles that are shown with loss.
    pub(crate) lossy: Marks,
    /// Tiles that are not as in the picture, in their order, and how often they were left out.
    pub(crate) stale: Vec<(usize, u8)>,
    /// The number of the cursor's shape.
    pub(crate) cursor: u32,
    /// What the update has done to the cache, in its order.
    pub(crate) undo: Vec<Undo>,
    /// Bytes of the picture before it that this one does not have.
    pub(crate) overwritten: usize,
}

impl Viewer {
    /// A viewer that has nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// The number of the last update that was made for it; zero before the first one.
    pub const fn number(&self) -> u32 {
        self.number
    }

    /// How many updates are on their way, as far as it is known: one that was lost is on its way until the viewer acknowledges a
    /// later one or [resumes](Self::resume), which it must do when it waits for nothing. With [`MAX_SENT`] of them no other one is made.
    pub fn sent(&self) -> usize {
        self.states.iter().filter(|state| Some(state.number) != self.acknowledged).count()
    }

    /// Whether it has, or will have, all that a screen shows, to the pixel: there is no update to be made then. That is found out without
    /// looking at any tile.
    pub fn has_all(&self, screen: &Screen) -> bool {
        self.states.back().is_some_and(|state| {
            screen.shows(&state.picture)
                && state.cursor == screen.cursor.number
                && state.stale.is_empty()
                && state.lossy.is_empty()
        })
    }

    /// Whether one more update may be made.
    pub(crate) fn may_send(&self) -> bool {
        // What the oldest one has overwritten is not kept any more.
        let overwritten: usize = self.states.iter().skip(1).map(|state| state.overwritten).sum();
        self.sent() < MAX_SENT && overwritten < MAX_OVERWRITTEN
    }

    /// The viewer has applied this update. A number that is not on its way is none of news.
    pub fn acknowledge(&mut self, number: u32) {
        if let Some(place) = self.states.iter().position(|state| state.number == number) {
            self.states.drain(..place);
            self.acknowledged = Some(number);
            // Nobody goes back to before this.
            self.states[0].undo = Vec::new();
        }
    }

    /// The viewer has applied this update, and whatever was sent after it will not come. If that update is not known (any
    /// more), the next one begins anew.
    pub fn resume(&mut self, number: u32) {
        if !self.states.iter().any(|state| state.number == number) {
            self.begin_anew();
            return;
        }
        while let Some(state) = self.states.pop_back_if(|state| state.number != number) {
            state.undo.into_iter().rev().for_each(|undo| self.mirror.undo(undo));
        }
        self.acknowledge(number);
    }

    /// The viewer has nothing (any more).
    pub fn begin_anew(&mut self) {
        *self = Self { number: self.number, ..Self::default() };
    }

    /// How long to wait until there is something to send without anything being painted: tiles that have to rest before they
    /// are sent without loss, or those that were left out. None if there is nothing of the kind, or too much on its way.
    pub fn due(&self, screen: &Screen, now: Duration) -> Option<Duration> {
        let state = self.states.back().filter(|_| self.may_send())?;
        if !state.stale.is_empty() || state.picture.grid.size != screen.size() {
            return Some(Duration::ZERO);
        }
        let rests = state.lossy.iter().map(|tile| screen.rest_of(tile, now)).min();
        rests.map(|rests| rests.max(screen.is_still_in(now)))
    }

    /// Bytes of memory that this viewer takes, without what it shares with others.
    pub fn memory(&self) -> usize {
        let of_state = |state: &State| {
            let undo = state.undo.capacity() * size_of::<Undo>();
            size_of::<State>() + state.picture.grid.tiles() / 8 + undo + state.stale.capacity() * 16
        };
        size_of::<Self>() + self.mirror.memory() + self.states.iter().map(of_state).sum::<usize>()
    }

    /// The desktop's size in the viewer's picture, after all that was sent.
    pub fn size(&self) -> Option<Size> {
        self.states.back().map(|state| state.picture.grid.size)
    }

    pub(crate) fn start(&self) -> Start {
        self.states.back().map_or(Start::Fresh, |state| Start::After(state.number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cursor::Cursor;
    use crate::geometry::Rect;
    use crate::secret::Secret;
    use crate::update::Composer;

    #[test]
    fn whoever_has_all_has_it_until_something_is_painted_or_the_cursor_is_another() {
        let mut screen = Screen::new(Size::new(40, 20), Secret::new([1, 2, 3, 4]));
        let (mut viewer, mut composer) = (Viewer::new(), Composer::new());
        let mut is_updated = |screen: &mut Screen, viewer: &mut Viewer| {
            composer.update(screen, viewer, 1 << 16, Duration::from_secs(1)).is_some()
        };
        assert!(!viewer.has_all(&screen));
        assert!(is_updated(&mut screen, &mut viewer) && viewer.has_all(&screen));
        screen.pixels()[0] = 7;
        screen.painted(Rect::new(0, 0, 1, 1));
        assert!(!viewer.has_all(&screen));
        assert!(is_updated(&mut screen, &mut viewer) && viewer.has_all(&screen));
        screen.painted(Rect::new(0, 0, 1, 1));
        assert!(!viewer.has_all(&screen), "that the colours are those that it has is not known yet");
        assert!(!is_updated(&mut screen, &mut viewer) && viewer.has_all(&screen));
        screen.set_cursor(Some(&Cursor {
            hotspot: (0, 0),
            size: Size::new(1, 1),
            pixels: vec![0xff00_0000],
        }));
        assert!(!viewer.has_all(&screen));
        viewer.resume(0);
        assert!(!viewer.has_all(&screen));
    }
}
