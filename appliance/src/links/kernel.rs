//! The kernel's links, addresses and routes, over netlink.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use futures_util::TryStreamExt;
use ipnet::Ipv4Net;
use nix::errno::Errno;
use podzol_vocab::MacAddr;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteScope, RouteType,
};
use rtnetlink::packet_route::{AddressFamily, route::RouteProtocol};
use rtnetlink::{AddressMessageBuilder, Handle, LinkMessageBuilder, LinkUnspec, RouteMessageBuilder};
use tokio::task::AbortHandle;

use super::{Change, Found, Observed, Route};

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
    Change(Change, #[source] rtnetlink::Error),
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
        let request = RouteMessageBuilder::<Ipv4Addr>::new().build();
        let routes: Vec<RouteMessage> = (self.handle.route().get(request).execute().try_collect().await)
            .map_err(|error| KernelError::List("routes", error))?;
        let mut by_link: BTreeMap<u32, BTreeSet<(Ipv4Addr, u8)>> = BTreeMap::new();
        for (index, address) in addresses.iter().filter_map(address) {
            by_link.entry(index).or_default().insert(address);
        }
        let links: Vec<Found> = links.into_iter().filter_map(|link| found(link, &mut by_link)).collect();
        let mac = |index| links.iter().find(|link| link.index == index).map(|link| link.mac);
        let routes = routes.iter().filter_map(|route| through_gateway(route, mac)).collect();
        Ok(Observed { links, routes })
    }

    /// Applies changes in order, up to the first that fails.
    pub(crate) async fn apply(&self, changes: &[Change]) -> Result<(), KernelError> {
        for change in changes {
            self.apply_one(change).await?;
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
        match self.request(change).await {
            Err(error) if change.is_removal() && is_gone(&error) => Ok(()),
            other => other.map_err(|error| KernelError::Change(change.clone(), error)),
        }
    }

    async fn request(&self, change: &Change) -> Result<(), rtnetlink::Error> {
        let set = |message| self.handle.link().set(message).execute();
        match change {
            Change::RemoveRoute(route, index) => {
                // Whoever has made it, and however.
                let mut message = message(route, *index);
                message.header.protocol = RouteProtocol::Unspec;
                message.header.scope = RouteScope::NoWhere;
                self.handle.route().del(message).execute().await
            }
            Change::RemoveAddress(index, (address, length)) => {
                let builder = AddressMessageBuilder::<Ipv4Addr>::new().index(*index);
                let mut message = builder.address(*address, *length).build();
                // Whatever its other end is.
                message.attributes.retain(|attribute| !matches!(attribute, AddressAttribute::Address(_)));
                self.handle.address().del(message).execute().await
            }
            Change::Down(index) => set(LinkUnspec::new_with_index(*index).down().build()).await,
            Change::Rename(index, name) => {
                set(LinkUnspec::new_with_index(*index).name(name.clone()).build()).await
            }
            Change::Up(index, mtu) => set(up(*index, *mtu)).await,
            Change::AddAddress(index, (address, length)) => {
                self.handle.address().add(*index, (*address).into(), *length).replace().execute().await
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

fn up(index: u32, mtu: u32) -> LinkMessage {
    let builder: LinkMessageBuilder<LinkUnspec> = LinkUnspec::new_with_index(index);
    builder.mtu(mtu).up().build()
}

fn message(route: &Route, index: u32) -> RouteMessage {
    RouteMessageBuilder::<Ipv4Addr>::new()
        .destination_prefix(route.to.network(), route.to.prefix_len())
        .gateway(route.via)
        .output_interface(index)
        .onlink()
        .build()
}

fn found(link: LinkMessage, addresses: &mut BTreeMap<u32, BTreeSet<(Ipv4Addr, u8)>>) -> Option<Found> {
    let (mut name, mut mac, mut mtu) = (None, None, 0);
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::IfName(text) => name = Some(text.clone()),
            LinkAttribute::Address(octets) => mac = mac_of(octets),
            LinkAttribute::Mtu(bytes) => mtu = *bytes,
            _ => {}
        }
    }
    let index = link.header.index;
    let up = link.header.flags.contains(LinkFlags::Up);
    let addresses = addresses.remove(&index).unwrap_or_default();
    Some(Found { index, name: name?, mac: mac?, mtu, up, addresses })
}

/// The loopback's address is all zeros, which is none.
fn mac_of(octets: &[u8]) -> Option<MacAddr> {
    let text: Vec<String> = octets.iter().map(|octet| format!("{octet:02x}")).collect();
    text.join(":").parse().ok()
}

fn address(message: &AddressMessage) -> Option<(u32, (Ipv4Addr, u8))> {
    let local = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(std::net::IpAddr::V4(address)) => Some(*address),
        _ => None,
    });
    Some((message.header.index, (local?, message.header.prefix_len)))
}

/// A unicast route through a gateway in the main table.
fn through_gateway(route: &RouteMessage, mac: impl Fn(u32) -> Option<MacAddr>) -> Option<Route> {
    let header = &route.header;
    let is_ours = header.table == RouteHeader::RT_TABLE_MAIN
        && header.kind == RouteType::Unicast
        && header.address_family == AddressFamily::Inet
        && header.protocol != RouteProtocol::Kernel;
    let (mut to, mut via, mut index) = (Ipv4Addr::UNSPECIFIED, None, None);
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(address)) => to = *address,
            RouteAttribute::Gateway(RouteAddress::Inet(address)) => via = Some(*address),
            RouteAttribute::Oif(link) => index = Some(*link),
            _ => {}
        }
    }
    let to = Ipv4Net::new(to, header.destination_prefix_length).ok()?;
    is_ours.then_some(Route { to, via: via?, link: mac(index?)? })
}
