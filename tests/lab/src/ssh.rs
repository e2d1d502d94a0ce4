//! Logging in to servers.

use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::cloud::wait_for;
use crate::state::{Host, Lab};

/// How long a server may take to hear that it is to be reset.
const RESETS: Duration = Duration::from_secs(3);

/// For how long a server's clock is compared with this machine's.
const COMPARED: Duration = Duration::from_secs(2);

/// A way to log in to a server.
#[derive(Debug, Clone)]
pub struct Ssh {
    prefix: Vec<String>,
    name: String,
}

impl Ssh {
    pub(crate) fn new(lab: &Lab, host: &Host) -> Self {
        let at = |name: &str| lab.path(name).display().to_string();
        let options = [
            format!("UserKnownHostsFile={}", at(&format!("servers/{}/known_hosts", host.name))),
            "StrictHostKeyChecking=yes".into(),
            "ConnectTimeout=5".into(),
            // A server that was reset says nothing on a connection from before.
            "ServerAliveInterval=5".into(),
            "ServerAliveCountMax=6".into(),
            "LogLevel=ERROR".into(),
            // Cheap to compute in an emulated machine.
            "KexAlgorithms=curve25519-sha256".into(),
            "Ciphers=aes128-gcm@openssh.com".into(),
            "ControlMaster=auto".into(),
            format!("ControlPath={}", at(&format!("servers/{}/ssh", host.name))),
            "ControlPersist=600".into(),
        ];
        let mut prefix: Vec<String> =
            ["ip", "netns", "exec", &lab.namespace(), "ssh", "-F", "none", "-i", &at("keys/id")]
                .map(Into::into)
                .into();
        prefix.extend(options.into_iter().flat_map(|option| ["-o".into(), option]));
        prefix.push(format!("root@{}", host.address));
        Self { prefix, name: host.name.clone() }
    }

    /// The command as one line, for scripts.
    pub fn line(&self) -> String {
        self.prefix.join(" ")
    }

    /// The command, to which words can be added.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.prefix[0]);
        command.args(&self.prefix[1..]);
        command
    }

    /// Runs a shell command on the server and gives its standard output.
    ///
    /// # Errors
    /// When it fails: with what it said.
    pub fn run(&self, line: &str) -> anyhow::Result<String> {
        let output = self.command().arg(line).stdin(Stdio::null()).output().context("cannot start ssh")?;
        self.succeeded(line, &output)
    }

    /// The standard output of a command that succeeded.
    fn succeeded(&self, line: &str, output: &Output) -> anyhow::Result<String> {
        let said = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() {
            let complaint = String::from_utf8_lossy(&output.stderr);
            bail!("on {}: {line}: failed ({}): {}{said}", self.name, output.status, complaint.trim());
        }
        Ok(said.into_owned())
    }

    /// Runs a shell command on the server with this standard input.
    ///
    /// # Errors
    /// When it fails: with what it said.
    pub fn feed(&self, line: &str, input: &[u8]) -> anyhow::Result<String> {
        use std::io::Write;
        let mut child = self
            .command()
            .arg(line)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start ssh")?;
        child.stdin.take().context("ssh has no standard input")?.write_all(input)?;
        self.succeeded(line, &child.wait_with_output()?)
    }

    /// Resets the server at once, as its button does: what is not on its disk is lost. Waits until it has booted.
    ///
    /// # Errors
    /// When it cannot be reached, or not again in time.
    pub fn reset(&self, longest: Duration) -> anyhow::Result<()> {
        let boot = "cat /proc/sys/kernel/random/boot_id";
        let before = self.run(boot)?;
        let now = "echo 1 > /proc/sys/kernel/sysrq; echo b > /proc/sysrq-trigger";
        let mut child = self.command().arg(now).stdin(Stdio::null()).spawn().context("cannot start ssh")?;
        // It never answers.
        std::thread::sleep(RESETS);
        child.kill()?;
        child.wait()?;
        self.hang_up()?;
        wait_for(&format!("{} to boot", self.name), longest, || {
            Ok(self.run(boot).ok().filter(|boot| *boot != before).map(drop))
        })
    }

    /// How fast the server's clock runs: the seconds that pass there in one of this machine's.
    ///
    /// # Errors
    /// When the server cannot be reached.
    pub(crate) fn clock_rate(&self) -> anyhow::Result<f64> {
        let uptime =
            || anyhow::Ok((Instant::now(), self.run("cut -d ' ' -f 1 /proc/uptime")?.trim().parse::<f64>()?));
        let (begin, there) = uptime()?;
        std::thread::sleep(COMPARED);
        let (end, later) = uptime()?;
        Ok((later - there) / end.duration_since(begin).as_secs_f64())
    }

    /// Ends the connection that is kept for further commands.
    pub(crate) fn hang_up(&self) -> anyhow::Result<()> {
        let (server, options) = self.prefix.split_last().context("a server has an address")?;
        let mut command = Command::new(&options[0]);
        command.args(&options[1..]).args(["-O", "exit", server]);
        command.output().context("cannot start ssh")?;
        Ok(())
    }

    /// Waits until the server lets somebody in.
    ///
    /// # Errors
    /// When it does not in time: with the last reason.
    pub fn wait(&self, longest: Duration) -> anyhow::Result<()> {
        let deadline = Instant::now() + longest;
        loop {
            match self.run("true") {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() > deadline => {
                    return Err(error.context(format!("{} does not come up", self.name)));
                }
                Err(_) => std::thread::sleep(Duration::from_millis(300)),
            }
        }
    }
}
