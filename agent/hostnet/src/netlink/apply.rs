//! Changes as messages, many under way at a time.
//!
//! Four volleys: removals; new links, then one dump for the indexes that the kernel gave them; settings; peers. Only what
//! was made in this pass is ever referred to by a name, so a stranger with one of our names is never changed.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::IpAddr;

use futures_util::stream::FuturesOrdered;
use futures_util::{Stream, StreamExt};
use podzol_vocab::InterfaceName;
use rtnetlink::packet_core::{
    NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use rtnetlink::packet_route::link::{
    AfSpecInet6, AfSpecUnspec, BridgeStpState, In6AddrGenMode, LinkAttribute, LinkMessage,
};
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::{LinkBridge, LinkMessageBuilder, LinkUnspec, LinkVlan, LinkVxlan};

use super::grace::Hurry;
use super::read::{self, NO_ANSWERS, STRICT};
use super::socket::{Message, Socket};
use crate::change::{Change, Changes, LinkRef, NewLink, Settings};
use crate::links::Failure;
use crate::model::{MARK_GROUP, VXLAN_PORT, alias};
use crate::observed::{Ipv6, Link, LinkIndex};

/// Requests without an answer at a time. An answer takes up to 1.5 KiB of the socket's receive buffer, of which a
/// kernel gives 208 KiB by default; an answer without room would be lost.
const IN_FLIGHT: usize = 64;

/// Links that one message removes. For each, the kernel can wait some 10 ms with its lock on all network
/// configuration held (`nbp_vlan_flush`, `br_vlan_flush`), and everybody else waits with it.
const REMOVED_AT_ONCE: usize = 64;

const REQUEST: u16 = NLM_F_REQUEST | NLM_F_ACK;

/// Applies changes in order.
pub(super) async fn apply(socket: &Socket, changes: &Changes, hurry: Option<&Hurry>) -> Vec<Failure> {
    let mut pass = Pass { socket, made: HashMap::new(), failures: Vec::new() };
    let (mut removals, mut new, mut settings, mut peers) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for change in &changes.steps {
        match change {
            Change::Remove { index, .. } => removals.push((change, *index)),
            Change::Create { name, link, mtu } => new.push((change, create(name, *link, *mtu))),
            Change::Set { link, settings: set } => settings.push((change, link, set)),
            Change::SetPeers { link, new, gone } => peers.push((change, link, new, gone)),
        }
    }
    let hurried = hurry.filter(|_| removals.len() > 1).and_then(Hurry::begin);
    pass.remove(&removals, changes.free_group).await;
    drop(hurried);
    pass.create(new).await;
    pass.set(settings).await;
    pass.set_peers(peers).await;
    pass.failures
}

struct Pass<'a> {
    socket: &'a Socket,
    /// What this pass made, with the indexes that the kernel chose.
    made: HashMap<InterfaceName, (LinkIndex, Ipv6)>,
    failures: Vec<Failure>,
}

impl<'a> Pass<'a> {
    /// Removes links in groups, or one by one if there is only one or the kernel does not want them as a group.
    async fn remove(&mut self, links: &[(&'a Change, LinkIndex)], group: u32) {
        for some in links.chunks(REMOVED_AT_ONCE) {
            if some.len() == 1 || group == 0 || self.remove_group(some, group).await.is_err() {
                self.remove_each(some).await;
            }
        }
    }

    async fn remove_each(&mut self, links: &[(&'a Change, LinkIndex)]) {
        let mut removals = Vec::new();
        for (change, index) in links {
            let message = LinkUnspec::new_with_index(index.0).build();
            removals.push((*change, Ok(request(RouteNetlinkMessage::DelLink(message), REQUEST))));
        }
        let failures = send_all(self.socket, removals).await;
        // Gone already: with the link that it was stacked on, or by somebody else's hand.
        self.failures.extend(failures.into_iter().filter(|failure| !is_no_device(&failure.source)));
    }

    async fn remove_group(&self, links: &[(&'a Change, LinkIndex)], group: u32) -> io::Result<()> {
        let mut moves = Vec::new();
        for (change, index) in links {
            let message = LinkUnspec::new_with_index(index.0).link_group(group).build();
            moves.push((*change, Ok(request(RouteNetlinkMessage::SetLink(message), REQUEST))));
        }
        let failures = send_all(self.socket, moves).await;
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::Group(group));
        send(self.socket, request(RouteNetlinkMessage::DelLink(message), REQUEST)).await?;
        match failures.into_iter().find(|failure| !is_no_device(&failure.source)) {
            Some(failure) => Err(failure.source),
            None => Ok(()),
        }
    }

    async fn create(&mut self, new: Vec<(&'a Change, LinkMessage)>) {
        if new.is_empty() {
            return;
        }
        let flags = REQUEST | NLM_F_CREATE | NLM_F_EXCL;
        let (mut names, mut requests) = (Vec::new(), Vec::new());
        for (change, message) in new {
            names.push(change.name().clone());
            requests.push((change, Ok(request(RouteNetlinkMessage::NewLink(message), flags))));
        }
        let failures = send_all(self.socket, requests).await;
        // A dump that fails leaves `made` empty, and each link that needs it says so.
        let mut observed: HashMap<_, _> = match read::links(self.socket).await {
            Ok(links) => links
                .into_iter()
                .filter(Link::is_ours)
                .map(|link| (link.name, (link.index, link.ipv6)))
                .collect(),
            Err(_) => HashMap::new(),
        };
        for failure in &failures {
            observed.remove(failure.change.name());
        }
        self.made = names.into_iter().filter_map(|name| observed.remove_entry(&name)).collect();
        self.failures.extend(failures);
    }

    async fn set(&mut self, settings: Vec<(&'a Change, &'a LinkRef, &'a Settings)>) {
        let mut requests = Vec::new();
        for (change, link, settings) in settings {
            requests.push((change, self.settings(link, settings)));
        }
        let failures = send_all(self.socket, requests).await;
        self.failures.extend(failures);
    }

    async fn set_peers(
        &mut self,
        peers: Vec<(&'a Change, &'a LinkRef, &'a BTreeSet<IpAddr>, &'a BTreeSet<IpAddr>)>,
    ) {
        let mut requests = Vec::new();
        for (change, link, new, gone) in peers {
            let index = match self.resolve(link) {
                Ok((index, _)) => index,
                Err(error) => {
                    requests.push((change, Err(error)));
                    continue;
                }
            };
            for peer in gone {
                let message = RouteNetlinkMessage::DelNeighbour(for_all(index, *peer));
                requests.push((change, Ok(request(message, REQUEST))));
            }
            for peer in new {
                let message = RouteNetlinkMessage::NewNeighbour(for_all(index, *peer));
                requests.push((change, Ok(request(message, REQUEST | NLM_F_CREATE | NLM_F_APPEND))));
            }
        }
        let failures = send_all(self.socket, requests).await;
        // Gone already, by somebody else's hand.
        let is_missing = |failure: &Failure| failure.source.raw_os_error() == Some(libc::ENOENT);
        self.failures.extend(failures.into_iter().filter(|failure| !is_missing(failure)));
    }

    /// The message for settings. IPv6 is off, and the host deaf, before it is sent, as the message can bring the link up.
    fn settings(&self, link: &LinkRef, settings: &Settings) -> io::Result<Message> {
        let (index, ipv6) = self.resolve(link)?;
        let mut message = LinkUnspec::new_with_index(index.0);
        if settings.ipv6_off && ipv6 == Ipv6::On {
            ipv6_off(&link.name)?;
            message = message.append_extra_attribute(no_address_generation());
        }
        if settings.deaf {
            deaf(&link.name)?;
        }
        if let Some(mark) = settings.mark {
            message = message.alias(alias(mark.network, mark.peers)).link_group(MARK_GROUP);
        }
        if let Some(mtu) = settings.mtu {
            message = message.mtu(mtu);
        }
        if let Some(master) = &settings.master {
            message = message.controller(self.resolve(master)?.0.0);
        }
        if settings.up {
            message = message.up();
        }
        Ok(request(RouteNetlinkMessage::SetLink(message.build()), REQUEST))
    }

    fn resolve(&self, link: &LinkRef) -> io::Result<(LinkIndex, Ipv6)> {
        let made = || self.made.get(&link.name).copied();
        let missing = || {
            io::Error::new(
                io::ErrorKind::NotFound,
                format!("{} was not created, or not found again", link.name),
            )
        };
        link.index.map(|index| (index, Ipv6::On)).or_else(made).ok_or_else(missing)
    }
}

fn request(message: RouteNetlinkMessage, flags: u16) -> Message {
    let mut request = NetlinkMessage::from(message);
    request.header.flags = flags;
    request
}

/// Sends all requests in their order, and returns those that failed.
async fn send_all(socket: &Socket, requests: Vec<(&Change, io::Result<Message>)>) -> Vec<Failure> {
    let (mut under_way, mut failures) = (FuturesOrdered::new(), Vec::new());
    for (change, request) in requests {
        if under_way.len() == IN_FLIGHT {
            failures.extend(under_way.next().await.flatten());
        }
        let sent = request.and_then(|request| socket.ask(request));
        under_way.push_back(async move {
            let answer = match sent {
                Ok(answers) => acknowledged(answers).await,
                Err(error) => Err(error),
            };
            answer.err().map(|source| Failure { change: change.clone(), source })
        });
    }
    while let Some(failure) = under_way.next().await {
        failures.extend(failure);
    }
    failures
}

async fn send(socket: &Socket, request: Message) -> io::Result<()> {
    acknowledged(socket.ask(request)?).await
}

/// Waits for the answer: an acknowledgement or an error, unless the connection ends before.
async fn acknowledged(mut answers: impl Stream<Item = io::Result<Message>> + Unpin) -> io::Result<()> {
    while let Some(answer) = answers.next().await {
        if let NetlinkPayload::Error(error) = answer?.payload {
            return if error.code.is_some() { Err(error.to_io()) } else { Ok(()) };
        }
    }
    Err(io::ErrorKind::UnexpectedEof.into())
}

fn create(name: &InterfaceName, link: NewLink, mtu: u32) -> LinkMessage {
    match link {
        NewLink::Bridge => LinkMessageBuilder::<LinkBridge>::new(name.as_str())
            .mtu(mtu)
            .link_group(MARK_GROUP)
            .stp_state(BridgeStpState::Disabled)
            .forward_delay(0)
            .mcast_snooping(false)
            .build(),
        NewLink::Vlan { trunk, vlan } => {
            LinkVlan::new(name.as_str(), trunk.0, vlan.get()).mtu(mtu).link_group(MARK_GROUP).build()
        }
        NewLink::Vxlan { id, local } => {
            let message = LinkVxlan::new(name.as_str(), id.get()).port(VXLAN_PORT).learning(true);
            let message = match local {
                IpAddr::V4(address) => message.local(address),
                IpAddr::V6(address) => message.local6(address),
            };
            message.mtu(mtu).link_group(MARK_GROUP).build()
        }
    }
}

/// The entry of a VXLAN interface's forwarding table by which a peer gets what is for all.
fn for_all(link: LinkIndex, peer: IpAddr) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Bridge;
    message.header.ifindex = link.0;
    message.header.state = NeighbourState::Permanent;
    message.header.flags = NeighbourFlags::Own;
    let peer = match peer {
        IpAddr::V4(address) => NeighbourAddress::Inet(address),
        IpAddr::V6(address) => NeighbourAddress::Inet6(address),
    };
    message.attributes =
        vec![NeighbourAttribute::LinkLayerAddress(vec![0; 6]), NeighbourAttribute::Destination(peer)];
    message
}

/// Turns IPv6 off on a link; there is no message for it. The file is missing if the kernel has no IPv6 there. The
/// write blocks, but no longer than sending a message does.
fn ipv6_off(name: &InterfaceName) -> io::Result<()> {
    match std::fs::write(format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6"), "1") {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Has the host answer for none of its addresses on a link, nor hear who speaks to them there: a customer's bridge has a MAC
/// address like any other, and behind it are the host's own addresses, whichever link they are of. No address is routed by that
/// link, so with strict filtering of sources nothing that comes by it is heard. What passes the bridge is not looked at.
///
/// It is looked at each time that links are, as systemd-sysctl(8) sets what it has for all links on each that is new.
/// Where an operator has `conf/all/rp_filter` at 2, the greater of the two counts: there only questions have no answer.
fn deaf(name: &InterfaceName) -> io::Result<()> {
    let set = |setting, value: i32| {
        std::fs::write(format!("/proc/sys/net/ipv4/conf/{name}/{setting}"), value.to_string())
    };
    set("arp_ignore", NO_ANSWERS)?;
    set("rp_filter", STRICT)
}

/// No link-local address even if somebody turns IPv6 on again.
fn no_address_generation() -> LinkAttribute {
    LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(vec![AfSpecInet6::AddrGenMode(
        In6AddrGenMode::None,
    )])])
}

fn is_no_device(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ENODEV)
}
