//! The socket: requests and their answers, however the kernel fails to give one.
//!
//! A kernel that is short of memory, or a receive buffer that is full, loses answers (netlink(7)), and what the one that
//! asked would wait for never comes. So an answer has a deadline, and with the first that is missed, or an error of the
//! socket, the socket is given up: whoever waits for another answer by it hears so at once, and the next request opens a
//! new one. What was asked for may have been done all the same; whoever wants it looks again.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::{Stream, StreamExt, stream};
use rtnetlink::Handle;
use rtnetlink::packet_core::NetlinkMessage;
use rtnetlink::packet_route::RouteNetlinkMessage;
use tokio::task::JoinHandle;

use crate::links::Error;

/// How long the kernel may take for the next message of an answer. Those before wait for the lock on all network
/// configuration, which removals hold for some 10 ms each.
const ANSWER: Duration = Duration::from_secs(60);

pub(super) type Message = NetlinkMessage<RouteNetlinkMessage>;

/// A netlink socket, opened anew when it is broken. The kernel refuses a second dump on it while one is under way
/// (`netlink_dump_start`, EBUSY).
#[derive(Debug)]
pub(super) struct Socket {
    /// Nothing after it was given up.
    open: Mutex<Option<Arc<Connection>>>,
    pub(super) one_dump: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Connection {
    handle: Handle,
    task: JoinHandle<()>,
}

impl Connection {
    fn open() -> io::Result<Self> {
        let (mut connection, handle, _) = rtnetlink::new_connection()?;
        // So that a request which was applied differs from one whose answer never came.
        connection.set_forward_ack(true);
        // So that a dump which came to its end differs from one that broke off.
        connection.set_forward_done(true);
        Ok(Self { handle, task: tokio::spawn(connection) })
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// An answer that is under way, on the connection by which it comes.
struct Answer<S> {
    messages: S,
    connection: Arc<Connection>,
}

impl Socket {
    pub(super) fn open() -> Result<Self, Error> {
        let connection = Connection::open().map_err(Error::Open)?;
        Ok(Self { open: Mutex::new(Some(Arc::new(connection))), one_dump: tokio::sync::Mutex::default() })
    }

    /// Sends a request. What is answered comes as it comes; if it does not, the last is an error.
    pub(super) fn ask(
        &self,
        request: Message,
    ) -> io::Result<impl Stream<Item = io::Result<Message>> + Unpin + use<'_>> {
        let connection = self.connection()?;
        let messages = connection.handle.clone().request(request).map_err(io::Error::other)?;
        let answer = Answer { messages, connection };
        Ok(Box::pin(stream::unfold(answer, |answer| self.next(answer))))
    }

    async fn next<S: Stream<Item = Message> + Unpin>(
        &self,
        mut answer: Answer<S>,
    ) -> Option<(io::Result<Message>, Answer<S>)> {
        let next = match tokio::time::timeout(ANSWER, answer.messages.next()).await {
            Ok(next) => Ok(next?),
            Err(_) => {
                self.give_up(&answer.connection);
                Err(io::Error::new(io::ErrorKind::TimedOut, "the kernel has not answered"))
            }
        };
        Some((next, answer))
    }

    /// The connection that is open, or a new one if that has ended.
    fn connection(&self) -> io::Result<Arc<Connection>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(connection) = open.as_ref().filter(|connection| !connection.task.is_finished()) {
            return Ok(Arc::clone(connection));
        }
        tracing::warn!("the netlink socket is broken; opening a new one");
        let connection = Arc::new(Connection::open()?);
        *open = Some(Arc::clone(&connection));
        Ok(connection)
    }

    /// Ends a connection, and with it the wait of all others for what comes by it.
    fn give_up(&self, connection: &Arc<Connection>) {
        connection.task.abort();
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.take_if(|open| Arc::ptr_eq(open, connection));
    }
}

#[cfg(test)]
mod tests {
    use rtnetlink::packet_core::{NLM_F_REQUEST, NetlinkHeader, NetlinkPayload};
    use tokio::time::Instant;

    use super::super::read;
    use super::*;

    /// What the kernel takes and never answers: it asks for nothing, nor for an acknowledgement.
    fn unanswered() -> Message {
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST;
        NetlinkMessage::new(header, NetlinkPayload::Noop)
    }

    #[tokio::test]
    async fn an_answer_that_does_not_come_is_waited_for_no_longer_than_a_while_and_then_there_is_a_new_socket()
     {
        let socket = Socket::open().unwrap();
        tokio::time::pause();
        let began = Instant::now();
        let (mut first, mut other) = (socket.ask(unanswered()).unwrap(), socket.ask(unanswered()).unwrap());

        let error = first.next().await.unwrap().unwrap_err();

        assert_eq!((error.kind(), began.elapsed().as_secs()), (io::ErrorKind::TimedOut, ANSWER.as_secs()));
        // Who waits by the same socket hears of it now, and not by a deadline of his own.
        assert!(other.next().await.is_none());
        tokio::time::resume();
        assert!(!read::links(&socket).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_socket_that_broke_is_opened_anew() {
        let socket = Socket::open().unwrap();
        socket.connection().unwrap().task.abort();
        tokio::task::yield_now().await;
        assert!(!read::links(&socket).await.unwrap().is_empty());
    }
}
