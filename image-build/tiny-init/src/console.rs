//! The command line on the serial port.
//!
//! A request is one line, `COMMAND ARGS` or `#TAG COMMAND ARGS`. The answer is any number of lines, and then exactly
//! one line `tiny end TAG ok` or `tiny end TAG fail` (TAG is `-` if none was given). There is no echo and no prompt.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use nix::libc;
use nix::sys::termios::{InputFlags, LocalFlags, OutputFlags, SetArg, tcdrain, tcgetattr, tcsetattr};

use crate::buttons;
use crate::machine::{self, Power};
use crate::net;
use crate::ping;
use crate::service;
use crate::sys;

const PORT: &str = "/dev/ttyS0";
/// A shell command is ended after so many seconds, so that the console always comes back.
const SHELL_LIMIT: &str = "60";
const HELP: &str = "commands: ping who ip hostname uptime sh send-raw poweroff reboot help";

type Answer = Result<Vec<String>, String>;

/// The serial port, shared by all threads. Lines are written whole.
#[derive(Clone)]
pub(crate) struct Console(Option<Arc<File>>);

impl Console {
    /// Opens the serial port in a plain line mode; without one, what is said goes to standard output.
    pub(crate) fn open() -> Self {
        let port = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NOCTTY).open(PORT);
        let file = port.and_then(|file| plain_lines(&file).map(|()| file));
        let file = file.or_else(|_| io::stdout().as_fd().try_clone_to_owned().map(File::from));
        Self(file.ok().map(Arc::new))
    }

    /// Writes one line.
    pub(crate) fn say(&self, line: &str) {
        if let Some(mut port) = self.0.as_deref() {
            // There is nobody to tell when the console itself fails.
            let _ = port.write_all(format!("{line}\n").as_bytes());
        }
    }

    /// Writes one line about something that went wrong.
    pub(crate) fn note(&self, text: &str) {
        self.say(&format!("tiny note {text}"));
    }

    /// Waits until the serial port has sent everything.
    pub(crate) fn drain(&self) {
        if let Some(port) = self.0.as_deref() {
            // As in `say`.
            let _ = tcdrain(port);
        }
    }

    /// Answers requests until the port is gone.
    pub(crate) fn serve(&self) {
        let Some(port) = self.0.as_deref() else { return };
        for line in BufReader::new(port).split(b'\n') {
            match line {
                Ok(bytes) => self.handle(String::from_utf8_lossy(&bytes).trim()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }

    fn handle(&self, line: &str) {
        if line.is_empty() {
            return;
        }
        let (tag, request) = match line.strip_prefix('#') {
            Some(rest) => rest.split_once(' ').unwrap_or((rest, "")),
            None => ("-", line),
        };
        let (lines, word) = match self.run(request.trim()) {
            Ok(lines) => (lines, "ok"),
            Err(error) => (vec![error], "fail"),
        };
        lines.iter().for_each(|line| self.say(line));
        self.say(&format!("tiny end {tag} {word}"));
    }

    fn run(&self, request: &str) -> Answer {
        let (command, rest) =
            request.split_once(' ').map_or((request, ""), |(command, rest)| (command, rest.trim()));
        match command {
            "ping" => ping_line(rest),
            "who" => service::who(address(rest)?)
                .map(|name| vec![name])
                .map_err(|error| format!("no answer {rest}: {error}")),
            "ip" => net::list().map_err(|error| error.to_string()),
            "hostname" => Ok(vec![machine::hostname()]),
            "uptime" => uptime(),
            "sh" => shell(rest),
            "send-raw" => send_raw(rest),
            "poweroff" => self.stop(Power::Off),
            "reboot" => self.stop(Power::Reboot),
            "help" => Ok(vec![HELP.to_owned()]),
            other => Err(format!("unknown command `{other}`; {HELP}")),
        }
    }

    fn stop(&self, action: Power) -> Answer {
        buttons::stop(self, action);
        Err("the kernel refused".to_owned())
    }
}

/// No echo, no output processing, but whole lines of input, ended by a carriage return or a line feed.
fn plain_lines(file: &File) -> io::Result<()> {
    let mut mode = tcgetattr(file)?;
    mode.input_flags = InputFlags::ICRNL;
    mode.output_flags = OutputFlags::empty();
    mode.local_flags = LocalFlags::ICANON;
    Ok(tcsetattr(file, SetArg::TCSANOW, &mode)?)
}

fn address(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| format!("bad address `{text}`"))
}

fn ping_line(text: &str) -> Answer {
    match ping::ping(address(text)?, 3, Duration::from_secs(1)) {
        Ok(Some(time)) => Ok(vec![format!("pong {text} {} ms", time.as_millis())]),
        Ok(None) => Err(format!("no answer {text}")),
        Err(error) => Err(format!("no answer {text}: {error}")),
    }
}

fn uptime() -> Answer {
    let text = fs::read_to_string("/proc/uptime").map_err(|error| error.to_string())?;
    Ok(vec![text.split_whitespace().next().unwrap_or_default().to_owned()])
}

/// Runs a shell command; its output and errors are the answer.
fn shell(command: &str) -> Answer {
    let result = Command::new("/bin/busybox")
        .args(["timeout", SHELL_LIMIT, "/bin/busybox", "sh", "-c", &format!("exec 2>&1; {command}")])
        .stdin(Stdio::null())
        .output();
    machine::reap();
    let output = result.map_err(|error| format!("busybox: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout).trim_end().to_owned();
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    if output.status.success() {
        Ok(lines)
    } else {
        Err(format!("{text}\nstatus: {}", output.status).trim_start().to_owned())
    }
}

/// Runs user-data as a shell script; one line about how it went.
pub(crate) fn run_script(script: &str) -> String {
    let path = "/run/user-data";
    let result = fs::write(path, script)
        .map_err(|error| error.to_string())
        .and_then(|()| shell(&format!("sh {path}")));
    result.map_or_else(|error| format!("failed: {}", error.replace('\n', "; ")), |_| String::from("done"))
}

/// `send-raw LINK HEX`: send one Ethernet frame as it is.
fn send_raw(text: &str) -> Answer {
    let (link, hex) = text.split_once(' ').ok_or("send-raw LINK HEX")?;
    let frame = bytes_of(hex.trim()).ok_or("bad hex digits")?;
    let index = net::index_of(link).map_err(|error| error.to_string())?;
    let sent = sys::send_frame(index, &frame).map_err(|error| error.to_string())?;
    Ok(vec![format!("sent {sent} bytes")])
}

fn bytes_of(hex: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u32>> =
        hex.chars().filter(|letter| !letter.is_whitespace()).map(|letter| letter.to_digit(16)).collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0)?;
    Some(digits.chunks(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_is_read() {
        assert_eq!(bytes_of("ff 00a1"), Some(vec![255, 0, 161]));
        assert_eq!(bytes_of("f"), None);
        assert_eq!(bytes_of("zz"), None);
    }
}
