//! From what should exist and what does exist to the changes between them: a pure function.
//!
//! It converges: applied to what it was computed from, the next difference has no steps. It does not know the
//! kernel, and it fails per segment, with a [`Reason`].
//!
//! # Design notes
//!
//! - What a VLAN or VXLAN interface is cannot be changed, so it is replaced; all else is repaired in place.
//! - A bridge with a foreign port is never removed, since that port is a VM's tap or an operator's doing. The VLAN
//!   interface in such a bridge stays with it. Refused: to take the tap out as well.
//! - A VLAN can pass from one network to another. The bridge is then kept only if no foreign port is on it: the taps
//!   of the one network's VMs must not find themselves in the other network.
//! - A VM's tap that is in no bridge, or in another segment's, goes back. Refused: to take one out of a bridge that is not
//!   ours, as that is an operator's doing. A tap whose place is in a bridge of the operator's goes back there in the same
//!   way, and nothing else of that bridge is looked at.
//! - A missing or downed trunk refuses segments but does not remove anything: it can come back. So does an address for
//!   tunnels that is not known or not there.
//! - A VXLAN's peers are told one by one, and each gets a copy of what is for all; what is for one goes to the peer from
//!   which that one was heard. Refused: multicast, which networks between racks seldom carry and hosts take only so much
//!   of; and entries for each VM told by the management service, which would have to be changed on all hosts at the very
//!   moment at which a VM moves.

mod segment;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use podzol_vocab::{InterfaceName, Tag, VxlanId};

use crate::change::{Change, Changes, InUse, LinkRef, NewLink, Reason, Refused, Settings};
use crate::model::{Desired, REMOVAL_GROUPS, Segment, Tunnel, bridge_name, uplink_name};
use crate::observed::{Kind, Link};
use segment::{Plan, Wanted};
use view::View;

/// The changes from what exists to what should exist.
pub fn difference(desired: &Desired, observed: &[Link]) -> Changes {
    let wanted: BTreeSet<_> =
        desired.segments.iter().flat_map(|s| [bridge_name(s.tag), uplink_name(s.tag)]).collect();
    let view = View::new(observed);
    let (plans, refused) = plan(desired, &view, &wanted);
    let (unwanted, in_use) = leftovers(&view, &wanted);
    let replaced =
        plans.iter().flat_map(|plan| &plan.replaced).map(|link| (*link, "it is not what its segment needs"));
    let unwanted = unwanted.into_iter().map(|link| (link, "no network wants it"));
    let mut steps = removals(replaced.chain(unwanted));
    // New bridges before new ports of them, settings of bridges before settings of their ports.
    steps.extend(plans.iter().flat_map(|plan| plan.bridge.create.clone()));
    steps.extend(plans.iter().flat_map(|plan| plan.uplink.create.clone()));
    steps.extend(plans.iter().flat_map(|plan| plan.bridge.set.clone()));
    steps.extend(plans.iter().flat_map(|plan| plan.uplink.set.clone()));
    steps.extend(plans.iter().flat_map(|plan| ports(desired, plan.tag, &plan.master, &view)));
    steps.extend(operators(desired, &view).flat_map(|(tag, bridge)| ports(desired, tag, &bridge, &view)));
    steps.extend(plans.iter().flat_map(|plan| plan.peers.clone()));
    Changes { steps, refused, in_use, free_group: free_group(observed) }
}

/// What to do for each segment, and the segments for which nothing can be done.
fn plan<'a>(
    desired: &Desired,
    view: &View<'a>,
    wanted: &BTreeSet<InterfaceName>,
) -> (Vec<Plan<'a>>, Vec<Refused>) {
    let mut count_of_tag = BTreeMap::new();
    let mut count_of_network = BTreeMap::new();
    for segment in &desired.segments {
        *count_of_tag.entry(segment.tag).or_insert(0) += 1;
        *count_of_network.entry(segment.network).or_insert(0) += 1;
    }
    let trunk = usable_trunk(desired, view);
    let uplink = |segment: &Segment| match segment.tag {
        Tag::Vlan(vlan) => {
            trunk.clone().map(|trunk| (NewLink::Vlan { trunk: trunk.index, vlan }, desired.mtu.on(trunk.mtu)))
        }
        Tag::Vxlan(id) => {
            usable_tunnel(desired.tunnel).map(|local| (NewLink::Vxlan { id, local }, VxlanId::MTU))
        }
        Tag::Traffic(_) => Err(Reason::NotOurs),
    };
    let plan_one = |segment: &Segment| match uplink(segment) {
        _ if count_of_tag[&segment.tag] > 1 => Err(Reason::Duplicate("VLAN or VXLAN")),
        _ if count_of_network[&segment.network] > 1 => Err(Reason::Duplicate("network")),
        Err(reason) => Err(reason),
        Ok((uplink, mtu)) => {
            let peers = desired.peers.get(&segment.network).filter(|_| segment.tag.vxlan().is_some());
            Plan::new(&Wanted { segment, uplink, mtu, peers }, view, wanted)
        }
    };
    let (mut plans, mut refused) = (Vec::new(), Vec::new());
    for segment in &desired.segments {
        match plan_one(segment) {
            Ok(plan) => plans.push(plan),
            Err(reason) => refused.push(Refused { segment: *segment, reason }),
        }
    }
    (plans, refused)
}

/// The operator's bridges that are there.
fn operators<'a>(desired: &Desired, view: &View<'a>) -> impl Iterator<Item = (Tag, LinkRef)> {
    desired.traffic.iter().filter_map(|(traffic, name)| {
        let bridge = view.by_name(name).filter(|link| link.is_operators_bridge())?;
        Some((Tag::Traffic(*traffic), LinkRef { name: name.clone(), index: Some(bridge.index) }))
    })
}

/// The ports of a bridge that are not in it and may go back.
fn ports(desired: &Desired, tag: Tag, bridge: &LinkRef, view: &View<'_>) -> Vec<Change> {
    let of_it = desired.ports.iter().filter(|(_, of)| **of == tag);
    let links = of_it.filter_map(|(name, _)| view.by_name(name)).filter(|link| !link.is_ours());
    let is_out = |link: &&Link| match link.master {
        None => true,
        Some(master) => Some(master) != bridge.index && view.is_ours(master),
    };
    let back = |link: &Link| Change::Set {
        link: LinkRef { name: link.name.clone(), index: Some(link.index) },
        settings: Settings { master: Some(bridge.clone()), ..Settings::default() },
    };
    links.filter(is_out).map(back).collect()
}

fn usable_trunk<'a>(desired: &Desired, view: &View<'a>) -> Result<&'a Link, Reason> {
    let name = || desired.trunk.clone();
    match view.by_name(&desired.trunk) {
        None => Err(Reason::TrunkMissing(name())),
        Some(trunk) if trunk.is_ours() => Err(Reason::TrunkOurs(name())),
        Some(trunk) if !trunk.up => Err(Reason::TrunkDown(name())),
        Some(trunk) => Ok(trunk),
    }
}

/// Where tunnels begin, if they can begin there.
fn usable_tunnel(tunnel: Option<Tunnel>) -> Result<IpAddr, Reason> {
    let tunnel = tunnel.ok_or(Reason::NoTunnel)?;
    let needed = VxlanId::MTU + tunnel.overhead();
    match tunnel.mtu {
        None => Err(Reason::TunnelMissing(tunnel.local)),
        Some(mtu) if mtu < needed => Err(Reason::TunnelTooSmall(tunnel.local, mtu, needed)),
        Some(_) => Ok(tunnel.local),
    }
}

/// The links of ours that no segment wants: those that can go, and those that must stay.
fn leftovers<'a>(view: &View<'a>, wanted: &BTreeSet<InterfaceName>) -> (Vec<&'a Link>, Vec<InUse>) {
    let (mut unwanted, mut in_use) = (Vec::new(), Vec::new());
    for link in view.links().filter(|link| link.is_ours() && !wanted.contains(&link.name)) {
        let users = view.users(link);
        if !users.is_empty() {
            in_use.push(InUse { link: link.name.clone(), users });
        } else if !view.serves_a_bridge_in_use(link, wanted) {
            unwanted.push(link);
        }
    }
    (unwanted, in_use)
}

/// The removal of these links, once each, ports before bridges.
fn removals<'a>(links: impl Iterator<Item = (&'a Link, &'static str)>) -> Vec<Change> {
    let ordered: BTreeMap<_, _> =
        links.map(|(link, why)| ((link.kind == Kind::Bridge, link.index), (link, why))).collect();
    let remove = |(link, why): (&Link, _)| Change::Remove { index: link.index, name: link.name.clone(), why };
    ordered.into_values().map(remove).collect()
}

fn free_group(observed: &[Link]) -> u32 {
    let taken: BTreeSet<_> = observed.iter().map(|link| link.group).collect();
    // A host has fewer links than there are groups in the range; were it not so, links would go one by one.
    REMOVAL_GROUPS.into_iter().find(|group| !taken.contains(group)).unwrap_or(0)
}

#[cfg(test)]
mod tests;
