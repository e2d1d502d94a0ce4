//! What should exist: segments, their names and the mark on all that belongs to them.
//!
//! The mark is in two places. `ifalias` is for people and says the network, but the kernel ignores it in the message
//! that creates a link. The link group is honoured there, so there is no moment at which a link of ours has no mark.

use std::collections::BTreeSet;

use podzol_vocab::{InterfaceName, NetworkId, VlanId};

/// The link group of every link that Podzol made: `podz` in ASCII.
pub const MARK_GROUP: u32 = 0x706f_647a;

/// The link groups that links pass through while they are removed in bulk. Being in one of them is a mark too.
pub(crate) const REMOVAL_GROUPS: std::ops::RangeInclusive<u32> = 0x706f_8000..=0x706f_ffff;

const ALIAS_PREFIX: &str = "podzol network ";

/// What should exist on a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Desired {
    /// The NIC or bond that carries the VLANs. It is never changed.
    pub trunk: InterfaceName,
    /// The MTU of VLAN interfaces and bridges.
    pub mtu: MtuRule,
    /// The networks.
    pub segments: BTreeSet<Segment>,
}

/// A network on its VLAN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Segment {
    /// The VLAN.
    pub vlan: VlanId,
    /// The network. A host carries a network on one VLAN only.
    pub network: NetworkId,
}

/// How large the packets of a segment may be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum MtuRule {
    /// As on the trunk.
    #[default]
    Trunk,
    /// As on the trunk, but at most so many bytes: for a switch that takes less than the NIC.
    AtMost(u32),
}

impl MtuRule {
    /// The MTU in bytes on a trunk with this MTU.
    pub fn on(self, trunk: u32) -> u32 {
        match self {
            MtuRule::Trunk => trunk,
            MtuRule::AtMost(limit) => trunk.min(limit),
        }
    }
}

/// The name of the bridge of a VLAN: `pzb100`.
pub fn bridge_name(vlan: VlanId) -> InterfaceName {
    name("pzb", vlan)
}

/// The name of the VLAN interface of a VLAN: `pzv100`.
pub fn vlan_name(vlan: VlanId) -> InterfaceName {
    name("pzv", vlan)
}

/// The `ifalias` of a network's links.
pub fn alias(network: NetworkId) -> String {
    format!("{ALIAS_PREFIX}{network}")
}

/// The network that an `ifalias` of ours names.
pub(crate) fn network_of(alias: &str) -> Option<NetworkId> {
    alias.strip_prefix(ALIAS_PREFIX)?.parse().ok()
}

fn name(prefix: &str, vlan: VlanId) -> InterfaceName {
    format!("{prefix}{vlan}").parse().expect("three letters and at most four digits are an interface name")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_vlan() {
        let vlan = VlanId::try_from(4094).unwrap();
        assert_eq!(bridge_name(vlan).as_str(), "pzb4094");
        assert_eq!(vlan_name(vlan).as_str(), "pzv4094");
    }

    #[test]
    fn an_alias_names_its_network_and_nothing_else_does() {
        let network = NetworkId::new();
        assert_eq!(network_of(&alias(network)), Some(network));
        for foreign in ["", "podzol", "podzol network", "podzol network x", "uplink to rack 4"] {
            assert_eq!(network_of(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn the_mtu_is_the_trunks_unless_limited() {
        assert_eq!(MtuRule::Trunk.on(9000), 9000);
        assert_eq!(MtuRule::AtMost(1500).on(9000), 1500);
        assert_eq!(MtuRule::AtMost(9000).on(1500), 1500);
    }
}
