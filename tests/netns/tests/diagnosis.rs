//! What is seen inside of a router: leases, connections, and packets.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::time::{Duration, Instant};

use podzol_appliance_api::{
    Capture, CaptureMake, CaptureProtocol, CapturedLink, Diagnosis, DiagnosisGet, LeaseEvent,
};
use podzol_netns_tests::{NETWORK, Namespace, OUTSIDE, Vm, World, wait_for};
use podzol_rpc::{CallError, PeerId};
use podzol_vocab::{ErrorCode, HostId};

use crate::dhcp::udhcpc;

/// How long connecting may take.
const TRIES: Duration = Duration::from_secs(10);

fn diagnosis(world: &World) -> Diagnosis {
    world.manager.call::<DiagnosisGet>(&world.management, &()).unwrap()
}

/// A capture of the network of VMs.
fn asked() -> Capture {
    Capture {
        link: CapturedLink::Guest(NETWORK),
        seconds: 60,
        bytes: 1 << 20,
        snap_bytes: 65_535,
        host: None,
        protocol: None,
        port: None,
    }
}

fn code(error: CallError) -> ErrorCode {
    match error {
        CallError::Refused { source, .. } => source.code,
        other => panic!("no answer: {other:?}"),
    }
}

/// Has somebody outside answer each connection once, and keep it open until the other side closes it.
fn listen(space: &Namespace, port: u16) {
    let listener = space.inside(|| TcpListener::bind((OUTSIDE, port)).unwrap());
    space.spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(move || {
                let mut stream = stream.unwrap();
                let _ = stream.write_all(b"x").and_then(|()| stream.read(&mut [0]));
            });
        }
    });
}

fn connect(vm: &Vm, port: u16) -> TcpStream {
    vm.space.inside(|| {
        let mut stream = TcpStream::connect_timeout(&SocketAddr::from((OUTSIDE, port)), TRIES).unwrap();
        stream.read_exact(&mut [0]).unwrap();
        stream
    })
}

/// What tcpdump(8) reads in a capture, a packet a line.
fn tcpdump(bytes: &[u8]) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("capture.pcap");
    std::fs::write(&path, bytes).unwrap();
    let output = Command::new("tcpdump").args(["-nn", "-e", "-r"]).arg(&path).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && error.contains("link-type EN10MB"), "{error}");
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

/// Captures what goes through the router meanwhile, until the capture has its bytes or its time is over.
fn captured(world: &World, capture: &Capture, meanwhile: impl FnOnce() + Send) -> Vec<u8> {
    world.manager.session(&world.management, async |session| {
        let mut raw = session.call_raw::<CaptureMake>(capture).await.unwrap();
        let mut bytes = raw.next().await.unwrap();
        // On a thread of its own, as it may call the router too.
        std::thread::scope(|scope| scope.spawn(meanwhile).join().unwrap());
        bytes.extend(raw.all().await);
        bytes
    })
}

#[test]
fn a_lease_says_when_it_was_given_last() {
    let mut world = World::new();
    let (vm, other) = (world.vm("web-1", 2), world.vm("web-2", 3));
    let before = diagnosis(&world).leases;
    assert_eq!(before.len(), 2);
    assert!(before.iter().all(|lease| lease.last.is_none() && lease.acked_secs_ago.is_none()), "{before:?}");
    udhcpc(&vm, "").unwrap();
    let leases = diagnosis(&world).leases;
    let of = |vm: &Vm| leases.iter().find(|lease| lease.mac == vm.mac).unwrap();
    let lease = of(&vm);
    assert_eq!((lease.vm, lease.address, lease.network), (vm.id, vm.address.into(), NETWORK));
    assert_eq!(lease.last.unwrap().what, LeaseEvent::Acked);
    assert!(lease.acked_secs_ago.is_some());
    assert_eq!(of(&other).last, None);
}

#[test]
fn connections_are_counted_by_state_network_and_source() {
    let mut world = World::new();
    let (vm, other) = (world.vm("web-1", 2), world.vm("web-2", 3));
    for vm in [&vm, &other] {
        vm.configure();
    }
    listen(&world.outside, 8000);
    let mut open: Vec<TcpStream> = (0..5).map(|_| connect(&vm, 8000)).collect();
    open.extend((0..2).map(|_| connect(&other, 8000)));
    vm.space.inside(|| {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        socket.send_to(b"x", (OUTSIDE, 9)).unwrap();
    });
    let tracked = diagnosis(&world).tracked.unwrap();
    assert!(tracked.states["tcp"]["established"] >= 7, "{tracked:?}");
    assert!(tracked.states["udp"]["unreplied"] >= 1, "{tracked:?}");
    assert!(tracked.networks[&NETWORK] >= 8, "{tracked:?}");
    // Each is of one place only.
    let placed = tracked.networks.values().sum::<u64>() + tracked.elsewhere;
    assert_eq!(tracked.entries, placed, "{tracked:?}");
    let most: Vec<IpAddr> = tracked.talkers.iter().map(|talker| talker.address).collect();
    assert_eq!(most[0], IpAddr::from(vm.address), "{tracked:?}");
    assert!(most.contains(&other.address.into()), "{tracked:?}");
    assert_eq!(tracked.talkers_short, 0);
}

#[test]
fn a_capture_has_the_packets_that_were_asked_for_and_no_others() {
    let mut world = World::new();
    let (vm, other) = (world.vm("web-1", 2), world.vm("web-2", 3));
    for vm in [&vm, &other] {
        vm.configure();
    }
    for port in [8000, 8001] {
        listen(&world.outside, port);
    }
    let host = Some(vm.address.into());
    let capture =
        Capture { seconds: 15, host, protocol: Some(CaptureProtocol::Tcp), port: Some(8000), ..asked() };
    let bytes = captured(&world, &capture, || {
        drop((connect(&vm, 8000), connect(&other, 8000), connect(&vm, 8001)));
    });
    let lines = tcpdump(&bytes);
    let there = format!("{}.", vm.address);
    assert!(lines.iter().any(|line| line.contains("Flags [S]")), "{lines:?}");
    assert!(lines.iter().any(|line| line.contains("Flags [S.]")), "{lines:?}");
    let is_asked = |line: &String| line.contains(&there) && line.contains(&format!("{OUTSIDE}.8000"));
    assert!(lines.iter().all(is_asked), "{lines:?}");

    // Outside, the same connection is the router's own, and on the way to the management service its calls are not there.
    let public = Capture { link: CapturedLink::Public, seconds: 15, port: Some(8000), ..asked() };
    let lines = tcpdump(&captured(&world, &public, || drop(connect(&vm, 8000))));
    assert!(!lines.is_empty() && lines.iter().all(|line| !line.contains(&there)), "{lines:?}");
    let management = Capture { link: CapturedLink::Management, seconds: 15, ..asked() };
    let lines = tcpdump(&captured(&world, &management, || {
        world.management.inside(|| {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
            socket.send_to(b"x", ("192.168.99.2", 9)).unwrap();
        });
        diagnosis(&world);
    }));
    assert!(lines.iter().any(|line| line.contains("> 192.168.99.2.9: UDP")), "{lines:?}");
    assert!(lines.iter().all(|line| !line.contains(".8447")), "{lines:?}");
}

#[test]
fn a_capture_ends_at_its_bytes_and_keeps_no_more_of_a_packet_than_asked() {
    let mut world = World::new();
    let vm = world.vm("web-1", 2);
    vm.configure();
    let protocol = Some(CaptureProtocol::Udp);
    let capture = Capture { bytes: 2048, snap_bytes: 100, protocol, port: Some(9), ..asked() };
    let bytes = captured(&world, &capture, || {
        vm.space.inside(|| {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
            for _ in 0..200 {
                socket.send_to(&[7; 1000], (OUTSIDE, 9)).unwrap();
            }
        });
    });
    // As many as fit: each is 16 bytes and 100.
    assert_eq!(bytes.len(), 24 + (2048 - 24) / 116 * 116);
    let lines = tcpdump(&bytes);
    assert_eq!(lines.len(), (2048 - 24) / 116);
    assert!(lines.iter().all(|line| line.contains("length 1042")), "{lines:?}");
}

#[test]
fn one_capture_goes_on_at_a_time_and_ends_when_its_caller_goes() {
    let mut world = World::new();
    world.put(|_| {});
    let begun = Instant::now();
    world.manager.session(&world.management, async |session| {
        let mut first = session.call_raw::<CaptureMake>(&asked()).await.unwrap();
        first.next().await.unwrap();
        let second = session.call_raw::<CaptureMake>(&asked()).await.unwrap_err();
        assert_eq!(code(second), ErrorCode::Conflict);
        drop(first);
    });
    let short = Capture { seconds: 1, ..asked() };
    let bytes = wait_for("the first to have ended", || {
        world.manager.session(&world.management, async |session| {
            match session.call_raw::<CaptureMake>(&short).await {
                Ok(raw) => Ok(raw.all().await),
                Err(error) => Err(format!("{error:?}")),
            }
        })
    });
    assert!(begun.elapsed() < Duration::from_secs(60), "it has ended only as its time was over");
    assert!(bytes.len() >= 24);
}

#[test]
fn a_capture_that_breaks_a_rule_or_is_of_no_link_is_refused_and_so_is_whoever_else_asks() {
    let mut world = World::new();
    world.put(|_| {});
    let try_it = |capture: Capture| {
        world.manager.session(&world.management, async |session| {
            code(session.call_raw::<CaptureMake>(&capture).await.unwrap_err())
        })
    };
    assert_eq!(try_it(Capture { seconds: 61, ..asked() }), ErrorCode::Invalid);
    assert_eq!(try_it(Capture { bytes: u32::MAX, ..asked() }), ErrorCode::Invalid);
    let nowhere = CapturedLink::Guest(podzol_vocab::NetworkId::from_bytes([9; 16]));
    assert_eq!(try_it(Capture { link: nowhere, ..asked() }), ErrorCode::NotFound);
    let host = world.somebody(PeerId::Host(HostId::new()));
    let refused = host.session(&world.management, async |session| {
        code(session.call_raw::<CaptureMake>(&asked()).await.unwrap_err())
    });
    assert_eq!(refused, ErrorCode::Refused);
}
