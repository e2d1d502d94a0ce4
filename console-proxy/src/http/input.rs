//! Batches of input.

use std::ops::ControlFlow;
use std::rc::Rc;

use tokio::task::consume_budget;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::answer::{Answer, json};
use super::fault::Fault;
use super::serve::{Asked, must_be_there, must_control, read};
use crate::input::batch::{Batch, MAX_BODY};
use crate::input::order::Place;
use crate::limits::{BATCHES, GAP};
use crate::told::Applied;
use crate::viewer::{One, Viewer};
use crate::worker::Worker;

/// A batch that was posted.
pub(crate) async fn batch(asked: Asked) -> Result<Answer, Fault> {
    let Asked { worker, viewer, request, .. } = asked;
    let _one =
        One::of(&viewer, |viewer| &viewer.batches, BATCHES).ok_or(Fault::TooMany("batches are under way"))?;
    let body = read(request, "application/octet-stream", MAX_BODY).await?;
    let taken = take(&worker, &viewer, &body).await?;
    Ok(json(told(taken.applied)))
}

/// What became of a batch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Taken {
    /// How many events were applied then, of all.
    pub(crate) applied: u64,
    /// Whether it had any.
    pub(crate) had_events: bool,
}

/// Takes a batch.
///
/// # Errors
/// When it breaks a rule, or the page may only look. Nothing of it is applied then.
pub(crate) async fn take(worker: &Worker, viewer: &Rc<Viewer>, body: &[u8]) -> Result<Taken, Fault> {
    let batch = Batch::decode(body)?;
    must_be_there(viewer)?;
    viewer.hear_batch(&batch, worker.clock.now());
    let had_events = !batch.events.is_empty();
    if had_events {
        must_control(viewer)?;
    }
    if batch.here || had_events {
        viewer.session.act(worker.clock.now(), worker.clock.unix());
    }
    apply(worker, viewer, batch).await;
    must_be_there(viewer)?;
    if had_events {
        must_control(viewer)?;
    }
    Ok(Taken { applied: viewer.applied(), had_events })
}

/// Applies what was not applied of it, in its turn, once those before it have come.
async fn apply(worker: &Worker, viewer: &Rc<Viewer>, batch: Batch) {
    let until = Instant::now() + GAP;
    if batch.events.is_empty() {
        return;
    }
    loop {
        let changed = viewer.changed.notified();
        if viewer.gone().is_some() {
            return;
        }
        // Whoever has the turn may have gone on meanwhile, so it is looked at within.
        let Ok(turn) = viewer.input_turn.acquire().await else { return };
        if let Place::Skip(count) = viewer.place(&batch) {
            let counts = &worker.counts;
            for event in batch.events.into_iter().skip(count) {
                // Others have their turn, also while the display takes all at once.
                consume_budget().await;
                // What waits for long is sent again: an answer that is late would be one that was lost.
                let applied = timeout_at(until, viewer.apply(event)).await;
                if !matches!(applied, Ok(ControlFlow::Continue(()))) {
                    break;
                }
                counts.events.set(counts.events.get() + 1);
            }
            drop(turn);
            viewer.changed.notify_waiters();
            return;
        }
        drop(turn);
        tokio::select! {
            () = changed => {}
            () = sleep_until(until) => return,
        }
    }
}

/// How much was applied, as JSON.
pub(crate) fn told(applied: u64) -> Vec<u8> {
    serde_json::to_vec(&Applied { applied }).expect("it has nothing that JSON lacks")
}
