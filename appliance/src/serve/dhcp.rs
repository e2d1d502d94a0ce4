//! DHCP on one link.
//!
//! Two sockets hear: one what is for all, one what is for the gateway's address, which is also what answers come from. To a
//! client without an address they go as frames that are made here, as it answers no ARP.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use podzol_appliance_dhcp::{
    Answer, Destination, Event, Limiter, Limits, MAX_PACKET, Reply, SERVER_PORT, Table,
};
use podzol_vocab::{InterfaceName, NetworkId};
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::time::Instant;

use super::frame;
use super::sockets::{self, Frames};
use crate::shown::Shown;

/// Serves until a socket fails.
pub(super) async fn serve(
    network: NetworkId,
    link: InterfaceName,
    mut shown: watch::Receiver<Shown>,
) -> io::Result<()> {
    let Some(own) = own(&shown, network) else { return Ok(()) };
    let for_all = sockets::udp(&link, Ipv4Addr::UNSPECIFIED, SERVER_PORT)?;
    let line =
        Line { own, socket: sockets::udp(&link, own.address, SERVER_PORT)?, frames: Frames::open(&link)? };
    let (mut limiter, begun) = (Limiter::new(Limits::default()), Instant::now());
    let mut table = Table::new(&shown.borrow_and_update().document);
    // One byte more than is taken, so that a longer packet is told from one that fits.
    let (mut one, mut other) = ([0; MAX_PACKET + 1], [0; MAX_PACKET + 1]);
    loop {
        let (packet, from) = tokio::select! {
            changed = shown.changed() => {
                if changed.is_err() {
                    return Ok(());
                }
                table = Table::new(&shown.borrow_and_update().document);
                continue;
            }
            heard = for_all.recv_from(&mut one) => heard.map(|(length, from)| (&one[..length], from))?,
            heard = line.socket.recv_from(&mut other) => heard.map(|(length, from)| (&other[..length], from))?,
        };
        let SocketAddr::V4(from) = from else { continue };
        let is_admitted = |client| limiter.admits(client, begun.elapsed());
        if !table.sender(network, packet).is_some_and(is_admitted) {
            continue;
        }
        match table.answer(network, packet, *from.ip()) {
            // One that does not get out is as good as lost on the way; the client asks again.
            Some(Answer::Reply(reply)) => {
                if let Err(error) = line.send(&reply).await {
                    tracing::debug!(to = ?reply.to, %error, "an answer does not get out");
                }
            }
            Some(Answer::Event(Event { kind, mac, address, .. })) => {
                tracing::info!(?kind, %mac, %address, %link, "a client says something of its address");
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
}

fn own(shown: &watch::Receiver<Shown>, network: NetworkId) -> Option<Own> {
    let shown = shown.borrow();
    let guest = shown.document.guests.get(&network)?;
    Some(Own { mac: guest.mac.octets(), address: guest.gateway() })
}

/// What answers go out by.
struct Line {
    own: Own,
    socket: UdpSocket,
    frames: Frames,
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
        self.frames.send(&frame::udp(from, (mac, SocketAddrV4::new(address, port)), bytes))
    }
}
