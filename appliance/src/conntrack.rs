//! The connections that the kernel follows, counted and forgotten over netlink (linux/netfilter/nfnetlink_conntrack.h).
//!
//! The kernel gives them some hundred at a time, and no more of them are held: what is kept is numbers, and of sources as many
//! as [`SOURCES`]. Others have their turn between two parts. Connections that come and go meanwhile may be missed or counted
//! twice.
//!
//! # Design notes
//! Of more sources than there is room for, those with the most connections are found as by Misra and Gries: one that finds no
//! room takes one from all, and those that have none left go. So no number is too great, and each is too low by at most one
//! for each time that this was done.
//!
//! The kernel keeps a connection with the member of a balancer that its first packet was given to, answered or not, and so does
//! whoever uses the same port again within two minutes. Of a member that has died, what it has not answered is forgotten: the
//! client's next try, of the same connection, is given to another. What it has answered stays, as it may be back soon: a
//! connection that is forgotten would be refused then. (IPVS's `expire_nodest_conn` forgets those too.)

mod message;

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use ipnet::IpNet;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};
use podzol_appliance_api::limits::MAX_TALKERS;
use podzol_appliance_api::{Talker, Tracked};
use podzol_vocab::NetworkId;
use tokio::io::unix::AsyncFd;

use self::message::{Entry, Family, Part, parts};

/// The most sources that are counted apart: as many as a router has VMs.
const SOURCES: usize = 4096;

/// The most that the kernel gives at a time (`netlink_dump`), in bytes.
const PART: usize = 32 << 10;

/// How long all of it may take.
const DEADLINE: Duration = Duration::from_secs(15);

/// Counts those of this network namespace, by the ranges of networks.
pub(crate) async fn count(networks: &[(IpNet, NetworkId)]) -> io::Result<Tracked> {
    let mut counting = Counting::new(networks);
    each(Family::Both, |entry| {
        counting.add(entry);
        Ok(())
    })
    .await?;
    Ok(counting.done())
}

/// Forgets the connections of TCP to these that they have not answered. How many there were.
pub(crate) async fn forget(dead: &BTreeSet<SocketAddr>) -> io::Result<usize> {
    let (socket, mut forgotten) = (open(SockFlag::empty())?, 0);
    each(Family::V4, |entry| {
        let is_of_dead = entry.answerer.is_some_and(|answerer| dead.contains(&answerer));
        if !is_of_dead || entry.is_answered() {
            return Ok(());
        }
        forgotten += 1;
        demand(&socket, &message::forget(entry))
    })
    .await?;
    Ok(forgotten)
}

fn open(flags: SockFlag) -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | flags;
    Ok(socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkNetFilter)?)
}

/// Has something done, which is so before the kernel takes anything else. What is not there any more is gone, too.
fn demand(socket: &OwnedFd, request: &[u8]) -> io::Result<()> {
    sendto(socket.as_raw_fd(), request, &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
    let mut answer = [0; 512];
    let length = recv(socket.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    match parts(&answer[..length]).next() {
        Some(Part::Error(errno)) if errno != 0 && Errno::from_raw(errno) != Errno::ENOENT => {
            Err(Errno::from_raw(errno).into())
        }
        _ => Ok(()),
    }
}

/// Shows each of a family to somebody.
async fn each(family: Family, see: impl FnMut(&Entry<'_>) -> io::Result<()>) -> io::Result<()> {
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, "connections cannot be looked at in time");
    tokio::time::timeout(DEADLINE, dump(family, see)).await.map_err(late)?
}

async fn dump(family: Family, mut see: impl FnMut(&Entry<'_>) -> io::Result<()>) -> io::Result<()> {
    let socket = open(SockFlag::SOCK_NONBLOCK)?;
    sendto(socket.as_raw_fd(), &message::dump(family), &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
    #[expect(unsafe_code, reason = "tokio has no socket of this kind")]
    // SAFETY: the socket gives the same descriptor until it is dropped, and closes it only then.
    let registered = unsafe { AsyncFd::register(socket) };
    let socket: AsyncFd<OwnedFd> = registered?;
    let mut buffer = vec![0; PART];
    loop {
        let mut ready = socket.readable().await?;
        let received = ready.try_io(|socket| {
            recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty()).map_err(io::Error::from)
        });
        let Ok(received) = received else { continue };
        for part in parts(&buffer[..received?]) {
            match part {
                Part::Entry(entry) => see(&entry)?,
                Part::End => return Ok(()),
                Part::Error(errno) => return Err(Errno::from_raw(errno).into()),
                Part::Other => {}
            }
        }
        // The socket is always ready, and services have their turn.
        tokio::task::yield_now().await;
    }
}

struct Counting<'a> {
    networks: &'a [(IpNet, NetworkId)],
    tracked: Tracked,
    sources: Sources,
}

impl<'a> Counting<'a> {
    fn new(networks: &'a [(IpNet, NetworkId)]) -> Self {
        Self { networks, tracked: Tracked::default(), sources: Sources::new(SOURCES) }
    }

    fn add(&mut self, entry: &Entry<'_>) {
        let tracked = &mut self.tracked;
        tracked.entries += 1;
        // There are some hundred protocols at most, and few states.
        let states = tracked.states.entry(entry.protocol()).or_default();
        *states.entry(entry.state().to_owned()).or_default() += 1;
        let network = self.networks.iter().find(|(range, _)| range.contains(&entry.source));
        match network {
            Some((_, network)) => *tracked.networks.entry(*network).or_default() += 1,
            None => tracked.elsewhere += 1,
        }
        self.sources.add(entry.source);
    }

    fn done(self) -> Tracked {
        let talkers_short = self.sources.short;
        Tracked { talkers: self.sources.most(MAX_TALKERS), talkers_short, ..self.tracked }
    }
}

/// How many connections sources have, of as many sources as there is room for.
struct Sources {
    room: usize,
    counts: HashMap<IpAddr, u64>,
    /// By how many a number may be too low.
    short: u64,
}

impl Sources {
    fn new(room: usize) -> Self {
        Self { room, counts: HashMap::new(), short: 0 }
    }

    fn add(&mut self, source: IpAddr) {
        if self.counts.len() < self.room || self.counts.contains_key(&source) {
            *self.counts.entry(source).or_default() += 1;
            return;
        }
        self.short += 1;
        self.counts.retain(|_, count| {
            *count -= 1;
            *count > 0
        });
    }

    fn most(self, number: usize) -> Vec<Talker> {
        let mut talkers: Vec<Talker> =
            self.counts.into_iter().map(|(address, connections)| Talker { address, connections }).collect();
        talkers.sort_by_key(|talker| (std::cmp::Reverse(talker.connections), talker.address));
        talkers.truncate(number);
        talkers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_with_the_most_are_found_among_more_than_there_is_room_for() {
        let mut sources = Sources::new(4);
        for number in 0..100_u8 {
            sources.add([10, 1, 1, 2].into());
            sources.add([192, 0, 2, number].into());
            assert!(sources.counts.len() <= 4);
        }
        let short = sources.short;
        let most = sources.most(1);
        assert_eq!(most[0].address, IpAddr::from([10, 1, 1, 2]));
        assert!(most[0].connections <= 100 && most[0].connections + short >= 100, "{most:?} {short}");
    }
}
