//! The router and all around it.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use podzol_appliance_api::{
    Delta, Document, DocumentPatch, DocumentPut, EgressPolicy, GuestNetwork, ManagementSide, PORT,
    PublicSide, RouterSeed, RouterStatus, StatusGet, VmFacts, VmNic,
};
use podzol_rpc::{CallError, Identity, PeerId};
use podzol_vocab::{Generation, MacAddr, NetworkId, NicId, VmId};
use tempfile::TempDir;

use crate::body::{self, Body, connect, plug_in, press_power_button, program};
use crate::certificates::Certificates;
use crate::client::Caller;
use crate::machine::{Firmware, Machine};
use crate::namespace::{Namespace, Running};
use crate::wait::wait_for;

/// The network of VMs.
pub const NETWORK: NetworkId = NetworkId::from_bytes([1; 16]);
/// The router's address in it.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 1, 1, 1);
/// The router's first address outside, which VMs' connections come from.
pub const PUBLIC: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
/// Its second.
pub const SECOND_PUBLIC: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 11);
/// Somebody outside.
pub const OUTSIDE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);

const MANAGER: &str = "192.168.99.1";
const CONTROLLED_AT: Ipv4Addr = Ipv4Addr::new(192, 168, 99, 2);

/// All of it.
pub struct World {
    /// The router's namespace, or that of the VM that it is.
    router: Namespace,
    /// Where the management service is.
    pub management: Namespace,
    /// What is outside.
    pub outside: Namespace,
    /// The management service.
    pub manager: Caller,
    /// What should be in force.
    pub document: Document,
    switch: Namespace,
    body: Body,
    /// The MAC addresses of its links, in the order in which it has them.
    macs: [MacAddr; 3],
    seed: PathBuf,
    process: Option<Running>,
    others: Certificates,
    folder: TempDir,
}

/// A VM: a namespace with one interface, `eth0`, without an address.
#[derive(Debug)]
pub struct Vm {
    /// Its namespace.
    pub space: Namespace,
    /// Its interface's id.
    pub nic: NicId,
    /// Its id.
    pub id: VmId,
    /// Its MAC address.
    pub mac: MacAddr,
    /// The address that it should get.
    pub address: Ipv4Addr,
}

impl World {
    /// A router that has been started, with a network of VMs and an outside, but no VM yet.
    pub fn new() -> Self {
        Self::with(Body::chosen())
    }

    /// The same, where a router that is a VM has the memory that routers usually have, and not the least: nft(8) needs tens of
    /// megabytes for thousands of rules at once, and a flood of packets takes its share meanwhile.
    pub fn with_usual_memory() -> Self {
        Self::with(Body::chosen().with_usual_memory())
    }

    /// The same, where the router is a VM of a template with so much memory, whatever the variable says.
    ///
    /// # Panics
    /// When it does not get as far as answering.
    pub fn of_template(template: &Path, memory_mib: u32) -> Self {
        Self::with(Body::Vm { template: template.to_owned(), memory_mib })
    }

    fn with(body: Body) -> Self {
        let [router, management, outside, switch] =
            ["router", "mgmt", "outside", "switch"].map(Namespace::new);
        switch.ip("link add br0 type bridge");
        switch.ip("link set br0 up");
        let macs: [MacAddr; 3] = std::array::from_fn(|number| MacAddr::local([2, 0, 0, 0, 1, number as u8]));
        // Not in the order of their names, so that it is their MAC addresses that they are known by.
        body.connect(&router, 1, macs[1], &management, "eth0");
        body.connect(&router, 2, macs[2], &outside, "eth0");
        body.connect(&router, 3, macs[0], &switch, "router");
        switch.ip("link set router master br0");
        management.ip(&format!("address add {MANAGER}/24 dev eth0"));
        outside.ip(&format!("address add {OUTSIDE}/24 dev eth0"));

        let others = Certificates::new();
        let id = VmId::new();
        let seed = seed(others.of(PeerId::Router(id)), macs[1]);
        let folder = tempfile::tempdir().expect("there is room");
        let path = folder.path().join("seed");
        std::fs::write(&path, body.seed(&seed)).expect("there is room");
        let manager = Caller {
            identity: others.of(PeerId::Management),
            router: id,
            address: format!("{CONTROLLED_AT}:{PORT}"),
        };
        let document = document(macs[0], macs[2]);
        let mut world = Self {
            router,
            management,
            outside,
            manager,
            document,
            switch,
            body,
            macs: [macs[1], macs[2], macs[0]],
            seed: path,
            process: None,
            others,
            folder,
        };
        world.start_router();
        world
    }

    /// Starts the router, anew if it runs.
    pub fn start_router(&mut self) {
        self.process = None;
        self.process = Some(self.body.start(&self.router, &self.seed, &self.macs));
        wait_for("the router to answer", || self.status().map_err(|error| format!("{error:?}")));
    }

    /// Starts the router, which is a process, anew, with the programs of one folder alone.
    ///
    /// # Panics
    /// When it does not answer.
    pub fn start_router_with(&mut self, programs: &Path) {
        self.process = None;
        let (path, program, seed) = (programs.display(), program(), self.seed.display());
        let line = format!("env PATH={path} {} router --seed {seed}", program.display());
        self.process = Some(self.router.start(&line));
        wait_for("the router to answer", || self.status().map_err(|error| format!("{error:?}")));
    }

    /// The namespace in which the router can be changed by hand; none if it is a VM, which has no shell.
    pub fn by_hand(&self) -> Option<&Namespace> {
        matches!(self.body, Body::Process).then_some(&self.router)
    }

    /// The id of the router's process, or of the VM's that it is.
    ///
    /// # Panics
    /// When it does not run.
    pub fn router_pid(&self) -> u32 {
        self.process.as_ref().expect("it runs").pid()
    }

    /// Kills the router as `kill -9` does.
    pub fn kill_router(&mut self) {
        self.process.as_mut().expect("it runs").kill();
    }

    /// Presses the router's power button, if it is a VM: otherwise tells the process to end. Waits until it has, in order.
    ///
    /// # Panics
    /// When it does not, or not in order.
    pub fn stop_router(&mut self) {
        let process = self.process.as_mut().expect("it runs");
        match self.body {
            Body::Process => {
                let pid = Pid::from_raw(process.pid().cast_signed());
                kill(pid, Signal::SIGTERM).expect("it runs");
            }
            Body::Vm { .. } => press_power_button(&self.seed),
        }
        let status = self.end_of_router();
        assert!(status.success(), "{status}");
    }

    /// Takes the router's interface in the network of VMs away and gives it another one with the same MAC address.
    pub fn replug(&self, router: &Namespace) {
        router.ip("link del eth0");
        plug_in(router, "x9", self.macs[2], &self.switch, "router");
        self.switch.ip("link set router master br0");
    }

    /// Does the same with its interface in the management network.
    pub fn replug_management(&self, router: &Namespace) {
        router.ip("link del eth1");
        plug_in(router, "x8", self.macs[0], &self.management, "eth0");
        self.management.ip(&format!("address add {MANAGER}/24 dev eth0"));
    }

    /// Waits until the router has ended by itself, and says how.
    ///
    /// # Panics
    /// When it goes on.
    pub fn end_of_router(&mut self) -> ExitStatus {
        let process = self.process.as_mut().expect("it was started");
        wait_for("the router to end", || process.ended().ok_or_else(|| "it runs".to_owned()))
    }

    /// Gives a router that is a process one more interface, which leads to another namespace, and says its MAC address.
    pub fn plug(&self, number: u8, other: &Namespace, name: &str) -> MacAddr {
        let mac = MacAddr::local([2, 0, 0, 0, 1, number]);
        connect(&self.router, &format!("x{number}"), mac, other, name);
        mac
    }

    /// What the router says of itself.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn status(&self) -> Result<RouterStatus, CallError> {
        self.manager.call::<StatusGet>(&self.management, &())
    }

    /// The id of the router's image, as the manifest beside its template has it; a process has none.
    pub fn image(&self) -> String {
        let Body::Vm { template, .. } = &self.body else { return String::new() };
        let manifest = std::fs::read(template.with_file_name("manifest.json")).expect("a manifest beside it");
        let manifest: serde_json::Value = serde_json::from_slice(&manifest).expect("it is JSON");
        manifest["image"].as_str().expect("a router's image has an id").to_owned()
    }

    /// Somebody else with a certificate of the same authority.
    pub fn somebody(&self, peer: PeerId) -> Caller {
        Caller { identity: self.others.of(peer), ..self.manager.clone() }
    }

    /// Somebody with a certificate of another authority.
    pub fn stranger(&self) -> Caller {
        Caller { identity: Certificates::new().of(PeerId::Management), ..self.manager.clone() }
    }

    /// Changes the document and puts it in force.
    ///
    /// # Panics
    /// When the router does not take it.
    pub fn put(&mut self, change: impl FnOnce(&mut Document)) {
        self.try_put(change).unwrap_or_else(|error| panic!("it does not take the document: {error:?}"));
    }

    /// The same, where it may be refused. The document is then as before.
    ///
    /// # Errors
    /// What the router answers.
    pub fn try_put(&mut self, change: impl FnOnce(&mut Document)) -> Result<(), CallError> {
        let mut document = self.document.clone();
        change(&mut document);
        document.generation = self.document.generation.next();
        self.manager.call::<DocumentPut>(&self.management, &document)?;
        self.document = document;
        Ok(())
    }

    /// The same, by what is different from the document in force.
    ///
    /// # Panics
    /// When the router does not take it.
    pub fn patch(&mut self, change: impl FnOnce(&mut Document)) {
        self.try_patch(change).unwrap_or_else(|error| panic!("it does not take the change: {error:?}"));
    }

    /// The same, where it may be refused. The document is then as before.
    ///
    /// # Errors
    /// What the router answers.
    pub fn try_patch(&mut self, change: impl FnOnce(&mut Document)) -> Result<(), CallError> {
        let mut document = self.document.clone();
        change(&mut document);
        document.generation = self.document.generation.next();
        let delta = Delta::between(&self.document, &document).expect("its side to the outside stays");
        self.manager.call::<DocumentPatch>(&self.management, &delta)?;
        self.document = document;
        Ok(())
    }

    /// A VM on the switch with that name and last octet of its address, known to the router or not.
    pub fn vm(&mut self, name: &str, last: u8) -> Vm {
        let vm = self.stranger_vm(name, last);
        self.introduce(&vm, name);
        vm
    }

    /// Tells the router of a VM that it has not been told of.
    pub fn introduce(&mut self, vm: &Vm, name: &str) {
        let (id, nic, mac, address) = (vm.id, vm.nic, vm.mac, vm.address);
        let address6 = self.document.guests[&NETWORK].prefix6.map(|prefix| prefix.of(mac));
        let facts = VmFacts {
            name: name.parse().expect("a name"),
            ssh_keys: vec![format!("ssh-ed25519 AAAA {name}")],
            user_data: Some(podzol_vocab::Secret::new(format!("#!/bin/sh\necho {name}\n"))),
            password: None,
            zone: "z1".parse().expect("a name"),
            offering: "small".parse().expect("a name"),
        };
        self.put(|document| {
            document.vms.insert(id, facts);
            document
                .nics
                .insert(nic, VmNic { vm: id, network: NETWORK, mac, address, address6, primary: true });
        });
    }

    /// A VM that the router has not been told of.
    pub fn stranger_vm(&self, name: &str, last: u8) -> Vm {
        let space = Namespace::new(name);
        let mac = MacAddr::local([2, 0, 0, 0, 2, last]);
        connect(&space, "eth0", mac, &self.switch, &format!("vm{last}"));
        self.switch.ip(&format!("link set vm{last} master br0"));
        Vm { space, nic: NicId::new(), id: VmId::new(), mac, address: Ipv4Addr::new(10, 1, 1, last) }
    }

    /// A VM that is not on the switch, but on the interface `eth1` of another one.
    pub fn vm_behind(&self, other: &Vm, name: &str, last: u8) -> Vm {
        let space = Namespace::new(name);
        let mac = MacAddr::local([2, 0, 0, 0, 2, last]);
        connect(&space, "eth0", mac, &other.space, "eth1");
        Vm { space, nic: NicId::new(), id: VmId::new(), mac, address: Ipv4Addr::new(10, 1, 1, last) }
    }

    /// Boots a VM of a template in place of a [`Vm`]'s namespace: its interface is a tap there, in a bridge with the cable.
    /// It has no drive but its disk, and is told where its metadata is by its firmware.
    pub fn boot(&self, vm: &Vm, template: &Path, firmware: Firmware) -> Machine {
        Machine::boot(
            &vm.space,
            vm.mac,
            template,
            firmware,
            self.folder.path().join(format!("{}.console", vm.id)),
        )
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

impl Vm {
    /// Sets its address and its route by hand, as a VM without DHCP has it.
    pub fn configure(&self) {
        self.space.ip(&format!("address add {}/24 dev eth0", self.address));
        self.space.ip(&format!("route add default via {GATEWAY}"));
    }

    /// Takes its link down.
    pub fn unplug(&self) {
        self.space.ip("link set eth0 down");
    }

    /// Brings its link up again with the route that went with it, at once: without it the VM answers the router's checks and
    /// nobody else.
    pub fn plug(&self) {
        let line = format!("ip link set eth0 up && ip route add default via {GATEWAY}");
        assert!(self.space.command("sh").args(["-c", &line]).status().is_ok_and(|status| status.success()));
    }
}

/// The drive that tells a router with this MAC address in its management network who it is; of an authority of its own.
pub fn seed_drive(mac: MacAddr) -> Vec<u8> {
    let own = Certificates::new().of(PeerId::Router(VmId::new()));
    let text = serde_json::to_vec(&seed(own, mac)).expect("it is JSON");
    body::seed_drive(&text)
}

fn seed(own: Identity, mac: MacAddr) -> RouterSeed {
    let Identity { ca_pem: ca, certificate_pem: certificate, key_pem: key } = own;
    let management =
        ManagementSide { mac, address: CONTROLLED_AT, prefix_len: 24, mtu: 1500, routes: vec![] };
    RouterSeed { ca, certificate, key, management, console_proxy: None }
}

/// A document with one network and an outside.
fn document(guest: MacAddr, public: MacAddr) -> Document {
    let network = GuestNetwork {
        mac: guest,
        cidr: "10.1.1.0/24".parse().expect("a range"),
        prefix6: None,
        mtu: 1500,
        domain: "net.acme.internal".parse().expect("a domain"),
        lease_secs: 3600,
        source_nat: Some(PUBLIC),
        egress: EgressPolicy::Allow,
    };
    Document {
        generation: Generation(0),
        guests: [(NETWORK, network)].into(),
        public: Some(PublicSide {
            mac: public,
            mtu: 1500,
            addresses: [(PUBLIC, 24), (SECOND_PUBLIC, 24)].into(),
            gateway: OUTSIDE,
            ipv6: None,
        }),
        forwarders: vec![OUTSIDE.into()],
        ..Document::default()
    }
}
