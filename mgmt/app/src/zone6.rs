//! IPv6 prefixes: which of a zone's an account's networks have, and by which way they are reached.
//!
//! ```text
//!   zone's prefix 2001:db8:64::/56 ─┬─ slot 0 2001:db8:64::/60     by fe80::1:0 ─┬─ 0: 2001:db8:64::/64    a network's
//!                                   ├─ slot 1 2001:db8:64:10::/60  by fe80::1:1  │  …
//!                                   │  …                                         ├─ e: 2001:db8:64:e::/64  a network's
//!                                   └─ slot f 2001:db8:64:f0::/60  by fe80::1:f  └─ f: 2001:db8:64:f::/64  the router's own
//! ```
//! An account has one slot in a zone from its first network with IPv6 there until its last one has gone. What a network has is
//! kept as one number, 16 × slot + place; everything else follows from that and from the zone's row.
//!
//! # Design notes
//! - The next hops are the same whichever router has them, so an operator sets all routes once, before there is any router.
//! - A number is free again only when its network's row goes, which is when its router was told so. So no two routers that
//!   are known answer for one next hop.
//! - Refused: proxies of neighbour discovery, which need no routes. The gateway would keep a neighbour for each VM, and whoever
//!   scans the prefix would fill its table (RFC 6583).
//! - Refused: prefix delegation (RFC 8415, 6.3). Prefixes would move with its leases, and a server that is down would keep
//!   routers from coming up.

use std::collections::BTreeSet;
use std::net::Ipv6Addr;

use podzol_appliance_api::PublicSide6;
use podzol_mgmt_api::zone::{PublicPrefix, Route6};
use podzol_mgmt_db::{network, zone};
use podzol_vocab::{AccountId, Ipv6Range, Prefix64};

/// How many prefixes a slot has. The last is the router's own.
const PER_SLOT: i64 = 16;

/// The length of a slot's prefix.
const SLOT: u8 = 60;

/// The lengths that a zone's prefix may have: of 65,536 slots, as many as next hops, to one.
pub(crate) const LENGTHS: std::ops::RangeInclusive<u8> = 44..=SLOT;

/// The most routes that are said one by one.
pub(crate) const MOST_ROUTES: u64 = 4096;

/// `fe80::1:0`, the next hop of the first slot.
const NEXT_HOPS: u128 = 0xfe80 << 112 | 1 << 16;

/// Whether an address is a router's next hop.
pub(crate) fn is_next_hop(address: Ipv6Addr) -> bool {
    address.to_bits() & !0xffff == NEXT_HOPS
}

/// How many slots a zone's prefix has.
pub(crate) fn slots(public: &PublicPrefix) -> u64 {
    1 << SLOT.saturating_sub(public.prefix.net().prefix_len())
}

/// The routes to all slots.
pub(crate) fn routes(public: &PublicPrefix) -> Vec<Route6> {
    let slots = 0..slots(public).min(MOST_ROUTES);
    slots.filter_map(|number| Some(Route6 { prefix: slot(public, number)?, via: next_hop(number) })).collect()
}

/// The prefix of a network in its zone; nothing if it has no IPv6.
pub(crate) fn prefix_in(zone: &zone::Model, network: &network::Model) -> Option<Prefix64> {
    prefix_of(zone.public.as_ref()?.0.ipv6.as_ref()?, network)
}

/// The prefix of a network, of that of its zone; nothing if it has no IPv6.
pub(crate) fn prefix_of(public: &PublicPrefix, network: &network::Model) -> Option<Prefix64> {
    let number = u64::try_from(network.prefix6?).ok()?;
    prefix(slot(public, number / PER_SLOT as u64)?, number % PER_SLOT as u64)
}

/// The public side of the router of a network.
pub(crate) fn public_side(public: &PublicPrefix, number: i64) -> Option<PublicSide6> {
    let number = u64::try_from(number).ok()? / PER_SLOT as u64;
    let slot = slot(public, number)?;
    let own = prefix(slot, PER_SLOT as u64 - 1)?.gateway();
    Some(PublicSide6 { next_hop: next_hop(number), own, gateway: public.gateway, slot: slot.net() })
}

/// A number for a network of an account; nothing if its slot is full, or there is no slot left for it.
pub(crate) fn free(public: &PublicPrefix, account: AccountId, in_use: &[(AccountId, i64)]) -> Option<i64> {
    let own = in_use.iter().find(|(other, _)| *other == account).map(|(_, number)| number / PER_SLOT);
    let taken: BTreeSet<i64> = in_use.iter().map(|(_, number)| number / PER_SLOT).collect();
    let lowest = || (0..slots(public) as i64).find(|slot| !taken.contains(slot));
    let first = own.or_else(lowest)? * PER_SLOT;
    let mut of_networks = first..first + PER_SLOT - 1;
    of_networks.find(|number| in_use.iter().all(|(_, other)| other != number))
}

fn slot(public: &PublicPrefix, number: u64) -> Option<Ipv6Range> {
    let bits = public.prefix.net().addr().to_bits() | u128::from(number) << (128 - SLOT);
    format!("{}/{SLOT}", Ipv6Addr::from_bits(bits)).parse().ok()
}

fn prefix(slot: Ipv6Range, place: u64) -> Option<Prefix64> {
    let bits = slot.net().addr().to_bits() | u128::from(place) << 64;
    format!("{}/64", Ipv6Addr::from_bits(bits)).parse().ok()
}

fn next_hop(slot: u64) -> Ipv6Addr {
    Ipv6Addr::from_bits(NEXT_HOPS | u128::from(slot))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn public(prefix: &str) -> PublicPrefix {
        PublicPrefix { prefix: prefix.parse().unwrap(), gateway: "fe80::ffff".parse().unwrap() }
    }

    #[test]
    fn the_routes_are_those_to_all_slots() {
        let routes = routes(&public("2001:db8:64::/56"));
        let texts: Vec<String> =
            routes.iter().map(|route| format!("{} via {}", route.prefix, route.via)).collect();
        assert_eq!(texts.len(), 16);
        assert_eq!(texts[0], "2001:db8:64::/60 via fe80::1:0");
        assert_eq!(texts[15], "2001:db8:64:f0::/60 via fe80::1:f");
        let slots = |text| slots(&public(text));
        assert_eq!(
            (slots("2001:db8:64::/60"), slots("2001:db8::/48"), slots("2001:db8::/44")),
            (1, 4096, 65536)
        );
        assert!(is_next_hop("fe80::1:ffff".parse().unwrap()));
        assert!(!is_next_hop("fe80::2:0".parse().unwrap()) && !is_next_hop("fe80::1".parse().unwrap()));
    }

    #[test]
    fn a_router_has_the_last_prefix_of_its_slot_and_its_networks_the_others() {
        let side = public_side(&public("2001:db8:64::/56"), 16 + 3).unwrap();
        assert_eq!(side.next_hop.to_string(), "fe80::1:1");
        assert_eq!(side.own.to_string(), "2001:db8:64:1f::1");
        assert_eq!(side.slot.to_string(), "2001:db8:64:10::/60");
    }

    #[test]
    fn an_account_has_one_slot_and_the_lowest_that_is_free() {
        let public = public("2001:db8:64::/59");
        let [one, two, three] = [(); 3].map(|()| AccountId::new());
        assert_eq!(free(&public, one, &[]), Some(0));
        assert_eq!(free(&public, one, &[(one, 0), (one, 2)]), Some(1));
        assert_eq!(free(&public, two, &[(one, 0), (one, 2)]), Some(16));
        assert_eq!(free(&public, two, &[(one, 16)]), Some(0));
        assert_eq!(free(&public, three, &[(one, 0), (two, 16)]), None);
        assert_eq!(free(&public, two, &[(one, 0), (two, 16)]), Some(17));
        let full: Vec<_> = (0..15).map(|number| (one, number)).collect();
        assert_eq!(free(&public, one, &full), None);
    }
}
