//! The real kernel, each test in a network namespace of its own.
//!
//! They need root, 802.1q, bridges, dummies and veth. A test that lacks one says which and is skipped; with
//! `PODZOL_REQUIRE_8021Q` set it fails instead.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod namespace;

use std::collections::BTreeMap;

use namespace::{Namespace, in_namespace};
use podzol_hostnet::{
    Change, Desired, Ipv6, Kernel, Kind, Links, MARK_GROUP, MtuRule, Peers, Reason, Segment, Tunnel, alias,
    bridge_name, converge, difference, uplink_name,
};
use podzol_vocab::{Generation, NetworkId, Tag, TrafficType, VlanId, VxlanId};

#[test]
fn a_segment_becomes_a_bridge_with_a_vlan_interface_of_the_trunk() {
    in_namespace(async |host| {
        let network = NetworkId::new();
        let pass = converge(&host.kernel, &desired(&[(100, network)])).await.unwrap();
        assert!(pass.failures.is_empty() && pass.refused.is_empty(), "{pass:#?}");

        let (trunk, bridge, vlan) =
            (host.link("eth1").await, host.link("pzb100").await, host.link("pzv100").await);
        assert_eq!((bridge.kind, bridge.up, bridge.group), (Kind::Bridge, true, MARK_GROUP));
        assert_eq!(bridge.alias, Some(alias(network, None)));
        assert_eq!((vlan.kind, vlan.up, vlan.group), (Kind::Vlan(Some(id(100))), true, MARK_GROUP));
        assert_eq!(
            (vlan.alias, vlan.parent, vlan.master),
            (Some(alias(network, None)), Some(trunk.index), Some(bridge.index))
        );
        assert_eq!((bridge.mtu, vlan.mtu), (trunk.mtu, trunk.mtu));
        assert!(bridge.ipv6 != Ipv6::On && vlan.ipv6 != Ipv6::On);
        assert!(addresses(&host, "pzb100").await.is_empty() && addresses(&host, "pzv100").await.is_empty());
        host.assert_converged(&desired(&[(100, network)])).await;
    });
}

#[test]
fn a_segment_on_a_vxlan_has_tunnels_to_its_peers_and_to_no_other_host() {
    in_namespace(async |host| {
        if let Err(missing) = host.try_ip("link add probe type vxlan id 1 dstport 4789") {
            assert!(std::env::var_os("PODZOL_REQUIRE_8021Q").is_none(), "VXLAN: {missing}");
            return;
        }
        host.ip("link del probe");
        host.ip("address add 192.0.2.1/24 dev eth1");
        let network = NetworkId::new();
        let with = |generation, peers: &[u8]| {
            let addresses = peers.iter().map(|last| [192, 0, 2, *last].into()).collect();
            let peers = Peers { generation: Generation(generation), addresses };
            Desired {
                peers: [(network, peers)].into(),
                ..desired(&[(5000, network), (100, NetworkId::new())])
            }
        };
        for (generation, peers) in [(1, &[2, 3][..]), (2, &[3, 4]), (3, &[])] {
            host.converge(&with(generation, peers)).await;
            let (bridge, vxlan) = (host.link("pzb5000").await, host.link("pzx5000").await);
            assert_eq!(
                (vxlan.tag(), vxlan.master, vxlan.mtu),
                (Some(tag(5000)), Some(bridge.index), VxlanId::MTU)
            );
            assert_eq!(vxlan.peers_generation(), Some(Generation(generation)));
            let found: Vec<String> = vxlan.peers().unwrap().iter().map(ToString::to_string).collect();
            let expected: Vec<String> = peers.iter().map(|last| format!("192.0.2.{last}")).collect();
            assert_eq!(found, expected);
        }
        // What somebody else adds goes, and what is not known stays.
        host.converge(&with(4, &[2])).await;
        host.bridge("fdb append 00:00:00:00:00:00 dev pzx5000 dst 192.0.2.9");
        host.assert_converged(&desired(&[(5000, network), (100, host.network("pzb100").await)])).await;
        host.converge(&with(4, &[2])).await;
        assert_eq!(host.link("pzx5000").await.peers().unwrap().len(), 1);
        host.converge(&desired(&[])).await;
        assert!(host.find("pzx5000").await.is_none() && host.find("pzb5000").await.is_none());
    });
}

#[test]
fn a_bridge_forwards_at_once_without_spanning_tree_snooping_or_filter() {
    in_namespace(async |host| {
        host.converge(&desired(&[(100, NetworkId::new())])).await;
        for option in ["stp_state", "multicast_snooping", "forward_delay", "vlan_filtering"] {
            assert_eq!(host.bridge_option("pzb100", option), "0", "{option}");
        }
    });
}

#[test]
fn a_host_answers_for_none_of_its_addresses_on_a_bridge() {
    in_namespace(async |host| {
        let desired = desired(&[(100, NetworkId::new())]);
        let file = |link: &str, setting: &str| format!("/proc/sys/net/ipv4/conf/{link}/{setting}");
        let links = ["pzb100", "pzv100"];
        for round in 0..2 {
            host.converge(&desired).await;
            for link in links {
                let setting = |name: &str| std::fs::read_to_string(file(link, name)).unwrap();
                let set = (setting("arp_ignore"), setting("rp_filter"));
                assert_eq!((set.0.trim(), set.1.trim()), ("8", "1"), "{link}, {round}");
                // As another program has it for all links that are new.
                std::fs::write(file(link, "rp_filter"), "2").unwrap();
            }
        }
    });
}

#[test]
fn the_last_segment_leaves_nothing_behind() {
    in_namespace(async |host| {
        let before = host.kernel.observe().await.unwrap().len();
        let segments: Vec<_> = (100..120).map(|id| (id, NetworkId::new())).collect();
        host.converge(&desired(&segments)).await;
        assert_eq!(host.kernel.observe().await.unwrap().len(), before + 40);
        host.converge(&desired(&segments[..1])).await;
        assert_eq!(host.kernel.observe().await.unwrap().len(), before + 2);
        host.converge(&desired(&[])).await;
        assert_eq!(host.kernel.observe().await.unwrap().len(), before);
    });
}

#[test]
fn foreign_links_are_as_they_were() {
    in_namespace(async |host| {
        host.ip("link add br0 type bridge");
        host.ip("link add link eth1 name eth1.7 type vlan id 7");
        host.ip("link set eth1.7 master br0 up");
        host.ip("link add pzb300 type bridge");
        let before = host.foreign().await;
        let wanted = desired(&[(100, NetworkId::new()), (7, NetworkId::new()), (300, NetworkId::new())]);
        let pass = converge(&host.kernel, &wanted).await.unwrap();
        assert!(pass.failures.is_empty(), "{pass:#?}");
        let reasons: Vec<_> = pass.refused.iter().map(|refused| &refused.reason).collect();
        assert_eq!(reasons, [&Reason::TagTaken(name("eth1.7")), &Reason::NameTaken(name("pzb300"))]);
        assert!(host.find("pzv100").await.is_some());
        host.converge(&desired(&[])).await;
        assert_eq!(host.foreign().await, before);
    });
}

#[test]
fn a_pass_cut_off_after_any_change_is_completed_by_the_next() {
    in_namespace(async |host| {
        let wanted = desired(&[(100, NetworkId::new()), (200, NetworkId::new())]);
        for (from, to) in [(desired(&[]), wanted.clone()), (wanted, desired(&[]))] {
            for cut in 0.. {
                host.converge(&from).await;
                let mut changes = difference(&to, &host.kernel.observe().await.unwrap());
                let all = changes.steps.len();
                changes.steps.truncate(cut);
                assert!(host.kernel.apply(&changes).await.is_empty(), "cut after {cut}");
                host.converge(&to).await;
                if cut == all {
                    break;
                }
            }
        }
    });
}

#[test]
fn a_port_goes_back_into_its_bridge_and_into_a_new_one() {
    in_namespace(async |host| {
        let wanted = desired(&[(100, NetworkId::new())]);
        let wanted = Desired { ports: [(name("tap0"), tag(100))].into(), ..wanted };
        host.converge(&wanted).await;
        host.ip("link add tap0 type dummy");
        for spoil in ["link set tap0 nomaster", "link del pzb100"] {
            host.ip(spoil);
            host.converge(&wanted).await;
            assert_eq!(host.link("tap0").await.master, Some(host.link("pzb100").await.index), "{spoil}");
            assert_eq!(host.link("pzv100").await.master, Some(host.link("pzb100").await.index), "{spoil}");
        }
    });
}

#[test]
fn a_port_goes_back_into_an_operators_bridge_which_stays_as_it_is() {
    in_namespace(async |host| {
        host.ip("link add br-public type bridge");
        host.ip("link add tap0 type dummy");
        let wanted = Desired {
            traffic: [(TrafficType::Public, name("br-public"))].into(),
            ports: [(name("tap0"), Tag::Traffic(TrafficType::Public))].into(),
            ..desired(&[])
        };
        let before = host.link("br-public").await;
        for _ in 0..2 {
            host.ip("link set tap0 nomaster");
            host.converge(&wanted).await;
            assert_eq!(host.link("tap0").await.master, Some(before.index));
        }
        host.converge(&desired(&[])).await;
        let after = host.link("br-public").await;
        assert_eq!((after.up, after.mtu, after.alias, after.group), (before.up, before.mtu, None, 0));
    });
}

#[test]
fn the_mtu_follows_the_trunk_up_and_down() {
    in_namespace(async |host| {
        let wanted = desired(&[(100, NetworkId::new())]);
        for mtu in [1500, 9000, 1400] {
            host.ip(&format!("link set eth1 mtu {mtu}"));
            host.converge(&wanted).await;
            assert_eq!((host.link("pzb100").await.mtu, host.link("pzv100").await.mtu), (mtu, mtu));
        }
        host.ip("link set eth1 mtu 9000");
        host.converge(&Desired { mtu: MtuRule::AtMost(1500), ..wanted }).await;
        assert_eq!(host.link("pzv100").await.mtu, 1500);
    });
}

#[test]
fn a_tap_with_a_smaller_mtu_does_not_shrink_its_bridge_for_good() {
    in_namespace(async |host| {
        let wanted = desired(&[(100, NetworkId::new())]);
        host.ip("link set eth1 mtu 9000");
        host.converge(&wanted).await;
        host.ip("link add tap0 mtu 1500 master pzb100 type dummy");
        host.converge(&wanted).await;
        host.ip("link set tap0 mtu 1400");
        host.assert_converged(&wanted).await;
        assert_eq!(host.link("pzb100").await.mtu, 9000);
    });
}

#[test]
fn a_bridge_in_use_is_kept_with_its_vlan_interface_until_it_is_not() {
    in_namespace(async |host| {
        let network = NetworkId::new();
        host.converge(&desired(&[(100, network), (200, NetworkId::new())])).await;
        host.ip("link add tap0 master pzb100 type dummy");
        let pass = converge(&host.kernel, &desired(&[])).await.unwrap();
        assert!(pass.failures.is_empty(), "{pass:#?}");
        assert_eq!(
            pass.in_use.iter().map(|kept| kept.to_string()).collect::<Vec<_>>(),
            ["pzb100: in use by tap0"]
        );
        assert!(host.find("pzb200").await.is_none());
        assert_eq!(host.link("pzv100").await.master, Some(host.link("pzb100").await.index));

        let other = converge(&host.kernel, &desired(&[(100, NetworkId::new())])).await.unwrap();
        assert!(matches!(other.refused[0].reason, Reason::InUse { .. }), "{other:#?}");
        host.ip("link del tap0");
        host.converge(&desired(&[])).await;
        assert!(host.find("pzb100").await.is_none() && host.find("pzv100").await.is_none());
    });
}

#[test]
fn what_was_tampered_with_is_repaired() {
    in_namespace(async |host| {
        let wanted = desired(&[(100, NetworkId::new())]);
        let spoils = [
            "link set pzv100 nomaster",
            "link set pzv100 down",
            "link set pzb100 down",
            "link set pzb100 alias x",
            "link set pzb100 group default",
            "link set pzb100 mtu 1300",
            "link set pzv100 down; link set pzv100 name other0",
            "link del pzv100",
            "link del pzb100",
        ];
        for spoil in spoils {
            host.converge(&wanted).await;
            spoil.split("; ").for_each(|command| host.ip(command));
            assert!(!difference(&wanted, &host.kernel.observe().await.unwrap()).is_empty(), "{spoil}");
            host.converge(&wanted).await;
        }
        // A wrong tag under our name and mark, and IPv6 that somebody turned on.
        host.ip("link del pzv100");
        host.ip(&format!("link add link eth1 name pzv100 group {MARK_GROUP} type vlan id 101"));
        host.converge(&wanted).await;
        assert_eq!(host.link("pzv100").await.tag(), Some(tag(100)));
        if host.link("pzb100").await.ipv6 == Ipv6::Off {
            std::fs::write("/proc/sys/net/ipv6/conf/pzb100/disable_ipv6", "0").unwrap();
            assert_eq!(host.link("pzb100").await.ipv6, Ipv6::On);
            assert!(addresses(&host, "pzb100").await.is_empty());
            host.converge(&wanted).await;
            assert_eq!(host.link("pzb100").await.ipv6, Ipv6::Off);
        }
    });
}

#[test]
fn without_the_trunk_segments_are_refused_and_come_back_with_it() {
    in_namespace(async |host| {
        let wanted = desired(&[(100, NetworkId::new())]);
        host.converge(&wanted).await;
        host.ip("link set eth1 down");
        let pass = converge(&host.kernel, &wanted).await.unwrap();
        assert_eq!(pass.refused[0].reason, Reason::TrunkDown(name("eth1")));
        host.ip("link del eth1");
        let pass = converge(&host.kernel, &wanted).await.unwrap();
        assert_eq!(pass.refused[0].reason, Reason::TrunkMissing(name("eth1")));
        assert!(host.find("pzb100").await.is_some());
        host.ip("link add eth1 type dummy");
        host.ip("link set eth1 up");
        host.converge(&wanted).await;
        assert!(host.link("pzv100").await.up);
    });
}

#[test]
fn one_failure_does_not_stop_the_others_and_names_link_step_and_cause() {
    in_namespace(async |host| {
        let wanted = desired(&[(100, NetworkId::new()), (200, NetworkId::new()), (300, NetworkId::new())]);
        let changes = difference(&wanted, &host.kernel.observe().await.unwrap());
        // Between the look and the act somebody takes a name.
        host.ip("link add pzb200 type dummy");
        let failures = host.kernel.apply(&changes).await;
        let text: Vec<_> = failures.iter().map(|failure| format!("{failure}: {}", failure.source)).collect();
        assert_eq!(text[0], "could not create bridge pzb200, mtu 1500: File exists (os error 17)");
        assert!(failures.iter().all(|failure| failure.change.name().as_str().ends_with("200")), "{text:#?}");
        assert!(host.link("pzv100").await.up && host.link("pzv300").await.up);
        let stranger = host.link("pzb200").await;
        assert_eq!((stranger.alias, stranger.up, stranger.group), (None, false, 0));
    });
}

#[test]
fn links_that_cannot_go_as_a_group_go_one_by_one() {
    in_namespace(async |host| {
        host.converge(&desired(&[(100, NetworkId::new()), (200, NetworkId::new())])).await;
        let mut changes = difference(&desired(&[]), &host.kernel.observe().await.unwrap());
        let gone = changes.steps[0].name().to_string();
        host.ip(&format!("link del {gone}"));
        assert!(host.kernel.apply(&changes).await.is_empty());
        assert!(host.kernel.observe().await.unwrap().iter().all(|link| !link.is_ours()));

        host.converge(&desired(&[(100, NetworkId::new())])).await;
        changes = difference(&desired(&[]), &host.kernel.observe().await.unwrap());
        changes.free_group = 0;
        assert!(changes.steps.iter().all(|change| matches!(change, Change::Remove { .. })));
        assert!(host.kernel.apply(&changes).await.is_empty());
        assert!(host.find("pzb100").await.is_none());
    });
}

#[test]
fn a_change_wakes_the_watch_and_a_report_shows_it() {
    in_namespace(async |host| {
        let mut watch = host.kernel.watch().unwrap();
        host.ip("address add 192.0.2.1/24 dev eth1");
        assert!(watch.changed().await);
        host.converge(&desired(&[(100, NetworkId::new())])).await;
        assert!(watch.changed().await);
        let report = host.kernel.interfaces().await.unwrap();
        let of = |name: &str| report.iter().find(|interface| interface.link.name.as_str() == name).unwrap();
        assert!(of("eth1").addresses.contains(&("192.0.2.1".parse().unwrap(), 24)));
        assert_eq!(of("pzv100").master, Some(bridge_name(tag(100))));
        assert!(of("pzv100").link.is_ours() && !of("eth1").link.is_ours());
        assert_eq!(of("pzv100").link.name, uplink_name(tag(100)));
    });
}

#[test]
fn a_report_shows_bonds_and_the_speed_of_links() {
    in_namespace(async |host| {
        // A veth says 10 Gbit/s, and a bond what its NICs have together.
        host.ip("link add nic0 type veth peer name wire0");
        host.ip("link add nic1 type veth peer name wire1");
        host.ip("link add bond7 type bond mode balance-rr");
        for nic in ["nic0", "nic1"] {
            host.ip(&format!("link set {nic} down"));
            host.ip(&format!("link set {nic} master bond7"));
        }
        for link in ["wire0", "wire1", "nic0", "nic1", "bond7"] {
            host.ip(&format!("link set {link} up"));
        }
        let of = async |name: &str| {
            let report = host.kernel.interfaces().await.unwrap();
            report.into_iter().find(|interface| interface.link.name.as_str() == name).unwrap()
        };
        let mut watch = host.kernel.watch().unwrap();
        while !of("bond7").await.link.carrier {
            assert!(watch.changed().await);
        }
        assert_eq!(of("bond7").await.link.kind, Kind::Other("bond".into()));
        assert_eq!(of("nic0").await.master, Some(name("bond7")));
        assert_eq!(of("nic0").await.speed_mbps, Some(10_000));
        assert_eq!(of("bond7").await.speed_mbps, Some(20_000));
        assert_eq!(of("lo").await.speed_mbps, None);

        let wanted = Desired { trunk: name("bond7"), ..desired(&[(100, NetworkId::new())]) };
        host.converge(&wanted).await;
        assert_eq!(host.link("pzv100").await.parent, Some(of("bond7").await.link.index));
    });
}

#[test]
fn the_hosts_way_to_wait_is_put_back_after_a_pass_and_after_a_crash() {
    /// The host's switch, which is put back as it was.
    struct Switch(String);

    impl Switch {
        const FILE: &str = "/sys/kernel/rcu_expedited";

        fn read() -> String {
            std::fs::read_to_string(Self::FILE).unwrap().trim().to_owned()
        }
    }

    impl Drop for Switch {
        fn drop(&mut self) {
            std::fs::write(Self::FILE, &self.0).unwrap();
        }
    }

    in_namespace(async |mut host| {
        let before = Switch::read();
        if let Err(error) = std::fs::write(Switch::FILE, "0") {
            assert!(std::env::var_os("PODZOL_REQUIRE_8021Q").is_none(), "{}: {error}", Switch::FILE);
            return;
        }
        let _as_it_was = Switch(before);
        let folder = tempfile::tempdir().unwrap();
        let note = folder.path().join("hurrying");
        let boot = std::fs::read("/proc/sys/kernel/random/boot_id").unwrap();

        // What a crash leaves behind.
        std::fs::write(&note, &boot).unwrap();
        std::fs::write(Switch::FILE, "1").unwrap();
        host.kernel = Kernel::open().unwrap().hurrying(note.clone()).unwrap();
        assert_eq!((Switch::read().as_str(), note.exists()), ("0", false));

        host.converge(&desired(&[(100, NetworkId::new()), (101, NetworkId::new())])).await;
        host.converge(&desired(&[])).await;
        assert_eq!((Switch::read().as_str(), note.exists()), ("0", false));

        // A note of an earlier start of the host says nothing of this one, where somebody else has set the switch.
        std::fs::write(&note, "another start").unwrap();
        std::fs::write(Switch::FILE, "1").unwrap();
        host.kernel = Kernel::open().unwrap().hurrying(note.clone()).unwrap();
        assert_eq!((Switch::read().as_str(), note.exists()), ("1", false));
        host.converge(&desired(&[(100, NetworkId::new()), (101, NetworkId::new())])).await;
        host.converge(&desired(&[])).await;
        assert_eq!((Switch::read().as_str(), note.exists()), ("1", false));
    });
}

fn desired(segments: &[(u32, NetworkId)]) -> Desired {
    let segments = segments.iter().map(|(number, network)| Segment { tag: tag(*number), network: *network });
    Desired {
        trunk: name("eth1"),
        mtu: MtuRule::Trunk,
        tunnel: Some(Tunnel { local: [192, 0, 2, 1].into(), mtu: Some(1500) }),
        peers: BTreeMap::new(),
        segments: segments.collect(),
        traffic: BTreeMap::new(),
        ports: BTreeMap::new(),
    }
}

fn tag(number: u32) -> Tag {
    number.try_into().unwrap()
}

async fn addresses(host: &Namespace, name: &str) -> Vec<(std::net::IpAddr, u8)> {
    let report = host.kernel.interfaces().await.unwrap();
    report.into_iter().find(|interface| interface.link.name.as_str() == name).unwrap().addresses
}

fn name(text: &str) -> podzol_vocab::InterfaceName {
    text.parse().unwrap()
}

fn id(vlan: u16) -> VlanId {
    vlan.try_into().unwrap()
}

#[test]
fn reports_and_passes_may_look_at_the_same_time() {
    in_namespace(async |host| {
        let wanted = desired(&[(100, NetworkId::new()), (101, NetworkId::new())]);
        let pass = converge(&host.kernel, &wanted);
        let looks = futures_util::future::join_all((0..20).map(|_| host.kernel.interfaces()));
        let (pass, looks) = futures_util::future::join(pass, looks).await;
        let pass = pass.unwrap();
        assert!(pass.failures.is_empty(), "{:?}", pass.failures);
        assert!(looks.iter().all(Result::is_ok), "{looks:?}");
        host.assert_converged(&wanted).await;
    });
}
