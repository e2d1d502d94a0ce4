//! Consoles: sessions, and the proxies that show them.

use axum::extract::{Extension, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{self, HeaderMap, HeaderValue};
use podzol_mgmt_api::console::{
    ConsoleCertificate, ConsoleCertificatePut, ConsoleOpen, ConsoleOpened, ConsoleProxy, ConsoleResume,
    ConsoleResumed, ConsoleSession, ConsoleSessionFilter, ConsoleWaits,
};
use podzol_mgmt_api::{Page, PageQuery, Problem, UnnamedPageQuery};
use podzol_mgmt_app::{App, AppError, Resumed};
use podzol_rpc::Caller;
use podzol_vocab::{ConsoleProxyId, ConsoleSessionId, VmId};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Answer, accepted, deleted};
use crate::auth::User;
use crate::body::{Asked, Id, Json};
use crate::problem::Refusal;

/// Where pages ask to go on elsewhere.
const RESUME: &str = "/v1/console-sessions/resume";

/// For how long a browser need not ask again whether it may ask, in seconds.
const MAY_ASK_SECS: HeaderValue = HeaderValue::from_static("600");

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(vm_console))
        .routes(routes!(console_session_list))
        .routes(routes!(console_session_show, console_session_close))
        .routes(routes!(console_session_resume))
        .route(RESUME, axum::routing::options(may_resume))
        .routes(routes!(console_proxy_list))
        .routes(routes!(console_proxy_show))
        .routes(routes!(console_proxy_drain))
        .routes(routes!(console_certificate_show, console_certificate_put, console_certificate_delete))
}

/// Opens the console of a VM in a browser: answers with a link, or with an operation where a console proxy has to be started
/// first.
#[utoipa::path(post, path = "/v1/vms/{id}/console", tag = "customers", operation_id = "vm_console", request_body = ConsoleOpen,
    params(("id" = VmId, Path), ("Idempotency-Key" = Option<String>, Header, description = "Opens one session, however often it arrives; the link is a new one each time")),
    responses((status = 200, description = "A link, to be used once and within a minute", body = ConsoleOpened), (status = 202, description = "A place is looked for", body = ConsoleOpened), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn vm_console(
    State(app): State<App>,
    User(actor): User,
    id: Id<VmId>,
    body: Json<ConsoleOpen>,
) -> Result<Response, Refusal> {
    let Id(id) = id;
    let opened = app.console_open(&actor, body.once, id, body.value).await?;
    Ok(if opened.url.is_some() { axum::Json(opened).into_response() } else { accepted(opened) })
}

/// The console sessions on VMs of the caller's account, a page at a time.
#[utoipa::path(get, path = "/v1/console-sessions", tag = "customers", operation_id = "console_session_list", params(UnnamedPageQuery, ConsoleSessionFilter),
    responses((status = 200, description = "A page", body = Page<ConsoleSession>), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn console_session_list(
    State(app): State<App>,
    User(actor): User,
    Asked(filter): Asked<ConsoleSessionFilter>,
    Asked(query): Asked<PageQuery>,
) -> Answer<Page<ConsoleSession>> {
    Ok(axum::Json(app.console_session_list(&actor, &filter, &query).await?))
}

/// A console session.
#[utoipa::path(get, path = "/v1/console-sessions/{id}", tag = "customers", operation_id = "console_session_show", params(("id" = ConsoleSessionId, Path)),
    responses((status = 200, description = "It", body = ConsoleSession), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn console_session_show(
    State(app): State<App>,
    User(actor): User,
    id: Id<ConsoleSessionId>,
) -> Answer<ConsoleSession> {
    let Id(id) = id;
    Ok(axum::Json(app.console_session_show(&actor, id).await?))
}

/// Closes a console session: its pages show nothing any more.
#[utoipa::path(delete, path = "/v1/console-sessions/{id}", tag = "customers", operation_id = "console_session_close", params(("id" = ConsoleSessionId, Path)),
    responses((status = 204, description = "Closed"), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn console_session_close(
    State(app): State<App>,
    User(actor): User,
    id: Id<ConsoleSessionId>,
) -> Result<Response, Refusal> {
    let Id(id) = id;
    app.console_session_close(&actor, id).await?;
    Ok(deleted())
}

/// Has a page go on that has lost its console proxy. It shows the token that it was given, and no key.
#[utoipa::path(post, path = "/v1/console-sessions/resume", tag = "customers", operation_id = "console_session_resume", request_body = ConsoleResume, security(()),
    responses((status = 200, description = "Where it goes on", body = ConsoleResumed), (status = 202, description = "There is no place for it yet", body = ConsoleWaits), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn console_session_resume(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Result<Json<ConsoleResume>, Refusal>,
) -> Response {
    let resumed = async {
        must_be_of_consoles(&app, &headers)?;
        Ok::<_, Refusal>(app.console_resume(caller.address.ip(), &body?.value).await?)
    };
    let answer = match resumed.await {
        Ok(Resumed::At(url)) => axum::Json(ConsoleResumed { url }).into_response(),
        Ok(Resumed::Waits { secs, progress }) => accepted(ConsoleWaits { wait: secs, progress }),
        Err(refusal) => refusal.into_response(),
    };
    for_its_origin(&app, &headers, answer)
}

/// Tells a browser that a page of a console proxy may ask (https://fetch.spec.whatwg.org/#http-cors-protocol).
async fn may_resume(State(app): State<App>, headers: HeaderMap) -> Response {
    if let Err(refusal) = must_be_of_consoles(&app, &headers) {
        return refusal.into_response();
    }
    let mut answer = StatusCode::NO_CONTENT.into_response();
    for (name, value) in [
        (header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("POST")),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("content-type")),
        (header::ACCESS_CONTROL_MAX_AGE, MAY_ASK_SECS),
    ] {
        answer.headers_mut().insert(name, value);
    }
    for_its_origin(&app, &headers, answer)
}

/// Refuses a page of any other origin than a console proxy's. Who is no browser names none.
fn must_be_of_consoles(app: &App, headers: &HeaderMap) -> Result<(), Refusal> {
    match headers.get(header::ORIGIN).map(|origin| origin.to_str().unwrap_or_default()) {
        Some(origin) if !app.is_origin_of_consoles(origin) => {
            Err(AppError::Forbidden("only pages of console proxies may ask".into()).into())
        }
        _ => Ok(()),
    }
}

/// Lets a page of a console proxy read an answer.
fn for_its_origin(app: &App, headers: &HeaderMap, mut answer: Response) -> Response {
    let own = headers
        .get(header::ORIGIN)
        .filter(|origin| origin.to_str().is_ok_and(|origin| app.is_origin_of_consoles(origin)));
    if let Some(origin) = own {
        answer.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    }
    answer.headers_mut().insert(header::VARY, HeaderValue::from_static("origin"));
    answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

/// The console proxies, a page at a time.
#[utoipa::path(get, path = "/v1/console-proxies", tag = "operators", operation_id = "console_proxy_list", params(UnnamedPageQuery),
    responses((status = 200, description = "A page", body = Page<ConsoleProxy>), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn console_proxy_list(
    State(app): State<App>,
    User(actor): User,
    Asked(query): Asked<PageQuery>,
) -> Answer<Page<ConsoleProxy>> {
    Ok(axum::Json(app.console_proxy_list(&actor, &query).await?))
}

/// A console proxy.
#[utoipa::path(get, path = "/v1/console-proxies/{id}", tag = "operators", operation_id = "console_proxy_show", params(("id" = ConsoleProxyId, Path)),
    responses((status = 200, description = "It", body = ConsoleProxy), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn console_proxy_show(
    State(app): State<App>,
    User(actor): User,
    id: Id<ConsoleProxyId>,
) -> Answer<ConsoleProxy> {
    let Id(id) = id;
    Ok(axum::Json(app.console_proxy_show(&actor, id).await?))
}

/// Has a console proxy get no new sessions, and go when those that it has are elsewhere.
#[utoipa::path(post, path = "/v1/console-proxies/{id}/drain", tag = "operators", operation_id = "console_proxy_drain", params(("id" = ConsoleProxyId, Path)),
    responses((status = 200, description = "It drains", body = ConsoleProxy), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn console_proxy_drain(
    State(app): State<App>,
    User(actor): User,
    id: Id<ConsoleProxyId>,
) -> Answer<ConsoleProxy> {
    let Id(id) = id;
    Ok(axum::Json(app.console_proxy_drain(&actor, id).await?))
}

/// The wildcard certificate that console proxies show, without its key.
#[utoipa::path(get, path = "/v1/console-certificate", tag = "operators", operation_id = "console_certificate_show",
    responses((status = 200, description = "It", body = ConsoleCertificate), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn console_certificate_show(State(app): State<App>, User(actor): User) -> Answer<ConsoleCertificate> {
    Ok(axum::Json(app.console_certificate_show(&actor).await?))
}

/// Has console proxies show this wildcard certificate. Sessions that are open go on.
#[utoipa::path(put, path = "/v1/console-certificate", tag = "operators", operation_id = "console_certificate_put", request_body = ConsoleCertificatePut,
    responses((status = 200, description = "It", body = ConsoleCertificate), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn console_certificate_put(
    State(app): State<App>,
    User(actor): User,
    body: Json<ConsoleCertificatePut>,
) -> Answer<ConsoleCertificate> {
    Ok(axum::Json(app.console_certificate_put(&actor, body.value).await?))
}

/// Has console proxies show a certificate of the installation's own authority again.
#[utoipa::path(delete, path = "/v1/console-certificate", tag = "operators", operation_id = "console_certificate_delete",
    responses((status = 204, description = "Done"), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn console_certificate_delete(State(app): State<App>, User(actor): User) -> Result<Response, Refusal> {
    app.console_certificate_delete(&actor).await?;
    Ok(deleted())
}
