//! A client with a frame of its own.

use podzol_rfb::{Client, Config, Encoding, Error, Event, Frame, Limits, MAX_BUFFERED, Security, Size};
use podzol_vocab::Secret;

use crate::wire::{self, Place};

/// All encodings there are.
pub(crate) fn all() -> Vec<Encoding> {
    use Encoding::*;
    let pixels = [Hextile, CopyRect, Zlib, Zrle, Tight, TightPng, Raw];
    [&pixels, Encoding::EXTENSIONS].concat()
}

/// A client that takes everything that can come.
pub(crate) fn config() -> Config {
    Config {
        security: vec![Security::None],
        username: Some("user".into()),
        password: Some(Secret::new("password".into())),
        encodings: all(),
        limits: Limits { pixels: 10_000, clipboard: 1000 },
    }
}

/// A client and what it has seen.
pub(crate) struct World {
    pub(crate) client: Client,
    pub(crate) pixels: Vec<u32>,
    pub(crate) size: Size,
    pub(crate) events: Vec<Event>,
}

impl World {
    /// Before the first byte.
    pub(crate) fn new(config: Config) -> Self {
        Self { client: Client::new(config), pixels: Vec::new(), size: Size::default(), events: Vec::new() }
    }

    /// After a handshake; what was said and seen up to then is forgotten.
    pub(crate) fn connected() -> Self {
        let mut world = Self::new(config());
        world.give(&wire::handshake()).unwrap();
        world.events.clear();
        world.said();
        world
    }

    /// Gives it bytes, and takes all events.
    pub(crate) fn give(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.client.receive(bytes);
        loop {
            let mut frame = Frame::new(&mut self.pixels, self.size, self.size.width.into()).unwrap();
            let Some(event) = self.client.next_event(&mut frame)? else { break };
            if let Some(size) = self.client.size().filter(|size| *size != self.size) {
                self.resize(size);
            }
            if let Event::StartTls(_) = event {
                self.client.tls_started()?;
            }
            self.events.push(event);
        }
        assert!(self.client.buffered() <= MAX_BUFFERED);
        Ok(())
    }

    /// Gives it one update, and takes what it has seen but for the update's end.
    pub(crate) fn update(&mut self, rectangles: &[Vec<u8>]) -> Result<Vec<Event>, Error> {
        self.give(&wire::update(rectangles))?;
        let mut events = std::mem::take(&mut self.events);
        assert_eq!(events.pop(), Some(Event::UpdateEnd));
        Ok(events)
    }

    /// What it wants to send.
    pub(crate) fn said(&mut self) -> Vec<u8> {
        let said = self.client.output().to_vec();
        self.client.sent(said.len());
        said
    }

    /// Pixels of a rectangle, row by row.
    pub(crate) fn inside(&self, (x, y, width, height): Place) -> Vec<u32> {
        let at = |x: u16, y: u16| self.pixels[usize::from(y) * usize::from(self.size.width) + usize::from(x)];
        (y..y + height).flat_map(|y| (x..x + width).map(move |x| at(x, y))).collect()
    }

    fn resize(&mut self, size: Size) {
        let mut pixels = vec![0; size.pixels() as usize];
        for y in 0..usize::from(size.height.min(self.size.height)) {
            let width = usize::from(size.width.min(self.size.width));
            let (to, from) = (y * usize::from(size.width), y * usize::from(self.size.width));
            pixels[to..to + width].copy_from_slice(&self.pixels[from..from + width]);
        }
        (self.pixels, self.size) = (pixels, size);
    }
}

/// The error of one rectangle.
pub(crate) fn refused(rectangle: Vec<u8>) -> podzol_rfb::Rule {
    match World::connected().update(&[rectangle]) {
        Err(Error::Broken { rule, .. }) => rule,
        other => panic!("it is not refused: {other:?}"),
    }
}
