//! Connections that have not shown that they are of a session: where there is no room, the oldest of them makes some.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use tokio_util::sync::CancellationToken;

/// Those that there are, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Strangers {
    all: RefCell<BTreeMap<u64, CancellationToken>>,
    came: Cell<u64>,
}

/// That a connection is one of them, until this is dropped.
#[derive(Debug)]
pub(super) struct Stranger {
    all: Rc<Strangers>,
    number: u64,
}

impl Strangers {
    /// One more, which this ends.
    pub(super) fn come(self: &Rc<Self>, end: CancellationToken) -> Stranger {
        let number = self.came.get() + 1;
        self.came.set(number);
        self.all.borrow_mut().insert(number, end);
        Stranger { all: Rc::clone(self), number }
    }

    /// Ends the oldest, if there is one.
    pub(super) fn end_oldest(&self) {
        let oldest = self.all.borrow_mut().pop_first();
        if let Some((_, end)) = oldest {
            end.cancel();
        }
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.all.all.borrow_mut().remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_that_is_still_a_stranger_makes_room() {
        let (all, ends) = (Rc::new(Strangers::default()), [(); 3].map(|()| CancellationToken::new()));
        let [known, old, new] = ends.each_ref().map(|end| all.come(end.clone()));
        drop(known);
        all.end_oldest();
        assert_eq!(ends.each_ref().map(CancellationToken::is_cancelled), [false, true, false]);
        drop((old, new));
        all.end_oldest();
        assert!(!ends[2].is_cancelled());
    }
}
