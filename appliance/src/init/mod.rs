//! PID 1 of a router: as little as can be, so that nothing in it can go wrong later.
//!
//! It mounts what the kernel offers, loads the modules that the image has a list of, starts this same program again as the
//! router, and from then on only waits: for children to end, whose remains it takes away, and for the power button. When
//! the router itself ends, for whatever reason, the machine reboots: a router that has no document yet is put right by the
//! management service within seconds, and one that half works is not.
//!
//! # Design notes
//!
//! One process could be both. But whoever waits for any child, as PID 1 must, takes the ends of children away from those
//! in the same process who wait for theirs; and a panic of a service would be a panic of the kernel.

mod boot;
mod power;

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use power::Button;
pub use power::Power;

/// Where the programs of the image are.
const PATH: &str = "/usr/sbin";

/// How many files the router may have open: a connection is one.
const FILES: u64 = 65_536;

/// How long the router may take to end when the machine is to stop.
const STOPPING: Duration = Duration::from_secs(5);

/// How often ends of children are looked for.
const LOOK: Duration = Duration::from_millis(200);

/// The same while the machine is about to stop.
const PAUSE: Duration = Duration::from_millis(20);

/// How long the last words may take to get out by the serial line before the machine reboots.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Runs as PID 1. It does not come back.
pub fn run() -> ! {
    for note in boot::prepare() {
        say(&note);
    }
    if let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, FILES, FILES) {
        say(&format!("few files can be open at a time: {error}"));
    }
    let router = start();
    let action = match router {
        Ok(router) => watch(router),
        Err(error) => {
            say(&format!("the router cannot be started: {error}"));
            Power::Reboot
        }
    };
    thread::sleep(LAST_WORDS);
    loop {
        let error = power::act(action);
        say(&format!("the machine does not stop: {error}"));
        thread::sleep(STOPPING);
    }
}

/// Writes a line to the console, which is all there is for last words. If nobody takes it, it is lost: this process never
/// waits for anybody.
fn say(line: &str) {
    let console = OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK).open("/dev/console");
    let _ = console.and_then(|mut console| writeln!(console, "podzol-appliance: {line}"));
}

fn start() -> std::io::Result<Child> {
    // The kernel gives its first process no PATH.
    Command::new("/proc/self/exe").arg("router").env("PATH", PATH).stdin(Stdio::null()).spawn()
}

/// Waits until the router has ended or the machine is to stop, and says how.
fn watch(router: Child) -> Power {
    let button = Button::watch(say);
    if let Err(error) = power::ignore_ctrl_alt_del() {
        say(&format!("Ctrl-Alt-Del resets the machine: {error}"));
    }
    let pid = Pid::from_raw(router.id().cast_signed());
    loop {
        match reap(pid) {
            Some(status) => {
                say(&format!("the router has ended: {status:?}"));
                return Power::Reboot;
            }
            None => {
                if let Some(action) = button.wait(LOOK) {
                    stop(pid);
                    return action;
                }
            }
        }
    }
}

/// Takes away the remains of all children that have ended, and gives how the router did, if it is among them.
fn reap(router: Pid) -> Option<WaitStatus> {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return None,
            Ok(status) if status.pid() == Some(router) => return Some(status),
            Ok(_) | Err(_) => {}
        }
    }
}

/// Asks the router to end, and waits for a while until it has.
fn stop(router: Pid) {
    if kill(router, Signal::SIGTERM).is_err() {
        return;
    }
    let rounds = STOPPING.as_millis() / PAUSE.as_millis();
    for _ in 0..rounds {
        if reap(router).is_some() {
            return;
        }
        thread::sleep(PAUSE);
    }
}
