//! A web server in a namespace, which notes who comes, and clients of it.

use std::collections::BTreeSet;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::namespace::Namespace;
use crate::wait::wait_for;

/// How long a client waits for a connection or an answer.
const PATIENCE: Duration = Duration::from_secs(4);

/// How long a client of a [`Load`] does: longer than the kernel waits before it tries to connect for the third time.
const GREAT_PATIENCE: Duration = Duration::from_secs(15);

/// How long a client of a [`Load`] rests after each connection.
const REST: Duration = Duration::from_millis(10);

/// A web server that says which it is. It goes on until the process ends.
#[derive(Debug, Clone)]
pub struct Site(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    name: String,
    status: AtomicU16,
    visits: Mutex<Vec<Visit>>,
}

/// A connection to a [`Site`].
#[derive(Debug, Clone, Copy)]
pub struct Visit {
    /// When it was accepted.
    pub at: Instant,
    /// Who connected.
    pub from: IpAddr,
    /// Which status its requests are answered with.
    pub status: u16,
}

impl Site {
    /// Opens one on a port of all addresses.
    ///
    /// # Panics
    /// When the port is taken.
    pub fn open(space: &Namespace, port: u16, name: &str) -> Self {
        let inner = Inner { name: name.to_owned(), status: AtomicU16::new(200), visits: Mutex::default() };
        let site = Self(Arc::new(inner));
        let listener = space.inside(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)));
        let listener = listener.expect("the port is free");
        let serving = site.clone();
        std::thread::spawn(move || {
            while let Ok((stream, from)) = listener.accept() {
                serving.visited(stream, from.ip());
            }
        });
        site
    }

    /// Answers with this status on connections that come from now on.
    pub fn answer(&self, status: u16) {
        self.0.status.store(status, Ordering::Relaxed);
    }

    /// All connections until now, in order.
    pub fn visits(&self) -> Vec<Visit> {
        lock(&self.0.visits).clone()
    }

    fn visited(&self, stream: TcpStream, from: IpAddr) {
        let status = self.0.status.load(Ordering::Relaxed);
        lock(&self.0.visits).push(Visit { at: Instant::now(), from, status });
        let site = self.clone();
        std::thread::spawn(move || {
            // A client that goes away ends it.
            let _ = site.talk(&stream, status);
        });
    }

    fn talk(&self, stream: &TcpStream, status: u16) -> io::Result<()> {
        let mut reader = BufReader::new(stream);
        while read_head(&mut reader)?.is_some() {
            let answer =
                format!("HTTP/1.1 {status} x\r\nServer: {}\r\nContent-Length: 0\r\n\r\n", self.0.name);
            (&*stream).write_all(answer.as_bytes())?;
        }
        Ok(())
    }
}

/// A client's connection to a [`Site`].
#[derive(Debug)]
pub struct Connection(BufReader<TcpStream>);

impl Connection {
    /// Connects from a namespace.
    ///
    /// # Errors
    /// When nobody accepts it in time.
    pub fn open(from: &Namespace, to: SocketAddr) -> io::Result<Self> {
        from.inside(|| Self::from_here(to, PATIENCE))
    }

    fn from_here(to: SocketAddr, patience: Duration) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&to, patience)?;
        stream.set_read_timeout(Some(patience))?;
        Ok(Self(BufReader::new(stream)))
    }

    /// Asks for something, and gives the name of the site that answers.
    ///
    /// # Errors
    /// When it does not answer in time.
    pub fn ask(&mut self) -> io::Result<String> {
        self.0.get_ref().write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")?;
        let head = read_head(&mut self.0)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let fields = head.lines().filter_map(|line| line.split_once(": "));
        let mut names = fields.filter(|(field, _)| field.eq_ignore_ascii_case("server"));
        Ok(names.next().ok_or(io::ErrorKind::InvalidData)?.1.to_owned())
    }
}

/// Clients that make one connection after the other, each with one request, until this is stopped.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    tries: Arc<Mutex<Vec<Try>>>,
    clients: Vec<JoinHandle<()>>,
}

/// A client's connection, which is over.
#[derive(Debug, Clone)]
pub struct Try {
    /// Which client's.
    pub client: usize,
    /// When it was begun.
    pub begun: Instant,
    /// When it was over.
    pub ended: Instant,
    /// Which site answered, or why none did.
    pub answer: Result<String, io::ErrorKind>,
}

impl Load {
    /// So many clients in a namespace.
    pub fn start(from: &Namespace, to: SocketAddr, clients: usize) -> Self {
        let (stop, tries) = (Arc::new(AtomicBool::new(false)), Arc::<Mutex<Vec<Try>>>::default());
        let client = |client| {
            let (stop, tries) = (Arc::clone(&stop), Arc::clone(&tries));
            from.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let begun = Instant::now();
                    let connection = Connection::from_here(to, GREAT_PATIENCE);
                    let answer = connection.and_then(|mut connection| connection.ask());
                    let answer = answer.map_err(|error| error.kind());
                    lock(&tries).push(Try { client, begun, ended: Instant::now(), answer });
                    std::thread::sleep(REST);
                }
            })
        };
        let clients = (0..clients).map(client).collect();
        Self { stop, tries, clients }
    }

    /// What has become of all connections that are over, in the order in which they were begun.
    pub fn tries(&self) -> Vec<Try> {
        let mut tries = lock(&self.tries).clone();
        tries.sort_by_key(|one| one.begun);
        tries
    }

    /// Waits until every connection is over that was begun before now.
    ///
    /// # Panics
    /// When that takes too long.
    pub fn wait_for_those_before(&self) {
        let now = Instant::now();
        wait_for("connections to be over", || {
            let later = self.tries().into_iter().filter(|one| one.begun > now).map(|one| one.client);
            let clients = later.collect::<BTreeSet<_>>().len();
            if clients == self.clients.len() {
                Ok(())
            } else {
                Err(format!("{clients} clients have begun others"))
            }
        });
    }

    /// What has become of all connections, once all clients have ended.
    pub fn stop(self) -> Vec<Try> {
        self.stop.store(true, Ordering::Relaxed);
        let Self { tries, clients, .. } = self;
        clients.into_iter().for_each(|client| client.join().expect("clients do not panic"));
        let mut tries = std::mem::take(&mut *lock(&tries));
        tries.sort_by_key(|one| one.begun);
        tries
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A request or an answer up to its empty line; nothing at the end of the stream.
fn read_head(reader: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head)? == 0 {
            return Ok(None);
        }
    }
    Ok(Some(head))
}
