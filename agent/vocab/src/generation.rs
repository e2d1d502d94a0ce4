//! Generations: which of two descriptions of an object is the newer.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Invalid;

/// The number of a description of an object. It grows with every change of what the object should be.
///
/// A receiver applies a newer one, answers success to the same, refuses an older one, and treats the same number
/// with other contents as an error of its own: see [`Generation::order`].
///
/// What is read from elsewhere is at most [`Generation::MAX`]: the database keeps it as a signed number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "u64")]
pub struct Generation(pub u64);

/// How an incoming description stands to the one in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Apply it.
    Newer,
    /// Nothing to do: the same description again.
    Same,
    /// Refuse it: the sender has missed a change.
    Older,
    /// Refuse it: two descriptions with one number.
    Different,
}

impl Generation {
    /// The largest one: what a signed number of 64 bits holds.
    pub const MAX: Self = Self(i64::MAX as u64);

    /// The next generation. There is none after [`Generation::MAX`], which no number of changes reaches.
    #[must_use]
    pub const fn next(self) -> Self {
        if self.0 < Self::MAX.0 { Self(self.0 + 1) } else { Self::MAX }
    }

    /// How `self`, the incoming generation, stands to the one in force. `equal` says whether the contents agree.
    pub fn order(self, in_force: Generation, equal: bool) -> Order {
        match self.cmp(&in_force) {
            std::cmp::Ordering::Greater => Order::Newer,
            std::cmp::Ordering::Less => Order::Older,
            std::cmp::Ordering::Equal if equal => Order::Same,
            std::cmp::Ordering::Equal => Order::Different,
        }
    }
}

impl TryFrom<u64> for Generation {
    type Error = Invalid;

    fn try_from(number: u64) -> Result<Self, Invalid> {
        let generation = Self(number);
        if generation <= Self::MAX {
            Ok(generation)
        } else {
            Err(Invalid::new(format!("must be at most {}", Self::MAX)))
        }
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(feature = "openapi")]
impl utoipa::PartialSchema for Generation {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        <u64 as utoipa::PartialSchema>::schema()
    }
}

#[cfg(feature = "openapi")]
impl utoipa::ToSchema for Generation {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_four_answers_to_a_description() {
        let in_force = Generation(5);
        assert_eq!(Generation(6).order(in_force, false), Order::Newer);
        assert_eq!(Generation(5).order(in_force, true), Order::Same);
        assert_eq!(Generation(5).order(in_force, false), Order::Different);
        assert_eq!(Generation(4).order(in_force, true), Order::Older);
    }

    #[test]
    fn a_generation_is_a_plain_number_that_fits_a_signed_one() {
        assert_eq!(serde_json::to_string(&Generation::MAX).unwrap(), "9223372036854775807");
        assert_eq!(serde_json::from_str::<Generation>("9223372036854775807").unwrap(), Generation::MAX);
        for bad in ["9223372036854775808", "18446744073709551615", "-1", "\"1\""] {
            assert!(serde_json::from_str::<Generation>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_last_generation_has_no_next() {
        assert_eq!(Generation(1).next(), Generation(2));
        assert_eq!(Generation::MAX.next(), Generation::MAX);
        assert_eq!(Generation(u64::MAX).next(), Generation::MAX);
    }
}
