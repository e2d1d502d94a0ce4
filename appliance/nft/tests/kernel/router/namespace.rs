//! A network namespace without a name, which goes when nobody has it open any more.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns, unshare};

use super::traffic::PATIENCE;

/// A network namespace.
pub(crate) struct Namespace(File);

impl Namespace {
    /// A new one, with its loopback link up.
    pub(crate) fn new() -> Self {
        let make = || {
            unshare(CloneFlags::CLONE_NEWNET).expect("root, for a network namespace");
            Self(File::open("/proc/thread-self/ns/net").unwrap())
        };
        let namespace = std::thread::spawn(make).join().unwrap();
        namespace.ip("link set lo up");
        namespace
    }

    /// A path by which programs that this process starts can open it.
    pub(crate) fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }

    /// Does something in it. Sockets that are made there stay there.
    pub(crate) fn inside<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        let enter = || {
            setns(&self.0, CloneFlags::CLONE_NEWNET).unwrap();
            act()
        };
        std::thread::scope(|scope| scope.spawn(enter).join())
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Runs a program in it.
    pub(crate) fn run(&self, program: &str, arguments: &[&str]) -> Result<String, String> {
        let mut command = Command::new(program);
        command.args(arguments);
        output(program, self.inside(move || command.output()))
    }

    /// Runs `ip`.
    pub(crate) fn ip(&self, arguments: &str) {
        self.run("ip", &arguments.split(' ').collect::<Vec<_>>()).unwrap();
    }

    /// Gives a link an IPv6 address, and waits until the kernel takes what is sent to it: it sends from there at once, but
    /// makes the local route in other work (`addrconf_dad_work`).
    pub(crate) fn add_address6(&self, address: &str, link: &str) {
        self.ip(&format!("address add {address} dev {link} nodad"));
        let own = format!("local {} dev {link} ", address.split('/').next().unwrap_or(address));
        let deadline = Instant::now() + PATIENCE;
        while !self.run("ip", &["-6", "route", "show", "table", "local"]).unwrap().contains(&own) {
            assert!(Instant::now() < deadline, "{address} does not come to be the namespace's own");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Brings a script into force.
    pub(crate) fn nft(&self, script: &str) -> Result<(), String> {
        self.nft_with(&["-f", "-"], script)
    }

    /// Gives a script to nft.
    pub(crate) fn nft_with(&self, arguments: &[&str], script: &str) -> Result<(), String> {
        let mut command = Command::new("nft");
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let run = move || {
            let mut child = command.spawn()?;
            child.stdin.take().unwrap().write_all(script.as_bytes())?;
            child.wait_with_output()
        };
        output("nft", self.inside(run)).map(drop)
    }
}

fn output(program: &str, output: std::io::Result<Output>) -> Result<String, String> {
    let output = output.map_err(|error| format!("{program} cannot be run: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8(output.stdout).unwrap());
    }
    Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}
