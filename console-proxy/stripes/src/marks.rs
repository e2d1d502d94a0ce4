//! A set of tiles.

/// Tiles that are marked, one bit each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Marks {
    words: Vec<u64>,
}

impl Marks {
    /// A set for as many tiles, none of which is marked.
    pub(crate) fn new(tiles: usize) -> Self {
        Self { words: vec![0; tiles.div_ceil(64)] }
    }

    /// A set for as many tiles, all of which are marked.
    pub(crate) fn all(tiles: usize) -> Self {
        let mut marks = Self::new(tiles);
        (0..tiles).for_each(|tile| marks.set(tile));
        marks
    }

    pub(crate) fn set(&mut self, tile: usize) {
        self.words[tile / 64] |= 1 << (tile % 64);
    }

    pub(crate) fn clear(&mut self, tile: usize) {
        self.words[tile / 64] &= !(1 << (tile % 64));
    }

    pub(crate) fn put(&mut self, tile: usize, marked: Mark) {
        match marked {
            Mark::Set => self.set(tile),
            Mark::Clear => self.clear(tile),
        }
    }

    pub(crate) fn has(&self, tile: usize) -> bool {
        self.words[tile / 64] >> (tile % 64) & 1 == 1
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    /// The marked tiles in their order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = usize> {
        self.words.iter().enumerate().flat_map(|(index, word)| {
            let mut rest = *word;
            std::iter::from_fn(move || {
                let bit = (rest != 0).then(|| rest.trailing_zeros() as usize)?;
                rest &= rest - 1;
                Some(index * 64 + bit)
            })
        })
    }
}

/// Whether a tile is marked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    Set,
    Clear,
}

impl From<bool> for Mark {
    fn from(set: bool) -> Self {
        if set { Self::Set } else { Self::Clear }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_come_in_their_order_and_can_be_taken_back() {
        let mut marks = Marks::new(130);
        [129, 0, 64, 63].into_iter().for_each(|tile| marks.set(tile));
        marks.clear(64);
        assert_eq!(marks.iter().collect::<Vec<_>>(), [0, 63, 129]);
        assert!(marks.has(129) && !marks.has(64) && !marks.is_empty());
    }
}
