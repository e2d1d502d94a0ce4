//! DHCP on one link.
//!
//! What comes is heard with the source of its frame, by which its sender is known and limited. Answers come from a socket
//! of the gateway's address, which hears nothing itself; to a client without an address they go as frames that are made here,
//! as it answers no ARP.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::RcvBuf;
use podzol_appliance_dhcp::{
    Answer, Destination, Event, Limiter, Limits, MAX_PACKET, Reply, SERVER_PORT, Table,
};
use podzol_vocab::{InterfaceName, NetworkId};
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::time::Instant;

use super::frame;
use super::leases::Leases;
use super::packets::Packets;
use super::sockets::{self, Frames, LinkIndex};
use crate::links::Family;
use crate::shown::Shown;

/// The longest headers of IP and UDP in bytes. One byte more than is taken is read, so that a longer packet is told from one
/// that fits.
const HEADERS: usize = 60 + 8;

/// Serves until a socket fails.
pub(super) async fn serve(
    network: NetworkId,
    link: InterfaceName,
    mut shown: watch::Receiver<Shown>,
    leases: Leases,
) -> io::Result<()> {
    let Some(own) = own(&shown, network) else { return Ok(()) };
    let packets = Packets::open(&link)?;
    let socket = sockets::udp(&link, own.address, SERVER_PORT)?;
    let line = Line { own, socket, frames: Frames::open()?, link: LinkIndex::of(&link)? };
    // What it hears all the same is nobody's.
    setsockopt(&line.socket, RcvBuf, &0)?;
    let (mut limiter, begun) = (Limiter::new(Limits::default()), Instant::now());
    let (mut table, mut version) = {
        let shown = shown.borrow_and_update();
        (Table::new(&shown.document), shown.versions.vms)
    };
    let mut buffer = [0; HEADERS + MAX_PACKET + 1];
    loop {
        let heard = tokio::select! {
            changed = shown.changed() => {
                if changed.is_err() {
                    return Ok(());
                }
                let shown = shown.borrow_and_update();
                if shown.versions.vms != version {
                    (table, version) = (Table::new(&shown.document), shown.versions.vms);
                    leases.keep(&shown.document);
                }
                continue;
            }
            heard = packets.next(&mut buffer) => heard?,
        };
        let packet = heard.payload;
        let is_for_all = heard.to.is_broadcast() || heard.to == own.broadcast;
        let is_for_us = is_for_all || heard.to == own.address;
        let is_in_place = is_for_us && table.is_source(network, heard.from, packet);
        let Some(mac) = table.sender(network, packet).filter(|_| is_in_place) else { continue };
        if !limiter.admits(table.owner(network, heard.frame), begun.elapsed()) {
            continue;
        }
        match table.answer(network, packet, heard.from) {
            // One that does not get out is as good as lost on the way; the client asks again.
            Some(Answer::Reply(reply)) => {
                leases.replied(network, mac, reply.kind);
                if let Err(error) = line.send(&reply).await {
                    tracing::debug!(to = ?reply.to, %error, "an answer does not get out");
                }
            }
            Some(Answer::Event(Event { kind, mac, address, .. })) => {
                let is_news = leases.said(network, mac, Family::V4, kind);
                if is_news {
                    tracing::info!(?kind, %mac, %address, %link, "a client says something of its address");
                }
            }
            None => {}
        }
    }
}

/// The router's own addresses on a link.
#[derive(Debug, Clone, Copy)]
struct Own {
    mac: frame::Mac,
    address: Ipv4Addr,
    /// That of all in its network.
    broadcast: Ipv4Addr,
}

fn own(shown: &watch::Receiver<Shown>, network: NetworkId) -> Option<Own> {
    let shown = shown.borrow();
    let guest = shown.document.guests.get(&network)?;
    let broadcast = guest.cidr.net().broadcast();
    Some(Own { mac: guest.mac.octets(), address: guest.gateway(), broadcast })
}

/// What answers go out by.
struct Line {
    own: Own,
    socket: UdpSocket,
    frames: Frames,
    link: LinkIndex,
}

impl Line {
    async fn send(&self, reply: &Reply) -> io::Result<()> {
        let port = reply.to.port();
        match reply.to {
            Destination::Broadcast => self.frame(frame::ALL, Ipv4Addr::BROADCAST, port, &reply.bytes),
            Destination::Client { mac, address } => self.frame(mac.octets(), address, port, &reply.bytes),
            Destination::Address(address) | Destination::Relay(address) => {
                self.socket.send_to(&reply.bytes, (address, port)).await.map(drop)
            }
        }
    }

    fn frame(&self, mac: frame::Mac, address: Ipv4Addr, port: u16, bytes: &[u8]) -> io::Result<()> {
        let from = (self.own.mac, SocketAddrV4::new(self.own.address, SERVER_PORT));
        self.frames.send(self.link, &frame::udp(from, (mac, SocketAddrV4::new(address, port)), bytes))
    }
}
