//! What links a router should have, of a document.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use ipnet::{Ipv4Net, Ipv6Net};
use podzol_appliance_api::{Document, METADATA_ADDRESS, ManagementSide, PublicSide};
use podzol_appliance_nft::{MANAGEMENT_GROUP, OTHER_GROUP, OUTSIDE_GROUP};
use podzol_vocab::{InterfaceName, LINK_GATEWAY, MacAddr, NetworkId};

use super::{Address, Ipv6, MANAGEMENT, PUBLIC, Route};

/// What should be.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Wanted {
    pub(crate) links: Vec<WantedLink>,
    pub(crate) routes: BTreeSet<Route>,
    /// Ranges that nobody is to be asked for packets to, but for the more special ones within.
    pub(crate) unreachable: BTreeSet<Ipv6Net>,
}

/// A link that should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WantedLink {
    pub(crate) name: InterfaceName,
    pub(crate) mac: MacAddr,
    pub(crate) mtu: u32,
    pub(crate) group: u32,
    pub(crate) ipv6: Ipv6,
    pub(crate) addresses: BTreeSet<Address>,
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
        let own = (management.address.into(), management.prefix_len);
        wanted.add(fixed(MANAGEMENT), management.mac, management.mtu, [own].into());
        for (id, guest) in &document.guests {
            let Some(name) = names.all().get(id) else { continue };
            let mut addresses = BTreeSet::from([
                (guest.gateway().into(), guest.cidr.prefix_len()),
                (METADATA_ADDRESS.into(), 32),
            ]);
            if let Some(prefix) = guest.prefix6 {
                addresses.extend([(LINK_GATEWAY.into(), LINK), (prefix.gateway().into(), LINK)]);
            }
            wanted.add(name.clone(), guest.mac, guest.mtu, addresses);
        }
        if let Some(public) = &document.public {
            wanted.add_public(public);
        }
        wanted.routes.extend(management.routes.iter().map(|route| Route {
            to: route.to.into(),
            via: route.via.into(),
            link: management.mac,
            source: None,
        }));
        wanted
    }

    /// Adds the side to the outside. IPv6 there has an address by which the gateway finds the router, and one that what the
    /// router itself says comes from: that one is routed back.
    fn add_public(&mut self, public: &PublicSide) {
        let mut addresses: BTreeSet<Address> =
            public.addresses.iter().map(|(address, length)| ((*address).into(), *length)).collect();
        self.routes.insert(Route {
            to: Ipv4Net::default().into(),
            via: public.gateway.into(),
            link: public.mac,
            source: own_address(public).map(IpAddr::from),
        });
        if let Some(ipv6) = &public.ipv6 {
            addresses.extend([(ipv6.next_hop.into(), LINK), (ipv6.own.into(), 128)]);
            self.routes.insert(Route {
                to: Ipv6Net::default().into(),
                via: ipv6.gateway.into(),
                link: public.mac,
                source: Some(ipv6.own.into()),
            });
            self.unreachable.insert(ipv6.slot);
        }
        self.add(fixed(PUBLIC), public.mac, public.mtu, addresses);
    }

    fn add(&mut self, name: InterfaceName, mac: MacAddr, mtu: u16, addresses: BTreeSet<Address>) {
        let ipv6 = if addresses.iter().any(|(address, _)| address.is_ipv6()) { Ipv6::On } else { Ipv6::Off };
        let group = match name.as_str() {
            MANAGEMENT => MANAGEMENT_GROUP,
            PUBLIC => OUTSIDE_GROUP,
            _ => OTHER_GROUP,
        };
        self.links.push(WantedLink { name, mac, mtu: mtu.into(), group, ipv6, addresses });
    }
}

/// The length of the prefix of all links with IPv6.
const LINK: u8 = 64;

/// What the router's own packets to the outside come from: the first address in the gateway's range, or else the first.
pub(super) fn own_address(public: &PublicSide) -> Option<Ipv4Addr> {
    let is_near = |(address, length): &(&Ipv4Addr, &u8)| {
        Ipv4Net::new(**address, **length).is_ok_and(|range| range.contains(&public.gateway))
    };
    let mut all = public.addresses.iter();
    all.clone().find(is_near).or_else(|| all.next()).map(|(address, _)| *address)
}

fn fixed(name: &str) -> InterfaceName {
    name.parse().expect("four letters and digits are an interface name")
}
