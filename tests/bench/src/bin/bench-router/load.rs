//! Load by TCP: what servers do, and what clients do for a while.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use nix::libc::linger;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeValLike;
use podzol_netns_tests::{Namespace, wait_for};

use crate::services::cpu;

/// Takes all that comes.
pub(crate) const SINK: u16 = 81;
/// Answers each request on connections that stay.
pub(crate) const STAY: u16 = 82;
/// Answers one request of each connection.
pub(crate) const ONCE: u16 = 83;

/// A request and an answer, in bytes: a small page's.
const REQUEST: usize = 128;
const ANSWER: usize = 512;

/// How long anybody waits for anybody.
const PATIENCE: Duration = Duration::from_secs(5);

/// What clients do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Send as much as they can, on two connections. Counted in bytes.
    Bulk,
    /// Ask again and again, on sixteen connections that stay. Counted in answers.
    Requests,
    /// Make connections for one request each, two at a time. Counted in answers.
    Connections,
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::Bulk, Self::Requests, Self::Connections];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Bulk => "bulk, Gbit",
            Self::Requests => "requests",
            Self::Connections => "connections",
        }
    }

    pub(crate) const fn port(self) -> u16 {
        match self {
            Self::Bulk => SINK,
            Self::Requests => STAY,
            Self::Connections => ONCE,
        }
    }

    const fn clients(self) -> usize {
        match self {
            Self::Bulk | Self::Connections => 2,
            Self::Requests => 16,
        }
    }

    /// What a count in a second is in the unit of the name.
    const fn unit(self) -> f64 {
        match self {
            Self::Bulk => 8.0 / 1e9,
            Self::Requests | Self::Connections => 1.0,
        }
    }
}

/// Serves all three kinds on all addresses of a namespace, until the process ends.
pub(crate) fn serve(space: &Namespace) -> Result<()> {
    for kind in Kind::ALL {
        let listener = space.inside(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, kind.port())))?;
        // Two accept, so that none waits for another's request.
        for _ in 0..2 {
            let listener = listener.try_clone()?;
            std::thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    match kind {
                        // A thread for each would cost more than the connection.
                        Kind::Connections => drop(answer(&stream)),
                        Kind::Requests => drop(std::thread::spawn(move || while answer(&stream).is_ok() {})),
                        Kind::Bulk => drop(std::thread::spawn(move || swallow(&stream))),
                    }
                }
            });
        }
    }
    Ok(())
}

fn answer(mut stream: &TcpStream) -> io::Result<()> {
    stream.read_exact(&mut [0; REQUEST])?;
    stream.write_all(&[1; ANSWER])
}

fn swallow(mut stream: &TcpStream) {
    let mut buffer = vec![0; 256 << 10];
    while stream.read(&mut buffer).is_ok_and(|length| length > 0) {}
}

/// Where clients connect from and to: each connection takes the next of each.
#[derive(Debug, Clone)]
pub(crate) struct Way {
    pub(crate) from: Vec<Ipv4Addr>,
    pub(crate) to: Vec<SocketAddrV4>,
}

/// What was done in a while.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Done {
    /// In a second, in the unit of the kind's name.
    pub(crate) rate: f64,
    /// How much of that one processor would do by itself: this program's clients and servers have spent the time, with the
    /// kernel's work for their packets on the way, and the given process.
    pub(crate) rate_of_one: f64,
}

/// What clients in a namespace get done in so long a time, where another process has a part in it or not.
pub(crate) fn measure(
    space: &Namespace,
    kind: Kind,
    way: &Way,
    time: Duration,
    other: Option<u32>,
) -> Result<Done> {
    let clients = kind.clients();
    let (begun, before) = (Instant::now(), spent(other)?);
    let count = space.inside(|| {
        std::thread::scope(|scope| {
            let spawn = |client| scope.spawn(move || work(kind, way, client, time));
            let running: Vec<_> = (0..clients).map(spawn).collect();
            let ends =
                running.into_iter().map(|client| client.join().map_err(|_| anyhow!("a client has panicked")));
            ends.map(|end| Ok(end??)).sum::<Result<f64>>()
        })
    });
    let count = count.with_context(|| format!("{kind:?} in {}", space.name()))? * kind.unit();
    let (time, spent) = (begun.elapsed().as_secs_f64(), spent(other)? - before);
    Ok(Done { rate: count / time, rate_of_one: count / spent })
}

/// The processor time in seconds that this process, the kernel's threads for packets, and another process have taken.
fn spent(other: Option<u32>) -> Result<f64> {
    let own = getrusage(UsageWho::RUSAGE_SELF)?;
    let own = [own.user_time(), own.system_time()].map(|time| time.num_microseconds() as f64 / 1e6);
    let mut total = own.iter().sum::<f64>();
    for pid in kernel_threads()?.into_iter().chain(other) {
        total += cpu(pid)?;
    }
    Ok(total)
}

/// ksoftirqd(8), which takes over what packets need when there is more of it than fits between other things.
fn kernel_threads() -> Result<Vec<u32>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse() else { continue };
        let name = std::fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        if name.starts_with("ksoftirqd/") {
            found.push(pid);
        }
    }
    Ok(found)
}

/// What one client gets done.
fn work(kind: Kind, way: &Way, client: usize, time: Duration) -> io::Result<f64> {
    let mut tries = (client..).step_by(kind.clients());
    let mut open = || open(way, tries.next().unwrap_or_default());
    let (mut count, chunk) = (0, vec![0; 256 << 10]);
    let mut stream = if kind == Kind::Connections { None } else { Some(open()?) };
    let begun = Instant::now();
    while begun.elapsed() < time {
        match (&mut stream, kind) {
            (Some(stream), Kind::Bulk) => {
                stream.write_all(&chunk)?;
                count += chunk.len();
            }
            (Some(stream), _) => {
                ask(stream)?;
                count += 1;
            }
            (None, _) => {
                ask(&mut open()?)?;
                count += 1;
            }
        }
    }
    Ok(count as f64)
}

fn ask(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(&[1; REQUEST])?;
    stream.read_exact(&mut [0; ANSWER])
}

/// A connection that ends with a reset, so that its ports are free again at once.
fn open(way: &Way, number: usize) -> io::Result<TcpStream> {
    let next = |length: usize| number.checked_rem(length).ok_or(io::ErrorKind::InvalidInput);
    let (from, to) = (way.from[next(way.from.len())?], way.to[next(way.to.len())?]);
    let socket = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    // The port is chosen when it is known where to, so that there are enough.
    setsockopt(&socket, sockopt::IpBindAddressNoPort, &true)?;
    setsockopt(&socket, sockopt::Linger, &linger { l_onoff: 1, l_linger: 0 })?;
    bind(socket.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(from, 0)))?;
    connect(socket.as_raw_fd(), &SockaddrIn::from(to))?;
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Waits until a server can be reached that way.
pub(crate) fn reach(space: &Namespace, way: &Way) {
    wait_for(&format!("a way to {:?}", way.to), || {
        space.inside(|| open(way, 0)).map(drop).map_err(|error| error.to_string())
    });
}
