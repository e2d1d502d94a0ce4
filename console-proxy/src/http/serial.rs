//! The serial console: what the VM writes, and what is written to it.

use std::rc::Rc;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::header::{HeaderName, HeaderValue};
use tokio::sync::mpsc;
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_tungstenite::tungstenite::Message;

use super::answer::{Answer, Part, binary, json, nothing, parts};
use super::fault::Fault;
use super::serve::{Asked, must_be_there, must_control, read};
use super::socket::{Ended, Replies, close, receive, upgrade};
use crate::input::batch::Reader;
use crate::input::order::Place;
use crate::limits::{ALIVE, BATCHES, GAP, POLLS, SERIAL_BYTES, WAIT};
use crate::serial::Shown;
use crate::viewer::{One, Open, Viewer};
use crate::worker::Worker;

/// The header that says how many bytes came before.
const FROM: HeaderName = HeaderName::from_static("podzol-from");

/// A poll: answered with what follows.
pub(crate) async fn poll(asked: Asked) -> Result<Answer, Fault> {
    let (viewer, after) = (asked.viewer, asked.query.after.unwrap_or_default());
    let one = One::of(&viewer, |viewer| &viewer.serial_polls, POLLS);
    let one = one.ok_or(Fault::TooMany("polls are open"))?;
    let _shown = Shown::of(&viewer.vm);
    let until = Instant::now() + WAIT;
    let Some((from, bytes)) = next(&viewer, after, until).await? else { return Ok(nothing()) };
    let mut answer = binary(bytes).map(|content| content.counting(one));
    answer.headers_mut().insert(FROM, HeaderValue::from(from));
    Ok(answer)
}

/// Begins a stream of what follows.
pub(crate) fn stream(asked: &Asked, open: Open) -> Result<Answer, Fault> {
    let (viewer, after) = (Rc::clone(&asked.viewer), asked.query.after.unwrap_or_default());
    let shown = Shown::of(&viewer.vm);
    let from = viewer.vm.serial.read(after).map_or(after, |(from, _)| from);
    let (sender, receiver) = mpsc::channel(1);
    let way = viewer.begin_serial_way(asked.worker.clock.now());
    let way = way.ok_or(Fault::TooMany("ways were begun"))?;
    spawn_local(async move {
        tokio::select! {
            () = fill(&viewer, from, &sender) => {}
            () = viewer.serial_elsewhere(way) => {}
            () = sender.closed() => {}
        }
        drop((open, shown));
    });
    let mut answer = parts(receiver);
    answer.headers_mut().insert(FROM, HeaderValue::from(from));
    Ok(answer)
}

async fn fill(viewer: &Viewer, mut at: u64, parts: &mpsc::Sender<Part>) {
    loop {
        let Ok(room) = parts.reserve().await else { return };
        match next(viewer, at, Instant::now() + WAIT).await {
            Ok(None) => {}
            // The page counts from where the answer began.
            Ok(Some((from, bytes))) if from == at => {
                at += bytes.len() as u64;
                room.send([bytes, Bytes::new()]);
            }
            Ok(Some(_)) | Err(_) => return,
        }
    }
}

/// What follows the first `after` bytes, as soon as there is something.
async fn next(viewer: &Viewer, after: u64, until: Instant) -> Result<Option<(u64, Bytes)>, Fault> {
    loop {
        let (news, changed) = (viewer.vm.serial.news.notified(), viewer.changed.notified());
        must_be_there(viewer)?;
        if let Some(found) = viewer.vm.serial.read(after) {
            return Ok(Some(found));
        }
        tokio::select! {
            () = news => {}
            () = changed => {}
            () = sleep_until(until) => return Ok(None),
        }
    }
}

/// Bytes that were posted.
pub(crate) async fn input(asked: Asked) -> Result<Answer, Fault> {
    let Asked { worker, viewer, query, request, .. } = asked;
    let first = query.first.ok_or(Fault::Invalid("first must be there"))?;
    let _one = One::of(&viewer, |viewer| &viewer.serial_batches, BATCHES)
        .ok_or(Fault::TooMany("batches are under way"))?;
    let _shown = Shown::of(&viewer.vm);
    let body = read(request, "application/octet-stream", SERIAL_BYTES).await?;
    let applied = take(&worker, &viewer, first, &body).await?;
    Ok(json(super::input::told(applied)))
}

/// Takes bytes before which there are so many: how many were taken in all then. Those that cannot be taken in time, as the ones before
/// do not come or the VM reads nothing, are forgotten.
async fn take(worker: &Worker, viewer: &Viewer, first: u64, bytes: &[u8]) -> Result<u64, Fault> {
    must_control(viewer)?;
    viewer.hear(worker.clock.now());
    viewer.session.act(worker.clock.now(), worker.clock.unix());
    tokio::select! {
        biased;
        () = viewer.loses_control() => {}
        () = apply(viewer, first, bytes) => {}
        () = sleep(GAP) => {}
    }
    must_be_there(viewer)?;
    must_control(viewer)?;
    Ok(viewer.serial_order.get().applied())
}

/// Gives what was not given of some bytes to the VM, in its turn, once those before them have come.
async fn apply(viewer: &Viewer, first: u64, bytes: &[u8]) {
    loop {
        let changed = viewer.changed.notified();
        {
            let Ok(_turn) = viewer.serial_turn.acquire().await else { return };
            if let Place::Skip(count) = viewer.serial_order.get().place(first) {
                let new = bytes.get(count..).unwrap_or_default();
                viewer.vm.serial.write(new).await;
                let mut order = viewer.serial_order.get();
                order.add(new.len());
                viewer.serial_order.set(order);
                return viewer.changed.notify_waiters();
            }
        }
        changed.await;
    }
}

/// Begins a socket.
pub(crate) fn socket(asked: Asked, open: Open) -> Result<Answer, Fault> {
    let after = asked.query.after.unwrap_or_default();
    let Asked { worker, viewer, connection, request, .. } = asked;
    let shown = Shown::of(&viewer.vm);
    let way = viewer.begin_serial_way(worker.clock.now()).ok_or(Fault::TooMany("ways were begun"))?;
    upgrade(request, connection, move |socket| async move {
        let (mut sink, mut source) = socket.split();
        let replies = Replies::default();
        let ended = tokio::select! {
            ended = write(&viewer, after, &mut sink, &replies) => ended,
            ended = give(&worker, &viewer, &mut source, &replies) => ended,
            () = viewer.serial_elsewhere(way) => Err(elsewhere(&viewer).into()),
        };
        close(sink, ended).await;
        drop((open, shown));
    })
}

/// Why a socket ended that was not the page's choice.
fn elsewhere(viewer: &Viewer) -> Fault {
    viewer.gone().map_or(Fault::TooMany("the serial console is shown another way"), Fault::from)
}

async fn write<S>(viewer: &Viewer, mut at: u64, sink: &mut S, replies: &Replies) -> Result<(), Ended>
where
    S: SinkExt<Message> + Unpin,
    Ended: From<S::Error>,
{
    let mut is_first = true;
    loop {
        let until = Instant::now() + ALIVE;
        let message = tokio::select! {
            biased;
            applied = replies.next() => text(&format!("{{\"applied\":{applied}}}")),
            next = next(viewer, at, until) => match next? {
                None => {
                    sink.send(Message::Ping(Bytes::new())).await?;
                    text("{}")
                }
                Some((from, bytes)) => {
                    if is_first || from != at {
                        is_first = false;
                        sink.send(text(&format!("{{\"from\":{from}}}"))).await?;
                    }
                    at = from + bytes.len() as u64;
                    Message::Binary(bytes)
                }
            },
        };
        sink.send(message).await?;
    }
}

fn text(json: &str) -> Message {
    Message::Text(json.into())
}

async fn give(
    worker: &Worker,
    viewer: &Viewer,
    source: &mut futures_util::stream::SplitStream<super::socket::Socket>,
    replies: &Replies,
) -> Result<(), Ended> {
    while let Some(message) = receive(source).await? {
        let mut reader = Reader(&message);
        let first = reader.number().map_err(Fault::from)?;
        if reader.0.len() > SERIAL_BYTES {
            return Err(Fault::TooLarge(SERIAL_BYTES).into());
        }
        let applied = take(worker, viewer, first.into(), reader.0).await?;
        replies.tell(applied).await;
    }
    Err(Ended::Lost)
}
