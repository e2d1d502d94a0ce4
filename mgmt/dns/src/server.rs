//! Sockets around the answers: who may ask how much, and that nothing ends the server but its end.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::answer::{MAX_QUERY, answer, come_by_tcp};
use crate::counters::{Counters, Outcome, Transport};
use crate::names::ConsoleNames;
use crate::rate::{Prefix, Rates, Verdict};
use crate::tcp;
use crate::zone::{NameServer, Zone};

/// How long to wait when the operating system refuses, before the next try.
pub(crate) const AGAIN: Duration = Duration::from_millis(100);

/// What an operator may decide.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The zone's name servers, the primary one first.
    pub name_servers: Vec<NameServer>,
    /// Where to listen, over UDP and TCP both. Addresses of this machine, as an answer comes from where the question went
    /// to; with port 0, each has a port of its own that is free.
    pub listen: Vec<SocketAddr>,
    /// How many answers a second a network of clients gets over UDP, and as many over TCP.
    pub answers_per_second: NonZeroU32,
}

/// Why the server cannot listen.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen for DNS at {address}")]
pub struct ListenError {
    /// The address and port.
    pub address: SocketAddr,
    /// What the operating system says.
    pub source: std::io::Error,
}

/// A name server that listens already, and answers once it runs.
pub struct Server {
    responder: Arc<Responder>,
    sockets: Vec<(Arc<UdpSocket>, Arc<TcpListener>)>,
}

impl Server {
    /// Listens at all addresses.
    ///
    /// # Errors
    /// When one of them is not of this machine, or is taken.
    pub async fn bind(names: ConsoleNames, settings: &Settings) -> Result<Self, ListenError> {
        let mut sockets = Vec::new();
        for address in &settings.listen {
            let both = listen(*address).await;
            let (udp, tcp) = both.map_err(|source| ListenError { address: *address, source })?;
            sockets.push((Arc::new(udp), Arc::new(tcp)));
        }
        let responder = Responder {
            zone: Zone::new(names, &settings.name_servers),
            over_udp: Rates::new(settings.answers_per_second),
            over_tcp: Rates::new(settings.answers_per_second),
            counters: Counters::new(),
        };
        Ok(Self { responder: Arc::new(responder), sockets })
    }

    /// Where it listens, in the order of the settings.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn addresses(&self) -> std::io::Result<Vec<SocketAddr>> {
        self.sockets.iter().map(|(udp, _)| udp.local_addr()).collect()
    }

    /// What is counted.
    pub fn counters(&self) -> Counters {
        self.responder.counters.clone()
    }

    /// Answers until `stop` is cancelled. Connections end with it.
    pub async fn run(self, stop: CancellationToken) {
        let mut serving = JoinSet::new();
        for (udp, tcp) in self.sockets {
            serving.spawn(serve_udp(Arc::clone(&self.responder), udp));
            serving.spawn(tcp::serve(Arc::clone(&self.responder), tcp));
        }
        stop.cancelled().await;
        serving.shutdown().await;
    }
}

/// Both sockets of an address, of the same port if it may be any.
async fn listen(address: SocketAddr) -> std::io::Result<(UdpSocket, TcpListener)> {
    let tcp = TcpListener::bind(address).await?;
    let udp = UdpSocket::bind((address.ip(), tcp.local_addr()?.port())).await?;
    Ok((udp, tcp))
}

async fn serve_udp(responder: Arc<Responder>, socket: Arc<UdpSocket>) {
    // One byte more, so that a packet which is too long is seen to be.
    let mut buffer = [0; MAX_QUERY + 1];
    loop {
        match socket.recv_from(&mut buffer).await {
            Ok((length, from)) => {
                let answer = responder.over_udp(from, &buffer[..length]);
                if let Some(answer) = answer {
                    // As good as lost on the way.
                    let _ = socket.send_to(&answer, from).await;
                }
            }
            Err(error) => {
                tracing::warn!(%error, "cannot receive at the name server");
                sleep(AGAIN).await;
            }
        }
    }
}

/// Who answers, for all sockets.
pub(crate) struct Responder {
    zone: Zone,
    over_udp: Rates,
    over_tcp: Rates,
    counters: Counters,
}

impl Responder {
    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The answer to a packet over UDP, if there is to be one.
    fn over_udp(&self, from: SocketAddr, packet: &[u8]) -> Option<Vec<u8>> {
        let count = |outcome| self.counters.count(Transport::Udp, outcome);
        // Nobody sends from there, so the sender is forged.
        if from.port() == 0 || packet.len() > MAX_QUERY {
            count(Outcome::Silent);
            return None;
        }
        match self.over_udp.count(Prefix::of(from.ip())) {
            Verdict::Answer => self.answer(packet, Transport::Udp),
            Verdict::Slip => {
                let short = self.guarded(|| come_by_tcp(packet));
                count(if short.is_some() { Outcome::Slipped } else { Outcome::Dropped });
                short
            }
            Verdict::Drop => {
                count(Outcome::Dropped);
                None
            }
        }
    }

    /// The answer to a packet over TCP, or nothing if the connection is to end.
    pub(crate) fn over_tcp(&self, client: Prefix, packet: &[u8]) -> Option<Vec<u8>> {
        match self.over_tcp.count(client) {
            Verdict::Answer => self.answer(packet, Transport::Tcp),
            Verdict::Slip | Verdict::Drop => {
                self.counters.count(Transport::Tcp, Outcome::Dropped);
                None
            }
        }
    }

    fn answer(&self, packet: &[u8], transport: Transport) -> Option<Vec<u8>> {
        let reply = self.guarded(|| Some(answer(&self.zone, packet, transport)));
        let (bytes, outcome) = match reply {
            Some(Some(reply)) => (Some(reply.bytes), reply.outcome),
            Some(None) => (None, Outcome::Silent),
            None => (None, Outcome::Failed),
        };
        self.counters.count(transport, outcome);
        bytes
    }

    /// Does what reads a packet. The reader is a library's; should one packet make it panic, the next is served all the
    /// same. Nothing is changed on the way that could be left half-way.
    fn guarded<T>(&self, read: impl FnOnce() -> Option<T>) -> Option<T> {
        catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| {
            tracing::error!("the name server has failed at a packet");
            None
        })
    }
}
