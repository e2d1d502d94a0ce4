//! Each case says what is desired, what exists, and the changes in words. Networks are called A and B.

mod random;

use podzol_vocab::{Generation, NetworkId, Tag, TrafficType, VlanId, VxlanId};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;
use crate::links::{Links, converge};
use crate::model::{MARK_GROUP, MtuRule, Peers, VXLAN_PORT, alias};
use crate::observed::{Ipv6, LinkIndex, Vxlan};
use crate::sim::SimulatedLinks;
use random::{random_desired, random_links};

const TRUNK: u32 = 2;

#[test]
fn a_new_segment_gets_a_bridge_with_a_vlan_interface_in_it() {
    check(
        desired(&[(100, 'A')]),
        vec![trunk()],
        "create bridge pzb100, mtu 1500
         create VLAN interface pzv100, tag 100 on link 2, mtu 1500
         set pzb100: mark of network A, no IPv6, deaf, up
         set pzv100: mark of network A, master pzb100, no IPv6, deaf, up",
    );
}

#[test]
fn what_is_as_it_should_be_is_left_alone() {
    check(desired(&[(100, 'A')]), segment_links(100, 'A'), "");
}

#[test]
fn a_segment_that_nothing_wants_goes_ports_first() {
    check(
        desired(&[]),
        segment_links(100, 'A'),
        "remove pzv100: no network wants it\nremove pzb100: no network wants it",
    );
}

#[test]
fn only_what_differs_is_repaired() {
    let mut links = segment_links(100, 'A');
    links[1] = Link { mtu: 1400, up: false, ..links[1].clone() };
    links[2] = Link { alias: None, master: None, ipv6: Ipv6::On, deaf: false, ..links[2].clone() };
    check(
        desired(&[(100, 'A')]),
        links,
        "set pzb100: mtu 1500, up
         set pzv100: mark of network A, master pzb100, no IPv6, deaf",
    );
}

#[test]
fn a_port_that_was_taken_out_goes_back_unless_an_operator_has_it() {
    let wanted =
        || Desired { ports: [(name("pzt1"), tag(100))].into(), ..desired(&[(100, 'A'), (101, 'B')]) };
    let back = "set pzt1: master pzb100";
    let with = |master: Option<u32>| {
        let mut links = segment_links(100, 'A');
        links.extend([bridge(20, 101, 'B'), vlan_interface(21, 101, 'B', Some(LinkIndex(20)))]);
        links.push(Link { index: LinkIndex(30), name: name("br0"), kind: Kind::Bridge, ..trunk() });
        links.push(Link { name: name("pzt1"), master: master.map(LinkIndex), ..tap(40, LinkIndex(0)) });
        links
    };
    check(wanted(), with(None), back);
    check(wanted(), with(Some(20)), back);
    check(wanted(), with(Some(10)), "");
    check(wanted(), with(Some(30)), "");
    let mut gone = with(None);
    gone.pop();
    check(wanted(), gone, "");
    // Nothing is plugged into a network that cannot be had.
    let mut down = with(None);
    down[0].up = false;
    let changes = difference(&wanted(), &down);
    assert!(changes.is_empty(), "{changes}");
}

#[test]
fn a_port_of_the_operators_bridge_goes_back_and_nothing_else_of_that_bridge_is_looked_at() {
    let public = Tag::Traffic(TrafficType::Public);
    let wanted = |bridge: &str| Desired {
        traffic: [(TrafficType::Public, name(bridge))].into(),
        ports: [(name("pzt1"), public)].into(),
        ..desired(&[(100, 'A')])
    };
    let with = |master: Option<u32>| {
        let mut links = segment_links(100, 'A');
        for (index, bridge) in [(30, "br-public"), (31, "br0")] {
            let (index, name) = (LinkIndex(index), name(bridge));
            let (mtu, up, ipv6) = (9000, false, Ipv6::On);
            links.push(Link { index, name, kind: Kind::Bridge, mtu, up, ipv6, ..trunk() });
        }
        links.push(Link { name: name("pzt1"), master: master.map(LinkIndex), ..tap(40, LinkIndex(0)) });
        links
    };
    let back = "set pzt1: master br-public";
    check(wanted("br-public"), with(None), back);
    check(wanted("br-public"), with(Some(10)), back);
    check(wanted("br-public"), with(Some(30)), "");
    check(wanted("br-public"), with(Some(31)), "");
    // Nothing is plugged into what is not there, is no bridge, or is one of ours.
    for bridge in ["br-gone", "eth1", "pzb100"] {
        check(wanted(bridge), with(None), "");
    }
}

#[test]
fn a_network_of_the_hosts_own_is_no_segment() {
    check(
        desired(&[(0x100_0000, 'A')]),
        vec![trunk()],
        "refused: network A on the management network: its bridge is the operator's to make",
    );
}

#[test]
fn a_bridge_that_somebody_removed_gets_its_ports_back() {
    let wanted = Desired { ports: [(name("pzt1"), tag(100))].into(), ..desired(&[(100, 'A')]) };
    let mut links = segment_links(100, 'A');
    links.remove(1);
    links[1].master = None;
    links.push(Link { name: name("pzt1"), master: None, ..tap(40, LinkIndex(0)) });
    check(
        wanted,
        links,
        "create bridge pzb100, mtu 1500
         set pzb100: mark of network A, no IPv6, deaf, up
         set pzv100: master pzb100
         set pzt1: master pzb100",
    );
}

#[test]
fn the_mtu_follows_the_trunk_up_to_the_limit() {
    let mut links = segment_links(100, 'A');
    links[0].mtu = 9000;
    check(desired(&[(100, 'A')]), links.clone(), "set pzb100: mtu 9000\nset pzv100: mtu 9000");
    check(Desired { mtu: MtuRule::AtMost(1500), ..desired(&[(100, 'A')]) }, links, "");
}

#[test]
fn a_vlan_interface_with_another_tag_or_parent_is_replaced() {
    let recreated = "remove pzv100: it is not what its segment needs
         create VLAN interface pzv100, tag 100 on link 2, mtu 1500
         set pzv100: mark of network A, master pzb100, no IPv6, deaf, up";
    let mut links = segment_links(100, 'A');
    links[2].kind = Kind::Vlan(Some(vlan(101)));
    check(desired(&[(100, 'A')]), links.clone(), recreated);
    links[2] = Link { kind: Kind::Vlan(Some(vlan(100))), parent: Some(LinkIndex(99)), ..links[2].clone() };
    check(desired(&[(100, 'A')]), links, recreated);
}

#[test]
fn a_link_that_crashed_before_its_alias_is_known_by_its_group() {
    let mut links = segment_links(100, 'A');
    links[1] = Link { alias: None, ..links[1].clone() };
    links.truncate(2);
    check(desired(&[]), links, "remove pzb100: no network wants it");
}

#[test]
fn a_crash_in_the_middle_of_a_removal_is_found_by_the_group_and_not_mixed_with_the_next() {
    let mut links = segment_links(100, 'A');
    links[2] = Link { alias: None, group: *REMOVAL_GROUPS.start(), ..links[2].clone() };
    let changes = difference(&desired(&[]), &links);
    assert_eq!(changes.steps.len(), 2);
    assert_eq!(changes.free_group, REMOVAL_GROUPS.start() + 1);
}

#[test]
fn a_foreign_link_with_our_name_refuses_its_segment_and_no_other() {
    let mut links = segment_links(100, 'A');
    links.push(Link { group: 0, alias: Some("mine".into()), ..bridge(50, 200, 'B') });
    check(
        desired(&[(100, 'A'), (200, 'B'), (300, 'C')]),
        links,
        "create bridge pzb300, mtu 1500
         create VLAN interface pzv300, tag 300 on link 2, mtu 1500
         set pzb300: mark of network C, no IPv6, deaf, up
         set pzv300: mark of network C, master pzb300, no IPv6, deaf, up
         refused: network B on VLAN 200: pzb200 exists and was not made by Podzol",
    );
}

#[test]
fn a_foreign_interface_with_the_tag_refuses_the_segment() {
    let foreign = Link { name: name("eth1.100"), group: 0, alias: None, ..vlan_interface(9, 100, 'A', None) };
    check(
        desired(&[(100, 'A')]),
        vec![trunk(), foreign],
        "refused: network A on VLAN 100: eth1.100 already has this VLAN or VXLAN id",
    );
}

#[test]
fn a_renamed_interface_of_ours_makes_room_for_the_tag() {
    let mut links = segment_links(100, 'A');
    links[2].name = name("renamed0");
    check(
        desired(&[(100, 'A')]),
        links,
        "remove renamed0: no network wants it
         create VLAN interface pzv100, tag 100 on link 2, mtu 1500
         set pzv100: mark of network A, master pzb100, no IPv6, deaf, up",
    );
}

#[test]
fn a_bridge_with_a_tap_is_kept_with_its_way_out() {
    let mut links = segment_links(100, 'A');
    links.push(tap(60, links[1].index));
    check(desired(&[]), links, "kept: pzb100: in use by vnet60");
}

#[test]
fn a_vlan_passes_to_another_network_only_without_taps() {
    let mut links = segment_links(100, 'A');
    check(
        desired(&[(100, 'B')]),
        links.clone(),
        "set pzb100: mark of network B\nset pzv100: mark of network B",
    );
    links.push(tap(60, links[1].index));
    check(
        desired(&[(100, 'B')]),
        links,
        "refused: network B on VLAN 100: pzb100 belongs elsewhere and is in use by vnet60",
    );
}

#[test]
fn without_a_usable_trunk_segments_are_refused_and_nothing_is_lost() {
    let mut links = segment_links(100, 'A');
    links[0].up = false;
    check(desired(&[(100, 'A')]), links, "refused: network A on VLAN 100: eth1 is down");
    check(
        desired(&[(100, 'A')]),
        vec![],
        "refused: network A on VLAN 100: there is no link eth1 to carry it",
    );
}

#[test]
fn one_vlan_for_two_networks_is_refused_for_both() {
    check(
        desired(&[(100, 'A'), (100, 'B')]),
        vec![trunk()],
        "refused: network A on VLAN 100: another segment has the same VLAN or VXLAN
         refused: network B on VLAN 100: another segment has the same VLAN or VXLAN",
    );
}

#[test]
fn a_segment_on_a_vxlan_gets_an_interface_with_its_peers() {
    check(
        with_peers(desired(&[(5000, 'A')]), 7, &[2, 3]),
        vec![trunk()],
        "create bridge pzb5000, mtu 1430
         create VXLAN interface pzx5000, id 5000 from 10.0.0.1, mtu 1430
         set pzb5000: mark of network A, no IPv6, deaf, up
         set pzx5000: mark of network A with peers 7, master pzb5000, no IPv6, deaf, up
         peers of pzx5000: +10.0.0.2 +10.0.0.3",
    );
    check(with_peers(desired(&[(5000, 'A')]), 7, &[2, 3]), vxlan_links(5000, 'A', 7, &[2, 3]), "");
}

#[test]
fn peers_come_and_go_one_by_one_and_stay_while_nothing_is_known_of_them() {
    check(
        with_peers(desired(&[(5000, 'A')]), 8, &[3, 4]),
        vxlan_links(5000, 'A', 7, &[2, 3]),
        "set pzx5000: mark of network A with peers 8\npeers of pzx5000: +10.0.0.4 -10.0.0.2",
    );
    check(desired(&[(5000, 'A')]), vxlan_links(5000, 'A', 7, &[2, 3]), "");
}

#[test]
fn a_vxlan_interface_from_another_address_or_port_is_replaced() {
    let recreated = "remove pzx5000: it is not what its segment needs
         create VXLAN interface pzx5000, id 5000 from 10.0.0.1, mtu 1430
         set pzx5000: mark of network A with peers 7, master pzb5000, no IPv6, deaf, up
         peers of pzx5000: +10.0.0.2";
    let foreign =
        Vxlan { local: Some([10, 0, 0, 9].into()), id: VxlanId::try_from(5000).ok(), ..Vxlan::default() };
    for vxlan in
        [Vxlan { port: VXLAN_PORT, ..foreign.clone() }, Vxlan { local: Some(local()), port: 8472, ..foreign }]
    {
        let mut links = vxlan_links(5000, 'A', 7, &[2]);
        links[2].kind = Kind::Vxlan(vxlan);
        check(with_peers(desired(&[(5000, 'A')]), 7, &[2]), links, recreated);
    }
}

#[test]
fn without_a_place_for_tunnels_to_begin_nothing_is_lost() {
    let links = vxlan_links(5000, 'A', 7, &[2]);
    let mut wanted = desired(&[(5000, 'A')]);
    for (tunnel, reason) in [
        (None, "this host has no address for tunnels yet"),
        (Some(Tunnel { local: local(), mtu: None }), "no link has the address 10.0.0.1, where tunnels begin"),
        (
            Some(Tunnel { local: local(), mtu: Some(1479) }),
            "the link with the address 10.0.0.1 takes 1479 bytes, and tunnels need 1480",
        ),
    ] {
        wanted.tunnel = tunnel;
        check(wanted.clone(), links.clone(), &format!("refused: network A on VXLAN 5000: {reason}"));
    }
}

#[tokio::test]
async fn one_pass_converges_from_anywhere_and_leaves_foreign_links_alone() {
    for seed in 0..3000 {
        let mut random = StdRng::seed_from_u64(seed);
        let (desired, links) = (random_desired(&mut random), random_links(&mut random));
        let host = SimulatedLinks::with_links(links.clone());
        let pass = converge(&host, &desired).await.unwrap();
        assert!(pass.failures.is_empty(), "seed {seed}: {links:#?} {pass:#?}");
        let again = difference(&desired, &host.all());
        assert!(again.is_empty(), "seed {seed}: {links:#?}\nfirst {pass:#?}\nthen {again}");
        assert_eq!(foreign(&host.all()), foreign(&links), "seed {seed}");
    }
}

#[tokio::test]
async fn a_pass_that_is_cut_off_anywhere_is_completed_by_the_next() {
    for seed in 0..500 {
        let mut random = StdRng::seed_from_u64(seed);
        let (desired, links) = (random_desired(&mut random), random_links(&mut random));
        let whole = SimulatedLinks::with_links(links.clone());
        converge(&whole, &desired).await.unwrap();
        let mut changes = difference(&desired, &links);
        changes.steps.truncate(random.random_range(0..=changes.steps.len()));
        let host = SimulatedLinks::with_links(links);
        host.apply(&changes).await;
        converge(&host, &desired).await.unwrap();
        assert_eq!(described(&host.all()), described(&whole.all()), "seed {seed}");
    }
}

#[track_caller]
fn check(desired: Desired, observed: Vec<Link>, expected: &str) {
    let mut text = difference(&desired, &observed).to_string();
    for letter in 'A'..='C' {
        text = text.replace(&network(letter).to_string(), &letter.to_string());
    }
    let expected: Vec<_> = expected.lines().map(str::trim).collect();
    assert_eq!(text.lines().collect::<Vec<_>>(), expected);
}

fn desired(segments: &[(u32, char)]) -> Desired {
    let segments = segments.iter().map(|(id, letter)| Segment { tag: tag(*id), network: network(*letter) });
    Desired {
        trunk: name("eth1"),
        mtu: MtuRule::Trunk,
        tunnel: Some(Tunnel { local: local(), mtu: Some(1500) }),
        peers: BTreeMap::new(),
        segments: segments.collect(),
        traffic: BTreeMap::new(),
        ports: BTreeMap::new(),
    }
}

/// The same, with these peers of network A, under this number.
fn with_peers(desired: Desired, generation: u64, peers: &[u8]) -> Desired {
    let peers = Peers { generation: Generation(generation), addresses: addresses(peers) };
    Desired { peers: [(network('A'), peers)].into(), ..desired }
}

/// The trunk, and the links of a segment: the bridge and the VLAN interface.
fn segment_links(id: u32, letter: char) -> Vec<Link> {
    let bridge = bridge(10, id, letter);
    let vlan = vlan_interface(11, id, letter, Some(bridge.index));
    vec![trunk(), bridge, vlan]
}

/// The links of a segment on a VXLAN, with these peers.
fn vxlan_links(id: u32, letter: char, generation: u64, peers: &[u8]) -> Vec<Link> {
    let bridge = Link { mtu: VxlanId::MTU, ..bridge(10, id, letter) };
    let alias = Some(alias(network(letter), Some(Generation(generation))));
    let vxlan = Link { alias, ..vxlan_interface(11, id, letter, Some(bridge.index), peers) };
    vec![trunk(), bridge, vxlan]
}

fn vxlan_interface(index: u32, id: u32, letter: char, master: Option<LinkIndex>, peers: &[u8]) -> Link {
    let vxlan = Vxlan {
        id: VxlanId::try_from(id).ok(),
        local: Some(local()),
        port: VXLAN_PORT,
        peers: addresses(peers),
    };
    Link {
        name: uplink_name(tag(id)),
        kind: Kind::Vxlan(vxlan),
        master,
        parent: None,
        mtu: VxlanId::MTU,
        ..bridge(index, id, letter)
    }
}

fn bridge(index: u32, id: u32, letter: char) -> Link {
    let (name, alias) = (bridge_name(tag(id)), Some(alias(network(letter), None)));
    Link { index: LinkIndex(index), name, kind: Kind::Bridge, alias, group: MARK_GROUP, ..trunk() }
}

fn vlan_interface(index: u32, id: u32, letter: char, master: Option<LinkIndex>) -> Link {
    let (name, kind) = (uplink_name(tag(id)), Kind::Vlan(tag(id).vlan()));
    Link {
        index: LinkIndex(index),
        name,
        kind,
        master,
        parent: Some(LinkIndex(TRUNK)),
        ..bridge(index, id, letter)
    }
}

fn tap(index: u32, bridge: LinkIndex) -> Link {
    let name = name(&format!("vnet{index}"));
    Link { index: LinkIndex(index), name, kind: Kind::Other("tun".into()), master: Some(bridge), ..trunk() }
}

fn trunk() -> Link {
    Link {
        index: LinkIndex(TRUNK),
        name: name("eth1"),
        kind: Kind::Physical,
        alias: None,
        group: 0,
        master: None,
        parent: None,
        mtu: 1500,
        up: true,
        carrier: true,
        ipv6: Ipv6::Off,
        deaf: true,
    }
}

fn name(text: &str) -> InterfaceName {
    text.parse().unwrap()
}

fn vlan(id: u16) -> VlanId {
    id.try_into().unwrap()
}

fn tag(id: u32) -> Tag {
    id.try_into().unwrap()
}

/// Where tunnels begin here, and at peers.
fn local() -> IpAddr {
    [10, 0, 0, 1].into()
}

fn addresses(peers: &[u8]) -> BTreeSet<IpAddr> {
    peers.iter().map(|last| IpAddr::from([10, 0, 0, *last])).collect()
}

fn network(letter: char) -> NetworkId {
    NetworkId::from_bytes([letter as u8; 16])
}

fn foreign(links: &[Link]) -> Vec<Link> {
    links.iter().filter(|link| !link.is_ours()).cloned().collect()
}

/// All that matters of links but their indexes, which depend on the order in which they were made.
fn described(links: &[Link]) -> BTreeSet<String> {
    let name_of =
        |index: Option<LinkIndex>| links.iter().find(|link| Some(link.index) == index).map(|link| &link.name);
    let line = |link: &Link| {
        let (master, parent) = (name_of(link.master), name_of(link.parent));
        format!(
            "{:?} {:?} {:?} {} {master:?} {parent:?} {} {:?} {}",
            link.name, link.kind, link.alias, link.mtu, link.up, link.ipv6, link.deaf
        )
    };
    links.iter().map(line).collect()
}
