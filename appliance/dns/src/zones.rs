//! The zones that the router is the authority of: each guest network's domain, and the names of its addresses.
//!
//! A name has the addresses of all interfaces of its VM in that network. What is asked about is looked up in two hash
//! tables at most; nothing is computed from the document at that time.
//!
//! # Design notes
//! - A name that is not there but has names below it is an empty one and not a missing one (RFC 8020): this is why
//!   all names above the domains are kept.
//! - There is no wildcard, and nothing is guessed for a name without a domain: DHCP gives VMs a search domain.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr};

use ipnet::Ipv4Net;
use podzol_appliance_api::{Document, GuestNetwork};
use podzol_vocab::NetworkId;

use crate::local::{Found, Local, Soa};
use crate::name::{Name, wire};
use crate::reverse::Reverse;
use crate::special;
use crate::wire::kind;

/// How long it may be kept that a name is not there, in seconds: short, for people ask for a VM before it is there.
const NEGATIVE_TTL: u32 = 10;

/// What the router knows by itself, made from a document.
#[derive(Debug, Clone, Default)]
pub struct Zones {
    serial: u32,
    networks: HashMap<NetworkId, Ipv4Net>,
    /// By domain.
    zones: HashMap<Box<[u8]>, Zone>,
    /// By domain and by name in a domain.
    names: HashMap<Box<[u8]>, Vec<Ipv4Addr>>,
    /// The names that a domain is in.
    above: HashSet<Box<[u8]>>,
    /// The domain of each network, by its addresses.
    ranges: Vec<(Ipv4Net, Box<[u8]>)>,
    /// The names of addresses.
    pointers: BTreeMap<u32, Box<[u8]>>,
    forwarders: Vec<IpAddr>,
}

#[derive(Debug, Clone)]
struct Zone {
    server: Box<[u8]>,
    mailbox: Box<[u8]>,
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
                zones.names.entry(name).or_default().push(nic.address);
            }
        }
        zones
    }

    /// The name servers that are asked for all else, in order.
    pub fn forwarders(&self) -> &[IpAddr] {
        &self.forwarders
    }

    /// Whether an address is in a network.
    pub(crate) fn is_inside(&self, network: NetworkId, address: IpAddr) -> bool {
        let IpAddr::V4(address) = address else { return false };
        self.networks.get(&network).is_some_and(|range| range.contains(&address))
    }

    /// The answer to a question that needs no forwarder; `None` if it needs one.
    pub(crate) fn find(&self, name: &Name, asked: u16) -> Option<Local<'_>> {
        self.find_name(name, asked)
            .or_else(|| self.find_address(name, asked))
            .or_else(|| special::find(name, asked, || self.has_below(name)))
    }

    fn find_name(&self, name: &Name, asked: u16) -> Option<Local<'_>> {
        let zone_at = |(start, suffix)| Some((start, self.zones.get(suffix)?));
        let (apex, zone) = name.suffixes().find_map(zone_at)?;
        let found = match (self.names.get(name.as_bytes()), asked) {
            (Some(addresses), kind::A) => Found::A(addresses),
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

    /// Whether a name that is in none of the zones has one of them below it.
    fn has_below(&self, name: &Name) -> bool {
        let has_address =
            |reverse: Reverse| !reverse.more && self.pointers.range(reverse.range()).next().is_some();
        self.above.contains(name.as_bytes()) || Reverse::read(name).is_some_and(has_address)
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
        self.names.insert(domain.clone(), vec![gateway]);
        self.names.insert(zone.server.clone(), vec![gateway]);
        self.pointers.insert(gateway.to_bits(), zone.server.clone());
        self.networks.insert(id, guest.cidr.net());
        self.ranges.push((guest.cidr.net(), domain.clone()));
        let labels = guest.domain.as_str().match_indices('.');
        self.above.extend(labels.map(|(dot, _)| wire(&guest.domain.as_str()[dot + 1..])));
        self.zones.insert(domain, zone);
    }
}
