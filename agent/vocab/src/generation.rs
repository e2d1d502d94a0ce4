//! Generations: which of two descriptions of an object is the newer.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The number of a description of an object. It grows with every change of what the object should be.
///
/// A receiver applies a newer one, answers success to the same, refuses an older one, and treats the same number
/// with other contents as an error of its own: see [`Generation::order`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
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
    /// The next generation.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
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
}
