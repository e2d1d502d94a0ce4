//! Numbers as runs of neighbours, so that the first that is not among them is found without a look at each.

use std::collections::BTreeMap;

/// A set of numbers.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Runs {
    /// The last number of each run, by its first. There is a gap between any two.
    last: BTreeMap<u32, u32>,
}

impl Runs {
    pub(crate) fn is_empty(&self) -> bool {
        self.last.is_empty()
    }

    /// How many numbers there are.
    pub(crate) fn len(&self) -> u64 {
        self.last.iter().map(|(first, last)| u64::from(last - first) + 1).sum()
    }

    /// The run in which a number is.
    fn around(&self, number: u32) -> Option<(u32, u32)> {
        let (first, last) = self.last.range(..=number).next_back()?;
        (number <= *last).then_some((*first, *last))
    }

    pub(crate) fn insert(&mut self, number: u32) {
        if self.around(number).is_some() {
            return;
        }
        let below = number.checked_sub(1).and_then(|below| self.around(below));
        let above = number.checked_add(1).and_then(|above| self.last.remove(&above));
        self.last.insert(below.map_or(number, |(first, _)| first), above.unwrap_or(number));
    }

    pub(crate) fn remove(&mut self, number: u32) {
        let Some((first, last)) = self.around(number) else { return };
        self.last.remove(&first);
        if first < number {
            self.last.insert(first, number - 1);
        }
        if number < last {
            self.last.insert(number + 1, last);
        }
    }

    /// The first number from one to another, both included, that is not in the set.
    pub(crate) fn first_missing(&self, from: u32, to: u32) -> Option<u32> {
        let missing = match self.around(from) {
            Some((_, last)) => last.checked_add(1)?,
            None => from,
        };
        (missing <= to).then_some(missing)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    #[test]
    fn they_are_the_numbers_that_were_put_in_and_not_taken_out() {
        let mut random = StdRng::seed_from_u64(1);
        let (mut runs, mut plain) = (Runs::default(), BTreeSet::new());
        for _ in 0..20_000 {
            let number = random.random_range(0..40);
            if random.random_bool(0.5) {
                runs.insert(number);
                plain.insert(number);
            } else {
                runs.remove(number);
                plain.remove(&number);
            }
            let (from, to) = (random.random_range(0..40), random.random_range(0..40));
            let expected = (from..=to).find(|number| !plain.contains(number));
            assert_eq!(runs.first_missing(from, to), expected, "{from} to {to} in {plain:?}");
            let gaps = runs.last.values().zip(runs.last.keys().skip(1)).all(|(last, next)| last + 1 < *next);
            assert!(gaps, "{runs:?}");
        }
    }

    #[test]
    fn the_last_number_of_all_has_none_after_it() {
        let mut runs = Runs::default();
        runs.insert(u32::MAX);
        runs.insert(u32::MAX - 1);
        assert_eq!(runs.first_missing(u32::MAX - 1, u32::MAX), None);
        runs.remove(u32::MAX);
        assert_eq!(runs.first_missing(u32::MAX - 1, u32::MAX), Some(u32::MAX));
    }
}
