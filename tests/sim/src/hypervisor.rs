//! A hypervisor in memory, with the rules of libvirt that the agent relies on.
//!
//! A domain is defined first and started then: one that could not be started stays behind, defined. Its disks and its
//! seed must be there as files, and its bridges as links, into which its taps are plugged. It runs on, whatever becomes
//! of the agent. It moves to another host's hypervisor over the sockets that it is given: see [`crate::transit`].

mod arrival;
mod departure;
mod routers;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use podzol_agent_api::vm::{Ended, Moved, Usage};
use podzol_hostnet::SimulatedLinks;
use podzol_hypervisor::{
    Cd, Change, Devices, DiskDevice, Domain, DomainState, Found, Hypervisor, HypervisorError, Record, Route,
    port_name,
};
use podzol_vocab::{InterfaceName, MacAddr, VmId, VolumeId};
use tokio::runtime::Handle;
use tokio::sync::Notify;

use crate::fault::{Fault, Faults, Step, name};
use crate::{Locks, SimulatedRouter};

/// A hypervisor in memory.
#[derive(Debug)]
pub struct SimulatedHypervisor {
    me: Weak<Self>,
    /// What goes on in it whatever becomes of the agent.
    own_tasks: OnceLock<Handle>,
    links: Arc<SimulatedLinks>,
    locks: Locks,
    /// Its host's address.
    host: String,
    faults: Arc<Faults>,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    domains: BTreeMap<VmId, SimulatedDomain>,
    starts: u64,
    guests_are_deaf: bool,
    /// Domains that are on their way to another host.
    leaving: HashSet<VmId>,
    /// Those of them that were called back.
    called_back: HashSet<VmId>,
    /// Domains that were sent to another host, of which nothing was heard any more: they stand still here.
    sent: HashSet<VmId>,
    went_back: Vec<String>,
    /// How long routers take to boot, if a test has said so.
    router_boot: Option<Duration>,
    /// Where the displays of domains are, if a test has said so.
    displays: HashMap<VmId, PathBuf>,
}

impl State {
    /// Writes down what a domain should be, if it is there.
    fn note(&mut self, record: Record) {
        let vm = record.plan.vm;
        let Some(domain) = self.domains.get_mut(&vm) else { return };
        let (before, after) = (domain.record.plan.generation, record.plan.generation);
        if after < before {
            self.went_back.push(format!("VM {vm} from generation {before} to {after}"));
        }
        domain.record = record;
    }
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
    /// The files of its disks.
    pub(crate) disks: Vec<PathBuf>,
    /// The bridge of each network interface.
    pub(crate) bridges: BTreeMap<MacAddr, InterfaceName>,
    /// The tap of each network interface.
    taps: BTreeMap<MacAddr, InterfaceName>,
    has_drive: bool,
    /// The router that it is, if it is one.
    router: Option<Arc<SimulatedRouter>>,
    /// The number under which it comes, or came, from another host.
    journey: Option<u64>,
    /// Whether it has yet to be let go here: it is defined here only then.
    is_new: bool,
}

impl SimulatedDomain {
    /// Whether it has a process.
    pub(crate) fn is_active(&self) -> bool {
        !matches!(self.state, DomainState::Off(_))
    }

    /// Whether its guest runs.
    pub fn runs(&self) -> bool {
        self.state == DomainState::Running
    }
}

impl SimulatedHypervisor {
    /// A hypervisor without domains, on a host with these links.
    pub(crate) fn new(
        links: Arc<SimulatedLinks>,
        faults: Arc<Faults>,
        locks: Locks,
        host: String,
    ) -> Arc<Self> {
        podzol_rpc::elsewhere::simulate();
        Arc::new_cyclic(|me| Self {
            me: me.clone(),
            own_tasks: OnceLock::new(),
            links,
            locks,
            host,
            faults,
            state: Mutex::default(),
            changed: Notify::new(),
        })
    }

    /// Has what goes on in it go on here from now on.
    pub(crate) fn runs_on(&self, tasks: Handle) {
        let _ = self.own_tasks.set(tasks);
    }

    /// Makes a step go wrong from now on, of the rest of the host too.
    pub fn fault(&self, step: Step, fault: Fault) {
        self.faults.fault(step, fault);
    }

    /// Makes a step go well from now on; what hangs in it goes on.
    pub fn heal(&self, step: Step) {
        self.faults.heal(step);
    }

    /// The steps that it was asked to take since this was last asked.
    pub fn taken(&self) -> HashSet<Step> {
        self.faults.taken()
    }

    /// Has a domain's display be an RFB server of the test's, on a UNIX socket.
    pub fn show(&self, vm: VmId, socket: PathBuf) {
        self.state().displays.insert(vm, socket);
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

    /// A domain has no CD drive any more, as if it had been started before VMs had one.
    pub fn take_drive(&self, vm: VmId) {
        if let Some(domain) = self.state().domains.get_mut(&vm) {
            domain.has_drive = false;
        }
    }

    /// The host is started anew: no domain runs any more.
    pub fn host_crashes(&self) {
        let vms: Vec<VmId> = self.state().domains.keys().copied().collect();
        vms.into_iter().for_each(|vm| self.end(vm, Ended::ByForce));
    }

    /// Whether a domain that is on its way should stay.
    pub fn is_called_back(&self, vm: VmId) -> bool {
        self.state().called_back.contains(&vm)
    }

    /// Lets the fault of a step of a move happen.
    pub(crate) async fn takes(&self, step: Step) -> Result<(), String> {
        self.faults.happen(step).await.map_err(|error| error.to_string())
    }

    /// Takes a step, which may fail before and be unheard of after.
    async fn take(
        &self,
        step: Step,
        does: impl FnOnce() -> Result<(), String> + Send,
    ) -> Result<(), HypervisorError> {
        self.faults.happen(step).await?;
        does().map_err(|reason| HypervisorError::Failed { step: name(step), reason })?;
        self.faults.heard(step)
    }

    /// Each time that a domain was given an older description than it had. Nothing that works as it should ever does.
    pub fn went_back(&self) -> Vec<String> {
        self.state().went_back.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, vm: VmId, how: Ended) {
        let (taps, router) = {
            let mut state = self.state();
            let Some(domain) = state.domains.get_mut(&vm).filter(|domain| domain.is_active()) else { return };
            domain.state = DomainState::Off(how);
            let (taps, is_new) = (std::mem::take(&mut domain.taps), domain.is_new);
            let router = domain.router.take();
            state.sent.remove(&vm);
            if is_new {
                state.domains.remove(&vm);
            }
            (taps, router)
        };
        drop(router.and_then(|router| router.stand_still(&self.host)));
        self.locks.keep(&[], &self.host, vm);
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
            disks: vec![],
            bridges: BTreeMap::new(),
            taps: BTreeMap::new(),
            has_drive: false,
            router: None,
            journey: None,
            is_new: false,
        };
        let mut state = self.state();
        state.domains.entry(vm).or_insert(off);
        state.note(record);
    }

    fn run(&self, domain: &Domain) -> Result<(), String> {
        all_exist(domain.disks.iter().chain([&domain.seed]).chain(&domain.cdrom))?;
        let macs = domain.plan.nics.iter().map(|nic| nic.mac);
        let bridges: BTreeMap<_, _> = macs.zip(domain.bridges.iter().cloned()).collect();
        self.locks.take(&domain.disks, &self.host, domain.plan.vm)?;
        let taps =
            self.plug_all(&bridges).inspect_err(|_| self.locks.keep(&[], &self.host, domain.plan.vm))?;
        let mut state = self.state();
        state.starts += 1;
        let run = state.starts;
        if let Some(there) = state.domains.get_mut(&domain.plan.vm) {
            (there.state, there.run, there.reboots) = (DomainState::Running, run, 0);
            let cd = domain.cdrom.clone().map(|file| Cd { file });
            (there.devices, there.taps) = (Devices { cd, ..Devices::of(&domain.plan) }, taps);
            there.has_drive = true;
            there.router = SimulatedRouter::of(&domain.plan, &domain.disks);
            (there.disks, there.bridges) = (domain.disks.clone(), bridges);
        }
        drop(state);
        self.attend(domain.plan.vm);
        let text = format!("{} boots for the {run}. time\n", domain.plan.name);
        std::fs::write(&domain.serial_log, text).map_err(|error| error.to_string())
    }

    fn plug_all(
        &self,
        bridges: &BTreeMap<MacAddr, InterfaceName>,
    ) -> Result<BTreeMap<MacAddr, InterfaceName>, String> {
        let mut taps = BTreeMap::new();
        for (mac, bridge) in bridges {
            match self.plug(*mac, bridge) {
                Ok(tap) => drop(taps.insert(*mac, tap)),
                Err(error) => {
                    taps.values().for_each(|tap| self.links.remove(tap));
                    return Err(error);
                }
            }
        }
        Ok(taps)
    }

    /// What a domain does on its way or after it, and whether it is still there to do so: it may have ended.
    pub(crate) fn settle(&self, vm: VmId, state: DomainState) -> bool {
        let active = |domain: &&mut SimulatedDomain| domain.is_active();
        let is_there =
            self.state().domains.get_mut(&vm).filter(active).map(|domain| domain.state = state).is_some();
        if !is_there {
            // It may have been given its disks since it ended.
            self.locks.keep(&[], &self.host, vm);
        }
        self.attend(vm);
        self.changed.notify_one();
        is_there
    }

    fn plug(&self, mac: MacAddr, bridge: &InterfaceName) -> Result<InterfaceName, String> {
        let tap = port_name(mac);
        if self.links.get(&tap).is_some() {
            return Err(format!("Unable to create tap device {tap}: Device or resource busy"));
        }
        let plugged = self.links.plug(tap.clone(), bridge);
        plugged
            .then_some(tap)
            .ok_or_else(|| format!("Cannot get interface MTU on '{bridge}': No such device"))
    }

    fn change_devices(&self, vm: VmId, change: &Change) -> Result<(), String> {
        let running =
            |domain: &SimulatedDomain| matches!(domain.state, DomainState::Running | DomainState::Paused);
        let there = self.domain(vm).filter(running).ok_or("it does not run")?;
        let mut tap = None;
        match change {
            Change::InsertCd(_) if !there.has_drive => return Err("it has no CD drive".into()),
            Change::AttachDisk(_, file) | Change::InsertCd(file) if !file.exists() => {
                return Err(format!("Cannot access storage file '{}'", file.display()));
            }
            Change::AttachDisk(_, file) => self.locks.take(std::slice::from_ref(file), &self.host, vm)?,
            Change::AttachNic(nic, bridge) if !there.taps.contains_key(&nic.mac) => {
                tap = Some((nic.mac, self.plug(nic.mac, bridge)?));
            }
            Change::DetachNic(mac) => there.taps.get(mac).into_iter().for_each(|tap| self.links.remove(tap)),
            _ => {}
        }
        if let Some(domain) = self.state().domains.get_mut(&vm) {
            domain.devices.apply(change);
            domain.taps.extend(tap);
            match change {
                Change::AttachDisk(_, file) => domain.disks.push(file.clone()),
                Change::AttachNic(nic, bridge) => drop(domain.bridges.insert(nic.mac, bridge.clone())),
                _ => {}
            }
            let nics = domain.devices.nics.clone();
            let has = |mac: &MacAddr| nics.iter().any(|nic| nic.mac == *mac);
            domain.taps.retain(|mac, _| has(mac));
            domain.bridges.retain(|mac, _| has(mac));
            let disks = &domain.devices.disks;
            let is_of =
                |file: &PathBuf, disk: &DiskDevice| volume_in(file).is_some_and(|volume| disk.is_of(volume));
            domain.disks.retain(|file| disks.iter().any(|disk| is_of(file, disk)));
            self.locks.keep(&domain.disks, &self.host, vm);
        }
        self.attend(vm);
        Ok(())
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
        let start = || {
            if self.domain(vm).is_some_and(|domain| domain.state == DomainState::Running) {
                return Ok(());
            }
            self.run(&domain)?;
            self.changed.notify_one();
            Ok(())
        };
        self.take(Step::Start, start).await
    }

    async fn note(&self, record: Record) -> Result<(), HypervisorError> {
        self.faults.happen(Step::Note).await?;
        self.state().note(record);
        self.faults.happen(Step::Noted).await
    }

    async fn shut_down(&self, vm: VmId) -> Result<(), HypervisorError> {
        let shut_down = || {
            if !self.state().guests_are_deaf {
                self.end(vm, Ended::ByItself);
            }
            Ok(())
        };
        self.take(Step::ShutDown, shut_down).await
    }

    async fn reboot(&self, vm: VmId) -> Result<(), HypervisorError> {
        let reboot = || {
            self.reset(vm);
            Ok(())
        };
        self.take(Step::Reboot, reboot).await
    }

    async fn devices(&self, vm: VmId, sized: Vec<VolumeId>) -> Result<Devices, HypervisorError> {
        self.faults.happen(Step::List).await?;
        let mut devices = self.domain(vm).map(|domain| domain.devices).unwrap_or_default();
        for disk in &mut devices.disks {
            disk.size = disk.size.filter(|_| sized.iter().any(|volume| disk.is_of(*volume)));
        }
        Ok(devices)
    }

    async fn change(&self, vm: VmId, change: Change) -> Result<(), HypervisorError> {
        self.take(Step::Change, || self.change_devices(vm, &change)).await
    }

    async fn display(&self, vm: VmId) -> Result<Option<PathBuf>, HypervisorError> {
        let runs = self.domain(vm).is_some_and(|domain| domain.state == DomainState::Running);
        Ok(self.state().displays.get(&vm).filter(|_| runs).cloned())
    }

    async fn pause(&self, vm: VmId) -> Result<(), HypervisorError> {
        let pause = || {
            if self.domain(vm).is_some_and(|domain| domain.state == DomainState::Running) {
                self.settle(vm, DomainState::Paused);
            }
            Ok(())
        };
        self.take(Step::Pause, pause).await
    }

    async fn resume(&self, vm: VmId) -> Result<(), HypervisorError> {
        let resume = || {
            if let Some(domain) = self.domain(vm).filter(|domain| domain.state == DomainState::Paused) {
                self.locks.take(&domain.disks, &self.host, vm)?;
                self.settle(vm, DomainState::Running);
            }
            Ok(())
        };
        self.take(Step::Resume, resume).await
    }

    async fn migrate(&self, vm: VmId, route: Route) -> Result<(), HypervisorError> {
        let failed = |reason: &str| HypervisorError::Failed { step: "move the VM", reason: reason.into() };
        let (Some(me), Some(tasks)) = (self.me.upgrade(), self.own_tasks.get()) else {
            return Err(failed("it does not run"));
        };
        let moved = tasks.spawn(async move { me.move_away(vm, &route).await }).await;
        moved.unwrap_or_else(|_| Err(failed("it was killed")))
    }

    async fn moved(&self, vm: VmId) -> Result<Option<Moved>, HypervisorError> {
        let moved = Moved { sent_bytes: 1 << 20, left_bytes: 1 << 10 };
        Ok(self.state().leaving.contains(&vm).then_some(moved))
    }

    async fn take_back(&self, vm: VmId) -> Result<(), HypervisorError> {
        let take_back = || {
            let was_sent = self.state().sent.contains(&vm);
            let domain = self.domain(vm).filter(|_| was_sent).ok_or("it was not sent")?;
            self.locks.take_back(&domain.disks, &self.host, vm)?;
            self.settle(vm, DomainState::Running);
            self.state().sent.remove(&vm);
            Ok(())
        };
        self.take(Step::TakeBack, take_back).await
    }

    async fn call_back(&self, vm: VmId) -> Result<(), HypervisorError> {
        let mut state = self.state();
        if state.leaving.contains(&vm) {
            state.called_back.insert(vm);
        }
        Ok(())
    }

    async fn remove(&self, vm: VmId) -> Result<(), HypervisorError> {
        let remove = || {
            self.forget(vm);
            self.changed.notify_one();
            Ok(())
        };
        self.take(Step::Remove, remove).await
    }

    async fn changed(&self) {
        self.changed.notified().await;
    }
}

/// The volume whose image this is, by its name.
fn volume_in(file: &Path) -> Option<VolumeId> {
    file.file_stem()?.to_str()?.parse().ok()
}

fn all_exist<'a>(mut files: impl Iterator<Item = &'a PathBuf>) -> Result<(), String> {
    match files.find(|file| !file.exists()) {
        Some(missing) => Err(format!("Cannot access storage file '{}'", missing.display())),
        None => Ok(()),
    }
}

fn found(domain: &SimulatedDomain) -> Found {
    Found { vm: domain.record.plan.vm, record: Ok(domain.record.clone()), state: domain.state }
}
