//! Whether the members of balancers work: each with a check is asked again and again, and one that fails so often in a row
//! gets no new connections until it answers again as often as it should.
//!
//! A member that is new works until it has been found out that it does not, so that a balancer serves from its first moment.
//! What one has not answered that does not work any more is given to another when its client tries again ([`conntrack`]).

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use podzol_appliance_api::{Check, CheckKind, Document};
use podzol_appliance_nft::Down;
use podzol_vocab::{LoadBalancerId, NicId};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::conntrack;
use crate::router::{Router, chain};
use crate::shown::Shown;

/// Which member of which balancer.
type Which = (LoadBalancerId, NicId);

/// How many members are asked at a time, over all balancers: of those that work, and as many of those that do not, so that
/// many that do not answer keep nobody from finding out about the others.
const AT_ONCE: usize = 64;

/// How soon balancers are changed again when that was not possible.
const AGAIN: Duration = Duration::from_secs(1);

/// Changes that have been found and not been told yet: more wait with those who found them.
const WAITING: usize = 64;

/// Whom to ask what.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Asked {
    address: Ipv4Addr,
    port: u16,
    check: Check,
}

impl Asked {
    fn at(&self) -> SocketAddr {
        (self.address, self.port).into()
    }
}

/// How a member has answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Streak {
    works: bool,
    /// How many answers in a row say otherwise.
    against: u8,
}

impl Streak {
    /// Notes an answer. Whether it changes what is believed.
    fn note(&mut self, good: bool, check: &Check) -> bool {
        if good == self.works {
            self.against = 0;
            return false;
        }
        self.against += 1;
        let needed = if good { check.rise } else { check.fall };
        if self.against < needed {
            return false;
        }
        *self = Self { works: good, against: 0 };
        true
    }
}

/// Checks what the document in force has checks for, until stopped.
pub(crate) async fn follow(router: Arc<Router>, mut shown: watch::Receiver<Shown>, stop: CancellationToken) {
    let (found, mut changes) = mpsc::channel(WAITING);
    let places = Arc::new(Places::new());
    let mut number = 0_u64;
    let mut asked: BTreeMap<Which, Asking> = BTreeMap::new();
    let mut down = Down::default();
    let mut version = None;
    let (mut news, mut died) = (Vec::new(), BTreeSet::new());
    loop {
        if let Some(wanted) = wanted_anew(&mut shown, &mut version) {
            // What is believed of a member stays while it is where it was, however it is asked from now on.
            down.retain(|which| match (asked.get(which), wanted.get(which)) {
                (Some(asking), Some(wanted)) => asking.asked.at() == wanted.at(),
                _ => false,
            });
            asked.retain(|which, asking| wanted.get(which) == Some(&asking.asked));
            for (which, wanted) in wanted {
                asked.entry(which).or_insert_with(|| {
                    number += 1;
                    let (who, works) = (Who { which, number }, !down.contains(&which));
                    let asking = ask(who, wanted.clone(), works, found.clone(), Arc::clone(&places));
                    Asking { asked: wanted, number, task: tokio::spawn(asking).abort_handle() }
                });
            }
        }
        let set = router.set_down(down.clone()).await;
        if let Err(error) = &set {
            tracing::error!(error = chain(error), "balancers cannot be changed");
        } else if !died.is_empty() {
            forget(&std::mem::take(&mut died)).await;
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(AGAIN), if set.is_err() => {}
            changed = shown.changed() => if changed.is_err() { return },
            1.. = changes.recv_many(&mut news, WAITING) => for (Who { which, number }, works) in news.drain(..) {
                // One that is not asked any more, or in another way, may have said something before.
                let Some(asking) = asked.get(&which).filter(|asking| asking.number == number) else { continue };
                let (balancer, member) = which;
                tracing::info!(%balancer, %member, works, "a member of a balancer has changed");
                if works {
                    down.remove(&which);
                } else {
                    down.insert(which);
                    // The clients of a balancer of HTTP are not connected to its members.
                    if shown.borrow().document.balancers.contains_key(&balancer) {
                        died.insert(asking.asked.at());
                    }
                }
            }
        }
    }
}

/// Has the clients of dead members try others. Without it they wait until the kernel forgets.
async fn forget(dead: &BTreeSet<SocketAddr>) {
    match conntrack::forget(dead).await {
        Ok(0) => {}
        Ok(connections) => tracing::info!(connections, "dead members have not answered; others may"),
        Err(error) => tracing::warn!(%error, "connections to dead members stay with them"),
    }
}

/// Who has found something out: one of those who have asked that member.
#[derive(Debug, Clone, Copy)]
struct Who {
    which: Which,
    number: u64,
}

/// A member that is being asked, until this is dropped.
struct Asking {
    asked: Asked,
    number: u64,
    task: AbortHandle,
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What the document in force has checks for, if its balancers are others than in the version seen last.
fn wanted_anew(shown: &mut watch::Receiver<Shown>, seen: &mut Option<u64>) -> Option<BTreeMap<Which, Asked>> {
    let shown = shown.borrow_and_update();
    let version = Some(shown.versions.balancers);
    let is_other = std::mem::replace(seen, version) != version;
    is_other.then(|| wanted(&shown.document))
}

fn wanted(document: &Document) -> BTreeMap<Which, Asked> {
    let of_connections = document.balancers.iter().map(|(id, one)| (id, &one.members, &one.check));
    let of_http = document.http_balancers.iter().map(|(id, one)| (id, &one.members, &one.check));
    let all = of_connections.chain(of_http);
    let with_checks = all.filter_map(|(id, members, check)| Some((id, members, check.as_ref()?)));
    let members = with_checks.flat_map(|(id, members, check)| {
        members.iter().map(|(nic, member)| {
            ((*id, *nic), Asked { address: member.address, port: member.port, check: check.clone() })
        })
    });
    members.collect()
}

/// Room for questions that wait for their answers.
struct Places {
    of_those_that_work: Semaphore,
    of_others: Semaphore,
}

impl Places {
    fn new() -> Self {
        Self { of_those_that_work: Semaphore::new(AT_ONCE), of_others: Semaphore::new(AT_ONCE) }
    }

    fn of(&self, works: bool) -> &Semaphore {
        if works { &self.of_those_that_work } else { &self.of_others }
    }
}

/// Asks a member of which this is believed for ever, and tells what changes.
async fn ask(who: Who, asked: Asked, works: bool, found: mpsc::Sender<(Who, bool)>, places: Arc<Places>) {
    let mut ticks = interval(Duration::from_millis(asked.check.interval_ms.into()));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut streak = Streak { works, against: 0 };
    loop {
        ticks.tick().await;
        let Ok(place) = places.of(streak.works).acquire().await else { return };
        let within = Duration::from_millis(asked.check.timeout_ms.into());
        let good = match timeout(within, probe(&asked)).await {
            Ok(Ok(good)) => good,
            Ok(Err(error)) if is_own(&error) => continue,
            Ok(Err(_)) | Err(_) => false,
        };
        drop(place);
        if streak.note(good, &asked.check) && found.send((who, good)).await.is_err() {
            return;
        }
    }
}

/// Whether a failure is this router's own, and so says nothing of the member: no room for a connection, or no way to it
/// because a link is being put right.
fn is_own(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    let own = [
        Errno::EMFILE,
        Errno::ENFILE,
        Errno::ENOBUFS,
        Errno::ENOMEM,
        Errno::EADDRNOTAVAIL,
        Errno::ENETUNREACH,
    ];
    errno.is_some_and(|errno| own.contains(&errno))
}

/// Whether a member gives the answer that it should.
async fn probe(asked: &Asked) -> io::Result<bool> {
    let mut stream = TcpStream::connect(asked.at()).await?;
    let CheckKind::Http { path } = &asked.check.kind else { return Ok(true) };
    let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", asked.address);
    stream.write_all(request.as_bytes()).await?;
    // `HTTP/1.1 200`: nothing after it is of interest.
    let mut start = [0; 12];
    stream.read_exact(&mut start).await?;
    Ok(is_good(&start))
}

/// Whether a status line begins with a status from 200 to 399 (RFC 9112, 4).
fn is_good(start: &[u8; 12]) -> bool {
    start.starts_with(b"HTTP/1.") && start[8] == b' ' && matches!(start[9], b'2' | b'3')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rise: u8, fall: u8) -> Check {
        Check { kind: CheckKind::Tcp, interval_ms: 500, timeout_ms: 100, rise, fall }
    }

    #[test]
    fn a_member_is_out_after_so_many_failures_and_in_after_so_many_answers() {
        let check = check(2, 3);
        let mut streak = Streak { works: true, against: 0 };
        let changes: Vec<bool> = [false, false, true, false, false, false, true, false, true, true]
            .into_iter()
            .map(|good| streak.note(good, &check))
            .collect();
        assert_eq!(changes, [false, false, false, false, false, true, false, false, false, true]);
        assert_eq!(streak, Streak { works: true, against: 0 });
    }

    #[tokio::test]
    async fn as_many_as_are_asked_at_a_time_that_do_not_answer_keep_nobody_from_being_asked() {
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let (found, mut changes) = mpsc::channel(WAITING);
        let places = Arc::new(Places::new());
        let asking = |port: u16, works: bool| {
            let kind = CheckKind::Http { path: "/".into() };
            let check = Check { kind, timeout_ms: 60_000, ..check(1, 1) };
            let asked = Asked { address: Ipv4Addr::LOCALHOST, port, check };
            let who = Who { which: (LoadBalancerId::new(), NicId::new()), number: 0 };
            (who.which, tokio::spawn(ask(who, asked, works, found.clone(), Arc::clone(&places))))
        };
        let port = silent.local_addr().unwrap().port();
        let mut all: Vec<_> = (0..AT_ONCE).map(|_| asking(port, false).1).collect();
        let mut connections = Vec::new();
        while connections.len() < AT_ONCE {
            connections.push(silent.accept().await.unwrap());
        }
        let (which, task) = asking(closed.port(), true);
        all.push(task);
        let (who, works) = timeout(Duration::from_secs(30), changes.recv()).await.unwrap().unwrap();
        assert_eq!((who.which, works), (which, false));
        all.iter().for_each(tokio::task::JoinHandle::abort);
    }

    #[test]
    fn only_a_good_status_is_a_good_answer() {
        for (start, good) in [
            (b"HTTP/1.1 200", true),
            (b"HTTP/1.0 302", true),
            (b"HTTP/1.1 404", false),
            (b"HTTP/1.1 503", false),
            (b"SSH-2.0-Open", false),
        ] {
            assert_eq!(is_good(start), good, "{}", String::from_utf8_lossy(start));
        }
    }
}
