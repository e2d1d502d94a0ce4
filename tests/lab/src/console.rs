//! Talking with a tiny VM over its serial port.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::ssh::Ssh;

/// The serial port of a tiny VM. Each question is one line; the answer ends with a line that carries its tag.
pub struct Console {
    child: Child,
    input: ChildStdin,
    lines: Receiver<String>,
    asked: u32,
    vm: String,
}

impl Console {
    /// Connects, through the host on which the VM runs.
    ///
    /// # Errors
    /// When the host cannot be reached.
    pub fn open(host: &Ssh, vm: &str) -> anyhow::Result<Self> {
        let mut child = host
            .command()
            .arg(format!("podzol-agent console {vm}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start ssh")?;
        let input = child.stdin.take().context("ssh has no standard input")?;
        let output = child.stdout.take().context("ssh has no standard output")?;
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                if sender.send(text).is_err() {
                    return;
                }
            }
        });
        Ok(Self { child, input, lines, asked: 0, vm: vm.to_owned() })
    }

    /// Asks, and gives the lines of the answer.
    ///
    /// # Errors
    /// When the VM answers that it failed, or not in time.
    pub fn ask(&mut self, command: &str, longest: Duration) -> anyhow::Result<Vec<String>> {
        self.asked += 1;
        let tag = format!("q{}", self.asked);
        writeln!(self.input, "#{tag} {command}").with_context(|| format!("VM {} hears nothing", self.vm))?;
        self.input.flush()?;
        let deadline = Instant::now() + longest;
        let mut answer = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = match self.lines.recv_timeout(left) {
                Ok(line) => line,
                Err(RecvTimeoutError::Timeout) => {
                    bail!("VM {} does not answer {command:?}; said {answer:?}", self.vm)
                }
                Err(RecvTimeoutError::Disconnected) => bail!("the console of VM {} was closed", self.vm),
            };
            match line.strip_prefix(&format!("tiny end {tag} ")) {
                Some("ok") => return Ok(answer),
                Some(_) => bail!("VM {} fails at {command:?}: {answer:?}", self.vm),
                // What the VM says unasked is no part of the answer.
                None if line.starts_with("tiny ") => {}
                None => answer.push(line),
            }
        }
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
