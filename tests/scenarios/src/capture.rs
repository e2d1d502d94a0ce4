//! Captures of frames, on the pod's switch and on bridges of hosts.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, bail};
use podzol_lab::Lab;
use podzol_lab::network::SWITCH;

/// How long frames may be on their way to a capture.
const ON_THE_WAY: Duration = Duration::from_secs(10);

/// A capture that runs until it is ended. It ends with its standard input, so that none is left on a server.
pub struct Capture {
    child: Child,
    printed: JoinHandle<std::io::Result<Vec<u8>>>,
    said: JoinHandle<()>,
}

impl Capture {
    /// On the pod's switch, outside of all servers. The options are tcpdump's, which say what it prints.
    ///
    /// # Errors
    /// When it does not start.
    pub fn on_switch(lab: &Lab, options: &str) -> anyhow::Result<Self> {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &lab.namespace(), "sh", "-c"]);
        Self::start(command.arg(script(SWITCH, options)))
    }

    /// On a network's bridge of a host.
    ///
    /// # Errors
    /// When it does not start.
    pub fn on_bridge(lab: &Lab, host: &str, tag: u64, options: &str) -> anyhow::Result<Self> {
        Self::on_link(lab, host, &format!("pzb{tag}"), options)
    }

    /// On a link of a host.
    ///
    /// # Errors
    /// When it does not start.
    pub fn on_link(lab: &Lab, host: &str, link: &str, options: &str) -> anyhow::Result<Self> {
        let mut command = lab.ssh(&lab.host(host)?).command();
        Self::start(command.arg(script(link, options)))
    }

    /// Starts it, and waits until it captures.
    fn start(command: &mut Command) -> anyhow::Result<Self> {
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = piped.spawn().context("cannot start tcpdump")?;
        let mut said = BufReader::new(child.stderr.take().context("tcpdump has no standard error")?);
        listens(&mut said)?;
        let said = std::thread::spawn(move || drop(std::io::copy(&mut said, &mut std::io::sink())));
        let mut output = child.stdout.take().context("tcpdump has no standard output")?;
        let printed = std::thread::spawn(move || {
            let mut printed = Vec::new();
            output.read_to_end(&mut printed).map(|_| printed)
        });
        Ok(Self { child, printed, said })
    }

    /// What it printed until now.
    ///
    /// # Errors
    /// When it cannot be ended.
    pub fn end(mut self) -> anyhow::Result<Vec<u8>> {
        std::thread::sleep(ON_THE_WAY);
        drop(self.child.stdin.take());
        let printed = self.printed.join().map_err(|_| anyhow::anyhow!("reading a capture broke off"))??;
        self.child.wait()?;
        drop(self.said.join());
        Ok(printed)
    }
}

/// Captures until its standard input ends. It ends with tcpdump, too, so that one that cannot capture is told.
fn script(link: &str, options: &str) -> String {
    format!(
        "exec 3<&0; tcpdump -i {link} --immediate-mode {options} < /dev/null & pid=$!; \
         {{ cat; kill -INT $pid; }} <&3 > /dev/null 2>&1 & wait $pid"
    )
}

/// Waits until tcpdump says that it listens.
fn listens(said: &mut BufReader<ChildStderr>) -> anyhow::Result<()> {
    let mut all = String::new();
    loop {
        let before = all.len();
        if said.read_line(&mut all)? == 0 {
            bail!("tcpdump ended: {all}");
        }
        if all[before..].contains("listening on") {
            return Ok(());
        }
    }
}
