//! Claiming, running and ending.

use std::collections::{HashMap, HashSet};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use podzol_mgmt_api::operation::OperationState;
use podzol_mgmt_db::operation::{self, Model};
use podzol_mgmt_db::{Db, DbError, JsonCol, now};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::{Outcome, Work};

/// How long a claim holds without being renewed. Renewed every third of it; so a dead server's work is taken over
/// within this time.
pub const LEASE: Duration = Duration::from_secs(6);

/// The most operations of one queue at a time. A host starts a few VMs at once without one delaying the next much.
const PER_QUEUE: usize = 4;

/// The most operations of no queue at a time: those that load no single host.
const WITHOUT_QUEUE: usize = 64;

/// The most operations at a time. Each is a task that mostly waits for an answer.
const AT_ONCE: usize = 4096;

/// How many due operations are looked at first, of queues that are not full. Whoever else writes waits while they are claimed.
const LOOK_AT: u64 = 64;

/// How many are looked at if those before had no place: many may wait for the same subject.
const LOOK_AT_MOST: u64 = 1 << 15;

/// The code of an attempt whose peer gave no answer.
const UNREACHABLE: &str = "unreachable";

/// The longest time without looking for due operations. A wake-up usually comes first.
const TICK: Duration = Duration::from_secs(2);

/// The longest that an operation waits for its next attempt.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// How long an attempt may take before the next is begun beside it being dropped. Longer than any deadline of a call.
const ATTEMPT: Duration = Duration::from_secs(120);

/// How often a running attempt looks whether it should end. Most attempts are over before the first look.
const LOOK_FOR_CANCEL: Duration = Duration::from_millis(500);

/// How long attempts under way may go on after a stop. What is cut off then is taken up again at the next start.
const DRAIN: Duration = Duration::from_secs(15);

/// What is said of a cancelled operation.
const CANCELLED: &str = "cancelled on request";

/// Carries operations to their end, until stopped.
#[derive(Debug)]
pub struct Engine<W> {
    db: Db,
    work: Arc<W>,
    owner: String,
    wake: Arc<Notify>,
    running: Mutex<Running>,
}

/// What this engine has under way.
#[derive(Debug, Default)]
struct Running {
    subjects: HashSet<String>,
    queues: HashMap<String, usize>,
    unreachable: HashSet<String>,
}

impl Running {
    /// Takes a place for an operation, if its subject is free and its queue has room.
    fn take(&mut self, operation: &Model) -> bool {
        let busy = self.queues.get(&operation.queue).copied().unwrap_or(0);
        let full = busy >= self.room(&operation.queue);
        if self.subjects.len() >= AT_ONCE || full || self.subjects.contains(&operation.subject) {
            return false;
        }
        self.subjects.insert(operation.subject.clone());
        *self.queues.entry(operation.queue.clone()).or_default() += 1;
        true
    }

    fn room(&self, queue: &str) -> usize {
        match queue {
            "" => WITHOUT_QUEUE,
            queue if self.unreachable.contains(queue) => 1,
            _ => PER_QUEUE,
        }
    }

    /// The queues that have no room.
    fn full(&self) -> Vec<String> {
        let full = self.queues.iter().filter(|(queue, busy)| **busy >= self.room(queue));
        full.map(|(queue, _)| queue.clone()).collect()
    }

    /// Remembers whether the peer of a queue answers.
    fn learn(&mut self, queue: &str, outcome: &Outcome) {
        match outcome {
            Outcome::Unanswered { peer, .. } if peer == queue => {
                self.unreachable.insert(queue.to_owned());
            }
            // That another peer is silent says nothing of this one.
            Outcome::Unanswered { .. } => {}
            _ => {
                self.unreachable.remove(queue);
            }
        }
    }

    fn give_back(&mut self, operation: &Model) {
        self.subjects.remove(&operation.subject);
        if let Some(busy) = self.queues.get_mut(&operation.queue) {
            *busy -= 1;
            if *busy == 0 {
                self.queues.remove(&operation.queue);
            }
        }
    }
}

impl<W: Work> Engine<W> {
    /// An engine for this work. `owner` names this process among others; `wake` is notified whenever an operation may
    /// have become due.
    pub fn new(db: Db, work: Arc<W>, owner: String, wake: Arc<Notify>) -> Arc<Self> {
        Arc::new(Self { db, work, owner, wake, running: Mutex::default() })
    }

    /// Runs until `stop` is cancelled; then lets the attempts under way end.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let tasks = TaskTracker::new();
        if let Err(error) = self.take_from_ahead().await {
            tracing::error!(error = &error as &dyn std::error::Error, "cannot look for leases from ahead");
        }
        let renewal = tokio::spawn(Arc::clone(&self).renew());
        while !stop.is_cancelled() {
            let wait = match self.claim_due(&tasks).await {
                Ok(wait) => wait,
                Err(error) => {
                    tracing::error!(error = &error as &dyn std::error::Error, "cannot claim operations");
                    TICK
                }
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.wake.notified() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
        tasks.close();
        let drained = tokio::time::timeout(DRAIN, tasks.wait()).await;
        renewal.abort();
        if drained.is_err() {
            tracing::warn!("attempts are cut off; the next start takes them up again");
        }
    }

    /// Takes up what was written by a clock that was ahead of this one, and set back while nobody ran: it would be held, or
    /// wait, for as long as it was ahead. A deadline stays as it was written: an operation only gets longer by that.
    async fn take_from_ahead(&self) -> Result<(), DbError> {
        let (now, lease) = (now().0, LEASE.as_millis() as i64);
        let tx = self.db.begin().await?;
        let taken = tx.operation_from_ahead(now + lease, now + LONGEST_WAIT.as_millis() as i64).await?;
        tx.commit().await?;
        if taken > 0 {
            tracing::warn!(taken, "the clock was set back: operations were held or waiting far ahead of it");
        }
        Ok(())
    }

    /// Claims what is due and has room, and says how long to wait for the next.
    async fn claim_due(self: &Arc<Self>, tasks: &TaskTracker) -> Result<Duration, DbError> {
        let full = self.running().full();
        let mut look_at = LOOK_AT;
        let (places, may_be_more) = loop {
            let due = operation::due(self.db.reader(), now().0, &full, look_at).await?;
            let may_be_more = due.len() as u64 == look_at;
            let places: Vec<Model> = {
                let mut running = self.running();
                due.into_iter().filter(|operation| running.take(operation)).collect()
            };
            if !places.is_empty() || !may_be_more || look_at >= LOOK_AT_MOST {
                break (places, may_be_more);
            }
            look_at *= 8;
        };
        let some_had_place = !places.is_empty();
        if some_had_place {
            match self.claim(&places).await {
                Ok(claimed) => {
                    for operation in places {
                        match claimed.iter().find(|mine| mine.id == operation.id) {
                            Some(mine) => drop(tasks.spawn(Arc::clone(self).carry(mine.clone()))),
                            None => self.running().give_back(&operation),
                        }
                    }
                }
                Err(error) => {
                    let mut running = self.running();
                    places.iter().for_each(|operation| running.give_back(operation));
                    return Err(error);
                }
            }
        }
        if may_be_more && some_had_place {
            return Ok(Duration::ZERO);
        }
        // What is due already but has no place is looked at again when one is given back.
        let next = operation::next_due(self.db.reader(), now().0).await?;
        let wait = next.map_or(TICK, |at| Duration::from_millis((at - now().0).max(5) as u64));
        Ok(wait.min(TICK))
    }

    /// Takes the leases, in one transaction, of those that are still to be had.
    async fn claim(&self, places: &[Model]) -> Result<Vec<Model>, DbError> {
        let tx = self.db.begin().await?;
        let ids: Vec<_> = places.iter().map(|operation| operation.id).collect();
        let until = now().0 + LEASE.as_millis() as i64;
        let claimed = tx.operation_claim(&ids, &self.owner, now().0, until).await?;
        tx.commit().await?;
        Ok(claimed)
    }

    /// Makes one attempt and writes how it ended.
    async fn carry(self: Arc<Self>, operation: Model) {
        let span = tracing::info_span!("operation", id = ?operation.id, kind = operation.kind, subject = operation.subject);
        tracing::Instrument::instrument(
            async {
                let outcome = self.attempt(&operation).await;
                self.running().learn(&operation.queue, &outcome);
                while let Err(error) = self.end(&operation, &outcome).await {
                    // The lease is renewed meanwhile, so nobody else repeats what was just done.
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "cannot write how an attempt ended"
                    );
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            },
            span,
        )
        .await;
        self.running().give_back(&operation);
        self.wake.notify_one();
    }

    async fn attempt(&self, operation: &Model) -> Outcome {
        let late = operation.deadline_at.is_some_and(|deadline| deadline <= now().0);
        if operation.cancel_requested {
            Outcome::Cancelled
        } else if late {
            let detail =
                operation.error_detail.clone().unwrap_or_else(|| "it was not its turn in time".into());
            Outcome::failed("deadline", format!("not done in time; last: {detail}"))
        } else {
            let attempt = AssertUnwindSafe(self.work.attempt(operation.clone())).catch_unwind();
            tokio::select! {
                outcome = attempt => outcome.unwrap_or_else(|_| {
                    tracing::error!("an attempt panicked");
                    Outcome::again("internal", "the service failed; its log says why")
                }),
                () = self.cancel_requested(operation) => Outcome::Cancelled,
                () = tokio::time::sleep(ATTEMPT) => Outcome::again("attempt_too_slow", "an attempt took too long"),
            }
        }
    }

    /// Ends when somebody asks to cancel an operation; the attempt under way is dropped then, as by a crash.
    async fn cancel_requested(&self, operation: &Model) {
        loop {
            tokio::time::sleep(LOOK_FOR_CANCEL).await;
            let row = podzol_mgmt_db::find::<operation::Entity>(self.db.reader(), operation.id).await;
            if row.is_ok_and(|row| row.is_some_and(|row| row.cancel_requested)) {
                return;
            }
        }
    }

    async fn end(&self, operation: &Model, outcome: &Outcome) -> Result<(), W::Error> {
        if matches!(outcome, Outcome::Done | Outcome::Ended) {
            tracing::info!(?outcome, attempts = operation.attempts, "attempt ended");
        }
        if *outcome == Outcome::Ended {
            return Ok(());
        }
        let tx = self.db.begin().await?;
        if *outcome == Outcome::Done {
            tx.operation_succeeded(operation)?;
            return Ok(tx.commit().await?);
        }
        let Some(mut row) = podzol_mgmt_db::find::<operation::Entity>(tx.reader(), operation.id).await?
        else {
            return Ok(());
        };
        // It ended in its own transaction, while it was to be cancelled or took too long.
        if row.finished_at.is_some() {
            return Ok(());
        }
        row.lease_owner = None;
        row.lease_until = None;
        let state = match outcome {
            Outcome::Done | Outcome::Ended => OperationState::Succeeded,
            Outcome::Again { code, detail, after } => {
                (row.error_code, row.error_detail) = (Some(code.clone()), Some(detail.clone()));
                let wait = after.unwrap_or_else(|| backoff(row.attempts));
                row.due_at = now().0 + wait.as_millis() as i64;
                OperationState::Queued
            }
            Outcome::Unanswered { detail, .. } => {
                (row.error_code, row.error_detail) = (Some(UNREACHABLE.into()), Some(detail.clone()));
                row.due_at = now().0 + backoff(row.attempts).as_millis() as i64;
                OperationState::Queued
            }
            Outcome::Failed { code, detail } => {
                (row.error_code, row.error_detail) = (Some(code.clone()), Some(detail.clone()));
                self.work.gave_up(&tx, &row, detail).await?;
                OperationState::Failed
            }
            Outcome::Overtaken { detail } => {
                (row.error_code, row.error_detail) = (Some("overtaken".into()), Some(detail.clone()));
                OperationState::Cancelled
            }
            Outcome::Cancelled => {
                (row.error_code, row.error_detail) = (Some("cancelled".into()), Some(CANCELLED.into()));
                self.work.gave_up(&tx, &row, CANCELLED).await?;
                OperationState::Cancelled
            }
        };
        row.finished_at = state.is_final().then(|| now().0);
        row.state = JsonCol(state);
        tracing::info!(?outcome, attempts = row.attempts, "attempt ended");
        tx.operation_update(row).await?;
        Ok(tx.commit().await?)
    }

    /// Renews the leases of what is under way, until it is dropped.
    async fn renew(self: Arc<Self>) {
        loop {
            if !self.running().subjects.is_empty() {
                let renewed = async {
                    let tx = self.db.begin().await?;
                    tx.operation_renew(&self.owner, now().0 + LEASE.as_millis() as i64).await?;
                    tx.commit().await
                };
                if let Err(error) = renewed.await {
                    tracing::error!(error = &error as &dyn std::error::Error, "cannot renew leases");
                }
            }
            tokio::time::sleep(LEASE / 3).await;
        }
    }

    fn running(&self) -> std::sync::MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long to wait before the next attempt: doubling from 0.2 s to 10 s, with up to a quarter off by chance, so that
/// many that failed together do not come back together.
fn backoff(attempts: i64) -> Duration {
    let doubled = Duration::from_millis(200) * 2u32.pow(attempts.clamp(1, 7) as u32 - 1);
    doubled.min(LONGEST_WAIT).mul_f64(rand::random_range(0.75..=1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_whose_peer_is_silent_gets_one_at_a_time_and_another_peers_silence_counts_for_nothing() {
        let mut running = Running::default();
        let silent =
            |peer: &str| Outcome::Unanswered { peer: peer.into(), detail: "it does not answer".into() };
        running.learn("host", &silent("storage"));
        assert_eq!(running.room("host"), PER_QUEUE);
        running.learn("host", &silent("host"));
        assert_eq!(running.room("host"), 1);
        running.learn("host", &silent("storage"));
        assert_eq!(running.room("host"), 1);
        running.learn("host", &Outcome::again("in_progress", "it answers"));
        assert_eq!(running.room("host"), PER_QUEUE);
    }

    #[test]
    fn attempts_come_further_and_further_apart_up_to_a_limit() {
        assert!(backoff(1) <= Duration::from_millis(200));
        assert!(backoff(4) > backoff(1));
        for attempts in [0, 50, i64::MAX] {
            assert!(backoff(attempts) <= Duration::from_secs(10));
        }
    }
}
