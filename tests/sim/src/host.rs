//! A simulated computing server with the real agent on it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use podzol_agent::Platform;
use podzol_agent::config::{Config, Traffic};
use podzol_agent::mounts::Mounts;
use podzol_hostnet::{Kind, Link, SimulatedLinks};
use podzol_rpc::join::{JoinToken, join};
use podzol_rpc::{Identity, PeerId};
use podzol_test_support::{ControlPlane, Process};
use podzol_vocab::{HostId, InterfaceName, VmId};
use tempfile::TempDir;

use crate::fault::Faults;
use crate::links::FaultyLinks;
use crate::{Exports, SimulatedFilter, SimulatedHypervisor, SimulatedMounts, SimulatedRouter, transit};

/// A simulated computing server, with a bridge on each of its own networks. Its agent can be stopped, killed and started
/// again; its VMs stay.
pub struct SimHost {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its identity.
    pub identity: Identity,
    machine: Arc<Machine>,
    config: Config,
    folder: TempDir,
    agent: Option<Process>,
    /// Takes in domains from other hosts.
    _libvirtd: Process,
}

/// What stays when the agent goes.
struct Machine {
    hypervisor: Arc<SimulatedHypervisor>,
    links: FaultyLinks,
    mounts: SimulatedMounts,
    filter: SimulatedFilter,
}

struct OnMachine(Arc<Machine>);

impl Platform for OnMachine {
    type Hypervisor = SimulatedHypervisor;
    type Links = FaultyLinks;
    type Mounts = SimulatedMounts;
    type Filter = SimulatedFilter;

    fn hypervisor(&self) -> &SimulatedHypervisor {
        &self.0.hypervisor
    }

    fn links(&self) -> &FaultyLinks {
        &self.0.links
    }

    fn mounts(&self) -> &SimulatedMounts {
        &self.0.mounts
    }

    fn filter(&self) -> &SimulatedFilter {
        &self.0.filter
    }

    async fn kvm_problem(&self) -> Option<String> {
        None
    }
}

impl SimHost {
    /// A new host of a pod, joined and with its agent running. `number` makes its address.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn join(
        control_plane: &ControlPlane,
        exports: Exports,
        pod: &str,
        number: u8,
        (name, memory_mib): (&str, u64),
        report_secs: u64,
    ) -> Self {
        let (id, token) = control_plane.admin.host(name, pod).await;
        let token: JoinToken = token.parse().expect("the API gives valid tokens");
        let identity = join(&control_plane.agent_address(), &token).await.expect("the token is good");
        Self::joined(control_plane, (id, identity), exports, number, (name, memory_mib), report_secs)
    }

    /// A host that has joined, with its agent running. `number` makes its address.
    ///
    /// # Panics
    /// When there is no room for its folder.
    pub fn joined(
        control_plane: &ControlPlane,
        (id, identity): (String, Identity),
        exports: Exports,
        number: u8,
        (name, memory_mib): (&str, u64),
        report_secs: u64,
    ) -> Self {
        let address = Ipv4Addr::new(127, 0, 1, number);
        let folder = tempfile::tempdir().expect("a folder can be made");
        let trunk: InterfaceName = "eth1".parse().expect("a short name");
        let links = Arc::new(SimulatedLinks::with_trunk(trunk.clone()));
        links.give_address(&trunk, IpAddr::V4(address), 8);
        let traffic = Traffic {
            management: Some("br-management".parse().expect("a short name")),
            public: Some("br-public".parse().expect("a short name")),
        };
        for (_, bridge) in traffic.bridges() {
            links.add_bridge(bridge.clone());
        }
        let faults = Arc::<Faults>::default();
        let machine = Arc::new(Machine {
            hypervisor: SimulatedHypervisor::new(
                Arc::clone(&links),
                Arc::clone(&faults),
                exports.locks().clone(),
                address.to_string(),
            ),
            mounts: SimulatedMounts::new(address.to_string(), exports, Arc::clone(&faults)),
            filter: SimulatedFilter::new(Arc::clone(&faults)),
            links: FaultyLinks { links, faults },
        });
        let config = Config {
            management: control_plane.agent_address(),
            listen: SocketAddr::new(IpAddr::V4(address), 0),
            address: Some(IpAddr::V4(address)),
            state_dir: folder.path().to_owned(),
            trunk,
            traffic,
            tunnel_address: None,
            allow_emulation: false,
            libvirt_uri: String::new(),
            libvirt_socket: transit::socket(folder.path()),
            emulator: "/nowhere".into(),
            // The agent reads this machine's memory; all but what the simulated host has is kept from it.
            memory_reserved_mib: machine_memory_mib().saturating_sub(memory_mib),
            report_secs,
            log: String::new(),
        };
        let (hypervisor, state_dir) = (Arc::clone(&machine.hypervisor), folder.path().to_owned());
        let libvirtd = Process::start("libvirtd", |_| transit::serve(hypervisor, state_dir));
        let mut host = Self {
            id,
            name: name.into(),
            identity,
            machine,
            config,
            folder,
            agent: None,
            _libvirtd: libvirtd,
        };
        host.start_agent();
        host
    }

    /// Its hypervisor.
    pub fn hypervisor(&self) -> &SimulatedHypervisor {
        &self.machine.hypervisor
    }

    /// The router that a VM on it is, if it is one.
    pub fn router(&self, vm: VmId) -> Option<Arc<SimulatedRouter>> {
        self.machine.hypervisor.router(vm)
    }

    /// Its network links.
    pub fn links(&self) -> &SimulatedLinks {
        &self.machine.links.links
    }

    /// Its address.
    pub fn address(&self) -> IpAddr {
        self.config.listen.ip()
    }

    /// Its identity among Podzol's parts.
    ///
    /// # Panics
    /// Never: its id is one.
    pub fn peer(&self) -> PeerId {
        PeerId::Host(self.id.parse::<HostId>().expect("a host's id is one"))
    }

    /// Starts its agent.
    pub fn start_agent(&mut self) {
        let (config, identity) = (self.config.clone(), self.identity.clone());
        let platform = OnMachine(Arc::clone(&self.machine));
        self.agent =
            Some(Process::start(&self.name, |stop| podzol_agent::serve(config, identity, platform, stop)));
    }

    /// Stops its agent, as a restart of its service does first.
    pub async fn stop_agent(&mut self) {
        if let Some(agent) = self.agent.take() {
            agent.stop().await;
        }
    }

    /// Kills its agent.
    pub fn kill_agent(&mut self) {
        self.agent = None;
    }

    /// Kills its agent, and starts it again.
    pub fn restart_agent(&mut self) {
        self.kill_agent();
        self.start_agent();
    }

    /// Where the file of a VM's config drive is.
    pub fn seed(&self, vm: VmId) -> PathBuf {
        self.folder.path().join("vms").join(vm.to_string()).join("seed.iso")
    }

    /// All that VMs have left on it: domains, links, mounts and files.
    pub fn leftovers(&self) -> Vec<String> {
        let domains = self.machine.hypervisor.domains();
        let domains = domains.iter().map(|domain| format!("domain {}", domain.record.plan.vm));
        let is_operators = |link: &Link| {
            link.kind == Kind::Physical
                || self.config.traffic.bridges().any(|(_, bridge)| *bridge == link.name)
        };
        let links = self.machine.links.links.all().into_iter().filter(|link| !is_operators(link));
        let mounts = self.machine.mounts.mounted().into_iter().map(|(source, _)| format!("mount {source}"));
        let files = std::fs::read_dir(self.folder.path().join("vms")).into_iter().flatten().flatten();
        domains
            .chain(links.map(|link| format!("link {}", link.name)))
            .chain(mounts)
            .chain(self.machine.filter.ports().into_iter().map(|port| format!("rules of {}", port.name)))
            .chain(files.map(|entry| format!("file {}", entry.path().display())))
            .map(|what| format!("{}: {what}", self.name))
            .collect()
    }
}

/// The memory of the machine on which this runs, in MiB (proc_meminfo(5)).
fn machine_memory_mib() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").expect("this is Linux");
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib =
        line.and_then(|rest| rest.split_whitespace().next()).and_then(|number| number.parse::<u64>().ok());
    kib.expect("the kernel tells its memory") / 1024
}
