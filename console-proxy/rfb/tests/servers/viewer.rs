//! A viewer: a client, its frame, and a line.

use std::path::PathBuf;
use std::time::Instant;
use std::{env, fs};

use podzol_rfb::{
    Certificate, Client, ClientMessage, Config, Encoding, Event, Frame, Limits, MAX_BUFFERED, Press,
    Security, Size,
};
use podzol_vocab::Secret;

use crate::line::Line;
use crate::server::SOON;
use crate::tls::Trust;

/// Asks for updates as they come, and keeps what it has seen.
pub(crate) struct Viewer {
    pub(crate) client: Client,
    line: Line,
    trust: Option<Trust>,
    pixels: Vec<u32>,
    size: Size,
    /// Events but for painted pixels.
    pub(crate) events: Vec<Event>,
    /// Rectangles that were copied.
    pub(crate) copies: usize,
    /// All bytes that have come.
    pub(crate) received: Vec<u8>,
    record: Option<PathBuf>,
}

/// How to connect without security, with these ways for pixels and all extensions.
pub(crate) fn config(encodings: &[Encoding]) -> Config {
    Config {
        security: vec![Security::None],
        username: None,
        password: None,
        encodings: [encodings, Encoding::EXTENSIONS].concat(),
        limits: Limits::default(),
    }
}

/// How to connect with a password.
pub(crate) fn with_password(security: Security, password: &str) -> Config {
    let password = Some(Secret::new(password.to_owned()));
    Config { security: vec![security], password, ..config(&[Encoding::Hextile]) }
}

impl Viewer {
    /// Connects, and asks for the first update.
    pub(crate) fn new(line: impl Into<Line>, config: Config, trust: Option<Trust>) -> Self {
        let record = env::var_os("PODZOL_RECORD").map(|folder| {
            let thread = std::thread::current();
            let test = thread.name().unwrap_or_default().replace("::", "-");
            PathBuf::from(folder).join(format!("{test}-{:?}", config.encodings[0]))
        });
        let mut viewer = Self {
            client: Client::new(config),
            line: line.into(),
            trust,
            pixels: Vec::new(),
            size: Size::default(),
            events: Vec::new(),
            copies: 0,
            received: Vec::new(),
            record,
        };
        viewer.wait("a session", |viewer| viewer.client.size().is_some());
        viewer.client.send(ClientMessage::All(viewer.size.whole())).unwrap();
        viewer
    }

    /// Connects until TLS is asked for, and tells what it has to prove.
    pub(crate) fn until_tls(line: impl Into<Line>, config: Config) -> Certificate {
        let (mut client, mut line, mut buffer) = (Client::new(config), line.into(), [0; 1024]);
        loop {
            let count = line.read(&mut buffer);
            client.receive(&buffer[..count]);
            match client.next_event(&mut Frame::empty()).unwrap() {
                Some(Event::StartTls(certificate)) => return certificate,
                Some(other) => panic!("{other:?}"),
                None => line.write(client.output()),
            }
            client.sent(client.output().len());
        }
    }

    /// Its size and pixels.
    pub(crate) fn picture(&self) -> (Size, &[u32]) {
        (self.size, &self.pixels)
    }

    /// Presses a key and lets it go, by its place and its symbol.
    pub(crate) fn press(&mut self, scancode: u32, keysym: u32) {
        for press in [Press::Down, Press::Up] {
            self.client.send(ClientMessage::Scancode { press, keysym, scancode }).unwrap();
        }
        self.pump();
    }

    /// Goes on until something is as it should be.
    pub(crate) fn wait(&mut self, what: &str, mut is_so: impl FnMut(&mut Self) -> bool) {
        let end = Instant::now() + SOON;
        while !is_so(self) {
            assert!(Instant::now() < end, "waited for {what}; seen: {:?}", self.events);
            self.pump();
        }
    }

    /// Goes on until an event has come.
    pub(crate) fn wait_for(&mut self, event: &Event) {
        self.wait(&format!("{event:?}"), |viewer| viewer.events.contains(event));
    }

    /// Sends what is to be sent, and takes what comes within a moment.
    pub(crate) fn pump(&mut self) {
        self.flush();
        let mut buffer = vec![0; 65_536];
        let count = self.line.read(&mut buffer);
        self.received.extend_from_slice(&buffer[..count]);
        self.client.receive(&buffer[..count]);
        loop {
            let mut frame = Frame::new(&mut self.pixels, self.size, self.size.width.into()).unwrap();
            match self.client.next_event(&mut frame).unwrap() {
                Some(event) => self.take(event),
                None => break,
            }
        }
        assert!(self.client.buffered() <= MAX_BUFFERED);
        self.flush();
    }

    fn take(&mut self, event: Event) {
        match &event {
            Event::Painted(_) => return,
            Event::Copied { .. } => {
                self.copies += 1;
                return;
            }
            Event::StartTls(_) => {
                self.flush();
                self.line.start_tls(self.trust.as_ref().unwrap());
                self.client.tls_started().unwrap();
            }
            Event::UpdateEnd => {
                self.client.send(ClientMessage::Changes(self.size.whole())).unwrap();
                return;
            }
            Event::Connected { .. } | Event::Desktop(_) => self.resize(),
            _ => {}
        }
        self.events.push(event);
    }

    /// A new frame if there is a new size. What was in it is sent anew by servers that follow the protocol.
    fn resize(&mut self) {
        let size = self.client.size().unwrap();
        if size != self.size {
            (self.size, self.pixels) = (size, vec![0; size.pixels() as usize]);
        }
    }

    fn flush(&mut self) {
        self.line.write(self.client.output());
        self.client.sent(self.client.output().len());
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        if let Some(path) = &self.record {
            fs::write(path, &self.received).unwrap();
        }
    }
}
