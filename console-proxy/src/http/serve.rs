//! A request: who asks, whether he may, and what for.

use std::rc::Rc;

use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, Request};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use podzol_console_proxy_api::Rights;
use podzol_vocab::ConsoleSessionId;
use serde::Deserialize;
use tokio::time::timeout;

use super::answer::{Answer, json, nothing, protect, refuse, whole};
use super::connection::Connection;
use super::fault::Fault;
use super::route::{Query, Route, What};
use super::{input, page, serial, socket, state, stream, updates};
use crate::cookie;
use crate::limits::{BODY, JSON_BYTES, POLLS};
use crate::session::Session;
use crate::viewer::{Gone, One, Viewer};
use crate::worker::Worker;

/// How much more than twice what it may have of a body that is too large is read.
const WASTE: usize = 256 << 10;

/// A request for something of a page.
pub(crate) struct Asked {
    pub(crate) worker: Rc<Worker>,
    pub(crate) viewer: Rc<Viewer>,
    pub(crate) connection: Rc<Connection>,
    pub(crate) query: Query,
    pub(crate) request: Request<Incoming>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Exchange {
    ticket: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Open {}

/// Answers a request.
pub(super) async fn answer(
    worker: &Rc<Worker>,
    connection: &Rc<Connection>,
    request: Request<Incoming>,
) -> Answer {
    let mut cookie = None;
    let mut answer = match respond(worker, connection, request, &mut cookie).await {
        Ok(answer) => answer,
        Err(fault) => {
            worker.counts.refused.set(worker.counts.refused.get() + 1);
            refuse(&fault)
        }
    };
    if let Some(cookie) = cookie.and_then(|cookie| HeaderValue::try_from(cookie).ok()) {
        answer.headers_mut().append(header::SET_COOKIE, cookie);
    }
    protect(answer.headers_mut());
    answer
}

async fn respond(
    worker: &Rc<Worker>,
    connection: &Rc<Connection>,
    request: Request<Incoming>,
    cookie: &mut Option<String>,
) -> Result<Answer, Fault> {
    let path = request.uri().path().to_owned();
    let query = Query::of(request.uri().query())?;
    match Route::of(request.method(), &path)? {
        Route::Page => Ok(page::document(host(&request), &worker.document().resume_origins)),
        Route::Asset(name) => page::asset(name),
        Route::Exchange => {
            must_be_own_origin(&request)?;
            let Exchange { ticket } = read_json(request).await?;
            let (session, value) = worker.exchange(&ticket, connection.from)?;
            connection.is_known();
            session.seen_unix.set(Some(worker.clock.unix()));
            *cookie = Some(value);
            open(worker, &session)
        }
        Route::Open(id) => {
            must_be_own_origin(&request)?;
            // Nothing else of what a stranger has sent is kept while the body is waited for.
            let cookies = cookies(request.headers());
            let shown = cookie::find(&cookies, id).map(|value| cookie::shown(id, value)).unwrap_or_default();
            drop(cookies);
            let Open {} = read_json(request).await?;
            // Nothing is waited for between this and the page, or the session could end meanwhile.
            let session = enter(worker, id, &shown, cookie)?;
            connection.is_known();
            open(worker, &session)
        }
        Route::Viewer(id, viewer, what) => {
            must_be_own_origin(&request)?;
            let viewer = find(worker, id, viewer, request.headers(), cookie)?;
            connection.is_known();
            let (worker, connection) = (Rc::clone(worker), Rc::clone(connection));
            ask(Asked { worker, viewer, connection, query, request }, what).await
        }
    }
}

fn find(
    worker: &Worker,
    session: ConsoleSessionId,
    viewer: &str,
    headers: &HeaderMap,
    cookie: &mut Option<String>,
) -> Result<Rc<Viewer>, Fault> {
    let session = enter(worker, session, &cookies(headers), cookie)?;
    let found = session.viewers.borrow().get(viewer).cloned();
    found.ok_or(Fault::ViewerUnknown)
}

/// The session of a request. The cookie of one that is over is forgotten; one that is unknown here may be good at another
/// server of the same name, for cookies know no ports.
fn enter(
    worker: &Worker,
    id: ConsoleSessionId,
    cookies: &str,
    cookie: &mut Option<String>,
) -> Result<Rc<Session>, Fault> {
    let entered = worker.enter(id, cookies);
    *cookie = match &entered {
        Ok((_, renewed)) => renewed.clone(),
        Err(Fault::Over(_)) => cookie::find(cookies, id).map(|_| cookie::set_cookie(id, "", 0)),
        Err(_) => None,
    };
    entered.map(|(session, _)| session)
}

async fn ask(asked: Asked, what: What) -> Result<Answer, Fault> {
    let open = asked.viewer.open(asked.worker.clock);
    let answer = match what {
        What::Updates => updates::poll(asked).await,
        What::Stream => return stream::begin(&asked, open),
        What::Socket => return socket::begin(asked, open),
        What::Input => input::batch(asked).await,
        What::State => state::poll(asked).await,
        What::Clipboard => {
            // It is not on the screen: whoever may look at that may not look at this.
            must_control(&asked.viewer)?;
            let one = One::of(&asked.viewer, |viewer| &viewer.clipboards, POLLS);
            let one = one.ok_or(Fault::TooMany("the clipboard is being read"))?;
            let text = asked.viewer.vm.display.borrow().text.clone();
            Ok(whole("text/plain; charset=utf-8", text).map(|content| content.counting(one)))
        }
        What::Leave => {
            asked.worker.forget(&asked.viewer, Gone::Forgotten);
            Ok(nothing())
        }
        What::Serial => serial::poll(asked).await,
        What::SerialStream => return serial::stream(&asked, open),
        What::SerialSocket => return serial::socket(asked, open),
        What::SerialInput => serial::input(asked).await,
    };
    answer.map(|answer| answer.map(|content| content.until_taken(open)))
}

fn open(worker: &Rc<Worker>, session: &Rc<Session>) -> Result<Answer, Fault> {
    let viewer = worker.open(session)?;
    tracing::info!(session = %session.id, vm = %viewer.vm.id, "a page was opened");
    Ok(json(worker.opened(&viewer)))
}

/// A page of another origin cannot read what it is answered, but it shall not do anything either.
fn must_be_own_origin<B>(request: &Request<B>) -> Result<(), Fault> {
    let is_own = match request.headers().get(header::ORIGIN).map(HeaderValue::to_str) {
        Some(Ok(origin)) => origin.strip_prefix("https://") == Some(host(request)),
        Some(Err(_)) => false,
        None => true,
    };
    let site = request.headers().get(HeaderName::from_static("sec-fetch-site"));
    let is_same = site.is_none_or(|site| site == "same-origin" || site == "none");
    if is_own && is_same { Ok(()) } else { Err(Fault::Origin) }
}

/// The host and port that the browser asks.
fn host<B>(request: &Request<B>) -> &str {
    let of_header = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    request.uri().authority().map(http::uri::Authority::as_str).or(of_header).unwrap_or_default()
}

/// HTTP/2 has a header for each cookie.
fn cookies(headers: &HeaderMap) -> String {
    let all = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    all.collect::<Vec<_>>().join("; ")
}

/// Whether a page may give input.
pub(crate) fn must_control(viewer: &Viewer) -> Result<(), Fault> {
    if viewer.rights() == Rights::Control { Ok(()) } else { Err(Fault::ViewOnly) }
}

/// Why a page is not answered any more, if so.
pub(crate) fn must_be_there(viewer: &Viewer) -> Result<(), Fault> {
    viewer.gone().map_or(Ok(()), |gone| Err(gone.into()))
}

async fn read_json<T: for<'a> Deserialize<'a>>(request: Request<Incoming>) -> Result<T, Fault> {
    let bytes = read(request, "application/json", JSON_BYTES).await?;
    serde_json::from_slice(&bytes).map_err(|_| Fault::Invalid("the body must be JSON as it is described"))
}

/// Reads a body.
pub(crate) async fn read(
    request: Request<Incoming>,
    kind: &'static str,
    most: usize,
) -> Result<Bytes, Fault> {
    let (Parts { method, headers, .. }, body) = request.into_parts();
    debug_assert_eq!(method, Method::POST);
    let given = headers.get(header::CONTENT_TYPE).and_then(|given| given.to_str().ok()).unwrap_or_default();
    if given.split(';').next().is_none_or(|given| given.trim() != kind) {
        return Err(Fault::Type(kind));
    }
    // They may be large, and the body may take long.
    drop(headers);
    timeout(BODY, collect(body, most)).await.map_err(|_| Fault::Slow)?
}

/// All of a body. One that is a little too large is read to its end, without being kept, as a browser that is cut off while it
/// sends may not hear why.
async fn collect(mut body: Incoming, most: usize) -> Result<Bytes, Fault> {
    let (mut bytes, mut length) = (BytesMut::new(), 0);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Fault::Invalid("the body must come whole"))?;
        let Ok(data) = frame.into_data() else { continue };
        length += data.len();
        if length <= most {
            bytes.extend_from_slice(&data);
        } else if length > 2 * most + WASTE {
            break;
        }
    }
    if length > most { Err(Fault::TooLarge(most)) } else { Ok(bytes.freeze()) }
}
