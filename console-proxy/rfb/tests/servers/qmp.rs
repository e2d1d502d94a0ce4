//! QEMU's control socket: <https://www.qemu.org/docs/master/interop/qmp-spec.html>.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use podzol_rfb::Size;
use serde_json::{Value, json};

/// A connection that takes commands.
pub(crate) struct Qmp {
    reader: BufReader<UnixStream>,
    writer: UnixStream,
}

impl Qmp {
    /// Greets it.
    pub(crate) fn new(socket: UnixStream) -> Self {
        let mut qmp = Self { reader: BufReader::new(socket.try_clone().unwrap()), writer: socket };
        qmp.line();
        qmp.run("qmp_capabilities", json!({}));
        qmp
    }

    /// Runs a command.
    pub(crate) fn run(&mut self, command: &str, arguments: Value) -> Value {
        writeln!(self.writer, "{}", json!({ "execute": command, "arguments": arguments })).unwrap();
        loop {
            let answer = self.line();
            assert!(answer.get("error").is_none(), "{command}: {answer}");
            if let Some(value) = answer.get("return") {
                return value.clone();
            }
        }
    }

    /// Waits until it has told of an event.
    pub(crate) fn wait_for(&mut self, event: &str) {
        while self.line()["event"] != event {}
    }

    /// What is on the display, as QEMU sees it.
    pub(crate) fn screendump(&mut self, path: &Path) -> (Size, Vec<u32>) {
        self.run("screendump", json!({ "filename": path }));
        ppm(&fs::read(path).unwrap())
    }

    fn line(&mut self) -> Value {
        let mut line = String::new();
        assert_ne!(self.reader.read_line(&mut line).unwrap(), 0, "QEMU has ended");
        serde_json::from_str(&line).unwrap()
    }
}

/// An image of three bytes a pixel behind a head of four words: <https://netpbm.sourceforge.net/doc/ppm.html>.
fn ppm(bytes: &[u8]) -> (Size, Vec<u32>) {
    let (mut words, mut start) = (Vec::new(), 0);
    while words.len() < 4 {
        let end = start + bytes[start..].iter().position(u8::is_ascii_whitespace).unwrap();
        words.push(std::str::from_utf8(&bytes[start..end]).unwrap());
        start = end + 1;
    }
    assert_eq!((words[0], words[3]), ("P6", "255"));
    let pixels =
        bytes[start..].chunks_exact(3).map(|pixel| u32::from_be_bytes([0, pixel[0], pixel[1], pixel[2]]));
    (Size::new(words[1].parse().unwrap(), words[2].parse().unwrap()), pixels.collect())
}
