//! What becomes of calls on their way, as a simulation decides it.
//!
//! There is one weather for all clients of a process: in a simulation all parts run in one.

use std::future::pending;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use http::Method;
use reqwest::{Client, RequestBuilder, Response};

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
    let weather = WEATHER.read().unwrap_or_else(PoisonError::into_inner).clone();
    let (Some(weather), Some(copy)) = (weather, request.try_clone()) else {
        return request.send().await;
    };
    let (client, request) = (client.clone(), request.build()?);
    let call = Call { peer, method: request.method().clone(), path: request.url().path().to_owned() };
    match weather(&call) {
        Fate::Arrives => client.execute(request).await,
        Fate::IsLost => nowhere(&client).await,
        Fate::AnswerIsLost => {
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
        Fate::IsNeverAnswered => {
            let deadline = request.timeout().copied();
            client.execute(request).await?.bytes().await?;
            nothing(&client, deadline).await
        }
    }
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
