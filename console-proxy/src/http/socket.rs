//! WebSockets: updates and states to the page, input from it.
//!
//! Reading and writing go on beside each other: a page whose line is full still gives input. How much of it was applied is told
//! when there is room, batch by batch; only so many answers wait, and then no more is read.
//!
//! A socket keeps the place of the connection that it was, and ends at once when its page gets what it carries another way, also
//! while it waits for a browser that takes nothing.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use http::header::{self, HeaderName, HeaderValue};
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::sync::Notify;
use tokio::task::spawn_local;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::answer::{Answer, Content};
use super::connection::Connection;
use super::fault::Fault;
use super::input::Taken;
use super::serve::{Asked, must_be_there};
use super::stream::another_state;
use super::updates::{Next, next};
use super::{input, state};
use crate::input::batch::MAX_BODY;
use crate::limits::{ALIVE, STALL};
use crate::viewer::{Open, Viewer, Way};
use crate::worker::Worker;

/// A browser's socket.
pub(super) type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// The code of a connection that ends without a fault of the page's: it asks again.
const GOING_AWAY: u16 = 1001;

/// How long saying goodbye may take.
const FAREWELL: Duration = Duration::from_secs(2);

/// Begins a socket.
pub(crate) fn begin(asked: Asked, open: Open) -> Result<Answer, Fault> {
    let after = asked.query.update()?;
    let Asked { worker, viewer, connection, request, .. } = asked;
    let way =
        viewer.begin_way(Way::Line, after, worker.clock.now()).ok_or(Fault::TooMany("ways were begun"))?;
    upgrade(request, connection, move |socket| async move {
        serve(&worker, &viewer, way, socket).await;
        drop(open);
    })
}

/// Answers a request for a socket, and has something done with it.
pub(super) fn upgrade<F>(
    request: Request<Incoming>,
    connection: Rc<Connection>,
    then: impl FnOnce(Socket) -> F + 'static,
) -> Result<Answer, Fault>
where
    F: Future<Output = ()> + 'static,
{
    let headers = request.headers();
    let has = |name: HeaderName, what: &str| {
        let value = headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        value.split(',').any(|part| part.trim().eq_ignore_ascii_case(what))
    };
    let key = headers.get(header::SEC_WEBSOCKET_KEY).cloned();
    let is_asked = has(header::UPGRADE, "websocket")
        && has(header::CONNECTION, "upgrade")
        && has(header::SEC_WEBSOCKET_VERSION, "13");
    let Some(key) = key.filter(|_| is_asked) else {
        return Err(Fault::Invalid("it must be a WebSocket over HTTP/1.1"));
    };
    // Browsers say where a socket comes from, and nobody else has the cookie.
    if !headers.contains_key(header::ORIGIN) {
        return Err(Fault::Origin);
    }
    let accept =
        HeaderValue::try_from(derive_accept_key(key.as_bytes())).expect("Base64 is what headers may have");
    let upgrading = hyper::upgrade::on(request);
    spawn_local(async move {
        let Ok(upgraded) = upgrading.await else { return };
        let config = WebSocketConfig::default()
            .max_message_size(Some(MAX_BODY))
            .max_frame_size(Some(MAX_BODY))
            .read_buffer_size(4 << 10)
            .write_buffer_size(0);
        let upgraded = TokioIo::new(upgraded);
        let socket = WebSocketStream::from_raw_socket(upgraded, Role::Server, Some(config)).await;
        connection.stop.run_until_cancelled(then(socket)).await;
    });
    let mut answer = Response::new(Content::default());
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = answer.headers_mut();
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    Ok(answer)
}

/// So many answers wait for a page that does not take them, before no more of its batches are read.
const REPLIES: usize = 16;

/// Answers that the page has not heard yet, one to each batch.
#[derive(Debug, Default)]
pub(super) struct Replies {
    waiting: RefCell<VecDeque<u64>>,
    told: Notify,
    taken: Notify,
}

impl Replies {
    pub(super) async fn tell(&self, applied: u64) {
        while self.waiting.borrow().len() >= REPLIES {
            self.taken.notified().await;
        }
        self.waiting.borrow_mut().push_back(applied);
        self.told.notify_one();
    }

    /// The next one.
    pub(super) async fn next(&self) -> u64 {
        loop {
            let next = self.waiting.borrow_mut().pop_front();
            if let Some(applied) = next {
                self.taken.notify_one();
                return applied;
            }
            self.told.notified().await;
        }
    }
}

async fn serve(worker: &Worker, viewer: &Rc<Viewer>, way: u64, socket: Socket) {
    let (mut sink, mut source) = socket.split();
    let replies = Replies::default();
    let ended = tokio::select! {
        ended = write(worker, viewer, way, &mut sink, &replies) => ended,
        ended = read(worker, viewer, &mut source, &replies) => ended,
        () = viewer.elsewhere(way) => must_be_there(viewer).map_err(Ended::from),
    };
    close(sink, ended).await;
}

/// Says goodbye, if the other side is still there.
pub(super) async fn close(mut sink: SplitSink<Socket, Message>, ended: Result<(), Ended>) {
    let (code, reason) = match &ended {
        Ok(()) => (GOING_AWAY, String::new()),
        Err(Ended::Lost) => return,
        Err(Ended::Fault(fault)) => {
            let json = String::from_utf8(fault.json()).unwrap_or_default();
            // A control frame has 125 bytes, two of which are the code (RFC 6455, 5.5).
            (fault.close_code(), if json.len() <= 123 { json } else { fault.code().to_owned() })
        }
    };
    let frame = CloseFrame { code: CloseCode::from(code), reason: reason.into() };
    let _ = timeout(FAREWELL, sink.send(Message::Close(Some(frame)))).await;
}

/// Why a socket ended.
#[derive(Debug)]
pub(super) enum Ended {
    Lost,
    Fault(Fault),
}

impl From<Error> for Ended {
    fn from(error: Error) -> Self {
        match error {
            Error::Capacity(_) => Self::Fault(Fault::TooLarge(MAX_BODY)),
            _ => Self::Lost,
        }
    }
}

impl From<Fault> for Ended {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

async fn write(
    worker: &Worker,
    viewer: &Rc<Viewer>,
    way: u64,
    sink: &mut SplitSink<Socket, Message>,
    replies: &Replies,
) -> Result<(), Ended> {
    let (mut told, mut pinged) = (0, Instant::now());
    loop {
        let message = tokio::select! {
            biased;
            applied = replies.next() => text(input::told(applied)),
            () = another_state(viewer, told) => {
                told = viewer.vm.number();
                text([br#"{"state":"#.as_slice(), &state::told(worker, viewer), b"}"].concat())
            }
            next = next(worker, viewer, way, pinged + ALIVE) => match next? {
                Next::Update(update) => Message::Binary(update.body.into()),
                Next::Nothing => {
                    pinged = Instant::now();
                    sink.send(Message::Ping(Default::default())).await?;
                    // The ping is for the browser, which says nothing of it to its page.
                    text(b"{}".to_vec())
                }
                Next::Elsewhere => return Ok(()),
            },
        };
        sink.send(message).await?;
    }
}

fn text(json: Vec<u8>) -> Message {
    Message::Text(String::from_utf8(json).unwrap_or_default().into())
}

/// The next binary message of a page; none when it is gone. What says nothing is passed over.
pub(super) async fn receive(source: &mut SplitStream<Socket>) -> Result<Option<bytes::Bytes>, Ended> {
    loop {
        // It answers pings, so it says something.
        let received = timeout(STALL, source.next()).await.map_err(|_| Ended::Lost)?;
        match received.transpose()? {
            Some(Message::Binary(bytes)) => return Ok(Some(bytes)),
            Some(Message::Text(_)) => return Err(Fault::Invalid("messages must be binary").into()),
            Some(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => {}
            Some(Message::Close(_)) | None => return Ok(None),
        }
    }
}

async fn read(
    worker: &Worker,
    viewer: &Rc<Viewer>,
    source: &mut SplitStream<Socket>,
    replies: &Replies,
) -> Result<(), Ended> {
    while let Some(body) = receive(source).await? {
        viewer.hear(worker.clock.now());
        let Taken { applied, had_events } = input::take(worker, viewer, &body).await?;
        if had_events {
            replies.tell(applied).await;
        }
    }
    Err(Ended::Lost)
}
