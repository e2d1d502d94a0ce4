//! What gets through, and what does not.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread::JoinHandle;
use std::time::Duration;

use podzol_appliance_api::{
    EgressPolicy, EgressRule, IngressRule, PortForward, StaticNat, Traffic, Transport,
};
use podzol_netns_tests::{GATEWAY, NETWORK, Namespace, OUTSIDE, PUBLIC, SECOND_PUBLIC, World};
use podzol_vocab::{EgressRuleId, FirewallRuleId, PortForwardId, StaticNatId};

/// How long one is waited for who should not be reached, and who should.
const TRIES: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(20);

/// Answers each connection with the address that it comes from.
fn serve(space: &Namespace, port: u16) -> JoinHandle<()> {
    let listener = space.inside(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap());
    std::thread::spawn(move || {
        while let Ok((mut stream, from)) = listener.accept() {
            let _ = stream.write_all(from.ip().to_string().as_bytes());
        }
    })
}

/// What one who should be reached from there says.
fn reached(space: &Namespace, to: Ipv4Addr, port: u16) -> String {
    connect_within(PATIENCE, space, to, port).unwrap()
}

/// What one says who need not be reached from there.
fn connect(space: &Namespace, to: Ipv4Addr, port: u16) -> Result<String, std::io::Error> {
    connect_within(TRIES, space, to, port)
}

fn connect_within(
    patience: Duration,
    space: &Namespace,
    to: Ipv4Addr,
    port: u16,
) -> Result<String, std::io::Error> {
    space.inside(|| {
        let mut stream = TcpStream::connect_timeout(&SocketAddr::from((to, port)), patience)?;
        stream.set_read_timeout(Some(patience))?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    })
}

fn ingress(sources: &str, traffic: Traffic) -> (FirewallRuleId, IngressRule) {
    let sources = vec![sources.parse().unwrap()];
    (FirewallRuleId::new(), IngressRule { public: PUBLIC, sources, traffic })
}

#[test]
fn vms_reach_the_outside_from_the_public_address_and_nobody_reaches_them() {
    let mut world = World::new();
    let vm = world.vm("web-1", 2);
    vm.configure();
    let _outside = serve(&world.outside, 8000);
    let _inside = serve(&vm.space, 80);
    assert_eq!(reached(&vm.space, OUTSIDE, 8000), PUBLIC.to_string());
    vm.space.run("busybox ping -c 1 -W 20 203.0.113.1");
    // Not by the public address, nor by a route to the private one.
    connect(&world.outside, PUBLIC, 80).unwrap_err();
    world.outside.ip("route add 10.1.1.0/24 via 203.0.113.10");
    connect(&world.outside, vm.address, 80).unwrap_err();
    assert!(!world.outside.output("busybox ping -c 1 -W 1 203.0.113.10").status.success());
}

#[test]
fn a_forwarded_port_is_open_for_those_whom_a_rule_lets_in() {
    let mut world = World::new();
    let vm = world.vm("web-1", 2);
    vm.configure();
    let _inside = serve(&vm.space, 80);
    let forward = PortForward {
        public: PUBLIC,
        transport: Transport::Tcp,
        ports: "8080".parse().unwrap(),
        to: vm.address,
        to_port: 80,
    };
    world.put(|document| document.port_forwards.extend([(PortForwardId::new(), forward)]));
    connect(&world.outside, PUBLIC, 8080).unwrap_err();
    let ports = Traffic::Tcp { ports: "8080".parse().unwrap() };
    world.put(|document| document.ingress.extend([ingress("192.0.2.0/24", ports)]));
    connect(&world.outside, PUBLIC, 8080).unwrap_err();
    world.put(|document| document.ingress.extend([ingress("203.0.113.1/32", ports)]));
    assert_eq!(reached(&world.outside, PUBLIC, 8080), OUTSIDE.to_string());

    let (sent, received) = {
        let counters = world.status().unwrap().nics[&vm.nic];
        (counters.sent_bytes, counters.received_bytes)
    };
    assert!(sent > 0 && received > 0);
    world.put(|document| document.ingress.clear());
    connect(&world.outside, PUBLIC, 8080).unwrap_err();
}

#[test]
fn static_nat_gives_a_vm_an_address_of_its_own_both_ways() {
    let mut world = World::new();
    let vm = world.vm("web-1", 2);
    vm.configure();
    let (_inside, _outside) = (serve(&vm.space, 80), serve(&world.outside, 8000));
    let nat = StaticNat { public: SECOND_PUBLIC, to: vm.address };
    world.put(|document| {
        document.static_nats.insert(StaticNatId::new(), nat);
        let (id, rule) = ingress("0.0.0.0/0", Traffic::All);
        document.ingress.insert(id, IngressRule { public: SECOND_PUBLIC, ..rule });
    });
    assert_eq!(reached(&world.outside, SECOND_PUBLIC, 80), OUTSIDE.to_string());
    assert_eq!(reached(&vm.space, OUTSIDE, 8000), SECOND_PUBLIC.to_string());
    world.outside.run("busybox ping -c 1 -W 20 203.0.113.11");
}

#[test]
fn what_a_network_may_not_send_does_not_get_out() {
    let mut world = World::new();
    let vm = world.vm("web-1", 2);
    vm.configure();
    let _outside = (serve(&world.outside, 8000), serve(&world.outside, 25));
    let rule = |port: &str| EgressRule {
        network: NETWORK,
        sources: vec!["10.1.1.0/24".parse().unwrap()],
        destinations: vec!["0.0.0.0/0".parse().unwrap()],
        traffic: Traffic::Tcp { ports: port.parse().unwrap() },
    };
    world.put(|document| document.egress.extend([(EgressRuleId::new(), rule("25"))]));
    connect(&vm.space, OUTSIDE, 25).unwrap_err();
    reached(&vm.space, OUTSIDE, 8000);
    world.put(|document| document.guests.get_mut(&NETWORK).unwrap().egress = EgressPolicy::Deny);
    reached(&vm.space, OUTSIDE, 25);
    connect(&vm.space, OUTSIDE, 8000).unwrap_err();
}

#[test]
fn vms_and_the_outside_get_no_answer_from_the_management_side() {
    let mut world = World::new();
    let vm = world.vm("web-1", 2);
    vm.configure();
    let managed_at = Ipv4Addr::new(192, 168, 99, 2);
    for (space, to) in [(&vm.space, managed_at), (&vm.space, GATEWAY), (&world.outside, PUBLIC)] {
        connect(space, to, podzol_appliance_api::PORT).unwrap_err();
    }
    world.outside.ip("route add 192.168.99.0/24 via 203.0.113.10");
    connect(&world.outside, managed_at, podzol_appliance_api::PORT).unwrap_err();
    // Nor is the management network reached through it.
    let _manager = serve(&world.management, 8000);
    world.management.ip("route add 10.1.1.0/24 via 192.168.99.2");
    connect(&vm.space, Ipv4Addr::new(192, 168, 99, 1), 8000).unwrap_err();
    assert!(!vm.space.output("busybox ping -c 1 -W 1 192.168.99.2").status.success());
    vm.space.run("busybox ping -c 1 -W 20 10.1.1.1");
}

#[test]
fn a_connection_from_an_address_that_the_router_has_no_more_does_not_get_out() {
    let mut world = World::new();
    let vm = world.vm("web-1", 2);
    vm.configure();
    let nat = StaticNatId::new();
    world.put(|document| {
        document.static_nats.insert(nat, StaticNat { public: SECOND_PUBLIC, to: vm.address });
    });
    let outside = world.outside.inside(|| UdpSocket::bind((OUTSIDE, 9000)).unwrap());
    outside.set_read_timeout(Some(PATIENCE)).unwrap();
    let heard = || outside.recv_from(&mut [0; 1]).map(|(_, from)| from.ip());
    let open = || vm.space.inside(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap());
    let socket = open();
    socket.connect((OUTSIDE, 9000)).unwrap();
    socket.send(b"1").unwrap();
    assert_eq!(heard().unwrap(), SECOND_PUBLIC);

    world.put(|document| {
        document.static_nats.remove(&nat);
        document.public.as_mut().unwrap().addresses.remove(&SECOND_PUBLIC);
    });
    // The kernel follows it still, and would send on.
    for _ in 0..3 {
        socket.send(b"2").unwrap();
    }
    let other = open();
    other.send_to(b"3", (OUTSIDE, 9000)).unwrap();
    assert_eq!(heard().unwrap(), PUBLIC, "a new one comes from an address that it has");
    outside.set_read_timeout(Some(TRIES)).unwrap();
    heard().unwrap_err();
}
