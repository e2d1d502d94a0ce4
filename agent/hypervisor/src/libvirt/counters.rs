//! What domains have used: libvirt's statistics of all domains at once.
//!
//! libvirt asks QEMU for those of disks, and a QEMU that hangs does not answer. So a domain of which somebody waits for
//! an answer already is passed over (`NOWAIT`), and counting has a thread of its own to hang on.

use std::collections::HashMap;
use std::ffi::CStr;

use podzol_agent_api::vm::Usage;
use podzol_vocab::VmId;
use virt::connect::Connect;
use virt::error::Error;
use virt::sys;

/// The groups of counters that are asked for.
const WANTED: sys::virDomainStatsTypes = sys::VIR_DOMAIN_STATS_CPU_TOTAL
    | sys::VIR_DOMAIN_STATS_BALLOON
    | sys::VIR_DOMAIN_STATS_INTERFACE
    | sys::VIR_DOMAIN_STATS_BLOCK;

/// Domains that run, without waiting for any of them.
const FLAGS: sys::virConnectGetAllDomainStatsFlags =
    sys::VIR_CONNECT_GET_ALL_DOMAINS_STATS_ACTIVE | sys::VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT;

/// libvirt's list of records, which ends with a null pointer.
struct Records(*mut sys::virDomainStatsRecordPtr);

impl Drop for Records {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        // SAFETY: libvirt made the list, and nothing refers to it any more.
        unsafe { sys::virDomainStatsRecordListFree(self.0) };
    }
}

/// The counters of all domains that run, ours or not.
#[allow(unsafe_code)]
pub(super) fn of_running(connect: &Connect) -> Result<HashMap<VmId, Usage>, Error> {
    let mut list = std::ptr::null_mut();
    // SAFETY: the connection is open, and `list` is a place for the pointer that libvirt gives.
    let count = unsafe { sys::virConnectGetAllDomainStats(connect.as_ptr(), WANTED, &mut list, FLAGS) };
    let Ok(count) = usize::try_from(count) else { return Err(Error::last_error()) };
    let records = Records(list);
    let mut all = HashMap::with_capacity(count);
    for index in 0..count {
        // SAFETY: libvirt has put so many pointers to records into the list, and they are valid until it is freed.
        let record = unsafe { &**records.0.add(index) };
        if let Some(vm) = id(record) {
            all.insert(vm, usage(record));
        }
    }
    Ok(all)
}

#[allow(unsafe_code)]
fn id(record: &sys::virDomainStatsRecord) -> Option<VmId> {
    let mut bytes = [0; sys::VIR_UUID_BUFLEN as usize];
    // SAFETY: the record's domain is valid as long as the record, and the place has the size of a UUID.
    let told = unsafe { sys::virDomainGetUUID(record.dom, bytes.as_mut_ptr()) };
    (told == 0).then(|| VmId::from_bytes(bytes))
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

/// Adds a counter by its name (virConnectGetAllDomainStats: `cpu.time`, `block.<number>.rd.bytes`, …). Those of a network
/// interface are seen from the VM: `rx` is what it received.
fn add(usage: &mut Usage, name: &str, value: u64) {
    let (group, rest) = name.split_once('.').unwrap_or((name, ""));
    let counter = match (group, rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.')) {
        ("cpu", "time") => &mut usage.cpu_nanos,
        ("balloon", "current") => &mut usage.memory_kib,
        ("block", "rd.bytes") => &mut usage.disk_read_bytes,
        ("block", "wr.bytes") => &mut usage.disk_written_bytes,
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
    fn all_disks_and_interfaces_are_counted_and_a_vm_receives_what_its_tap_calls_rx() {
        let told = [
            ("cpu.time", 7),
            ("cpu.user", 100),
            ("balloon.current", 512),
            ("balloon.maximum", 1024),
            ("block.count", 2),
            ("block.0.rd.bytes", 1),
            ("block.0.rd.reqs", 100),
            ("block.0.wr.bytes", 2),
            ("block.11.rd.bytes", 10),
            ("block.11.wr.bytes", 20),
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
            disk_read_bytes: 11,
            disk_written_bytes: 22,
            network_received_bytes: 33,
            network_sent_bytes: 4,
        };
        assert_eq!(usage, expected);
    }
}
