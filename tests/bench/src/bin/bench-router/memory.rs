//! The least memory with which the template works, and the size of its file.

use std::any::Any;
use std::net::Ipv4Addr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use anyhow::Result;
use ipnet::Ipv4Net;
use podzol_appliance_api::{Document, EgressRule, IngressRule, PortForward, PortRange, Traffic, Transport};
use podzol_netns_tests::{Connection, GATEWAY, NETWORK, PUBLIC, Site, World, wait_for};
use podzol_vocab::{EgressRuleId, FirewallRuleId, PortForwardId};

use crate::figures::Aims;
use crate::template;

const SIZES_MIB: [u32; 6] = [64, 80, 88, 96, 112, 128];

/// With these, how many pieces of rules it takes.
const BESIDE: [u32; 2] = [96, 128];
const PIECES: [u16; 2] = [8_192, 16_384];

/// Rules beside the one that is used.
const RULES: u16 = 1000;

pub(crate) fn run(aims: &mut Aims) -> Result<()> {
    let template = template()?;
    let megabytes = std::fs::metadata(&template)?.len() as f64 / 1e6;
    println!("its file: {megabytes:.1} MB");
    aims.at_most("the template's file, MB", megabytes, 24.0);
    let mut least = f64::INFINITY;
    // Those that do not work are known by a panic, of which the last words are enough.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    for size in SIZES_MIB {
        match catch_unwind(AssertUnwindSafe(|| works(&template, size))) {
            Ok(()) => {
                println!("{size:>4} MiB: works");
                least = least.min(f64::from(size));
            }
            Err(panic) => println!("{size:>4} MiB: does not work: {}", words(panic.as_ref())),
        }
    }
    println!("pieces of ingress rules, and as many of egress rules:");
    for (size, pieces) in BESIDE.into_iter().flat_map(|size| PIECES.map(|pieces| (size, pieces))) {
        match catch_unwind(AssertUnwindSafe(|| takes(&template, size, pieces))) {
            Ok(()) => println!("{size:>4} MiB, {pieces:>6} of each: taken"),
            Err(panic) => {
                println!("{size:>4} MiB, {pieces:>6} of each: not taken: {}", words(panic.as_ref()))
            }
        }
    }
    std::panic::set_hook(hook);
    aims.at_most("the least memory that works, MiB", least, 96.0);
    Ok(())
}

/// Has a router with so much memory do all that it is for: addresses, names, metadata, a forward among many.
///
/// # Panics
/// When it does not.
fn works(template: &Path, memory_mib: u32) {
    let mut world = World::of_template(template, memory_mib);
    let vm = world.vm("web-1", 2);
    world.put(|document| {
        for number in 0..=RULES {
            let ports = (1024 + 2 * number).to_string();
            let ports = ports.parse().unwrap_or(podzol_appliance_api::PortRange::ALL);
            let forward =
                PortForward { public: PUBLIC, transport: Transport::Tcp, ports, to: vm.address, to_port: 80 };
            document.port_forwards.insert(PortForwardId::new(), forward);
            let sources = vec![Ipv4Net::default()];
            let rule = IngressRule { public: PUBLIC, sources, traffic: Traffic::Tcp { ports } };
            document.ingress.insert(FirewallRuleId::new(), rule);
        }
    });
    vm.space.run("busybox udhcpc -i eth0 -n -q -f -t 10 -T 2 -s /bin/true");
    vm.configure();
    vm.space.run(&format!("dig +time=5 +tries=3 @{GATEWAY} web-1.net.acme.internal"));
    vm.space.run("curl -sSf -m 20 http://169.254.169.254/latest/meta-data/local-hostname");
    let _site = Site::open(&vm.space, 80, "web-1");
    let answer = Connection::open(&world.outside, (PUBLIC, 1024 + 2 * RULES).into())
        .and_then(|mut connection| connection.ask());
    assert_eq!(answer.ok().as_deref(), Some("web-1"));
    assert!(world.status().is_ok());
}

/// Has a router with so much memory take so many pieces of ingress and of egress rules, at once, and again after it has let go
/// of them, and of most of them.
///
/// # Panics
/// When it does not.
fn takes(template: &Path, memory_mib: u32, pieces: u16) {
    const SOURCES: u16 = 64;
    let mut world = World::of_template(template, memory_mib);
    world.put(|_| {});
    let of_port = |port: u16| Traffic::Tcp { ports: PortRange::new(port, port).unwrap_or(PortRange::ALL) };
    let all = Traffic::Tcp { ports: PortRange::ALL };
    let inside: Vec<Ipv4Net> = (1..=SOURCES).map(|one| Ipv4Addr::new(10, 1, 1, one as u8).into()).collect();
    let outside: Vec<Ipv4Net> = (1..=SOURCES).map(|one| Ipv4Addr::new(192, 0, 2, one as u8).into()).collect();
    let network = Ipv4Net::new_assert(Ipv4Addr::new(10, 1, 1, 0), 24);
    let everywhere = vec![Ipv4Net::default()];
    // Each source that may have all ports is cut by each port that all may have.
    let crossing = (
        (FirewallRuleId::new(), IngressRule { public: PUBLIC, sources: outside, traffic: all }),
        (
            EgressRuleId::new(),
            EgressRule { network: NETWORK, sources: inside, destinations: everywhere.clone(), traffic: all },
        ),
    );
    let mut full = Document {
        ingress: [crossing.0.clone()].into(),
        egress: [crossing.1.clone()].into(),
        ..Document::default()
    };
    for port in 1..pieces / (SOURCES + 1) {
        let (sources, traffic) = (everywhere.clone(), of_port(2 * port));
        full.ingress.insert(FirewallRuleId::new(), IngressRule { public: PUBLIC, sources, traffic });
        let (sources, destinations) = (vec![network], everywhere.clone());
        let rule = EgressRule { network: NETWORK, sources, destinations, traffic };
        full.egress.insert(EgressRuleId::new(), rule);
    }
    let fill = |document: &mut Document| {
        document.ingress.clone_from(&full.ingress);
        document.egress.clone_from(&full.egress);
    };
    let uncross = |document: &mut Document| {
        fill(document);
        document.ingress.remove(&crossing.0.0);
        document.egress.remove(&crossing.1.0);
    };
    put(&mut world, fill);
    put(&mut world, |document| {
        document.ingress.clear();
        document.egress.clear();
    });
    for change in [&uncross as &dyn Fn(&mut Document), &fill, &uncross, &fill] {
        put(&mut world, change);
    }
    assert!(world.status().is_ok());
}

/// Has the router take a document, however long that takes it: it is told the same until it answers.
fn put(world: &mut World, change: impl Fn(&mut Document)) {
    wait_for("the router to take a document", || {
        world.try_put(&change).map_err(|error| format!("{error:?}"))
    });
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
    text.unwrap_or_default().lines().next().unwrap_or_default().to_owned()
}
