//! What a router does so that it goes on as it should: where its own questions come from, what it removes, and who cannot
//! use up what is another's.

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::{BindToDevice, Broadcast};
use podzol_appliance_api::DiagnosisGet;
use podzol_netns_tests::{GATEWAY, PUBLIC, SECOND_PUBLIC, World, wait_for};
use podzol_vocab::MacAddr;

#[test]
fn what_a_router_asks_outside_comes_from_its_first_address_in_whatever_order_it_got_them() {
    let mut world = World::new();
    let vm = world.vm("web-1", 2);
    vm.configure();
    // Behind the gateway.
    let far = Ipv4Addr::new(198, 51, 100, 53);
    world.outside.ip("address add 198.51.100.53/32 dev lo");
    world.put(|document| document.forwarders = vec![far.into()]);
    let server = world.outside.inside(|| UdpSocket::bind((far, 53)).unwrap());
    server.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let asks_from = |name: &str| {
        vm.space.output(&format!("dig +time=1 +tries=1 @{GATEWAY} {name}.example.com"));
        let mut buffer = [0; 1500];
        // What was asked before is asked again meanwhile, as it gets no answer.
        loop {
            let (length, from) = server.recv_from(&mut buffer).unwrap();
            if buffer[..length].windows(name.len()).any(|window| window == name.as_bytes()) {
                return from.ip();
            }
        }
    };
    assert_eq!(asks_from("one"), PUBLIC);
    let without_first = |document: &mut podzol_appliance_api::Document| {
        document.guests.values_mut().for_each(|guest| guest.source_nat = Some(SECOND_PUBLIC));
        document.public.as_mut().unwrap().addresses.remove(&PUBLIC);
    };
    world.put(without_first);
    assert_eq!(asks_from("two"), SECOND_PUBLIC);
    // To the kernel, the one that was there before is the first.
    world.put(|document| document.public.as_mut().unwrap().addresses.extend([(PUBLIC, 24)]));
    assert_eq!(asks_from("three"), PUBLIC);
}

#[test]
fn routes_of_all_tables_and_rules_that_nobody_wants_go_and_those_that_are_missing_come_back() {
    let mut world = World::new();
    world.put(|_| {});
    let right = world.status().unwrap();
    // A VM has no shell in which somebody could.
    let Some(router) = world.by_hand() else { return };
    router.ip("route add default via 203.0.113.77 dev eth2 table 100");
    router.ip("route add blackhole 192.0.2.0/24");
    router.ip("route add 198.51.100.0/24 dev eth2");
    router.ip("route add local 198.51.100.7 dev lo table local");
    router.ip("route append default dev eth0");
    router.ip("rule add from 10.1.1.0/24 lookup 100 priority 100");
    router.ip("rule add fwmark 7 blackhole");
    router.ip("rule add lookup main priority 32000");
    router.ip("rule del lookup default");

    wait_for("all to be right again", || {
        let status = world.status().unwrap();
        if status.kernel == right.kernel && status.repairs > right.repairs {
            Ok(())
        } else {
            Err(format!("{} repairs", status.repairs))
        }
    });
    let rules = router.run("ip rule");
    assert_eq!(rules.lines().count(), 3, "{rules}");
    let routes = router.run("ip route show table all");
    assert!(routes.contains("default via 203.0.113.1 dev eth2 proto static src 203.0.113.10"), "{routes}");
    assert!(["198.51.100", "192.0.2", "table 100"].iter().all(|stray| !routes.contains(stray)), "{routes}");
    let diagnosis = world.manager.call::<DiagnosisGet>(&world.management, &()).unwrap();
    assert_eq!(diagnosis.routes, ["0.0.0.0/0 via 203.0.113.1 on eth2"]);
}

/// A DHCPDISCOVER (RFC 2131, 2) of a client with this MAC address.
pub(crate) fn discover(mac: MacAddr) -> Vec<u8> {
    let mut packet = vec![0; 236];
    packet[..3].copy_from_slice(&[1, 1, 6]);
    packet[4..8].copy_from_slice(&[1, 2, 3, 4]);
    packet[28..34].copy_from_slice(&mac.octets());
    packet.extend([99, 130, 83, 99, 53, 1, 1, 255]);
    packet
}

#[test]
fn a_vm_that_asks_in_the_name_of_another_takes_no_answer_from_it() {
    let mut world = World::new();
    let (vm, other) = (world.vm("web-1", 2), world.vm("web-2", 3));
    let socket = other.space.inside(|| {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 68)).unwrap();
        setsockopt(&socket, BindToDevice, &"eth0".into()).unwrap();
        setsockopt(&socket, Broadcast, &true).unwrap();
        socket
    });
    let (forged, stop) = (discover(vm.mac), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                socket.send_to(&forged, (Ipv4Addr::BROADCAST, 67)).unwrap();
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        // Until both of them would have used up what a client has.
        std::thread::sleep(Duration::from_secs(1));
        let lines: Vec<String> = (0..3)
            .map(|_| {
                let output = vm.space.output("busybox udhcpc -i eth0 -n -q -f -t 30 -T 1 -s /bin/true");
                String::from_utf8_lossy(&output.stderr).into_owned()
            })
            .collect();
        stop.store(true, Ordering::Relaxed);
        assert!(lines.iter().all(|said| said.contains("lease of 10.1.1.2 obtained")), "{lines:?}");
    });
}
