//! What Debian's clients say once they have an address: that they go on with it, that they need it no more, that somebody
//! else has it, and what they ask without one of the router's; and clients that are behind a relay.

use std::net::{Ipv4Addr, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use podzol_appliance_api::{GuestNetwork, LogsGet};
use podzol_netns_tests::{GATEWAY, NETWORK, Namespace, Running, Vm, World, wait_for};
use podzol_vocab::NetworkId;
use tempfile::TempDir;

use crate::dhcp::{has, script_that, udhcpc};
use crate::upkeep::discover;

/// How soon a client heeds a signal, or does not.
const HEEDED: Duration = Duration::from_secs(5);

/// What goes on with what it was told, which it writes down.
struct Client {
    process: Running,
    told: PathBuf,
    _folder: TempDir,
}

impl Client {
    /// Begins. It sets its address as its own script would: requests to go on come from there.
    fn start(vm: &Vm, line: impl FnOnce(&Path, &Path) -> String) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let set = "[ -z \"$ip$new_ip_address\" ] || \
            ip address replace ${ip:-$new_ip_address}/${mask:-24} dev eth0";
        let (script, told) = script_that(&folder, set);
        let process = vm.space.start(&line(&script, folder.path()));
        Self { process, told, _folder: folder }
    }

    fn udhcpc(vm: &Vm, more: &str) -> Self {
        Self::start(vm, |script, _| {
            format!("busybox udhcpc -i eth0 -f -t 30 -T 1 {more} -s {}", script.display())
        })
    }

    /// `dhcpcd` with its files in a folder of its own.
    fn dhcpcd(vm: &Vm, more: &str) -> Self {
        Self::start(vm, |script, folder| {
            let text = format!(
                "#!/bin/sh -e\nmkdir -p /run/dhcpcd {folder}/run {folder}/lib\nchown dhcpcd {folder}/run\n\
                 mount --bind {folder}/run /run/dhcpcd\nmount --bind {folder}/lib /var/lib/dhcpcd\n\
                 exec dhcpcd -B -4 -A --nodev --config /dev/null --script {script} -o host_name \
                 -o domain_name_servers {more} eth0\n",
                folder = folder.display(),
                script = script.display(),
            );
            std::fs::write(folder.join("start"), text).unwrap();
            format!("unshare -m sh -e {}/start", folder.display())
        })
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.process.pid().cast_signed()), signal).unwrap();
    }

    /// Signals until the probe finds what comes of it: `dhcpcd` loses signals that come while it waits for its own helper, which
    /// runs its script.
    fn signal_until<T>(&self, signal: Signal, what: &str, mut probe: impl FnMut() -> Result<T, String>) -> T {
        let mut sent: Option<Instant> = None;
        wait_for(what, || {
            if sent.is_none_or(|sent| sent.elapsed() > HEEDED) {
                self.signal(signal);
                sent = Some(Instant::now());
            }
            probe()
        })
    }

    /// Waits until it has been told this state, and gives all that it has been told from there on. The next time, only what
    /// comes after that counts.
    fn told(&self, state: &str) -> String {
        wait_for(state, || self.is_told(state))
    }

    fn is_told(&self, state: &str) -> Result<String, String> {
        let text = std::fs::read_to_string(&self.told).unwrap_or_default();
        let begins = text.find(&format!("state {state}\n"));
        let told = begins.map(|begins| text[begins..].to_owned());
        let told = told.filter(|told| told.contains("\nend\n")).ok_or(text)?;
        std::fs::write(&self.told, "").unwrap();
        Ok(told)
    }
}

/// Waits until the router has logged that a client says something of an address.
fn says(world: &World, kind: &str, vm: &Vm) {
    wait_for(kind, || is_said(world, kind, vm));
}

fn is_said(world: &World, kind: &str, vm: &Vm) -> Result<(), String> {
    let logs = world.manager.call::<LogsGet>(&world.management, &()).unwrap();
    let line = format!("kind={kind} mac={} address={} link=eth0", vm.mac, vm.address);
    let is_there = logs.lines.iter().any(|one| one.text.contains(&line));
    if is_there { Ok(()) } else { Err(format!("{logs:?}")) }
}

#[test]
fn udhcpc_renews_its_lease_and_gives_it_back() {
    let mut world = World::new();
    let vm = world.vm("web-1", 2);
    let client = Client::udhcpc(&vm, "");
    has(&client.told("bound "), "ip=10.1.1.2");
    // Half of the lease has not passed: it is by a packet to the router alone that it asks, and not to all.
    for _ in 0..2 {
        client.signal(Signal::SIGUSR1);
        let told = client.told("renew ");
        has(&told, "ip=10.1.1.2");
        has(&told, "lease=3600");
    }
    client.signal(Signal::SIGUSR2);
    client.told("deconfig ");
    says(&world, "Released", &vm);
    // It is still its own.
    client.signal(Signal::SIGUSR1);
    has(&client.told("bound "), "ip=10.1.1.2");
}

#[test]
fn dhclient_gives_its_lease_back() {
    let mut world = World::new();
    let vm = world.vm("web-1", 2);
    let folder = tempfile::tempdir().unwrap();
    let set = "[ -z \"$new_ip_address\" ] || ip address replace $new_ip_address/24 dev eth0";
    let (script, told) = script_that(&folder, set);
    let dhclient = |more: &str| {
        let (script, folder) = (script.display(), folder.path().display());
        vm.space.run(&format!("dhclient {more} -sf {script} -lf {folder}/lease -pf {folder}/pid eth0"));
        std::fs::read_to_string(&told).unwrap()
    };
    has(&dhclient("-1"), "reason=BOUND");
    has(&dhclient("-r"), "reason=RELEASE");
    says(&world, "Released", &vm);
}

#[test]
fn dhcpcd_renews_rebinds_and_gives_its_lease_back() {
    let mut world = World::new();
    let vm = world.vm("web-1", 2);
    let client = Client::dhcpcd(&vm, "");
    let told = client.told(" BOUND");
    for line in ["new_ip_address=10.1.1.2", "new_host_name=web-1", "new_domain_name_servers=10.1.1.1"] {
        has(&told, line);
    }
    // To the router alone, and to all.
    for signal in [Signal::SIGUSR1, Signal::SIGHUP] {
        let told = client.signal_until(signal, "RENEW", || client.is_told(" RENEW"));
        has(&told, "new_ip_address=10.1.1.2");
    }
    client.signal_until(Signal::SIGALRM, "Released", || is_said(&world, "Released", &vm));
}

#[test]
fn a_vm_with_an_address_that_it_has_set_itself_is_told_all_else_for_the_asking() {
    let mut world = World::new();
    let vm = world.vm("web-1", 2);
    vm.configure();
    let client = Client::dhcpcd(&vm, "--inform 10.1.1.2/24");
    let told = client.told(" INFORM");
    has(&told, "new_domain_name_servers=10.1.1.1");
    has(&told, "new_host_name=web-1");
    assert!(!told.contains("dhcp_lease_time"), "{told}");
}

#[test]
fn udhcpc_says_that_somebody_else_has_its_address_and_has_it_once_it_is_free() {
    let mut world = World::new();
    let (vm, other) = (world.vm("web-1", 2), world.stranger_vm("squatter", 3));
    other.space.ip("address add 10.1.1.2/24 dev eth0");
    let client = Client::udhcpc(&vm, "-a2000 -A 1");
    says(&world, "Declined", &vm);
    other.space.ip("address flush dev eth0");
    has(&client.told("bound "), "ip=10.1.1.2");
}

/// A relay of Debian's between its `eth1`, where clients are, and the router.
fn relay(vm: &Vm, address: &str, more: &str) -> Running {
    vm.configure();
    vm.space.ip(&format!("address add {address} dev eth1"));
    let relay = vm.space.start(&format!("dhcrelay -4 -d -q --no-pid {more} -iu eth0 -id eth1 {GATEWAY}"));
    wait_for("the relay", || {
        let sockets = vm.space.run("ss -Hlnu sport = :67");
        if sockets.is_empty() { Err(sockets) } else { Ok(()) }
    });
    relay
}

#[test]
fn a_client_behind_a_relay_in_its_network_has_its_address() {
    let mut world = World::new();
    let between = world.vm("relay", 5);
    let client = world.vm_behind(&between, "web-1", 7);
    let _relay = relay(&between, "10.1.1.6/32", "");
    assert!(udhcpc(&client, "").is_err(), "nobody knows it");
    world.introduce(&client, "web-1");
    let told = udhcpc(&client, "-t 30").unwrap();
    has(&told, "ip=10.1.1.7");
    has(&told, "hostname=web-1");
    has(&told, "router=10.1.1.1");
}

#[test]
fn a_client_of_another_network_behind_a_relay_has_its_address_of_that_network() {
    const OTHER: NetworkId = NetworkId::from_bytes([2; 16]);
    let mut world = World::new();
    let between = world.vm("relay", 5);
    let client = world.vm_behind(&between, "db-1", 9);
    let elsewhere = Namespace::new("elsewhere");
    // A VM has the interfaces that it was started with.
    if world.by_hand().is_none() {
        return;
    }
    let mac = world.plug(4, &elsewhere, "eth0");
    world.introduce(&client, "db-1");
    let nic = client.nic;
    world.put(|document| {
        let cidr = "10.2.0.0/24".parse().unwrap();
        let domain = "other.acme.internal".parse().unwrap();
        let network = GuestNetwork { mac, cidr, domain, ..document.guests[&NETWORK].clone() };
        document.guests.insert(OTHER, network);
        let nic = document.nics.get_mut(&nic).unwrap();
        (nic.network, nic.address) = (OTHER, [10, 2, 0, 9].into());
    });
    // With what a relay adds of the circuit and takes away again.
    let relay = relay(&between, "10.2.0.3/24", "-a");
    let told = udhcpc(&client, "-t 30").unwrap();
    has(&told, "ip=10.2.0.9");
    has(&told, "router=10.2.0.1");

    // Other relays send from the address that they say to answer to, where that one sends from the nearer of the two.
    drop(relay);
    let own = Ipv4Addr::new(10, 2, 0, 3);
    let socket = between.space.inside(|| UdpSocket::bind((own, 67)).unwrap());
    socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut packet = discover(client.mac);
    packet[24..28].copy_from_slice(&own.octets());
    socket.send_to(&packet, (GATEWAY, 67)).unwrap();
    let mut answer = [0; 1500];
    let (length, from) = socket.recv_from(&mut answer).unwrap();
    assert_eq!((&answer[16..20], length >= 300), (&[10, 2, 0, 9][..], true));
    assert_eq!(from, (GATEWAY, 67).into());
}
