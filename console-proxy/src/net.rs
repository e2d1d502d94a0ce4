//! TCP connections: those of browsers, which are watched, and those to displays.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::limits::STALL;

/// Has a dead peer be found out in half a minute.
pub(crate) fn keep_alive(stream: &TcpStream) {
    let alive = TcpKeepalive::new().with_time(Duration::from_secs(15)).with_interval(Duration::from_secs(5));
    let socket = SockRef::from(stream);
    let _ = socket.set_tcp_keepalive(&alive.with_retries(3));
    let _ = socket.set_tcp_user_timeout(Some(STALL));
}

/// A connection that is closed when its other side takes nothing for [`STALL`], and that counts what it sends.
#[derive(Debug)]
pub(crate) struct Watched {
    stream: TcpStream,
    stalled: Option<Pin<Box<Sleep>>>,
    sent: Arc<AtomicU64>,
}

impl Watched {
    pub(crate) fn new(stream: TcpStream, sent: Arc<AtomicU64>) -> Self {
        let _ = stream.set_nodelay(true);
        keep_alive(&stream);
        Self { stream, stalled: None, sent }
    }

    /// What writing came to; an error once it has come to nothing for too long.
    fn watch<T>(&mut self, context: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.stalled = None;
            return polled;
        }
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + STALL)));
        ready!(stalled.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        if let Poll::Ready(Ok(count)) = &polled {
            self.sent.fetch_add(*count as u64, Ordering::Relaxed);
        }
        self.watch(context, polled)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(context);
        self.watch(context, polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_shutdown(context);
        self.watch(context, polled)
    }
}
