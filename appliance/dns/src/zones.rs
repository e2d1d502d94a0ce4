//! The zones that the router is the authority of: each guest network's domain, and the names of its addresses.
//!
//! A name has the addresses of all interfaces of its VM in that network, of both families. What is asked about is looked up in
//! two hash tables at most; nothing is computed from the document at that time.
//!
//! # Design notes
//! - A name that is not there but has names below it is an empty one and not a missing one (RFC 8020): this is why
//!   all names above the domains are kept.
//! - There is no wildcard, and nothing is guessed for a name without a domain: DHCP gives VMs a search domain.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::Ipv4Net;
use podzol_appliance_api::{Document, GuestNetwork};
use podzol_vocab::{NetworkId, Prefix64};

use crate::local::{Found, Local, Soa};
use crate::name::{Name, wire};
use crate::reverse::Reverse;
use crate::reverse6::{self, Reverse6};
use crate::special;
use crate::wire::kind;

/// How long it may be kept that a name is not there, in seconds: short, for people ask for a VM before it is there.
const NEGATIVE_TTL: u32 = 10;

/// What the router knows by itself, made from a document.
#[derive(Debug, Clone, Default)]
pub struct Zones {
    serial: u32,
    networks: HashMap<NetworkId, (Ipv4Net, Option<Prefix64>)>,
    /// By domain.
    zones: HashMap<Box<[u8]>, Zone>,
    /// By domain and by name in a domain.
    names: HashMap<Box<[u8]>, Addresses>,
    /// The names that a domain is in.
    above: HashSet<Box<[u8]>>,
    /// The domain of each network, by its addresses.
    ranges: Vec<(Ipv4Net, Box<[u8]>)>,
    /// The names of addresses.
    pointers: BTreeMap<u32, Box<[u8]>>,
    /// The same of IPv6.
    ranges6: Vec<(Prefix64, Box<[u8]>)>,
    pointers6: BTreeMap<u128, Box<[u8]>>,
    forwarders: Vec<IpAddr>,
}

#[derive(Debug, Clone)]
struct Zone {
    server: Box<[u8]>,
    mailbox: Box<[u8]>,
}

/// The addresses of a name.
#[derive(Debug, Clone, Default)]
struct Addresses {
    v4: Vec<Ipv4Addr>,
    v6: Vec<Ipv6Addr>,
}

impl Zones {
    /// The zones of a document. A VM with the name `gateway` has no name here: that one is the router's own.
    pub fn new(document: &Document) -> Self {
        let mut zones = Self {
            // Resolvers of VMs look only whether it is another one.
            serial: document.generation.0 as u32,
            forwarders: document.forwarders.clone(),
            ..Self::default()
        };
        for (id, guest) in &document.guests {
            zones.add_network(*id, guest);
        }
        for nic in document.nics.values() {
            let (Some(guest), Some(vm)) = (document.guests.get(&nic.network), document.vms.get(&nic.vm))
            else {
                continue;
            };
            let name = wire(&format!("{}.{}", vm.name, guest.domain));
            let taken = vm.name.as_str() == "gateway" || zones.zones.contains_key(&name);
            if !taken && guest.cidr.is_vm_address(nic.address) {
                zones.pointers.insert(nic.address.to_bits(), name.clone());
                zones.pointers6.extend(nic.address6.map(|address| (address.to_bits(), name.clone())));
                let addresses = zones.names.entry(name).or_default();
                addresses.v4.push(nic.address);
                addresses.v6.extend(nic.address6);
            }
        }
        zones
    }

    /// The name servers that are asked for all else, in order.
    pub fn forwarders(&self) -> &[IpAddr] {
        &self.forwarders
    }

    /// Whether an address is in a network, or of its link.
    pub(crate) fn is_inside(&self, network: NetworkId, address: IpAddr) -> bool {
        let Some((range, prefix)) = self.networks.get(&network) else { return false };
        match address {
            IpAddr::V4(address) => range.contains(&address),
            IpAddr::V6(address) => prefix
                .is_some_and(|prefix| prefix.net().contains(&address) || address.is_unicast_link_local()),
        }
    }

    /// The answer to a question that needs no forwarder; `None` if it needs one.
    pub(crate) fn find(&self, name: &Name, asked: u16) -> Option<Local<'_>> {
        self.find_name(name, asked)
            .or_else(|| self.find_address(name, asked))
            .or_else(|| self.find_address6(name, asked))
            .or_else(|| special::find(name, asked, || self.has_below(name)))
    }

    fn find_name(&self, name: &Name, asked: u16) -> Option<Local<'_>> {
        let zone_at = |(start, suffix)| Some((start, self.zones.get(suffix)?));
        let (apex, zone) = name.suffixes().find_map(zone_at)?;
        let found = match (self.names.get(name.as_bytes()), asked) {
            (Some(addresses), kind::A) => Found::A(&addresses.v4),
            (Some(addresses), kind::AAAA) if !addresses.v6.is_empty() => Found::Aaaa(&addresses.v6),
            (Some(_), kind::SOA) if apex == 0 => Found::Soa,
            (Some(_), kind::NS) if apex == 0 => Found::Ns,
            (Some(_), kind::ANY) => Found::Any,
            (Some(_), _) => Found::NoData,
            (None, _) if self.above.contains(name.as_bytes()) => Found::NoData,
            (None, _) => Found::NoName,
        };
        Some(Local { apex, soa: self.soa(zone), found })
    }

    fn find_address(&self, name: &Name, asked: u16) -> Option<Local<'_>> {
        let reverse = Reverse::read(name)?;
        let zone_at =
            |(range, domain): &(Ipv4Net, _)| Some((reverse.apex_in(*range)?, self.zones.get(domain)?));
        let (apex, zone) = self.ranges.iter().find_map(zone_at)?;
        let mut below = self.pointers.range(reverse.range());
        let found = match (below.next(), asked) {
            _ if reverse.more => Found::NoName,
            (_, kind::SOA) if apex == 0 => Found::Soa,
            (_, kind::NS) if apex == 0 => Found::Ns,
            (_, kind::ANY) if apex == 0 => Found::Any,
            (Some((_, name)), kind::PTR) if reverse.count == 4 => Found::Ptr(name),
            (Some(_), kind::ANY) if reverse.count == 4 => Found::Any,
            (Some(_), _) => Found::NoData,
            (None, _) if apex == 0 => Found::NoData,
            (None, _) => Found::NoName,
        };
        Some(Local { apex, soa: self.soa(zone), found })
    }

    fn find_address6(&self, name: &Name, asked: u16) -> Option<Local<'_>> {
        let reverse = Reverse6::read(name)?;
        let zone_at =
            |(prefix, domain): &(Prefix64, _)| Some((reverse.apex_in(*prefix)?, self.zones.get(domain)?));
        let (apex, zone) = self.ranges6.iter().find_map(zone_at)?;
        let mut below = self.pointers6.range(reverse.range());
        let is_whole = reverse.count == reverse6::WHOLE;
        let found = match (below.next(), asked) {
            _ if reverse.more => Found::NoName,
            (_, kind::SOA) if apex == 0 => Found::Soa,
            (_, kind::NS) if apex == 0 => Found::Ns,
            (_, kind::ANY) if apex == 0 => Found::Any,
            (Some((_, name)), kind::PTR) if is_whole => Found::Ptr(name),
            (Some(_), kind::ANY) if is_whole => Found::Any,
            (Some(_), _) => Found::NoData,
            (None, _) => Found::NoName,
        };
        Some(Local { apex, soa: self.soa(zone), found })
    }

    /// Whether a name that is in none of the zones has one of them below it.
    fn has_below(&self, name: &Name) -> bool {
        let has_address =
            |reverse: Reverse| !reverse.more && self.pointers.range(reverse.range()).next().is_some();
        let has_address6 =
            |reverse: Reverse6| !reverse.more && self.pointers6.range(reverse.range()).next().is_some();
        self.above.contains(name.as_bytes())
            || Reverse::read(name).is_some_and(has_address)
            || Reverse6::read(name).is_some_and(has_address6)
    }

    fn soa<'z>(&'z self, zone: &'z Zone) -> Soa<'z> {
        let Zone { server, mailbox } = zone;
        Soa { server, mailbox, serial: self.serial, negative_ttl: NEGATIVE_TTL }
    }

    fn add_network(&mut self, id: NetworkId, guest: &GuestNetwork) {
        let (domain, gateway) = (wire(guest.domain.as_str()), guest.gateway());
        let zone = Zone {
            server: wire(&format!("gateway.{}", guest.domain)),
            mailbox: wire(&format!("hostmaster.{}", guest.domain)),
        };
        let gateway6 = guest.prefix6.map(Prefix64::gateway);
        let own = Addresses { v4: vec![gateway], v6: gateway6.into_iter().collect() };
        self.names.insert(domain.clone(), own.clone());
        self.names.insert(zone.server.clone(), own);
        self.pointers.insert(gateway.to_bits(), zone.server.clone());
        self.pointers6.extend(gateway6.map(|address| (address.to_bits(), zone.server.clone())));
        self.networks.insert(id, (guest.cidr.net(), guest.prefix6));
        self.ranges.push((guest.cidr.net(), domain.clone()));
        self.ranges6.extend(guest.prefix6.map(|prefix| (prefix, domain.clone())));
        let labels = guest.domain.as_str().match_indices('.');
        self.above.extend(labels.map(|(dot, _)| wire(&guest.domain.as_str()[dot + 1..])));
        self.zones.insert(domain, zone);
    }
}
