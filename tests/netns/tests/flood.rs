//! Thousands of rules, and packets and connections on their way while rules change: none is lost.

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

/// Forwarded to one VM, open for everybody.
const FOR_ALL: u16 = 9000;
/// Forwarded to one VM, open for a range of sources.
const FOR_SOME: u16 = 9001;
/// Balanced between two VMs, open for everybody.
const BALANCED: u16 = 9002;
/// Forwarded to a web server, open for everybody.
const WEB: u16 = 8080;

const EVERYBODY: &str = "0.0.0.0/0";
/// The range that the outside is in.
const NEIGHBOURS: &str = "203.0.113.0/24";

/// How many there are of each in the large document.
const FORWARDS: u16 = 5000;
const RULES: u16 = 5000;
const BALANCERS: u16 = 500;

/// A router with two VMs and a web server on the first.
struct Place {
    world: World,
    one: Vm,
    other: Vm,
    /// Kept as it is what connections lead to.
    _site: Site,
}

impl Place {
    fn new() -> Self {
        let mut world = World::with_usual_memory();
        let [one, other] = [("web-1", 2), ("web-2", 3)].map(|(name, last)| world.vm(name, last));
        [&one, &other].into_iter().for_each(Vm::configure);
        let site = Site::open(&one.space, 80, "one");
        Self { world, one, other, _site: site }
    }

    /// What the packets of the flood and the connection beside them need.
    fn open_ways(&self, document: &mut Document) {
        let (udp, tcp) = (Transport::Udp, Transport::Tcp);
        for (transport, port, to_port, sources) in [
            (udp, FOR_ALL, FOR_ALL, EVERYBODY),
            (udp, FOR_SOME, FOR_ALL, NEIGHBOURS),
            (tcp, WEB, 80, EVERYBODY),
        ] {
            let forward = forward(PUBLIC, transport, port, &self.one, to_port);
            document.port_forwards.insert(PortForwardId::new(), forward);
            let rule = ingress(PUBLIC, sources, port, transport);
            document.ingress.insert(FirewallRuleId::new(), rule);
        }
        let balancer = balancer(PUBLIC, udp, BALANCED, &[&self.one, &self.other]);
        document.balancers.insert(LoadBalancerId::new(), balancer);
        let rule = ingress(PUBLIC, EVERYBODY, BALANCED, udp);
        document.ingress.insert(FirewallRuleId::new(), rule);
    }

    /// Thousands of rules for the other public address. Every tenth port is open for some only. No two ports are side by
    /// side, so that each rule has elements of its own.
    fn fill(&self, document: &mut Document) {
        for number in 0..FORWARDS {
            let forward = forward(SECOND_PUBLIC, Transport::Tcp, 1024 + 2 * number, &self.one, 80);
            document.port_forwards.insert(PortForwardId::new(), forward);
        }
        for number in 0..RULES {
            let sources = if number.is_multiple_of(10) { NEIGHBOURS } else { EVERYBODY };
            let rule = ingress(SECOND_PUBLIC, sources, 1024 + 2 * number, Transport::Tcp);
            document.ingress.insert(FirewallRuleId::new(), rule);
        }
        for number in 0..BALANCERS {
            let vms = [&self.one, &self.other];
            let balancer = balancer(SECOND_PUBLIC, Transport::Tcp, 20_000 + number, &vms);
            document.balancers.insert(LoadBalancerId::new(), balancer);
        }
    }
}

/// One more rule of each kind, and one fewer of two kinds once there are some.
fn change(document: &mut Document, number: u16, [one, other]: [&Vm; 2]) {
    const STAY: u16 = 20;
    let port = 10_000 + number;
    let more = forward(PUBLIC, Transport::Tcp, port, one, 80);
    document.port_forwards.insert(PortForwardId::new(), more);
    let sources = if number.is_multiple_of(2) { EVERYBODY } else { NEIGHBOURS };
    document.ingress.insert(FirewallRuleId::new(), ingress(PUBLIC, sources, port, Transport::Tcp));
    let more = balancer(PUBLIC, Transport::Udp, port, &[one, other]);
    document.balancers.insert(LoadBalancerId::new(), more);
    if number >= STAY {
        document.port_forwards.retain(|_, forward| forward.ports.first() != port - STAY);
        document.balancers.retain(|_, balancer| balancer.port != port - STAY);
    }
}

fn ingress(public: Ipv4Addr, sources: &str, port: u16, transport: Transport) -> IngressRule {
    let ports = port.to_string().parse().unwrap();
    let traffic = match transport {
        Transport::Tcp => Traffic::Tcp { ports },
        Transport::Udp => Traffic::Udp { ports },
    };
    IngressRule { public, sources: vec![sources.parse().unwrap()], traffic }
}

fn forward(public: Ipv4Addr, transport: Transport, port: u16, vm: &Vm, to_port: u16) -> PortForward {
    PortForward { public, transport, ports: port.to_string().parse().unwrap(), to: vm.address, to_port }
}

fn balancer(public: Ipv4Addr, transport: Transport, port: u16, vms: &[&Vm]) -> Balancer {
    let to_port = if transport == Transport::Tcp { 80 } else { port };
    let member = |vm: &&Vm| (vm.nic, Member { address: vm.address, port: to_port, weight: 1, drains: false });
    let members = vms.iter().map(member).collect();
    Balancer { public, transport, port, method: Method::RoundRobin, members, check: None }
}

/// Counts what arrives at a port.
fn count(vm: &Vm, port: u16, counted: &Arc<AtomicU64>) {
    let socket = vm.space.inside(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap());
    // Room for a second of the flood, should this thread get no turn for so long.
    setsockopt(&socket, RcvBufForce, &(16 << 20)).unwrap();
    let counted = Arc::clone(counted);
    std::thread::spawn(move || {
        while socket.recv(&mut [0; 64]).is_ok() {
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
}

/// Sends so many packets a second to all three ports in turn, until stopped, and gives how many they were.
fn pour(space: &Namespace, per_second: f64, stop: &Arc<AtomicBool>) -> JoinHandle<u64> {
    /// A burst that everybody on the way has room for.
    const LARGEST: f64 = 200.0;
    /// How many packets there are from one port, so that connections begin all the time and most packets belong to one that
    /// has begun before.
    const OF_ONE_PORT: u64 = 300;
    let stop = Arc::clone(stop);
    space.spawn(move || {
        let bind = || UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        let (mut socket, mut sent, mut due, mut last) = (bind(), 0_u64, 0.0, Instant::now());
        while !stop.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(1));
            let now_due = last.elapsed().as_secs_f64() * per_second;
            due += now_due;
            last = Instant::now();
            // What could not be sent in time is sent later, at twice the pace, so that it is as many as it should be.
            for _ in 0..due.min(2.0 * now_due).min(LARGEST) as u32 {
                let port = [FOR_ALL, FOR_SOME, BALANCED][(sent % 3) as usize];
                socket.send_to(&sent.to_be_bytes(), (PUBLIC, port)).unwrap();
                sent += 1;
                due -= 1.0;
                if sent.is_multiple_of(OF_ONE_PORT) {
                    socket = bind();
                }
            }
        }
        sent
    })
}

#[test]
fn two_hundred_changes_with_few_and_with_thousands_of_rules_lose_no_packet_of_a_flood_and_no_connection() {
    let mut place = Place::new();
    let mut few = place.world.document.clone();
    place.open_ways(&mut few);
    place.world.put(|document| *document = few.clone());
    let counted = Arc::default();
    for (vm, port) in [(&place.one, FOR_ALL), (&place.one, BALANCED), (&place.other, BALANCED)] {
        count(vm, port, &counted);
    }
    let mut held = Connection::open(&place.world.outside, (PUBLIC, WEB).into()).unwrap();

    // An emulated machine takes fewer packets, and more time for each change.
    let (per_second, changes) =
        if place.world.by_hand().is_some() { (10_000.0, [180, 20]) } else { (1000.0, [20, 2]) };
    let stop = Arc::default();
    let pouring = pour(&place.world.outside, per_second, &stop);
    let begun = Instant::now();
    let mut many = few.clone();
    place.fill(&mut many);
    for (rules, changes) in [few.clone(), many].into_iter().zip(changes) {
        place.world.put(|document| *document = rules);
        for number in 0..changes {
            place.world.patch(|document| change(document, number, [&place.one, &place.other]));
            assert_eq!(held.ask().unwrap(), "one");
        }
    }
    place.world.put(|document| *document = few);
    assert_eq!(held.ask().unwrap(), "one");
    let took = begun.elapsed().as_secs_f64();
    stop.store(true, Ordering::Relaxed);
    let sent = pouring.join().unwrap();

    wait_for("all packets to arrive", || match counted.load(Ordering::Relaxed) {
        all if all == sent => Ok(()),
        some => Err(format!("{some} of {sent}")),
    });
    assert!(sent as f64 > took * per_second / 2.0, "{sent} packets in {took} s are no flood");
}

#[test]
fn one_rule_more_beside_thousands_is_in_force_once_it_is_acknowledged_and_soon() {
    /// How soon on a machine that is busy with other tests; benches measure.
    const SOON: Duration = Duration::from_secs(20);
    let mut place = Place::new();
    let mut document = place.world.document.clone();
    place.fill(&mut document);
    place.world.put(|all| *all = document);
    let outside = (SECOND_PUBLIC, 1024 + 2 * (FORWARDS - 1)).into();
    assert_eq!(Connection::open(&place.world.outside, outside).unwrap().ask().unwrap(), "one");
    Connection::open(&place.world.outside, (PUBLIC, WEB).into()).unwrap_err();

    let more = forward(PUBLIC, Transport::Tcp, WEB, &place.one, 80);
    let open = ingress(PUBLIC, EVERYBODY, WEB, Transport::Tcp);
    let begun = Instant::now();
    place.world.patch(|document| {
        document.port_forwards.insert(PortForwardId::new(), more);
        document.ingress.insert(FirewallRuleId::new(), open);
    });
    let took = begun.elapsed();
    assert_eq!(Connection::open(&place.world.outside, (PUBLIC, WEB).into()).unwrap().ask().unwrap(), "one");
    assert!(place.world.by_hand().is_none() || took < SOON, "{took:?}");
}
