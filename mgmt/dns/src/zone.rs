//! What there is below the console domain: a pure function of a question, the names of the moment and the settings.
//!
//! ```text
//!  console.example.org              SOA, NS
//!  ns1.console.example.org          A, AAAA     a name server of its own
//!  192-0-2-7.console.example.org    A           a console proxy
//!  c-….console.example.org          A or AAAA   the same
//! ```
//!
//! Nothing is deeper than one label, so no name is there only because of those below it.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use hickory_proto::rr::rdata::{A, AAAA, NS, SOA};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use podzol_vocab::HostName;
use serde::Deserialize;

use crate::names::ConsoleNames;

/// How long resolvers may remember what a proxy's address is, in seconds. It never changes, but the address may come to
/// belong to somebody else, whom no name should lead to for long.
const PROXY_TTL: u32 = 60;

/// How long resolvers may remember who the name servers are, in seconds: they change when an operator says so.
const APEX_TTL: u32 = 3600;

/// How long resolvers may remember that a name is not there, in seconds (RFC 2308, 5): the next proxy may have it.
const NEGATIVE_TTL: u32 = 5;

/// How often secondary servers would ask, and for how long they would go on alone, in seconds (RFC 1912, 2.2). There are
/// none, as all servers of a zone are fed by the management service.
const REFRESH: i32 = 3600;
const RETRY: i32 = 600;
const EXPIRE: i32 = 1_209_600;

/// A name server of the zone.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct NameServer {
    /// What it is called.
    pub name: HostName,
    /// Its addresses, which the zone tells if the name is directly below its domain.
    #[serde(default)]
    pub addresses: BTreeSet<IpAddr>,
}

/// The zone.
pub(crate) struct Zone {
    names: ConsoleNames,
    apex: Name,
    depth: usize,
    primary: Name,
    contact: Name,
    servers: Vec<Record>,
    /// The addresses of name servers, by their first label.
    own: HashMap<podzol_vocab::Name, BTreeSet<IpAddr>>,
}

/// What the zone has for a question.
pub(crate) enum Found {
    /// Records, and others that will be asked for next.
    Records(Vec<Record>, Vec<Record>),
    /// The name is there, but has no such record.
    NoData,
    /// There is no such name.
    NoName,
}

impl Zone {
    /// The zone of these names, the first of the servers being the primary one.
    pub(crate) fn new(names: ConsoleNames, servers: &[NameServer]) -> Self {
        let apex = wire(names.domain().as_str());
        let primary = servers.first().map_or_else(|| apex.clone(), |server| wire(server.name.as_str()));
        let label = |server: &NameServer| server.name.label_in(names.domain())?.parse().ok();
        let own =
            servers.iter().filter_map(|server| Some((label(server)?, server.addresses.clone()))).collect();
        let ns = |server: &NameServer| RData::NS(NS(wire(server.name.as_str())));
        let ns = |server| Record::from_rdata(apex.clone(), APEX_TTL, ns(server));
        Self {
            depth: apex.iter().count(),
            primary,
            contact: wire(&format!("hostmaster.{}", names.domain())),
            servers: servers.iter().map(ns).collect(),
            own,
            apex,
            names,
        }
    }

    /// What there is of a type at a name, or nothing if the name is in another zone. There is nothing of ANY.
    pub(crate) fn find(&self, name: &Name, kind: RecordType) -> Option<Found> {
        if !self.apex.zone_of(name) {
            return None;
        }
        Some(match name.iter().count() - self.depth {
            0 => self.at_apex(kind),
            1 => self.below(name, kind),
            _ => Found::NoName,
        })
    }

    /// The record that says how long something is not there (RFC 2308, 3). Owned by a name's end, so that it is as short
    /// as may be: letters that the client has written otherwise do not come twice.
    pub(crate) fn soa(&self, below: &Name) -> Record {
        self.start_of_authority(below.trim_to(self.depth), NEGATIVE_TTL)
    }

    fn at_apex(&self, kind: RecordType) -> Found {
        match kind {
            RecordType::SOA => {
                Found::Records(vec![self.start_of_authority(self.apex.clone(), APEX_TTL)], Vec::new())
            }
            RecordType::NS => Found::Records(self.servers.clone(), self.server_addresses()),
            _ => Found::NoData,
        }
    }

    fn below(&self, name: &Name, kind: RecordType) -> Found {
        let Some(label) = first_label(name) else { return Found::NoName };
        let (addresses, ttl) = match self.own.get(&label) {
            Some(addresses) => (addresses.iter().copied().collect(), APEX_TTL),
            None => match self.names.find(&label) {
                Some(address) => (vec![address], PROXY_TTL),
                None => return Found::NoName,
            },
        };
        let records: Vec<Record> =
            addresses.into_iter().filter_map(|address| of_type(name, ttl, address, kind)).collect();
        if records.is_empty() { Found::NoData } else { Found::Records(records, Vec::new()) }
    }

    fn server_addresses(&self) -> Vec<Record> {
        let named = |(label, addresses): (&podzol_vocab::Name, &BTreeSet<IpAddr>)| {
            let name = wire(self.names.domain().host(label).as_str());
            let all: Vec<_> =
                addresses.iter().map(|address| address_record(&name, APEX_TTL, *address)).collect();
            all
        };
        self.own.iter().flat_map(named).collect()
    }

    fn start_of_authority(&self, owner: Name, ttl: u32) -> Record {
        let (primary, contact) = (self.primary.clone(), self.contact.clone());
        let soa = SOA::new(primary, contact, self.names.serial(), REFRESH, RETRY, EXPIRE, NEGATIVE_TTL);
        Record::from_rdata(owner, ttl, RData::SOA(soa))
    }
}

/// A name's first label in lower case, if it is one that any host could have.
fn first_label(name: &Name) -> Option<podzol_vocab::Name> {
    let label = std::str::from_utf8(name.iter().next()?).ok()?;
    label.to_ascii_lowercase().parse().ok()
}

fn of_type(name: &Name, ttl: u32, address: IpAddr, kind: RecordType) -> Option<Record> {
    let own = if address.is_ipv4() { RecordType::A } else { RecordType::AAAA };
    (kind == own).then(|| address_record(name, ttl, address))
}

fn address_record(name: &Name, ttl: u32, address: IpAddr) -> Record {
    let data = match address {
        IpAddr::V4(address) => RData::A(A(address)),
        IpAddr::V6(address) => RData::AAAA(AAAA(address)),
    };
    Record::from_rdata(name.clone(), ttl, data)
}

/// A name as packets have it.
fn wire(name: &str) -> Name {
    let mut name = Name::from_ascii(name).expect("host names and domains are names of DNS");
    name.set_fqdn(true);
    name
}
