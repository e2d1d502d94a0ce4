//! Moving a domain to another host while it runs.
//!
//! libvirt moves it from peer to peer: the daemon here speaks to the one there, and QEMU here sends the memory to QEMU
//! there. Both go through UNIX sockets on this host ([`Route`]), behind which the agents carry the bytes over their own
//! mutual TLS. So no port of libvirt's or QEMU's is open on any network, and no second set of certificates is needed.
//! Refused: `VIR_MIGRATE_TUNNELLED`, which copies all memory through both daemons and supports few of QEMU's ways;
//! libvirt's own TLS, whose certificates would let any host of the zone in at any time, where an agent lets in one host,
//! for one VM, for as long as that VM is on its way.

use podzol_agent_api::vm::Moved;
use virt::domain::{Domain, MigrateParameters};
use virt::error::{Error, ErrorNumber};
use virt::sys;

use crate::Route;

/// Moves it; ends when it has gone or will not.
pub(super) fn leave(domain: &Domain, route: &Route) -> Result<(), Error> {
    let flags = sys::VIR_MIGRATE_LIVE
        | sys::VIR_MIGRATE_PEER2PEER
        | sys::VIR_MIGRATE_PERSIST_DEST
        | sys::VIR_MIGRATE_UNDEFINE_SOURCE
        // A disk that fails meanwhile would fail there too, with no way back.
        | sys::VIR_MIGRATE_ABORT_ON_ERROR
        // A guest that writes faster than the link carries is slowed down until it fits.
        | sys::VIR_MIGRATE_AUTO_CONVERGE;
    let there = format!("qemu+unix:///system?socket={}", route.control.display());
    let uri = Some(format!("unix://{}", route.data.display()));
    domain.migrate_to_uri3(Some(&there), MigrateParameters { uri, ..Default::default() }, flags)
}

/// How much has gone; nothing if it is not on its way.
pub(super) fn moved(domain: &Domain) -> Result<Option<Moved>, Error> {
    let job = match domain.get_job_info() {
        Err(error) if is_over(&error) => return Ok(None),
        job => job?,
    };
    let moving = job.r#type != sys::VIR_DOMAIN_JOB_NONE as i32;
    Ok(moving.then(|| Moved {
        sent_bytes: job.data_processed.unwrap_or(0),
        left_bytes: job.data_remaining.unwrap_or(0),
    }))
}

/// Has it stay, if it still can.
#[allow(unsafe_code)]
pub(super) fn call_back(domain: &Domain) -> Result<(), Error> {
    // SAFETY: the domain is a live one of this library's; the call keeps nothing of it.
    if unsafe { sys::virDomainAbortJob(domain.as_ptr()) } == 0 {
        return Ok(());
    }
    let error = Error::last_error();
    if is_over(&error) { Ok(()) } else { Err(error) }
}

/// Whether there is nothing on its way any more, or no domain.
fn is_over(error: &Error) -> bool {
    matches!(error.code(), ErrorNumber::OperationInvalid | ErrorNumber::NoDomain)
}
