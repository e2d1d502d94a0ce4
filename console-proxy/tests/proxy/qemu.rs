//! A QEMU with a guest that draws another picture for each key.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::guest;
use crate::wait::SOON;

/// A machine. It ends when it is dropped.
pub(crate) struct Machine {
    process: Child,
    folder: TempDir,
    reader: BufReader<UnixStream>,
    writer: UnixStream,
}

/// Whether QEMU is there; says so if not.
pub(crate) fn is_there() -> bool {
    let folders = std::env::var("PATH").unwrap_or_default();
    if folders.split(':').any(|folder| Path::new(folder).join("qemu-system-x86_64").exists()) {
        return true;
    }
    let missing = "qemu-system-x86_64 is missing (apt install qemu-system-x86)";
    assert!(std::env::var_os("PODZOL_MUST_RUN").is_none(), "{missing}");
    eprintln!("not run: {missing}");
    false
}

impl Machine {
    /// Starts one whose display is a socket, and waits until its guest has drawn.
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let vnc = format!("unix:{}", folder.path().join("vnc").display());
        Self::start_in(folder, &vnc, &[])
    }

    /// Starts one whose folder has certificates, and whose display is on a port, with TLS and the password `password`.
    pub(crate) fn start_on_port(folder: TempDir, port: u16) -> Self {
        let tls =
            format!("tls-creds-x509,id=tls,endpoint=server,verify-peer=off,dir={}", folder.path().display());
        let vnc = format!("127.0.0.1:{},tls-creds=tls,password-secret=password", port - 5900);
        Self::start_in(folder, &vnc, &["-object", &tls, "-object", "secret,id=password,data=password"])
    }

    fn start_in(folder: TempDir, vnc: &str, more: &[&str]) -> Self {
        let path = |name: &str| folder.path().join(name).display().to_string();
        std::fs::write(path("disk"), guest::disk()).unwrap();
        let mut command = Command::new("qemu-system-x86_64");
        command.args([
            "-nodefaults",
            "-no-user-config",
            "-machine",
            "pc,accel=tcg",
            "-m",
            "16",
            "-vga",
            "std",
        ]);
        command.args(["-drive", &format!("file={},format=raw,if=ide", path("disk"))]);
        command.args(["-qmp", &format!("unix:{},server=on,wait=off", path("qmp"))]);
        command.args(["-serial", "null", "-vnc", vnc]).args(more);
        let log = std::fs::File::create(path("log")).unwrap();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let process = command.spawn().unwrap();
        let socket = connect(&folder.path().join("qmp"));
        let reader = BufReader::new(socket.try_clone().unwrap());
        let mut machine = Self { process, folder, reader, writer: socket };
        machine.line();
        machine.run("qmp_capabilities", json!({}));
        let end = Instant::now() + SOON;
        while machine.screendump().0 != (640, 400) {
            assert!(Instant::now() < end, "the guest draws");
            std::thread::sleep(Duration::from_millis(50));
        }
        machine
    }

    /// Its control socket.
    pub(crate) fn control(&self) -> PathBuf {
        self.folder.path().join("qmp")
    }

    pub(crate) fn display(&self) -> PathBuf {
        self.folder.path().join("vnc")
    }

    /// Presses a key, not through its display.
    pub(crate) fn press(&mut self, name: &str) {
        self.run("send-key", json!({ "keys": [{ "type": "qcode", "data": name }] }));
    }

    /// How much time of processors it has taken (proc(5), `/proc/pid/stat`), in hundredths of a second.
    pub(crate) fn cpu(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    }

    /// What it has said.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    /// What is on its display, once that does not change any more.
    pub(crate) async fn at_rest(&mut self) -> ((u16, u16), Vec<u32>) {
        let mut before = self.screendump();
        let end = Instant::now() + SOON;
        loop {
            // Keys are still carried to it meanwhile.
            tokio::time::sleep(Duration::from_millis(300)).await;
            let now = self.screendump();
            if now == before {
                return now;
            }
            assert!(Instant::now() < end, "it comes to rest");
            before = now;
        }
    }

    fn screendump(&mut self) -> ((u16, u16), Vec<u32>) {
        let path = self.folder.path().join("dump");
        self.run("screendump", json!({ "filename": path }));
        ppm(&std::fs::read(path).unwrap())
    }

    fn run(&mut self, command: &str, arguments: Value) -> Value {
        writeln!(self.writer, "{}", json!({ "execute": command, "arguments": arguments })).unwrap();
        loop {
            let answer = self.line();
            assert!(answer.get("error").is_none(), "{command}: {answer}");
            if let Some(value) = answer.get("return") {
                return value.clone();
            }
        }
    }

    fn line(&mut self) -> Value {
        let mut line = String::new();
        assert_ne!(self.reader.read_line(&mut line).unwrap(), 0, "QEMU has ended");
        serde_json::from_str(&line).unwrap()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn connect(path: &Path) -> UnixStream {
    let end = Instant::now() + SOON;
    loop {
        match UnixStream::connect(path) {
            Ok(stream) => return stream,
            Err(error) => assert!(Instant::now() < end, "{error}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// An image of three bytes a pixel behind a head of four words: <https://netpbm.sourceforge.net/doc/ppm.html>.
fn ppm(bytes: &[u8]) -> ((u16, u16), Vec<u32>) {
    let (mut words, mut start) = (Vec::new(), 0);
    while words.len() < 4 {
        let end = start + bytes[start..].iter().position(u8::is_ascii_whitespace).unwrap();
        words.push(std::str::from_utf8(&bytes[start..end]).unwrap());
        start = end + 1;
    }
    assert_eq!((words[0], words[3]), ("P6", "255"));
    let pixels =
        bytes[start..].chunks_exact(3).map(|pixel| u32::from_be_bytes([0, pixel[0], pixel[1], pixel[2]]));
    ((words[1].parse().unwrap(), words[2].parse().unwrap()), pixels.collect())
}
