//! What should exist: segments, their names and the mark on all that belongs to them.
//!
//! The mark is in two places. `ifalias` is for people and says the network, but the kernel ignores it in the message
//! that creates a link. The link group is honoured there, so there is no moment at which a link of ours has no mark.
//! The alias of a VXLAN interface also says of which number its peers are.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use podzol_vocab::{Generation, InterfaceName, NetworkId, Tag, TrafficType};

/// The link group of every link that Podzol made: `podz` in ASCII.
pub const MARK_GROUP: u32 = 0x706f_647a;

/// The link groups that links pass through while they are removed in bulk. Being in one of them is a mark too.
pub(crate) const REMOVAL_GROUPS: std::ops::RangeInclusive<u32> = 0x706f_8000..=0x706f_ffff;

const ALIAS_PREFIX: &str = "podzol network ";

/// Stands in an alias before the number of the peers.
const ALIAS_PEERS: &str = " peers ";

/// The UDP port of VXLAN (RFC 7348, 5). Linux takes another one unless told.
pub(crate) const VXLAN_PORT: u16 = 4789;

/// What should exist on a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Desired {
    /// The NIC or bond that carries the VLANs. It is never changed.
    pub trunk: InterfaceName,
    /// The MTU of VLAN interfaces and their bridges.
    pub mtu: MtuRule,
    /// Where this host's tunnels begin, if it has any.
    pub tunnel: Option<Tunnel>,
    /// Where the tunnels of networks end. Of a network that is not named here, the peers stay as they are.
    pub peers: BTreeMap<NetworkId, Peers>,
    /// The networks.
    pub segments: BTreeSet<Segment>,
    /// The operator's bridges on the host's own networks. They are never made, changed or removed.
    pub traffic: BTreeMap<TrafficType, InterfaceName>,
    /// The links of VMs that must be ports of a segment's bridge, or of one of the operator's. They are neither made nor
    /// removed, but put back.
    pub ports: BTreeMap<InterfaceName, Tag>,
}

/// Where this host's VXLAN tunnels begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tunnel {
    /// Its own address.
    pub local: IpAddr,
    /// The MTU in bytes of the link that has this address; nothing if none has.
    pub mtu: Option<u32>,
}

impl Tunnel {
    /// The bytes that it adds to a packet: outer Ethernet, IP, UDP and VXLAN.
    pub(crate) fn overhead(self) -> u32 {
        if self.local.is_ipv4() { 50 } else { 70 }
    }
}

/// The other hosts that carry a network on a VXLAN.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Peers {
    /// The number of this description.
    pub generation: Generation,
    /// Where their tunnels begin.
    pub addresses: BTreeSet<IpAddr>,
}

/// A network on its VLAN or VXLAN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Segment {
    /// The VLAN or VXLAN. A host's own network is no segment: one with such a tag is refused.
    pub tag: Tag,
    /// The network. A host carries a network on one of them only.
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

/// The name of the bridge of a segment: `pzb100`.
pub fn bridge_name(tag: Tag) -> InterfaceName {
    name("pzb", tag)
}

/// The name of the interface by which a segment leaves the host: `pzv100` on a VLAN, `pzx5000` on a VXLAN.
pub fn uplink_name(tag: Tag) -> InterfaceName {
    let prefix = match tag {
        // Of a host's own network none is made, whatever its name.
        Tag::Vlan(_) | Tag::Traffic(_) => "pzv",
        Tag::Vxlan(_) => "pzx",
    };
    name(prefix, tag)
}

/// The `ifalias` of a network's links.
pub fn alias(network: NetworkId, peers: Option<Generation>) -> String {
    let peers = peers.map(|generation| format!("{ALIAS_PEERS}{generation}")).unwrap_or_default();
    format!("{ALIAS_PREFIX}{network}{peers}")
}

/// The network that an `ifalias` of ours names, and the number of its peers.
pub(crate) fn read_alias(alias: &str) -> Option<(NetworkId, Option<Generation>)> {
    let words = alias.strip_prefix(ALIAS_PREFIX)?;
    let (network, peers) = match words.split_once(ALIAS_PEERS) {
        Some((network, peers)) => (network, Some(Generation(peers.parse().ok()?))),
        None => (words, None),
    };
    Some((network.parse().ok()?, peers))
}

fn name(prefix: &str, tag: Tag) -> InterfaceName {
    let number = u32::from(tag);
    format!("{prefix}{number}").parse().expect("three letters and at most eight digits are an interface name")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_tag() {
        for (number, bridge, uplink) in
            [(4094, "pzb4094", "pzv4094"), (16_777_215, "pzb16777215", "pzx16777215")]
        {
            let tag = Tag::try_from(number).unwrap();
            assert_eq!((bridge_name(tag).as_str(), uplink_name(tag).as_str()), (bridge, uplink));
        }
    }

    #[test]
    fn an_alias_names_its_network_and_nothing_else_does() {
        let network = NetworkId::new();
        for peers in [None, Some(Generation(7))] {
            assert_eq!(read_alias(&alias(network, peers)), Some((network, peers)));
        }
        let odd = alias(network, None) + " peers x";
        for foreign in ["", "podzol", "podzol network", "podzol network x", "uplink to rack 4", &odd] {
            assert_eq!(read_alias(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn the_mtu_is_the_trunks_unless_limited() {
        assert_eq!(MtuRule::Trunk.on(9000), 9000);
        assert_eq!(MtuRule::AtMost(1500).on(9000), 1500);
        assert_eq!(MtuRule::AtMost(9000).on(1500), 1500);
    }
}
