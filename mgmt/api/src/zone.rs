//! Zones and pods.

use std::fmt;
use std::str::FromStr;

use podzol_vocab::{Invalid, Name, PodId, VlanId, ZoneId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Timestamp;
use crate::limits::Limits;

/// Pods in one place.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Zone {
    /// Its id.
    pub id: ZoneId,
    /// Its name, unique in the installation.
    pub name: Name,
    /// The VLAN ids that its networks may have.
    pub vlan_ranges: Vec<VlanRange>,
    /// Limits of each VM in it, where neither its offering nor its account has any.
    #[serde(default)]
    pub limits: Limits,
    /// How many of its largest hosts may fail with room left for all VMs: new VMs do not get what is kept for that.
    #[serde(default)]
    pub spare_hosts: u32,
    /// When it was created.
    pub created_at: Timestamp,
}

/// Changes a zone. What is left out stays; what is given replaces all of what was.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ZoneUpdate {
    /// Limits of each VM in it; running VMs have them within seconds.
    #[serde(default)]
    pub limits: Option<Limits>,
    /// How many of its largest hosts may fail with room left for all VMs: 0 to 16.
    #[serde(default)]
    pub spare_hosts: Option<u32>,
}

/// Creates a zone.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ZoneCreate {
    /// Its name, unique in the installation.
    pub name: Name,
    /// The VLAN ids that its networks may have; ranges may not overlap.
    pub vlan_ranges: Vec<VlanRange>,
}

/// A range of VLAN ids, both ends included: `100-199`, or `100` for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct VlanRange {
    /// The lowest.
    pub first: VlanId,
    /// The highest.
    pub last: VlanId,
}

impl fmt::Display for VlanRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last { self.first.fmt(f) } else { write!(f, "{}-{}", self.first, self.last) }
    }
}

impl FromStr for VlanRange {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let rule = || Invalid::new("must be a range of VLAN ids from 1 to 4094, such as 100-199");
        let id =
            |text: &str| text.parse::<u16>().ok().and_then(|id| VlanId::try_from(id).ok()).ok_or_else(rule);
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let range = Self { first: id(first)?, last: id(last)? };
        if range.first > range.last { Err(rule()) } else { Ok(range) }
    }
}

impl Serialize for VlanRange {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for VlanRange {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl utoipa::PartialSchema for VlanRange {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::Type::String)
            .examples(["100-199"])
            .into()
    }
}

impl ToSchema for VlanRange {}

/// Hosts and storage servers on one layer-2 switch.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Pod {
    /// Its id.
    pub id: PodId,
    /// Its name, unique in its zone.
    pub name: Name,
    /// Its zone.
    pub zone: ZoneId,
    /// When it was created.
    pub created_at: Timestamp,
}

/// Creates a pod.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PodCreate {
    /// Its name, unique in its zone.
    pub name: Name,
    /// Its zone.
    pub zone: ZoneId,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_goes_upwards_within_1_to_4094() {
        assert_eq!("100-101".parse::<VlanRange>().unwrap().to_string(), "100-101");
        assert_eq!("7".parse::<VlanRange>().unwrap().to_string(), "7");
        for bad in ["", "0-5", "5-4095", "9-8", "a-b", "1-2-3", "-"] {
            assert!(bad.parse::<VlanRange>().is_err(), "{bad}");
        }
    }
}
