//! A streamed answer: updates and states, one after the other.
//!
//! The next part is made when the last one was taken, so a page that reads slowly gets fewer and newer updates.

use std::rc::Rc;

use bytes::{BufMut, Bytes, BytesMut};
use tokio::sync::mpsc;
use tokio::task::spawn_local;
use tokio::time::Instant;

use super::answer::{Answer, Part, parts};
use super::fault::Fault;
use super::serve::Asked;
use super::state;
use super::updates::{Next, next};
use crate::limits::ALIVE;
use crate::viewer::{Open, Viewer, Way};
use crate::worker::Worker;

/// Bytes before a message's own.
const HEAD: usize = 5;

/// A message up to this size is copied behind its head: that costs less than a frame of its own for the head.
const SMALL: usize = 4 << 10;

/// What a part is.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Update = 1,
    State = 2,
    Nothing = 3,
}

/// Begins a stream.
pub(crate) fn begin(asked: &Asked, open: Open) -> Result<Answer, Fault> {
    let way = asked.viewer.begin_way(Way::Line, asked.query.update()?, asked.worker.clock.now());
    let way = way.ok_or(Fault::TooMany("ways were begun"))?;
    // One part waits while another is taken.
    let (sender, receiver) = mpsc::channel(1);
    let (worker, viewer) = (Rc::clone(&asked.worker), Rc::clone(&asked.viewer));
    spawn_local(async move {
        let filling = fill(&worker, &viewer, way, &sender);
        tokio::select! {
            () = filling => {}
            () = viewer.elsewhere(way) => {}
            () = sender.closed() => {}
        }
        drop(open);
    });
    Ok(parts(receiver))
}

async fn fill(worker: &Worker, viewer: &Rc<Viewer>, way: u64, parts: &mpsc::Sender<Part>) {
    let mut told = 0;
    loop {
        // Only when it has somewhere to go.
        let Ok(room) = parts.reserve().await else { return };
        if viewer.vm.number() != told {
            told = viewer.vm.number();
            room.send(part(Kind::State, state::told(worker, viewer)));
            continue;
        }
        let until = Instant::now() + ALIVE;
        let part = tokio::select! {
            biased;
            () = another_state(viewer, told) => continue,
            next = next(worker, viewer, way, until) => match next {
                Ok(Next::Update(update)) => part(Kind::Update, update.body),
                Ok(Next::Nothing) => part(Kind::Nothing, Bytes::new()),
                Ok(Next::Elsewhere) | Err(_) => return,
            },
        };
        room.send(part);
    }
}

/// Waits for another state.
pub(super) async fn another_state(viewer: &Viewer, told: u64) {
    loop {
        let news = viewer.vm.news.notified();
        if viewer.vm.number() != told {
            return;
        }
        news.await;
    }
}

/// A message. A large one is not copied for its head.
fn part(kind: Kind, bytes: impl Into<Bytes>) -> Part {
    let bytes = bytes.into();
    let mut head = BytesMut::with_capacity(HEAD + if bytes.len() <= SMALL { bytes.len() } else { 0 });
    head.put_u8(kind as u8);
    head.put_u32(bytes.len() as u32);
    if bytes.len() > SMALL {
        return [head.freeze(), bytes];
    }
    head.put(bytes);
    [head.freeze(), Bytes::new()]
}
