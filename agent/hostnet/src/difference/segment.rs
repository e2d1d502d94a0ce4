//! What one segment needs, or why it cannot be.

use std::collections::BTreeSet;

use podzol_vocab::{InterfaceName, Tag};

use super::view::View;
use crate::change::{Change, LinkRef, Mark, NewLink, Reason, Settings};
use crate::model::{MARK_GROUP, Peers, Segment, bridge_name, uplink_name};
use crate::observed::{Ipv6, Kind, Link};

/// A segment and what it needs.
pub(super) struct Wanted<'a> {
    pub(super) segment: &'a Segment,
    /// The interface by which it leaves the host.
    pub(super) uplink: NewLink,
    /// Its MTU in bytes.
    pub(super) mtu: u32,
    /// Where its tunnels end, if that is known.
    pub(super) peers: Option<&'a Peers>,
}

/// What to do for one segment.
pub(super) struct Plan<'a> {
    pub(super) tag: Tag,
    /// The bridge, of which the segment's other links are ports.
    pub(super) master: LinkRef,
    /// Links of ours to remove first: in the way, or what cannot be repaired.
    pub(super) replaced: Vec<&'a Link>,
    /// What to do to the bridge.
    pub(super) bridge: LinkPlan,
    /// What to do to the VLAN or VXLAN interface.
    pub(super) uplink: LinkPlan,
    /// What to do to its peers.
    pub(super) peers: Option<Change>,
}

/// What to do to one link.
pub(super) struct LinkPlan {
    pub(super) create: Option<Change>,
    pub(super) set: Option<Change>,
}

impl<'a> Plan<'a> {
    pub(super) fn new(
        needs: &Wanted<'_>,
        view: &View<'a>,
        wanted: &BTreeSet<InterfaceName>,
    ) -> Result<Self, Reason> {
        let Wanted { segment, uplink, mtu, .. } = *needs;
        let (bridge_name, uplink_name) = (bridge_name(segment.tag), uplink_name(segment.tag));
        let bridge = Found::find(&bridge_name, view, |link| link.kind == Kind::Bridge)?;
        let found = Found::find(&uplink_name, view, |link| is(link, uplink))?;
        free_to_change_hands(bridge.kept, segment, view)?;
        let in_the_way = in_the_way(segment, uplink, view, wanted)?;

        let master = LinkRef { name: bridge_name.clone(), index: bridge.kept.map(|link| link.index) };
        let mark = Mark { network: segment.network, peers: None };
        let known = needs.peers.map(|peers| peers.generation);
        let uplink_mark = Mark { peers: known.or(found.kept.and_then(Link::peers_generation)), ..mark };
        Ok(Self {
            tag: segment.tag,
            master: master.clone(),
            peers: needs.peers.and_then(|peers| peers_plan(found.kept, &uplink_name, peers)),
            replaced: [bridge.replaced, found.replaced].into_iter().flatten().chain(in_the_way).collect(),
            bridge: LinkPlan::new(bridge.kept, bridge_name, NewLink::Bridge, mtu, mark, None),
            uplink: LinkPlan::new(found.kept, uplink_name, uplink, mtu, uplink_mark, Some(master)),
        })
    }
}

/// Whether a link is that uplink.
fn is(link: &Link, uplink: NewLink) -> bool {
    match (uplink, &link.kind) {
        (NewLink::Vlan { trunk, vlan }, Kind::Vlan(tag)) => *tag == Some(vlan) && link.parent == Some(trunk),
        (NewLink::Vxlan { id, local }, Kind::Vxlan(vxlan)) => vxlan.is(id, local),
        _ => false,
    }
}

/// What to do so that the tunnels of a VXLAN interface, found or new, end at these peers.
fn peers_plan(found: Option<&Link>, name: &InterfaceName, peers: &Peers) -> Option<Change> {
    let none = BTreeSet::new();
    let has = found.and_then(Link::peers).unwrap_or(&none);
    let new: BTreeSet<_> = peers.addresses.difference(has).copied().collect();
    let gone: BTreeSet<_> = has.difference(&peers.addresses).copied().collect();
    let link = LinkRef { name: name.clone(), index: found.map(|link| link.index) };
    (!new.is_empty() || !gone.is_empty()).then_some(Change::SetPeers { link, new, gone })
}

impl LinkPlan {
    fn new(
        kept: Option<&Link>,
        name: InterfaceName,
        link: NewLink,
        mtu: u32,
        mark: Mark,
        master: Option<LinkRef>,
    ) -> Self {
        let settings = match kept {
            Some(kept) => repair(kept, mark, mtu, master),
            None => Settings { mark: Some(mark), mtu: None, master, ipv6_off: true, deaf: true, up: true },
        };
        let reference = LinkRef { name: name.clone(), index: kept.map(|kept| kept.index) };
        let needed = settings != Settings::default();
        Self {
            create: kept.is_none().then_some(Change::Create { name, link, mtu }),
            set: needed.then_some(Change::Set { link: reference, settings }),
        }
    }
}

/// What has one of our names.
struct Found<'a> {
    kept: Option<&'a Link>,
    replaced: Option<&'a Link>,
}

impl<'a> Found<'a> {
    fn find(name: &InterfaceName, view: &View<'a>, is_right: impl Fn(&Link) -> bool) -> Result<Self, Reason> {
        let Some(link) = view.by_name(name) else { return Ok(Self { kept: None, replaced: None }) };
        if !link.is_ours() {
            return Err(Reason::NameTaken(name.clone()));
        }
        if is_right(link) {
            return Ok(Self { kept: Some(link), replaced: None });
        }
        unused(link, view)?;
        Ok(Self { kept: None, replaced: Some(link) })
    }
}

/// Refuses to give a bridge to another network while foreign ports are on it.
fn free_to_change_hands(bridge: Option<&Link>, segment: &Segment, view: &View<'_>) -> Result<(), Reason> {
    match bridge {
        Some(bridge) if bridge.network().is_some_and(|network| network != segment.network) => {
            unused(bridge, view)
        }
        _ => Ok(()),
    }
}

fn unused(link: &Link, view: &View<'_>) -> Result<(), Reason> {
    let users = view.users(link);
    if users.is_empty() { Ok(()) } else { Err(Reason::InUse { link: link.name.clone(), users }) }
}

/// The links of ours that have the segment's tag under another name: the kernel takes a VLAN once per trunk, and a VXLAN
/// once.
fn in_the_way<'a>(
    segment: &Segment,
    uplink: NewLink,
    view: &View<'a>,
    wanted: &BTreeSet<InterfaceName>,
) -> Result<Vec<&'a Link>, Reason> {
    let name = uplink_name(segment.tag);
    let trunk = match uplink {
        NewLink::Vlan { trunk, .. } => Some(trunk),
        _ => None,
    };
    let others = view.by_tag(trunk, segment.tag).filter(|link| link.name != name);
    let removable = |link: &'a Link| {
        let stays =
            !link.is_ours() || unused(link, view).is_err() || view.serves_a_bridge_in_use(link, wanted);
        if stays { Err(Reason::TagTaken(link.name.clone())) } else { Ok(link) }
    };
    others.map(removable).collect()
}

/// The settings in which a link differs from what its segment needs.
fn repair(link: &Link, mark: Mark, mtu: u32, master: Option<LinkRef>) -> Settings {
    let marked = link.network() == Some(mark.network)
        && link.peers_generation() == mark.peers
        && link.group == MARK_GROUP;
    Settings {
        mark: (!marked).then_some(mark),
        mtu: (link.mtu != mtu).then_some(mtu),
        master: master.filter(|master| master.index.is_none() || link.master != master.index),
        ipv6_off: link.ipv6 == Ipv6::On,
        deaf: !link.deaf,
        up: !link.up,
    }
}
