//! Zones and pods.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use podzol_vocab::{
    AddressRange, Cidr, Invalid, Ipv4Range, Ipv6Range, Name, PodId, Tag, VlanId, VxlanId, ZoneId,
};
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
    /// The VXLAN ids that its networks may have.
    #[serde(default)]
    pub vxlan_ranges: Vec<VxlanRange>,
    /// Limits of each VM in it, where neither its offering nor its account has any.
    #[serde(default)]
    pub limits: Limits,
    /// How many of its largest hosts may fail with room left for all VMs: new VMs do not get what is kept for that.
    #[serde(default)]
    pub spare_hosts: u32,
    /// The management network as routers see it; none if there can be no routers. Shown to admins only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub management: Option<ManagementNetwork>,
    /// The public network; none if there is none. Shown to admins only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public: Option<PublicNetwork>,
    /// Whether networks in it can have a router.
    #[serde(default)]
    pub has_routers: bool,
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
    /// The VLAN ids that its networks may have: those that they have stay among them.
    #[serde(default)]
    pub vlan_ranges: Option<Vec<VlanRange>>,
    /// The VXLAN ids that its networks may have: those that they have stay among them.
    #[serde(default)]
    pub vxlan_ranges: Option<Vec<VxlanRange>>,
    /// How many of its largest hosts may fail with room left for all VMs: 0 to 16.
    #[serde(default)]
    pub spare_hosts: Option<u32>,
    /// The management network as routers see it: addresses that are given out stay in its ranges.
    #[serde(default)]
    pub management: Option<ManagementNetwork>,
    /// The public network: addresses that are given out stay in its ranges.
    #[serde(default)]
    pub public: Option<PublicNetwork>,
}

/// The management network of a zone, on which routers have an address each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ManagementNetwork {
    /// Its range.
    pub cidr: Cidr,
    /// The addresses in it that are for routers; the ranges do not overlap.
    pub ranges: Vec<AddressRange>,
    /// The largest packet in bytes: 576 to 9216; 1500 when left out.
    #[serde(default = "ethernet")]
    pub mtu: u16,
    /// Where the management service is, if that is beyond a gateway.
    #[serde(default)]
    pub routes: Vec<ManagementRoute>,
}

/// A way to the management service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ManagementRoute {
    /// The addresses that it leads to.
    pub to: Ipv4Range,
    /// The gateway, in the management network.
    #[schema(value_type = String, format = "ipv4")]
    pub via: Ipv4Addr,
}

/// The public network of a zone: where the outside is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PublicNetwork {
    /// Its range.
    pub cidr: Cidr,
    /// Where packets to the outside go: an address in it, and in none of its ranges.
    #[schema(value_type = String, format = "ipv4")]
    pub gateway: Ipv4Addr,
    /// The addresses in it that customers can get; the ranges do not overlap.
    pub ranges: Vec<AddressRange>,
    /// The largest packet in bytes: 576 to 9216; 1500 when left out.
    #[serde(default = "ethernet")]
    pub mtu: u16,
    /// The name servers that routers ask, in order: at most 8.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub name_servers: Vec<Ipv4Addr>,
    /// The IPv6 prefix that networks with IPv6 have theirs of; none if there can be none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<PublicPrefix>,
}

/// An IPv6 prefix that is routed to a zone's public network: a /60 for each account in it that has networks with IPv6.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PublicPrefix {
    /// The prefix: of 44 to 60 bits, and global or unique local. It stays as long as a network has a part of it.
    pub prefix: Ipv6Range,
    /// Where packets to the outside go: a link-local address that is not in `fe80::1:0/112`, or one that is outside of the
    /// prefix.
    #[schema(value_type = String, format = "ipv6")]
    pub gateway: Ipv6Addr,
}

/// A route that the gateway of a zone's public network needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Route6 {
    /// Where to: an account's part of the zone's prefix.
    pub prefix: Ipv6Range,
    /// The next hop: the account's router, on the public network.
    #[schema(value_type = String, format = "ipv6")]
    pub via: Ipv6Addr,
}

/// The routes that the gateway of a zone's public network needs for IPv6. They do not change while the prefix does not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Routes6 {
    /// The prefix that they are to parts of.
    pub prefix: Ipv6Range,
    /// How many there are: one for each account that the zone has room for.
    pub count: u64,
    /// The first 4096 of them, which are all of a prefix of 48 bits or more.
    pub routes: Vec<Route6>,
}

fn ethernet() -> u16 {
    1500
}

/// Creates a zone.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ZoneCreate {
    /// Its name, unique in the installation.
    pub name: Name,
    /// The VLAN ids that its networks may have; ranges may not overlap.
    #[serde(default)]
    pub vlan_ranges: Vec<VlanRange>,
    /// The VXLAN ids that its networks may have, once no VLAN id is left; ranges may not overlap. There must be some of
    /// either kind.
    #[serde(default)]
    pub vxlan_ranges: Vec<VxlanRange>,
}

/// A range of VLAN ids, both ends included: `100-199`, or `100` for one.
pub type VlanRange = IdRange<VlanId>;

/// A range of VXLAN ids, both ends included: `5000-5999`, or `5000` for one.
pub type VxlanRange = IdRange<VxlanId>;

/// A range of ids, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct IdRange<T> {
    /// The lowest.
    pub first: T,
    /// The highest.
    pub last: T,
}

/// An id that ranges can be made of.
pub trait RangeId: Copy + Ord + fmt::Display {
    /// What a range of them must be.
    const RULE: &str;
    /// A range of them.
    const EXAMPLE: &str;
    /// What a tag of that id is.
    fn tag(self) -> Tag;
    /// The id, of a tag of this kind.
    fn of(tag: Tag) -> Option<Self>;
}

impl RangeId for VlanId {
    const RULE: &str = "must be a range of VLAN ids from 1 to 4094, such as 100-199";
    const EXAMPLE: &str = "100-199";

    fn tag(self) -> Tag {
        Tag::Vlan(self)
    }

    fn of(tag: Tag) -> Option<Self> {
        tag.vlan()
    }
}

impl RangeId for VxlanId {
    const RULE: &str = "must be a range of VXLAN ids from 4096 to 16777215, such as 5000-5999";
    const EXAMPLE: &str = "5000-5999";

    fn tag(self) -> Tag {
        Tag::Vxlan(self)
    }

    fn of(tag: Tag) -> Option<Self> {
        tag.vxlan()
    }
}

impl<T: RangeId> IdRange<T> {
    /// The tags in it, lowest first.
    pub fn tags(self) -> impl Iterator<Item = Tag> {
        let numbers = u32::from(self.first.tag())..=u32::from(self.last.tag());
        numbers.filter_map(|number| Tag::try_from(number).ok())
    }

    /// Whether that tag is in it.
    pub fn contains(self, tag: Tag) -> bool {
        T::of(tag).is_some_and(|id| (self.first..=self.last).contains(&id))
    }
}

impl<T: RangeId> fmt::Display for IdRange<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last { self.first.fmt(f) } else { write!(f, "{}-{}", self.first, self.last) }
    }
}

impl<T: RangeId> FromStr for IdRange<T> {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let rule = || Invalid::new(T::RULE);
        let number = |text: &str| text.parse::<u32>().ok().and_then(|number| Tag::try_from(number).ok());
        let id = |text: &str| number(text).and_then(T::of).ok_or_else(rule);
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let range = Self { first: id(first)?, last: id(last)? };
        if range.first > range.last { Err(rule()) } else { Ok(range) }
    }
}

impl<T: RangeId> Serialize for IdRange<T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de, T: RangeId> Deserialize<'de> for IdRange<T> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl<T: RangeId> utoipa::PartialSchema for IdRange<T> {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::Type::String)
            .examples([T::EXAMPLE])
            .into()
    }
}

impl ToSchema for VlanRange {
    fn name() -> std::borrow::Cow<'static, str> {
        "VlanRange".into()
    }
}

impl ToSchema for VxlanRange {
    fn name() -> std::borrow::Cow<'static, str> {
        "VxlanRange".into()
    }
}

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
        assert_eq!("4096-5000".parse::<VxlanRange>().unwrap().to_string(), "4096-5000");
        for bad in ["100-199", "4095", "4096-16777216"] {
            assert!(bad.parse::<VxlanRange>().is_err(), "{bad}");
        }
    }
}
