//! Addresses, by Debian's own clients.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use podzol_netns_tests::{GATEWAY, Vm, World};
use tempfile::TempDir;

/// A script that a client calls with what it was told, which writes it into a file.
fn script(folder: &TempDir) -> (PathBuf, PathBuf) {
    let (script, told) = (folder.path().join("script"), folder.path().join("told"));
    let text = format!("#!/bin/sh\n{{ echo \"state $1 $reason\"; env; }} >> {}\n", told.display());
    let mut file = std::fs::File::create(&script).unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file.set_permissions(std::fs::Permissions::from_mode(0o755)).unwrap();
    (script, told)
}

fn udhcpc(vm: &Vm, more: &str) -> Result<String, String> {
    let folder = tempfile::tempdir().unwrap();
    let (script, told) = script(&folder);
    let line = format!("busybox udhcpc -i eth0 -n -q -f -t 3 -T 1 -s {} {more}", script.display());
    let output = vm.space.output(&line);
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    Ok(std::fs::read_to_string(told).unwrap())
}

fn has(told: &str, line: &str) {
    assert!(told.lines().any(|one| one == line), "no `{line}` in {told}");
}

#[test]
fn udhcpc_gets_the_vms_address_gateway_names_and_mtu() {
    let mut world = World::new();
    let vm = world.vm("web-1", 2);
    let told = udhcpc(&vm, "-O search -O mtu -O staticroutes").unwrap();
    for line in [
        "ip=10.1.1.2",
        "mask=24",
        "router=10.1.1.1",
        "dns=10.1.1.1",
        "domain=net.acme.internal",
        "hostname=web-1",
        "mtu=1500",
        "lease=3600",
        "serverid=10.1.1.1",
    ] {
        has(&told, line);
    }
    // The same again, and the same for a router in its place.
    has(&udhcpc(&vm, "").unwrap(), "ip=10.1.1.2");
    world.start_router();
    let document = world.document.clone();
    world.manager.call::<podzol_appliance_api::DocumentPut>(&world.management, &document).unwrap();
    has(&udhcpc(&vm, "-r 10.1.1.9").unwrap(), "ip=10.1.1.2");
}

#[test]
fn dhclient_gets_it_too_and_a_stranger_gets_nothing() {
    let mut world = World::new();
    let (vm, stranger) = (world.vm("web-1", 2), world.stranger_vm("stranger", 3));
    let folder = tempfile::tempdir().unwrap();
    let (script, told) = script(&folder);
    let (lease, pid) = (folder.path().join("lease"), folder.path().join("pid"));
    let dhclient = |path: &Path| path.display().to_string();
    vm.space.run(&format!(
        "dhclient -1 -sf {} -lf {} -pf {} eth0",
        dhclient(&script),
        dhclient(&lease),
        dhclient(&pid)
    ));
    let told = std::fs::read_to_string(told).unwrap();
    for line in ["new_ip_address=10.1.1.2", "new_routers=10.1.1.1", "new_host_name=web-1", "reason=BOUND"] {
        has(&told, line);
    }
    assert!(udhcpc(&stranger, "").is_err());
}

#[test]
fn a_vm_that_floods_harms_only_itself() {
    let mut world = World::new();
    let (loud, other) = (world.vm("loud", 2), world.vm("quiet", 3));
    let mut packet = vec![0; 240];
    packet[..3].copy_from_slice(&[1, 1, 6]);
    packet[28..34].copy_from_slice(&loud.mac.octets());
    packet[236..240].copy_from_slice(&[99, 130, 83, 99]);
    packet.extend([53, 1, 1, 255]);
    loud.space.ip("address add 10.1.1.2/24 dev eth0");
    loud.space.inside(|| {
        let socket = std::net::UdpSocket::bind("0.0.0.0:68").unwrap();
        socket.set_broadcast(true).unwrap();
        for _ in 0..20_000 {
            let _ = socket.send_to(&packet, "255.255.255.255:67");
        }
    });
    has(&udhcpc(&other, "").unwrap(), "ip=10.1.1.3");
    assert_eq!(GATEWAY.to_string(), "10.1.1.1");
}
