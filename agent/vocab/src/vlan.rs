//! 802.1q VLAN ids.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Invalid;

/// An 802.1q VLAN id: 1 to 4094. 0 means "no VLAN" in the standard, and 4095 is reserved (IEEE 802.1Q-2018, 9.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct VlanId(u16);

impl VlanId {
    /// The id as a number.
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl TryFrom<u16> for VlanId {
    type Error = Invalid;

    fn try_from(id: u16) -> Result<Self, Invalid> {
        match id {
            1..=4094 => Ok(Self(id)),
            _ => Err(Invalid::new("must be a VLAN id from 1 to 4094")),
        }
    }
}

impl From<VlanId> for u16 {
    fn from(id: VlanId) -> u16 {
        id.0
    }
}

impl fmt::Display for VlanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(feature = "openapi")]
impl utoipa::PartialSchema for VlanId {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::Type::Integer)
            .minimum(Some(1.0))
            .maximum(Some(4094.0))
            .into()
    }
}

#[cfg(feature = "openapi")]
impl utoipa::ToSchema for VlanId {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_outside_1_to_4094_are_refused() {
        for id in [0, 4095, u16::MAX] {
            assert!(VlanId::try_from(id).is_err(), "{id}");
        }
        for id in [1, 100, 4094] {
            assert_eq!(VlanId::try_from(id).unwrap().get(), id);
        }
    }
}
