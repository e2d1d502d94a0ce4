//! A router on simulated hosts, and the management service's client.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use podzol_agent_api::report::Accelerator;
use podzol_agent_api::vm::{NicPlan, Seed, VmPlan};
use podzol_appliance_api::{
    Document, DocumentPatch, DocumentPut, EgressPolicy, GuestNetwork, ManagementSide, RouterSeed,
    RouterStatus, StatusGet,
};
use podzol_hostnet::SimulatedLinks;
use podzol_hypervisor::{Domain, DomainState, Hypervisor, HypervisorError, Route};
use podzol_mgmt_app::Authority;
use podzol_rpc::identity::new_key_and_request;
use podzol_rpc::{AddressBook, CallError, Client, Endpoint, Identity, PeerId};
use podzol_test_support::{Process, SOON, wait_for};
use podzol_vocab::{Generation, MacAddr, NetworkId, NicId, Secret, Tag, TrafficType, VmId};
use tempfile::TempDir;

use crate::fault::Faults;
use crate::{Locks, SimulatedHypervisor, SimulatedRouter, transit};

/// A simulated host without an agent.
pub(super) struct Host {
    pub(super) hypervisor: Arc<SimulatedHypervisor>,
    folder: TempDir,
    _libvirtd: Process,
}

/// Two hosts, and a router that does not run yet, with an interface to the management network and one to a network of VMs.
pub(super) struct World {
    pub(super) hosts: [Host; 2],
    pub(super) plan: VmPlan,
    pub(super) client: Client,
    authority: Authority,
    _folder: TempDir,
}

impl Host {
    fn new(locks: &Locks, number: u8) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let links = Arc::new(SimulatedLinks::with_trunk("eth1".parse().unwrap()));
        for bridge in ["br-management", "br-guest"] {
            links.add_bridge(bridge.parse().unwrap());
        }
        let address = format!("127.0.2.{number}");
        let hypervisor = SimulatedHypervisor::new(links, Arc::<Faults>::default(), locks.clone(), address);
        let (to, state_dir) = (Arc::clone(&hypervisor), folder.path().to_owned());
        let libvirtd = Process::start("libvirtd", |_| transit::serve(to, state_dir));
        Self { hypervisor, folder, _libvirtd: libvirtd }
    }

    /// A VM's folder, with its config drive.
    fn files(&self, vm: VmId) -> PathBuf {
        let folder = self.folder.path().join("vms").join(vm.to_string());
        std::fs::create_dir_all(folder.join("move")).unwrap();
        std::fs::write(folder.join("seed.iso"), "").unwrap();
        folder
    }
}

impl World {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::open(folder.path()).unwrap();
        let own = authority.own_identity(&[], &[]).unwrap();
        let client = Client::new(&own, AddressBook::default()).unwrap();
        let vm = VmId::new();
        let Identity { ca_pem, certificate_pem, key_pem } = identity(&authority, PeerId::Router(vm));
        let management = ManagementSide {
            mac: mac(1),
            address: [172, 16, 0, 10].into(),
            prefix_len: 24,
            mtu: 1500,
            routes: vec![],
        };
        let seed = RouterSeed {
            ca: ca_pem,
            certificate: certificate_pem,
            key: key_pem,
            management,
            console_proxy: None,
        };
        let plan = plan(vm, &serde_json::to_string(&seed).unwrap());
        let locks = Locks::default();
        let hosts = [1, 2].map(|number| Host::new(&locks, number));
        Self { hosts, plan, client, authority, _folder: folder }
    }

    /// Has the router run on the first host.
    pub(super) async fn start(&self) {
        let files = self.hosts[0].files(self.plan.vm);
        let domain = Domain {
            plan: self.plan.clone(),
            accelerator: Accelerator::Kvm,
            disks: vec![],
            cdrom: None,
            bridges: ["br-management", "br-guest"].map(|bridge| bridge.parse().unwrap()).into(),
            seed: files.join("seed.iso"),
            serial_log: files.join("serial.log"),
            serial_socket: files.join("serial.sock"),
        };
        self.hosts[0].hypervisor.start(domain).await.unwrap();
    }

    /// As [`World::start`], and waits until it answers.
    pub(super) async fn up(&self) -> Arc<SimulatedRouter> {
        self.start().await;
        self.answers().await;
        self.hosts[0].hypervisor.router(self.plan.vm).unwrap()
    }

    /// Moves the router from the first host to the second.
    pub(super) async fn moves(&self) -> Result<(), HypervisorError> {
        let [from, to] = &self.hosts;
        let control = transit::socket(to.folder.path());
        wait_for("the other hypervisor", SOON, async || {
            control.exists().then_some(()).ok_or_else(|| "does not listen".to_owned())
        })
        .await;
        let data = to.files(self.plan.vm).join("move/data.sock");
        from.hypervisor.migrate(self.plan.vm, Route { control, data }).await
    }

    /// Waits until the router stands still on its way to the second host.
    pub(super) async fn passes(&self) {
        let state = || self.hosts[0].hypervisor.domain(self.plan.vm).map(|domain| domain.state);
        wait_for("the router to stand still", SOON, async || match state() {
            Some(DomainState::Passing) => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
    }

    /// A client that shows another identity.
    pub(super) fn client_of(&self, peer: PeerId) -> Client {
        Client::new(&identity(&self.authority, peer), AddressBook::default()).unwrap()
    }

    pub(super) async fn call<E: Endpoint<Path = ()>>(
        &self,
        request: &E::Request,
        deadline: Duration,
    ) -> Result<E::Answer, CallError> {
        self.client.call::<E>(PeerId::Router(self.plan.vm), &(), request, deadline).await
    }

    pub(super) async fn put(&self, document: &Document) -> Result<(), CallError> {
        self.call::<DocumentPut>(document, SOON).await
    }

    pub(super) async fn patch(&self, from: &Document, to: &Document) -> Result<(), CallError> {
        let delta = podzol_appliance_api::Delta::between(from, to).unwrap();
        self.call::<DocumentPatch>(&delta, SOON).await
    }

    pub(super) async fn status(&self) -> Result<RouterStatus, CallError> {
        self.call::<StatusGet>(&(), SOON).await
    }

    /// The status, as soon as there is one.
    pub(super) async fn answers(&self) -> RouterStatus {
        wait_for("the router to answer", SOON, async || {
            self.status().await.map_err(|error| format!("{error:?}"))
        })
        .await
    }

    /// That no call gets an answer, as of a dead router.
    pub(super) async fn is_silent(&self) {
        let answer = self.status().await;
        assert!(
            matches!(&answer, Err(CallError::NoAnswer { source, .. }) if !source.is_timeout()),
            "{answer:?}"
        );
    }
}

pub(super) fn mac(last: u8) -> MacAddr {
    MacAddr::local([2, 0, 0, 0, 0, last])
}

/// The router's network of VMs.
pub(super) fn network() -> NetworkId {
    NetworkId::from_bytes([4; 16])
}

/// A document of this generation, with the router's network of VMs.
pub(super) fn document(generation: u64) -> Document {
    let guest = GuestNetwork {
        mac: mac(2),
        cidr: "10.1.1.0/24".parse().unwrap(),
        prefix6: None,
        mtu: 1500,
        domain: "net-1.example.internal".parse().unwrap(),
        lease_secs: 3600,
        source_nat: None,
        egress: EgressPolicy::Allow,
    };
    Document {
        generation: Generation(generation),
        guests: [(network(), guest)].into(),
        ..Document::default()
    }
}

/// An interface as a host gets it described, of the MAC address [`mac`] with this number.
pub(super) fn nic(number: u8, tag: Tag) -> NicPlan {
    NicPlan {
        nic: NicId::new(),
        network: network(),
        tag,
        mac: mac(number),
        address: [172, 16, 0, 10].into(),
        address6: None,
        rate_mbps: None,
        may_route: true,
    }
}

fn plan(vm: VmId, user_data: &str) -> VmPlan {
    VmPlan {
        vm,
        generation: Generation(1),
        name: "r-1".parse().unwrap(),
        vcpus: 1,
        cpu_share: 100,
        memory_mib: 128,
        disks: vec![],
        nics: vec![nic(1, Tag::Traffic(TrafficType::Management)), nic(2, Tag::try_from(100).unwrap())],
        seed: Seed {
            meta_data: String::new(),
            user_data: Secret::new(user_data.to_owned()),
            network_config: String::new(),
        },
        reboots: 0,
        paused: false,
        cdrom: None,
    }
}

fn identity(authority: &Authority, peer: PeerId) -> Identity {
    let (key_pem, request) = new_key_and_request().unwrap();
    let (certificate_pem, _) = authority.sign(peer, &request).unwrap();
    Identity { ca_pem: authority.ca_pem().to_owned(), certificate_pem, key_pem }
}
