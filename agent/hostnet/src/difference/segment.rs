//! What one segment needs, or why it cannot be.

use std::collections::BTreeSet;

use podzol_vocab::InterfaceName;

use super::view::View;
use crate::change::{Change, LinkRef, NewLink, Reason, Settings};
use crate::model::{MARK_GROUP, Segment, bridge_name, vlan_name};
use crate::observed::{Ipv6, Kind, Link};

/// What to do for one segment.
pub(super) struct Plan<'a> {
    /// Links of ours to remove first: in the way, or what cannot be repaired.
    pub(super) replaced: Vec<&'a Link>,
    /// What to do to the bridge.
    pub(super) bridge: LinkPlan,
    /// What to do to the VLAN interface.
    pub(super) vlan: LinkPlan,
}

/// What to do to one link.
pub(super) struct LinkPlan {
    pub(super) create: Option<Change>,
    pub(super) set: Option<Change>,
}

impl<'a> Plan<'a> {
    pub(super) fn new(
        segment: &Segment,
        trunk: &Link,
        mtu: u32,
        view: &View<'a>,
        wanted: &BTreeSet<InterfaceName>,
    ) -> Result<Self, Reason> {
        let (bridge_name, vlan_name) = (bridge_name(segment.vlan), vlan_name(segment.vlan));
        let bridge = Found::find(&bridge_name, view, |link| link.kind == Kind::Bridge)?;
        let is_right = |link: &Link| link.vlan() == Some(segment.vlan) && link.parent == Some(trunk.index);
        let vlan = Found::find(&vlan_name, view, is_right)?;
        free_to_change_hands(bridge.kept, segment, view)?;
        let in_the_way = in_the_way(segment, trunk, view, wanted)?;

        let master = LinkRef { name: bridge_name.clone(), index: bridge.kept.map(|link| link.index) };
        let tagged = NewLink::Vlan { trunk: trunk.index, vlan: segment.vlan };
        Ok(Self {
            replaced: [bridge.replaced, vlan.replaced].into_iter().flatten().chain(in_the_way).collect(),
            bridge: LinkPlan::new(bridge.kept, bridge_name, NewLink::Bridge, mtu, segment, None),
            vlan: LinkPlan::new(vlan.kept, vlan_name, tagged, mtu, segment, Some(master)),
        })
    }
}

impl LinkPlan {
    fn new(
        kept: Option<&Link>,
        name: InterfaceName,
        link: NewLink,
        mtu: u32,
        segment: &Segment,
        master: Option<LinkRef>,
    ) -> Self {
        let settings = match kept {
            Some(kept) => repair(kept, segment, mtu, master),
            None => Settings { mark: Some(segment.network), mtu: None, master, ipv6_off: true, up: true },
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

/// The links of ours that have the segment's tag under another name: the kernel takes a tag once per trunk.
fn in_the_way<'a>(
    segment: &Segment,
    trunk: &Link,
    view: &View<'a>,
    wanted: &BTreeSet<InterfaceName>,
) -> Result<Vec<&'a Link>, Reason> {
    let name = vlan_name(segment.vlan);
    let others = view.by_tag(trunk.index, segment.vlan).filter(|link| link.name != name);
    let removable = |link: &'a Link| {
        let stays =
            !link.is_ours() || unused(link, view).is_err() || view.serves_a_bridge_in_use(link, wanted);
        if stays { Err(Reason::VlanTaken(link.name.clone())) } else { Ok(link) }
    };
    others.map(removable).collect()
}

/// The settings in which a link differs from what its segment needs.
fn repair(link: &Link, segment: &Segment, mtu: u32, master: Option<LinkRef>) -> Settings {
    let marked = link.network() == Some(segment.network) && link.group == MARK_GROUP;
    Settings {
        mark: (!marked).then_some(segment.network),
        mtu: (link.mtu != mtu).then_some(mtu),
        master: master.filter(|master| master.index.is_none() || link.master != master.index),
        ipv6_off: link.ipv6 == Ipv6::On,
        up: !link.up,
    }
}
