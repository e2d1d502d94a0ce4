//! What becomes of calls and streams on their way, as a simulation decides it.
//!
//! There is one weather for all clients of a process: in a simulation all parts run in one.

use std::future::pending;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::Method;
use reqwest::{Client, RequestBuilder, Response};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::peer::PeerId;

/// A call that sets out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Whom it goes to.
    pub peer: PeerId,
    /// Its method.
    pub method: Method,
    /// Its path.
    pub path: String,
}

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It arrives, and so does its answer.
    Arrives,
    /// It never arrives, and the caller hears so.
    IsLost,
    /// It is carried out, but the caller hears only that its answer was lost.
    AnswerIsLost,
    /// It arrives twice, one after the other.
    ArrivesTwice,
    /// It arrives, and once more so much later.
    ArrivesAgain(Duration),
    /// It arrives so much later, and others that set out after it before it.
    IsLate(Duration),
    /// It never arrives, and the caller hears nothing.
    NeverArrives,
    /// It is carried out, and the caller hears nothing.
    IsNeverAnswered,
    /// A stream breaks after so many bytes of both sides; of a call the answer is lost.
    Breaks(u64),
    /// A stream carries no more after so many bytes of both sides; to a call there is no answer.
    Stalls(u64),
}

type Weather = Arc<dyn Fn(&Call) -> Fate + Send + Sync>;

static WEATHER: RwLock<Option<Weather>> = RwLock::new(None);

/// Has this decide what becomes of all calls from now on.
pub fn set(weather: impl Fn(&Call) -> Fate + Send + Sync + 'static) {
    *WEATHER.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(weather));
}

/// Has all calls arrive from now on.
pub fn clear() {
    *WEATHER.write().unwrap_or_else(PoisonError::into_inner) = None;
}

/// Sends a call to its fate.
pub(crate) async fn send(
    client: &Client,
    peer: PeerId,
    request: RequestBuilder,
) -> Result<Response, reqwest::Error> {
    let (Some(weather), Some(copy)) = (weather(), request.try_clone()) else {
        return request.send().await;
    };
    let (client, request) = (client.clone(), request.build()?);
    match weather(&call(peer, &request)) {
        Fate::Arrives => client.execute(request).await,
        Fate::IsLost => nowhere(&client).await,
        Fate::AnswerIsLost | Fate::Breaks(_) => {
            client.execute(request).await?.bytes().await?;
            nowhere(&client).await
        }
        Fate::ArrivesTwice => {
            client.execute(request).await?.bytes().await?;
            copy.send().await
        }
        Fate::ArrivesAgain(later) => {
            tokio::spawn(async move {
                tokio::time::sleep(later).await;
                drop(copy.send().await);
            });
            client.execute(request).await
        }
        Fate::IsLate(later) => {
            tokio::time::sleep(later).await;
            client.execute(request).await
        }
        Fate::NeverArrives => nothing(&client, request.timeout().copied()).await,
        Fate::IsNeverAnswered | Fate::Stalls(_) => {
            let deadline = request.timeout().copied();
            client.execute(request).await?.bytes().await?;
            nothing(&client, deadline).await
        }
    }
}

/// Opens a stream to its fate: what was answered, and for how long the stream lasts then.
pub(crate) async fn open(
    client: &Client,
    peer: PeerId,
    request: RequestBuilder,
) -> Result<(Response, Lasts), reqwest::Error> {
    let (Some(weather), Some(copy)) = (weather(), request.try_clone()) else {
        return Ok((request.send().await?, Lasts::default()));
    };
    let (client, request) = (client.clone(), request.build()?);
    let deadline = request.timeout().copied();
    let mut lasts = Lasts::default();
    let answer = match weather(&call(peer, &request)) {
        Fate::Arrives => client.execute(request).await,
        Fate::IsLost => nowhere(&client).await,
        Fate::AnswerIsLost => {
            drop(client.execute(request).await?);
            nowhere(&client).await
        }
        Fate::ArrivesTwice => {
            drop(client.execute(request).await?);
            copy.send().await
        }
        Fate::ArrivesAgain(later) => {
            tokio::spawn(async move {
                tokio::time::sleep(later).await;
                drop(copy.send().await);
            });
            client.execute(request).await
        }
        Fate::IsLate(later) => {
            tokio::time::sleep(later).await;
            client.execute(request).await
        }
        Fate::NeverArrives => nothing(&client, deadline).await,
        Fate::IsNeverAnswered => {
            let _open = client.execute(request).await?;
            nothing(&client, deadline).await
        }
        Fate::Breaks(bytes) => {
            lasts = Lasts { bytes: Some(bytes), stalls: false };
            client.execute(request).await
        }
        Fate::Stalls(bytes) => {
            lasts = Lasts { bytes: Some(bytes), stalls: true };
            client.execute(request).await
        }
    };
    Ok((answer?, lasts))
}

/// How long a stream lasts.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Lasts {
    /// How many bytes of both sides it carries; none for as many as there are.
    bytes: Option<u64>,
    /// Whether it only carries nothing then, and does not break.
    stalls: bool,
}

/// A stream that lasts as long as it is to.
#[derive(Debug)]
pub(crate) struct Lasting<S> {
    pub(crate) stream: S,
    pub(crate) lasts: Lasts,
}

impl<S> Lasting<S> {
    /// How many of so many bytes it may carry now.
    fn may_carry(&self, bytes: usize) -> Poll<io::Result<usize>> {
        match self.lasts.bytes {
            None => Poll::Ready(Ok(bytes)),
            Some(0) if self.lasts.stalls => Poll::Pending,
            Some(0) => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            Some(left) => Poll::Ready(Ok(usize::try_from(left).map_or(bytes, |left| left.min(bytes)))),
        }
    }

    fn has_carried(&mut self, bytes: usize) {
        self.lasts.bytes = self.lasts.bytes.map(|left| left.saturating_sub(bytes as u64));
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Lasting<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let most = ready!(self.may_carry(buf.remaining()))?;
        let mut bytes = vec![0; most];
        let mut part = ReadBuf::new(&mut bytes);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut part))?;
        let read = part.filled().len();
        buf.put_slice(part.filled());
        self.has_carried(read);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Lasting<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let most = ready!(self.may_carry(bytes.len()))?;
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &bytes[..most]))?;
        self.has_carried(written);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.may_carry(0))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

fn weather() -> Option<Weather> {
    WEATHER.read().unwrap_or_else(PoisonError::into_inner).clone()
}

fn call(peer: PeerId, request: &reqwest::Request) -> Call {
    Call { peer, method: request.method().clone(), path: request.url().path().to_owned() }
}

/// Silence, until the caller has waited long enough.
async fn nothing(client: &Client, deadline: Option<Duration>) -> Result<Response, reqwest::Error> {
    match deadline {
        Some(deadline) => tokio::time::sleep(deadline).await,
        None => pending().await,
    }
    nowhere(client).await
}

/// The error of a call to nobody.
async fn nowhere(client: &Client) -> Result<Response, reqwest::Error> {
    client.get("https://lost.podzol.internal/").send().await
}
