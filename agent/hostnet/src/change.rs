//! The difference in words and in order: each [`Change`] is one message to the kernel and says why it is needed.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use podzol_vocab::{Generation, InterfaceName, NetworkId, VlanId, VxlanId};

use crate::model::Segment;
use crate::observed::LinkIndex;

/// What has to be done, and what cannot be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes {
    /// The changes: removals, then new bridges, new VLAN and VXLAN interfaces, then settings, then peers. Any prefix of
    /// them leaves a host from which the next difference finds the rest.
    pub steps: Vec<Change>,
    /// Segments that cannot exist as things are. Their links are left as they are.
    pub refused: Vec<Refused>,
    /// Links that no segment wants but something else uses. They are left as they are.
    pub in_use: Vec<InUse>,
    /// A link group that no link was in: for removal in bulk.
    pub free_group: u32,
}

/// One change to one link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Removes a link of ours.
    Remove {
        /// Its index.
        index: LinkIndex,
        /// Its name.
        name: InterfaceName,
        /// Why it goes.
        why: &'static str,
    },
    /// Makes a link, down and without a master.
    Create {
        /// Its name.
        name: InterfaceName,
        /// What it is.
        link: NewLink,
        /// Its MTU in bytes.
        mtu: u32,
    },
    /// Changes settings of a link of ours, or the master of a VM's port.
    Set {
        /// The link.
        link: LinkRef,
        /// The settings that differ.
        settings: Settings,
    },
    /// Changes where the tunnels of a VXLAN interface of ours end.
    SetPeers {
        /// The link.
        link: LinkRef,
        /// Those that are new.
        new: BTreeSet<IpAddr>,
        /// Those that go.
        gone: BTreeSet<IpAddr>,
    },
}

/// What a new link is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NewLink {
    /// A bridge that floods at once and knows no spanning tree, multicast snooping or VLAN filter.
    Bridge,
    /// A VLAN interface on the trunk.
    Vlan {
        /// The trunk.
        trunk: LinkIndex,
        /// The tag.
        vlan: VlanId,
    },
    /// A VXLAN interface, which learns from what comes in which address is behind which peer.
    Vxlan {
        /// Its id.
        id: VxlanId,
        /// Where its tunnels begin.
        local: IpAddr,
    },
}

/// A link of ours, which may only exist once an earlier change was applied; or a VM's port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkRef {
    /// Its name.
    pub name: InterfaceName,
    /// Its index, or none if the same changes create it.
    pub index: Option<LinkIndex>,
}

/// Settings to change; what is none or false stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// The mark with this network: alias and link group.
    pub mark: Option<Mark>,
    /// The MTU in bytes.
    pub mtu: Option<u32>,
    /// The bridge that it becomes a port of.
    pub master: Option<LinkRef>,
    /// Whether to turn IPv6 off.
    pub ipv6_off: bool,
    /// Whether to have the host neither answer nor hear there.
    pub deaf: bool,
    /// Whether to bring it up. Comes last.
    pub up: bool,
}

/// What the alias of a link says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Its network.
    pub network: NetworkId,
    /// The number of its peers, of a VXLAN interface that was told of any.
    pub peers: Option<Generation>,
}

/// A segment that cannot exist as things are.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("network {} on {}: {reason}", segment.network, segment.tag)]
pub struct Refused {
    /// The segment.
    pub segment: Segment,
    /// Why not.
    pub reason: Reason,
}

/// Why a segment cannot exist.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// The trunk does not exist.
    #[error("there is no link {0} to carry it")]
    TrunkMissing(InterfaceName),
    /// The trunk is one of the links that Podzol makes.
    #[error("{0} is a link that Podzol made itself and cannot carry VLANs")]
    TrunkOurs(InterfaceName),
    /// The trunk is administratively down, so that nothing on it can be up.
    #[error("{0} is down")]
    TrunkDown(InterfaceName),
    /// It is not known where tunnels begin.
    #[error("this host has no address for tunnels yet")]
    NoTunnel,
    /// No link has the address where tunnels begin.
    #[error("no link has the address {0}, where tunnels begin")]
    TunnelMissing(IpAddr),
    /// The link for tunnels takes no packet of the size that they need.
    #[error("the link with the address {0} takes {1} bytes, and tunnels need {2}")]
    TunnelTooSmall(IpAddr, u32, u32),
    /// It is a network of the host's own, whose bridge is the operator's to make.
    #[error("its bridge is the operator's to make")]
    NotOurs,
    /// Another network wants the same VLAN or VXLAN, or the same network another one.
    #[error("another segment has the same {0}")]
    Duplicate(&'static str),
    /// A link that is not ours has the name.
    #[error("{0} exists and was not made by Podzol")]
    NameTaken(InterfaceName),
    /// Another interface has the tag.
    #[error("{0} already has this VLAN or VXLAN id")]
    TagTaken(InterfaceName),
    /// The link must be replaced, or belongs to another network, and other links use it.
    #[error("{link} belongs elsewhere and is in use by {}", names(users))]
    InUse {
        /// The link.
        link: InterfaceName,
        /// Who uses it.
        users: Vec<InterfaceName>,
    },
}

/// A link that no segment wants but other links use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InUse {
    /// The link.
    pub link: InterfaceName,
    /// The links that are ports of it or stacked on it.
    pub users: Vec<InterfaceName>,
}

impl Changes {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }
}

impl Change {
    /// The name of the link.
    pub fn name(&self) -> &InterfaceName {
        match self {
            Change::Remove { name, .. } | Change::Create { name, .. } => name,
            Change::Set { link, .. } | Change::SetPeers { link, .. } => &link.name,
        }
    }
}

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.steps.iter().try_for_each(|step| writeln!(f, "{step}"))?;
        self.refused.iter().try_for_each(|refused| writeln!(f, "refused: {refused}"))?;
        self.in_use.iter().try_for_each(|in_use| writeln!(f, "kept: {in_use}"))
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Change::Remove { name, why, .. } => write!(f, "remove {name}: {why}"),
            Change::Create { name, link: NewLink::Bridge, mtu } => {
                write!(f, "create bridge {name}, mtu {mtu}")
            }
            Change::Create { name, link: NewLink::Vlan { trunk, vlan }, mtu } => {
                write!(f, "create VLAN interface {name}, tag {vlan} on link {trunk}, mtu {mtu}")
            }
            Change::Create { name, link: NewLink::Vxlan { id, local }, mtu } => {
                write!(f, "create VXLAN interface {name}, id {id} from {local}, mtu {mtu}")
            }
            Change::SetPeers { link, new, gone } => {
                let signed = new.iter().map(|peer| format!(" +{peer}"));
                let words: String = signed.chain(gone.iter().map(|peer| format!(" -{peer}"))).collect();
                write!(f, "peers of {}:{words}", link.name)
            }
            Change::Set { link, settings } => write!(f, "set {}: {settings}", link.name),
        }
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mark of network {}", self.network)?;
        self.peers.map_or(Ok(()), |generation| write!(f, " with peers {generation}"))
    }
}

impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = [
            self.mark.map(|mark| mark.to_string()),
            self.mtu.map(|mtu| format!("mtu {mtu}")),
            self.master.as_ref().map(|bridge| format!("master {}", bridge.name)),
            self.ipv6_off.then(|| "no IPv6".to_owned()),
            self.deaf.then(|| "deaf".to_owned()),
            self.up.then(|| "up".to_owned()),
        ];
        f.write_str(&words.into_iter().flatten().collect::<Vec<_>>().join(", "))
    }
}

impl fmt::Display for InUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: in use by {}", self.link, names(&self.users))
    }
}

fn names(links: &[InterfaceName]) -> String {
    links.iter().map(InterfaceName::as_str).collect::<Vec<_>>().join(", ")
}
