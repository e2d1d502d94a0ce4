use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use podzol_appliance_api::PublicSide;
use podzol_vocab::NetworkId;

use super::wanted::own_address;
use super::*;

fn mac(last: u8) -> MacAddr {
    MacAddr::local([2, 0, 0, 0, 0, last])
}

fn found(index: u32, name: &str, up: bool, addresses: &[Address]) -> Found {
    let addresses = addresses.iter().copied().collect();
    let ipv6 = Some(Ipv6::Off);
    Found { index, name: name.into(), mac: mac(index as u8), mtu: 1500, group: 0, up, ipv6, addresses }
}

fn wanted(index: u8, name: &str, addresses: &[Address]) -> WantedLink {
    let is_six = addresses.iter().any(|(address, _)| address.is_ipv6());
    let addresses = addresses.iter().copied().collect();
    let ipv6 = if is_six { Ipv6::On } else { Ipv6::Off };
    WantedLink { name: name.parse().unwrap(), mac: mac(index), mtu: 1500, group: 0, ipv6, addresses }
}

const ONE: Address = (IpAddr::V4(Ipv4Addr::new(10, 1, 1, 1)), 24);
/// The router's link-local address in a network.
const SIX: Address = (IpAddr::V6(podzol_vocab::LINK_GATEWAY), 64);

fn check(links: &[WantedLink], observed: &[Found], expected: &[Change]) {
    let wanted = Wanted { links: links.to_vec(), ..Wanted::default() };
    let observed = Observed { links: observed.to_vec(), ..Observed::default() };
    assert_eq!(plan(&wanted, &observed).changes, expected);
}

#[test]
fn what_is_as_it_should_be_is_not_touched() {
    check(&[wanted(2, "eth0", &[ONE])], &[found(2, "eth0", true, &[ONE])], &[]);
}

#[test]
fn links_that_have_each_others_names_are_told_apart_by_their_macs() {
    check(
        &[wanted(2, "eth0", &[]), wanted(3, "eth1", &[])],
        &[found(2, "eth1", true, &[]), found(3, "eth0", false, &[])],
        &[
            Change::Down(2),
            Change::Rename(2, "aside2".into()),
            Change::Rename(3, "aside3".into()),
            Change::Rename(2, "eth0".into()),
            Change::Up(2, 1500, 0),
            Change::Rename(3, "eth1".into()),
            Change::Up(3, 1500, 0),
        ],
    );
}

#[test]
fn a_link_is_in_the_group_that_the_rules_know_it_by() {
    let wanted = WantedLink { group: 2, ..wanted(2, "eth2", &[ONE]) };
    let grouped = |group| Found { group, ..found(2, "eth2", true, &[ONE]) };
    check(std::slice::from_ref(&wanted), &[grouped(1)], &[Change::Up(2, 1500, 2)]);
    check(&[wanted], &[grouped(2)], &[]);
}

#[test]
fn a_link_that_nobody_knows_is_set_down_without_addresses() {
    check(&[], &[found(2, "eth0", true, &[ONE])], &[Change::RemoveAddress(2, ONE), Change::Down(2)]);
}

#[test]
fn a_stray_address_goes_and_a_lost_one_comes_back() {
    let stray = (IpAddr::from([192, 0, 2, 1]), 32);
    check(
        &[wanted(2, "eth0", &[ONE])],
        &[found(2, "eth0", true, &[stray])],
        &[Change::RemoveAddress(2, stray), Change::AddAddress(2, ONE)],
    );
}

#[test]
fn a_link_gets_ipv6_before_its_addresses_and_loses_it_after_them() {
    let with = |ipv6, addresses: &[Address]| Found { ipv6, ..found(2, "eth0", true, addresses) };
    check(
        &[wanted(2, "eth0", &[ONE, SIX])],
        &[with(Some(Ipv6::Off), &[ONE])],
        &[Change::SetIpv6("eth0".into(), Ipv6::On), Change::AddAddress(2, SIX)],
    );
    check(
        &[wanted(2, "eth0", &[ONE])],
        &[with(Some(Ipv6::On), &[ONE, SIX])],
        &[Change::RemoveAddress(2, SIX), Change::SetIpv6("eth0".into(), Ipv6::Off)],
    );
    check(&[wanted(2, "eth0", &[ONE, SIX])], &[with(Some(Ipv6::On), &[ONE, SIX])], &[]);
}

#[test]
fn a_link_that_learns_from_its_neighbours_is_set_up_anew_with_its_addresses() {
    check(
        &[wanted(2, "eth0", &[ONE, SIX])],
        &[Found { ipv6: None, ..found(2, "eth0", true, &[ONE, SIX]) }],
        &[Change::SetIpv6("eth0".into(), Ipv6::On), Change::AddAddress(2, SIX)],
    );
}

#[test]
fn addresses_of_ipv6_come_back_with_a_link_that_was_down() {
    check(
        &[wanted(2, "eth0", &[ONE, SIX])],
        &[Found { ipv6: Some(Ipv6::On), ..found(2, "eth0", false, &[ONE, SIX]) }],
        &[Change::Up(2, 1500, 0), Change::AddAddress(2, SIX)],
    );
}

#[test]
fn a_link_that_nobody_knows_has_no_ipv6() {
    check(
        &[],
        &[Found { ipv6: None, ..found(2, "eth7", false, &[]) }],
        &[Change::SetIpv6("eth7".into(), Ipv6::Off)],
    );
}

#[test]
fn a_range_is_unreachable_for_as_long_as_it_should_be() {
    let slot: Ipv6Net = "2001:db8:64:10::/60".parse().unwrap();
    let wanted = Wanted { unreachable: [slot].into(), ..Wanted::default() };
    let route = Stray::route_of_table(254);
    let there = Observed { unreachable: [(slot, route.clone())].into(), ..Observed::default() };
    assert_eq!(plan(&wanted, &Observed::default()).changes, [Change::AddUnreachable(slot)]);
    assert_eq!(plan(&wanted, &there).changes, []);
    assert_eq!(plan(&Wanted::default(), &there).changes, [Change::RemoveStray(route)]);
}

#[test]
fn the_others_do_not_wait_for_a_link_that_is_not_there() {
    let links = vec![wanted(9, "eth0", &[]), wanted(2, "eth1", &[ONE])];
    let observed = Observed { links: vec![found(2, "eth1", true, &[])], ..Observed::default() };
    let plan = plan(&Wanted { links, ..Wanted::default() }, &observed);
    assert_eq!(plan.missing, [mac(9)].into());
    assert_eq!(plan.changes, [Change::AddAddress(2, ONE)]);
}

#[test]
fn routes_come_back_with_a_link_that_was_down() {
    let wanted =
        Wanted { links: vec![wanted(2, "eth2", &[])], routes: [route()].into(), ..Wanted::default() };
    let stray = Route { to: "198.51.100.0/24".parse().unwrap(), ..route() };
    let observed = with_routes(found(2, "eth2", false, &[]), std::slice::from_ref(&stray));
    assert_eq!(
        plan(&wanted, &observed).changes,
        [Change::RemoveRoute(stray, 2), Change::Up(2, 1500, 0), Change::AddRoute(route(), 2)]
    );
}

fn route() -> Route {
    let via = IpAddr::from([192, 0, 2, 1]);
    Route { to: Ipv4Net::default().into(), via, link: mac(2), source: Some(ONE.0) }
}

fn with_routes(link: Found, routes: &[Route]) -> Observed {
    Observed { links: vec![link], routes: routes.iter().cloned().collect(), ..Observed::default() }
}

#[test]
fn a_route_that_becomes_another_is_replaced_and_a_second_one_beside_it_removed() {
    let wanted =
        Wanted { links: vec![wanted(2, "eth2", &[])], routes: [route()].into(), ..Wanted::default() };
    let link = || found(2, "eth2", true, &[]);
    let other = Route { source: None, ..route() };
    let changes = |routes: &[Route]| plan(&wanted, &with_routes(link(), routes)).changes;
    assert_eq!(changes(std::slice::from_ref(&other)), [Change::AddRoute(route(), 2)]);
    assert_eq!(changes(&[other.clone(), route()]), [Change::RemoveRoute(other, 2)]);
}

#[test]
fn tables_are_asked_again_before_strays_go() {
    let stray = Stray::route_of_table(100);
    let observed = Observed {
        strays: vec![stray.clone()],
        unasked: vec![(Family::V6, Table::Main)],
        ..Observed::default()
    };
    assert_eq!(
        plan(&Wanted::default(), &observed).changes,
        [Change::Ask(Family::V6, Table::Main), Change::RemoveStray(stray)]
    );
}

#[test]
fn the_router_speaks_from_its_first_address_in_the_gateway_s_range() {
    let side = |addresses: &[(&str, u8)]| PublicSide {
        mac: mac(7),
        mtu: 1500,
        addresses: addresses.iter().map(|(address, length)| (address.parse().unwrap(), *length)).collect(),
        gateway: Ipv4Addr::new(203, 0, 113, 1),
        ipv6: None,
    };
    let own = |addresses| own_address(&side(addresses)).map(|address| address.to_string());
    assert_eq!(own(&[("203.0.113.11", 24), ("203.0.113.9", 24)]).as_deref(), Some("203.0.113.9"));
    assert_eq!(own(&[("198.51.100.7", 32), ("203.0.113.9", 24)]).as_deref(), Some("203.0.113.9"));
    assert_eq!(own(&[("198.51.100.7", 32)]).as_deref(), Some("198.51.100.7"));
    assert_eq!(own(&[]), None);
}

#[test]
fn a_network_keeps_its_name_while_others_come_and_go() {
    let ids = [NetworkId::new(), NetworkId::new(), NetworkId::new()];
    let names = Names::default().follow(ids[..2].iter().copied());
    let name = |names: &Names, id: usize| names.all().get(&ids[id]).map(ToString::to_string);
    assert_eq!((name(&names, 0), name(&names, 1)), (Some("eth0".into()), Some("eth3".into())));
    let names = names.follow(ids[1..].iter().copied());
    assert_eq!((name(&names, 0), name(&names, 1)), (None, Some("eth3".into())));
    assert_eq!(name(&names, 2), Some("eth0".into()));
}
