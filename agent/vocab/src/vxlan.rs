//! VXLAN ids, and what keeps a network apart between hosts.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Invalid, TrafficType, VlanId};

/// A VXLAN network identifier: 4096 to 16777215 (RFC 7348 has 24 bits). Lower ones are left out, so that a number is
/// either a VLAN's or a VXLAN's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct VxlanId(u32);

impl VxlanId {
    /// The MTU of all that is on a VXLAN, in bytes: on Ethernet's 1500 it leaves room for the headers of a tunnel over IPv4
    /// (50 bytes) and over IPv6 (70). It is the same on all hosts, as a VM takes it along when it moves.
    pub const MTU: u32 = 1430;

    /// The id as a number.
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl TryFrom<u32> for VxlanId {
    type Error = Invalid;

    fn try_from(id: u32) -> Result<Self, Invalid> {
        match id {
            4096..=0xff_ffff => Ok(Self(id)),
            _ => Err(Invalid::new("must be a VXLAN id from 4096 to 16777215")),
        }
    }
}

impl From<VxlanId> for u32 {
    fn from(id: VxlanId) -> u32 {
        id.0
    }
}

impl fmt::Display for VxlanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(feature = "openapi")]
impl utoipa::PartialSchema for VxlanId {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::Type::Integer)
            .minimum(Some(4096.0))
            .maximum(Some(16_777_215.0))
            .into()
    }
}

#[cfg(feature = "openapi")]
impl utoipa::ToSchema for VxlanId {}

/// What keeps a network apart from others between hosts. It is written as one number, by which the networks of a zone are
/// unique. Those of the hosts themselves have numbers beyond the 24 bits of a VXLAN's: so a zone has each of them once, they
/// are never those of a customer, and agents that do not know them refuse them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub enum Tag {
    /// An 802.1q tag on the pod's switch.
    Vlan(VlanId),
    /// A tunnel from host to host.
    Vxlan(VxlanId),
    /// A network of the hosts themselves, on a bridge of the operator's.
    Traffic(TrafficType),
}

impl Tag {
    /// The VLAN, if it is one.
    pub const fn vlan(self) -> Option<VlanId> {
        match self {
            Self::Vlan(id) => Some(id),
            Self::Vxlan(_) | Self::Traffic(_) => None,
        }
    }

    /// The VXLAN, if it is one.
    pub const fn vxlan(self) -> Option<VxlanId> {
        match self {
            Self::Vlan(_) | Self::Traffic(_) => None,
            Self::Vxlan(id) => Some(id),
        }
    }

    /// The network of the hosts themselves, if it is one.
    pub const fn traffic(self) -> Option<TrafficType> {
        match self {
            Self::Vlan(_) | Self::Vxlan(_) => None,
            Self::Traffic(traffic) => Some(traffic),
        }
    }
}

impl TryFrom<u32> for Tag {
    type Error = Invalid;

    fn try_from(number: u32) -> Result<Self, Invalid> {
        let vlan = u16::try_from(number).ok().and_then(|id| VlanId::try_from(id).ok()).map(Self::Vlan);
        let vxlan = || VxlanId::try_from(number).ok().map(Self::Vxlan);
        let traffic =
            || TrafficType::ALL.into_iter().find(|traffic| traffic.number() == number).map(Self::Traffic);
        let rule = || {
            Invalid::new(
                "must be a VLAN id from 1 to 4094, a VXLAN id from 4096 to 16777215, 16777216 for the management network or \
                 16777217 for the public one",
            )
        };
        vlan.or_else(vxlan).or_else(traffic).ok_or_else(rule)
    }
}

impl From<Tag> for u32 {
    fn from(tag: Tag) -> u32 {
        match tag {
            Tag::Vlan(id) => id.get().into(),
            Tag::Vxlan(id) => id.get(),
            Tag::Traffic(traffic) => traffic.number(),
        }
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vlan(id) => write!(f, "VLAN {id}"),
            Self::Vxlan(id) => write!(f, "VXLAN {id}"),
            Self::Traffic(traffic) => write!(f, "the {traffic} network"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_a_vlans_or_a_vxlans_or_of_the_hosts_own_traffic_or_nothing() {
        for (number, expected) in [
            (1, "VLAN 1"),
            (4094, "VLAN 4094"),
            (4096, "VXLAN 4096"),
            (0xff_ffff, "VXLAN 16777215"),
            (0x100_0000, "the management network"),
            (0x100_0001, "the public network"),
        ] {
            let tag = Tag::try_from(number).unwrap();
            assert_eq!((tag.to_string().as_str(), u32::from(tag)), (expected, number));
        }
        for number in [0, 4095, 0x100_0002, u32::MAX] {
            assert!(Tag::try_from(number).is_err(), "{number}");
        }
    }

    #[test]
    fn a_tag_of_the_hosts_own_traffic_has_no_vlan_and_no_vxlan() {
        for traffic in TrafficType::ALL {
            let tag = Tag::Traffic(traffic);
            assert_eq!((tag.vlan(), tag.vxlan(), tag.traffic()), (None, None, Some(traffic)));
        }
    }
}
