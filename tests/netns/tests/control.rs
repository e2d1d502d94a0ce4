//! The control API: who may call it, which documents it takes, and what becomes of a router that is changed by hand or
//! killed.

use podzol_appliance_api::{
    Balancer, Delta, DiagnosisGet, Document, DocumentPatch, DocumentPut, GuestNetwork, Health, IngressRule,
    Limits, LogsGet, Member, Method, PortForward, StatusGet, Traffic, Transport,
};
use podzol_netns_tests::{Connection, GATEWAY, NETWORK, OUTSIDE, PUBLIC, Site, Vm, World, wait_for};
use podzol_rpc::{CallError, PeerId};
use podzol_vocab::{
    ErrorCode, FirewallRuleId, Generation, HostId, LoadBalancerId, MacAddr, PortForwardId, PortRange,
    WireError,
};

use crate::dhcp::{has, udhcpc};

fn refusal(error: CallError) -> WireError {
    match error {
        CallError::Refused { source, .. } => source,
        other => panic!("no answer: {other:?}"),
    }
}

#[test]
fn a_router_without_a_document_has_its_rules_and_is_reached_by_the_management_service_alone() {
    let world = World::new();
    let status = world.status().unwrap();
    assert_eq!((status.generation, status.repairs), (None, 0));
    assert_eq!(status.image, world.image());
    assert_eq!(status.boot.last().unwrap().step, "ready");
    let host = world.somebody(PeerId::Host(HostId::new()));
    let error = refusal(host.call::<StatusGet>(&world.management, &()).unwrap_err());
    assert_eq!(error.code, ErrorCode::Refused);
    let stranger = world.stranger().call::<StatusGet>(&world.management, &()).unwrap_err();
    assert!(matches!(stranger, CallError::NoAnswer { .. }), "{stranger:?}");
    let diagnosis = world.manager.call::<DiagnosisGet>(&world.management, &()).unwrap();
    assert!(
        diagnosis.links.iter().any(|link| link.starts_with("eth1 ") && link.ends_with("192.168.99.2/24"))
    );
    assert!(diagnosis.rules.contains("policy drop"), "{}", diagnosis.rules);
}

#[test]
fn a_document_is_applied_once_and_an_older_one_or_another_of_its_generation_refused() {
    let mut world = World::new();
    world.put(|_| {});
    let first = world.document.clone();
    let put = |document: &Document| world.manager.call::<DocumentPut>(&world.management, document);
    put(&first).unwrap();

    let other = Document { forwarders: vec![], ..first.clone() };
    assert_eq!(refusal(put(&other).unwrap_err()).code, ErrorCode::GenerationConflict);
    let older = Document { generation: Generation(0), ..first.clone() };
    let error = refusal(put(&older).unwrap_err());
    assert_eq!((error.code, error.in_force), (ErrorCode::StaleGeneration, Some(Generation(1))));

    let newer = Document { generation: Generation(7), ..other };
    let delta = Delta::between(&first, &newer).unwrap();
    let patch = |delta: &Delta| world.manager.call::<DocumentPatch>(&world.management, delta);
    patch(&delta).unwrap();
    // Its answer may have been lost.
    patch(&delta).unwrap();
    assert_eq!(world.status().unwrap().generation, Some(Generation(7)));
    let elsewhere = Delta { from: Generation(3), to: Generation(8), ..Delta::default() };
    let error = refusal(patch(&elsewhere).unwrap_err());
    assert_eq!((error.code, error.in_force), (ErrorCode::StaleGeneration, Some(Generation(7))));
}

#[test]
fn a_document_that_breaks_a_rule_or_names_an_interface_that_is_not_there_changes_nothing() {
    let mut world = World::new();
    world.put(|_| {});
    let before = world.status().unwrap();

    let error = refusal(world.try_put(|document| network(document).lease_secs = 1).unwrap_err());
    assert_eq!(error.code, ErrorCode::Invalid);
    assert_eq!(error.message, format!("guests.{NETWORK}.lease_secs: must be 120 to 604800"));
    let nowhere = "02:00:00:00:00:99".parse().unwrap();
    let error = refusal(world.try_put(|document| network(document).mac = nowhere).unwrap_err());
    assert_eq!(
        (error.code, &*error.message),
        (
            ErrorCode::Unavailable,
            format!("guests.{NETWORK}.mac: no interface has the MAC address 02:00:00:00:00:99").as_str()
        )
    );

    let after = world.status().unwrap();
    assert_eq!((after.generation, after.kernel), (before.generation, before.kernel));
}

#[test]
fn a_link_that_the_kernel_refuses_to_change_takes_all_else_of_its_document_back() {
    let mut world = World::new();
    world.put(|_| {});
    // Only there the kernel can be made to refuse.
    let Some(router) = world.by_hand() else { return };
    // What is on top of a link has no more room in a packet than that has.
    let mac = MacAddr::local([2, 0, 0, 0, 1, 9]);
    router.ip("link add below type veth peer name nobody");
    router.ip(&format!("link add eth3 link below address {mac} type macvlan mode bridge"));
    let seen = |world: &World| {
        let router = world.by_hand().unwrap();
        let links = router.run("ip -brief address show");
        let status = world.status().unwrap();
        (router.run("nft list ruleset"), links, (status.generation, status.kernel, status.repairs))
    };
    let before = seen(&world);
    let traffic = Traffic::Tcp { ports: "80".parse().unwrap() };
    let sources = vec!["0.0.0.0/0".parse().unwrap()];
    let rule = (FirewallRuleId::new(), IngressRule { public: PUBLIC, sources, traffic });
    let second = podzol_vocab::NetworkId::new();
    let add = |mtu: u16| {
        let rule = rule.clone();
        move |document: &mut Document| {
            let first = document.guests[&NETWORK].clone();
            let (cidr, domain) = ("10.1.2.0/24".parse().unwrap(), "second.acme.internal".parse().unwrap());
            document.guests.insert(second, GuestNetwork { mac, cidr, domain, mtu, ..first });
            document.ingress.extend([rule]);
        }
    };

    for refused in [world.try_put(add(9000)), world.try_patch(add(9000))] {
        let error = refusal(refused.unwrap_err());
        assert_eq!(error.code, ErrorCode::Internal, "{error:?}");
        assert!(error.message.contains("9000"), "{error:?}");
        assert_eq!(seen(&world), before);
    }

    world.put(add(1500));
    let router = world.by_hand().unwrap();
    assert!(router.run("ip -brief address show").contains("10.1.2.1/24"));
    assert_ne!(router.run("nft list ruleset"), before.0);
}

#[test]
fn rules_that_would_be_cut_in_too_many_pieces_change_nothing() {
    let mut world = World::new();
    let for_everybody = |port: u16| {
        let traffic = Traffic::Tcp { ports: PortRange::new(port, port).unwrap() };
        let sources = vec!["0.0.0.0/0".parse().unwrap()];
        (FirewallRuleId::new(), IngressRule { public: PUBLIC, sources, traffic })
    };
    let sources: Vec<_> = (1..=64).map(|number| format!("192.0.2.{number}/32").parse().unwrap()).collect();
    let traffic = Traffic::Tcp { ports: "1-65535".parse().unwrap() };
    let all_ports = (FirewallRuleId::new(), IngressRule { public: PUBLIC, sources, traffic });
    world.put(|document| document.ingress.extend((1000..1400).map(|number| for_everybody(2 * number))));
    let before = world.status().unwrap();

    let add = |document: &mut Document| document.ingress.extend([all_ports.clone()]);
    for refused in [world.try_patch(add), world.try_put(add)] {
        let error = refusal(refused.unwrap_err());
        let rule = "ingress: must be cut in at most 16384 pieces that do not overlap";
        assert_eq!((error.code, &*error.message), (ErrorCode::Invalid, rule));
    }
    let after = world.status().unwrap();
    assert_eq!((after.generation, after.kernel), (before.generation, before.kernel));

    let (id, rule) = for_everybody(80);
    world.patch(|document| drop(document.ingress.insert(id, rule)));
    world.patch(|document| drop(document.ingress.remove(&id)));
    assert_eq!(world.status().unwrap().kernel, before.kernel);

    // With all ports for everybody there is one piece. Without them, on the way to almost all, there would be too many.
    let (id, mut rule) = for_everybody(1);
    rule.traffic = traffic;
    world.patch(|document| drop(document.ingress.insert(id, rule.clone())));
    world.patch(add);
    rule.traffic = Traffic::Tcp { ports: "1-65534".parse().unwrap() };
    world.patch(|document| drop(document.ingress.insert(id, rule)));
    let refused = world.try_patch(|document| drop(document.ingress.remove(&id)));
    assert_eq!(refusal(refused.unwrap_err()).code, ErrorCode::Invalid);
}

fn network(document: &mut Document) -> &mut podzol_appliance_api::GuestNetwork {
    document.guests.get_mut(&NETWORK).unwrap()
}

#[test]
fn links_have_their_names_by_mac_and_their_addresses_and_lose_them_again() {
    let mut world = World::new();
    world.put(|_| {});
    let links = world.manager.call::<DiagnosisGet>(&world.management, &()).unwrap().links;
    let guest = links.iter().find(|link| link.starts_with("eth0 ")).unwrap();
    assert!(guest.contains("02:00:00:00:01:00 up mtu 1500 10.1.1.1/24 169.254.169.254/32"), "{links:?}");
    let public = links.iter().find(|link| link.starts_with("eth2 ")).unwrap();
    assert!(public.contains("203.0.113.10/24 203.0.113.11/24"), "{links:?}");

    world.put(|document| {
        *document = Document { public: document.public.take(), ..Document::default() };
    });
    let links = world.manager.call::<DiagnosisGet>(&world.management, &()).unwrap().links;
    let guest = links.iter().find(|link| link.contains("02:00:00:00:01:00")).unwrap();
    assert!(guest.contains("down") && !guest.contains(&GATEWAY.to_string()), "{links:?}");
}

#[test]
fn what_somebody_changes_by_hand_is_put_right() {
    let mut world = World::new();
    world.put(|_| {});
    let right = world.status().unwrap();
    // A VM has no shell in which somebody could.
    let Some(router) = world.by_hand() else { return };
    router.ip("address del 10.1.1.1/24 dev eth0");
    router.ip("address add 192.0.2.77/24 dev eth2");
    router.ip("address add 192.0.2.78 peer 192.0.2.79 dev eth0");
    router.ip("route add 198.51.100.0/24 via 203.0.113.77");
    router.ip("link set eth0 down");
    router.ip("link set eth2 group 1");
    router.run("busybox sysctl -w net.ipv4.ip_forward=0");
    router.run("nft add table ip stray");
    router.run("nft flush chain ip podzol forward");

    wait_for("all to be right again", || {
        let status = world.status().unwrap();
        // One repair is of settings, one of links, and one of rules.
        let is_right = status.kernel == right.kernel && status.repairs >= right.repairs + 3;
        if is_right { Ok(()) } else { Err(format!("{} repairs", status.repairs)) }
    });
    assert_eq!(router.run("busybox sysctl -n net.ipv4.ip_forward").trim(), "1");
    let logs = world.manager.call::<LogsGet>(&world.management, &()).unwrap();
    assert!(logs.lines.iter().any(|line| line.text.contains("links were not as they should be")), "{logs:?}");
}

#[test]
fn an_interface_that_was_plugged_out_and_in_again_is_served_again() {
    let mut world = World::new();
    let vm = world.vm("web-1", 2);
    let Some(router) = world.by_hand() else { return };
    world.replug(router);
    vm.configure();
    wait_for("names to be answered again", || {
        let output = vm.space.output("dig +short +time=1 +tries=1 @10.1.1.1 web-1.net.acme.internal");
        let answer = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        if answer == "10.1.1.2" { Ok(()) } else { Err(answer) }
    });
    assert!(world.status().unwrap().health.values().all(|health| *health == Health::Up));
}

#[test]
fn a_network_that_changes_its_range_is_served_in_the_new_one() {
    let mut world = World::new();
    world.put(|_| {});
    let vm = world.stranger_vm("web-1", 2);
    world.put(|document| network(document).cidr = "10.7.0.0/16".parse().unwrap());
    vm.space.ip("address add 10.7.9.9/16 dev eth0");
    wait_for("names to be answered", || {
        let output = vm.space.output("dig +short +time=1 +tries=1 @10.7.0.1 gateway.net.acme.internal");
        let answer = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        if answer == "10.7.0.1" { Ok(()) } else { Err(answer) }
    });
}

#[test]
fn a_router_that_was_killed_does_the_same_again_with_the_same_document() {
    let mut world = World::new();
    world.put(|_| {});
    let before = world.status().unwrap();
    world.kill_router();
    world.start_router();
    assert_eq!(world.status().unwrap().generation, None);
    let document = world.document.clone();
    world.manager.call::<DocumentPut>(&world.management, &document).unwrap();
    let after = world.status().unwrap();
    assert_eq!((after.generation, after.kernel), (before.generation, before.kernel));
    assert!(after.health.values().all(|health| *health == Health::Up), "{:?}", after.health);
}

/// Connections through a router that stay: of a VM to the outside, to a VM by a forwarded port, and by a balancer.
struct Held(Vec<(&'static str, Connection)>);

impl Held {
    /// Opens what they need, and them.
    fn open(world: &mut World) -> Self {
        let vm = world.vm("web-1", 2);
        vm.configure();
        for (space, port, name) in [(&world.outside, 8000, "outside"), (&vm.space, 80, "vm")] {
            Site::open(space, port, name);
        }
        world.put(|document| open_ways(document, &vm));
        let outside = [("vm", FORWARDED), ("vm", BALANCED)]
            .map(|(site, port)| (site, Connection::open(&world.outside, (PUBLIC, port).into()).unwrap()));
        let own = ("outside", Connection::open(&vm.space, (OUTSIDE, 8000).into()).unwrap());
        let mut held = Self(outside.into_iter().chain([own]).collect());
        held.answer();
        held
    }

    /// Sees that all of them still lead to where they led.
    fn answer(&mut self) {
        for (site, connection) in &mut self.0 {
            assert_eq!(connection.ask().unwrap(), *site);
        }
    }
}

/// A port that leads to a VM's web server, and one of a balancer with that one member.
const FORWARDED: u16 = 8081;
const BALANCED: u16 = 8082;

fn open_ways(document: &mut Document, vm: &Vm) {
    let ports = |text: &str| text.parse().unwrap();
    let forward = PortForward {
        public: PUBLIC,
        transport: Transport::Tcp,
        ports: ports("8081"),
        to: vm.address,
        to_port: 80,
    };
    let member = Member { address: vm.address, port: 80, weight: 1, drains: false };
    let balancer = Balancer {
        public: PUBLIC,
        transport: Transport::Tcp,
        port: BALANCED,
        method: Method::RoundRobin,
        members: [(vm.nic, member)].into(),
        check: None,
    };
    let traffic = Traffic::Tcp { ports: ports("8081-8082") };
    let sources = vec!["0.0.0.0/0".parse().unwrap()];
    document.port_forwards.insert(PortForwardId::new(), forward);
    document.balancers.insert(LoadBalancerId::new(), balancer);
    document.ingress.insert(FirewallRuleId::new(), IngressRule { public: PUBLIC, sources, traffic });
}

#[test]
fn a_router_follows_as_many_connections_as_its_document_says_and_of_a_vm_too() {
    let mut world = World::new();
    let [one, other] = [("one", 2), ("other", 3)].map(|(name, last)| {
        let vm = world.vm(name, last);
        vm.configure();
        vm
    });
    let outside = (OUTSIDE, 80).into();
    let _site = Site::open(&world.outside, 80, "outside");
    let followed =
        |world: &World| world.manager.call::<DiagnosisGet>(&world.management, &()).unwrap().connections.1;
    // A network namespace has no number of its own: it is its machine's, which cannot be set from there.
    let is_own = world.by_hand().is_none();
    assert!(!is_own || followed(&world) == 65_536);
    let limit = |connections, connections_per_vm| {
        move |document: &mut Document| document.limits = Some(Limits { connections, connections_per_vm })
    };
    let before = world.status().unwrap();
    let error = refusal(world.try_patch(limit(2000, 2001)).unwrap_err());
    assert_eq!(error.message, "limits.connections_per_vm: must be 64 to limits.connections");
    assert_eq!(world.status().unwrap().kernel, before.kernel);

    world.patch(limit(2000, 64));
    assert!(!is_own || followed(&world) == 2000);
    let mut held: Vec<_> = (0..64).map(|_| Connection::open(&one.space, outside).unwrap()).collect();
    assert!(Connection::open(&one.space, outside).is_err());
    assert!(held.iter_mut().all(|connection| connection.ask().is_ok()));
    assert!(Connection::open(&other.space, outside).is_ok());

    world.patch(limit(1024, 65));
    assert!(!is_own || followed(&world) == 1024);
    held.push(Connection::open(&one.space, outside).unwrap());
    assert!(held.iter_mut().all(|connection| connection.ask().is_ok()));
    world.put(|document| document.limits = None);
    assert!(!is_own || followed(&world) == 65_536);
    let status = world.status().unwrap();
    assert_eq!((status.repairs, status.kernel), (0, before.kernel));
}

#[test]
fn connections_outlive_a_router_that_was_killed() {
    let mut world = World::new();
    let mut held = Held::open(&mut world);
    // With a VM, its kernel goes, and all that it knew of connections.
    if world.by_hand().is_none() {
        return;
    }
    world.kill_router();
    held.answer();
    world.start_router();
    let document = world.document.clone();
    world.manager.call::<DocumentPut>(&world.management, &document).unwrap();
    held.answer();
    assert_eq!(world.status().unwrap().generation, Some(document.generation));
}

#[test]
fn services_that_end_begin_again_and_connections_stay() {
    let mut world = World::new();
    let mut held = Held::open(&mut world);
    let vm = world.vm("web-2", 3);
    let Some(router) = world.by_hand() else { return };
    // Who listens for the packets of a link that was set down finds an error with the next one (packet(7), ENETDOWN).
    router.ip("link set eth0 down");
    let has_logged = |words: &str| {
        wait_for(words, || {
            let logs = world.manager.call::<LogsGet>(&world.management, &()).unwrap();
            let is_there = logs.lines.iter().any(|line| line.text.contains(words));
            if is_there { Ok(()) } else { Err(format!("{logs:?}")) }
        });
    };
    has_logged("links were not as they should be, and are now");
    has(&udhcpc(&vm, "-t 30").unwrap(), "ip=10.1.1.3");
    has_logged("a service has ended service=\"dhcp\" link=eth0");
    let health = world.status().unwrap().health;
    assert!(health.values().all(|one| *one == Health::Up), "{health:?}");
    held.answer();
}

#[test]
fn a_router_that_nobody_reaches_any_more_ends_so_that_its_machine_starts_anew() {
    let mut world = World::new();
    let Some(router) = world.by_hand() else { return };
    world.replug_management(router);
    assert!(!world.end_of_router().success());
}

#[test]
fn a_router_ends_in_order_when_it_is_told_to() {
    let mut world = World::new();
    world.put(|_| {});
    world.stop_router();
}
