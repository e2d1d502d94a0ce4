//! The machine as a whole: its name, its power, its dead children.

use std::fs;
use std::io;

use nix::sys::reboot::{RebootMode, reboot};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};

const HOSTNAME: &str = "/proc/sys/kernel/hostname";

/// What to do with the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Power {
    Off,
    Reboot,
}

/// Sets the host name.
pub(crate) fn set_hostname(name: &str) -> io::Result<()> {
    fs::write(HOSTNAME, name)
}

/// The present host name.
pub(crate) fn hostname() -> String {
    fs::read_to_string(HOSTNAME).map_or_else(|_| "unknown".to_owned(), |name| name.trim().to_owned())
}

/// Writes everything to disk, then stops or restarts the machine. Returns only if the kernel refuses.
pub(crate) fn power(action: Power) -> nix::Error {
    nix::unistd::sync();
    let mode = match action {
        Power::Off => RebootMode::RB_POWER_OFF,
        Power::Reboot => RebootMode::RB_AUTOBOOT,
    };
    match reboot(mode) {
        Err(error) => error,
        Ok(never) => match never {},
    }
}

/// Has the kernel send `SIGINT` to PID 1 for Ctrl-Alt-Del, and gives a descriptor that can be read when it does. The
/// signal is blocked for this thread and all that it starts.
pub(crate) fn ctrl_alt_del() -> nix::Result<SignalFd> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGINT);
    signals.thread_block()?;
    nix::sys::reboot::set_cad_enabled(false)?;
    SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC)
}

/// Collects all dead children that nobody waits for. To be called only while no `Command` runs.
pub(crate) fn reap() {
    while waitpid(None, Some(WaitPidFlag::WNOHANG)).is_ok_and(|status| status != WaitStatus::StillAlive) {}
}
