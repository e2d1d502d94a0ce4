//! PID 1 of a router: as little as can be, so that nothing in it can go wrong later.
//!
//! It mounts what the kernel offers, loads the modules that the image has a list of, starts this same program again as the
//! router, and from then on only waits: for children to end, whose remains it takes away, and for the power button. When
//! the router itself ends, for whatever reason, the machine reboots: a router that has no document yet is put right by the
//! management service within seconds, and one that half works is not. So it is with a router that hangs, which is one that
//! does not say for half a minute that it lives; and if the machine has a watchdog, with this process too.
//!
//! # Design notes
//!
//! One process could be both. But whoever waits for any child, as PID 1 must, takes the ends of children away from those
//! in the same process who wait for theirs; and a panic of a service would be a panic of the kernel.

mod boot;
pub(crate) mod heart;
mod power;

use std::fs::OpenOptions;
use std::io::{self, PipeReader, Write};
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

use heart::{Heart, LOOKS, Watchdog};
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
    if let Err(error) = power::ignore_ctrl_alt_del() {
        say(&format!("Ctrl-Alt-Del resets the machine: {error}"));
    }
    let action = match start(Command::new("/proc/self/exe").args(["router", "--heartbeat"])) {
        Ok((router, pulse)) => watch(&router, pulse, LOOKS),
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

/// Starts the router. It says that it lives by what is given.
fn start(router: &mut Command) -> io::Result<(Child, PipeReader)> {
    let (pulse, lives) = io::pipe()?;
    // The kernel gives its first process no PATH.
    let router = router.env("PATH", PATH).stdin(Stdio::null()).stdout(lives).spawn()?;
    Ok((router, pulse))
}

/// Waits until the router has ended or hangs, or the machine is to stop, and says how.
fn watch(router: &Child, pulse: PipeReader, looks: u32) -> Power {
    let (button, mut watchdog) = (Button::watch(say), Watchdog::open());
    let pid = Pid::from_raw(router.id().cast_signed());
    let mut heart = match Heart::new(pulse, looks) {
        Ok(heart) => heart,
        Err(error) => {
            say(&format!("the router cannot be listened to: {error}"));
            return Power::Reboot;
        }
    };
    loop {
        watchdog.pet();
        if let Some(status) = reap(pid) {
            say(&format!("the router has ended: {status:?}"));
            return Power::Reboot;
        }
        if !heart.beats() {
            say("the router hangs");
            // Before the machine stops, whatever it was about to do.
            let _ = kill(pid, Signal::SIGKILL);
            return Power::Reboot;
        }
        if let Some(action) = button.wait(LOOK) {
            stop(pid);
            return action;
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

#[cfg(test)]
mod tests {
    use std::process::ExitStatus;

    use nix::sys::prctl::set_child_subreaper;

    use super::*;

    /// What becomes of a router that is this shell script, and how it has ended.
    fn watch_script(script: &str, looks: u32) -> (Power, io::Result<ExitStatus>) {
        let (mut router, pulse) = start(Command::new("/bin/sh").args(["-c", script])).unwrap();
        let power = watch(&router, pulse, looks);
        (power, router.wait())
    }

    /// One test, as whoever waits for any child takes those of others.
    #[test]
    fn a_router_that_ends_or_hangs_has_the_machine_reboot_and_orphans_are_taken_away_meanwhile() {
        // It lives for longer than it may be silent: two seconds against one.
        let beats = "for i in 1 2 3 4 5; do echo; /bin/sleep 0.4; done; ";
        let (power, ended) = watch_script(&format!("{beats} exit 3"), 5);
        assert_eq!(power, Power::Reboot);
        assert!(ended.is_err(), "its end has been seen before");

        let (power, ended) = watch_script(&format!("{beats} exec /bin/sleep 1000"), 5);
        assert_eq!(power, Power::Reboot);
        assert!(!ended.unwrap().success(), "it was killed");

        // Orphans become children of PID 1 only, or of one that takes them in its place. What remains of one that has ended
        // has an entry in /proc until it is taken away.
        set_child_subreaper(true).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (orphan, gone) = (folder.path().join("orphan"), folder.path().join("gone"));
        let script = format!(
            "/bin/sh -c '/bin/sleep 0.1 & echo $! > {orphan}'; read -r orphan < {orphan}; \
             for i in $(/usr/bin/seq 100); do \
                 echo; [ -e /proc/$orphan ] || {{ echo > {gone}; exit 0; }}; /bin/sleep 0.2; done",
            orphan = orphan.display(),
            gone = gone.display(),
        );
        let (power, _) = watch_script(&script, 50);
        set_child_subreaper(false).unwrap();
        assert_eq!((power, gone.exists()), (Power::Reboot, true));
    }
}
