//! A network namespace with a name, and what runs in it.

use std::fs::File;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;

use nix::sched::{CloneFlags, setns};

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A network namespace. It goes when this is dropped, and its processes before it.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// A new one, with its loopback up.
    ///
    /// # Panics
    /// Without root's rights.
    pub fn new(role: &str) -> Self {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("pzt-{}-{number}-{role}", std::process::id());
        run(Command::new("ip").args(["netns", "add", &name]));
        let namespace = Self { name };
        namespace.ip("link set lo up");
        namespace
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs `ip` in it.
    ///
    /// # Panics
    /// When that fails.
    pub fn ip(&self, arguments: &str) {
        run(self.command("ip").args(arguments.split_whitespace()));
    }

    /// A command in it.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]);
        command
    }

    /// Runs a command line, split at spaces, to its end, and gives what it printed.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn output(&self, line: &str) -> Output {
        let mut words = line.split_whitespace();
        let program = words.next().expect("a program");
        self.command(program).args(words).stdin(Stdio::null()).output().expect("ip is installed")
    }

    /// The same, where it must succeed.
    ///
    /// # Panics
    /// When it does not.
    pub fn run(&self, line: &str) -> String {
        let output = self.output(line);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{line} in {}: {} {text} {error}", self.name, output.status);
        text
    }

    /// Starts a command line that goes on until it is dropped.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(&self, line: &str) -> Running {
        let mut words = line.split_whitespace();
        let program = words.next().expect("a program");
        let mut command = self.command(program);
        let child = command.args(words).stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        Running(child.expect("ip is installed"))
    }

    /// Does something on a thread in it, such as opening a socket, which then stays in it.
    ///
    /// # Panics
    /// When the thread does.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                enter(&self.name);
                work()
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Does something on a thread in it that goes on by itself.
    pub fn spawn<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        let name = self.name.clone();
        std::thread::spawn(move || {
            enter(&name);
            work()
        })
    }
}

/// Has this thread be in a namespace.
fn enter(name: &str) {
    let file = File::open(format!("/run/netns/{name}")).expect("it is there");
    setns(file, CloneFlags::CLONE_NEWNET).expect("root may");
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let pids = Command::new("ip").args(["netns", "pids", &self.name]).output();
        let pids =
            pids.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
        for pid in pids.split_whitespace() {
            let _ = Command::new("kill").args(["-9", pid]).status();
        }
        let _ = Command::new("ip").args(["netns", "delete", &self.name]).status();
    }
}

/// A process that ends when this is dropped.
#[derive(Debug)]
pub struct Running(Child);

impl Running {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// How it has ended, if it has.
    ///
    /// # Panics
    /// When the kernel does not say.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().expect("it is a child")
    }

    /// Kills it as `kill -9` does, and waits until it is gone.
    pub fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

fn run(command: &mut Command) {
    let output = command.output().expect("ip is installed");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
