//! Addresses, by Debian's own clients.

use std::io::Write;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::{BindToDevice, Broadcast};
use podzol_netns_tests::{Vm, World, wait_for};
use tempfile::TempDir;

use crate::upkeep::discover;

/// A script that a client calls with what it was told, which writes it into a file.
pub(crate) fn script(folder: &TempDir) -> (PathBuf, PathBuf) {
    script_that(folder, "")
}

/// The same, which then does something of its own, in the words of a shell.
pub(crate) fn script_that(folder: &TempDir, does: &str) -> (PathBuf, PathBuf) {
    let (script, told) = (folder.path().join("script"), folder.path().join("told"));
    let told_to = told.display();
    let text = format!("#!/bin/sh\n{{ echo \"state $1 $reason\"; env; echo end; }} >> {told_to}\n{does}\n");
    let mut file = std::fs::File::create(&script).unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file.set_permissions(std::fs::Permissions::from_mode(0o755)).unwrap();
    (script, told)
}

pub(crate) fn udhcpc(vm: &Vm, more: &str) -> Result<String, String> {
    let folder = tempfile::tempdir().unwrap();
    let (script, told) = script(&folder);
    let line = format!("busybox udhcpc -i eth0 -n -q -f -t 3 -T 1 -s {} {more}", script.display());
    let output = vm.space.output(&line);
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    Ok(std::fs::read_to_string(told).unwrap())
}

pub(crate) fn has(told: &str, line: &str) {
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
fn fifty_vms_that_ask_at_once_have_each_its_own_address_and_name() {
    const VMS: u8 = 50;
    let mut world = World::new();
    let vms: Vec<Vm> = (2..VMS + 2).map(|last| world.vm(&format!("web-{last}"), last)).collect();
    let together = Barrier::new(vms.len());
    let ask = |vm: &Vm| {
        together.wait();
        // As long as it takes on a machine that has so much to do.
        udhcpc(vm, "-t 30").unwrap()
    };
    std::thread::scope(|scope| {
        let asking: Vec<_> = vms.iter().map(|vm| scope.spawn(|| ask(vm))).collect();
        for (vm, told) in vms.iter().zip(asking) {
            let told = told.join().unwrap();
            let [.., last] = vm.address.octets();
            has(&told, &format!("ip=10.1.1.{last}"));
            has(&told, &format!("hostname=web-{last}"));
        }
    });
}

#[test]
fn a_vm_that_floods_harms_only_itself_while_it_does() {
    let mut world = World::new();
    let (loud, other) = (world.vm("loud", 2), world.vm("quiet", 3));
    let mut packet = discover(loud.mac);
    // What it is offered is to go to all (RFC 2131, 2): so it hears that without an address.
    packet[10] = 0x80;
    let (sent, heard, stop) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    let goes_on = |more: u64| {
        let before = sent.load(Ordering::Relaxed);
        wait_for("the flood", || match sent.load(Ordering::Relaxed) - before {
            some if some < more => Err(format!("{some} packets")),
            _ => Ok(()),
        });
    };
    let begun = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| loud.space.inside(|| flood(&packet, [&sent, &heard], &stop)));
        let _stops = Stops(&stop);
        goes_on(2000);
        for _ in 0..3 {
            has(&udhcpc(&other, "-t 30").unwrap(), "ip=10.1.1.3");
            goes_on(1000);
        }
    });
    // A client has ten answers, and two more each second; a network with a single limit for all would give it some hundred.
    let (heard, seconds) = (heard.load(Ordering::Relaxed), begun.elapsed().as_secs());
    assert!((1..=10 + 2 * (seconds + 1)).contains(&heard), "{heard} answers in {seconds} s");
    has(&udhcpc(&loud, "-t 30").unwrap(), "ip=10.1.1.2");
}

/// Has a flood end, also when the test has failed.
struct Stops<'a>(&'a AtomicBool);

impl Drop for Stops<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Sends a packet to all DHCP servers until stopped, at most a thousand times a second: of many more the kernel, which is the
/// same for all here, would lose some, and those of others among them. Counts what is sent, and what is answered.
fn flood(packet: &[u8], [sent, heard]: [&AtomicU64; 2], stop: &AtomicBool) {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 68)).unwrap();
    setsockopt(&socket, BindToDevice, &"eth0".into()).unwrap();
    setsockopt(&socket, Broadcast, &true).unwrap();
    socket.set_nonblocking(true).unwrap();
    while !stop.load(Ordering::Relaxed) {
        let is_sent = socket.send_to(packet, (Ipv4Addr::BROADCAST, 67)).is_ok();
        sent.fetch_add(is_sent.into(), Ordering::Relaxed);
        while socket.recv(&mut [0; 1500]).is_ok() {
            heard.fetch_add(1, Ordering::Relaxed);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}
