//! Links and addresses, and what of them matters here.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use podzol_vocab::{VlanId, VxlanId};
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};
use rtnetlink::packet_route::link::{
    AfSpecInet, AfSpecInet6, AfSpecUnspec, InfoData, InfoKind, InfoVlan, InfoVxlan, LinkAttribute,
    LinkExtentMask, LinkFlags, LinkInfo, LinkMessage, VlanProtocol,
};
use rtnetlink::packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage};

use super::Socket;
use super::dump::dump;
use crate::links::Error;
use crate::observed::{Ipv6, Kind, Link, LinkIndex, Vxlan};

/// All links.
pub(super) async fn links(socket: &Socket) -> Result<Vec<Link>, Error> {
    let mut request = LinkMessage::default();
    request.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
    let messages = dump(socket, RouteNetlinkMessage::GetLink(request)).await.map_err(Error::Observe)?;
    let link_of = |message| match message {
        RouteNetlinkMessage::NewLink(message) => Some(link(message)),
        _ => None,
    };
    let mut links: Vec<Link> = messages.into_iter().filter_map(link_of).collect();
    if links.iter().any(|link| matches!(link.kind, Kind::Vxlan(_)) && link.is_ours()) {
        let mut peers = peers(socket).await?;
        for link in &mut links {
            if let Kind::Vxlan(vxlan) = &mut link.kind {
                vxlan.peers = peers.remove(&link.index).unwrap_or_default();
            }
        }
    }
    Ok(links)
}

/// Where the tunnels of VXLAN interfaces end for what is for all, by link.
async fn peers(socket: &Socket) -> Result<HashMap<LinkIndex, BTreeSet<IpAddr>>, Error> {
    let mut request = NeighbourMessage::default();
    request.header.family = AddressFamily::Bridge;
    let mut peers: HashMap<_, BTreeSet<_>> = HashMap::new();
    let messages = dump(socket, RouteNetlinkMessage::GetNeighbour(request)).await;
    for message in messages.map_err(Error::Peers)? {
        if let RouteNetlinkMessage::NewNeighbour(message) = message
            && let Some(peer) = peer(&message)
        {
            peers.entry(LinkIndex(message.header.ifindex)).or_default().insert(peer);
        }
    }
    Ok(peers)
}

/// The peer that an entry of a forwarding table names, if it is one for all addresses: those have the address 0.
fn peer(message: &NeighbourMessage) -> Option<IpAddr> {
    let for_all = message.attributes.iter().any(|attribute| {
        matches!(attribute, NeighbourAttribute::LinkLayerAddress(address) if address.iter().all(|byte| *byte == 0))
    });
    let destination = message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(address)) => Some(IpAddr::V4(*address)),
        NeighbourAttribute::Destination(NeighbourAddress::Inet6(address)) => Some(IpAddr::V6(*address)),
        NeighbourAttribute::Destination(NeighbourAddress::Other(bytes)) => address_of(bytes),
        _ => None,
    });
    destination.filter(|_| for_all)
}

fn address_of(bytes: &[u8]) -> Option<IpAddr> {
    let four = <[u8; 4]>::try_from(bytes).map(|bytes| IpAddr::V4(Ipv4Addr::from(bytes)));
    let sixteen = || <[u8; 16]>::try_from(bytes).map(|bytes| IpAddr::V6(Ipv6Addr::from(bytes)));
    four.or_else(|_| sixteen()).ok()
}

/// All addresses, by link.
pub(super) async fn addresses(socket: &Socket) -> Result<HashMap<LinkIndex, Vec<(IpAddr, u8)>>, Error> {
    let request = RouteNetlinkMessage::GetAddress(AddressMessage::default());
    let mut addresses: HashMap<_, Vec<_>> = HashMap::new();
    for message in dump(socket, request).await.map_err(Error::Addresses)? {
        if let RouteNetlinkMessage::NewAddress(message) = message {
            let on_link = addresses.entry(LinkIndex(message.header.index)).or_default();
            on_link.extend(address(&message).map(|address| (address, message.header.prefix_len)));
        }
    }
    Ok(addresses)
}

/// On a point-to-point link `Address` is the peer's and `Local` is ours (rtnetlink(7)).
fn address(message: &AddressMessage) -> Option<IpAddr> {
    let local = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    local.or_else(|| {
        message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        })
    })
}

fn link(message: LinkMessage) -> Link {
    let flags = message.header.flags;
    let mut link = Link {
        index: LinkIndex(message.header.index),
        name: format!("if{}", message.header.index).parse().expect("two letters and ten digits are a name"),
        kind: Kind::Physical,
        alias: None,
        group: 0,
        master: None,
        parent: None,
        mtu: 0,
        up: flags.contains(LinkFlags::Up),
        carrier: flags.contains(LinkFlags::LowerUp),
        ipv6: Ipv6::Absent,
        deaf: false,
    };
    let elsewhere =
        message.attributes.iter().any(|attribute| matches!(attribute, LinkAttribute::LinkNetNsId(_)));
    message.attributes.into_iter().for_each(|attribute| take(&mut link, attribute));
    if elsewhere {
        link.parent = None;
    }
    link
}

fn take(link: &mut Link, attribute: LinkAttribute) {
    match attribute {
        LinkAttribute::IfName(name) => {
            if let Ok(name) = name.parse() {
                link.name = name;
            }
        }
        LinkAttribute::IfAlias(alias) => link.alias = Some(alias),
        LinkAttribute::Group(group) => link.group = group,
        LinkAttribute::Controller(index) => link.master = Some(LinkIndex(index)),
        LinkAttribute::Link(index) => link.parent = Some(LinkIndex(index)),
        LinkAttribute::Mtu(mtu) => link.mtu = mtu,
        LinkAttribute::LinkInfo(infos) => link.kind = kind(&infos),
        LinkAttribute::AfSpecUnspec(families) => {
            (link.ipv6, link.deaf) = (ipv6(&families), is_deaf(&families))
        }
        _ => {}
    }
}

fn kind(infos: &[LinkInfo]) -> Kind {
    let kind = infos.iter().find_map(|info| match info {
        LinkInfo::Kind(kind) => Some(kind),
        _ => None,
    });
    match kind {
        None => Kind::Physical,
        Some(InfoKind::Bridge) => Kind::Bridge,
        Some(InfoKind::Vlan) => Kind::Vlan(tag(infos)),
        Some(InfoKind::Vxlan) => Kind::Vxlan(vxlan(infos)),
        Some(other) => Kind::Other(other.to_string()),
    }
}

/// The 802.1q tag; a tag of 802.1ad is another one.
fn tag(infos: &[LinkInfo]) -> Option<VlanId> {
    let data = infos.iter().find_map(|info| match info {
        LinkInfo::Data(InfoData::Vlan(data)) => Some(data),
        _ => None,
    })?;
    if data
        .iter()
        .any(|info| matches!(info, InfoVlan::Protocol(protocol) if *protocol != VlanProtocol::Ieee8021Q))
    {
        return None;
    }
    data.iter().find_map(|info| match info {
        InfoVlan::Id(id) => VlanId::try_from(*id).ok(),
        _ => None,
    })
}

fn vxlan(infos: &[LinkInfo]) -> Vxlan {
    let data = infos.iter().find_map(|info| match info {
        LinkInfo::Data(InfoData::Vxlan(data)) => Some(data),
        _ => None,
    });
    let mut vxlan = Vxlan::default();
    for info in data.into_iter().flatten() {
        match info {
            InfoVxlan::Id(id) => vxlan.id = VxlanId::try_from(*id).ok(),
            InfoVxlan::Local(address) => vxlan.local = Some(IpAddr::V4(*address)),
            InfoVxlan::Local6(address) => vxlan.local = Some(IpAddr::V6(*address)),
            InfoVxlan::Port(port) => vxlan.port = *port,
            _ => {}
        }
    }
    vxlan
}

/// `arp_ignore` of a link on which no address is answered for.
pub(super) const NO_ANSWERS: i32 = 8;

/// `rp_filter` of a link on which only sources are heard to which that link leads.
pub(super) const STRICT: i32 = 1;

fn is_deaf(families: &[AfSpecUnspec]) -> bool {
    let attributes = families.iter().filter_map(|family| match family {
        AfSpecUnspec::Inet(attributes) => Some(attributes),
        _ => None,
    });
    attributes.flatten().any(|attribute| {
        matches!(attribute, AfSpecInet::DevConf(set) if (set.arp_ignore, set.rp_filter) == (NO_ANSWERS, STRICT))
    })
}

fn ipv6(families: &[AfSpecUnspec]) -> Ipv6 {
    let attributes = families.iter().find_map(|family| match family {
        AfSpecUnspec::Inet6(attributes) => Some(attributes),
        _ => None,
    });
    let configuration = attributes.into_iter().flatten().find_map(|attribute| match attribute {
        AfSpecInet6::DevConf(configuration) => Some(configuration),
        _ => None,
    });
    match configuration {
        None => Ipv6::Absent,
        Some(configuration) if configuration.disable_ipv6 != 0 => Ipv6::Off,
        Some(_) => Ipv6::On,
    }
}
