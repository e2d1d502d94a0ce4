//! The order in which slots of the tile cache were used, which both sides keep by the same rule.
//!
//! - A use makes a slot the newest.
//! - A new tile gets the lowest slot that was never used; if there is none, the oldest one. That makes it the newest.
//!
//! Each step can be undone, the last one first: that is for the server, whose updates may get lost.

/// Slots of a cache. 4096 tiles of 16x16 are 4 MiB in a browser, and a screen and a third of 1024x768. Measured in
/// `tests/updates/scenarios`, a window that is dragged over a photograph takes 252 KB/s with 1024, 212 with 2048, 143 with 4096
/// and 142 with 8192 slots; text needs no more than 1024.
pub const CACHE_SLOTS: u16 = 4096;

/// No slot.
const NONE: u16 = u16::MAX;

/// A slot's neighbours.
#[derive(Debug, Clone, Copy)]
struct Link {
    newer: u16,
    older: u16,
}

/// The slots from the newest to the oldest.
#[derive(Debug)]
pub(crate) struct Lru {
    links: Vec<Link>,
    newest: u16,
    oldest: u16,
}

/// Where a slot was before a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Before {
    /// It was not in use.
    Unused,
    /// It came after this slot, or was the newest.
    Behind(u16),
}

impl Lru {
    pub(crate) const fn new() -> Self {
        Self { links: Vec::new(), newest: NONE, oldest: NONE }
    }

    /// How many slots are in use.
    pub(crate) fn len(&self) -> u16 {
        self.links.len() as u16
    }

    /// Makes a slot in use the newest.
    pub(crate) fn touch(&mut self, slot: u16) -> Before {
        let before = self.unlink(slot);
        self.link_behind(slot, NONE);
        Before::Behind(before)
    }

    /// The slot of a new tile.
    pub(crate) fn claim(&mut self) -> (u16, Before) {
        if self.len() == CACHE_SLOTS {
            let slot = self.oldest;
            return (slot, self.touch(slot));
        }
        let slot = self.len();
        self.links.push(Link { newer: NONE, older: NONE });
        self.link_behind(slot, NONE);
        (slot, Before::Unused)
    }

    /// Undoes the last step, which was with this slot.
    pub(crate) fn undo(&mut self, slot: u16, before: Before) {
        self.unlink(slot);
        match before {
            Before::Behind(newer) => self.link_behind(slot, newer),
            Before::Unused => drop(self.links.pop()),
        }
    }

    /// Takes a slot out, and tells which newer one it came after.
    fn unlink(&mut self, slot: u16) -> u16 {
        let Link { newer, older } = self.links[usize::from(slot)];
        *self.older_of(newer) = older;
        *self.newer_of(older) = newer;
        newer
    }

    fn link_behind(&mut self, slot: u16, newer: u16) {
        let older = *self.older_of(newer);
        self.links[usize::from(slot)] = Link { newer, older };
        *self.older_of(newer) = slot;
        *self.newer_of(older) = slot;
    }

    /// What comes after a slot; after none comes the newest.
    fn older_of(&mut self, slot: u16) -> &mut u16 {
        match slot {
            NONE => &mut self.newest,
            slot => &mut self.links[usize::from(slot)].older,
        }
    }

    fn newer_of(&mut self, slot: u16) -> &mut u16 {
        match slot {
            NONE => &mut self.oldest,
            slot => &mut self.links[usize::from(slot)].newer,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(lru: &Lru) -> Vec<u16> {
        let next = |slot: &u16| Some(lru.links[usize::from(*slot)].older).filter(|slot| *slot != NONE);
        std::iter::successors(Some(lru.newest).filter(|slot| *slot != NONE), next).collect()
    }

    #[test]
    fn the_oldest_slot_is_claimed_when_all_are_in_use() {
        let mut lru = Lru::new();
        (0..CACHE_SLOTS).for_each(|slot| assert_eq!(lru.claim(), (slot, Before::Unused)));
        lru.touch(0);
        assert_eq!([lru.claim().0, lru.claim().0], [1, 2]);
        assert_eq!(order(&lru)[..3], [2, 1, 0]);
    }

    #[test]
    fn all_steps_can_be_undone() {
        let mut lru = Lru::new();
        (0..5).for_each(|slot| assert_eq!(lru.claim().0, slot));
        let before = order(&lru);
        let mut steps = vec![];
        for slot in [4, 0, 2, 2, 1] {
            steps.push((slot, lru.touch(slot)));
            steps.push(lru.claim());
        }
        assert_eq!(lru.len(), 10);
        steps.into_iter().rev().for_each(|(slot, before)| lru.undo(slot, before));
        assert_eq!((order(&lru), lru.len()), (before, 5));
    }
}
