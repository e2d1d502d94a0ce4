//! One connection, as the caller sees it.

use crate::config::Config;
use crate::encoding::Encoding;
use crate::error::{Error, SendError};
use crate::event::Event;
use crate::frame::{Frame, Size};
use crate::handshake::{Handshake, Outcome};
use crate::input::Input;
use crate::message::ClientMessage;
use crate::session::{Extensions, Session};

/// A client's end of an RFB connection, without the connection.
///
/// ```text
///  bytes from the server ─▶ receive ─▶ next_event, until there is none ─▶ events, pixels in the frame
///                                                     │
///  bytes for the server ◀─ output, sent ◀─────────────┴──── send, ask
/// ```
#[derive(Debug)]
pub struct Client {
    config: Config,
    input: Input,
    output: Vec<u8>,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    Handshake(Handshake),
    Session(Box<Session>),
    Failed,
}

impl Client {
    /// A client on a new connection, on which the server speaks first.
    pub fn new(config: Config) -> Self {
        let (input, output) = (Input::default(), Vec::new());
        Self { config, input, output, phase: Phase::Handshake(Handshake::default()) }
    }

    /// Takes bytes from the server, in pieces of any size. To keep memory within its bound, ask for all
    /// [events](Self::next_event) before the next piece.
    pub fn receive(&mut self, bytes: &[u8]) {
        if !matches!(self.phase, Phase::Failed) {
            self.input.push(bytes);
        }
    }

    /// What has happened next; none if more bytes are needed. Pixels are written into the frame, also those of a rectangle
    /// that has not come as a whole, so it must be the same one each time, of the size that the last
    /// [`Connected`](Event::Connected) or [`Desktop`](Event::Desktop) told, and hold what was written before.
    ///
    /// # Errors
    /// When the server breaks a rule or refuses, or the frame's size is wrong.
    pub fn next_event(&mut self, frame: &mut Frame<'_>) -> Result<Option<Event>, Error> {
        if let Some(desktop) = self.size().filter(|size| *size != frame.size()) {
            return Err(Error::Frame { frame: frame.size(), desktop });
        }
        let event = self.advance(frame);
        match &event {
            Ok(Some(_)) => {}
            Ok(None) => self.input.compact(),
            Err(_) => (self.phase, self.input) = (Phase::Failed, Input::default()),
        }
        event
    }

    /// Goes on after [`StartTls`](Event::StartTls), when TLS is made and the other side's certificate is found good. From now on
    /// all bytes are those within TLS. When there was no such event, nothing happens.
    ///
    /// # Errors
    /// When what follows needs a password or a user's name, and there is none.
    pub fn tls_started(&mut self) -> Result<(), Error> {
        if let Phase::Handshake(handshake) = &mut self.phase
            && let Err(error) = handshake.tls_started(&self.config, &mut self.output)
        {
            self.phase = Phase::Failed;
            return Err(error);
        }
        Ok(())
    }

    /// Says something to the server.
    ///
    /// # Errors
    /// When the handshake is not over, or the server has not said that it understands it. Nothing is said then.
    pub fn send(&mut self, message: ClientMessage<'_>) -> Result<(), SendError> {
        match &self.phase {
            Phase::Session(session) => session.send(message, &mut self.output),
            _ => Err(SendError::NoSession),
        }
    }

    /// Asks for other encodings than before, the preferred ones first.
    ///
    /// # Errors
    /// When the handshake is not over.
    pub fn ask(&mut self, encodings: &[Encoding]) -> Result<(), SendError> {
        match &mut self.phase {
            Phase::Session(session) => {
                session.ask(encodings, &mut self.output);
                Ok(())
            }
            _ => Err(SendError::NoSession),
        }
    }

    /// Bytes for the server. They stay until they are [sent](Self::sent).
    pub fn output(&self) -> &[u8] {
        &self.output
    }

    /// So many bytes of the output are on their way.
    ///
    /// # Panics
    /// When there were not so many.
    pub fn sent(&mut self, count: usize) {
        self.output.drain(..count);
    }

    /// The desktop's size, once the handshake is over.
    pub fn size(&self) -> Option<Size> {
        match &self.phase {
            Phase::Session(session) => Some(session.size()),
            _ => None,
        }
    }

    /// Whether an update has begun and not ended: the frame may have pixels of a rectangle that no event has told of.
    pub fn is_updating(&self) -> bool {
        matches!(&self.phase, Phase::Session(session) if session.is_updating())
    }

    /// What the server has shown that it understands.
    pub fn extensions(&self) -> Extensions {
        match &self.phase {
            Phase::Session(session) => session.extensions(),
            _ => Extensions::default(),
        }
    }

    /// Bytes that have come and could not be decoded yet. After all events were taken, they are a part of one message: less
    /// than [`MAX_BUFFERED`](crate::MAX_BUFFERED), or than the limit of the clipboard if that is more.
    pub fn buffered(&self) -> usize {
        self.input.rest().len()
    }

    fn advance(&mut self, frame: &mut Frame<'_>) -> Result<Option<Event>, Error> {
        match &mut self.phase {
            Phase::Session(session) => session.advance(&mut self.input, &mut self.output, frame),
            Phase::Handshake(handshake) => {
                match handshake.advance(&self.config, &mut self.input, &mut self.output)? {
                    Outcome::Wait => Ok(None),
                    Outcome::StartTls(certificate) => Ok(Some(Event::StartTls(certificate))),
                    Outcome::Connected { size, name } => {
                        let Config { limits, encodings, .. } = &self.config;
                        let session = Session::new(size, *limits, encodings, &mut self.output);
                        self.phase = Phase::Session(Box::new(session));
                        Ok(Some(Event::Connected { size, name }))
                    }
                }
            }
            Phase::Failed => Err(Error::Failed),
        }
    }
}
