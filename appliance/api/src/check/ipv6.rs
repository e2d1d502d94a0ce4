//! The rules about IPv6.

use std::collections::BTreeSet;
use std::fmt;
use std::net::Ipv6Addr;

use ipnet::Ipv6Net;
use podzol_vocab::{EgressRuleId, FirewallRuleId, NicId};

use super::Found;
use super::entries::{NO_CODE, RANGES, are_apart};
use crate::METADATA_ADDRESS6;
use crate::document::{Document, GuestNetwork, PublicSide6, VmNic};
use crate::firewall::{EgressRule6, IngressRule6, Traffic6};

/// The smallest packet that every link must carry (RFC 8200, 5).
const MIN_MTU: u16 = 1280;

/// The link-local addresses that hosts use (RFC 4291, 2.5.6).
const LINK_LOCAL: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 64);

const HAS_PREFIX: &str = "must be a network with a prefix";

impl Document {
    /// Of the networks and the side to the outside.
    pub(super) fn check_sides6(&self, found: &mut Found) {
        let mut prefixes = BTreeSet::new();
        let slot = self.public.as_ref().and_then(|public| public.ipv6).map(|public| public.slot);
        for (id, guest) in &self.guests {
            let Some(prefix) = guest.prefix6 else { continue };
            let field = |name: &'static str| fmt::from_fn(move |f| write!(f, "guests.{id}.{name}"));
            found.must(guest.mtu >= MIN_MTU, field("mtu"), "must be at least 1280 with a prefix");
            found.must(prefixes.insert(prefix), field("prefix6"), "must be its own");
            let is_within = slot.is_none_or(|slot| slot.contains(&prefix.net()));
            found.must(is_within, field("prefix6"), "must be in the slot");
            let is_apart = !prefix.net().contains(&METADATA_ADDRESS6);
            found.must(is_apart, field("prefix6"), "must not hold fd00:ec2::254");
        }
        let Some(public) = &self.public else { return };
        let Some(ipv6) = &public.ipv6 else { return };
        found.must(public.mtu >= MIN_MTU, "public.mtu", "must be at least 1280 with IPv6");
        self.check_public6(found, ipv6);
    }

    fn check_public6(&self, found: &mut Found, public: &PublicSide6) {
        let PublicSide6 { next_hop, own, gateway, slot } = *public;
        let is_slot =
            slot.trunc() == slot && (16..64).contains(&slot.prefix_len()) && is_unicast(slot.addr());
        let rule = "must be a range of 16 to 63 bits, global or unique local, given by its first address";
        found.must(is_slot, "public.ipv6.slot", rule);
        let is_its = LINK_LOCAL.contains(&next_hop) && next_hop != gateway;
        found.must(is_its, "public.ipv6.next_hop", "must be a link-local address, and not the gateway's");
        let is_free = slot.contains(&own) && self.prefix_of(own).is_none();
        found.must(is_free, "public.ipv6.own", "must be in the slot, and in no network's prefix");
        let is_other = LINK_LOCAL.contains(&gateway) || is_unicast(gateway) && !slot.contains(&gateway);
        let rule = "must be link-local, or global or unique local and outside of the slot";
        found.must(is_other, "public.ipv6.gateway", rule);
    }

    /// The network whose prefix an address is in.
    fn prefix_of(&self, address: Ipv6Addr) -> Option<&GuestNetwork> {
        let has = |guest: &&GuestNetwork| guest.prefix6.is_some_and(|prefix| prefix.net().contains(&address));
        self.guests.values().find(has)
    }

    pub(super) fn check_nic6(&self, found: &mut Found, id: NicId, nic: &VmNic) {
        let (Some(address), Some(network)) = (nic.address6, self.guests.get(&nic.network)) else { return };
        let is_made = network.prefix6.is_some_and(|prefix| prefix.of(nic.mac) == address);
        let rule = "must be what its MAC address makes in its network's prefix";
        found.must(is_made, format_args!("nics.{id}.address6"), rule);
    }

    pub(super) fn check_ingress6(&self, found: &mut Found, id: FirewallRuleId, rule: &IngressRule6) {
        let own = fmt::from_fn(|f| write!(f, "ingress6.{id}"));
        found.must(!self.ingress.contains_key(&id), &own, "must not be a rule of IPv4 too");
        let is_inside = self.guests.values().filter_map(|guest| guest.prefix6).any(|prefix| {
            rule.to == prefix.net() || rule.to.prefix_len() == 128 && prefix.is_vm_address(rule.to.addr())
        });
        let words = "must be a VM's address in one of the networks, or the prefix of one";
        found.must(is_inside, format_args!("{own}.to"), words);
        found.must(are_ranges(&rule.sources), format_args!("{own}.sources"), RANGES);
        found.must(is_traffic(rule.traffic), format_args!("{own}.traffic"), NO_CODE);
    }

    pub(super) fn check_egress6(&self, found: &mut Found, id: EgressRuleId, rule: &EgressRule6) {
        let own = fmt::from_fn(|f| write!(f, "egress6.{id}"));
        found.must(!self.egress.contains_key(&id), &own, "must not be a rule of IPv4 too");
        let prefix = self.guests.get(&rule.network).and_then(|network| network.prefix6);
        found.must(prefix.is_some(), format_args!("{own}.network"), HAS_PREFIX);
        let is_inside = |prefix: Ipv6Net| rule.sources.iter().all(|range| prefix.contains(range));
        let are_inside = prefix.is_none_or(|prefix| is_inside(prefix.net()));
        found.must(are_inside, format_args!("{own}.sources"), "must be in its network's prefix");
        found.must(are_ranges(&rule.sources), format_args!("{own}.sources"), RANGES);
        found.must(are_ranges(&rule.destinations), format_args!("{own}.destinations"), RANGES);
        found.must(is_traffic(rule.traffic), format_args!("{own}.traffic"), NO_CODE);
    }
}

/// Whether hosts beyond a link can have an address: it is global as assigned (RFC 4291, 2.4), or unique local (RFC 4193).
fn is_unicast(address: Ipv6Addr) -> bool {
    let first = address.octets()[0];
    first & 0xe0 == 0x20 || first & 0xfe == 0xfc
}

fn is_traffic(traffic: Traffic6) -> bool {
    !matches!(traffic, Traffic6::Icmpv6 { icmp_type: None, icmp_code: Some(_) })
}

fn are_ranges(ranges: &[Ipv6Net]) -> bool {
    ranges.iter().all(|range| range.trunc() == *range)
        && are_apart(ranges.iter().map(|range| (range.network(), range.broadcast())))
}
