//! What a viewer's tile cache holds, as the server knows it: keys instead of pixels.

use crate::lru::{Before, CACHE_SLOTS, Lru};
use crate::secret::TileKey;

/// Chains of slots by their keys: as many as slots, so that they are short.
const CHAINS: usize = CACHE_SLOTS as usize;

const NONE: u16 = u16::MAX;

/// The mirror of a viewer's cache. It takes 28 bytes for each slot in use and 8 KiB for their index.
#[derive(Debug)]
pub(crate) struct Mirror {
    lru: Lru,
    slots: Vec<Slot>,
    /// The first slot of each chain; empty until there is a tile.
    chains: Vec<u16>,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    key: TileKey,
    /// The next slot whose key is in the same chain.
    next: u16,
}

impl Default for Mirror {
    fn default() -> Self {
        Self::new()
    }
}

/// A step back.
#[derive(Debug)]
pub(crate) struct Undo {
    slot: u16,
    before: Before,
    /// The key that was in the slot, if a new one has come there.
    evicted: Option<TileKey>,
}

impl Mirror {
    pub(crate) const fn new() -> Self {
        Self { lru: Lru::new(), slots: Vec::new(), chains: Vec::new() }
    }

    /// The slot of a tile.
    pub(crate) fn find(&self, key: TileKey) -> Option<u16> {
        let first = *self.chains.get(chain(key))?;
        let chained = |slot: &u16| Some(self.slots[usize::from(*slot)].next).filter(|slot| *slot != NONE);
        std::iter::successors(Some(first).filter(|slot| *slot != NONE), chained)
            .find(|slot| self.slots[usize::from(*slot)].key == key)
    }

    /// A slot is used.
    pub(crate) fn touch(&mut self, slot: u16) -> Undo {
        Undo { slot, before: self.lru.touch(slot), evicted: None }
    }

    /// A tile goes into the cache.
    pub(crate) fn insert(&mut self, key: TileKey) -> Undo {
        if self.chains.is_empty() {
            self.chains = vec![NONE; CHAINS];
        }
        let (slot, before) = self.lru.claim();
        let evicted = match before {
            Before::Unused => {
                self.slots.push(Slot { key, next: NONE });
                None
            }
            Before::Behind(_) => Some(self.unchain(slot)),
        };
        self.chain(slot, key);
        Undo { slot, before, evicted }
    }

    /// Undoes the last step that was not undone.
    pub(crate) fn undo(&mut self, Undo { slot, before, evicted }: Undo) {
        self.lru.undo(slot, before);
        match (before, evicted) {
            (Before::Unused, _) => {
                self.unchain(slot);
                self.slots.pop();
            }
            (Before::Behind(_), Some(key)) => {
                self.unchain(slot);
                self.chain(slot, key);
            }
            (Before::Behind(_), None) => {}
        }
    }

    /// Bytes of memory.
    pub(crate) fn memory(&self) -> usize {
        self.slots.capacity() * (size_of::<Slot>() + 4) + self.chains.len() * 2
    }

    fn chain(&mut self, slot: u16, key: TileKey) {
        let first = &mut self.chains[chain(key)];
        self.slots[usize::from(slot)] = Slot { key, next: *first };
        *first = slot;
    }

    /// Takes a slot out of its chain, and tells its key.
    fn unchain(&mut self, slot: u16) -> TileKey {
        let Slot { key, next } = self.slots[usize::from(slot)];
        let first = &mut self.chains[chain(key)];
        if *first == slot {
            *first = next;
            return key;
        }
        let mut before = *first;
        while self.slots[usize::from(before)].next != slot {
            before = self.slots[usize::from(before)].next;
        }
        self.slots[usize::from(before)].next = next;
        key
    }
}

/// Keys are random to everybody, so any bits of them will do.
fn chain(key: TileKey) -> usize {
    key.0[0] as usize % CHAINS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u64) -> TileKey {
        // A few chains, so that they are long.
        TileKey([number % 7, number])
    }

    fn insert(mirror: &mut Mirror, numbers: std::ops::Range<u64>) {
        for number in numbers {
            mirror.insert(key(number));
        }
    }

    #[test]
    fn the_oldest_tile_makes_room() {
        let mut mirror = Mirror::new();
        insert(&mut mirror, 0..u64::from(CACHE_SLOTS));
        mirror.touch(0);
        mirror.insert(key(10_000));
        assert_eq!(
            [0, 1, 2, 10_000].map(|number| mirror.find(key(number))),
            [Some(0), None, Some(2), Some(1)]
        );
    }

    #[test]
    fn steps_are_undone_past_evictions() {
        let mut mirror = Mirror::new();
        let slots = u64::from(CACHE_SLOTS);
        insert(&mut mirror, 0..slots - 3);
        let mut steps = vec![];
        for number in 0..50 {
            steps.push(mirror.touch(number * 3));
            steps.push(mirror.insert(key(100_000 + u64::from(number))));
        }
        assert!(mirror.find(key(1)).is_none() && mirror.find(key(100_049)).is_some());
        steps.into_iter().rev().for_each(|step| mirror.undo(step));
        for number in 0..slots - 3 {
            assert_eq!(mirror.find(key(number)), Some(number as u16));
        }
        assert!(mirror.find(key(100_000)).is_none());
        // And the order is as it was: three are free, then the first ones go.
        insert(&mut mirror, 200_000..200_004);
        assert_eq!((mirror.find(key(0)), mirror.find(key(1))), (None, Some(1)));
    }
}
