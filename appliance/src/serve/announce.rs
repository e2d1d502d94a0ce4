//! Saying on each link where the router is: with the frames by which an address is announced (RFC 5227, 3; for IPv6 RFC 4861,
//! 7.2.6).
//!
//! Switches learn from frames behind which port a MAC address is. A router that has taken another one's place has the same
//! MAC addresses behind another port, and one whose host was away may speak once more before it ends; then what is sent to
//! the router gets lost until the router is heard again. Neighbours outside may know an address by the MAC address of whoever
//! had it before.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use podzol_appliance_api::PublicSide;
use podzol_vocab::{InterfaceName, LINK_GATEWAY, MacAddr};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::frame;
use super::sockets::{Frames, LinkIndex};
use crate::links::PUBLIC;
use crate::shown::Shown;

/// How often each link hears where the router is. One frame of each family: switches need no more, and neighbours outside
/// have asked by then.
const EVERY: Duration = Duration::from_secs(10);

/// What is announced on a link: a MAC address, and the addresses that are its.
type Announced = BTreeMap<InterfaceName, (MacAddr, Vec<IpAddr>)>;

/// Announces all addresses of a link when one is new, and one of each link every while, until stopped.
pub(super) async fn follow(shown: watch::Receiver<Shown>, stop: CancellationToken) {
    match Frames::open() {
        Ok(frames) => {
            stop.run_until_cancelled(announce(&frames, shown)).await;
        }
        Err(error) => tracing::warn!(%error, "cannot announce addresses"),
    }
}

async fn announce(frames: &Frames, mut shown: watch::Receiver<Shown>) {
    let mut before = Announced::new();
    let mut again = tokio::time::interval(EVERY);
    loop {
        let is_due = tokio::select! {
            changed = shown.changed() => {
                if changed.is_err() {
                    return;
                }
                false
            }
            _ = again.tick() => true,
        };
        let now = announced(&shown.borrow_and_update());
        let mut told = Announced::new();
        for (link, place) in now {
            let is_new = before.get(&link) != Some(&place);
            let heard = match (is_new, is_due) {
                (true, _) => send(frames, &link, place.0, &place.1),
                (false, true) => send(frames, &link, place.0, &first_ones(&place.1)),
                (false, false) => true,
            };
            // A link that is not there now hears of all when it comes.
            if heard {
                told.insert(link, place);
            }
        }
        before = told;
    }
}

/// The first of each family.
fn first_ones(addresses: &[IpAddr]) -> Vec<IpAddr> {
    let first = |is_wanted: fn(&IpAddr) -> bool| addresses.iter().copied().find(is_wanted);
    [first(IpAddr::is_ipv4), first(IpAddr::is_ipv6)].into_iter().flatten().collect()
}

fn announced(shown: &Shown) -> Announced {
    let guest = |(network, link): (&podzol_vocab::NetworkId, &crate::shown::Link)| {
        let guest = shown.document.guests.get(network)?;
        let mut addresses = vec![IpAddr::from(guest.gateway())];
        addresses.extend(
            guest.prefix6.iter().flat_map(|prefix| [LINK_GATEWAY, prefix.gateway()].map(IpAddr::from)),
        );
        Some((link.name.clone(), (guest.mac, addresses)))
    };
    let public = |public: &PublicSide| {
        let name = PUBLIC.parse().ok()?;
        let mut addresses: Vec<IpAddr> = public.addresses.keys().copied().map(IpAddr::from).collect();
        // All other addresses of IPv6 are routed to this one.
        addresses.extend(public.ipv6.iter().map(|ipv6| IpAddr::from(ipv6.next_hop)));
        Some((name, (public.mac, addresses)))
    };
    shown.links.iter().filter_map(guest).chain(shown.document.public.iter().filter_map(public)).collect()
}

/// Whether they went out.
fn send(frames: &Frames, link: &InterfaceName, mac: MacAddr, addresses: &[IpAddr]) -> bool {
    let sent = LinkIndex::of(link).and_then(|index| {
        addresses.iter().try_for_each(|address| {
            let frame = match address {
                IpAddr::V4(address) => frame::announcement(mac.octets(), *address),
                IpAddr::V6(address) => frame::announcement6(mac.octets(), *address),
            };
            frames.send(index, &frame)
        })
    });
    if let Err(error) = &sent {
        tracing::debug!(%error, %link, "cannot announce an address");
    }
    sent.is_ok()
}
