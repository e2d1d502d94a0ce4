//! A VM that boots, and when it says that it is ready.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use podzol_vocab::MacAddr;
use serde_json::{Value, json};

/// How long a boot may take, on a machine that is busy.
const LONGEST: Duration = Duration::from_secs(300);

/// The MAC address of the first of the three network interfaces.
pub(crate) fn first_mac() -> MacAddr {
    MacAddr::local([2, 0, 0, 0, 9, 1])
}

/// A VM with the devices that a host's agent gives a router.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Machine<'a> {
    pub(crate) image: &'a Path,
    /// The drive beside it.
    pub(crate) seed: &'a Path,
    pub(crate) memory_mib: u32,
    /// What is in the line of the console that says it is ready.
    pub(crate) ready: &'a str,
}

/// By which clock a boot is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Clock {
    /// The wall's, from the start of QEMU.
    Wall,
    /// The machine's own, which goes two nanoseconds further with each instruction and jumps to the next timer when there is
    /// nothing to do: the same on a busy machine.
    Counted,
}

impl Machine<'_> {
    /// The seconds of a boot: firmware, loader, kernel, and all until the line is out.
    pub(crate) fn boot(&self, clock: Clock) -> Result<f64> {
        let folder = tempfile::tempdir()?;
        let (serial, monitor) = (folder.path().join("serial"), folder.path().join("monitor"));
        let (lines, controls) = (UnixListener::bind(&serial)?, UnixListener::bind(&monitor)?);
        let mut command = Command::new("qemu-system-x86_64");
        command.args([
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-machine",
            "pc",
            "-accel",
            "tcg",
        ]);
        command.args(["-cpu", "max", "-m", &self.memory_mib.to_string()]);
        if clock == Clock::Counted {
            command.args(["-icount", "shift=1,sleep=off"]);
        }
        command.args(["-serial", &format!("unix:{}", serial.display())]);
        command.args(["-qmp", &format!("unix:{}", monitor.display())]);
        for (path, form) in [(self.image, "format=qcow2,snapshot=on"), (self.seed, "format=raw,readonly=on")]
        {
            command.args(["-drive", &format!("file={},if=virtio,{form}", path.display())]);
        }
        let [head @ .., last] = first_mac().octets();
        for number in 0..3 {
            let mac = head.iter().map(|byte| format!("{byte:02x}:")).collect::<String>();
            command.args(["-netdev", &format!("user,id=n{number},restrict=on")]);
            let device = format!("virtio-net-pci,netdev=n{number},mac={mac}{:02x},romfile=", last + number);
            command.args(["-device", &device]);
        }
        let begun = Instant::now();
        let _guard = Guard(command.spawn().context("qemu-system-x86_64 cannot be started")?);
        let said = Said::default();
        let ready = watch(accept(&lines, begun)?, self.ready.to_owned(), said.clone());
        let mut qemu = Qemu::talk_to(accept(&controls, begun)?)?;
        let took = match clock {
            Clock::Wall => {
                let at = ready.recv_timeout(LONGEST).context("the machine does not get ready");
                at.map(|at| (at - begun).as_secs_f64())
            }
            Clock::Counted => qemu.counted(&ready, begun),
        };
        took.with_context(|| format!("{} said last:\n{}", self.image.display(), said.last()))
    }
}

/// A process that goes with this.
struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The connection that QEMU makes.
fn accept(listener: &UnixListener, begun: Instant) -> Result<UnixStream> {
    listener.set_nonblocking(true)?;
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false)?;
                return Ok(stream);
            }
            Err(_) if begun.elapsed() < LONGEST => std::thread::sleep(Duration::from_millis(1)),
            Err(error) => return Err(error).context("QEMU does not come up"),
        }
    }
}

/// The last lines of a machine's console.
#[derive(Debug, Clone, Default)]
struct Said(Arc<Mutex<VecDeque<String>>>);

impl Said {
    const LINES: usize = 20;

    fn add(&self, line: String) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.push_back(line);
        if lines.len() > Self::LINES {
            lines.pop_front();
        }
    }

    fn last(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).make_contiguous().join("\n")
    }
}

/// When a whole line with that in it came.
fn watch(serial: UnixStream, ready: String, said: Said) -> Receiver<Instant> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut lines = BufReader::new(serial).split(b'\n');
        // The machine's end ends it.
        while let Some(Ok(line)) = lines.next() {
            let line = String::from_utf8_lossy(&line).into_owned();
            if line.contains(&ready) {
                let _ = sender.send(Instant::now());
            }
            said.add(line);
        }
    });
    receiver
}

/// QEMU's control connection (QMP).
struct Qemu(BufReader<UnixStream>);

impl Qemu {
    fn talk_to(stream: UnixStream) -> Result<Self> {
        let mut qemu = Self(BufReader::new(stream));
        qemu.0.read_line(&mut String::new())?;
        qemu.call(&json!({ "execute": "qmp_capabilities" }))?;
        Ok(qemu)
    }

    fn call(&mut self, command: &Value) -> Result<Value> {
        self.0.get_ref().write_all(format!("{command}\n").as_bytes())?;
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line)? == 0 {
                bail!("QEMU has ended");
            }
            let mut answer: Value = serde_json::from_str(&line)?;
            // Events come in between.
            if !answer["return"].is_null() {
                return Ok(answer["return"].take());
            }
        }
    }

    /// The seconds of the machine's own clock until it is ready: looked at again and again, for nothing could stop it just
    /// then. While it boots there is hardly a moment in which it has nothing to do, so two looks are milliseconds apart.
    fn counted(&mut self, ready: &Receiver<Instant>, begun: Instant) -> Result<f64> {
        /// ACPI's timer counts so often in a second, to 24 bits.
        const FREQUENCY: f64 = 3_579_545.0;
        const MASK: u64 = 0xff_ffff;
        let (mut looks, mut total) = (Vec::new(), 0_u64);
        while begun.elapsed() < LONGEST {
            let raw = self.timer()?;
            // All ones before the firmware has put it there.
            if raw <= MASK {
                total += raw.wrapping_sub(total) & MASK;
                looks.push((Instant::now(), total));
            }
            match ready.try_recv() {
                Ok(at) => {
                    let last =
                        looks.iter().rev().find(|(look, _)| *look <= at).context("no look at the clock")?;
                    return Ok(last.1 as f64 / FREQUENCY);
                }
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => bail!("the machine has ended"),
            }
        }
        bail!("the machine does not get ready")
    }

    /// The port of the timer of QEMU's `pc`, where its firmware puts it.
    fn timer(&mut self) -> Result<u64> {
        let look = json!({
            "execute": "human-monitor-command", "arguments": { "command-line": "i /xw 0x608" }
        });
        let answer = self.call(&look)?;
        let text = answer.as_str().unwrap_or_default().trim();
        let value = text.rsplit("0x").next().context("a number")?;
        u64::from_str_radix(value, 16).with_context(|| format!("no number: {text}"))
    }
}
