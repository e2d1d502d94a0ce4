//! Answers: their bodies, and the headers that all have.
//!
//! A body is given out in slices, the next one when the last is on its way. A browser over HTTP/2 can leave answers untaken: those that
//! are large count as what they are, a poll for example, until their last slice is on its way, and a connection on which nothing is
//! taken ends (see [`super::busy`]).

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::mpsc;

use super::fault::Fault;
use crate::viewer::{One, Open};

/// The longest slice of a body: a frame of HTTP/2 (RFC 9113, 4.2).
const SLICE: usize = 16 << 10;

/// The body of an answer: what is there of it, and what comes.
#[derive(Debug, Default)]
pub(crate) struct Content {
    there: VecDeque<Bytes>,
    comes: Option<mpsc::Receiver<Part>>,
    /// What it is one of, and its page's request, which is open as long. HTTP/2 keeps a body until its last slice is on its way.
    _one: Option<One>,
    _open: Option<Open>,
}

/// Some of a body, in two pieces that need not be copied together. At least one of them is not empty.
pub(crate) type Part = [Bytes; 2];

/// An answer.
pub(crate) type Answer = Response<Content>;

impl Body for Content {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.there.is_empty()
            && let Some(comes) = &mut self.comes
        {
            let part = ready!(comes.poll_recv(context));
            self.there.extend(part.into_iter().flatten().filter(|piece| !piece.is_empty()));
        }
        Poll::Ready(self.slice().map(|slice| Ok(Frame::data(slice))))
    }

    fn is_end_stream(&self) -> bool {
        self.there.is_empty() && self.comes.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        match self.comes {
            Some(_) => SizeHint::default(),
            None => SizeHint::with_exact(self.there.iter().map(|piece| piece.len() as u64).sum()),
        }
    }
}

impl Content {
    /// These pieces, one after the other.
    pub(crate) fn of(pieces: impl IntoIterator<Item = Bytes>) -> Self {
        let there = pieces.into_iter().filter(|piece| !piece.is_empty()).collect();
        Self { there, ..Self::default() }
    }

    /// It counts as one of something until all of it is on its way.
    pub(crate) fn counting(self, one: One) -> Self {
        Self { _one: Some(one), ..self }
    }

    /// A request of a page is open until all of it is on its way.
    pub(crate) fn until_taken(self, open: Open) -> Self {
        Self { _open: Some(open), ..self }
    }

    /// The next slice of what is there.
    fn slice(&mut self) -> Option<Bytes> {
        let first = self.there.front_mut()?;
        let slice = first.split_to(first.len().min(SLICE));
        if first.is_empty() {
            self.there.pop_front();
        }
        Some(slice)
    }
}

/// Some bytes of a type.
pub(crate) fn whole(kind: &'static str, bytes: impl Into<Bytes>) -> Answer {
    pieces(kind, [bytes.into()])
}

/// Some bytes of a type, in pieces.
pub(crate) fn pieces(kind: &'static str, pieces: impl IntoIterator<Item = Bytes>) -> Answer {
    let mut answer = Response::new(Content::of(pieces));
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

/// JSON.
pub(crate) fn json(bytes: Vec<u8>) -> Answer {
    whole("application/json", bytes)
}

/// Bytes that are for scripts alone.
pub(crate) fn binary(bytes: impl Into<Bytes>) -> Answer {
    whole("application/octet-stream", bytes)
}

/// What comes.
pub(crate) fn parts(parts: mpsc::Receiver<Part>) -> Answer {
    let mut answer = Response::new(Content { comes: Some(parts), ..Content::default() });
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    // What stands between is asked not to collect it.
    answer.headers_mut().insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    answer
}

/// Nothing.
pub(crate) fn nothing() -> Answer {
    let mut answer = Response::new(Content::default());
    *answer.status_mut() = StatusCode::NO_CONTENT;
    answer
}

/// A refusal.
pub(crate) fn refuse(fault: &Fault) -> Answer {
    let mut answer = json(fault.json());
    *answer.status_mut() = fault.status();
    let more = match fault {
        Fault::Method(needs) => Some((header::ALLOW, *needs)),
        Fault::TooMany(_) => Some((header::RETRY_AFTER, "2")),
        Fault::Stopped => Some((header::RETRY_AFTER, "5")),
        _ => None,
    };
    if let Some((name, value)) = more {
        answer.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    answer
}

/// The headers that every answer has.
pub(crate) fn protect(headers: &mut HeaderMap) {
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::STRICT_TRANSPORT_SECURITY, "max-age=31536000"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (
            HeaderName::from_static("permissions-policy"),
            "camera=(), geolocation=(), microphone=(), payment=(), usb=(), clipboard-read=(self), clipboard-write=(self), fullscreen=(self)",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        // Of a page's document there is a wider one.
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
        ),
    ] {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn a_body_comes_in_slices_whatever_its_pieces_are() {
        let pieces = [Bytes::from_static(b"ab"), Bytes::new(), Bytes::from(vec![7; SLICE * 2 + 1])];
        let mut content = Content::of(pieces);
        assert_eq!(content.size_hint().exact(), Some(SLICE as u64 * 2 + 3));
        let mut lengths = Vec::new();
        while !content.is_end_stream() {
            lengths.push(content.frame().await.unwrap().unwrap().into_data().unwrap().len());
        }
        assert_eq!(lengths, [2, SLICE, SLICE, 1]);
        assert!(content.frame().await.is_none());
    }

    #[tokio::test]
    async fn what_comes_is_sliced_too_and_ends_with_its_sender() {
        let (sender, receiver) = mpsc::channel(1);
        sender.try_send([Bytes::from_static(b"head"), Bytes::from(vec![7; SLICE + 5])]).unwrap();
        drop(sender);
        let mut content = parts(receiver).into_body();
        let mut lengths = Vec::new();
        while let Some(frame) = content.frame().await {
            lengths.push(frame.unwrap().into_data().unwrap().len());
        }
        assert_eq!(lengths, [4, SLICE, 5]);
    }
}
