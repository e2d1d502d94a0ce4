//! The difference in words and in order: each [`Change`] is one message to the kernel and says why it is needed.

use std::fmt;

use podzol_vocab::{InterfaceName, NetworkId, VlanId};

use crate::model::Segment;
use crate::observed::LinkIndex;

/// What has to be done, and what cannot be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes {
    /// The changes: removals, then new bridges, new VLAN interfaces, then settings. Any prefix of them leaves a host
    /// from which the next difference finds the rest.
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
    /// Changes settings of a link of ours.
    Set {
        /// The link.
        link: LinkRef,
        /// The settings that differ.
        settings: Settings,
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
}

/// A link of ours, which may only exist once an earlier change was applied.
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
    pub mark: Option<NetworkId>,
    /// The MTU in bytes.
    pub mtu: Option<u32>,
    /// The bridge that it becomes a port of.
    pub master: Option<LinkRef>,
    /// Whether to turn IPv6 off.
    pub ipv6_off: bool,
    /// Whether to bring it up. Comes last.
    pub up: bool,
}

/// A segment that cannot exist as things are.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("network {} on VLAN {}: {reason}", segment.network, segment.vlan)]
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
    /// Another network wants the same VLAN, or the same network another VLAN.
    #[error("another segment has the same {0}")]
    Duplicate(&'static str),
    /// A link that is not ours has the name.
    #[error("{0} exists and was not made by Podzol")]
    NameTaken(InterfaceName),
    /// Another VLAN interface on the trunk has the tag.
    #[error("{0} already has this VLAN")]
    VlanTaken(InterfaceName),
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
            Change::Set { link, .. } => &link.name,
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
            Change::Set { link, settings } => write!(f, "set {}: {settings}", link.name),
        }
    }
}

impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = [
            self.mark.map(|network| format!("mark of network {network}")),
            self.mtu.map(|mtu| format!("mtu {mtu}")),
            self.master.as_ref().map(|bridge| format!("master {}", bridge.name)),
            self.ipv6_off.then(|| "no IPv6".to_owned()),
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
