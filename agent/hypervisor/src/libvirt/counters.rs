//! What domains have used: libvirt's statistics, asked of one domain after another.
//!
//! libvirt asks QEMU for some of them, and a QEMU that hangs does not answer. So a domain of which somebody waits for an
//! answer already is passed over, and counting has threads of its own to hang on: one for each such domain.
//!
//! # Design notes
//! libvirt's group of all that there is to know about disks (`VIR_DOMAIN_STATS_BLOCK`) is not asked for. For it QEMU
//! looks at the size of each image's file, in its main loop; while a storage server is away, that look does not return,
//! and a VM stands still that needs no disk. `virDomainBlockStats` has the counters alone, which QEMU knows by heart.

use std::collections::{HashMap, HashSet};
use std::ffi::CStr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use podzol_agent_api::vm::Usage;
use podzol_vocab::VmId;
use virt::connect::Connect;
use virt::domain::Domain;
use virt::error::Error;
use virt::sys;

use super::threads::Abandoned;

/// The groups of counters that are asked for; disks are counted apart.
const WANTED: sys::virDomainStatsTypes =
    sys::VIR_DOMAIN_STATS_CPU_TOTAL | sys::VIR_DOMAIN_STATS_BALLOON | sys::VIR_DOMAIN_STATS_INTERFACE;

/// All disks of a domain together, for `virDomainBlockStats`.
const ALL_DISKS: &str = "";

/// Counts what domains use.
#[derive(Debug, Default)]
pub(super) struct Counters {
    /// The domains of which somebody waits for an answer.
    asked: Mutex<HashSet<VmId>>,
    counted: Mutex<HashMap<VmId, Usage>>,
}

impl Counters {
    /// Counts what all running domains have used, ours or not, until nobody waits for it any more.
    ///
    /// # Errors
    /// When the domains cannot be listed. One that cannot be counted is left out.
    pub(super) fn count(&self, connect: &Connect, abandoned: &Abandoned) -> Result<(), Error> {
        for domain in connect.list_all_domains(sys::VIR_CONNECT_LIST_DOMAINS_ACTIVE)? {
            if abandoned.is_so() {
                return Ok(());
            }
            let vm = VmId::from_bytes(*domain.get_uuid()?.as_bytes());
            if !lock(&self.asked).insert(vm) {
                continue;
            }
            let usage = of_domain(&domain);
            lock(&self.asked).remove(&vm);
            match usage {
                Ok(usage) => drop(lock(&self.counted).insert(vm, usage)),
                Err(error) => tracing::debug!(%vm, %error, "cannot count what a VM uses"),
            }
        }
        Ok(())
    }

    /// What has been counted since this was asked last.
    pub(super) fn take(&self) -> HashMap<VmId, Usage> {
        std::mem::take(&mut *lock(&self.counted))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn of_domain(domain: &Domain) -> Result<Usage, Error> {
    let mut usage = statistics(domain)?;
    let disks = domain.get_block_stats(ALL_DISKS)?;
    // What libvirt does not know it tells as -1.
    usage.disk_read_bytes = u64::try_from(disks.rd_bytes).unwrap_or(0);
    usage.disk_written_bytes = u64::try_from(disks.wr_bytes).unwrap_or(0);
    Ok(usage)
}

/// libvirt's list of records, which ends with a null pointer.
struct Records(*mut sys::virDomainStatsRecordPtr);

impl Drop for Records {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        // SAFETY: libvirt made the list, and nothing refers to it any more.
        unsafe { sys::virDomainStatsRecordListFree(self.0) };
    }
}

/// The counters of the wanted groups; those that are not to be had at once are zero.
#[allow(unsafe_code)]
fn statistics(domain: &Domain) -> Result<Usage, Error> {
    let mut domains = [domain.as_ptr(), std::ptr::null_mut()];
    let mut list = std::ptr::null_mut();
    let flags = sys::VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT;
    // SAFETY: the list of domains ends with a null pointer, and `list` is a place for the pointer that libvirt gives.
    let count = unsafe { sys::virDomainListGetStats(domains.as_mut_ptr(), WANTED, &mut list, flags) };
    if count < 0 {
        return Err(Error::last_error());
    }
    let records = Records(list);
    if count == 0 {
        return Ok(Usage::default());
    }
    // SAFETY: libvirt has put a pointer to a record into the list, and it is valid until the list is freed.
    Ok(usage(unsafe { &**records.0 }))
}

#[allow(unsafe_code)]
fn usage(record: &sys::virDomainStatsRecord) -> Usage {
    let mut usage = Usage::default();
    for index in 0..usize::try_from(record.nparams).unwrap_or(0) {
        // SAFETY: the record has so many parameters.
        let parameter = unsafe { &*record.params.add(index) };
        if parameter.type_ as u32 == sys::VIR_TYPED_PARAM_ULLONG {
            // SAFETY: a parameter's name ends with a null byte, and its type says which of the values it has.
            let (name, value) = unsafe { (CStr::from_ptr(parameter.field.as_ptr()), parameter.value.ul) };
            add(&mut usage, &name.to_string_lossy(), value);
        }
    }
    usage
}

/// Adds a counter by its name (virConnectGetAllDomainStats: `cpu.time`, `net.<number>.rx.bytes`, …). Those of a network
/// interface are seen from the VM: `rx` is what it received.
fn add(usage: &mut Usage, name: &str, value: u64) {
    let (group, rest) = name.split_once('.').unwrap_or((name, ""));
    let counter = match (group, rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.')) {
        ("cpu", "time") => &mut usage.cpu_nanos,
        ("balloon", "current") => &mut usage.memory_kib,
        ("net", "rx.bytes") => &mut usage.network_received_bytes,
        ("net", "tx.bytes") => &mut usage.network_sent_bytes,
        _ => return,
    };
    *counter = counter.saturating_add(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_interfaces_are_counted_and_a_vm_receives_what_its_tap_calls_rx() {
        let told = [
            ("cpu.time", 7),
            ("cpu.user", 100),
            ("balloon.current", 512),
            ("balloon.maximum", 1024),
            ("net.0.rx.bytes", 3),
            ("net.0.tx.bytes", 4),
            ("net.1.rx.bytes", 30),
            ("net.1.tx.pkts", 100),
        ];
        let mut usage = Usage::default();
        told.iter().for_each(|(name, value)| add(&mut usage, name, *value));
        let expected = Usage {
            cpu_nanos: 7,
            memory_kib: 512,
            network_received_bytes: 33,
            network_sent_bytes: 4,
            ..Usage::default()
        };
        assert_eq!(usage, expected);
    }
}
