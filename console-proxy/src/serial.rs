//! The serial port of a VM: what it has written lately, and what waits to be written to it.
//!
//! It is reached through the agent of the VM's host, while a page shows it. A host lets one reader at a time have it, the newest;
//! so whoever loses it waits longer each time before it takes it again.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use bytes::{Buf, Bytes, BytesMut};
use podzol_console_proxy_api::Upstream;
use tokio::io::AsyncReadExt;
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::limits::{LINGER, SERIAL_BYTES};
use crate::ring::Ring;
use crate::told::SerialTold;
use crate::upstream::backoff::Backoff;
use crate::upstream::{chain, dial, put};
use crate::vm::Vm;
use crate::worker::Worker;

/// What waits to be written at most, beside as much that is being written.
const WAITING: usize = 4 * SERIAL_BYTES;

/// A serial port.
#[derive(Debug, Default)]
pub(crate) struct Serial {
    ring: RefCell<Ring>,
    waiting: RefCell<BytesMut>,
    pub(crate) told: Cell<SerialTold>,
    /// How many requests of pages that show it are open.
    shown: Cell<usize>,
    /// There is something to read.
    pub(crate) news: Notify,
    /// There is something to do.
    pub(crate) wanted: Notify,
    room: Notify,
}

impl Serial {
    /// What follows the first `after` bytes: see [`Ring::read`].
    pub(crate) fn read(&self, after: u64) -> Option<(u64, Bytes)> {
        self.ring.borrow().read(after)
    }

    /// Gives bytes to it. It waits while too many do. Without a port they are forgotten.
    pub(crate) async fn write(&self, bytes: &[u8]) {
        loop {
            let room = self.room.notified();
            if self.told.get() != SerialTold::On {
                return;
            }
            if self.waiting.borrow().len() + bytes.len() <= WAITING {
                self.waiting.borrow_mut().extend_from_slice(bytes);
                return self.wanted.notify_waiters();
            }
            room.await;
        }
    }

    /// All that waits, to be written.
    fn take(&self) -> Bytes {
        let taken = self.waiting.borrow_mut().split().freeze();
        if !taken.is_empty() {
            self.room.notify_waiters();
        }
        taken
    }

    /// There is no port any more.
    pub(crate) fn end(&self) {
        self.told.set(SerialTold::None);
        self.forget();
    }

    fn forget(&self) {
        self.waiting.borrow_mut().clear();
        self.room.notify_waiters();
    }
}

/// A page shows a VM's serial port as long as this is there.
pub(crate) struct Shown(Rc<Vm>);

impl Shown {
    pub(crate) fn of(vm: &Rc<Vm>) -> Self {
        let serial = &vm.serial;
        if serial.shown.replace(serial.shown.get() + 1) == 0 {
            serial.wanted.notify_waiters();
        }
        Self(Rc::clone(vm))
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        let serial = &self.0.serial;
        if serial.shown.replace(serial.shown.get() - 1) == 1 {
            serial.wanted.notify_waiters();
        }
    }
}

/// Waits until no page has shown a VM's serial port for a while: between two polls none does.
async fn left(vm: &Vm) {
    loop {
        let changed = vm.serial.wanted.notified();
        if vm.serial.shown.get() > 0 {
            changed.await;
            continue;
        }
        tokio::select! {
            () = sleep(LINGER) => return,
            () = changed => {}
        }
    }
}

/// Keeps a VM's serial port while a page shows it.
pub(crate) async fn follow(worker: Rc<Worker>, vm: Rc<Vm>) {
    let (mut backoff, mut logged) = (Backoff::default(), None);
    loop {
        let wanted = vm.serial.wanted.notified();
        let (number, way) = vm.way();
        let is_there = matches!(way, Upstream::Agent { .. });
        tell(&vm, if is_there { SerialTold::Waiting } else { SerialTold::None });
        if !is_there || vm.serial.shown.get() == 0 {
            wanted.await;
            continue;
        }
        let dialled = tokio::select! {
            dialled = dial::serial(&worker, &vm, &way) => dialled,
            () = moved(&vm, number) => continue,
        };
        match dialled {
            Ok(stream) => {
                logged = None;
                tell(&vm, SerialTold::On);
                let began = worker.clock.now();
                tokio::select! {
                    _ = carry(&vm, stream, number) => {}
                    () = left(&vm) => {}
                }
                tell(&vm, SerialTold::Waiting);
                vm.serial.forget();
                backoff.lasted(worker.clock.now().saturating_sub(began));
            }
            Err(error) => {
                let causes = Some(chain(&error));
                if logged != causes {
                    tracing::warn!(vm = %vm.id, error = causes, "a VM's serial port cannot be reached");
                    logged = causes;
                }
            }
        }
        tokio::select! {
            () = sleep(backoff.next()) => {}
            () = moved(&vm, number) => {}
        }
    }
}

async fn moved(vm: &Vm, number: u64) {
    loop {
        let wanted = vm.serial.wanted.notified();
        if vm.has_moved(number) {
            return;
        }
        wanted.await;
    }
}

fn tell(vm: &Vm, told: SerialTold) {
    if vm.serial.told.replace(told) != told {
        vm.changed();
    }
}

async fn carry(vm: &Vm, stream: impl podzol_rpc::Bytes, number: u64) -> std::io::Result<()> {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let mut flushes = false;
    let (mut bytes, mut writing) = (vec![0; 4096], Bytes::new());
    loop {
        let wanted = vm.serial.wanted.notified();
        if vm.has_moved(number) {
            return Ok(());
        }
        if writing.is_empty() {
            writing = vm.serial.take();
        }
        tokio::select! {
            read = reader.read(&mut bytes) => match read? {
                0 => return Ok(()),
                count => {
                    vm.serial.ring.borrow_mut().push(&bytes[..count]);
                    vm.serial.news.notify_waiters();
                }
            },
            put = put(&mut writer, &writing), if flushes || !writing.is_empty() => {
                let count = put?;
                writing.advance(count);
                flushes = count > 0;
            }
            () = wanted => {}
        }
    }
}
