//! The rules between a document's parts: what types alone do not hold.

mod balancers;
mod checker;
mod entries;
mod ipv6;

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::Ipv4Net;

pub use self::checker::Checker;
use crate::METADATA_ADDRESS;
use crate::document::{Document, PublicSide};
use crate::limits::{MAX_FOLLOWED, MAX_FORWARDERS, MAX_GUESTS, MIN_FOLLOWED, MIN_FOLLOWED_OF_VM};
use crate::seed::ManagementSide;

/// What is wrong with a document: which field, and which rule it breaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The field, such as `port_forwards.0193….to_port`.
    pub field: String,
    /// The rule, such as `must be in one of the networks`.
    pub rule: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.rule)
    }
}

/// The smallest packet that IPv4 hosts must take whole (RFC 791, 3.1), and the largest on Ethernet with jumbo frames.
const MTUS: std::ops::RangeInclusive<u16> = 576..=9216;

impl Document {
    /// All that is wrong with it.
    pub fn problems(&self) -> Vec<Problem> {
        Checker::of(self).err().unwrap_or_default()
    }

    fn check_sides(&self, found: &mut Found) {
        found.must(self.guests.len() <= MAX_GUESTS, "guests", format_args!("must be at most {MAX_GUESTS}"));
        let mut macs = BTreeSet::new();
        for (id, guest) in &self.guests {
            let field = |name: &'static str| fmt::from_fn(move |f| write!(f, "guests.{id}.{name}"));
            found.must(MTUS.contains(&guest.mtu), field("mtu"), "must be 576 to 9216");
            found.must(
                (120..=604_800).contains(&guest.lease_secs),
                field("lease_secs"),
                "must be 120 to 604800",
            );
            found.must(macs.insert(guest.mac), field("mac"), "must be its own");
            let others = self.guests.range(id..).skip(1);
            let overlaps = others.filter(|(_, other)| other.cidr.overlaps(&guest.cidr)).count() > 0;
            found.must(!overlaps, field("cidr"), "must not overlap with another network's");
            let same = self.guests.range(id..).skip(1).any(|(_, other)| other.domain == guest.domain);
            found.must(!same, field("domain"), "must be its own");
        }
        let Some(public) = &self.public else { return };
        found.must(macs.insert(public.mac), "public.mac", "must be its own");
        found.must(MTUS.contains(&public.mtu), "public.mtu", "must be 576 to 9216");
        let fits = public.addresses.values().all(|length| (1..=32).contains(length));
        found.must(fits, "public.addresses", "must have prefix lengths from 1 to 32");
    }

    fn check_public(&self, found: &mut Found) {
        for (id, guest) in &self.guests {
            let has = |address: Ipv4Addr| guest.cidr.net().contains(&address);
            found.must(
                !has(METADATA_ADDRESS),
                format_args!("guests.{id}.cidr"),
                "must not hold 169.254.169.254",
            );
            let public = self.public.iter().flat_map(|public| public.ranges().chain([public.gateway.into()]));
            let overlaps = public.into_iter().any(|range| overlap(range, guest.cidr.net()));
            found.must(!overlaps, format_args!("guests.{id}.cidr"), "must not overlap with a public range");
        }
        if let Some(public) = &self.public {
            let are_hosts = public.addresses.keys().all(|address| is_host(*address));
            found.must(are_hosts, "public.addresses", "must be addresses of hosts");
            let is_other = is_host(public.gateway) && !public.addresses.contains_key(&public.gateway);
            found.must(is_other, "public.gateway", "must be the address of another host");
        }
        for (id, guest) in &self.guests {
            let is_own = guest.source_nat.is_none_or(|address| self.has_public(address));
            found.must(is_own, format_args!("guests.{id}.source_nat"), IS_PUBLIC);
        }
    }

    fn check_forwarders(&self, found: &mut Found) {
        let rule = format_args!("must be at most {MAX_FORWARDERS}");
        found.must(self.forwarders.len() <= MAX_FORWARDERS, "forwarders", rule);
        let mut seen = BTreeSet::new();
        let good = |forwarder: &IpAddr| match forwarder {
            IpAddr::V4(address) => is_host(*address) && !self.is_own(*address),
            IpAddr::V6(_) => false,
        };
        let are_good = self.forwarders.iter().all(|one| good(one) && seen.insert(*one));
        found.must(are_good, "forwarders", "must be IPv4 addresses of other hosts, each once");
    }

    fn check_followed(&self, found: &mut Found) {
        let Some(limits) = self.limits else { return };
        found.must(
            (MIN_FOLLOWED..=MAX_FOLLOWED).contains(&limits.connections),
            "limits.connections",
            format_args!("must be {MIN_FOLLOWED} to {MAX_FOLLOWED}"),
        );
        found.must(
            (MIN_FOLLOWED_OF_VM..=limits.connections).contains(&limits.connections_per_vm),
            "limits.connections_per_vm",
            format_args!("must be {MIN_FOLLOWED_OF_VM} to limits.connections"),
        );
    }

    /// Whether an address is the router's.
    fn is_own(&self, address: Ipv4Addr) -> bool {
        self.has_public(address) || self.guests.values().any(|guest| guest.gateway() == address)
    }

    fn has_public(&self, address: Ipv4Addr) -> bool {
        self.public.as_ref().is_some_and(|public| public.addresses.contains_key(&address))
    }

    fn is_inside(&self, address: Ipv4Addr) -> bool {
        self.guests.values().any(|guest| guest.cidr.is_vm_address(address))
    }

    /// What of it does not go with the side to the management network.
    pub fn problems_beside(&self, management: &ManagementSide) -> Vec<Problem> {
        let mut found = Found::default();
        let own = Ipv4Net::new(management.address, management.prefix_len)
            .map_or_else(|_| management.address.into(), |net| net.trunc());
        let taken: Vec<Ipv4Net> = management.routes.iter().map(|route| route.to).chain([own]).collect();
        let is_free = |range: Ipv4Net| !taken.iter().any(|taken| overlap(*taken, range));
        const APART: &str = "must not overlap with the management network";
        for (id, guest) in &self.guests {
            found.must(guest.mac != management.mac, format_args!("guests.{id}.mac"), "must be its own");
            found.must(is_free(guest.cidr.net()), format_args!("guests.{id}.cidr"), APART);
        }
        if let Some(public) = &self.public {
            found.must(public.mac != management.mac, "public.mac", "must be its own");
            let are_free = public.ranges().all(is_free);
            found.must(are_free, "public.addresses", APART);
            found.must(is_free(public.gateway.into()), "public.gateway", APART);
        }
        found.0
    }
}

impl PublicSide {
    /// The ranges that its addresses are in.
    fn ranges(&self) -> impl Iterator<Item = Ipv4Net> {
        let range = |(address, length): (&Ipv4Addr, &u8)| Ipv4Net::new(*address, *length).ok();
        self.addresses.iter().filter_map(range).map(|range| range.trunc())
    }
}

/// Whether two ranges have an address in common.
fn overlap(one: Ipv4Net, other: Ipv4Net) -> bool {
    one.contains(&other) || other.contains(&one)
}

/// Whether a host can have an address: it is none of those that begin with 0, 127, or 224 and above (RFC 1122, 3.2.1.3;
/// RFC 1112, 4).
fn is_host(address: Ipv4Addr) -> bool {
    let first = address.octets()[0];
    first != 0 && first != 127 && first < 224
}

const IS_PUBLIC: &str = "must be one of the public addresses";

#[derive(Default)]
struct Found(Vec<Problem>);

impl Found {
    /// The field is named only if that is wanted: there may be ten thousand, and nothing wrong.
    fn must(&mut self, holds: bool, field: impl fmt::Display, rule: impl fmt::Display) {
        if !holds {
            self.0.push(Problem { field: field.to_string(), rule: rule.to_string() });
        }
    }
}

#[cfg(test)]
mod tests;
