//! The console proxy in a console proxy's VM: a process of `podzol-console-proxy`, which is there whenever it can be.
//!
//! It has a user of its own and an identity of its own, so that whoever breaks into what browsers speak to has neither this
//! router's key nor a way to change links and rules. Its files are in memory, and only that user reads them. What it writes
//! goes into this router's log. When it ends, for whatever reason, another one begins a second later; the management service
//! sees by its status that it is to be told all again.
//!
//! This module knows nothing of what it does: the management service speaks to it directly, on a port of its own.

use std::fs::{self, DirBuilder};
use std::io;
use std::net::Ipv4Addr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use podzol_appliance_api::{CONSOLE_PORT, Health, ProxyIdentity};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStderr, Command};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::router::chain;

const PROGRAM: &str = "podzol-console-proxy";

/// The user and group that it runs as, and nothing else does.
const USER: u32 = 65_081;

/// What is in its folder: its configuration, and its identity in a folder of its own.
const FOLDER: &str = "/run/podzol-console-proxy";

/// How soon another one begins after one that has ended.
const AGAIN: Duration = Duration::from_secs(1);

/// What the kernel thinks of it when memory is short: it goes before the router does, and begins anew.
const FIRST_TO_GO: &str = "500";

/// The longest line of its log that is kept.
const LONGEST_LINE: u64 = 4096;

/// The lowest port that it may listen on without being anybody special. Nothing else in this machine has a user of its own and
/// listens.
const LOWEST_PORT: (&str, &str) = ("/proc/sys/net/ipv4/ip_unprivileged_port_start", "1");

/// Whether this machine has the program.
pub(crate) fn is_here() -> bool {
    program().is_some()
}

fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|folder| folder.join(PROGRAM)).find(|program| program.is_file())
}

/// The console proxy as others see it. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct ConsoleProxy(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    configuration: PathBuf,
    health: Mutex<Health>,
}

impl ConsoleProxy {
    /// Writes what it needs to begin: who it is, of that authority, and its address on the management network.
    pub(crate) fn prepare(ca: &str, identity: &ProxyIdentity, address: Ipv4Addr) -> io::Result<Self> {
        let (path, value) = LOWEST_PORT;
        fs::write(path, value)?;
        let folder = Path::new(FOLDER);
        match fs::remove_dir_all(folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let own = folder.join("identity");
        for folder in [folder, &own] {
            DirBuilder::new().mode(0o700).create(folder)?;
            chown(folder, Some(USER), Some(USER))?;
        }
        let configuration = folder.join("console-proxy.toml");
        let text = format!("listen = \"{address}:{CONSOLE_PORT}\"\nidentity = \"{}\"\n", own.display());
        write(&configuration, &text)?;
        write(&own.join("ca.pem"), ca)?;
        write(&own.join("certificate.pem"), &identity.certificate)?;
        write(&own.join("key.pem"), identity.key.expose())?;
        let health = Mutex::new(Health::Down { why: "it has not begun yet".into() });
        Ok(Self(Arc::new(Inner { configuration, health })))
    }

    /// How it is.
    pub(crate) fn health(&self) -> Health {
        self.0.health.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_health(&self, health: Health) {
        *self.0.health.lock().unwrap_or_else(PoisonError::into_inner) = health;
    }

    /// Has one run until stopped.
    pub(crate) async fn follow(self, stop: CancellationToken) {
        loop {
            let ended = match self.start() {
                Ok((mut child, said)) => {
                    tokio::spawn(listen(said));
                    self.set_health(Health::Up);
                    // It is killed when nobody waits for it any more.
                    let Some(ended) = stop.run_until_cancelled(child.wait()).await else { return };
                    ended.map_or_else(|error| chain(&error), |status| format!("it has ended ({status})"))
                }
                Err(error) => format!("it cannot be started: {error}"),
            };
            tracing::error!(why = ended, "the console proxy begins anew");
            self.set_health(Health::Down { why: ended });
            if stop.run_until_cancelled(sleep(AGAIN)).await.is_none() {
                return;
            }
        }
    }

    fn start(&self) -> io::Result<(Child, Option<ChildStderr>)> {
        let mut command = Command::new(program().ok_or(io::ErrorKind::NotFound)?);
        command
            .arg("--config")
            .arg(&self.0.configuration)
            .env_clear()
            .current_dir(FOLDER)
            .uid(USER)
            .gid(USER);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn()?;
        if let Some(pid) = child.id() {
            // A kernel that refuses loses nothing but an order.
            let _ = fs::write(format!("/proc/{pid}/oom_score_adj"), FIRST_TO_GO);
        }
        let said = child.stderr.take();
        Ok((child, said))
    }
}

/// Writes a file that its user alone reads.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o400).open(path)?;
    io::Write::write_all(&mut file, text.as_bytes())?;
    chown(path, Some(USER), Some(USER))
}

/// Has what it says in the log, a line at a time.
async fn listen(said: Option<ChildStderr>) {
    let Some(said) = said else { return };
    let mut lines = BufReader::new(said);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut lines).take(LONGEST_LINE).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => tracing::info!(said = %String::from_utf8_lossy(&line).trim_end(), "console proxy"),
        }
    }
}
