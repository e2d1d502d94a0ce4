//! The router's links: which there should be, with which names, addresses and routes, and what has to change for that.
//!
//! Links are known by their MAC addresses, as the document and the seed give them, and get the names that the rules of the
//! packet filter go by: `eth1` the management network, `eth2` the outside, `eth0` the first network of VMs and `eth3`,
//! `eth4` and so on those after it. A network keeps its name for as long as the router runs. So are they put in the groups that
//! rules go by which are asked about every packet, before they are up.
//!
//! What the router itself asks outside comes from its first public address, whatever the order in which the kernel got them.
//!
//! Links have IPv6 only where the document has it: the addresses that it gives them and no others, not even ones of their own,
//! and nothing that somebody on the link says changes them ([`settings`]). Networks of the router's slot that it does not have
//! are unreachable: packets to them would go to the outside's gateway and come back.
//!
//! This module converges: it compares what should be with what the kernel says, and only [`kernel`] talks to the kernel. A
//! link that nothing is known about is set down and has no addresses; routes that nobody wants go, whatever their kind and
//! their table, and so do rules by which a table would be asked that is not the kernel's usual one.

pub(crate) mod kernel;
pub(crate) mod settings;
mod strays;
mod wanted;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::{IpNet, Ipv6Net};
use podzol_vocab::MacAddr;

pub(crate) use strays::{Family, Stray, Table};
pub(crate) use wanted::{Names, Wanted, WantedLink};

/// The name of the link to the management network.
pub(crate) const MANAGEMENT: &str = "eth1";
/// The name of the link to the outside.
pub(crate) const PUBLIC: &str = "eth2";

/// A way to addresses through a gateway. The gateway is on that link whatever the link's addresses say.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Route {
    pub(crate) to: IpNet,
    /// Of the same family.
    pub(crate) via: IpAddr,
    pub(crate) link: MacAddr,
    /// What the router's own packets come from that go there; as the kernel likes without one.
    pub(crate) source: Option<IpAddr>,
}

/// An address of a link, with the length of its prefix.
pub(crate) type Address = (IpAddr, u8);

/// Whether a link has IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ipv6 {
    /// It has not.
    Off,
    /// It forwards, has the addresses that it is given, and learns nothing from the link.
    On,
}

/// A link that there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) mac: MacAddr,
    pub(crate) mtu: u32,
    pub(crate) group: u32,
    pub(crate) up: bool,
    /// None if it has IPv6 in another way than a router's links should.
    pub(crate) ipv6: Option<Ipv6>,
    pub(crate) addresses: BTreeSet<Address>,
}

/// What the kernel says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Observed {
    /// The links that have a MAC address.
    pub(crate) links: Vec<Found>,
    /// The routes through gateways.
    pub(crate) routes: BTreeSet<Route>,
    /// The ranges that are said to be unreachable, each with how that is removed.
    pub(crate) unreachable: BTreeMap<Ipv6Net, Stray>,
    /// Other routes that nobody wants, and rules.
    pub(crate) strays: Vec<Stray>,
    /// Which tables are asked no more, though they should be.
    pub(crate) unasked: Vec<(Family, Table)>,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    /// Has a table asked again.
    Ask(Family, Table),
    RemoveStray(Stray),
    RemoveRoute(Route, u32),
    RemoveAddress(u32, Address),
    Down(u32),
    Rename(u32, String),
    /// Gives the link of a name IPv6, or takes it away.
    SetIpv6(String, Ipv6),
    /// Sets the MTU and the group, and sets it up.
    Up(u32, u32, u32),
    AddAddress(u32, Address),
    AddRoute(Route, u32),
    /// Has a range be unreachable.
    AddUnreachable(Ipv6Net),
}

impl Change {
    /// Whether it takes something away.
    pub(crate) const fn is_removal(&self) -> bool {
        matches!(self, Self::RemoveStray(..) | Self::RemoveRoute(..) | Self::RemoveAddress(..))
    }
}

/// What has to be done, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Plan {
    pub(crate) changes: Vec<Change>,
    /// The links that should be and are not there. The others do not wait for them.
    pub(crate) missing: BTreeSet<MacAddr>,
}

/// What has to be done for the links that are there.
pub(crate) fn plan(wanted: &Wanted, observed: &Observed) -> Plan {
    let by_mac: BTreeMap<MacAddr, &Found> = observed.links.iter().map(|link| (link.mac, link)).collect();
    let there = wanted.links.iter().filter_map(|link| Some((link, *by_mac.get(&link.mac)?)));
    let pairs: Vec<(&WantedLink, &Found)> = there.collect();
    let missing = wanted.links.iter().map(|link| link.mac).filter(|mac| !by_mac.contains_key(mac)).collect();
    let index = |mac: &MacAddr| by_mac.get(mac).map(|found| found.index);
    // First what could lead packets elsewhere, but tables before rules, so that there is always a way.
    let mut changes: Vec<Change> =
        observed.unasked.iter().map(|(family, table)| Change::Ask(*family, *table)).collect();
    changes.extend(observed.strays.iter().cloned().map(Change::RemoveStray));
    let reachable = observed.unreachable.iter().filter(|(range, _)| !wanted.unreachable.contains(range));
    changes.extend(reachable.map(|(_, route)| Change::RemoveStray(route.clone())));
    for route in
        observed.routes.difference(&wanted.routes).filter(|route| !is_replaced(route, wanted, observed))
    {
        changes.extend(index(&route.link).map(|index| Change::RemoveRoute(route.clone(), index)));
    }
    put_aside(&pairs, &observed.links, &mut changes);
    // A link that was set down has lost its routes.
    let mut fallen = BTreeSet::new();
    for (link, found) in &pairs {
        let gone = found.addresses.difference(&link.addresses);
        changes.extend(gone.map(|address| Change::RemoveAddress(found.index, *address)));
        let renamed = found.name != link.name.as_str();
        if renamed {
            changes.push(Change::Rename(found.index, link.name.to_string()));
        }
        if renamed || !found.up || (found.mtu, found.group) != (link.mtu, link.group) {
            changes.push(Change::Up(found.index, link.mtu, link.group));
        }
        if found.ipv6 != Some(link.ipv6) {
            changes.push(Change::SetIpv6(link.name.to_string(), link.ipv6));
        }
        let has_fallen = renamed || !found.up;
        if has_fallen {
            fallen.insert(link.mac);
        }
        // It loses addresses of IPv6 when it is set down, or when IPv6 is set up anew; of IPv4 it does not.
        let has_lost = has_fallen || found.ipv6 != Some(link.ipv6);
        let new = link.addresses.iter().filter(|(address, length)| {
            !found.addresses.contains(&(*address, *length)) || has_lost && address.is_ipv6()
        });
        changes.extend(new.map(|address| Change::AddAddress(found.index, *address)));
    }
    for route in &wanted.routes {
        if !observed.routes.contains(route) || fallen.contains(&route.link) {
            changes.extend(index(&route.link).map(|index| Change::AddRoute(route.clone(), index)));
        }
    }
    let unreachable = wanted.unreachable.iter().filter(|range| !observed.unreachable.contains_key(range));
    changes.extend(unreachable.map(|range| Change::AddUnreachable(*range)));
    Plan { changes, missing }
}

/// Whether a route goes by itself when the one to the same addresses comes that should be there, so that there is a way at
/// any time.
fn is_replaced(route: &Route, wanted: &Wanted, observed: &Observed) -> bool {
    let mut new = wanted.routes.difference(&observed.routes);
    let twins = observed.routes.iter().filter(|other| other.to == route.to).count();
    twins == 1 && new.any(|other| other.to == route.to && other.link == route.link)
}

/// Sets links down that nothing is known about, and gives links that are to have another name, or have a name that another
/// one is to have, one that nobody wants.
fn put_aside(pairs: &[(&WantedLink, &Found)], links: &[Found], changes: &mut Vec<Change>) {
    for found in links {
        let wanted = pairs.iter().find(|(_, other)| other.index == found.index).map(|(link, _)| *link);
        let is_right = wanted.is_some_and(|link| link.name.as_str() == found.name);
        if wanted.is_none() {
            changes
                .extend(found.addresses.iter().map(|address| Change::RemoveAddress(found.index, *address)));
            if found.ipv6 != Some(Ipv6::Off) {
                changes.push(Change::SetIpv6(found.name.clone(), Ipv6::Off));
            }
        }
        if !is_right && found.up {
            changes.push(Change::Down(found.index));
        }
        let in_the_way = pairs.iter().any(|(link, _)| link.name.as_str() == found.name);
        if !is_right && in_the_way {
            changes.push(Change::Rename(found.index, format!("aside{}", found.index)));
        }
    }
}

#[cfg(test)]
mod tests;
