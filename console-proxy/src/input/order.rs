//! Which of a batch's events are still to be applied.
//!
//! A page numbers its events, or the bytes for the serial port, without gaps, and sends again what it does not know to have
//! arrived. So a batch may come twice, may begin within one that was applied, or may overtake the one before it.

/// How many were applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Order {
    applied: u64,
}

/// What is to be done with a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// So many of its first ones were applied before; the others come now.
    Skip(usize),
    /// Those before it have not come.
    Gap,
}

impl Order {
    pub(crate) const fn applied(self) -> u64 {
        self.applied
    }

    /// What is to be done with a batch before which there are so many.
    pub(crate) fn place(self, before: u64) -> Place {
        match self.applied.checked_sub(before) {
            Some(again) => Place::Skip(usize::try_from(again).unwrap_or(usize::MAX)),
            None => Place::Gap,
        }
    }

    /// So many more were applied.
    pub(crate) fn add(&mut self, count: usize) {
        self.applied += count as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_event_is_applied_once_whatever_comes_twice_or_too_early() {
        let (mut order, mut applied) = (Order::default(), Vec::new());
        let mut come = |first: u64, events: &[u64]| match order.place(first - 1) {
            Place::Gap => false,
            Place::Skip(count) => {
                let new = events.get(count..).unwrap_or_default();
                applied.extend(new);
                order.add(new.len());
                true
            }
        };
        assert!(come(1, &[1, 2]));
        assert!(!come(4, &[4]));
        assert!(come(1, &[1, 2, 3]));
        assert!(come(4, &[4]) && come(2, &[2, 3]) && come(4, &[4, 5, 6]) && come(7, &[]));
        assert_eq!((applied, order.applied()), (vec![1, 2, 3, 4, 5, 6], 6));
    }
}
