//! The router's links: which there should be, with which names, addresses and routes, and what has to change for that.
//!
//! Links are known by their MAC addresses, as the document and the seed give them, and get the names that the rules of the
//! packet filter go by: `eth1` the management network, `eth2` the outside, `eth0` the first network of VMs and `eth3`,
//! `eth4` and so on those after it. A network keeps its name for as long as the router runs.
//!
//! This module converges: it compares what should be with what the kernel says, and only [`kernel`] talks to the kernel. A
//! link that nothing is known about is set down and has no addresses.

pub(crate) mod kernel;
pub(crate) mod settings;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use podzol_appliance_api::{Document, METADATA_ADDRESS, ManagementSide};
use podzol_vocab::{InterfaceName, MacAddr, NetworkId};

/// The name of the link to the management network.
pub(crate) const MANAGEMENT: &str = "eth1";
/// The name of the link to the outside.
pub(crate) const PUBLIC: &str = "eth2";

/// What should be.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Wanted {
    pub(crate) links: Vec<WantedLink>,
    pub(crate) routes: BTreeSet<Route>,
}

/// A link that should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WantedLink {
    pub(crate) name: InterfaceName,
    pub(crate) mac: MacAddr,
    pub(crate) mtu: u32,
    pub(crate) addresses: BTreeSet<(Ipv4Addr, u8)>,
}

/// A way to addresses through a gateway. The gateway is on that link whatever the link's addresses say.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Route {
    pub(crate) to: Ipv4Net,
    pub(crate) via: Ipv4Addr,
    pub(crate) link: MacAddr,
}

/// A link that there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) mac: MacAddr,
    pub(crate) mtu: u32,
    pub(crate) up: bool,
    pub(crate) addresses: BTreeSet<(Ipv4Addr, u8)>,
}

/// What the kernel says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Observed {
    /// The links that have a MAC address.
    pub(crate) links: Vec<Found>,
    /// The routes through gateways.
    pub(crate) routes: BTreeSet<Route>,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    RemoveRoute(Route, u32),
    RemoveAddress(u32, (Ipv4Addr, u8)),
    Down(u32),
    Rename(u32, String),
    /// Sets the MTU and sets it up.
    Up(u32, u32),
    AddAddress(u32, (Ipv4Addr, u8)),
    AddRoute(Route, u32),
}

impl Change {
    /// Whether it takes something away.
    pub(crate) const fn is_removal(&self) -> bool {
        matches!(self, Self::RemoveRoute(..) | Self::RemoveAddress(..))
    }
}

/// The names of the links to networks of VMs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Names(BTreeMap<NetworkId, InterfaceName>);

impl Names {
    /// The names after a change of the networks: those that stay keep theirs.
    pub(crate) fn follow(&self, networks: impl Iterator<Item = NetworkId> + Clone) -> Self {
        let mut names = self.0.clone();
        names.retain(|id, _| networks.clone().any(|network| network == *id));
        for network in networks {
            if !names.contains_key(&network) {
                let taken: BTreeSet<InterfaceName> = names.values().cloned().collect();
                let free = candidates().find(|name| !taken.contains(name));
                names.extend(free.map(|name| (network, name)));
            }
        }
        Self(names)
    }

    pub(crate) fn all(&self) -> &BTreeMap<NetworkId, InterfaceName> {
        &self.0
    }
}

/// The names that links to networks of VMs may have, in order.
fn candidates() -> impl Iterator<Item = InterfaceName> {
    std::iter::once(0).chain(3..1000).filter_map(|number| format!("eth{number}").parse().ok())
}

impl Wanted {
    /// What a router with this management side and this document should have.
    pub(crate) fn of(management: &ManagementSide, document: &Document, names: &Names) -> Self {
        let mut wanted = Self::default();
        let mut add = |name: InterfaceName, mac, mtu: u16, addresses| {
            wanted.links.push(WantedLink { name, mac, mtu: mtu.into(), addresses });
        };
        let own = BTreeSet::from([(management.address, management.prefix_len)]);
        add(fixed(MANAGEMENT), management.mac, management.mtu, own);
        for (id, guest) in &document.guests {
            let Some(name) = names.all().get(id) else { continue };
            let addresses = [(guest.gateway(), guest.cidr.prefix_len()), (METADATA_ADDRESS, 32)];
            add(name.clone(), guest.mac, guest.mtu, addresses.into());
        }
        if let Some(public) = &document.public {
            let addresses = public.addresses.iter().map(|(address, length)| (*address, *length));
            add(fixed(PUBLIC), public.mac, public.mtu, addresses.collect());
            let to = Ipv4Net::default();
            wanted.routes.insert(Route { to, via: public.gateway, link: public.mac });
        }
        let routes = management.routes.iter();
        wanted.routes.extend(routes.map(|route| Route {
            to: route.to,
            via: route.via,
            link: management.mac,
        }));
        wanted
    }
}

fn fixed(name: &str) -> InterfaceName {
    name.parse().expect("four letters and digits are an interface name")
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
    let mut changes = Vec::new();
    for route in observed.routes.difference(&wanted.routes) {
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
        if renamed || !found.up || found.mtu != link.mtu {
            changes.push(Change::Up(found.index, link.mtu));
        }
        if renamed || !found.up {
            fallen.insert(link.mac);
        }
        let new = link.addresses.difference(&found.addresses);
        changes.extend(new.map(|address| Change::AddAddress(found.index, *address)));
    }
    for route in &wanted.routes {
        if !observed.routes.contains(route) || fallen.contains(&route.link) {
            changes.extend(index(&route.link).map(|index| Change::AddRoute(route.clone(), index)));
        }
    }
    Plan { changes, missing }
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
mod tests {
    use super::*;

    fn mac(last: u8) -> MacAddr {
        MacAddr::local([2, 0, 0, 0, 0, last])
    }

    fn found(index: u32, name: &str, up: bool, addresses: &[(Ipv4Addr, u8)]) -> Found {
        let addresses = addresses.iter().copied().collect();
        Found { index, name: name.into(), mac: mac(index as u8), mtu: 1500, up, addresses }
    }

    fn wanted(index: u8, name: &str, addresses: &[(Ipv4Addr, u8)]) -> WantedLink {
        let addresses = addresses.iter().copied().collect();
        WantedLink { name: name.parse().unwrap(), mac: mac(index), mtu: 1500, addresses }
    }

    const ONE: (Ipv4Addr, u8) = (Ipv4Addr::new(10, 1, 1, 1), 24);

    fn check(links: &[WantedLink], observed: &[Found], expected: &[Change]) {
        let wanted = Wanted { links: links.to_vec(), routes: BTreeSet::new() };
        let observed = Observed { links: observed.to_vec(), routes: BTreeSet::new() };
        assert_eq!(plan(&wanted, &observed).changes, expected);
    }

    #[test]
    fn what_is_as_it_should_be_is_not_touched() {
        check(&[wanted(2, "eth0", &[ONE])], &[found(2, "eth0", true, &[ONE])], &[]);
    }

    #[test]
    fn links_that_have_each_others_names_are_told_apart_by_their_macs() {
        check(
            &[wanted(2, "eth0", &[]), wanted(3, "eth1", &[])],
            &[found(2, "eth1", true, &[]), found(3, "eth0", false, &[])],
            &[
                Change::Down(2),
                Change::Rename(2, "aside2".into()),
                Change::Rename(3, "aside3".into()),
                Change::Rename(2, "eth0".into()),
                Change::Up(2, 1500),
                Change::Rename(3, "eth1".into()),
                Change::Up(3, 1500),
            ],
        );
    }

    #[test]
    fn a_link_that_nobody_knows_is_set_down_without_addresses() {
        check(&[], &[found(2, "eth0", true, &[ONE])], &[Change::RemoveAddress(2, ONE), Change::Down(2)]);
    }

    #[test]
    fn a_stray_address_goes_and_a_lost_one_comes_back() {
        let stray = (Ipv4Addr::new(192, 0, 2, 1), 32);
        check(
            &[wanted(2, "eth0", &[ONE])],
            &[found(2, "eth0", true, &[stray])],
            &[Change::RemoveAddress(2, stray), Change::AddAddress(2, ONE)],
        );
    }

    #[test]
    fn the_others_do_not_wait_for_a_link_that_is_not_there() {
        let links = vec![wanted(9, "eth0", &[]), wanted(2, "eth1", &[ONE])];
        let observed = Observed { links: vec![found(2, "eth1", true, &[])], routes: BTreeSet::new() };
        let plan = plan(&Wanted { links, routes: BTreeSet::new() }, &observed);
        assert_eq!(plan.missing, [mac(9)].into());
        assert_eq!(plan.changes, [Change::AddAddress(2, ONE)]);
    }

    #[test]
    fn routes_come_back_with_a_link_that_was_down() {
        let route = Route { to: Ipv4Net::default(), via: Ipv4Addr::new(192, 0, 2, 1), link: mac(2) };
        let wanted = Wanted { links: vec![wanted(2, "eth2", &[])], routes: [route.clone()].into() };
        let stray = Route { via: Ipv4Addr::new(192, 0, 2, 9), ..route.clone() };
        let observed = Observed { links: vec![found(2, "eth2", false, &[])], routes: [stray.clone()].into() };
        assert_eq!(
            plan(&wanted, &observed).changes,
            [Change::RemoveRoute(stray, 2), Change::Up(2, 1500), Change::AddRoute(route, 2)]
        );
    }

    #[test]
    fn a_network_keeps_its_name_while_others_come_and_go() {
        let ids = [NetworkId::new(), NetworkId::new(), NetworkId::new()];
        let names = Names::default().follow(ids[..2].iter().copied());
        let name = |names: &Names, id: usize| names.all().get(&ids[id]).map(ToString::to_string);
        assert_eq!((name(&names, 0), name(&names, 1)), (Some("eth0".into()), Some("eth3".into())));
        let names = names.follow(ids[1..].iter().copied());
        assert_eq!((name(&names, 0), name(&names, 1)), (None, Some("eth3".into())));
        assert_eq!(name(&names, 2), Some("eth0".into()));
    }
}
