//! The VMs of a host on a hypervisor in memory, in time that only passes when nothing else can happen.

mod console;
mod moving;
mod standing;
mod traffic;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use podzol_agent_api::vm::{
    CdromPlan, Ended, Moved, NicPlan, Usage, VmPlan, VmPutRequest, VmState, VmStatus,
};
use podzol_hostnet::{Kind, SimulatedLinks};
use podzol_hypervisor::{
    Change, Devices, Domain, DomainState, Found, Hypervisor, HypervisorError, Record, RecordError, Route,
};
use podzol_rpc::exec::ExecError;
use podzol_rpc::{AddressBook, Client, Identity};
use podzol_vocab::{ErrorCode, Generation, HostId, NetworkId, NicId, Secret, VmId, VolumeId, WireError};
use tempfile::TempDir;
use tokio::time::Instant;

use super::Vms;
use super::plan::tests::{example, iso};
use crate::config::Config;
use crate::guards::{Change as GuardChange, Filter, Port, listing};
use crate::mounts::{Export, MountError, Mounts};
use crate::peers::Peers;
use crate::platform::Platform;

/// A host whose hypervisor does what it is told, and has guests that shut down when they have heard it often enough.
pub(crate) struct Host {
    pub(crate) hypervisor: Domains,
    links: SimulatedLinks,
    mounts: NoMounts,
    rules: Rules,
    kvm_problem: Mutex<Option<String>>,
}

#[derive(Default)]
pub(crate) struct Domains {
    found: Mutex<BTreeMap<VmId, Found>>,
    starts: Mutex<u32>,
    changes: Mutex<Vec<Change>>,
    /// What is answered to each request to shut a guest down, the last first; a guest that is asked once more does.
    shut_downs: Mutex<Vec<Result<(), HypervisorError>>>,
    /// Why moves to other hosts fail, the last first; one more succeeds.
    moves: Mutex<Vec<HypervisorError>>,
    /// Where every VM's display is.
    pub(crate) display: Mutex<Option<std::path::PathBuf>>,
}

pub(crate) struct NoMounts;

/// The ports that are guarded.
#[derive(Default)]
pub(crate) struct Rules(Mutex<std::collections::BTreeSet<Port>>);

impl Filter for Rules {
    async fn apply(&self, change: &GuardChange) -> Result<(), ExecError> {
        let mut ports = self.0.lock().unwrap();
        change.make(&mut ports);
        Ok(())
    }

    async fn in_force(&self) -> Result<String, ExecError> {
        Ok(listing(&self.0.lock().unwrap()))
    }
}

impl Hypervisor for Domains {
    async fn version(&self) -> Result<String, HypervisorError> {
        Ok("in memory".into())
    }

    async fn list(&self) -> Result<Vec<Found>, HypervisorError> {
        Ok(self.found.lock().unwrap().values().cloned().collect())
    }

    async fn find(&self, vm: VmId) -> Result<Option<Found>, HypervisorError> {
        Ok(self.found.lock().unwrap().get(&vm).cloned())
    }

    async fn usage(&self) -> Result<HashMap<VmId, Usage>, HypervisorError> {
        Ok(HashMap::new())
    }

    async fn start(&self, domain: Domain) -> Result<(), HypervisorError> {
        *self.starts.lock().unwrap() += 1;
        self.has(domain.plan.vm, Ok(Record::of(&domain.plan)));
        Ok(())
    }

    async fn note(&self, record: Record) -> Result<(), HypervisorError> {
        if let Some(found) = self.found.lock().unwrap().get_mut(&record.plan.vm) {
            found.record = Ok(record);
        }
        Ok(())
    }

    async fn shut_down(&self, vm: VmId) -> Result<(), HypervisorError> {
        if let Some(answer) = self.shut_downs.lock().unwrap().pop() {
            return answer;
        }
        if let Some(found) = self.found.lock().unwrap().get_mut(&vm) {
            found.state = DomainState::Off(Ended::ByItself);
        }
        Ok(())
    }

    async fn display(&self, _: VmId) -> Result<Option<std::path::PathBuf>, HypervisorError> {
        Ok(self.display.lock().unwrap().clone())
    }

    async fn reboot(&self, _: VmId) -> Result<(), HypervisorError> {
        Ok(())
    }

    async fn devices(&self, vm: VmId, _: Vec<VolumeId>) -> Result<Devices, HypervisorError> {
        let found = self.found.lock().unwrap();
        let record = found.get(&vm).and_then(|found| found.record.as_ref().ok());
        Ok(record.map(|record| Devices::of(&record.plan)).unwrap_or_default())
    }

    async fn change(&self, _: VmId, change: Change) -> Result<(), HypervisorError> {
        self.changes.lock().unwrap().push(change);
        Ok(())
    }

    async fn pause(&self, vm: VmId) -> Result<(), HypervisorError> {
        self.is_now(vm, DomainState::Paused);
        Ok(())
    }

    async fn resume(&self, vm: VmId) -> Result<(), HypervisorError> {
        self.is_now(vm, DomainState::Running);
        Ok(())
    }

    async fn migrate(&self, vm: VmId, _: Route) -> Result<(), HypervisorError> {
        self.is_now(vm, DomainState::Passing);
        let stays = self.moves.lock().unwrap().pop();
        match stays {
            None => self.remove(vm).await,
            Some(error) => {
                // It may have got there all the same if nothing is heard any more.
                if matches!(error, HypervisorError::Failed { .. }) {
                    self.is_now(vm, DomainState::Running);
                }
                Err(error)
            }
        }
    }

    async fn moved(&self, _: VmId) -> Result<Option<Moved>, HypervisorError> {
        Ok(None)
    }

    async fn take_back(&self, vm: VmId) -> Result<(), HypervisorError> {
        self.is_now(vm, DomainState::Running);
        Ok(())
    }

    async fn call_back(&self, _: VmId) -> Result<(), HypervisorError> {
        Ok(())
    }

    async fn remove(&self, vm: VmId) -> Result<(), HypervisorError> {
        self.found.lock().unwrap().remove(&vm);
        Ok(())
    }

    async fn changed(&self) {
        std::future::pending().await
    }
}

impl Domains {
    /// Has a domain run with this record.
    fn has(&self, vm: VmId, record: Result<Record, RecordError>) {
        self.found.lock().unwrap().insert(vm, Found { vm, record, state: DomainState::Running });
    }

    fn is_now(&self, vm: VmId, state: DomainState) {
        self.found.lock().unwrap().get_mut(&vm).unwrap().state = state;
    }

    fn all(&self) -> Vec<Found> {
        self.found.lock().unwrap().values().cloned().collect()
    }
}

impl Mounts for NoMounts {
    async fn mount(&self, export: &Export) -> Result<PathBuf, MountError> {
        Ok(export.path.clone().into())
    }

    async fn keep_only(&self, _: impl Fn() -> HashSet<Export> + Send + Sync) {}

    fn mounted(&self) -> Vec<(String, PathBuf)> {
        vec![]
    }
}

impl Platform for Host {
    type Hypervisor = Domains;
    type Links = SimulatedLinks;
    type Mounts = NoMounts;
    type Filter = Rules;

    fn hypervisor(&self) -> &Domains {
        &self.hypervisor
    }

    fn links(&self) -> &SimulatedLinks {
        &self.links
    }

    fn mounts(&self) -> &NoMounts {
        &self.mounts
    }

    fn filter(&self) -> &Rules {
        &self.rules
    }

    async fn kvm_problem(&self) -> Option<String> {
        self.kvm_problem.lock().unwrap().clone()
    }
}

/// A host without VMs, at which the agent has looked once.
pub(crate) async fn host() -> (TempDir, Vms<Host>) {
    let folder = tempfile::tempdir().unwrap();
    let text = format!("management = 'm:1'\ntrunk = 'eth1'\nstate_dir = '{}'\n", folder.path().display());
    let vms = host_with(&text);
    vms.look().await.unwrap();
    (folder, vms)
}

/// A host that is so configured, at which the agent has not looked yet.
fn host_with(text: &str) -> Vms<Host> {
    let config: Config = podzol_rpc::config::parse(text).unwrap();
    let platform = Host {
        hypervisor: Domains::default(),
        links: SimulatedLinks::with_trunk("eth1".parse().unwrap()),
        mounts: NoMounts,
        rules: Rules::default(),
        kvm_problem: Mutex::default(),
    };
    Vms::new(Arc::new(platform), &config, nobody())
}

/// No other host that would answer.
fn nobody() -> Peers {
    let made = rcgen::generate_simple_self_signed(["h1".to_owned()]).unwrap();
    let identity = Identity {
        ca_pem: made.cert.pem(),
        certificate_pem: made.cert.pem(),
        key_pem: Secret::new(made.signing_key.serialize_pem()),
    };
    let book = AddressBook::default();
    Peers::new(Client::new(&identity, book.clone()).unwrap(), book)
}

fn described(generation: u64) -> VmPlan {
    VmPlan { generation: Generation(generation), ..example() }
}

async fn put(vms: &Vms<Host>, plan: VmPlan) -> Result<VmStatus, WireError> {
    vms.put(example().vm, VmPutRequest { plan, wait_ms: 60_000 }).await
}

async fn delete(vms: &Vms<Host>, generation: u64, grace: Duration) -> VmStatus {
    vms.delete(example().vm, Generation(generation), grace, Duration::from_secs(600)).await.unwrap()
}

/// What a look that began then makes of a VM.
fn after_look(vms: &Vms<Host>, found: &[Found], began: Instant) -> VmState {
    vms.learn(found, began);
    vms.entries()[&example().vm].status().state
}

#[tokio::test(start_paused = true)]
async fn what_a_look_saw_before_a_vm_was_started_does_not_count() {
    let (_folder, vms) = host().await;
    let began = Instant::now();
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(put(&vms, described(1)).await.unwrap().state, VmState::Running);
    assert_eq!(after_look(&vms, &[], began), VmState::Running);
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(after_look(&vms, &[], Instant::now()), VmState::Stopped);
}

#[tokio::test(start_paused = true)]
async fn a_domain_that_turns_up_after_its_vm_was_removed_is_removed_again() {
    let (_folder, vms) = host().await;
    put(&vms, described(1)).await.unwrap();
    let late = vms.platform().hypervisor.all();
    assert_eq!(delete(&vms, 2, Duration::ZERO).await.state, VmState::Absent);
    tokio::time::sleep(Duration::from_millis(1)).await;

    vms.platform().hypervisor.has(late[0].vm, late[0].record.clone());
    assert_eq!(after_look(&vms, &late, Instant::now()), VmState::Stopping);

    assert_eq!(vms.settled(example().vm, Duration::from_secs(60)).await.state, VmState::Absent);
    assert_eq!(vms.platform().hypervisor.all(), []);
}

#[tokio::test(start_paused = true)]
async fn a_running_vm_refuses_what_it_cannot_take_and_its_record_stays() {
    let (_folder, vms) = host().await;
    put(&vms, described(1)).await.unwrap();
    let before = vms.platform().hypervisor.all();

    let mut other = described(2);
    other.memory_mib = 128;
    other.nics[0].tag = 101.try_into().unwrap();
    let refused = put(&vms, other).await.unwrap_err();

    assert_eq!(refused.code, ErrorCode::Conflict);
    assert!(refused.message.contains("another memory_mib, nics"), "{refused}");
    assert_eq!(vms.platform().hypervisor.all(), before);
    assert_eq!(vms.list()[0].generation, Generation(1));
    assert_eq!(put(&vms, described(2)).await.unwrap().generation, Generation(2));
}

#[tokio::test(start_paused = true)]
async fn a_running_vm_gets_the_devices_of_its_newest_description_and_the_host_what_they_need() {
    let (_folder, vms) = host().await;
    put(&vms, described(1)).await.unwrap();
    let mut other = described(2);
    other.nics[0].rate_mbps = Some(10);
    let mac = "02:00:5e:10:00:02".parse().unwrap();
    let (nic, network, tag) = (NicId::new(), NetworkId::new(), 101.try_into().unwrap());
    other.nics.push(NicPlan { nic, network, tag, mac, ..other.nics[0].clone() });
    let limit = Change::LimitNic(other.nics[0].mac, Some(10));
    let attach = Change::AttachNic(other.nics[1].clone(), "pzb101".parse().unwrap());

    let status = put(&vms, other).await.unwrap();

    assert_eq!((status.error, status.generation), (None, Generation(2)));
    assert_eq!(*vms.platform().hypervisor.changes.lock().unwrap(), [limit, attach]);
    assert!(vms.platform().links.get(&"pzb101".parse().unwrap()).is_some());
    assert_eq!(put(&vms, described(3)).await.unwrap().error, None);
    let changes = vms.platform().hypervisor.changes.lock().unwrap().clone();
    assert_eq!(changes[2..], [Change::DetachNic(mac), Change::LimitNic(example().nics[0].mac, None)]);
    assert_eq!(vms.platform().links.get(&"pzb101".parse().unwrap()), None);
}

#[tokio::test(start_paused = true)]
async fn a_running_vm_gets_an_iso_and_loses_it_and_whether_it_boots_changes_nothing_now() {
    let (_folder, vms) = host().await;
    put(&vms, described(1)).await.unwrap();
    let changes = || std::mem::take(&mut *vms.platform().hypervisor.changes.lock().unwrap());
    let with_iso = |generation: u64, boots: bool| VmPlan {
        cdrom: Some(CdromPlan { boots, ..iso("templates/x.iso") }),
        ..described(generation)
    };

    assert_eq!(put(&vms, with_iso(2, false)).await.unwrap().error, None);
    assert_eq!(changes(), [Change::InsertCd("/srv/p/templates/x.iso".into())]);
    assert_eq!(put(&vms, with_iso(2, false)).await.unwrap().error, None);
    assert_eq!(put(&vms, with_iso(3, true)).await.unwrap().error, None);
    assert_eq!(vms.platform().hypervisor.all()[0].record, Ok(Record::of(&with_iso(3, true))));
    assert_eq!(changes(), []);
    assert_eq!(put(&vms, described(4)).await.unwrap().error, None);
    assert_eq!(changes(), [Change::EjectCd]);
    assert_eq!(*vms.platform().hypervisor.starts.lock().unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_vm_that_turns_out_to_run_otherwise_keeps_what_it_has() {
    let (_folder, vms) = host().await;
    let other = VmPlan { memory_mib: 128, ..described(1) };
    vms.platform().hypervisor.has(other.vm, Ok(Record::of(&other)));

    let status = put(&vms, described(2)).await.unwrap();

    assert_eq!(status.state, VmState::Running);
    assert!(status.error.unwrap().contains("memory_mib"));
    assert_eq!(vms.platform().hypervisor.all()[0].record, Ok(Record::of(&other)));
}

#[tokio::test(start_paused = true)]
async fn a_vm_whose_record_cannot_be_read_keeps_its_files_and_gets_a_new_record() {
    let (folder, vms) = host().await;
    let unreadable = Record::of(&example());
    let error = podzol_hypervisor::xml::read_metadata("<podzol:vm/>").unwrap_err();
    vms.platform().hypervisor.has(unreadable.plan.vm, Err(error));
    let files = folder.path().join("vms").join(example().vm.to_string());
    std::fs::create_dir_all(&files).unwrap();

    vms.look().await.unwrap();
    vms.converge().await;

    assert!(files.exists());
    let told = &vms.list()[0];
    assert_eq!((told.state, told.generation), (VmState::Running, Generation(0)));
    assert!(told.error.as_ref().unwrap().contains("cannot be read"));
    assert_eq!(put(&vms, described(1)).await.unwrap().error, None);
    assert_eq!(vms.platform().hypervisor.all()[0].record, Ok(Record::of(&described(1))));
    assert_eq!(*vms.platform().hypervisor.starts.lock().unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_guest_is_asked_to_shut_down_until_it_does() {
    let (_folder, vms) = host().await;
    put(&vms, described(1)).await.unwrap();
    let deaf = HypervisorError::Failed { step: "shut the VM down", reason: "it is busy".into() };
    *vms.platform().hypervisor.shut_downs.lock().unwrap() = vec![Ok(()), Err(deaf)];
    let begun = Instant::now();

    assert_eq!(delete(&vms, 2, Duration::from_secs(300)).await.state, VmState::Absent);

    assert!(begun.elapsed() < Duration::from_secs(300), "it was ended by force");
}

#[tokio::test(start_paused = true)]
async fn links_files_and_kvm_are_put_right_without_any_vm_starting_or_ending() {
    let (folder, vms) = host().await;
    put(&vms, described(1)).await.unwrap();
    *vms.platform().kvm_problem.lock().unwrap() = Some("no KVM".into());
    vms.probe().await.unwrap();
    let left = folder.path().join("vms").join(VmId::new().to_string());
    std::fs::create_dir_all(&left).unwrap();
    let stop = tokio_util::sync::CancellationToken::new();
    let following = tokio::spawn(vms.clone().follow(stop.clone()));
    tokio::time::sleep(Duration::from_secs(10)).await;

    let bridge = "pzb100".parse().unwrap();
    vms.platform().links.remove(&bridge);
    vms.platform().links.remove(&"pzv100".parse().unwrap());
    *vms.platform().kvm_problem.lock().unwrap() = None;
    tokio::time::sleep(Duration::from_secs(70)).await;

    assert_eq!(vms.platform().links.get(&bridge).map(|link| link.kind), Some(Kind::Bridge));
    assert!(!left.exists());
    assert_eq!(vms.hypervisor().unwrap().kvm_problem, None);
    stop.cancel();
    following.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_ports_of_vms_are_guarded_as_long_as_they_are_here() {
    let (_folder, vms) = host().await;
    let guarded = || vms.platform().rules.0.lock().unwrap().clone();
    put(&vms, described(1)).await.unwrap();
    let own = Port::of(&example().nics[0]);
    assert_eq!(guarded(), [own.clone()].into());
    let mut routes = described(2);
    routes.nics[0].may_route = true;
    assert_eq!(put(&vms, routes).await.unwrap().error, None);
    assert_eq!(guarded(), [Port { may_route: true, ..own.clone() }].into());
    let mut dual = described(3);
    (dual.nics[0].may_route, dual.nics[0].address6) = (true, "2001:db8::5eff:fe10:1".parse().ok());
    let own = Port { address6: dual.nics[0].address6, ..own };
    assert_eq!(put(&vms, dual).await.unwrap().error, None);
    assert_eq!(guarded(), [Port { may_route: true, ..own.clone() }].into());
    // Somebody flushes the rules.
    vms.converge().await;
    vms.platform().rules.0.lock().unwrap().clear();
    vms.converge().await;
    assert_eq!(guarded(), [Port { may_route: true, ..own }].into());
    delete(&vms, 4, Duration::ZERO).await;
    assert_eq!(guarded(), std::collections::BTreeSet::new());
}
