//! The connection to libvirt: made when it is first needed, made anew when it is dead, and followed for its events.

use std::ffi::{c_int, c_void};
use std::sync::{Arc, Mutex, Once, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use virt::connect::Connect;
use virt::error::Error;
use virt::sys;

/// How often libvirtd is asked whether it is there when nothing is heard of it.
const KEEP_ALIVE: (i32, u32) = (5, 3);

/// libvirt at a URI, connected to or not.
pub(super) struct Link {
    uri: String,
    connection: Mutex<Option<Arc<Connection>>>,
    changed: Arc<Notify>,
}

impl Link {
    /// libvirt at this URI. It is connected to when it is first needed.
    pub(super) fn new(uri: String) -> Self {
        run_events();
        Self { uri, connection: Mutex::default(), changed: Arc::default() }
    }

    /// The connection, made anew if there is none or it is dead.
    pub(super) fn connected(&self) -> Result<Arc<Connection>, Error> {
        let known = self.connection.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(known) = known.filter(|known| known.is_alive()) {
            return Ok(known);
        }
        let connect = Connect::open(Some(&self.uri))?;
        let _ = connect.set_keep_alive(KEEP_ALIVE.0, KEEP_ALIVE.1);
        let callback = follow(&connect, Arc::clone(&self.changed));
        let made = Arc::new(Connection { connect, callback });
        *self.connection.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&made));
        self.changed.notify_one();
        Ok(made)
    }

    /// Has the next call make a connection of its own.
    pub(super) fn forget(&self) {
        *self.connection.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Waits until something may have changed.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }
}

/// A connection with its registration for events.
pub(super) struct Connection {
    pub(super) connect: Connect,
    callback: c_int,
}

impl Connection {
    /// Whether libvirtd is still at its other end.
    pub(super) fn is_alive(&self) -> bool {
        self.connect.is_alive().unwrap_or(false)
    }
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
