//! Programs that run for a test, and whether they are there.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

/// Long enough for anything here, on a machine that is busy with other tests.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// How long a program may take to end by itself.
const ENDS: Duration = Duration::from_secs(5);

/// Says so if a program is missing, and whether the test can run.
pub(crate) fn is_there(program: &str, package: &str) -> bool {
    let folders = std::env::var("PATH").unwrap_or_default();
    if folders.split(':').any(|folder| Path::new(folder).join(program).exists()) {
        return true;
    }
    let missing = format!("{program} is missing (apt install {package})");
    assert!(std::env::var_os("PODZOL_MUST_RUN").is_none(), "{missing}");
    eprintln!("not run: {missing}");
    false
}

/// A program that ends when it is dropped, with a folder of its own.
pub(crate) struct Server {
    process: Child,
    folder: TempDir,
}

impl Server {
    /// Starts it. Its words go to `log` in the folder.
    pub(crate) fn start(folder: TempDir, command: &mut Command) -> Self {
        let log = fs::File::create(folder.path().join("log")).unwrap();
        let command = command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        Self { process: command.spawn().unwrap(), folder }
    }

    /// A file in its folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A connection to its socket, once it listens.
    pub(crate) fn connect(&mut self, socket: &str) -> UnixStream {
        let path = self.path(socket);
        self.wait(|| UnixStream::connect(&path).ok())
    }

    /// Looks again and again until there is something, as long as it runs.
    pub(crate) fn wait<T>(&mut self, mut look: impl FnMut() -> Option<T>) -> T {
        let end = Instant::now() + SOON;
        loop {
            if let Some(found) = look() {
                return found;
            }
            let ended = self.process.try_wait().unwrap();
            assert!(ended.is_none() && Instant::now() < end, "{ended:?}: {}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Asked first: X servers leave their sockets and locks behind when they are killed.
        let process = Pid::from_raw(self.process.id() as i32);
        let asked = Instant::now();
        let _ = kill(process, Signal::SIGTERM);
        while asked.elapsed() < ENDS && matches!(self.process.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
