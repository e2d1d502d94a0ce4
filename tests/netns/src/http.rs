//! A web server that shows what it is asked, and one request to a web server with its answer.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use crate::namespace::Namespace;

/// How long a client waits for a connection or an answer: long enough for a router that is emulated.
const PATIENCE: Duration = Duration::from_secs(10);

/// Has a web server on a port of all addresses answer each request with its own name in the header `Server` and the
/// request's header as the body. It goes on until the process ends.
///
/// # Panics
/// When the port is taken.
pub fn echo(space: &Namespace, port: u16, name: &str) {
    let listener = space.inside(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)));
    let (listener, name) = (listener.expect("the port is free"), Arc::<str>::from(name));
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            let name = Arc::clone(&name);
            // A client that goes away ends it.
            std::thread::spawn(move || talk(&stream, &name));
        }
    });
}

fn talk(stream: &TcpStream, name: &str) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let head = read_head(&mut reader)?;
        let start = format!("HTTP/1.1 200 OK\r\nServer: {name}\r\nContent-Length: {}\r\n\r\n", head.len());
        (&*stream).write_all((start + &head).as_bytes())?;
    }
}

/// A connection to a web server that is kept for many requests.
#[derive(Debug)]
pub struct Kept(BufReader<TcpStream>);

/// What a web server answers.
#[derive(Debug, Clone)]
pub struct Reply {
    /// Its status.
    pub status: u16,
    /// Its first line and its header.
    pub head: String,
    /// Its body.
    pub body: String,
}

impl Kept {
    /// Connects from a namespace.
    ///
    /// # Errors
    /// When nobody accepts it in time.
    pub fn open(from: &Namespace, to: SocketAddr) -> io::Result<Self> {
        from.inside(|| Self::from_here(to))
    }

    /// Connects from the namespace of this thread.
    ///
    /// # Errors
    /// When nobody accepts it in time.
    pub fn from_here(to: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&to, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self(BufReader::new(stream)))
    }

    /// Asks for a path with these lines in the header, each with its end.
    ///
    /// # Errors
    /// When there is no answer in time.
    pub fn get(&mut self, path: &str, lines: &str) -> io::Result<Reply> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: web.example\r\n{lines}\r\n");
        self.0.get_ref().write_all(request.as_bytes())?;
        let head = read_head(&mut self.0)?;
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        let mut reply =
            Reply { status: status.ok_or(io::ErrorKind::InvalidData)?, head, body: String::new() };
        let length = reply.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        self.0.by_ref().take(length).read_to_string(&mut reply.body)?;
        Ok(reply)
    }
}

impl Reply {
    /// The value of a field of its header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let fields = self.head.lines().filter_map(|line| line.split_once(": "));
        fields.filter(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
    }

    /// Which server has answered.
    pub fn server(&self) -> String {
        self.header("server").unwrap_or_default().to_owned()
    }
}

/// A request or an answer up to its empty line.
fn read_head(reader: &mut impl BufRead) -> io::Result<String> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(head)
}
