//! A line to a server: a socket, or TLS on one.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustls::{ClientConnection, StreamOwned};

use crate::tls;

/// How long to wait for bytes before looking at other things.
const LOOK: Duration = Duration::from_millis(50);

/// A socket of either kind.
pub(crate) trait Socket: Read + Write {}

impl<S: Read + Write> Socket for S {}

/// Bytes to and from a server.
pub(crate) enum Line {
    Plain(Box<dyn Socket>),
    Tls(Box<StreamOwned<ClientConnection, Box<dyn Socket>>>),
    /// While it changes from one to the other.
    Nothing,
}

impl From<UnixStream> for Line {
    fn from(socket: UnixStream) -> Self {
        socket.set_read_timeout(Some(LOOK)).unwrap();
        Self::Plain(Box::new(socket))
    }
}

impl From<TcpStream> for Line {
    fn from(socket: TcpStream) -> Self {
        socket.set_read_timeout(Some(LOOK)).unwrap();
        Self::Plain(Box::new(socket))
    }
}

impl Line {
    /// Makes TLS on it, to a server whose certificate must be good.
    pub(crate) fn start_tls(&mut self, trust: &tls::Trust) {
        let Self::Plain(socket) = std::mem::replace(self, Self::Nothing) else {
            panic!("there is TLS already")
        };
        *self = Self::Tls(Box::new(StreamOwned::new(trust.client(), socket)));
    }

    /// Bytes that have come, none if there were none for a while.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> usize {
        let read = match self {
            Self::Plain(socket) => socket.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
            Self::Nothing => Ok(0),
        };
        match read {
            Ok(0) => panic!("the server has closed the connection"),
            Ok(count) => count,
            Err(error) if is_none(&error) => 0,
            Err(error) => panic!("{error}"),
        }
    }

    /// Sends bytes.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        match self {
            Self::Plain(socket) => socket.write_all(bytes).unwrap(),
            Self::Tls(stream) => stream.write_all(bytes).and_then(|()| stream.flush()).unwrap(),
            Self::Nothing => {}
        }
    }
}

fn is_none(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}
