//! Names, asked by dig.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use podzol_netns_tests::{GATEWAY, OUTSIDE, Vm, World};

fn dig(vm: &Vm, question: &str) -> String {
    vm.space.run(&format!("dig +time=10 +tries=3 @{GATEWAY} {question}"))
}

fn short(vm: &Vm, question: &str) -> Vec<String> {
    dig(vm, &format!("+short {question}")).lines().map(str::to_owned).collect()
}

#[test]
fn vms_names_and_addresses_are_answered_for_and_what_is_not_there_is_not() {
    let mut world = World::new();
    let (vm, _other) = (world.vm("web-1", 2), world.vm("db-1", 3));
    vm.configure();
    assert_eq!(short(&vm, "db-1.net.acme.internal"), ["10.1.1.3"]);
    assert_eq!(short(&vm, "+tcp db-1.net.acme.internal"), ["10.1.1.3"]);
    assert_eq!(short(&vm, "-x 10.1.1.3"), ["db-1.net.acme.internal."]);
    let missing = dig(&vm, "nobody.net.acme.internal");
    assert!(missing.contains("status: NXDOMAIN") && missing.contains("SOA"), "{missing}");
    let none = dig(&vm, "AAAA db-1.net.acme.internal");
    assert!(none.contains("status: NOERROR") && none.contains("flags: qr aa"), "{none}");

    world.put(|document| document.nics.retain(|_, nic| nic.address.octets()[3] != 3));
    assert!(dig(&vm, "db-1.net.acme.internal").contains("status: NXDOMAIN"));
}

#[test]
fn other_names_are_asked_outside_once_and_again_when_that_is_lost() {
    let mut world = World::new();
    let vm = world.vm("web-1", 2);
    vm.configure();
    // A name server outside that hears nothing the first time.
    let server = world.outside.inside(|| std::net::UdpSocket::bind((OUTSIDE, 53)).unwrap());
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    std::thread::spawn(move || {
        let mut buffer = [0; 1500];
        while let Ok((length, from)) = server.recv_from(&mut buffer) {
            if counted.fetch_add(1, Ordering::Relaxed) == 0 {
                continue;
            }
            // The question as it came, and one answer: 192.0.2.80 for 60 seconds.
            let mut answer = buffer[..length].to_vec();
            let end = 12 + answer[12..].iter().position(|byte| *byte == 0).unwrap() + 5;
            answer.truncate(end);
            answer[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
            answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 80]);
            server.send_to(&answer, from).unwrap();
        }
    });
    let ask = || vm.space.run(&format!("dig +short +time=20 +tries=1 @{GATEWAY} www.example.com"));
    assert_eq!(ask().trim(), "192.0.2.80");
    let before = asked.load(Ordering::Relaxed);
    assert!(before >= 2, "{before}");
    assert_eq!(ask().trim(), "192.0.2.80");
    assert_eq!(asked.load(Ordering::Relaxed), before, "the second time it was known");
}

#[test]
fn nobody_outside_is_answered() {
    let mut world = World::new();
    world.vm("web-1", 2);
    let output = world.outside.output("dig +time=1 +tries=1 @203.0.113.10 web-1.net.acme.internal");
    assert!(!output.status.success());
}

#[test]
fn all_that_is_asked_at_once_over_one_connection_is_answered() {
    let mut world = World::new();
    let vm = world.vm("web-1", 2);
    vm.configure();
    let question = |id: u16| {
        let mut packet = [id.to_be_bytes(), [1, 0], [0, 1], [0, 0], [0, 0], [0, 0]].concat();
        for label in ["web-1", "net", "acme", "internal", ""] {
            packet.push(label.len() as u8);
            packet.extend(label.as_bytes());
        }
        packet.extend([0, 1, 0, 1]);
        [&(packet.len() as u16).to_be_bytes()[..], &packet].concat()
    };
    let mut stream = vm.space.inside(|| TcpStream::connect((GATEWAY, 53)).unwrap());
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream.write_all(&(0..20).flat_map(question).collect::<Vec<_>>()).unwrap();
    let mut answered = Vec::new();
    for _ in 0..20 {
        let mut length = [0; 2];
        stream.read_exact(&mut length).unwrap();
        let mut answer = vec![0; u16::from_be_bytes(length).into()];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer[answer.len() - 4..], [10, 1, 1, 2]);
        answered.push(u16::from_be_bytes([answer[0], answer[1]]));
    }
    answered.sort_unstable();
    assert_eq!(answered, (0..20).collect::<Vec<_>>());
}
