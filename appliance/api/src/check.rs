//! The rules between a document's parts: what types alone do not hold.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::Ipv4Net;

use crate::METADATA_ADDRESS;
use crate::document::{Balancer, CheckKind, Document, PortForward, PublicSide};
use crate::firewall::{PortRange, Traffic, Transport};
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

/// The most networks that a router serves: so many network interfaces a VM can have, less the two others.
const MAX_GUESTS: usize = 6;

const MAX_FORWARDERS: usize = 8;
const MAX_RANGES: usize = 64;
const MAX_MEMBERS: usize = 64;

/// So many have names and addresses in a router's memory of 96 MiB, with all else that it does.
const MAX_VMS: usize = 4096;
/// Twice as many as are measured (`bench-router`).
const MAX_RULES: usize = 10_000;
const MAX_BALANCERS: usize = 1000;
/// Bytes of user data and keys: 128 VMs with the largest user data there is.
const MAX_TEXTS: usize = 8 << 20;
/// What one rule can become many of in the packet filter.
const MAX_PIECES: u32 = 65_536;

/// The smallest packet that IPv4 hosts must take whole (RFC 791, 3.1), and the largest on Ethernet with jumbo frames.
const MTUS: std::ops::RangeInclusive<u16> = 576..=9216;

impl Document {
    /// All that is wrong with it.
    pub fn problems(&self) -> Vec<Problem> {
        let mut found = Found::default();
        self.check_limits(&mut found);
        self.check_sides(&mut found);
        self.check_public(&mut found);
        self.check_nics(&mut found);
        self.check_addresses(&mut found);
        self.check_ports(&mut found);
        self.check_rules(&mut found);
        self.check_balancers(&mut found);
        found.0
    }

    fn check_sides(&self, found: &mut Found) {
        found.must(self.guests.len() <= MAX_GUESTS, "guests", format!("must be at most {MAX_GUESTS}"));
        found.must(
            self.forwarders.len() <= MAX_FORWARDERS,
            "forwarders",
            format!("must be at most {MAX_FORWARDERS}"),
        );
        let mut macs = BTreeSet::new();
        for (id, guest) in &self.guests {
            let field = |name: &str| format!("guests.{id}.{name}");
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
            found.must(!has(METADATA_ADDRESS), format!("guests.{id}.cidr"), "must not hold 169.254.169.254");
            let public = self.public.iter().flat_map(|public| public.ranges().chain([public.gateway.into()]));
            let overlaps = public.into_iter().any(|range| overlap(range, guest.cidr.net()));
            found.must(!overlaps, format!("guests.{id}.cidr"), "must not overlap with a public range");
        }
        if let Some(public) = &self.public {
            let are_hosts = public.addresses.keys().all(|address| is_host(*address));
            found.must(are_hosts, "public.addresses", "must be addresses of hosts");
            let is_other = is_host(public.gateway) && !public.addresses.contains_key(&public.gateway);
            found.must(is_other, "public.gateway", "must be the address of another host");
        }
        let mut seen = BTreeSet::new();
        let good = |forwarder: &IpAddr| match forwarder {
            IpAddr::V4(address) => is_host(*address) && !self.is_own(*address),
            IpAddr::V6(_) => false,
        };
        let are_good = self.forwarders.iter().all(|one| good(one) && seen.insert(*one));
        found.must(are_good, "forwarders", "must be IPv4 addresses of other hosts, each once");
    }

    /// Whether an address is the router's.
    fn is_own(&self, address: Ipv4Addr) -> bool {
        self.has_public(address) || self.guests.values().any(|guest| guest.gateway() == address)
    }

    /// What can be many is bounded, and so is what the packet filter and a router's memory make of it.
    fn check_limits(&self, found: &mut Found) {
        for (field, count, most) in [
            ("vms", self.vms.len(), MAX_VMS),
            ("nics", self.nics.len(), MAX_VMS),
            ("port_forwards", self.port_forwards.len(), MAX_RULES),
            ("static_nats", self.static_nats.len(), MAX_RULES),
            ("ingress", self.ingress.len(), MAX_RULES),
            ("egress", self.egress.len(), MAX_RULES),
            ("balancers", self.balancers.len(), MAX_BALANCERS),
        ] {
            found.must(count <= most, field, format!("must be at most {most}"));
        }
        let texts = self.vms.values().map(|facts| {
            let keys: usize = facts.ssh_keys.iter().map(String::len).sum();
            keys + facts.user_data.as_ref().map_or(0, |data| data.expose().len())
        });
        let is_small = texts.sum::<usize>() <= MAX_TEXTS;
        found.must(
            is_small,
            "vms",
            format!("must have at most {MAX_TEXTS} bytes of user data and keys together"),
        );
        let shifted = self.port_forwards.values().filter(|forward| forward.ports.first() != forward.to_port);
        let single: u32 = shifted.map(|forward| forward.ports.count()).sum();
        let rule = format!("must lead to other ports for at most {MAX_PIECES} ports together");
        found.must(single <= MAX_PIECES, "port_forwards", rule);
        let areas =
            self.egress.values().map(|rule| rule.sources.len() as u32 * rule.destinations.len() as u32);
        let rule = format!("must have at most {MAX_PIECES} pairs of a source and a destination together");
        found.must(areas.sum::<u32>() <= MAX_PIECES, "egress", rule);
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
            found.must(guest.mac != management.mac, format!("guests.{id}.mac"), "must be its own");
            found.must(is_free(guest.cidr.net()), format!("guests.{id}.cidr"), APART);
        }
        if let Some(public) = &self.public {
            found.must(public.mac != management.mac, "public.mac", "must be its own");
            let are_free = public.ranges().all(is_free);
            found.must(are_free, "public.addresses", APART);
            found.must(is_free(public.gateway.into()), "public.gateway", APART);
        }
        found.0
    }

    fn check_nics(&self, found: &mut Found) {
        let (mut macs, mut addresses, mut primaries) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for (id, nic) in &self.nics {
            let field = |name: &str| format!("nics.{id}.{name}");
            found.must(self.vms.contains_key(&nic.vm), field("vm"), "must be one of the VMs");
            let network = self.guests.get(&nic.network);
            found.must(network.is_some(), field("network"), "must be one of the networks");
            let inside = network.is_none_or(|network| network.cidr.is_vm_address(nic.address));
            found.must(inside, field("address"), "must be in its network, and a VM's");
            let is_gateways = network.is_some_and(|network| network.mac == nic.mac);
            let is_own = !is_gateways && macs.insert((nic.network, nic.mac));
            found.must(is_own, field("mac"), "must be its own in its network");
            found.must(addresses.insert(nic.address), field("address"), "must be its own");
            found.must(
                !nic.primary || primaries.insert(nic.vm),
                field("primary"),
                "must be only one of a VM's",
            );
        }
    }

    fn check_addresses(&self, found: &mut Found) {
        let sources = self.guests.iter().filter_map(|(id, guest)| {
            let address = guest.source_nat?;
            Some((format!("guests.{id}.source_nat"), address))
        });
        let publics = sources
            .chain(
                self.port_forwards.iter().map(|(id, one)| (format!("port_forwards.{id}.public"), one.public)),
            )
            .chain(self.static_nats.iter().map(|(id, one)| (format!("static_nats.{id}.public"), one.public)))
            .chain(self.ingress.iter().map(|(id, one)| (format!("ingress.{id}.public"), one.public)))
            .chain(self.balancers.iter().map(|(id, one)| (format!("balancers.{id}.public"), one.public)));
        for (field, address) in publics {
            found.must(self.has_public(address), field, "must be one of the public addresses");
        }
        let privates = (self.port_forwards.iter())
            .map(|(id, one)| (format!("port_forwards.{id}.to"), one.to))
            .chain(self.static_nats.iter().map(|(id, one)| (format!("static_nats.{id}.to"), one.to)));
        for (field, address) in privates {
            found.must(self.is_inside(address), field, "must be a VM's address in one of the networks");
        }
        let (mut publics, mut targets) = (BTreeSet::new(), BTreeSet::new());
        for (id, nat) in &self.static_nats {
            let field = |name: &str| format!("static_nats.{id}.{name}");
            let alone = publics.insert(nat.public) && !self.is_shared(nat.public);
            found.must(alone, field("public"), "must serve nothing else");
            found.must(targets.insert(nat.to), field("to"), "must have one static NAT only");
        }
    }

    fn check_ports(&self, found: &mut Found) {
        let mut taken: BTreeMap<(Ipv4Addr, Transport), Vec<PortRange>> = BTreeMap::new();
        let mut free = |public, transport, ports: PortRange| {
            let others = taken.entry((public, transport)).or_default();
            // Sorted, so that only the neighbours have to be looked at.
            let place = others.partition_point(|other| other.first() < ports.first());
            let neighbours = [place.checked_sub(1), Some(place)].into_iter().flatten();
            let is_free = neighbours.filter_map(|at| others.get(at)).all(|other| !other.overlaps(ports));
            if is_free {
                others.insert(place, ports);
            }
            is_free
        };
        for (id, forward) in &self.port_forwards {
            let is_free = free(forward.public, forward.transport, forward.ports);
            found.must(is_free, format!("port_forwards.{id}.ports"), "must lead nowhere else");
            found.must(
                targets_fit(forward),
                format!("port_forwards.{id}.to_port"),
                "must be 1 to 65535, and so must those after it",
            );
        }
        for (id, balancer) in &self.balancers {
            let ports = PortRange::new(balancer.port, balancer.port);
            found.must(ports.is_ok(), format!("balancers.{id}.port"), "must be 1 to 65535");
            let is_free = ports.is_ok_and(|ports| free(balancer.public, balancer.transport, ports));
            found.must(is_free, format!("balancers.{id}.port"), "must lead nowhere else");
        }
    }

    fn check_rules(&self, found: &mut Found) {
        for (id, rule) in &self.ingress {
            found.must(are_ranges(&rule.sources), format!("ingress.{id}.sources"), RANGES);
            found.must(is_traffic(rule.traffic), format!("ingress.{id}.traffic"), NO_CODE);
        }
        for (id, rule) in &self.egress {
            let field = |name: &str| format!("egress.{id}.{name}");
            let network = self.guests.get(&rule.network);
            found.must(network.is_some(), field("network"), "must be one of the networks");
            let inside = network
                .is_none_or(|network| rule.sources.iter().all(|range| network.cidr.net().contains(range)));
            found.must(inside, field("sources"), "must be in its network");
            found.must(are_ranges(&rule.sources), field("sources"), RANGES);
            found.must(are_ranges(&rule.destinations), field("destinations"), RANGES);
            found.must(is_traffic(rule.traffic), field("traffic"), NO_CODE);
        }
    }

    fn check_balancers(&self, found: &mut Found) {
        for (id, balancer) in &self.balancers {
            let field = |name: &str| format!("balancers.{id}.{name}");
            let count = balancer.members.len();
            found.must(count <= MAX_MEMBERS, field("members"), format!("must be at most {MAX_MEMBERS}"));
            for (nic, member) in &balancer.members {
                let field = |name: &str| format!("balancers.{id}.members.{nic}.{name}");
                found.must(
                    self.is_inside(member.address),
                    field("address"),
                    "must be a VM's address in one of the networks",
                );
                found.must(member.port > 0, field("port"), "must be 1 to 65535");
                found.must((1..=100).contains(&member.weight), field("weight"), "must be 1 to 100");
            }
            check_check(found, balancer, &format!("balancers.{id}.check"));
        }
    }

    fn has_public(&self, address: Ipv4Addr) -> bool {
        self.public.as_ref().is_some_and(|public| public.addresses.contains_key(&address))
    }

    fn is_inside(&self, address: Ipv4Addr) -> bool {
        self.guests.values().any(|guest| guest.cidr.is_vm_address(address))
    }

    /// Whether a public address serves something besides one VM.
    fn is_shared(&self, address: Ipv4Addr) -> bool {
        self.guests.values().any(|guest| guest.source_nat == Some(address))
            || self.port_forwards.values().any(|forward| forward.public == address)
            || self.balancers.values().any(|balancer| balancer.public == address)
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

fn check_check(found: &mut Found, balancer: &Balancer, field: &str) {
    let Some(check) = &balancer.check else { return };
    let mut must = |holds, name: &str, rule| found.must(holds, format!("{field}.{name}"), rule);
    must((500..=60_000).contains(&check.interval_ms), "interval_ms", "must be 500 to 60000");
    must((100..=10_000).contains(&check.timeout_ms), "timeout_ms", "must be 100 to 10000");
    must((1..=10).contains(&check.rise), "rise", "must be 1 to 10");
    must((1..=10).contains(&check.fall), "fall", "must be 1 to 10");
    must(balancer.transport == Transport::Tcp, "kind", "must be none for a balancer of UDP");
    if let CheckKind::Http { path } = &check.kind {
        let visible = path.bytes().all(|byte| byte.is_ascii_graphic());
        let is_path = path.starts_with('/') && path.len() <= 256 && visible;
        must(is_path, "kind.path", "must begin with / and be at most 256 visible ASCII characters");
    }
}

const RANGES: &str = "must be 1 to 64 ranges, given by their first address, that do not overlap";
const NO_CODE: &str = "must have no ICMP code without a type";

fn targets_fit(forward: &PortForward) -> bool {
    forward.to_port > 0 && u32::from(forward.to_port) + forward.ports.count() - 1 <= u32::from(u16::MAX)
}

fn is_traffic(traffic: Traffic) -> bool {
    !matches!(traffic, Traffic::Icmp { icmp_type: None, icmp_code: Some(_) })
}

fn are_ranges(ranges: &[Ipv4Net]) -> bool {
    let mut sorted = ranges.to_vec();
    sorted.sort_by_key(|range| range.network());
    (1..=MAX_RANGES).contains(&ranges.len())
        && ranges.iter().all(|range| range.trunc() == *range)
        && sorted.windows(2).all(|pair| pair[0].broadcast() < pair[1].network())
}

#[derive(Default)]
struct Found(Vec<Problem>);

impl Found {
    fn must(&mut self, holds: bool, field: impl Into<String>, rule: impl Into<String>) {
        if !holds {
            self.0.push(Problem { field: field.into(), rule: rule.into() });
        }
    }
}

#[cfg(test)]
mod tests;
