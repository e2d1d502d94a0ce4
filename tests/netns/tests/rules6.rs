//! What gets through over IPv6, and what does not.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Duration;

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn6, sendto, socket,
};
use podzol_appliance_api::{EgressPolicy, EgressRule6, IngressRule6, METADATA_ADDRESS6, Traffic6};
use podzol_netns_tests::{GATEWAY6, INTERNET6, NETWORK, Namespace, World, wait_for};
use podzol_vocab::{EgressRuleId, FirewallRuleId};

const TRIES: Duration = Duration::from_secs(1);
/// For what is to come, on a machine that has other things to do too.
const PATIENCE: Duration = Duration::from_secs(10);

/// Answers each connection with the address that it comes from.
pub(crate) fn serve(space: &Namespace, port: u16) {
    let listener = space.inside(|| TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).unwrap());
    std::thread::spawn(move || {
        while let Ok((mut stream, from)) = listener.accept() {
            let _ = stream.write_all(from.ip().to_string().as_bytes());
        }
    });
}

/// What one who connects from there reads.
fn connect(space: &Namespace, to: Ipv6Addr, port: u16, time: Duration) -> Result<String, std::io::Error> {
    space.inside(|| {
        let mut stream = TcpStream::connect_timeout(&SocketAddr::from((to, port)), time)?;
        stream.set_read_timeout(Some(time))?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    })
}

fn reaches(space: &Namespace, to: Ipv6Addr, port: u16) -> String {
    connect(space, to, port, PATIENCE).unwrap()
}

fn is_silent(space: &Namespace, to: Ipv6Addr, port: u16) -> bool {
    connect(space, to, port, TRIES).is_err_and(|error| error.kind() == ErrorKind::TimedOut)
}

fn ingress(to: Ipv6Addr, sources: &str, traffic: Traffic6) -> (FirewallRuleId, IngressRule6) {
    let sources = vec![sources.parse().unwrap()];
    (FirewallRuleId::new(), IngressRule6 { to: to.into(), sources, traffic })
}

fn tcp(ports: &str) -> Traffic6 {
    Traffic6::Tcp { ports: ports.parse().unwrap() }
}

fn pings(space: &Namespace, to: Ipv6Addr, seconds: u32) -> bool {
    space.output(&format!("busybox ping -6 -c 1 -W {seconds} {to}")).status.success()
}

#[test]
fn a_vm_reaches_the_outside_from_its_own_address_and_is_closed_until_a_rule_lets_in() {
    let mut world = World::new();
    world.add_ipv6();
    let vm = world.vm("web-1", 2);
    vm.configure6();
    serve(&world.outside, 8000);
    [80, 81].iter().for_each(|port| serve(&vm.space, *port));
    assert_eq!(reaches(&vm.space, INTERNET6, 8000), vm.address6().to_string(), "nothing is translated");
    assert!(pings(&vm.space, INTERNET6, 10) && pings(&vm.space, GATEWAY6, 10));
    assert!(is_silent(&world.outside, vm.address6(), 80) && !pings(&world.outside, vm.address6(), 1));

    let rule = ingress(vm.address6(), "2001:db8:eeee::/48", tcp("80"));
    world.patch(|document| document.ingress6.extend([rule]));
    assert!(is_silent(&world.outside, vm.address6(), 80));
    let echo = Traffic6::Icmpv6 { icmp_type: Some(128), icmp_code: None };
    let rules = [tcp("80"), echo].map(|traffic| ingress(vm.address6(), "2001:db8:ffff::/48", traffic));
    world.patch(|document| document.ingress6.extend(rules));
    assert_eq!(reaches(&world.outside, vm.address6(), 80), INTERNET6.to_string());
    assert!(is_silent(&world.outside, vm.address6(), 81));
    assert!(pings(&world.outside, vm.address6(), 10));

    let counted = world.status().unwrap().nics[&vm.nic];
    assert!(counted.sent_bytes > 0 && counted.received_bytes > 0);
    world.patch(|document| document.ingress6.clear());
    assert!(is_silent(&world.outside, vm.address6(), 80));
}

#[test]
fn what_a_network_may_not_send_over_ipv6_does_not_get_out() {
    let mut world = World::new();
    world.add_ipv6();
    let vm = world.vm("web-1", 2);
    vm.configure6();
    [25, 8000].iter().for_each(|port| serve(&world.outside, *port));
    let rule = EgressRule6 {
        network: NETWORK,
        sources: vec!["2001:db8:64:10::/64".parse().unwrap()],
        destinations: vec!["2001:db8:ffff::/48".parse().unwrap()],
        traffic: tcp("25"),
    };
    world.patch(|document| document.egress6.extend([(EgressRuleId::new(), rule)]));
    assert!(is_silent(&vm.space, INTERNET6, 25));
    reaches(&vm.space, INTERNET6, 8000);
    world.put(|document| document.guests.get_mut(&NETWORK).unwrap().egress = EgressPolicy::Deny);
    reaches(&vm.space, INTERNET6, 25);
    assert!(is_silent(&vm.space, INTERNET6, 8000));
}

#[test]
fn a_source_that_is_no_vm_s_gets_nowhere_and_metadata_by_ipv6_is_refused_at_once() {
    let mut world = World::new();
    world.add_ipv6();
    let (vm, stranger) = (world.vm("web-1", 2), world.stranger_vm("stranger", 3));
    [&vm, &stranger].iter().for_each(|vm| vm.configure6());
    serve(&world.outside, 8000);
    reaches(&vm.space, INTERNET6, 8000);
    assert!(is_silent(&stranger.space, INTERNET6, 8000));
    let error = connect(&vm.space, METADATA_ADDRESS6, 80, PATIENCE).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NetworkUnreachable);
    // Nor does the outside get in by a source within.
    let rule = ingress(vm.address6(), "::/0", Traffic6::All);
    world.patch(|document| document.ingress6.extend([rule]));
    serve(&vm.space, 80);
    assert_eq!(reaches(&world.outside, vm.address6(), 80), INTERNET6.to_string());
    // The nearest to the VM's is what the kernel connects from (RFC 6724, 5, rule 8), once it is not tentative any more.
    world.outside.ip("address add 2001:db8:64:15::99/128 dev lo nodad");
    assert!(is_silent(&world.outside, vm.address6(), 80));
}

#[test]
fn what_is_too_big_for_a_network_is_told_to_who_sent_it_and_comes_in_parts() {
    let mut world = World::new();
    world.add_ipv6();
    world.put(|document| document.guests.get_mut(&NETWORK).unwrap().mtu = 1400);
    let vm = world.vm("web-1", 2);
    vm.configure6();
    let server = world.outside.inside(|| UdpSocket::bind((INTERNET6, 9000)).unwrap());
    std::thread::spawn(move || {
        let answer = vec![7; 10_000];
        while let Ok((_, from)) = server.recv_from(&mut [0; 16]) {
            let _ = server.send_to(&answer, from);
        }
    });
    let socket = vm.space.inside(|| UdpSocket::bind((vm.address6(), 0)).unwrap());
    socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let mut buffer = vec![0; 20_000];
    // The first one is what is too big.
    let length = wait_for("an answer in parts", || {
        socket.send_to(b"more", (INTERNET6, 9000)).map_err(|error| error.to_string())?;
        socket.recv(&mut buffer).map_err(|error| error.to_string())
    });
    assert_eq!(length, 10_000);
    let route = world.outside.run(&format!("ip -6 route get {}", vm.address6()));
    assert!(route.contains("mtu 1400"), "{route}");
}

#[test]
fn a_network_that_loses_its_prefix_has_no_ipv6_any_more() {
    let mut world = World::new();
    world.add_ipv6();
    let vm = world.vm("web-1", 2);
    vm.configure6();
    serve(&world.outside, 8000);
    reaches(&vm.space, INTERNET6, 8000);
    world.put(|document| {
        let without = document.clone().without_ipv6();
        *document = without;
    });
    assert!(connect(&vm.space, INTERNET6, 8000, TRIES).is_err());
    assert!(!pings(&vm.space, GATEWAY6, 1));
}

const UDP: u8 = 17;
const ROUTING: u8 = 43;
const OPTIONS: u8 = 60;

/// A routing header of a type with nothing left to visit (RFC 8200, 4.4), before a header of that kind.
fn routing(kind: u8, next: u8) -> [u8; 8] {
    [next, 0, kind, 0, 0, 0, 0, 0]
}

/// Destination options that are padding (RFC 8200, 4.6), before a header of that kind.
fn options(next: u8) -> [u8; 8] {
    [next, 0, 1, 4, 0, 0, 0, 0]
}

/// Sends a packet of UDP to port 9000 behind headers of extension, of which the first is of that kind.
fn send_behind(space: &Namespace, [from, to]: [Ipv6Addr; 2], first: u8, headers: &[u8], says: &[u8]) {
    let length = u16::try_from(8 + says.len()).unwrap();
    let ends = [from.octets(), to.octets()].concat();
    let udp = |sum: u16| [&[35, 40, 35, 40][..], &length.to_be_bytes(), &sum.to_be_bytes(), says].concat();
    let summed = [&ends[..], &[0, 0], &length.to_be_bytes(), &[0, 0, 0, UDP], &udp(0)].concat();
    let words = summed.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let sum: u32 = words.sum();
    let sum = !(((sum >> 16) + (sum & 0xffff)) as u16);
    let behind = [headers, &udp(sum)].concat();
    let size = u16::try_from(behind.len()).unwrap().to_be_bytes();
    let packet = [&[0x60, 0, 0, 0, size[0], size[1], first, 64], &ends[..], &behind].concat();
    space.inside(|| {
        let socket =
            socket(AddressFamily::Inet6, SockType::Raw, SockFlag::empty(), SockProtocol::Raw).unwrap();
        let to = SockaddrIn6::from(SocketAddrV6::new(to, 0, 0, 0));
        sendto(socket.as_raw_fd(), &packet, &to, MsgFlags::empty()).unwrap();
    });
}

/// RFC 5095. Nobody waits for what does not come: what does is behind it on the same way.
#[test]
fn a_routing_header_of_type_0_gets_through_neither_way_whatever_is_before_it_and_other_headers_do() {
    let mut world = World::new();
    world.add_ipv6();
    let vm = world.vm("web-1", 2);
    vm.configure6();
    let rule = ingress(vm.address6(), "::/0", Traffic6::All);
    world.patch(|document| document.ingress6.extend([rule]));
    for (from, to, addresses) in [
        (&vm.space, &world.outside, [vm.address6(), INTERNET6]),
        (&world.outside, &vm.space, [INTERNET6, vm.address6()]),
    ] {
        let listener = to.inside(|| UdpSocket::bind((addresses[1], 9000)).unwrap());
        listener.set_read_timeout(Some(PATIENCE)).unwrap();
        let send = |first, headers: &[u8], says| send_behind(from, addresses, first, headers, says);
        send(ROUTING, &routing(0, UDP), b"type 0");
        send(OPTIONS, &[options(ROUTING), routing(0, UDP)].concat(), b"type 0 behind options");
        send(OPTIONS, &options(UDP), b"options");
        let mut buffer = [0; 64];
        let length = listener.recv(&mut buffer).unwrap();
        assert_eq!(String::from_utf8_lossy(&buffer[..length]), "options");
    }
}
