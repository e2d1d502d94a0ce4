//! What exists: links as the kernel reports them, reduced to what a decision here can depend on.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use podzol_vocab::{Generation, InterfaceName, NetworkId, Tag, VlanId, VxlanId};

use crate::model::{MARK_GROUP, REMOVAL_GROUPS, VXLAN_PORT, read_alias};

/// A network link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The kernel's number for it, in one network namespace.
    pub index: LinkIndex,
    /// Its name. A name that is not an [`InterfaceName`] is given here as `if` and the index; no such link is ours.
    pub name: InterfaceName,
    /// What it is.
    pub kind: Kind,
    /// Its `ifalias`, if it has one.
    pub alias: Option<String>,
    /// Its link group: 0 unless somebody set it.
    pub group: u32,
    /// The bridge or bond that it is a port of.
    pub master: Option<LinkIndex>,
    /// The link that it is stacked on, in the same network namespace.
    pub parent: Option<LinkIndex>,
    /// Its largest packet in bytes.
    pub mtu: u32,
    /// Whether it is administratively up.
    pub up: bool,
    /// Whether it has a carrier.
    pub carrier: bool,
    /// What IPv6 does on it.
    pub ipv6: Ipv6,
    /// Whether the host answers for none of its IPv4 addresses on it, and hears nobody who speaks to them there.
    pub deaf: bool,
}

/// The kernel's number for a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkIndex(pub u32);

/// What a link is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A physical NIC, or anything else that the kernel has no kind for.
    Physical,
    /// A bridge.
    Bridge,
    /// An 802.1q VLAN interface, with its tag; none if the tag is not a [`VlanId`].
    Vlan(Option<VlanId>),
    /// A VXLAN interface.
    Vxlan(Vxlan),
    /// Another kind, as the kernel names it: `bond`, `tun`, `veth`.
    Other(String),
}

/// What a VXLAN interface is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Vxlan {
    /// Its id, if it is a [`VxlanId`].
    pub id: Option<VxlanId>,
    /// The address where its tunnels begin.
    pub local: Option<IpAddr>,
    /// Its UDP port.
    pub port: u16,
    /// Where its tunnels end: whoever gets what is for all.
    pub peers: BTreeSet<IpAddr>,
}

impl Vxlan {
    /// Whether it is the tunnels of this id from this address.
    pub(crate) fn is(&self, id: VxlanId, local: IpAddr) -> bool {
        (self.id, self.local, self.port) == (Some(id), Some(local), VXLAN_PORT)
    }
}

/// What IPv6 does on a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ipv6 {
    /// The kernel has no IPv6, or not on this link.
    Absent,
    /// It is off (`disable_ipv6`).
    Off,
    /// It is on.
    On,
}

impl Link {
    /// Whether Podzol made it: it has the mark in its link group or in its alias.
    pub fn is_ours(&self) -> bool {
        self.group == MARK_GROUP || REMOVAL_GROUPS.contains(&self.group) || self.network().is_some()
    }

    /// Whether it is a bridge that somebody else made.
    pub fn is_operators_bridge(&self) -> bool {
        self.kind == Kind::Bridge && !self.is_ours()
    }

    /// The network that it says it belongs to.
    pub fn network(&self) -> Option<NetworkId> {
        self.alias.as_deref().and_then(read_alias).map(|(network, _)| network)
    }

    /// The number of its peers, if it says that it has any.
    pub fn peers_generation(&self) -> Option<Generation> {
        self.alias.as_deref().and_then(read_alias).and_then(|(_, peers)| peers)
    }

    /// Its tag, if it is a VLAN interface or a VXLAN interface.
    pub fn tag(&self) -> Option<Tag> {
        match &self.kind {
            Kind::Vlan(vlan) => vlan.map(Tag::Vlan),
            Kind::Vxlan(vxlan) => vxlan.id.map(Tag::Vxlan),
            _ => None,
        }
    }

    /// Where the tunnels end, if it is a VXLAN interface.
    pub fn peers(&self) -> Option<&BTreeSet<IpAddr>> {
        match &self.kind {
            Kind::Vxlan(vxlan) => Some(&vxlan.peers),
            _ => None,
        }
    }
}

impl Kind {
    /// The kind as the kernel names it, or none for a physical NIC.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Kind::Physical => None,
            Kind::Bridge => Some("bridge"),
            Kind::Vlan(_) => Some("vlan"),
            Kind::Vxlan(_) => Some("vxlan"),
            Kind::Other(kind) => Some(kind),
        }
    }
}

impl fmt::Display for LinkIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
