//! Names on all links: one server with one cache, and sockets for each link and for the forwarders.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use podzol_appliance_api::Transport;
use podzol_appliance_dns::{Action, Client, Limits, Server, Via, Zones};
use podzol_vocab::{InterfaceName, NetworkId};
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::{Notify, Semaphore, mpsc, watch};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::batch::{self, Batch};
use super::sockets::{self, Places};
use crate::links::Family;
use crate::shown::Shown;

const PORT: u16 = 53;

/// The largest packet over UDP.
const MAX_PACKET: usize = 4096;

/// How many connections to forwarders there are at a time.
const OVER_TCP: usize = 32;

/// How long a client's connection may stay without a query.
const IDLE: Duration = Duration::from_secs(10);

/// How many answers wait for a connection that does not take them; the next ones are lost.
const WAITING: usize = 2;

/// How long a forwarder may take over TCP: as long as clients wait.
const UPSTREAM: Duration = Duration::from_secs(5);

/// How long to wait for something to be due when nothing is.
const NOTHING_DUE: Duration = Duration::from_secs(3600);

/// The server, and where its packets go.
#[derive(Clone)]
pub(super) struct Names(Arc<Inner>);

struct Inner {
    server: Mutex<Server>,
    begun: Instant,
    shown: watch::Receiver<Shown>,
    /// Woken when something may be due earlier than before.
    due: Notify,
    /// By network and family.
    links: Mutex<BTreeMap<(NetworkId, Family), Arc<UdpSocket>>>,
    connections: Mutex<HashMap<SocketAddr, mpsc::Sender<Vec<u8>>>>,
    upstream: Mutex<Vec<Arc<UdpSocket>>>,
    /// Places for connections to forwarders.
    over_tcp: Arc<Semaphore>,
}

impl Names {
    pub(super) fn new(shown: watch::Receiver<Shown>) -> Self {
        let zones = Zones::new(&shown.borrow().document);
        Self(Arc::new(Inner {
            server: Mutex::new(Server::new(zones, &Limits::default(), StdRng::from_os_rng())),
            begun: Instant::now(),
            shown,
            due: Notify::new(),
            links: Mutex::default(),
            connections: Mutex::default(),
            upstream: Mutex::default(),
            over_tcp: Arc::new(Semaphore::new(OVER_TCP)),
        }))
    }

    /// Asks forwarders and follows the document, until stopped.
    pub(super) async fn forward(self, stop: CancellationToken) {
        let mut shown = self.0.shown.clone();
        loop {
            let begun = self.ask_forwarders(&mut shown);
            match stop.run_until_cancelled(begun).await {
                None => return,
                Some(Err(error)) => tracing::error!(%error, "forwarders cannot be asked"),
                Some(Ok(())) => {}
            }
            if stop.run_until_cancelled(sleep(super::AGAIN)).await.is_none() {
                return;
            }
        }
    }

    async fn ask_forwarders(&self, shown: &mut watch::Receiver<Shown>) -> io::Result<()> {
        let mut sockets = Vec::new();
        for _ in 0..Limits::default().sockets {
            sockets.push(Arc::new(UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await?));
        }
        self.upstream().clone_from(&sockets);
        let mut hearing = tokio::task::JoinSet::new();
        for (number, socket) in (0..).zip(sockets) {
            hearing.spawn(self.clone().hear(number, socket));
        }
        let mut version = None;
        loop {
            let now = self.now();
            let due = self.server().next_tick().map_or(NOTHING_DUE, |due| due.saturating_sub(now));
            tokio::select! {
                ended = hearing.join_next() => {
                    return ended.transpose().map_err(io::Error::other)?.unwrap_or(Ok(()));
                }
                changed = shown.changed() => {
                    if changed.is_err() {
                        return Ok(());
                    }
                    let shown = shown.borrow_and_update();
                    if version != Some(shown.versions.vms) {
                        version = Some(shown.versions.vms);
                        let zones = Zones::new(&shown.document);
                        self.server().set_zones(zones);
                    }
                }
                () = self.0.due.notified() => {}
                () = sleep(due) => {
                    let actions = self.server().tick(self.now());
                    self.act(actions).await;
                }
            }
        }
    }

    /// Hears what forwarders answer on one socket.
    async fn hear(self, number: u8, socket: Arc<UdpSocket>) -> io::Result<()> {
        let mut buffer = [0; MAX_PACKET];
        loop {
            match socket.recv_from(&mut buffer).await {
                Ok((length, from)) => {
                    let via = Via::Udp { socket: number };
                    let actions = self.server().upstream(self.now(), from, via, &buffer[..length]);
                    self.act(actions).await;
                }
                // A forwarder that is not there (ICMP) is found out by its silence.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Serves one of the router's addresses on a link over UDP.
    pub(super) async fn serve_udp(
        self,
        network: NetworkId,
        link: InterfaceName,
        own: IpAddr,
    ) -> io::Result<()> {
        let place = (network, Family::of(own));
        let socket = Arc::new(sockets::udp(&link, own, PORT)?);
        self.links().insert(place, Arc::clone(&socket));
        let _entry = LinkEntry { names: &self, place };
        match place.1 {
            Family::V4 => self.hear_clients::<SocketAddrV4>(network, &socket).await,
            Family::V6 => self.hear_clients::<SocketAddrV6>(network, &socket).await,
        }
    }

    async fn hear_clients<A: batch::Address>(
        &self,
        network: NetworkId,
        socket: &UdpSocket,
    ) -> io::Result<()> {
        let mut heard = Batch::<A>::new();
        let (mut answers, mut others) = (Vec::new(), Vec::new());
        loop {
            match heard.receive(socket).await {
                Ok(()) => {}
                // A client that is gone (ICMP).
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => continue,
                Err(error) => return Err(error),
            }
            let now = self.now();
            for (from, packet) in heard.packets() {
                let client = Client { network, address: from.into(), transport: Transport::Udp };
                match self.server().query(now, client, packet) {
                    Action::Drop => {}
                    Action::Answer { to, bytes } if to == client => answers.push((from, bytes)),
                    other => others.push(other),
                }
            }
            batch::send(socket, &answers);
            answers.clear();
            if !others.is_empty() {
                self.act(std::mem::take(&mut others)).await;
            }
        }
    }

    /// Serves one of the router's addresses on a link over TCP.
    pub(super) async fn serve_tcp(
        self,
        network: NetworkId,
        link: InterfaceName,
        own: IpAddr,
    ) -> io::Result<()> {
        let listener = sockets::tcp(link.as_str(), own, PORT)?;
        let (places, mut talking) = (Places::default(), tokio::task::JoinSet::new());
        loop {
            let (stream, address, place) = sockets::accept(&listener, &places).await;
            while talking.try_join_next().is_some() {}
            let names = self.clone();
            talking.spawn(async move {
                let client = Client { network, address, transport: Transport::Tcp };
                // Whatever ends a connection is its client's affair.
                let _ = names.talk(client, stream).await;
                drop(place);
            });
        }
    }

    /// Answers the queries of a connection until its client has had enough.
    async fn talk(&self, client: Client, mut stream: TcpStream) -> io::Result<()> {
        let (answers, mut to_send) = mpsc::channel::<Vec<u8>>(WAITING);
        self.connections().insert(client.address, answers.clone());
        let _entry = Entry { names: self, address: client.address };
        let (mut reading, mut writing) = stream.split();
        let read = async {
            loop {
                let length = timeout(IDLE, reading.read_u16()).await??;
                if usize::from(length) > MAX_PACKET {
                    return Err(io::ErrorKind::InvalidData.into());
                }
                let mut packet = vec![0; length.into()];
                timeout(IDLE, reading.read_exact(&mut packet)).await??;
                let action = self.server().query(self.now(), client, &packet);
                match action {
                    // However many it asks at once, each is answered; it is heard again once there is room for that.
                    Action::Answer { to, bytes } if to == client => {
                        answers.send(bytes).await.map_err(|_| io::ErrorKind::BrokenPipe)?;
                    }
                    other => self.act(vec![other]).await,
                }
            }
        };
        let write = async {
            while let Some(answer) = to_send.recv().await {
                timeout(IDLE, writing.write_all(&framed(&answer))).await??;
            }
            Ok(())
        };
        tokio::select! {
            ended = read => ended,
            ended = write => ended,
        }
    }

    /// Does what is to be done, and what comes of it.
    async fn act(&self, actions: Vec<Action>) {
        let mut actions = VecDeque::from(actions);
        while let Some(action) = actions.pop_front() {
            match action {
                Action::Drop => {}
                Action::Answer { to, bytes } => self.answer(to, &bytes),
                Action::Forward { to, socket, bytes, .. } => {
                    let socket = self.upstream().get(usize::from(socket)).cloned();
                    if let Some(socket) = socket {
                        // As good as lost on the way. No room is waited for, as for clients.
                        let _ = socket.try_send_to(&bytes, to);
                    }
                    self.0.due.notify_one();
                }
                Action::ForwardTcp { to, bytes, .. } => {
                    tokio::spawn(self.clone().ask_over_tcp(to, bytes));
                    self.0.due.notify_one();
                }
            }
        }
    }

    /// Asks a forwarder over TCP, and does what comes of it. Boxed, as that may be to ask another.
    fn ask_over_tcp(self, to: SocketAddr, bytes: Vec<u8>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            // One for which there is no place is asked again in time.
            let Ok(_place) = Arc::clone(&self.0.over_tcp).try_acquire_owned() else { return };
            if let Ok(Ok(answer)) = timeout(UPSTREAM, exchange(to, &bytes)).await {
                let actions = self.server().upstream(self.now(), to, Via::Tcp, &answer);
                self.act(actions).await;
            }
        })
    }

    fn answer(&self, to: Client, bytes: &[u8]) {
        match to.transport {
            Transport::Udp => {
                let place = (to.network, Family::of(to.address.ip()));
                let socket = self.links().get(&place).cloned();
                if let Some(socket) = socket {
                    let _ = socket.try_send_to(bytes, to.address);
                }
            }
            Transport::Tcp => {
                let connection = self.connections().get(&to.address).cloned();
                if let Some(connection) = connection {
                    let _ = connection.try_send(bytes.to_vec());
                }
            }
        }
    }

    fn now(&self) -> Duration {
        self.0.begun.elapsed()
    }

    fn server(&self) -> MutexGuard<'_, Server> {
        self.0.server.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn links(&self) -> MutexGuard<'_, BTreeMap<(NetworkId, Family), Arc<UdpSocket>>> {
        self.0.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connections(&self) -> MutexGuard<'_, HashMap<SocketAddr, mpsc::Sender<Vec<u8>>>> {
        self.0.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn upstream(&self) -> MutexGuard<'_, Vec<Arc<UdpSocket>>> {
        self.0.upstream.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection's place among those that answers go to.
struct Entry<'a> {
    names: &'a Names,
    address: SocketAddr,
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        self.names.connections().remove(&self.address);
    }
}

/// A link's place among those that answers go out by.
struct LinkEntry<'a> {
    names: &'a Names,
    place: (NetworkId, Family),
}

impl Drop for LinkEntry<'_> {
    fn drop(&mut self) {
        self.names.links().remove(&self.place);
    }
}

/// A packet with its length before it.
fn framed(packet: &[u8]) -> Vec<u8> {
    [&(packet.len() as u16).to_be_bytes()[..], packet].concat()
}

/// One question and its answer, on a connection of their own.
async fn exchange(to: SocketAddr, packet: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(to).await?;
    stream.write_all(&framed(packet)).await?;
    let mut answer = vec![0; stream.read_u16().await?.into()];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}
