//! A process of haproxy, from its start to its end.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use podzol_appliance_haproxy::{LIST_SERVERS, LIST_STATS, Model, ReadError, Servers, Shown, USER, stats};
use podzol_vocab::LoadBalancerId;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStderr, Command};
use tokio::time::{Instant, sleep, timeout};

use super::PROGRAM;
use super::admin::Admin;
use super::files::Files;

/// How long a process may take until it answers: with TLS and 64 balancers it takes two seconds on an emulated machine.
const BEGINS: Duration = Duration::from_secs(20);

/// How often it is tried meanwhile.
const TRY: Duration = Duration::from_millis(20);

/// How long a process may take to end that has been told to finish: longer than its configuration allows it.
const ENDS: Duration = Duration::from_secs(1200);

/// How soon a process that is told to finish does so.
const STOPS: Duration = Duration::from_secs(1);

/// What the kernel thinks of it when memory is short: it goes before the router does, and begins anew.
const FIRST_TO_GO: &str = "500";

/// A step with a process failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProcessError {
    /// Its files cannot be written.
    #[error("cannot write what haproxy needs to begin")]
    Files(#[source] io::Error),
    /// It cannot be started.
    #[error("cannot start haproxy")]
    Start(#[source] io::Error),
    /// It ended before it answered.
    #[error("haproxy has ended at its start ({0}): {1}")]
    Ended(ExitStatus, String),
    /// It has ended by itself.
    #[error("haproxy has ended ({0})")]
    Gone(String),
    /// It does not answer.
    #[error("haproxy does not answer")]
    Silent(#[source] io::Error),
    /// It answers what is not understood.
    #[error(transparent)]
    Answer(#[from] ReadError),
    /// It does not do what it is told.
    #[error("haproxy does not do what it is told: {0} is still to be done")]
    Disobeys(String),
}

/// A process that answers. It is killed when this is dropped.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) number: u64,
    /// What it began with; members may be others by now.
    pub(super) model: Model,
    child: Child,
    /// None after a failure, until it is opened again.
    admin: Option<Admin>,
    files: Files,
    /// Since when it has been finishing.
    finishing: Option<Instant>,
}

impl Process {
    /// Starts one, which takes over the open ports of the one before it, if there is one, and waits until it answers.
    pub(super) async fn start(
        (number, mut files, model): (u64, Files, Model),
        before: Option<&Self>,
    ) -> Result<Self, ProcessError> {
        let mut command = Command::new(PROGRAM);
        // In the foreground: a child of this process.
        command.arg("-db").arg("-f").arg(files.text());
        if let Some(before) = before {
            command.arg("-x").arg(before.files.socket());
        }
        let streams = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = streams.kill_on_drop(true).spawn().map_err(ProcessError::Start)?;
        if let Some(pid) = child.id() {
            // A kernel that refuses loses nothing but an order.
            let _ = fs::write(format!("/proc/{pid}/oom_score_adj"), FIRST_TO_GO);
        }
        let said = child.stderr.take();
        let admin = match begun(&mut child, &files.socket()).await {
            Ok(admin) => admin,
            Err(ProcessError::Ended(status, _)) => {
                return Err(ProcessError::Ended(status, last_words(said).await));
            }
            Err(error) => return Err(error),
        };
        tokio::spawn(listen(number, said));
        files.has_begun().map_err(ProcessError::Files)?;
        Ok(Self { number, model, child, admin: Some(admin), files, finishing: None })
    }

    /// Brings members to what is wanted, by what is different.
    pub(super) async fn seat(&mut self, wanted: &Model) -> Result<(), ProcessError> {
        for command in wanted.commands(&self.servers().await?) {
            self.ask(&command).await?;
        }
        match wanted.commands(&self.servers().await?).first() {
            None => Ok(()),
            Some(left) => Err(ProcessError::Disobeys(left.clone())),
        }
    }

    async fn servers(&mut self) -> Result<Servers, ProcessError> {
        Ok(Servers::read(&self.ask(LIST_SERVERS).await?)?)
    }

    /// What went through it.
    pub(super) async fn shown(&mut self) -> Result<BTreeMap<LoadBalancerId, Shown>, ProcessError> {
        Ok(stats(&self.ask(LIST_STATS).await?)?)
    }

    /// An answer that comes too late would be taken for another question's, so then the connection is a new one.
    async fn ask(&mut self, command: &str) -> Result<String, ProcessError> {
        let mut admin = match self.admin.take() {
            Some(admin) => admin,
            None => Admin::open(&self.files.socket()).await.map_err(ProcessError::Silent)?,
        };
        let answer = admin.ask(command).await.map_err(ProcessError::Silent)?;
        self.admin = Some(admin);
        Ok(answer)
    }

    /// Has it take no new connections, and end with those that it has and with [`Self::release`].
    pub(super) fn finish(&mut self) {
        self.signal(Signal::SIGUSR1);
        self.finishing = Some(Instant::now());
    }

    /// Whether it has been finishing for long enough to have heard of it.
    pub(super) fn has_stopped(&self) -> bool {
        self.finishing.is_some_and(|since| since.elapsed() > STOPS)
    }

    /// Whether it has not ended.
    pub(super) fn is_there(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(Some(_)))
    }

    /// Leaves it alone, so that it ends with its last connection, if it has one.
    pub(super) fn release(mut self) {
        self.admin = None;
        tokio::spawn(async move {
            if timeout(ENDS, self.child.wait()).await.is_err() {
                self.end().await;
            }
        });
    }

    /// Has it end now, and waits until it has.
    pub(super) async fn end(mut self) {
        let _ = self.child.kill().await;
    }

    /// Waits until it ends.
    pub(super) async fn ended(&mut self) -> String {
        match self.child.wait().await {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        }
    }

    fn signal(&self, signal: Signal) {
        // None of one that has been waited for, whose number may be another's by now.
        if let Some(pid) = self.child.id() {
            let _ = kill(Pid::from_raw(pid.cast_signed()), signal);
        }
    }
}

/// Waits until a process answers, or has ended.
async fn begun(child: &mut Child, socket: &Path) -> Result<Admin, ProcessError> {
    let end = Instant::now() + BEGINS;
    loop {
        match Admin::open(socket).await {
            Ok(admin) => return Ok(admin),
            Err(error) if Instant::now() > end => return Err(ProcessError::Silent(error)),
            Err(_) => {}
        }
        if let Some(status) = child.try_wait().map_err(ProcessError::Start)? {
            return Err(ProcessError::Ended(status, String::new()));
        }
        sleep(TRY).await;
    }
}

/// What a process that has ended wrote, its alerts if there are any.
async fn last_words(said: Option<ChildStderr>) -> String {
    let Some(mut said) = said else { return String::new() };
    let mut text = Vec::new();
    let _ = said.read_to_end(&mut text).await;
    let text = String::from_utf8_lossy(&text);
    let alerts: Vec<&str> = text.lines().filter(|line| line.starts_with("[ALERT]")).collect();
    if alerts.is_empty() { text.trim().to_owned() } else { alerts.join(" / ") }
}

/// Logs what a process says, until it ends.
async fn listen(process: u64, said: Option<ChildStderr>) {
    let Some(said) = said else { return };
    let mut lines = BufReader::new(said).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        tracing::info!(process, "haproxy: {line}");
    }
}

/// Kills processes that a router before this one has left in this network namespace, as when it was killed itself: they
/// would take a share of all connections.
pub(super) fn sweep() {
    let own = fs::read_link("/proc/self/ns/net").ok();
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let status = fs::read_to_string(process.path().join("status")).unwrap_or_default();
        let is_its_user = user(&status) == Some(USER);
        if is_its_user && own.is_some() && fs::read_link(process.path().join("ns/net")).ok() == own {
            tracing::warn!(pid, "a process of haproxy was left by a router before");
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

/// The user of a process (proc(5), `/proc/pid/status`).
fn user(status: &str) -> Option<u32> {
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_user_of_a_process_is_the_real_one() {
        assert_eq!(super::user("Name:\thaproxy\nUid:\t65080\t0\t0\t0\n"), Some(65_080));
        assert_eq!(super::user("Name:\thaproxy\n"), None);
    }
}
