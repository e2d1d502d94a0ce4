//! Whether the members of balancers work: each with a check is asked again and again, and one that fails so often in a row
//! gets no new connections until it answers again as often as it should.
//!
//! A member that is new works until it has been found out that it does not, so that a balancer serves from its first moment.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use podzol_appliance_api::{Check, CheckKind, Document};
use podzol_vocab::{LoadBalancerId, NicId};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::router::{Down, Router, chain};
use crate::shown::Shown;

/// Which member of which balancer.
type Which = (LoadBalancerId, NicId);

/// Changes that have been found and not been told yet: more wait with those who found them.
const WAITING: usize = 64;

/// Whom to ask what.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Asked {
    address: Ipv4Addr,
    port: u16,
    check: Check,
}

/// How a member has answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Streak {
    works: bool,
    /// How many answers in a row say otherwise.
    against: u8,
}

impl Streak {
    const NEW: Self = Self { works: true, against: 0 };

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
    let mut asked: BTreeMap<Which, (Asked, Task)> = BTreeMap::new();
    let mut down = Down::new();
    loop {
        let wanted = wanted(&shown.borrow_and_update().document);
        asked.retain(|which, (now, _)| wanted.get(which) == Some(now));
        down.retain(|which| asked.contains_key(which));
        for (which, wanted) in wanted {
            asked.entry(which).or_insert_with(|| {
                let task = tokio::spawn(ask(which, wanted.clone(), found.clone())).abort_handle();
                (wanted, Task(task))
            });
        }
        if let Err(error) = router.set_down(down.clone()).await {
            tracing::error!(error = chain(&error), "balancers cannot be changed");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            changed = shown.changed() => if changed.is_err() { return },
            Some((which, works)) = changes.recv() => {
                // One that is not asked any more may have said something before.
                if asked.contains_key(&which) {
                    let (balancer, member) = which;
                    tracing::info!(%balancer, %member, works, "a member of a balancer has changed");
                    if works { down.remove(&which) } else { down.insert(which) };
                }
            }
        }
    }
}

/// A task that ends when this is dropped.
struct Task(AbortHandle);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn wanted(document: &Document) -> BTreeMap<Which, Asked> {
    let with_checks =
        document.balancers.iter().filter_map(|(id, balancer)| Some((id, balancer, balancer.check.as_ref()?)));
    let members = with_checks.flat_map(|(id, balancer, check)| {
        balancer.members.iter().map(|(nic, member)| {
            ((*id, *nic), Asked { address: member.address, port: member.port, check: check.clone() })
        })
    });
    members.collect()
}

/// Asks a member for ever, and tells what changes.
async fn ask(which: Which, asked: Asked, found: mpsc::Sender<(Which, bool)>) {
    let mut ticks = interval(Duration::from_millis(asked.check.interval_ms.into()));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut streak = Streak::NEW;
    loop {
        ticks.tick().await;
        let begun = Instant::now();
        let within = Duration::from_millis(asked.check.timeout_ms.into());
        let good = matches!(timeout(within, probe(&asked)).await, Ok(Ok(true)));
        tracing::debug!(member = %which.1, good, took = ?begun.elapsed(), "asked");
        if streak.note(good, &asked.check) && found.send((which, good)).await.is_err() {
            return;
        }
    }
}

/// Whether a member gives the answer that it should.
async fn probe(asked: &Asked) -> io::Result<bool> {
    let mut stream = TcpStream::connect(SocketAddr::from((asked.address, asked.port))).await?;
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
        let mut streak = Streak::NEW;
        let changes: Vec<bool> = [false, false, true, false, false, false, true, false, true, true]
            .into_iter()
            .map(|good| streak.note(good, &check))
            .collect();
        assert_eq!(changes, [false, false, false, false, false, true, false, false, false, true]);
        assert_eq!(streak, Streak::NEW);
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
