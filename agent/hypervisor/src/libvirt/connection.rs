//! The connections to libvirt: one for its events, and one for each call that is made at the same time.
//!
//! # Design notes
//! Threads do not share a connection. In a libvirt without the fix of CVE-2024-4418 a thread that begins to wait on a connection
//! on which another waits can have that other read what was on the stack of a function that has returned; an agent died of
//! it whenever libvirtd hung. What the client sends by itself to see whether libvirtd is there begins to wait in the same
//! way, so only the connection for events does that: no call is made on it from then on. Besides, libvirtd serves five calls of a
//! connection at a time, and five VMs that hang would have held up all others.
//!
//! Refused: one connection behind a lock, as one domain that hangs would hold up the whole host; a new one for each call,
//! which costs libvirtd a start of ten messages each time.

use std::ffi::{c_int, c_void};
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError, TryLockError};
use std::time::Duration;

use tokio::sync::Notify;
use virt::connect::Connect;
use virt::error::Error;
use virt::sys;

/// How often libvirtd is asked whether it is there when nothing is heard of it.
const KEEP_ALIVE: (i32, u32) = (5, 3);

/// The most connections that are kept for later calls.
const IDLE: usize = 8;

/// libvirt at a URI, connected to or not.
pub(super) struct Link {
    uri: String,
    /// Held while it is connected to. Nobody waits for it.
    events: Mutex<Option<Events>>,
    idle: Mutex<Vec<Connection>>,
    changed: Arc<Notify>,
}

impl Link {
    /// libvirt at this URI. It is connected to when it is first needed.
    pub(super) fn new(uri: String) -> Self {
        run_events();
        Self { uri, events: Mutex::default(), idle: Mutex::default(), changed: Arc::default() }
    }

    /// A connection for one call, which gives it back with [`Link::keep`].
    pub(super) fn lend(&self) -> Result<Connection, Error> {
        self.follow_events()?;
        let idle = std::iter::from_fn(|| self.idle().pop()).find(Connection::is_alive);
        idle.map_or_else(|| Connection::open(&self.uri), Ok)
    }

    /// Keeps a connection for a later call, unless it is dead or there are enough.
    pub(super) fn keep(&self, connection: Connection) {
        if connection.is_alive() {
            let mut idle = self.idle();
            if idle.len() < IDLE {
                idle.push(connection);
                return;
            }
        }
        // Whatever closing it waits for, nobody else waits for that.
        drop(connection);
    }

    /// Has later calls make connections of their own.
    pub(super) fn forget(&self) {
        let idle = std::mem::take(&mut *self.idle());
        // After the lock.
        drop(idle);
    }

    /// Waits until something may have changed.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Connects for events if that connection is not there, and nobody is about to make it.
    fn follow_events(&self) -> Result<(), Error> {
        let mut events = match self.events.try_lock() {
            Ok(events) => events,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Ok(()),
        };
        if !events.as_ref().is_some_and(|events| events.connection.is_alive()) {
            *events = None;
            *events = Some(Events::follow(Connection::open(&self.uri)?, Arc::clone(&self.changed)));
            self.changed.notify_one();
        }
        Ok(())
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection, closed when it is dropped.
pub(super) struct Connection(Connect);

impl Connection {
    fn open(uri: &str) -> Result<Self, Error> {
        Connect::open(Some(uri)).map(Self)
    }

    /// Whether libvirtd is still at its other end.
    pub(super) fn is_alive(&self) -> bool {
        self.0.is_alive().unwrap_or(false)
    }
}

impl Deref for Connection {
    type Target = Connect;

    fn deref(&self) -> &Connect {
        &self.0
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let _ = self.0.close();
    }
}

/// A connection with its registration for events.
struct Events {
    connection: Connection,
    callback: c_int,
}

impl Events {
    /// Tells of each change from now on, and whether libvirtd is still there. Where events are not to be had, changes are
    /// seen by asking only.
    fn follow(connection: Connection, changed: Arc<Notify>) -> Self {
        let callback = follow(&connection, changed);
        let _ = connection.set_keep_alive(KEEP_ALIVE.0, KEEP_ALIVE.1);
        Self { connection, callback }
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        if self.callback >= 0 {
            // SAFETY: the connection is open until it is dropped after this, and the id is of a registration on it.
            #[allow(unsafe_code)]
            unsafe {
                sys::virConnectDomainEventDeregisterAny(self.connection.as_ptr(), self.callback);
            }
        }
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
