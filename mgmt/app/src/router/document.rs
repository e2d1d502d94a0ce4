//! What a router is told: a pure function of rows.
//!
//! Each entry of the document is a function of one row and of what that refers to. So the whole is the sum of its entries, and
//! a change of a row changes its entries and no others: see [`super::known`].

mod balancers;

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use podzol_appliance_api::limits::{DEFAULT_FOLLOWED, MAX_FOLLOWED};
use podzol_appliance_api::{
    Balancer, Document, DomainName, EgressPolicy, EgressRule, EgressRule6, GuestNetwork, HttpBalancer,
    IngressRule, IngressRule6, Limits, PortForward, PublicSide, PublicSide6, StaticNat, Traffic, Traffic6,
    VmFacts, VmNic,
};
use podzol_mgmt_api::firewall::{EgressPolicy as Policy, Packets, Protocol};
use podzol_mgmt_api::offering::Size;
use podzol_mgmt_api::vm::Attachment;
use podzol_mgmt_api::zone::PublicNetwork;
use podzol_mgmt_db::rule::{self, Spec};
use podzol_mgmt_db::{network, public_ip, vm};
use podzol_vocab::{
    IpRange, Ipv4Range, Ipv6Range, Name, NetworkId, NicId, PortRange, Prefix64, PublicIpId, Secret,
};

use super::balancers::HttpSide;
use crate::zone6;

/// How long a lease is, in seconds. A VM renews it after half of that, so it hears within that time of what is new.
const LEASE_SECS: u32 = 3600;

/// The largest packet of customers' networks in bytes: what is left of 1500 on a VXLAN (RFC 7348, 5: 50 bytes), and 1500 else.
const MTU: u16 = 1500;
const MTU_OF_VXLAN: u16 = 1450;

/// A router's sides: what of its document is not about VMs or rules.
#[derive(Debug, Clone)]
pub(crate) struct Sides {
    /// The account's name, which is part of domains.
    pub(crate) account: Name,
    /// Its network interfaces but the one on the management network.
    pub(crate) nics: Vec<vm::nic::Model>,
    /// The networks that these are in.
    pub(crate) networks: HashMap<NetworkId, network::Model>,
    /// The public network of its zone.
    pub(crate) public: PublicNetwork,
    /// The account's public addresses.
    pub(crate) addresses: Vec<public_ip::Model>,
    /// Whether the router knows IPv6, as it has said itself. One that does not would refuse all for it.
    pub(crate) has_ipv6: bool,
    /// How many connections it follows, if the router knows limits, as it has said itself.
    pub(crate) limits: Option<Limits>,
}

impl Sides {
    /// The address that connections to the outside come from.
    pub(crate) fn source_nat(&self) -> Option<Ipv4Addr> {
        self.addresses.iter().find(|row| row.is_source_nat).map(|row| row.address.0)
    }

    /// Writes them into a document. What of it is about VMs and rules has IPv6 only where a network in it has.
    pub(crate) fn write(&self, document: &mut Document) -> Result<(), String> {
        document.guests = self.guests()?;
        document.public = self.public();
        document.limits = self.limits;
        let servers = self.public.name_servers.iter();
        document.forwarders = servers.map(|address| IpAddr::V4(*address)).collect();
        if !self.has_ipv6 {
            *document = std::mem::take(document).without_ipv6();
        }
        Ok(())
    }

    fn guests(&self) -> Result<BTreeMap<NetworkId, GuestNetwork>, String> {
        let mut guests = BTreeMap::new();
        // One that is still being plugged in would keep the router from taking anything.
        for nic in self.nics.iter().filter(|nic| nic.attachment.0 == Attachment::Attached) {
            let Some(network) = self.networks.get(&nic.network_id.0).filter(|network| network.has_router)
            else {
                continue;
            };
            let is_vxlan = network.tag().is_some_and(|tag| tag.vxlan().is_some());
            let guest = GuestNetwork {
                mac: nic.mac.0,
                cidr: network.cidr.0,
                prefix6: self.public.ipv6.as_ref().and_then(|public| zone6::prefix_of(public, network)),
                mtu: if is_vxlan { MTU_OF_VXLAN } else { MTU },
                domain: domain(&network.name.0, &self.account)?,
                lease_secs: LEASE_SECS,
                source_nat: self.source_nat(),
                egress: match network.egress.0 {
                    Policy::Allow => EgressPolicy::Allow,
                    Policy::Deny => EgressPolicy::Deny,
                },
            };
            guests.insert(network.id.0, guest);
        }
        Ok(guests)
    }

    fn public(&self) -> Option<PublicSide> {
        let is_public = |nic: &&vm::nic::Model| {
            let network = self.networks.get(&nic.network_id.0);
            network.and_then(network::Model::tag).is_some_and(|tag| tag.traffic().is_some())
        };
        let nic = self.nics.iter().find(is_public)?;
        let length = self.public.cidr.prefix_len();
        Some(PublicSide {
            mac: nic.mac.0,
            mtu: self.public.mtu,
            addresses: self.addresses.iter().map(|row| (row.address.0, length)).collect(),
            gateway: self.public.gateway,
            ipv6: self.public6(),
        })
    }

    /// Its part of the zone's prefix, if a network has a part of that.
    fn public6(&self) -> Option<PublicSide6> {
        let served = self.networks.values().filter(|network| network.has_router);
        let number = served.filter_map(|network| network.prefix6).min()?;
        zone6::public_side(self.public.ipv6.as_ref()?, number)
    }
}

/// How many connections a router of this size follows, of which so many at most are one VM's.
///
/// What the smallest has room for is what all have; of the memory that one has beyond [`MEMORY`] MiB, a quarter is for more.
pub(crate) fn limits(size: &Size, per_vm: u32) -> Limits {
    const MEMORY: u64 = 256;
    // A connection takes somewhat over 300 bytes.
    let room = (size.memory_mib.saturating_sub(MEMORY) << 20) / 4 / 320;
    let connections = u32::try_from(room).unwrap_or(u32::MAX).clamp(DEFAULT_FOLLOWED, MAX_FOLLOWED);
    Limits { connections, connections_per_vm: per_vm.min(connections) }
}

/// The domain of a network.
fn domain(network: &Name, account: &Name) -> Result<DomainName, String> {
    let text = format!("{network}.{account}.internal");
    text.parse().map_err(|error| format!("domain {text}: {error}"))
}

/// What a VM may know of itself.
pub(crate) fn facts(vm: &vm::Model, zone: &Name, offering: &Name) -> VmFacts {
    VmFacts {
        name: vm.name.0.clone(),
        ssh_keys: vm.ssh_keys.0.clone(),
        user_data: vm.user_data.clone().map(Secret::new),
        password: vm.password.as_ref().map(|password| password.0.clone()),
        zone: zone.clone(),
        offering: offering.clone(),
    }
}

/// The interfaces of a VM that are in a router's networks, of all that it has. The first one is its way to the outside.
pub(crate) fn vm_nics<'a>(
    nics: impl IntoIterator<Item = &'a vm::nic::Model>,
    guests: &BTreeMap<NetworkId, GuestNetwork>,
) -> BTreeMap<NicId, VmNic> {
    let mut served: Vec<_> =
        nics.into_iter().filter_map(|nic| Some((nic, guests.get(&nic.network_id.0)?))).collect();
    served.sort_by_key(|(nic, _)| nic.slot);
    let nic = |(number, (nic, guest)): (usize, (&vm::nic::Model, &GuestNetwork))| {
        let primary = number == 0;
        let (vm, network, mac) = (nic.vm_id.0, nic.network_id.0, nic.mac.0);
        let address6 = guest.prefix6.map(|prefix| prefix.of(mac));
        (nic.id.0, VmNic { vm, network, mac, address: nic.address.0, address6, primary })
    };
    served.into_iter().enumerate().map(nic).collect()
}

/// What rules refer to.
#[derive(Debug, Default)]
pub(crate) struct Referred {
    pub(crate) addresses: HashMap<PublicIpId, Ipv4Addr>,
    pub(crate) nics: HashMap<NicId, vm::nic::Model>,
    /// The ranges of the networks that are served, with their prefixes.
    pub(crate) networks: HashMap<NetworkId, (Ipv4Range, Option<Prefix64>)>,
    /// The IPv6 addresses of interfaces that are served.
    pub(crate) addresses6: HashMap<NicId, Ipv6Addr>,
    /// What the router is told of balancers of HTTP; nothing if it does not balance any.
    pub(super) http: Option<HttpSide>,
}

/// A rule as a router is told it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Told {
    PortForward(PortForward),
    StaticNat(StaticNat),
    Ingress(IngressRule),
    Egress(EgressRule),
    Ingress6(IngressRule6),
    Egress6(EgressRule6),
    Balancer(Balancer),
    HttpBalancer(HttpBalancer),
}

/// A rule as a router is told it; nothing while what it refers to is not served.
pub(crate) fn told(row: &rule::Model, referred: &Referred) -> Option<Told> {
    let public = || referred.addresses.get(&row.public_ip_id?.0).copied();
    let inside = |nic: &NicId| {
        let nic = referred.nics.get(nic)?;
        referred.networks.contains_key(&nic.network_id.0).then_some(nic.address.0)
    };
    Some(match &row.spec.0 {
        Spec::PortForward { nic, to_port } => Told::PortForward(PortForward {
            public: public()?,
            transport: row.transport.as_ref()?.0,
            ports: row.ports()?,
            to: inside(nic)?,
            to_port: *to_port,
        }),
        Spec::StaticNat { nic } => Told::StaticNat(StaticNat { public: public()?, to: inside(nic)? }),
        Spec::FirewallRule { sources, packets, nic } => match row.network_id {
            None => Told::Ingress(IngressRule {
                public: public()?,
                sources: v4(sources).map(|range| range.net()).collect(),
                traffic: traffic(packets)?,
            }),
            Some(network) => {
                let (_, prefix) = referred.networks.get(&network.0)?;
                Told::Ingress6(IngressRule6 {
                    to: match nic {
                        Some(nic) => (*referred.addresses6.get(nic)?).into(),
                        None => (*prefix)?.net(),
                    },
                    sources: v6(sources).map(|range| range.net()).collect(),
                    traffic: traffic6(packets)?,
                })
            }
        },
        Spec::EgressRule { sources, destinations, packets } => {
            egress(row.network_id?.0, sources.as_deref(), destinations, packets, referred)?
        }
        Spec::LoadBalancer { .. } => balancers::told(row, public()?, &inside, referred)?,
    })
}

/// An egress rule, of the family of its destinations; nothing if its network has no addresses of that.
fn egress(
    network: NetworkId,
    sources: Option<&[IpRange]>,
    destinations: &[IpRange],
    packets: &Packets,
    referred: &Referred,
) -> Option<Told> {
    let (range, prefix) = referred.networks.get(&network)?;
    Some(match destinations.first()? {
        IpRange::V4(_) => {
            let whole = [IpRange::V4(*range)];
            Told::Egress(EgressRule {
                network,
                sources: v4(sources.unwrap_or(&whole)).map(|range| range.net()).collect(),
                destinations: v4(destinations).map(|range| range.net()).collect(),
                traffic: traffic(packets)?,
            })
        }
        IpRange::V6(_) => {
            let whole = [IpRange::V6((*prefix)?.into())];
            Told::Egress6(EgressRule6 {
                network,
                sources: v6(sources.unwrap_or(&whole)).map(|range| range.net()).collect(),
                destinations: v6(destinations).map(|range| range.net()).collect(),
                traffic: traffic6(packets)?,
            })
        }
    })
}

/// Those ranges that are of IPv4: of a rule, all or none.
fn v4(all: &[IpRange]) -> impl Iterator<Item = Ipv4Range> {
    all.iter().filter_map(|range| match range {
        IpRange::V4(range) => Some(*range),
        IpRange::V6(_) => None,
    })
}

/// Those ranges that are of IPv6.
fn v6(all: &[IpRange]) -> impl Iterator<Item = Ipv6Range> {
    all.iter().filter_map(|range| match range {
        IpRange::V4(_) => None,
        IpRange::V6(range) => Some(*range),
    })
}

fn traffic(packets: &Packets) -> Option<Traffic> {
    let ports = packets.ports.unwrap_or(PortRange::ALL);
    Some(match packets.protocol {
        Protocol::All => Traffic::All,
        Protocol::Tcp => Traffic::Tcp { ports },
        Protocol::Udp => Traffic::Udp { ports },
        Protocol::Icmp => Traffic::Icmp { icmp_type: packets.icmp_type, icmp_code: packets.icmp_code },
        Protocol::Icmpv6 => return None,
    })
}

fn traffic6(packets: &Packets) -> Option<Traffic6> {
    let ports = packets.ports.unwrap_or(PortRange::ALL);
    Some(match packets.protocol {
        Protocol::All => Traffic6::All,
        Protocol::Tcp => Traffic6::Tcp { ports },
        Protocol::Udp => Traffic6::Udp { ports },
        Protocol::Icmpv6 => Traffic6::Icmpv6 { icmp_type: packets.icmp_type, icmp_code: packets.icmp_code },
        Protocol::Icmp => return None,
    })
}

/// Writes a rule into a document.
pub(crate) fn write(row: &rule::Model, told: Told, document: &mut Document) -> Result<(), String> {
    let id = &row.id;
    let wrong = |error: podzol_vocab::Invalid| format!("rule {id}: {error}");
    match told {
        Told::PortForward(entry) => {
            document.port_forwards.insert(id.parse().map_err(wrong)?, entry);
        }
        Told::StaticNat(entry) => {
            document.static_nats.insert(id.parse().map_err(wrong)?, entry);
        }
        Told::Ingress(entry) => {
            document.ingress.insert(id.parse().map_err(wrong)?, entry);
        }
        Told::Egress(entry) => {
            document.egress.insert(id.parse().map_err(wrong)?, entry);
        }
        Told::Ingress6(entry) => {
            document.ingress6.insert(id.parse().map_err(wrong)?, entry);
        }
        Told::Egress6(entry) => {
            document.egress6.insert(id.parse().map_err(wrong)?, entry);
        }
        Told::Balancer(entry) => {
            document.balancers.insert(id.parse().map_err(wrong)?, entry);
        }
        Told::HttpBalancer(entry) => {
            document.http_balancers.insert(id.parse().map_err(wrong)?, entry);
        }
    }
    Ok(())
}
