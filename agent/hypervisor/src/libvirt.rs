//! libvirt. The only module that calls it.
//!
//! Its calls block, and a hung libvirtd blocks them for ever. So each runs on a thread of its own, of which there are at
//! most [`THREADS`] (and as many for starts), and is waited for at most [`DEADLINE`], a free thread included. A call that is not answered keeps
//! its thread; when libvirtd comes back, the thread does too, and finds that nobody waits for it: it does nothing then,
//! and takes back what it has defined and not started.
//!
//! Whatever is asked of all domains ([`Hypervisor::list`]) takes no domain's job, which whoever waits for its QEMU
//! holds: a VM that hangs must hold up nobody else. Only counting asks QEMU, on threads apart.

mod change;
mod connection;
mod counters;
mod migration;
mod threads;

use std::collections::HashMap;
use std::ffi::c_int;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use podzol_agent_api::vm::{Ended, Moved, Usage};
use podzol_vocab::{VmId, VolumeId};
use virt::connect::Connect;
use virt::domain::Domain as VirtDomain;
use virt::error::{Error, ErrorNumber};
use virt::sys;

use crate::xml::{self, NAMESPACE};
use crate::{Change, Devices, Domain, DomainState, Found, Hypervisor, HypervisorError, Record, Route};
use change::Refused;
use connection::Link;
use counters::Counters;
use threads::{Abandoned, Threads};

/// The most calls of a kind at a time.
const THREADS: usize = 8;

/// How long a call may take.
const DEADLINE: Duration = Duration::from_secs(60);

/// How long starting a VM may take. It is a matter of seconds even on an emulated host; but where `/dev/kvm` is there and
/// does not work, libvirt tries QEMU's abilities out again before each start, which took it up to 75 s.
const STARTING: Duration = Duration::from_secs(180);

/// The most domains that leave at a time.
const LEAVING: usize = 8;

/// How long a domain may take to leave: one of a TiB on a busy link of 10 Gbit/s takes an hour or two.
const LEAVES: Duration = Duration::from_secs(24 * 3600);

/// How long counting may take. With 1,000 VMs it takes well under a second, and counters are not worth a wait.
const COUNTING: Duration = Duration::from_secs(5);

/// The most domains that may hang before nothing is counted any more.
const COUNTING_THREADS: usize = 8;

/// libvirt's QEMU driver.
pub struct Libvirt {
    link: Arc<Link>,
    asking: Threads,
    threads: Threads,
    starting: Threads,
    /// A QEMU that hangs is killed, whatever else waits for it.
    ending: Threads,
    counting: Threads,
    leaving: Threads,
    counters: Arc<Counters>,
}

impl Libvirt {
    /// libvirt at a URI, such as `qemu:///system`. It is connected to when it is first needed.
    pub fn new(uri: impl Into<String>) -> Self {
        Self {
            link: Arc::new(Link::new(uri.into())),
            asking: Threads::new(THREADS, DEADLINE),
            threads: Threads::new(THREADS, DEADLINE),
            starting: Threads::new(THREADS, STARTING),
            ending: Threads::new(THREADS, DEADLINE),
            counting: Threads::new(COUNTING_THREADS, COUNTING),
            leaving: Threads::new(LEAVING, LEAVES),
            counters: Arc::default(),
        }
    }

    /// Asks for what libvirt knows by itself: of a VM, or of all.
    async fn ask<T: Send + 'static>(
        &self,
        vm: impl Into<Option<VmId>>,
        step: &'static str,
        work: impl FnOnce(&Connect) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, HypervisorError> {
        self.call_on(&self.asking, vm.into(), step, move |connect, _| work(connect)).await
    }

    /// Has something done with a VM, for which libvirt may wait for its QEMU.
    async fn call<T: Send + 'static>(
        &self,
        vm: VmId,
        step: &'static str,
        work: impl FnOnce(&Connect) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, HypervisorError> {
        self.call_on(&self.threads, Some(vm), step, move |connect, _| work(connect)).await
    }

    async fn call_on<T: Send + 'static>(
        &self,
        threads: &Threads,
        vm: Option<VmId>,
        step: &'static str,
        work: impl FnOnce(&Connect, &Abandoned) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, HypervisorError> {
        let unavailable = move |reason: String| HypervisorError::Unavailable { step, reason };
        let link = Arc::clone(&self.link);
        let answer = threads.run(vm, move |abandoned| {
            let connection = link.lend().map_err(|error| unavailable(error.message().to_owned()))?;
            // To connect is what a hung libvirtd holds up first.
            if abandoned.is_so() {
                link.keep(connection);
                return Err(unavailable("nobody waits for it any more".into()));
            }
            let result = work(&connection, abandoned).map_err(|error| {
                let reason = error.message().to_owned();
                if connection.is_alive() {
                    return HypervisorError::Failed { step, reason };
                }
                link.forget();
                unavailable(reason)
            });
            link.keep(connection);
            result
        });
        answer.await.unwrap_or_else(|reason| Err(unavailable(reason)))
    }

    /// As [`Libvirt::call`], for work that may fail for reasons of its own.
    async fn call_and_say<T: Send + 'static>(
        &self,
        vm: VmId,
        step: &'static str,
        work: impl FnOnce(&Connect, &Abandoned) -> Result<T, Refused> + Send + 'static,
    ) -> Result<T, HypervisorError> {
        let work = move |connect: &Connect, abandoned: &Abandoned| match work(connect, abandoned) {
            Err(Refused::Libvirt(error)) => Err(error),
            Err(Refused::Other(reason)) => Ok(Err(HypervisorError::Failed { step, reason })),
            Ok(done) => Ok(Ok(done)),
        };
        self.call_on(&self.threads, Some(vm), step, work).await?
    }
}

impl Hypervisor for Libvirt {
    async fn version(&self) -> Result<String, HypervisorError> {
        self.ask(None, "tell its version", |connect| {
            let (hypervisor, library) = (connect.get_hyp_version()?, connect.get_lib_version()?);
            Ok(format!("QEMU {}, libvirt {}", dotted(hypervisor), dotted(library)))
        })
        .await
    }

    async fn list(&self) -> Result<Vec<Found>, HypervisorError> {
        self.ask(None, "list its domains", |connect| {
            let mut list = Vec::new();
            for domain in connect.list_all_domains(0)? {
                list.extend(found(&domain)?);
            }
            Ok(list)
        })
        .await
    }

    async fn find(&self, vm: VmId) -> Result<Option<Found>, HypervisorError> {
        self.ask(vm, "find the VM", move |connect| match lookup(connect, vm)? {
            Some(domain) => found(&domain),
            None => Ok(None),
        })
        .await
    }

    async fn usage(&self) -> Result<HashMap<VmId, Usage>, HypervisorError> {
        let counters = Arc::clone(&self.counters);
        let count = move |connect: &Connect, abandoned: &Abandoned| counters.count(connect, abandoned);
        let ended = self.call_on(&self.counting, None, "count what VMs use", count).await;
        // A domain that hangs is passed over from the next time on; what was counted before it is good.
        let counted = self.counters.take();
        if counted.is_empty() { ended.map(|()| counted) } else { Ok(counted) }
    }

    async fn start(&self, domain: Domain) -> Result<(), HypervisorError> {
        self.call_on(&self.starting, Some(domain.plan.vm), "start the VM", move |connect, abandoned| {
            let defined = VirtDomain::define_xml(connect, &xml::domain(&domain))?;
            if abandoned.is_so() {
                // It may have been removed meanwhile. Nobody hears the answer.
                return take_back(&defined);
            }
            match defined.create() {
                Err(error) if !defined.is_active().unwrap_or(false) => Err(error),
                _ => Ok(()),
            }
        })
        .await
    }

    async fn note(&self, record: Record) -> Result<(), HypervisorError> {
        self.call(record.plan.vm, "note what the VM should be", move |connect| {
            let Some(domain) = lookup(connect, record.plan.vm)? else { return Ok(()) };
            let mut flags = sys::VIR_DOMAIN_AFFECT_CONFIG;
            if domain.is_active()? {
                flags |= sys::VIR_DOMAIN_AFFECT_LIVE;
            }
            let text =
                xml::metadata(&record).trim().replace("podzol:vm", "vm").replace("xmlns:podzol", "xmlns");
            let kind = sys::VIR_DOMAIN_METADATA_ELEMENT as c_int;
            domain.set_metadata(kind, Some(&text), Some("podzol"), Some(NAMESPACE), flags).map(drop)
        })
        .await
    }

    async fn shut_down(&self, vm: VmId) -> Result<(), HypervisorError> {
        self.call(vm, "shut the VM down", move |connect| match lookup(connect, vm)? {
            Some(domain) if domain.is_active()? => domain.shutdown().map(drop),
            _ => Ok(()),
        })
        .await
    }

    async fn reboot(&self, vm: VmId) -> Result<(), HypervisorError> {
        self.call(vm, "reboot the VM", move |connect| match lookup(connect, vm)? {
            Some(domain) if domain.is_active()? => domain.reboot(0),
            _ => Ok(()),
        })
        .await
    }

    async fn devices(&self, vm: VmId, sized: Vec<VolumeId>) -> Result<Devices, HypervisorError> {
        self.call_and_say(vm, "list the VM's devices", move |connect, _| match lookup(connect, vm)? {
            Some(domain) => change::devices(&domain, &sized),
            None => Err("it does not run".to_owned().into()),
        })
        .await
    }

    async fn change(&self, vm: VmId, change: Change) -> Result<(), HypervisorError> {
        let step = match &change {
            Change::AttachDisk(..) => "attach a disk",
            Change::DetachDisk(_) => "detach a disk",
            Change::LimitDisk(..) => "limit a disk",
            Change::GrowDisk(..) => "resize a disk",
            Change::AttachNic(..) => "attach a network interface",
            Change::DetachNic(_) => "detach a network interface",
            Change::LimitNic(..) => "limit a network interface",
            Change::InsertCd(_) => "insert an ISO",
            Change::EjectCd => "eject an ISO",
        };
        self.call_and_say(vm, step, move |connect, abandoned| match lookup(connect, vm)? {
            Some(domain) => change::make(&domain, &change, abandoned),
            None => Err("it does not run".to_owned().into()),
        })
        .await
    }

    async fn display(&self, vm: VmId) -> Result<Option<PathBuf>, HypervisorError> {
        self.call_and_say(vm, "find the VM's display", move |connect, _| match lookup(connect, vm)? {
            Some(domain) if domain.is_active()? => change::display(&domain),
            _ => Ok(None),
        })
        .await
    }

    async fn pause(&self, vm: VmId) -> Result<(), HypervisorError> {
        self.call(vm, "pause the VM", move |connect| match lookup(connect, vm)? {
            Some(domain) if state(&domain)? == DomainState::Running => domain.suspend().map(drop),
            _ => Ok(()),
        })
        .await
    }

    async fn resume(&self, vm: VmId) -> Result<(), HypervisorError> {
        self.call(vm, "resume the VM", move |connect| match lookup(connect, vm)? {
            Some(domain) if state(&domain)? == DomainState::Paused => domain.resume().map(drop),
            _ => Ok(()),
        })
        .await
    }

    async fn migrate(&self, vm: VmId, route: Route) -> Result<(), HypervisorError> {
        let leave = move |connect: &Connect, _: &Abandoned| match lookup(connect, vm)? {
            Some(domain) => migration::leave(&domain, &route),
            None => Ok(()),
        };
        self.call_on(&self.leaving, Some(vm), "move the VM", leave).await
    }

    async fn moved(&self, vm: VmId) -> Result<Option<Moved>, HypervisorError> {
        self.call(vm, "tell how much of the VM has moved", move |connect| match lookup(connect, vm)? {
            Some(domain) => migration::moved(&domain),
            None => Ok(None),
        })
        .await
    }

    async fn take_back(&self, vm: VmId) -> Result<(), HypervisorError> {
        self.call_and_say(vm, "take the VM back", move |connect, _| {
            let Some(domain) = lookup(connect, vm)? else { return Err("it is not here".to_owned().into()) };
            // One that is still on its way is refused by libvirt, and one that runs elsewhere by the locks on its images.
            match state(&domain)? {
                DomainState::Passing => Ok(domain.resume().map(drop)?),
                DomainState::Running => Ok(()),
                _ => Err("it does not stand still after a move".to_owned().into()),
            }
        })
        .await
    }

    async fn call_back(&self, vm: VmId) -> Result<(), HypervisorError> {
        self.call(vm, "call the VM back", move |connect| match lookup(connect, vm)? {
            Some(domain) => migration::call_back(&domain),
            None => Ok(()),
        })
        .await
    }

    async fn remove(&self, vm: VmId) -> Result<(), HypervisorError> {
        self.call_on(&self.ending, Some(vm), "remove the VM", move |connect, _| {
            let Some(domain) = lookup(connect, vm)? else { return Ok(()) };
            if domain.is_active()? {
                match domain.destroy() {
                    // It ended by itself just now.
                    Err(error) if error.code() == ErrorNumber::OperationInvalid => {}
                    result => gone_is_fine(result.map(drop))?,
                }
            }
            undefine(&domain)
        })
        .await
    }

    async fn changed(&self) {
        self.link.changed().await;
    }
}

/// Forgets a domain that does not run, with all that libvirt keeps of it.
fn undefine(domain: &VirtDomain) -> Result<(), Error> {
    let flags = sys::VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
        | sys::VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
        | sys::VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
        | sys::VIR_DOMAIN_UNDEFINE_NVRAM;
    gone_is_fine(domain.undefine_flags(flags))
}

/// Undefines a domain again that was just defined, unless it ran before.
fn take_back(defined: &VirtDomain) -> Result<(), Error> {
    if defined.is_active()? { Ok(()) } else { undefine(defined) }
}

fn gone_is_fine(result: Result<(), Error>) -> Result<(), Error> {
    match result {
        Err(error) if error.code() == ErrorNumber::NoDomain => Ok(()),
        result => result,
    }
}

fn lookup(connect: &Connect, vm: VmId) -> Result<Option<VirtDomain>, Error> {
    match VirtDomain::lookup_by_uuid_string(connect, &vm.to_string()) {
        Ok(domain) => Ok(Some(domain)),
        Err(error) if error.code() == ErrorNumber::NoDomain => Ok(None),
        Err(error) => Err(error),
    }
}

/// What is known of a domain; nothing if it is not ours, or went while it was looked at.
fn found(domain: &VirtDomain) -> Result<Option<Found>, Error> {
    match look_at(domain) {
        Err(error) if matches!(error.code(), ErrorNumber::NoDomain | ErrorNumber::NoDomainMetadata) => {
            Ok(None)
        }
        result => result,
    }
}

fn look_at(domain: &VirtDomain) -> Result<Option<Found>, Error> {
    let kind = sys::VIR_DOMAIN_METADATA_ELEMENT as c_int;
    let element = domain.get_metadata(kind, Some(NAMESPACE), sys::VIR_DOMAIN_AFFECT_CURRENT)?;
    let vm = VmId::from_bytes(*domain.get_uuid()?.as_bytes());
    let record = xml::read_metadata(&element);
    // Somebody's copy of one of our domains is not ours.
    if record.as_ref().is_ok_and(|record| record.plan.vm != vm) {
        return Ok(None);
    }
    Ok(Some(Found { vm, record, state: state(domain)? }))
}

fn state(domain: &VirtDomain) -> Result<DomainState, Error> {
    let (state, reason) = domain.get_state()?;
    Ok(meaning(state, reason as u32))
}

/// What libvirt's state of a domain, and the reason for it, come to.
fn meaning(state: sys::virDomainState, reason: u32) -> DomainState {
    match (state, reason) {
        (sys::VIR_DOMAIN_SHUTOFF, sys::VIR_DOMAIN_SHUTOFF_SHUTDOWN) => DomainState::Off(Ended::ByItself),
        (sys::VIR_DOMAIN_SHUTOFF | sys::VIR_DOMAIN_CRASHED, _) => DomainState::Off(Ended::ByForce),
        // At either end of its way.
        (sys::VIR_DOMAIN_PAUSED, sys::VIR_DOMAIN_PAUSED_MIGRATION) => DomainState::Passing,
        // At the other end for the first moment.
        (sys::VIR_DOMAIN_PAUSED, sys::VIR_DOMAIN_PAUSED_STARTING_UP) => DomainState::Undecided,
        // One that was shut down, or that never got here whole: libvirt takes seconds to clean up after a lost connection.
        (sys::VIR_DOMAIN_SHUTDOWN, _) => DomainState::Undecided,
        // By request, or for want of something, such as room in its pool.
        (sys::VIR_DOMAIN_PAUSED, _) => DomainState::Paused,
        _ => DomainState::Running,
    }
}

/// libvirt's versions are one number: major * 1,000,000 + minor * 1,000 + release.
fn dotted(version: u32) -> String {
    format!("{}.{}.{}", version / 1_000_000, version / 1000 % 1000, version % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// libvirt's own driver for tests, which keeps domains in this process (<https://libvirt.org/drvtest.html>).
    const URI: &str = "test:///default";

    /// Defines a domain with something of our namespace in its metadata.
    async fn define(libvirt: &Libvirt, content: &'static str) -> VmId {
        let vm = VmId::new();
        let define = move |connect: &Connect| {
            let xml = format!(
                "<domain type='test'><name>{vm}</name><uuid>{vm}</uuid><memory>1024</memory><metadata>\
                 <podzol:vm xmlns:podzol='{NAMESPACE}'>{content}</podzol:vm></metadata>\
                 <os><type>hvm</type></os></domain>"
            );
            VirtDomain::define_xml(connect, &xml).map(drop)
        };
        libvirt.call(vm, "define a domain", define).await.unwrap();
        vm
    }

    #[tokio::test]
    async fn a_domain_of_ours_with_a_record_that_cannot_be_read_is_found_as_such() {
        let libvirt = Libvirt::new(URI);
        let vm = define(&libvirt, "{}").await;
        let found = libvirt.find(vm).await.unwrap().unwrap();
        assert!(found.record.is_err());
        assert_eq!((found.vm, found.state), (vm, DomainState::Off(Ended::ByForce)));
        // The driver has a domain of its own, without metadata.
        let all = libvirt.list().await.unwrap();
        assert!(all.contains(&found) && all.iter().all(|found| found.record.is_err()));
    }

    #[test]
    fn what_may_not_have_got_here_is_not_said_to_run() {
        assert_eq!(meaning(sys::VIR_DOMAIN_RUNNING, 1), DomainState::Running);
        assert_eq!(meaning(sys::VIR_DOMAIN_PAUSED, sys::VIR_DOMAIN_PAUSED_IOERROR), DomainState::Paused);
        assert_eq!(meaning(sys::VIR_DOMAIN_PAUSED, sys::VIR_DOMAIN_PAUSED_MIGRATION), DomainState::Passing);
        assert_eq!(
            meaning(sys::VIR_DOMAIN_PAUSED, sys::VIR_DOMAIN_PAUSED_STARTING_UP),
            DomainState::Undecided
        );
        assert_eq!(meaning(sys::VIR_DOMAIN_SHUTDOWN, 0), DomainState::Undecided);
    }

    #[tokio::test]
    async fn a_vm_without_a_domain_is_not_found_and_removing_it_is_success() {
        let libvirt = Libvirt::new(URI);
        let vm = VmId::new();
        assert_eq!(libvirt.find(vm).await.unwrap(), None);
        libvirt.remove(vm).await.unwrap();
    }
}
