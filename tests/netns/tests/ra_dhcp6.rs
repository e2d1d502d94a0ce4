//! Addresses, routes and names of IPv6, by Debian's own clients; by the one that does both, those of IPv4 too.

use std::net::Ipv6Addr;
use std::path::Path;

use podzol_netns_tests::{GATEWAY6, INTERNET6, NETWORK, Vm, World, wait_for};

use crate::dhcp::{has, script};

/// Waits until an interface has a link-local address that it may use.
fn settle(vm: &Vm) {
    wait_for("a link-local address", || {
        let addresses = vm.space.run("ip -6 address show dev eth0 scope link");
        let is_there = addresses.contains("fe80::") && !addresses.contains("tentative");
        if is_there { Ok(()) } else { Err(addresses) }
    });
}

fn dhclient(vm: &Vm, seconds: u32) -> Result<String, String> {
    let folder = tempfile::tempdir().unwrap();
    let (script, told) = script(&folder);
    let at = |name: &str| folder.path().join(name).display().to_string();
    let (lease, pid) = (at("lease"), at("pid"));
    let script = script.display();
    let line = format!("timeout {seconds} dhclient -6 -1 -d -sf {script} -lf {lease} -pf {pid} eth0");
    let mut client = vm.space.start(&line);
    let bound = wait_for("dhclient", || {
        let text = std::fs::read_to_string(&told).unwrap_or_default();
        let has_ended = client.ended().is_some();
        if text.contains("reason=BOUND6") || has_ended { Ok(text) } else { Err(text) }
    });
    if bound.contains("reason=BOUND6") { Ok(bound) } else { Err(bound) }
}

/// Asks for some echoes. The first one has neighbours found on its way, and waits for that.
fn every_echo_comes_back(vm: &Vm, to: Ipv6Addr) {
    let answer = vm.space.output(&format!("busybox ping -6 -c 5 -W 10 {to}"));
    let answer = String::from_utf8_lossy(&answer.stdout).into_owned();
    let neighbours = || vm.space.run("ip -6 -s neigh show");
    assert!(answer.contains("5 packets received"), "{answer}{}", neighbours());
}

/// The way out that the kernel has of an advertisement.
fn default_route(vm: &Vm) -> String {
    vm.space.run("ip -6 route show default")
}

#[test]
fn dhclient_gets_the_vm_s_address_and_names_and_the_kernel_its_ways() {
    let mut world = World::new();
    world.add_ipv6();
    let vm = world.vm("web-1", 2);
    settle(&vm);
    let told = dhclient(&vm, 25).unwrap();
    has(&told, &format!("new_ip6_address={}", vm.address6()));
    has(&told, &format!("new_dhcp6_name_servers={GATEWAY6}"));
    let search = told.lines().find(|line| line.starts_with("new_dhcp6_domain_search=")).unwrap();
    assert!(search.contains("net.acme.internal"), "{search}");

    wait_for("a default route", || {
        let route = default_route(&vm);
        if route.contains("via fe80::1 dev eth0 proto ra") { Ok(()) } else { Err(route) }
    });
    assert!(vm.space.run("ip -6 route show").contains("2001:db8:64:10::/64 dev eth0 proto kernel"));
    let addresses = vm.space.run("ip -6 address show dev eth0 scope global");
    assert!(addresses.is_empty(), "nobody chooses an address: {addresses}");

    // As the client's own script does it; the rest is of the advertisement.
    vm.add_address6(128);
    every_echo_comes_back(&vm, INTERNET6);
    let short = |question: &str| vm.space.run(&format!("dig +short +time=5 @{GATEWAY6} {question}"));
    assert_eq!(short("AAAA web-1.net.acme.internal").trim(), vm.address6().to_string());
    assert_eq!(short(&format!("-x {}", vm.address6())).trim(), "web-1.net.acme.internal.");
}

#[test]
fn a_router_in_another_s_place_gives_the_same_and_a_stranger_gets_nothing() {
    let mut world = World::new();
    world.add_ipv6();
    let (vm, stranger) = (world.vm("web-1", 2), world.stranger_vm("stranger", 3));
    [&vm, &stranger].iter().for_each(|vm| settle(vm));
    let address = format!("new_ip6_address={}", vm.address6());
    has(&dhclient(&vm, 25).unwrap(), &address);
    assert!(dhclient(&stranger, 5).is_err());
    world.start_router();
    let document = world.document.clone();
    world.manager.call::<podzol_appliance_api::DocumentPut>(&world.management, &document).unwrap();
    has(&dhclient(&vm, 25).unwrap(), &address);
}

#[test]
fn networkd_has_its_addresses_and_ways_of_both_families_by_itself() {
    let mut world = World::new();
    world.add_ipv6();
    let vm = world.vm("web-1", 2);
    let folder = tempfile::tempdir().unwrap();
    let _networkd = networkd(&vm, folder.path());
    wait_for("an address", || {
        let addresses = vm.space.run("ip -6 address show dev eth0 scope global");
        let wanted = format!("inet6 {}/128", vm.address6());
        let is_there = addresses.contains(&wanted) && !addresses.contains("tentative");
        if is_there { Ok(()) } else { Err(addresses) }
    });
    let addresses = vm.space.run("ip -6 address show dev eth0 scope global");
    assert_eq!(addresses.matches("inet6").count(), 1, "{addresses}");
    vm.hears_at_its_address();
    wait_for("a default route", || {
        let route = default_route(&vm);
        if route.contains("via fe80::1 dev eth0 proto ra") { Ok(()) } else { Err(route) }
    });
    every_echo_comes_back(&vm, INTERNET6);

    wait_for("an address of IPv4", || {
        let addresses = vm.space.run("ip -4 address show dev eth0");
        if addresses.contains("inet 10.1.1.2/24") { Ok(()) } else { Err(addresses) }
    });
    wait_for("a default route of IPv4", || {
        let route = vm.space.run("ip -4 route show default");
        if route.contains("via 10.1.1.1 dev eth0 proto dhcp src 10.1.1.2") { Ok(()) } else { Err(route) }
    });
    assert_eq!(vm.space.run("ip -4 address show dev eth0").matches("inet ").count(), 1);
    vm.space.run("busybox ping -c 1 -W 10 203.0.113.1");
}

/// systemd-networkd for a VM as Debian's images have it, with files of its own.
fn networkd(vm: &Vm, folder: &Path) -> podzol_netns_tests::Running {
    let network = "[Match]\nName=eth0\n[Network]\nDHCP=yes\n";
    std::fs::write(folder.join("10-eth0.network"), network).unwrap();
    // Without udev, which it does not wait for where /sys cannot be written to.
    let start = format!(
        "#!/bin/sh -e\nmount -o remount,ro /sys || mount -t sysfs -o ro sysfs /sys\n\
         mkdir -p /run/systemd /etc/systemd/network\nmount -t tmpfs tmpfs /run/systemd\n\
         mkdir -p /run/systemd/netif/links /run/systemd/netif/leases /run/systemd/netif/lldp\n\
         chown -R systemd-network /run/systemd/netif\n\
         mount --bind {} /etc/systemd/network\nexec /lib/systemd/systemd-networkd\n",
        folder.display()
    );
    std::fs::write(folder.join("start"), start).unwrap();
    std::fs::set_permissions(folder, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    vm.space.start(&format!("unshare -m sh -e {}/start", folder.display()))
}

#[test]
fn a_network_without_a_way_out_has_no_default_route_and_its_vms_reach_each_other() {
    let mut world = World::new();
    world.add_ipv6();
    world.put(|document| document.public.as_mut().unwrap().ipv6 = None);
    let (vm, other) = (world.vm("web-1", 2), world.vm("web-2", 3));
    [&vm, &other].iter().for_each(|vm| settle(vm));
    has(&dhclient(&vm, 25).unwrap(), &format!("new_ip6_address={}", vm.address6()));
    // Who answers has to know it too.
    for vm in [&vm, &other] {
        wait_for("the prefix", || {
            let routes = vm.space.run("ip -6 route show 2001:db8:64:10::/64");
            if routes.is_empty() { Err(routes) } else { Ok(()) }
        });
    }
    assert_eq!(default_route(&vm), "");
    [&vm, &other].iter().for_each(|vm| vm.add_address6(128));
    every_echo_comes_back(&vm, other.address6());
    assert!(world.document.guests[&NETWORK].prefix6.is_some());
}
