//! QEMU's machine protocol (QEMU, `docs/interop/qmp-spec`): what the lab needs of it.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::{Value, json};

/// How long QEMU may take to answer a command; none of them waits for anything.
const ANSWER: Duration = Duration::from_secs(30);

/// A connection to a server's QEMU.
#[derive(Debug)]
pub struct Qmp(BufReader<UnixStream>);

impl Qmp {
    /// Connects.
    ///
    /// # Errors
    /// When nobody listens there, or does not speak the protocol.
    pub fn connect(socket: &Path) -> anyhow::Result<Self> {
        let stream =
            UnixStream::connect(socket).with_context(|| format!("cannot connect to {}", socket.display()))?;
        stream.set_read_timeout(Some(ANSWER))?;
        let mut connected = Self(BufReader::new(stream));
        connected.line().context("QEMU does not greet")?;
        connected.execute("qmp_capabilities", &json!({}))?;
        Ok(connected)
    }

    /// Has a command executed, and gives what it returns.
    ///
    /// # Errors
    /// When QEMU refuses: with what it says.
    pub fn execute(&mut self, command: &str, arguments: &Value) -> anyhow::Result<Value> {
        let message = json!({ "execute": command, "arguments": arguments });
        writeln!(self.0.get_mut(), "{message}")?;
        loop {
            let mut answer = self.line().with_context(|| format!("QEMU does not answer {command}"))?;
            if answer.get("error").is_some() {
                bail!("QEMU refuses {command}: {}", answer["error"]["desc"]);
            }
            // What else comes is an event.
            if let Some(returned) = answer.get_mut("return") {
                return Ok(returned.take());
            }
        }
    }

    fn line(&mut self) -> anyhow::Result<Value> {
        let mut line = String::new();
        if self.0.read_line(&mut line)? == 0 {
            bail!("QEMU has ended");
        }
        Ok(serde_json::from_str(&line)?)
    }
}
