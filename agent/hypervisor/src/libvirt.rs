//! libvirt. The only file that calls it.
//!
//! Its calls block, and a hung libvirtd blocks them for ever. So each runs on a thread of its own, of which there are at
//! most [`THREADS`], and is waited for at most [`DEADLINE`]: a call that is not answered keeps its thread, and when all
//! are taken, further calls fail at once. When libvirtd comes back, the threads do too.

use std::ffi::{c_int, c_void};
use std::sync::{Arc, Mutex, Once, PoisonError};
use std::time::Duration;

use podzol_agent_api::vm::{Ended, Usage};
use podzol_vocab::VmId;
use tokio::sync::{Notify, Semaphore};
use virt::connect::Connect;
use virt::error::{Error, ErrorNumber};
use virt::sys;

use crate::xml::{self, NAMESPACE};
use crate::{Domain, DomainState, Found, Hypervisor, HypervisorError, Record};

/// The most calls at a time.
const THREADS: usize = 8;

/// How long a call may take. Starting a VM takes under ten seconds even on an emulated host.
const DEADLINE: Duration = Duration::from_secs(60);

/// How often libvirtd is asked whether it is there when nothing is heard of it.
const KEEP_ALIVE: (i32, u32) = (5, 3);

/// libvirt's QEMU driver.
pub struct Libvirt {
    uri: String,
    connection: Arc<Mutex<Option<Arc<Connection>>>>,
    threads: Arc<Semaphore>,
    changed: Arc<Notify>,
}

/// A connection with its registration for events.
struct Connection {
    connect: Connect,
    callback: c_int,
}

impl Drop for Connection {
    fn drop(&mut self) {
        if self.callback >= 0 {
            // SAFETY: the connection is open until the next line, and the id is of a registration on it.
            #[allow(unsafe_code)]
            unsafe {
                sys::virConnectDomainEventDeregisterAny(self.connect.as_ptr(), self.callback);
            }
        }
        let _ = self.connect.close();
    }
}

impl Libvirt {
    /// libvirt at a URI, such as `qemu:///system`. It is connected to when it is first needed.
    pub fn new(uri: impl Into<String>) -> Self {
        run_events();
        Self {
            uri: uri.into(),
            connection: Arc::default(),
            threads: Arc::new(Semaphore::new(THREADS)),
            changed: Arc::default(),
        }
    }

    async fn call<T: Send + 'static>(
        &self,
        step: &'static str,
        work: impl FnOnce(&Connect) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, HypervisorError> {
        let unavailable = |reason: String| HypervisorError::Unavailable { step, reason };
        let Ok(thread) = Arc::clone(&self.threads).try_acquire_owned() else {
            return Err(unavailable("all threads wait for it already".into()));
        };
        let (uri, shared, changed) =
            (self.uri.clone(), Arc::clone(&self.connection), Arc::clone(&self.changed));
        let task = tokio::task::spawn_blocking(move || {
            let _thread = thread;
            let connection = connected(&uri, &shared, &changed)
                .map_err(|error| HypervisorError::Unavailable { step, reason: error.message().to_owned() })?;
            work(&connection.connect).map_err(|error| {
                if connection.connect.is_alive().unwrap_or(false) {
                    return HypervisorError::Failed { step, reason: error.message().to_owned() };
                }
                *shared.lock().unwrap_or_else(PoisonError::into_inner) = None;
                HypervisorError::Unavailable { step, reason: error.message().to_owned() }
            })
        });
        match tokio::time::timeout(DEADLINE, task).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(unavailable("the call broke off".into())),
            Err(_) => Err(unavailable(format!("no answer in {} s", DEADLINE.as_secs()))),
        }
    }
}

/// The connection, made anew if there is none or it is dead.
fn connected(
    uri: &str,
    shared: &Mutex<Option<Arc<Connection>>>,
    changed: &Arc<Notify>,
) -> Result<Arc<Connection>, Error> {
    let known = shared.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if let Some(known) = known.filter(|known| known.connect.is_alive().unwrap_or(false)) {
        return Ok(known);
    }
    let connect = Connect::open(Some(uri))?;
    let _ = connect.set_keep_alive(KEEP_ALIVE.0, KEEP_ALIVE.1);
    let callback = follow(&connect, Arc::clone(changed));
    let made = Arc::new(Connection { connect, callback });
    *shared.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&made));
    changed.notify_one();
    Ok(made)
}

impl Hypervisor for Libvirt {
    async fn version(&self) -> Result<String, HypervisorError> {
        self.call("tell its version", |connect| {
            let (hypervisor, library) = (connect.get_hyp_version()?, connect.get_lib_version()?);
            Ok(format!("QEMU {}, libvirt {}", dotted(hypervisor), dotted(library)))
        })
        .await
    }

    async fn list(&self) -> Result<Vec<Found>, HypervisorError> {
        self.call("list its domains", |connect| {
            let mut list = Vec::new();
            for domain in connect.list_all_domains(0)? {
                match found(&domain) {
                    Ok(found) => list.extend(found),
                    // It went while it was looked at.
                    Err(error) if error.code() == ErrorNumber::NoDomain => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(list)
        })
        .await
    }

    async fn start(&self, domain: Domain) -> Result<(), HypervisorError> {
        self.call("start the VM", move |connect| {
            let defined = virt::domain::Domain::define_xml(connect, &xml::domain(&domain))?;
            match defined.create() {
                Err(error) if !defined.is_active().unwrap_or(false) => Err(error),
                _ => Ok(()),
            }
        })
        .await
    }

    async fn note(&self, record: Record) -> Result<(), HypervisorError> {
        self.call("note what the VM should be", move |connect| {
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
        self.call("shut the VM down", move |connect| match lookup(connect, vm)? {
            Some(domain) if domain.is_active()? => domain.shutdown().map(drop),
            _ => Ok(()),
        })
        .await
    }

    async fn reboot(&self, vm: VmId) -> Result<(), HypervisorError> {
        self.call("reboot the VM", move |connect| match lookup(connect, vm)? {
            Some(domain) if domain.is_active()? => domain.reboot(0),
            _ => Ok(()),
        })
        .await
    }

    async fn remove(&self, vm: VmId) -> Result<(), HypervisorError> {
        self.call("remove the VM", move |connect| {
            let Some(domain) = lookup(connect, vm)? else { return Ok(()) };
            if domain.is_active()? {
                gone_is_fine(domain.destroy().map(drop))?;
            }
            let flags = sys::VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
                | sys::VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
                | sys::VIR_DOMAIN_UNDEFINE_NVRAM;
            gone_is_fine(domain.undefine_flags(flags))
        })
        .await
    }

    async fn changed(&self) {
        self.changed.notified().await;
    }
}

fn gone_is_fine(result: Result<(), Error>) -> Result<(), Error> {
    match result {
        Err(error) if matches!(error.code(), ErrorNumber::NoDomain | ErrorNumber::OperationInvalid) => Ok(()),
        result => result,
    }
}

fn lookup(connect: &Connect, vm: VmId) -> Result<Option<virt::domain::Domain>, Error> {
    match virt::domain::Domain::lookup_by_uuid_string(connect, &vm.to_string()) {
        Ok(domain) => Ok(Some(domain)),
        Err(error) if error.code() == ErrorNumber::NoDomain => Ok(None),
        Err(error) => Err(error),
    }
}

/// What is known of a domain; nothing if it is not ours.
fn found(domain: &virt::domain::Domain) -> Result<Option<Found>, Error> {
    let kind = sys::VIR_DOMAIN_METADATA_ELEMENT as c_int;
    let element = match domain.get_metadata(kind, Some(NAMESPACE), sys::VIR_DOMAIN_AFFECT_CURRENT) {
        Ok(element) => element,
        Err(error) if error.code() == ErrorNumber::NoDomainMetadata => return Ok(None),
        Err(error) => return Err(error),
    };
    let Some(record) = xml::read_metadata(&element) else { return Ok(None) };
    let (state, reason) = domain.get_state()?;
    let state = match state {
        sys::VIR_DOMAIN_SHUTOFF if reason == sys::VIR_DOMAIN_SHUTOFF_SHUTDOWN as i32 => {
            DomainState::Off(Ended::ByItself)
        }
        sys::VIR_DOMAIN_SHUTOFF | sys::VIR_DOMAIN_CRASHED => DomainState::Off(Ended::ByForce),
        _ => DomainState::Running,
    };
    let usage = if state == DomainState::Running { usage(domain, &record) } else { Usage::default() };
    Ok(Some(Found { record, state, usage }))
}

/// What a domain has used. A counter that cannot be read stays zero.
fn usage(domain: &virt::domain::Domain, record: &Record) -> Usage {
    let mut usage = Usage::default();
    if let Ok(info) = domain.get_info() {
        usage.cpu_nanos = info.cpu_time;
        usage.memory_kib = info.memory;
    }
    if !record.plan.disks.is_empty()
        && let Ok(stats) = domain.get_block_stats("vda")
    {
        usage.disk_read_bytes = stats.rd_bytes.max(0) as u64;
        usage.disk_written_bytes = stats.wr_bytes.max(0) as u64;
    }
    for nic in &record.plan.nics {
        // Seen from the host: what the VM sent was received by its tap.
        if let Ok(stats) = domain.interface_stats(&nic.mac.to_string()) {
            usage.network_sent_bytes += stats.rx_bytes.max(0) as u64;
            usage.network_received_bytes += stats.tx_bytes.max(0) as u64;
        }
    }
    usage
}

/// libvirt's versions are one number: major * 1,000,000 + minor * 1,000 + release.
fn dotted(version: u32) -> String {
    format!("{}.{}.{}", version / 1_000_000, version / 1000 % 1000, version % 1000)
}

/// Runs libvirt's event loop on a thread of its own, once in a process, before the first connection.
#[allow(unsafe_code)]
fn run_events() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        virt::error::clear_error_callback();
        // SAFETY: called once, before any connection is made, as libvirt demands.
        if unsafe { sys::virEventRegisterDefaultImpl() } < 0 {
            tracing::error!("cannot set up libvirt's events; changes are seen by asking only");
            return;
        }
        let events = || {
            loop {
                // SAFETY: the default implementation was registered above.
                if unsafe { sys::virEventRunDefaultImpl() } < 0 {
                    std::thread::sleep(Duration::from_millis(200));
                }
            }
        };
        if let Err(error) = std::thread::Builder::new().name("libvirt-events".into()).spawn(events) {
            tracing::error!(%error, "cannot follow libvirt's events");
        }
    });
}

/// Registers for lifecycle events. Returns the registration, or -1 without one.
#[allow(unsafe_code)]
fn follow(connect: &Connect, changed: Arc<Notify>) -> c_int {
    type Lifecycle =
        unsafe extern "C" fn(sys::virConnectPtr, sys::virDomainPtr, c_int, c_int, *mut c_void) -> c_int;
    type Generic = unsafe extern "C" fn(sys::virConnectPtr, sys::virDomainPtr, *mut c_void);
    let opaque = Arc::into_raw(changed).cast_mut().cast::<c_void>();
    // SAFETY: libvirt calls lifecycle callbacks with this very signature (VIR_DOMAIN_EVENT_ID_LIFECYCLE), and frees the
    // opaque pointer with the function given for it exactly once.
    let id = unsafe {
        let callback = std::mem::transmute::<Lifecycle, Generic>(on_lifecycle);
        sys::virConnectDomainEventRegisterAny(
            connect.as_ptr(),
            std::ptr::null_mut(),
            sys::VIR_DOMAIN_EVENT_ID_LIFECYCLE as c_int,
            Some(callback),
            opaque,
            Some(free_notify),
        )
    };
    if id < 0 {
        // SAFETY: the registration failed, so libvirt does not free it.
        drop(unsafe { Arc::from_raw(opaque.cast::<Notify>()) });
    }
    id
}

#[allow(unsafe_code)]
unsafe extern "C" fn on_lifecycle(
    _: sys::virConnectPtr,
    _: sys::virDomainPtr,
    _: c_int,
    _: c_int,
    opaque: *mut c_void,
) -> c_int {
    // SAFETY: `opaque` is the Arc<Notify> of the registration, which lives until `free_notify`.
    unsafe { (*opaque.cast::<Notify>()).notify_one() };
    0
}

#[allow(unsafe_code)]
unsafe extern "C" fn free_notify(opaque: *mut c_void) {
    // SAFETY: `opaque` came from Arc::into_raw in `follow`, and libvirt calls this once.
    drop(unsafe { Arc::from_raw(opaque.cast::<Notify>()) });
}
