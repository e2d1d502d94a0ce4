//! DHCP for IPv6 on one link.
//!
//! One socket hears what is for all servers of the link, and so nothing that came to one address (RFC 8415, 18.4); another
//! one speaks from the router's link-local address, and hears nothing. Who asks is known by the address that it asks from,
//! which hosts let nobody else have.

use std::io;
use std::net::SocketAddrV6;

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::RcvBuf;
use podzol_appliance_dhcp::v6::{CLIENT_PORT, SERVER_PORT, SERVERS, Table};
use podzol_appliance_dhcp::{Limiter, Limits, MAX_PACKET};
use podzol_vocab::{InterfaceName, LINK_GATEWAY, NetworkId};
use tokio::sync::watch;
use tokio::time::Instant;

use super::leases::Leases;
use super::sockets::{self, LinkIndex};
use crate::links::Family;
use crate::shown::Shown;

/// Serves until a socket fails.
pub(super) async fn serve(
    network: NetworkId,
    link: InterfaceName,
    mut shown: watch::Receiver<Shown>,
    leases: Leases,
) -> io::Result<()> {
    let index = LinkIndex::of(&link)?.number();
    let hearing = sockets::udp(&link, SERVERS, SERVER_PORT)?;
    hearing.join_multicast_v6(&SERVERS, index)?;
    let speaking = sockets::udp(&link, LINK_GATEWAY, SERVER_PORT)?;
    // What it hears all the same is nobody's.
    setsockopt(&speaking, RcvBuf, &0)?;
    let (mut limiter, begun) = (Limiter::new(Limits::default()), Instant::now());
    let (mut table, mut version) = {
        let shown = shown.borrow_and_update();
        (Table::new(&shown.document), shown.versions.vms)
    };
    // One byte more than is taken is read, so that a longer packet is told from one that fits.
    let mut buffer = [0; MAX_PACKET + 1];
    loop {
        let (length, from) = tokio::select! {
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
            heard = hearing.recv_from(&mut buffer) => heard?,
        };
        let std::net::SocketAddr::V6(from) = from else { continue };
        let Some(mac) = table.owner(network, *from.ip()) else { continue };
        if !limiter.admits(Some(mac), begun.elapsed()) {
            continue;
        }
        let Some(answer) = table.answer(network, &buffer[..length], *from.ip()) else { continue };
        leases.gave(network, mac, answer.gives);
        if let Some(said) = answer.said
            && leases.said(network, mac, Family::V6, said)
        {
            tracing::info!(kind = ?said, %mac, %link, "a client says something of its IPv6 address");
        }
        // One that does not get out is as good as lost on the way; the client asks again.
        let to = SocketAddrV6::new(*from.ip(), CLIENT_PORT, 0, index);
        if let Err(error) = speaking.send_to(&answer.bytes, to).await {
            tracing::debug!(%to, %error, "an answer does not get out");
        }
    }
}
