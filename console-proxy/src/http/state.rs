//! The state of a session and its VM: polls for it.

use tokio::time::{Instant, sleep_until};

use super::answer::{Answer, json, nothing};
use super::fault::Fault;
use super::serve::{Asked, must_be_there};
use crate::limits::WAIT;
use crate::viewer::Viewer;
use crate::worker::Worker;

/// A poll: answered when the state is another than the page has.
pub(crate) async fn poll(asked: Asked) -> Result<Answer, Fault> {
    let Asked { worker, viewer, query, .. } = asked;
    let after = query.after.unwrap_or_default();
    let asks = viewer.asks_state.get() + 1;
    viewer.asks_state.set(asks);
    viewer.changed.notify_waiters();
    let until = Instant::now() + WAIT;
    loop {
        let (news, changed) = (viewer.vm.news.notified(), viewer.changed.notified());
        must_be_there(&viewer)?;
        if viewer.vm.number() != after {
            return Ok(json(told(&worker, &viewer)));
        }
        if viewer.asks_state.get() != asks {
            return Ok(nothing());
        }
        tokio::select! {
            () = news => {}
            () = changed => {}
            () = sleep_until(until) => return Ok(nothing()),
        }
    }
}

/// The state as JSON.
pub(crate) fn told(worker: &Worker, viewer: &Viewer) -> Vec<u8> {
    serde_json::to_vec(&worker.state(viewer)).expect("it has nothing that JSON lacks")
}
