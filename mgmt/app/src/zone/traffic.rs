//! A zone's own networks, on which routers have interfaces: management and public.
//!
//! Each is a row among the networks, of the account `system`, so that addresses and interfaces in it are kept as everywhere.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};

use podzol_appliance_api::METADATA_ADDRESS6;
use podzol_mgmt_api::firewall::EgressPolicy;
use podzol_mgmt_api::zone::{ManagementNetwork, PublicNetwork, PublicPrefix};
use podzol_mgmt_db::{JsonCol, Reader, Tx, account, network, now, public_ip, vm, zone};
use podzol_vocab::{AddressRange, Cidr, NetworkId, Tag, TrafficType, ZoneId};

use crate::system::SYSTEM;
use crate::{App, AppError, zone6};

const MTUS: std::ops::RangeInclusive<u16> = 576..=9216;
/// What every link must carry that has IPv6 (RFC 8200, 5).
const MIN_MTU6: u16 = 1280;
const MAX_RANGES: usize = 64;
const MAX_NAME_SERVERS: usize = podzol_appliance_api::limits::MAX_FORWARDERS;
const MAX_ROUTES: usize = 64;

impl App {
    /// Writes a zone's own networks as they are in its row, if they keep what is given out. `before` is the public one as
    /// it was.
    pub(super) async fn set_traffic(
        &self,
        tx: &Tx,
        row: &zone::Model,
        before: Option<&PublicNetwork>,
    ) -> Result<(), AppError> {
        let zone = row.id.0;
        if let Some(management) = row.management.as_ref().map(|network| &network.0) {
            check_management(management)?;
            let id = self.traffic_network(tx, zone, TrafficType::Management, management.cidr).await?;
            let nics = vm::nics_in(tx.reader(), &[id]).await?;
            let in_use = nics.iter().map(|nic| nic.address.0);
            must_stay_within("management.ranges", &management.ranges, in_use)?;
        }
        if let Some(public) = row.public.as_ref().map(|network| &network.0) {
            check_public(public)?;
            let before = before.and_then(|public| public.ipv6.as_ref());
            must_keep_prefix(tx.reader(), zone, before, public.ipv6.as_ref()).await?;
            self.traffic_network(tx, zone, TrafficType::Public, public.cidr).await?;
            let in_use = public_ip::in_use(tx.reader(), zone).await?;
            must_stay_within("public.ranges", &public.ranges, in_use)?;
        }
        if let Some((management, public)) = row.of_routers() {
            let reached = management.routes.iter().map(|route| route.to.net());
            let mut of_management = reached.chain([management.cidr.net()]);
            let overlaps =
                of_management.any(|net| net.contains(&public.cidr.net()) || public.cidr.net().contains(&net));
            if overlaps {
                let rule = "must not overlap with the management network and what is reached over it";
                return Err(AppError::invalid("public.cidr", rule));
            }
        }
        must_leave_room(tx.reader(), row).await
    }

    /// The row of one of a zone's own networks, made if there is none.
    async fn traffic_network(
        &self,
        tx: &Tx,
        zone: ZoneId,
        traffic: TrafficType,
        cidr: Cidr,
    ) -> Result<NetworkId, AppError> {
        if let Some(mut row) = network::of_traffic(tx.reader(), zone, traffic).await? {
            if row.cidr.0 != cidr {
                row.cidr = cidr.into();
                tx.network_update(row.clone()).await?;
            }
            return Ok(row.id.0);
        }
        let system = account::named(tx.reader(), SYSTEM).await?;
        let system =
            system.ok_or_else(|| AppError::Internal("there is no account of the system's own".into()))?;
        let zone_name = zone.to_string();
        let name = format!("{traffic}-{}", zone_name.rsplit('-').next().unwrap_or(&zone_name));
        let name =
            name.parse().map_err(|error: podzol_vocab::Invalid| AppError::Internal(error.to_string()))?;
        let row = network::Model {
            id: NetworkId::new().into(),
            account_id: system.id,
            zone_id: zone.into(),
            name: podzol_mgmt_db::Col(name),
            cidr: cidr.into(),
            vlan: u32::from(Tag::Traffic(traffic)).into(),
            created_at: now().0,
            has_router: false,
            egress: JsonCol(EgressPolicy::Allow),
            deleted_at: None,
            prefix6: None,
        };
        tx.network_create(row.clone()).await?;
        Ok(row.id.0)
    }
}

/// Removes a zone's own networks, before the zone goes. They are refused if something has an interface in them.
pub(super) async fn forget_traffic(tx: &Tx, zone: ZoneId) -> Result<(), podzol_mgmt_db::DbError> {
    for traffic in TrafficType::ALL {
        if let Some(row) = network::of_traffic(tx.reader(), zone, traffic).await? {
            tx.network_delete(&row).await?;
        }
    }
    Ok(())
}

/// Refuses the range of a network with a router that is in the way of its zone's own networks.
pub(crate) fn must_be_apart(zone: &zone::Model, cidr: Cidr) -> Result<(), AppError> {
    let Some((management, public)) = zone.of_routers() else { return Ok(()) };
    let reached = management.routes.iter().map(|route| route.to.net());
    let mut own = reached.chain([management.cidr.net(), public.cidr.net()]);
    if own.any(|net| net.contains(&cidr.net()) || cidr.net().contains(&net)) {
        let rule = "must not overlap with the zone's own networks, as the network has a router";
        return Err(AppError::invalid("cidr", rule));
    }
    // The router has its gateway's address itself, and would ask nobody else.
    if public.name_servers.contains(&cidr.gateway()) {
        let rule =
            "must not have the address of a name server of the zone as its first, which is the gateway's";
        return Err(AppError::invalid("cidr", rule));
    }
    Ok(())
}

/// Refuses own networks of a zone to which customers' with a router would be in the way.
async fn must_leave_room(db: &impl Reader, zone: &zone::Model) -> Result<(), AppError> {
    let mut networks = network::all(db).await?;
    networks.retain(|network| network.zone_id == zone.id && network.has_router && network.is_there());
    for network in networks {
        let (name, cidr) = (&network.name.0, network.cidr.0);
        if let Err(AppError::Invalid { rule, .. }) = must_be_apart(zone, cidr) {
            let detail = format!("network {name} ({cidr}) would be in the way: {rule}");
            return Err(AppError::in_use(detail));
        }
    }
    Ok(())
}

fn check_management(network: &ManagementNetwork) -> Result<(), AppError> {
    must_be_mtu("management.mtu", network.mtu)?;
    must_be_inside("management.ranges", network.cidr, &network.ranges)?;
    if network.routes.len() > MAX_ROUTES {
        return Err(AppError::invalid("management.routes", format!("must be at most {MAX_ROUTES}")));
    }
    for route in &network.routes {
        if !is_host_of(network.cidr, route.via) {
            return Err(AppError::invalid(
                "management.routes",
                "must go by gateways in the network's own range",
            ));
        }
        if network.ranges.iter().any(|range| range.contains(route.via)) {
            return Err(AppError::invalid(
                "management.routes",
                "must go by gateways that are in none of the ranges",
            ));
        }
    }
    Ok(())
}

fn check_public(network: &PublicNetwork) -> Result<(), AppError> {
    must_be_mtu("public.mtu", network.mtu)?;
    must_be_inside("public.ranges", network.cidr, &network.ranges)?;
    if !is_host_of(network.cidr, network.gateway) {
        return Err(AppError::invalid(
            "public.gateway",
            "must be an address of a host in the network's range",
        ));
    }
    if network.ranges.iter().any(|range| range.contains(network.gateway)) {
        return Err(AppError::invalid("public.gateway", "must be in none of the ranges that customers get"));
    }
    let servers = &network.name_servers;
    if servers.len() > MAX_NAME_SERVERS {
        return Err(AppError::invalid("public.name_servers", format!("must be at most {MAX_NAME_SERVERS}")));
    }
    let is_good = |server: &Ipv4Addr| {
        let first = server.octets()[0];
        let is_unicast = first != 0 && first != 127 && first < 224;
        is_unicast && !network.ranges.iter().any(|range| range.contains(*server))
    };
    let is_repeated = |(number, server): (usize, &Ipv4Addr)| servers[..number].contains(server);
    if !servers.iter().all(is_good) || servers.iter().enumerate().any(is_repeated) {
        let rule = "must be addresses of hosts, each once, and in none of the ranges that customers get";
        return Err(AppError::invalid("public.name_servers", rule));
    }
    network.ipv6.as_ref().map_or(Ok(()), |ipv6| check_public6(ipv6, network.mtu))
}

fn check_public6(ipv6: &PublicPrefix, mtu: u16) -> Result<(), AppError> {
    let net = ipv6.prefix.net();
    if !zone6::LENGTHS.contains(&net.prefix_len()) || !is_of_host(net.addr()) {
        let rule = "must be a prefix of 44 to 60 bits of global or unique local addresses";
        return Err(AppError::invalid("public.ipv6.prefix", rule));
    }
    if net.contains(&METADATA_ADDRESS6) {
        // No router would take a network of it.
        let rule = format!("must not hold {METADATA_ADDRESS6}, where VMs of other clouds ask who they are");
        return Err(AppError::invalid("public.ipv6.prefix", rule));
    }
    let gateway = ipv6.gateway;
    if zone6::is_next_hop(gateway) {
        return Err(AppError::invalid(
            "public.ipv6.gateway",
            "must not be in fe80::1:0/112, which are routers'",
        ));
    }
    let is_global = is_of_host(gateway);
    let is_on_link = gateway.to_bits() >> 64 == 0xfe80 << 48;
    if !(is_on_link || is_global && !net.contains(&gateway)) {
        let rule = "must be a link-local address, or one of a host that is outside of the prefix";
        return Err(AppError::invalid("public.ipv6.gateway", rule));
    }
    if mtu < MIN_MTU6 {
        return Err(AppError::invalid(
            "public.mtu",
            format!("must be {MIN_MTU6} at least, as there is IPv6"),
        ));
    }
    Ok(())
}

/// Whether an address is global or unique local.
fn is_of_host(address: Ipv6Addr) -> bool {
    let first = address.octets()[0];
    first & 0xe0 == 0x20 || first & 0xfe == 0xfc
}

/// Refuses another IPv6 prefix than some networks have parts of.
async fn must_keep_prefix(
    db: &impl Reader,
    zone: ZoneId,
    before: Option<&PublicPrefix>,
    after: Option<&PublicPrefix>,
) -> Result<(), AppError> {
    let prefix = |public: &PublicPrefix| public.prefix;
    if before.map(prefix) == after.map(prefix) {
        return Ok(());
    }
    let in_use = network::prefixes_in_use(db, zone).await?;
    let accounts: BTreeSet<_> = in_use.iter().map(|(account, _)| *account).collect();
    match accounts.len() {
        0 => Ok(()),
        1 => Err(AppError::in_use("public.ipv6.prefix: networks of an account have parts of it")),
        more => {
            Err(AppError::in_use(format!("public.ipv6.prefix: networks of {more} accounts have parts of it")))
        }
    }
}

fn must_be_mtu(field: &'static str, mtu: u16) -> Result<(), AppError> {
    if MTUS.contains(&mtu) { Ok(()) } else { Err(AppError::invalid(field, "must be 576 to 9216")) }
}

/// Whether a host can have an address of a range: it is neither the network's nor the broadcast address.
fn is_host_of(cidr: Cidr, address: Ipv4Addr) -> bool {
    address == cidr.gateway() || cidr.is_vm_address(address)
}

fn must_be_inside(field: &'static str, cidr: Cidr, ranges: &[AddressRange]) -> Result<(), AppError> {
    if !(1..=MAX_RANGES).contains(&ranges.len()) {
        return Err(AppError::invalid(field, format!("must be 1 to {MAX_RANGES} ranges")));
    }
    let inside = |range: &AddressRange| is_host_of(cidr, range.first()) && is_host_of(cidr, range.last());
    if let Some(range) = ranges.iter().find(|range| !inside(range)) {
        return Err(AppError::invalid(
            field,
            format!("must be addresses of hosts in {cidr}, which {range} is not"),
        ));
    }
    let mut sorted = ranges.to_vec();
    sorted.sort();
    match sorted.windows(2).find(|pair| pair[0].last() >= pair[1].first()) {
        None => Ok(()),
        Some(pair) => {
            Err(AppError::invalid(field, format!("must not overlap, but {} and {} do", pair[0], pair[1])))
        }
    }
}

fn must_stay_within(
    field: &'static str,
    ranges: &[AddressRange],
    in_use: impl IntoIterator<Item = Ipv4Addr>,
) -> Result<(), AppError> {
    let is_kept = |address: &Ipv4Addr| ranges.iter().any(|range| range.contains(*address));
    match in_use.into_iter().find(|address| !is_kept(address)) {
        None => Ok(()),
        Some(address) => {
            Err(AppError::in_use(format!("{field}: {address} is given out, and would be in none of them")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn public(change: impl FnOnce(&mut PublicNetwork)) -> Result<(), String> {
        let mut network = PublicNetwork {
            cidr: "203.0.113.0/24".parse().unwrap(),
            gateway: Ipv4Addr::new(203, 0, 113, 1),
            ranges: vec!["203.0.113.10-203.0.113.99".parse().unwrap()],
            mtu: 1500,
            name_servers: vec![Ipv4Addr::new(192, 0, 2, 53)],
            ipv6: None,
        };
        change(&mut network);
        check_public(&network).map_err(|error| error.to_string())
    }

    #[test]
    fn each_rule_of_a_public_network_has_its_error() {
        assert_eq!(public(|_| ()), Ok(()));
        let range = |text: &str| text.parse::<AddressRange>().unwrap();
        let refused = |field: &str, refused: Result<(), String>| {
            assert!(refused.clone().unwrap_err().starts_with(field), "{refused:?}");
        };
        refused("public.mtu", public(|network| network.mtu = 575));
        refused("public.ranges", public(|network| network.ranges.clear()));
        refused("public.ranges", public(|network| network.ranges.push(range("203.0.113.250-203.0.113.255"))));
        refused("public.ranges", public(|network| network.ranges.push(range("203.0.113.0"))));
        refused("public.ranges", public(|network| network.ranges.push(range("203.0.113.99-203.0.113.100"))));
        refused("public.gateway", public(|network| network.gateway = Ipv4Addr::new(203, 0, 113, 20)));
        refused("public.gateway", public(|network| network.gateway = Ipv4Addr::new(192, 0, 2, 1)));
        refused("public.name_servers", public(|network| network.name_servers = vec![Ipv4Addr::LOCALHOST]));
        refused("public.name_servers", public(|network| network.name_servers = vec![network.gateway; 2]));
        refused(
            "public.name_servers",
            public(|network| network.name_servers = vec![Ipv4Addr::new(203, 0, 113, 11)]),
        );
    }

    #[test]
    fn each_rule_of_an_ipv6_prefix_has_its_error() {
        let with = |prefix: &str, gateway: &str| {
            let (prefix, gateway) = (prefix.parse().unwrap(), gateway.parse().unwrap());
            public(|network| network.ipv6 = Some(PublicPrefix { prefix, gateway }))
        };
        for (prefix, gateway) in [
            ("2001:db8:64::/56", "fe80::1"),
            ("2001:db8:64::/60", "2001:db8:63::1"),
            ("2001:db8:60::/44", "fe80::2:0"),
            ("fd12:3456:789a::/48", "fd12:3456:789b::1"),
        ] {
            assert_eq!(with(prefix, gateway), Ok(()), "{prefix} {gateway}");
        }
        for (field, prefix, gateway) in [
            ("public.ipv6.prefix", "2001:db8:64::/61", "fe80::1"),
            ("public.ipv6.prefix", "2001:d80::/43", "fe80::1"),
            ("public.ipv6.prefix", "ff02:0:0:10::/60", "fe80::1"),
            ("public.ipv6.prefix", "fd00:ec2::/48", "fe80::1"),
            ("public.ipv6.gateway", "2001:db8:64::/56", "fe80::1:7"),
            ("public.ipv6.gateway", "2001:db8:64::/56", "fe80:0:0:1::1"),
            ("public.ipv6.gateway", "2001:db8:64::/56", "2001:db8:64:1::1"),
            ("public.ipv6.gateway", "2001:db8:64::/56", "::1"),
        ] {
            let refused = with(prefix, gateway);
            assert!(refused.clone().unwrap_err().starts_with(field), "{prefix} {gateway}: {refused:?}");
        }
        let small = public(|network| {
            let (prefix, gateway) = ("2001:db8:64::/56".parse().unwrap(), "fe80::1".parse().unwrap());
            (network.mtu, network.ipv6) = (1279, Some(PublicPrefix { prefix, gateway }));
        });
        assert!(small.clone().unwrap_err().starts_with("public.mtu"), "{small:?}");
    }

    #[test]
    fn addresses_that_are_given_out_stay_in_the_ranges() {
        let ranges = ["10.0.0.5-10.0.0.9".parse().unwrap()];
        assert!(
            must_stay_within("x", &ranges, [Ipv4Addr::new(10, 0, 0, 5), Ipv4Addr::new(10, 0, 0, 9)]).is_ok()
        );
        assert!(must_stay_within("x", &ranges, [Ipv4Addr::new(10, 0, 0, 10)]).is_err());
    }
}
