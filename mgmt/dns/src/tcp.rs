//! Names over TCP: connections that cannot be many, long or slow.
//!
//! A connection ends when it has been silent for a while, when it asks too much, and when there are too many: whose
//! network has as many as it may loses its oldest one for a new one, and if all places are taken, the oldest one goes of the
//! site that has most. So a thousand slow connections make room for the next by themselves, and those of one network or one
//! site push away each other alone. A client whose connection ends asks again (RFC 7766, 6.2.4).

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};

use crate::answer::MAX_QUERY;
use crate::rate::Prefix;
use crate::server::{AGAIN, Responder};

/// How long a client may take for the next query, or to take an answer.
const IDLE: Duration = Duration::from_secs(5);

/// How many connections there are at a time, at each address.
const MAX_CONNECTIONS: usize = 256;

/// How many of them are of one network.
const MAX_OF_ONE: usize = 16;

/// The connections of a listener, the oldest first.
#[derive(Default)]
struct Connections {
    tasks: JoinSet<()>,
    all: VecDeque<Connection>,
}

struct Connection {
    task: AbortHandle,
    of: Prefix,
}

/// Serves an address for ever.
pub(crate) async fn serve(responder: Arc<Responder>, listener: Arc<TcpListener>) {
    let mut connections = Connections::default();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, from)) => connections.begin(&responder, stream, from),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept connections to the name server");
                    sleep(AGAIN).await;
                }
            },
            Some(ended) = connections.tasks.join_next_with_id() => {
                let id = ended.map_or_else(|error| error.id(), |(id, ())| id);
                connections.all.retain(|connection| connection.task.id() != id);
            }
        }
    }
}

impl Connections {
    fn begin(&mut self, responder: &Arc<Responder>, stream: TcpStream, from: SocketAddr) {
        let of = Prefix::of(from.ip());
        responder.counters().connected();
        let has_many = self.all.iter().filter(|other| other.of == of).count() >= MAX_OF_ONE;
        let oldest = if has_many {
            self.all.iter().position(|other| other.of == of)
        } else {
            (self.all.len() >= MAX_CONNECTIONS).then(|| oldest_of_most(&self.all))
        };
        if let Some(displaced) = oldest.and_then(|place| self.all.remove(place)) {
            displaced.task.abort();
            responder.counters().displaced();
        }
        let responder = Arc::clone(responder);
        // Whatever ends a connection is its client's affair.
        let task = self.tasks.spawn(async move { drop(talk(&responder, stream, of).await) });
        self.all.push_back(Connection { task, of });
    }
}

/// The oldest connection of the site that has most of them.
fn oldest_of_most(all: &VecDeque<Connection>) -> usize {
    let mut counts: HashMap<Prefix, usize> = HashMap::new();
    all.iter().for_each(|connection| *counts.entry(connection.of.site()).or_default() += 1);
    let most = counts.values().max().copied();
    all.iter().position(|connection| counts.get(&connection.of.site()).copied() == most).unwrap_or(0)
}

/// Answers the queries of a connection until its client has had enough.
async fn talk(responder: &Responder, mut stream: TcpStream, client: Prefix) -> io::Result<()> {
    let mut query = Vec::new();
    loop {
        timeout(IDLE, read(&mut stream, &mut query)).await??;
        let Some(answer) = responder.over_tcp(client, &query) else { return Ok(()) };
        timeout(IDLE, stream.write_all(&framed(&answer))).await??;
    }
}

/// Reads a packet after its length (RFC 1035, 4.2.2).
async fn read(stream: &mut TcpStream, packet: &mut Vec<u8>) -> io::Result<()> {
    let length = usize::from(stream.read_u16().await?);
    if length > MAX_QUERY {
        return Err(io::ErrorKind::InvalidData.into());
    }
    packet.resize(length, 0);
    stream.read_exact(packet).await.map(drop)
}

/// A packet with its length before it, as one piece (RFC 7766, 8).
fn framed(packet: &[u8]) -> Vec<u8> {
    [&(packet.len() as u16).to_be_bytes()[..], packet].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_has_most_makes_room() {
        let connection = |address: &str| Connection {
            task: tokio::spawn(async {}).abort_handle(),
            of: Prefix::of(address.parse().unwrap()),
        };
        let mut all: VecDeque<_> = ["192.0.2.1", "2001:db8:1:100::1", "2001:db8:2::1"].map(connection).into();
        assert_eq!(oldest_of_most(&all), 0);
        all.push_back(connection("2001:db8:1:200::1"));
        assert_eq!(oldest_of_most(&all), 1);
        all.extend(["192.0.3.1", "192.0.4.1"].map(connection));
        assert_eq!(oldest_of_most(&all), 0);
    }
}
