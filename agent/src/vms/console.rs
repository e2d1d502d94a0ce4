//! Streams to the displays and serial ports of VMs that run here.
//!
//! QEMU listens on a UNIX socket for each. What is carried is not looked at: a display speaks RFB, a serial port anything.
//! A stream ends when either side does, and QEMU's does when the VM ends or has moved away.
//!
//! Several may look at a display. A serial port has one reader at a time, and QEMU lets a second one wait without a word: so a new
//! stream ends the one before it, which may be of somebody who is dead and not yet known to be.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use podzol_agent_api::console::MAX_DISPLAYS;
use podzol_hypervisor::{Hypervisor, HypervisorError};
use podzol_rpc::Bytes;
use podzol_vocab::{ErrorCode, VmId, WireError};
use tokio::io::copy_bidirectional_with_sizes;
use tokio::net::UnixStream;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::Vms;
use crate::platform::Platform;

/// How long QEMU may take to accept a connection: one that is busy or stands still does so at once, as its kernel does it.
const CONNECTS: Duration = Duration::from_secs(5);

/// Bytes that wait on the way to a VM, which are keys, and from it, which are pixels.
const WAITING: (usize, usize) = (4 << 10, 64 << 10);

/// Who looks at what. Cloning is cheap.
#[derive(Debug, Clone, Default)]
pub(crate) struct Consoles(Arc<Mutex<Open>>);

#[derive(Debug, Default)]
struct Open {
    displays: HashMap<VmId, usize>,
    /// The stream of each serial port, by the number of streams before it.
    serials: HashMap<VmId, (u64, CancellationToken)>,
    streams: u64,
}

/// A place at a VM's console. It is given back when this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    consoles: Consoles,
    vm: VmId,
    /// Of a serial port: which stream this is.
    serial: Option<u64>,
    ended: CancellationToken,
    _end: DropGuard,
}

impl Consoles {
    fn open(&self) -> MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn display(&self, vm: VmId) -> Option<Place> {
        let mut open = self.open();
        let count = open.displays.entry(vm).or_default();
        if *count >= MAX_DISPLAYS {
            return None;
        }
        *count += 1;
        Some(self.place(vm, None, CancellationToken::new()))
    }

    fn serial(&self, vm: VmId) -> Place {
        let (mut open, ended) = (self.open(), CancellationToken::new());
        open.streams += 1;
        let number = open.streams;
        if let Some((_, before)) = open.serials.insert(vm, (number, ended.clone())) {
            before.cancel();
        }
        self.place(vm, Some(number), ended)
    }

    fn place(&self, vm: VmId, serial: Option<u64>, ended: CancellationToken) -> Place {
        let end = ended.clone().drop_guard();
        Place { consoles: self.clone(), vm, serial, ended, _end: end }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.consoles.open();
        match self.serial {
            Some(number) => {
                if open.serials.get(&self.vm).is_some_and(|(newest, _)| *newest == number) {
                    open.serials.remove(&self.vm);
                }
            }
            None => {
                if let Some(count) = open.displays.get_mut(&self.vm) {
                    *count -= 1;
                    if *count == 0 {
                        open.displays.remove(&self.vm);
                    }
                }
            }
        }
    }
}

impl<P: Platform> Vms<P> {
    /// The display of a VM that runs here.
    ///
    /// # Errors
    /// When it does not run here or has none, too many look at it, or the hypervisor does not answer.
    pub(crate) async fn display(&self, vm: VmId) -> Result<(UnixStream, Place), WireError> {
        let found = self.platform().hypervisor().display(vm).await.map_err(|error| no_answer(&error))?;
        let path = found.ok_or_else(|| not_here(vm))?;
        let too_many = || WireError::new(ErrorCode::Exhausted, format!("{MAX_DISPLAYS} look at it already"));
        let place = self.consoles().display(vm).ok_or_else(too_many)?;
        Ok((connect(vm, path).await?, place))
    }

    /// The serial port of a VM that runs here; whoever had it before has it no more.
    ///
    /// # Errors
    /// When it does not run here, or the hypervisor does not answer.
    pub(crate) async fn serial(&self, vm: VmId) -> Result<(UnixStream, Place), WireError> {
        let found = self.platform().hypervisor().find(vm).await.map_err(|error| no_answer(&error))?;
        found.filter(|found| found.runs()).ok_or_else(|| not_here(vm))?;
        let place = self.consoles().serial(vm);
        Ok((connect(vm, self.files().serial_socket(vm)).await?, place))
    }
}

/// Carries the bytes of a stream until it ends on either side, or the place is another's.
pub(crate) async fn carry(mut stream: Box<dyn Bytes>, (mut socket, place): (UnixStream, Place)) {
    let (to_vm, from_vm) = WAITING;
    let copy = copy_bidirectional_with_sizes(&mut stream, &mut socket, to_vm, from_vm);
    // However it ends, both sides hear of it: that is all there is to say.
    let _ = place.ended.run_until_cancelled(copy).await;
}

async fn connect(vm: VmId, path: PathBuf) -> Result<UnixStream, WireError> {
    let connected = tokio::time::timeout(CONNECTS, UnixStream::connect(&path)).await;
    connected.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into())).map_err(|error| {
        tracing::warn!(%vm, %error, path = %path.display(), "cannot connect to a console");
        WireError::new(ErrorCode::Unavailable, "the console does not answer")
    })
}

fn not_here(vm: VmId) -> WireError {
    WireError::new(ErrorCode::NotFound, format!("VM {vm} has no console here now"))
}

fn no_answer(error: &HypervisorError) -> WireError {
    tracing::warn!(%error, "cannot ask for a console");
    WireError::new(ErrorCode::Unavailable, "the hypervisor does not answer")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_display_takes_so_many_and_a_place_that_is_left_is_free() {
        let (consoles, vm) = (Consoles::default(), VmId::new());
        let mut places: Vec<Place> = std::iter::from_fn(|| consoles.display(vm)).collect();
        assert_eq!(places.len(), MAX_DISPLAYS);
        assert!(consoles.display(VmId::new()).is_some());
        places.pop();
        assert!(consoles.display(vm).is_some());
        drop(places);
        assert!(consoles.open().displays.is_empty());
    }

    #[test]
    fn a_new_reader_of_a_serial_port_ends_the_one_before_it() {
        let (consoles, vm) = (Consoles::default(), VmId::new());
        let first = consoles.serial(vm);
        let second = consoles.serial(vm);
        assert!(first.ended.is_cancelled() && !second.ended.is_cancelled());
        drop(first);
        assert!(!second.ended.is_cancelled() && consoles.open().serials.len() == 1);
        drop(second);
        assert!(consoles.open().serials.is_empty());
    }
}
