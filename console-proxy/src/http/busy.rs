//! Whether a connection is of use: answers are being made or taken on it.
//!
//! HTTP/1.1 has a time for the next request's head, and an answer that is not taken is in the way of all others. In HTTP/2 a
//! connection on which nothing is asked, or whose answers are not taken, may be kept alive for ever by pings alone; so here it is
//! known for how long that is so.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::Instant;

use super::answer::Content;

/// What is done on a connection.
#[derive(Debug)]
pub(super) struct Busy {
    answers: Cell<usize>,
    last: Cell<Instant>,
    begun: Cell<u64>,
    /// Answers that there is more of, by their numbers, and since when nothing of them was taken.
    waiting: RefCell<BTreeMap<u64, Instant>>,
}

/// That an answer is being made or taken.
#[derive(Debug)]
pub(super) struct Answering {
    busy: Rc<Busy>,
    number: u64,
}

/// The body of an answer, which is being taken as long as this is there.
#[derive(Debug)]
pub(super) struct Taken {
    content: Content,
    answering: Answering,
}

impl Busy {
    pub(super) fn new() -> Self {
        let last = Cell::new(Instant::now());
        Self { answers: Cell::default(), last, begun: Cell::default(), waiting: RefCell::default() }
    }

    /// An answer is begun.
    pub(super) fn begin(self: &Rc<Self>) -> Answering {
        self.answers.set(self.answers.get() + 1);
        self.begun.set(self.begun.get() + 1);
        Answering { busy: Rc::clone(self), number: self.begun.get() }
    }

    /// For how long nothing has been done.
    pub(super) fn idle_for(&self) -> Duration {
        if self.answers.get() > 0 { Duration::ZERO } else { self.last.get().elapsed() }
    }

    /// For how long nothing was taken of an answer that is there.
    pub(super) fn stalled_for(&self) -> Duration {
        self.waiting.borrow().values().min().map_or(Duration::ZERO, Instant::elapsed)
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.busy.answers.set(self.busy.answers.get() - 1);
        self.busy.last.set(Instant::now());
        self.busy.waiting.borrow_mut().remove(&self.number);
    }
}

impl Taken {
    pub(super) const fn new(content: Content, answering: Answering) -> Self {
        Self { content, answering }
    }
}

impl Body for Taken {
    type Data = Bytes;
    type Error = Infallible;

    /// It is asked for more only once what it gave before is on its way.
    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let polled = Pin::new(&mut self.content).poll_frame(context);
        let (waiting, number) = (&self.answering.busy.waiting, self.answering.number);
        match &polled {
            Poll::Ready(Some(_)) => drop(waiting.borrow_mut().insert(number, Instant::now())),
            Poll::Ready(None) | Poll::Pending => drop(waiting.borrow_mut().remove(&number)),
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.content.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.content.size_hint()
    }
}
