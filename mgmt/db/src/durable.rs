//! Waiting for the disk, which nobody does who could write meanwhile.
//!
//! # Design notes
//! A commit of SQLite's that is durable waits for the disk with its lock on the database held, and all who write wait for it. So
//! SQLite does not wait here (`synchronous` is NORMAL): a commit is in the write-ahead log, in the kernel's memory, and the next
//! begins. This thread has the disk take the log, as it is by then, for all that were committed meanwhile, and then they
//! are told. The log is written from its start to its end, and after a loss of power SQLite takes it up to where it is whole
//! (<https://sqlite.org/walformat.html#recovery>): so a commit is lost only with all after it, and none whose author
//! was told. Before SQLite writes into the database itself what is in the log, it waits for the disk as ever.
//!
//! What is committed and not durable is seen by the transactions after it, which become durable with it or later, and by
//! nobody else: whoever reads waits until all that it can have seen is durable. Else an agent could be told what was never
//! so.
//!
//! If the disk fails to take the log, nothing is known of what it has, and asking again would not tell: the kernel forgets what it could not
//! write (<https://lwn.net/Articles/752063/>). So the process ends, as PostgreSQL does, and finds out when it starts again.
//!
//! Refused: `synchronous` FULL, with transactions that commit together. Of a VM's creation under load, half of the time in
//! which nobody else could write went to the disk.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use sea_orm::DbErr;
use tokio::sync::{oneshot, watch};

use crate::DbError;
use crate::change::{self, Recent};

/// A commit, and who waits for it.
#[derive(Debug)]
pub(crate) struct Committed {
    pub(crate) number: u64,
    pub(crate) outcome: Result<(), DbError>,
    pub(crate) members: Vec<oneshot::Sender<Result<(), DbError>>>,
    pub(crate) changes: Vec<change::Model>,
    /// The number of the last change by then.
    pub(crate) last_change: i64,
}

/// What has been written since the database was opened.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) transactions: AtomicU64,
    pub(crate) commits: AtomicU64,
    pub(crate) waits: AtomicU64,
}

/// The thread that waits for the disk. It ends after the last of these.
#[derive(Debug, Clone)]
pub(crate) struct Durable {
    /// The last commit that has begun.
    begun: Arc<AtomicU64>,
    /// The last of those that have ended: it is durable, or nothing of it has happened.
    ended: watch::Receiver<u64>,
    tell: Sender<Committed>,
}

impl Durable {
    /// Starts it, with what has the disk take the log.
    pub(crate) fn start(
        sync: impl FnMut() -> io::Result<()> + Send + 'static,
        changes: Arc<Recent>,
        counts: Arc<Counts>,
    ) -> Result<Self, DbError> {
        let (tell, commits) = channel();
        let (reached, ended) = watch::channel(0);
        let mut thread = Thread { sync, changes, counts, reached };
        let started = thread::Builder::new().name("commits".into()).spawn(move || thread.run(&commits));
        started.map_err(|error| {
            DbError::Failed(DbErr::Custom(format!("the database cannot have a thread: {error}")))
        })?;
        Ok(Self { begun: Arc::default(), ended, tell })
    }

    /// Gives a commit its number. From now on whoever reads may see it.
    pub(crate) fn begin(&self) -> u64 {
        self.begun.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// Takes a commit that has gone well or not, in the order of their numbers.
    pub(crate) fn end(&self, commit: Committed) {
        // The thread is there for as long as this is.
        let _ = self.tell.send(commit);
    }

    /// Waits until nothing that was committed by now can be lost.
    pub(crate) async fn wait(&self) {
        let begun = self.begun.load(Ordering::SeqCst);
        if *self.ended.borrow() < begun {
            // It fails when the thread is gone, of which nobody is left to be told.
            let _ = self.ended.clone().wait_for(|ended| *ended >= begun).await;
        }
    }
}

struct Thread<S> {
    sync: S,
    changes: Arc<Recent>,
    counts: Arc<Counts>,
    reached: watch::Sender<u64>,
}

impl<S: FnMut() -> io::Result<()>> Thread<S> {
    fn run(&mut self, commits: &Receiver<Committed>) {
        while let Ok(first) = commits.recv() {
            let all: Vec<Committed> = std::iter::once(first).chain(commits.try_iter()).collect();
            if all.iter().any(|commit| commit.outcome.is_ok()) {
                if let Err(error) = (self.sync)() {
                    tracing::error!(%error, "the disk cannot take the database's log; nothing can be known of what it has");
                    std::process::abort();
                }
                self.counts.waits.fetch_add(1, Ordering::Relaxed);
            }
            for commit in all {
                self.tell(commit);
            }
        }
    }

    fn tell(&self, commit: Committed) {
        if commit.outcome.is_ok() {
            self.counts.commits.fetch_add(1, Ordering::Relaxed);
            self.counts.transactions.fetch_add(commit.members.len() as u64, Ordering::Relaxed);
            self.changes.add(commit.changes, commit.last_change);
        }
        self.reached.send_replace(commit.number);
        for member in commit.members {
            let _ = member.send(commit.outcome.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commit(durable: &Durable, seq: i64) -> (u64, oneshot::Receiver<Result<(), DbError>>) {
        let (tell, told) = oneshot::channel();
        let change =
            change::Model { seq, kind: "vm".into(), object_id: String::new(), account_id: None, at: 0 };
        let number = durable.begin();
        durable.end(Committed {
            number,
            outcome: Ok(()),
            members: vec![tell],
            changes: vec![change],
            last_change: seq,
        });
        (number, told)
    }

    #[tokio::test]
    async fn nobody_is_told_or_reads_on_before_the_disk_has_taken_it_which_it_does_for_all_that_wait() {
        let (begins, has_begun) = channel();
        let (let_go, goes) = channel::<()>();
        let sync = move || {
            begins.send(()).unwrap();
            goes.recv().map_err(io::Error::other)
        };
        let (changes, counts) = (Arc::<Recent>::default(), Arc::<Counts>::default());
        let durable = Durable::start(sync, Arc::clone(&changes), Arc::clone(&counts)).unwrap();
        durable.wait().await;

        let (_, mut first) = commit(&durable, 1);
        has_begun.recv().unwrap();
        let (second, mut later) = commit(&durable, 2);
        let (third, mut last) = commit(&durable, 3);
        let reads = tokio::spawn({
            let durable = durable.clone();
            async move { durable.wait().await }
        });
        tokio::task::yield_now().await;
        assert!(first.try_recv().is_err() && !reads.is_finished());
        assert_eq!((changes.last(), *durable.ended.borrow()), (0, 0));

        let_go.send(()).unwrap();
        has_begun.recv().unwrap();
        first.try_recv().unwrap().unwrap();
        assert!(later.try_recv().is_err() && last.try_recv().is_err());
        assert_eq!((changes.last(), *durable.ended.borrow()), (1, second - 1));

        let_go.send(()).unwrap();
        reads.await.unwrap();
        later.await.unwrap().unwrap();
        last.await.unwrap().unwrap();
        assert_eq!((changes.last(), *durable.ended.borrow()), (3, third));
        assert_eq!(counts.waits.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn of_a_commit_that_failed_its_author_is_told_and_no_other_and_no_disk_is_waited_for() {
        let counts = Arc::<Counts>::default();
        let sync = || Err(io::Error::other("nobody asked for it"));
        let durable = Durable::start(sync, Arc::default(), Arc::clone(&counts)).unwrap();
        let (tell, told) = oneshot::channel();
        let failed = || DbError::Failed(DbErr::Custom("full".into()));
        durable.end(Committed {
            number: durable.begin(),
            outcome: Err(failed()),
            members: vec![tell],
            changes: vec![],
            last_change: 0,
        });
        assert_eq!(told.await.unwrap().unwrap_err().to_string(), failed().to_string());
        durable.wait().await;
        assert_eq!(counts.commits.load(Ordering::Relaxed) + counts.waits.load(Ordering::Relaxed), 0);
    }
}
