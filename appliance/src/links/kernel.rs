//! The kernel's links, addresses and routes, over netlink.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use futures_util::TryStreamExt;
use ipnet::{IpNet, Ipv6Net};
use nix::errno::Errno;
use podzol_vocab::MacAddr;
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage};
use rtnetlink::packet_route::link::{
    AfSpecInet6, AfSpecUnspec, In6AddrGenMode, Inet6DevConf, LinkAttribute, LinkFlags, LinkMessage,
};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteScope, RouteType,
};
use rtnetlink::packet_route::rule::RuleMessage;
use rtnetlink::packet_route::{AddressFamily, route::RouteProtocol};
use rtnetlink::{AddressMessageBuilder, Handle, LinkMessageBuilder, LinkUnspec, RouteMessageBuilder};
use tokio::task::AbortHandle;

use super::{Address, Change, Family, Found, Ipv6, Observed, Route, Stray, settings, strays};

/// A step with the kernel failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KernelError {
    /// No netlink socket.
    #[error("cannot open a netlink socket")]
    Open(#[source] std::io::Error),
    /// A dump failed.
    #[error("cannot list {0}")]
    List(&'static str, #[source] rtnetlink::Error),
    /// A change was refused.
    #[error("cannot apply {0:?}")]
    Change(Box<Change>, #[source] rtnetlink::Error),
    /// A setting was refused.
    #[error("cannot apply {0:?}")]
    Setting(Box<Change>, #[source] std::io::Error),
}

/// The kernel's links in the network namespace of the thread that opened it.
#[derive(Debug)]
pub(crate) struct Kernel {
    handle: Handle,
    connection: AbortHandle,
}

impl Kernel {
    pub(crate) fn open() -> Result<Self, KernelError> {
        let (connection, handle, _) = rtnetlink::new_connection().map_err(KernelError::Open)?;
        Ok(Self { handle, connection: tokio::spawn(connection).abort_handle() })
    }

    pub(crate) async fn observe(&self) -> Result<Observed, KernelError> {
        let links: Vec<LinkMessage> = (self.handle.link().get().execute().try_collect().await)
            .map_err(|error| KernelError::List("links", error))?;
        let addresses: Vec<AddressMessage> = (self.handle.address().get().execute().try_collect().await)
            .map_err(|error| KernelError::List("addresses", error))?;
        let mut by_link: BTreeMap<u32, BTreeSet<Address>> = BTreeMap::new();
        for (index, address) in addresses.iter().filter_map(address) {
            by_link.entry(index).or_default().insert(address);
        }
        let links = links.into_iter().filter_map(|link| found(link, &mut by_link)).collect();
        let mut observed = Observed { links, ..Observed::default() };
        for family in Family::ALL {
            self.observe_routes(family, &mut observed).await?;
            let rules: Vec<RuleMessage> =
                (self.handle.rule().get(family.version()).execute().try_collect().await)
                    .map_err(|error| KernelError::List("rules", error))?;
            let (rules, unasked) = strays::of_rules(family, rules);
            observed.strays.extend(rules);
            observed.unasked.extend(unasked.into_iter().map(|table| (family, table)));
        }
        Ok(observed)
    }

    async fn observe_routes(&self, family: Family, observed: &mut Observed) -> Result<(), KernelError> {
        let request = match family {
            Family::V4 => RouteMessageBuilder::<Ipv4Addr>::new().build(),
            Family::V6 => RouteMessageBuilder::<Ipv6Addr>::new().build(),
        };
        let routes: Vec<RouteMessage> = (self.handle.route().get(request).execute().try_collect().await)
            .map_err(|error| KernelError::List("routes", error))?;
        let mac = |index| observed.links.iter().find(|link| link.index == index).map(|link| link.mac);
        for route in &routes {
            match (through_gateway(route, mac), unreachable(route), strays::of_route(route)) {
                (Some(route), _, _) => drop(observed.routes.insert(route)),
                (None, Some(range), Some(stray)) => drop(observed.unreachable.insert(range, stray)),
                (None, _, stray) => observed.strays.extend(stray),
            }
        }
        Ok(())
    }

    /// Applies changes in order, up to the first that fails.
    pub(crate) async fn apply(&self, changes: &[Change]) -> Result<(), KernelError> {
        for change in changes {
            self.apply_one(change).await?;
        }
        Ok(())
    }

    /// Applies changes in order, up to the first that fails and is none of these: what is one of them is passed over, and said.
    pub(crate) async fn apply_but(&self, changes: &[Change], others: &[Change]) -> Result<(), KernelError> {
        for change in changes {
            match self.apply_one(change).await {
                Err(error) if others.contains(change) => {
                    tracing::warn!(%error, "a link is not as it should be, which is no matter of this change");
                }
                other => other?,
            }
        }
        Ok(())
    }

    /// Applies all changes that can be, and gives the failures of the others.
    pub(crate) async fn apply_all(&self, changes: &[Change]) -> Vec<KernelError> {
        let mut failures = Vec::new();
        for change in changes {
            failures.extend(self.apply_one(change).await.err());
        }
        failures
    }

    async fn apply_one(&self, change: &Change) -> Result<(), KernelError> {
        if let Change::SetIpv6(link, ipv6) = change {
            return settings::ipv6(link, *ipv6)
                .map_err(|error| KernelError::Setting(Box::new(change.clone()), error));
        }
        match self.request(change).await {
            Err(error) if change.is_removal() && is_gone(&error) => Ok(()),
            other => other.map_err(|error| KernelError::Change(Box::new(change.clone()), error)),
        }
    }

    async fn request(&self, change: &Change) -> Result<(), rtnetlink::Error> {
        let set = |message| self.handle.link().set(message).execute();
        match change {
            Change::SetIpv6(..) => Ok(()),
            Change::Ask(family, table) => {
                let mut request = self.handle.rule().add();
                *request.message_mut() = table.rule(*family);
                request.execute().await
            }
            Change::RemoveStray(Stray::Rule(rule)) => {
                self.handle.rule().del(RuleMessage::clone(rule)).execute().await
            }
            Change::RemoveStray(Stray::Route(route)) => {
                self.handle.route().del(RouteMessage::clone(route)).execute().await
            }
            Change::RemoveRoute(route, index) => {
                // Whoever has made it, and however.
                let mut message = message(route, *index);
                message.header.protocol = RouteProtocol::Unspec;
                message.header.scope = RouteScope::NoWhere;
                self.handle.route().del(message).execute().await
            }
            Change::RemoveAddress(index, address) => {
                let mut message = address_message(*index, *address);
                // Whatever its other end is.
                message.attributes.retain(|attribute| !matches!(attribute, AddressAttribute::Address(_)));
                self.handle.address().del(message).execute().await
            }
            Change::Down(index) => set(LinkUnspec::new_with_index(*index).down().build()).await,
            Change::Rename(index, name) => {
                set(LinkUnspec::new_with_index(*index).name(name.clone()).build()).await
            }
            Change::Up(index, mtu, group) => set(up(*index, *mtu, *group)).await,
            Change::AddAddress(index, address) => {
                let mut request = self.handle.address().add(*index, address.0, address.1).replace();
                *request.message_mut() = address_message(*index, *address);
                request.execute().await
            }
            Change::AddUnreachable(range) => {
                let builder = RouteMessageBuilder::<Ipv6Addr>::new().kind(RouteType::Unreachable);
                let message = builder.destination_prefix(range.network(), range.prefix_len()).build();
                self.handle.route().add(message).replace().execute().await
            }
            Change::AddRoute(route, index) => {
                self.handle.route().add(message(route, *index)).replace().execute().await
            }
        }
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

/// Whether the kernel says that there is nothing to remove: somebody was faster, or it went with something else.
fn is_gone(error: &rtnetlink::Error) -> bool {
    let rtnetlink::Error::NetlinkError(message) = error else { return false };
    let errno = Errno::from_raw(message.raw_code().abs());
    matches!(errno, Errno::ESRCH | Errno::EADDRNOTAVAIL | Errno::ENODEV | Errno::ENOENT)
}

/// The kernel sets the group before it sets the link up (`do_setlink`).
fn up(index: u32, mtu: u32, group: u32) -> LinkMessage {
    let builder: LinkMessageBuilder<LinkUnspec> = LinkUnspec::new_with_index(index);
    builder.mtu(mtu).link_group(group).up().build()
}

fn message(route: &Route, index: u32) -> RouteMessage {
    let mut message = match route.to {
        IpNet::V4(_) => RouteMessageBuilder::<Ipv4Addr>::new().output_interface(index).onlink().build(),
        IpNet::V6(_) => RouteMessageBuilder::<Ipv6Addr>::new().output_interface(index).onlink().build(),
    };
    message.header.destination_prefix_length = route.to.prefix_len();
    message.attributes.push(RouteAttribute::Destination(route.to.network().into()));
    message.attributes.push(RouteAttribute::Gateway(route.via.into()));
    message.attributes.extend(route.source.map(|source| RouteAttribute::PrefSource(source.into())));
    message
}

/// An address of a link. Of IPv6 nobody is asked whether somebody has it: hosts see to that, and the router in whose place
/// this one comes may have it still.
fn address_message(index: u32, (address, length): Address) -> AddressMessage {
    match address {
        IpAddr::V4(address) => {
            AddressMessageBuilder::<Ipv4Addr>::new().index(index).address(address, length).build()
        }
        IpAddr::V6(address) => {
            let builder = AddressMessageBuilder::<Ipv6Addr>::new().index(index);
            let mut message = builder.address(address, length).build();
            message.header.flags = AddressHeaderFlags::Nodad;
            message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
            message
        }
    }
}

fn found(link: LinkMessage, addresses: &mut BTreeMap<u32, BTreeSet<Address>>) -> Option<Found> {
    let (mut name, mut mac, mut mtu, mut group, mut ipv6) = (None, None, 0, 0, Some(Ipv6::Off));
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::IfName(text) => name = Some(text.clone()),
            LinkAttribute::Address(octets) => mac = mac_of(octets),
            LinkAttribute::Mtu(bytes) => mtu = *bytes,
            LinkAttribute::Group(number) => group = *number,
            LinkAttribute::AfSpecUnspec(families) => ipv6 = ipv6_of(families),
            _ => {}
        }
    }
    let index = link.header.index;
    let up = link.header.flags.contains(LinkFlags::Up);
    let addresses = addresses.remove(&index).unwrap_or_default();
    Some(Found { index, name: name?, mac: mac?, mtu, group, up, ipv6, addresses })
}

/// The loopback's address is all zeros, which is none.
fn mac_of(octets: &[u8]) -> Option<MacAddr> {
    let text: Vec<String> = octets.iter().map(|octet| format!("{octet:02x}")).collect();
    text.join(":").parse().ok()
}

/// Whether a link has IPv6, as [`settings::ipv6`] sets that up.
fn ipv6_of(families: &[AfSpecUnspec]) -> Option<Ipv6> {
    let attributes = families.iter().find_map(|family| match family {
        AfSpecUnspec::Inet6(attributes) => Some(attributes),
        _ => None,
    });
    // A kernel without IPv6, or a link whose MTU is too small for it.
    let Some(attributes) = attributes else { return Some(Ipv6::Off) };
    let (mut settings, mut mode) = (None, None);
    for attribute in attributes {
        match attribute {
            AfSpecInet6::DevConf(found) => settings = Some(found),
            AfSpecInet6::AddrGenMode(found) => mode = Some(*found),
            _ => {}
        }
    }
    let Inet6DevConf { disable_ipv6, forwarding, accept_ra, accept_redirects, accept_dad, .. } = settings?;
    let learns = (*accept_ra, *accept_redirects, *accept_dad) != (0, 0, 0);
    match (*disable_ipv6, *forwarding) {
        (0, 1) if !learns && mode == Some(In6AddrGenMode::None) => Some(Ipv6::On),
        (0, _) => None,
        _ => Some(Ipv6::Off),
    }
}

/// An address, and on which link it is. Those of IPv6 have no other end, and so need not be said to be here.
fn address(message: &AddressMessage) -> Option<(u32, Address)> {
    let (mut here, mut there) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(address) => here = Some(*address),
            AddressAttribute::Address(address) => there = Some(*address),
            _ => {}
        }
    }
    let address = here.or(there.filter(IpAddr::is_ipv6))?;
    Some((message.header.index, (address, message.header.prefix_len)))
}

/// A unicast route through a gateway in the main table.
fn through_gateway(route: &RouteMessage, mac: impl Fn(u32) -> Option<MacAddr>) -> Option<Route> {
    let header = &route.header;
    let any: IpAddr = match header.address_family {
        AddressFamily::Inet => Ipv4Addr::UNSPECIFIED.into(),
        AddressFamily::Inet6 => Ipv6Addr::UNSPECIFIED.into(),
        _ => return None,
    };
    let is_ours = strays::table(route) == u32::from(RouteHeader::RT_TABLE_MAIN)
        && header.kind == RouteType::Unicast
        && header.protocol != RouteProtocol::Kernel;
    let (mut to, mut via, mut index, mut source) = (any, None, None, None);
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Destination(address) => to = ip(address)?,
            RouteAttribute::Gateway(address) => via = ip(address),
            RouteAttribute::Oif(link) => index = Some(*link),
            RouteAttribute::PrefSource(address) => source = ip(address),
            _ => {}
        }
    }
    let to = IpNet::new(to, header.destination_prefix_length).ok()?;
    is_ours.then_some(Route { to, via: via?, link: mac(index?)?, source })
}

/// The range that a route of the main table says to be unreachable.
fn unreachable(route: &RouteMessage) -> Option<Ipv6Net> {
    let is_one = route.header.kind == RouteType::Unreachable
        && strays::table(route) == u32::from(RouteHeader::RT_TABLE_MAIN);
    let to = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(RouteAddress::Inet6(address)) => Some(*address),
        _ => None,
    });
    Ipv6Net::new(to?, route.header.destination_prefix_length).ok().filter(|_| is_one)
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some((*address).into()),
        RouteAddress::Inet6(address) => Some((*address).into()),
        _ => None,
    }
}
