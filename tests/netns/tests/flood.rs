//! Packets and connections on their way while rules change: none is lost.

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt::RcvBufForce};
use podzol_appliance_api::{
    Balancer, Document, IngressRule, Member, Method, PortForward, Traffic, Transport,
};
use podzol_netns_tests::{Connection, Namespace, PUBLIC, SECOND_PUBLIC, Site, Vm, World, wait_for};
use podzol_vocab::{FirewallRuleId, LoadBalancerId, PortForwardId};

/// Open for everybody, forwarded to one VM.
const FOR_ALL: u16 = 9000;
/// Open for a range of sources, forwarded to one VM.
const FOR_SOME: u16 = 9001;
/// Open for everybody, balanced between two.
const BALANCED: u16 = 9002;

const CHANGES: u16 = 200;

fn ingress(public: Ipv4Addr, sources: &str, ports: u16, transport: Transport) -> IngressRule {
    let ports = ports.to_string().parse().unwrap();
    let traffic = match transport {
        Transport::Tcp => Traffic::Tcp { ports },
        Transport::Udp => Traffic::Udp { ports },
    };
    IngressRule { public, sources: vec![sources.parse().unwrap()], traffic }
}

fn forward(transport: Transport, port: u16, to: Ipv4Addr, to_port: u16) -> PortForward {
    PortForward { public: PUBLIC, transport, ports: port.to_string().parse().unwrap(), to, to_port }
}

fn balancer(port: u16, vms: &[&Vm]) -> Balancer {
    let member = |vm: &&Vm| (vm.nic, Member { address: vm.address, port, weight: 1, drains: false });
    Balancer {
        public: PUBLIC,
        transport: Transport::Udp,
        port,
        method: Method::RoundRobin,
        members: vms.iter().map(member).collect(),
        check: None,
    }
}

/// Counts what arrives at a port.
fn count(space: &Namespace, port: u16, counted: &Arc<AtomicU64>) {
    let socket = space.inside(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap());
    // Half a second of the flood, should this thread get no turn for so long.
    setsockopt(&socket, RcvBufForce, &(8 << 20)).unwrap();
    let counted = Arc::clone(counted);
    std::thread::spawn(move || {
        while socket.recv(&mut [0; 64]).is_ok() {
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
}

/// Sends so many packets a second to all three ports in turn, from other ports again and again, until stopped. Gives how
/// many they were.
fn pour(space: &Namespace, per_second: u32, stop: &Arc<AtomicBool>) -> JoinHandle<u64> {
    /// A burst that nobody on the way has no room for.
    const LARGEST: u32 = 200;
    /// How many packets there are from one port, so that many connections begin and most packets belong to one that has.
    const OF_ONE_PORT: u64 = 300;
    let stop = Arc::clone(stop);
    space.spawn(move || {
        let bind = || UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        let (mut socket, mut sent, mut last) = (bind(), 0_u64, Instant::now());
        while !stop.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(1));
            let due = (last.elapsed().as_secs_f64() * f64::from(per_second)) as u32;
            last = Instant::now();
            for _ in 0..due.clamp(1, LARGEST) {
                let port = [FOR_ALL, FOR_SOME, BALANCED][(sent % 3) as usize];
                socket.send_to(&sent.to_be_bytes(), (PUBLIC, port)).unwrap();
                sent += 1;
                if sent.is_multiple_of(OF_ONE_PORT) {
                    socket = bind();
                }
            }
        }
        sent
    })
}

/// One more rule of each kind, and one fewer once there are some.
fn change(document: &mut Document, number: u16, vms: [&Vm; 2]) {
    let port = 10_000 + number;
    document.port_forwards.insert(PortForwardId::new(), forward(Transport::Tcp, port, vms[0].address, 80));
    let sources = if number.is_multiple_of(2) { "0.0.0.0/0" } else { "203.0.113.0/25" };
    document.ingress.insert(FirewallRuleId::new(), ingress(SECOND_PUBLIC, sources, port, Transport::Tcp));
    document.balancers.insert(LoadBalancerId::new(), balancer(port, &vms));
    if number > 20 {
        document.port_forwards.retain(|_, forward| forward.ports.first() != port - 20);
        document.balancers.retain(|_, balancer| balancer.port != port - 20);
    }
}

#[test]
fn two_hundred_rule_changes_in_a_row_lose_no_packet_of_a_flood_and_no_connection() {
    let mut world = World::new();
    let vms = ["web-1", "web-2"].into_iter().zip(2..).map(|(name, last)| world.vm(name, last));
    let [one, other] = vms.collect::<Vec<_>>().try_into().unwrap();
    [&one, &other].into_iter().for_each(Vm::configure);
    let _site = Site::open(&one.space, 80, "one");
    world.put(|document| {
        for (transport, port, to_port) in
            [(Transport::Udp, FOR_ALL, 9000), (Transport::Udp, FOR_SOME, 9000), (Transport::Tcp, 8080, 80)]
        {
            let forward = forward(transport, port, one.address, to_port);
            document.port_forwards.insert(PortForwardId::new(), forward);
            let sources = if port == FOR_SOME { "203.0.113.0/24" } else { "0.0.0.0/0" };
            let rule = ingress(PUBLIC, sources, port, transport);
            document.ingress.insert(FirewallRuleId::new(), rule);
        }
        document.balancers.insert(LoadBalancerId::new(), balancer(BALANCED, &[&one, &other]));
        let rule = ingress(PUBLIC, "0.0.0.0/0", BALANCED, Transport::Udp);
        document.ingress.insert(FirewallRuleId::new(), rule);
    });
    let counted = Arc::default();
    for (vm, port) in [(&one, 9000), (&one, BALANCED), (&other, BALANCED)] {
        count(&vm.space, port, &counted);
    }
    let mut held = Connection::open(&world.outside, (PUBLIC, 8080).into()).unwrap();

    // An emulated machine takes fewer.
    let per_second = if world.by_hand().is_some() { 10_000 } else { 1000 };
    let stop = Arc::default();
    let pouring = pour(&world.outside, per_second, &stop);
    for number in 0..CHANGES {
        world.patch(|document| change(document, number, [&one, &other]));
        assert_eq!(held.ask().unwrap(), "one");
    }
    stop.store(true, Ordering::Relaxed);
    let sent = pouring.join().unwrap();

    wait_for("all packets to arrive", || match counted.load(Ordering::Relaxed) {
        all if all == sent => Ok(()),
        some => Err(format!("{some} of {sent}")),
    });
}
