//! What of a page is counted while it lasts: requests that are open, and what it has so many of.

use std::cell::Cell;
use std::rc::Rc;

use super::Viewer;
use crate::worker::Clock;

/// That a request of a page is open.
#[derive(Debug)]
pub(crate) struct Open {
    pub(super) viewer: Rc<Viewer>,
    pub(super) clock: Clock,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.viewer.open.set(self.viewer.open.get() - 1);
        self.viewer.hear(self.clock.now());
    }
}

/// One of so many of a kind that a page has. It is given back when this is dropped.
#[derive(Debug)]
pub(crate) struct One {
    viewer: Rc<Viewer>,
    kind: Kind,
}

/// What a page has so many of.
type Kind = fn(&Viewer) -> &Cell<usize>;

impl One {
    /// One more, if there are fewer than `most`.
    pub(crate) fn of(viewer: &Rc<Viewer>, kind: Kind, most: usize) -> Option<Self> {
        let count = kind(viewer);
        (count.get() < most).then(|| {
            count.set(count.get() + 1);
            Self { viewer: Rc::clone(viewer), kind }
        })
    }
}

impl Drop for One {
    fn drop(&mut self) {
        let count = (self.kind)(&self.viewer);
        count.set(count.get() - 1);
    }
}
