//! A hypervisor in memory, with the rules of libvirt that the agent relies on.
//!
//! A domain is defined first and started then: one that could not be started stays behind, defined. Its disks and its
//! seed must be there as files, and its bridges as links, into which its taps are plugged. It runs on, whatever becomes
//! of the agent.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use podzol_agent_api::vm::{Ended, Usage};
use podzol_hostnet::SimulatedLinks;
use podzol_hypervisor::{Change, Devices, Domain, DomainState, Found, Hypervisor, HypervisorError, Record};
use podzol_vocab::{InterfaceName, MacAddr, VmId};
use tokio::sync::Notify;

use crate::fault::{Fault, Faults, Step};

/// A hypervisor in memory.
#[derive(Debug)]
pub struct SimulatedHypervisor {
    links: Arc<SimulatedLinks>,
    faults: Faults,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    domains: BTreeMap<VmId, SimulatedDomain>,
    starts: u64,
    taps: u64,
    guests_are_deaf: bool,
}

/// A domain, as a test sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct SimulatedDomain {
    /// What stands in its metadata.
    pub record: Record,
    /// What it does.
    pub state: DomainState,
    /// Which start of this hypervisor it came from: the same number is the same run of the VM.
    pub run: u64,
    /// How often it was rebooted in this run.
    pub reboots: u32,
    /// Its disks and network interfaces.
    pub devices: Devices,
    /// The tap of each network interface.
    taps: BTreeMap<MacAddr, InterfaceName>,
}

impl SimulatedHypervisor {
    /// A hypervisor without domains, on a host with these links.
    pub(crate) fn new(links: Arc<SimulatedLinks>) -> Self {
        Self { links, faults: Faults::default(), state: Mutex::default(), changed: Notify::new() }
    }

    /// Makes a step go wrong from now on.
    pub fn fault(&self, step: Step, fault: Fault) {
        self.faults.set(step, Some(fault));
    }

    /// Makes a step go well from now on; what hangs in it goes on.
    pub fn heal(&self, step: Step) {
        self.faults.set(step, None);
    }

    /// Has guests pay no heed when they are asked to shut down.
    pub fn deafen_guests(&self) {
        self.state().guests_are_deaf = true;
    }

    /// A VM's domain, if there is one.
    pub fn domain(&self, vm: VmId) -> Option<SimulatedDomain> {
        self.state().domains.get(&vm).cloned()
    }

    /// All domains.
    pub fn domains(&self) -> Vec<SimulatedDomain> {
        self.state().domains.values().cloned().collect()
    }

    /// How many starts of domains there were.
    pub fn starts(&self) -> u64 {
        self.state().starts
    }

    /// A guest shuts itself down.
    pub fn guest_shuts_down(&self, vm: VmId) {
        self.end(vm, Ended::ByItself);
    }

    /// A domain's process is killed.
    pub fn kill_domain(&self, vm: VmId) {
        self.end(vm, Ended::ByForce);
    }

    /// A domain is ended and undefined by somebody else.
    pub fn forget(&self, vm: VmId) {
        self.end(vm, Ended::ByForce);
        self.state().domains.remove(&vm);
    }

    /// The host is started anew: no domain runs any more.
    pub fn host_crashes(&self) {
        let vms: Vec<VmId> = self.state().domains.keys().copied().collect();
        vms.into_iter().for_each(|vm| self.end(vm, Ended::ByForce));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, vm: VmId, how: Ended) {
        let taps = {
            let mut state = self.state();
            let running = state.domains.get_mut(&vm).filter(|domain| domain.state == DomainState::Running);
            let Some(domain) = running else { return };
            domain.state = DomainState::Off(how);
            std::mem::take(&mut domain.taps)
        };
        taps.values().for_each(|tap| self.links.remove(tap));
        self.changed.notify_one();
    }

    fn define(&self, record: Record) {
        let vm = record.plan.vm;
        let off = SimulatedDomain {
            record: record.clone(),
            state: DomainState::Off(Ended::ByForce),
            run: 0,
            reboots: 0,
            devices: Devices::default(),
            taps: BTreeMap::new(),
        };
        self.state().domains.entry(vm).or_insert(off).record = record;
    }

    fn run(&self, domain: &Domain) -> Result<(), String> {
        for file in domain.disks.iter().chain([&domain.seed]) {
            if !file.exists() {
                return Err(format!("Cannot access storage file '{}'", file.display()));
            }
        }
        let mut taps = BTreeMap::new();
        for (nic, bridge) in domain.plan.nics.iter().zip(&domain.bridges) {
            match self.plug(bridge) {
                Ok(tap) => drop(taps.insert(nic.mac, tap)),
                Err(error) => {
                    taps.values().for_each(|tap| self.links.remove(tap));
                    return Err(error);
                }
            }
        }
        let mut state = self.state();
        state.starts += 1;
        let run = state.starts;
        if let Some(there) = state.domains.get_mut(&domain.plan.vm) {
            (there.state, there.run, there.reboots) = (DomainState::Running, run, 0);
            (there.devices, there.taps) = (Devices::of(&domain.plan), taps);
        }
        let text = format!("{} boots for the {run}. time\n", domain.plan.name);
        std::fs::write(&domain.serial_log, text).map_err(|error| error.to_string())
    }

    fn plug(&self, bridge: &InterfaceName) -> Result<InterfaceName, String> {
        let tap = self.new_tap();
        let plugged = self.links.plug(tap.clone(), bridge);
        plugged
            .then_some(tap)
            .ok_or_else(|| format!("Cannot get interface MTU on '{bridge}': No such device"))
    }

    fn change_devices(&self, vm: VmId, change: &Change) -> Result<(), String> {
        let running = |domain: &SimulatedDomain| domain.state == DomainState::Running;
        let there = self.domain(vm).filter(running).ok_or("it does not run")?;
        let mut tap = None;
        match change {
            Change::AttachDisk(_, file) if !file.exists() => {
                return Err(format!("Cannot access storage file '{}'", file.display()));
            }
            Change::AttachNic(nic, bridge) if !there.taps.contains_key(&nic.mac) => {
                tap = Some((nic.mac, self.plug(bridge)?));
            }
            Change::DetachNic(mac) => there.taps.get(mac).into_iter().for_each(|tap| self.links.remove(tap)),
            _ => {}
        }
        if let Some(domain) = self.state().domains.get_mut(&vm) {
            domain.devices.apply(change);
            domain.taps.extend(tap);
            let nics = domain.devices.nics.clone();
            domain.taps.retain(|mac, _| nics.iter().any(|nic| nic.mac == *mac));
        }
        Ok(())
    }

    fn new_tap(&self) -> InterfaceName {
        let mut state = self.state();
        state.taps += 1;
        format!("vnet{}", state.taps).parse().expect("a short name is an interface name")
    }
}

impl Hypervisor for SimulatedHypervisor {
    async fn version(&self) -> Result<String, HypervisorError> {
        Ok("simulated 1.0".into())
    }

    async fn list(&self) -> Result<Vec<Found>, HypervisorError> {
        self.faults.happen(Step::List).await?;
        Ok(self.state().domains.values().map(found).collect())
    }

    async fn find(&self, vm: VmId) -> Result<Option<Found>, HypervisorError> {
        self.faults.happen(Step::List).await?;
        Ok(self.state().domains.get(&vm).map(found))
    }

    async fn usage(&self) -> Result<HashMap<VmId, Usage>, HypervisorError> {
        Ok(HashMap::new())
    }

    async fn start(&self, domain: Domain) -> Result<(), HypervisorError> {
        let vm = domain.plan.vm;
        self.define(Record::of(&domain.plan));
        self.faults.happen(Step::Start).await?;
        if self.domain(vm).is_some_and(|domain| domain.state == DomainState::Running) {
            return Ok(());
        }
        let failed = |reason| HypervisorError::Failed { step: "start the VM", reason };
        self.run(&domain).map_err(failed)?;
        self.changed.notify_one();
        Ok(())
    }

    async fn note(&self, record: Record) -> Result<(), HypervisorError> {
        self.faults.happen(Step::Note).await?;
        if let Some(domain) = self.state().domains.get_mut(&record.plan.vm) {
            domain.record = record;
        }
        Ok(())
    }

    async fn shut_down(&self, vm: VmId) -> Result<(), HypervisorError> {
        self.faults.happen(Step::ShutDown).await?;
        if !self.state().guests_are_deaf {
            self.end(vm, Ended::ByItself);
        }
        Ok(())
    }

    async fn reboot(&self, vm: VmId) -> Result<(), HypervisorError> {
        self.faults.happen(Step::Reboot).await?;
        if let Some(domain) = self.state().domains.get_mut(&vm) {
            domain.reboots += 1;
        }
        Ok(())
    }

    async fn devices(&self, vm: VmId) -> Result<Devices, HypervisorError> {
        self.faults.happen(Step::List).await?;
        Ok(self.domain(vm).map(|domain| domain.devices).unwrap_or_default())
    }

    async fn change(&self, vm: VmId, change: Change) -> Result<(), HypervisorError> {
        self.faults.happen(Step::Change).await?;
        let failed = |reason| HypervisorError::Failed { step: "change the VM's devices", reason };
        self.change_devices(vm, &change).map_err(failed)
    }

    async fn remove(&self, vm: VmId) -> Result<(), HypervisorError> {
        self.faults.happen(Step::Remove).await?;
        self.forget(vm);
        self.changed.notify_one();
        Ok(())
    }

    async fn changed(&self) {
        self.changed.notified().await;
    }
}

fn found(domain: &SimulatedDomain) -> Found {
    Found { vm: domain.record.plan.vm, record: Ok(domain.record.clone()), state: domain.state }
}
