//! Accounts, users and API keys.

use axum::extract::State;
use axum::response::Response;
use podzol_mgmt_api::account::{
    Account, AccountCreate, AccountFilter, AccountUpdate, Key, KeyCreate, KeyCreated, User as Person,
    UserCreate,
};
use podzol_mgmt_api::traffic::{AccountTraffic, TrafficTime};
use podzol_mgmt_api::{Page, PageQuery, Problem, UnnamedPageQuery};
use podzol_mgmt_app::App;
use podzol_vocab::{AccountId, KeyId, UserId};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Answer, created, deleted};
use crate::auth::User;
use crate::body::{Asked, Id, Json};
use crate::problem::Refusal;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(account_list, account_create))
        .routes(routes!(account_show, account_update, account_delete))
        .routes(routes!(account_traffic))
        .routes(routes!(user_list, user_create))
        .routes(routes!(user_show, user_delete))
        .routes(routes!(key_list, key_create))
        .routes(routes!(key_show, key_delete))
}

/// The accounts, a page at a time.
#[utoipa::path(get, path = "/v1/accounts", tag = "customers", operation_id = "account_list", params(PageQuery), 
    responses((status = 200, description = "A page", body = Page<Account>), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn account_list(
    State(app): State<App>,
    User(actor): User,
    Asked(query): Asked<PageQuery>,
) -> Answer<Page<Account>> {
    Ok(axum::Json(app.account_list(&actor, &query).await?))
}

/// Creates an account.
#[utoipa::path(post, path = "/v1/accounts", tag = "operators", operation_id = "account_create", request_body = AccountCreate,
    params(("Idempotency-Key" = Option<String>, Header, description = "Carries the request out once, however often it arrives")),
    responses((status = 201, description = "Created", body = Account), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn account_create(
    State(app): State<App>,
    User(actor): User,
    body: Json<AccountCreate>,
) -> Result<Response, Refusal> {
    Ok(created(app.account_create(&actor, body.once, body.value).await?))
}

/// An account.
#[utoipa::path(get, path = "/v1/accounts/{id}", tag = "customers", operation_id = "account_show", params(("id" = AccountId, Path)),
    responses((status = 200, description = "It", body = Account), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn account_show(State(app): State<App>, User(actor): User, id: Id<AccountId>) -> Answer<Account> {
    let Id(id) = id;
    Ok(axum::Json(app.account_show(&actor, id).await?))
}

/// What went through an account's routers in a time, by public addresses and network interfaces, a page at a time.
#[utoipa::path(get, path = "/v1/accounts/{id}/traffic", tag = "customers", operation_id = "account_traffic", params(("id" = AccountId, Path), TrafficTime, UnnamedPageQuery),
    responses((status = 200, description = "A page", body = Page<AccountTraffic>), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn account_traffic(
    State(app): State<App>,
    User(actor): User,
    id: Id<AccountId>,
    Asked(time): Asked<TrafficTime>,
    Asked(query): Asked<PageQuery>,
) -> Answer<Page<AccountTraffic>> {
    let Id(id) = id;
    Ok(axum::Json(app.account_traffic(&actor, id, &time, &query).await?))
}

/// Changes the limits of an account's VMs, and the most that it may have.
#[utoipa::path(patch, path = "/v1/accounts/{id}", tag = "operators", operation_id = "account_update", params(("id" = AccountId, Path)),
    request_body = AccountUpdate,
    responses((status = 200, description = "It", body = Account), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn account_update(
    State(app): State<App>,
    User(actor): User,
    id: Id<AccountId>,
    body: Json<AccountUpdate>,
) -> Answer<Account> {
    let Id(id) = id;
    Ok(axum::Json(app.account_update(&actor, id, body.value).await?))
}

/// Deletes an account without users, networks and VMs.
#[utoipa::path(delete, path = "/v1/accounts/{id}", tag = "operators", operation_id = "account_delete", params(("id" = AccountId, Path)),
    responses((status = 204, description = "Gone"), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn account_delete(
    State(app): State<App>,
    User(actor): User,
    id: Id<AccountId>,
) -> Result<Response, Refusal> {
    let Id(id) = id;
    app.account_delete(&actor, id).await?;
    Ok(deleted())
}

/// The users, a page at a time.
#[utoipa::path(get, path = "/v1/users", tag = "customers", operation_id = "user_list", params(PageQuery, AccountFilter), 
    responses((status = 200, description = "A page", body = Page<Person>), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn user_list(
    State(app): State<App>,
    User(actor): User,
    Asked(filter): Asked<AccountFilter>,
    Asked(query): Asked<PageQuery>,
) -> Answer<Page<Person>> {
    Ok(axum::Json(app.user_list(&actor, &filter, &query).await?))
}

/// Creates a user.
#[utoipa::path(post, path = "/v1/users", tag = "customers", operation_id = "user_create", request_body = UserCreate,
    params(("Idempotency-Key" = Option<String>, Header, description = "Carries the request out once, however often it arrives")),
    responses((status = 201, description = "Created", body = Person), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn user_create(
    State(app): State<App>,
    User(actor): User,
    body: Json<UserCreate>,
) -> Result<Response, Refusal> {
    Ok(created(app.user_create(&actor, body.once, body.value).await?))
}

/// A user.
#[utoipa::path(get, path = "/v1/users/{id}", tag = "customers", operation_id = "user_show", params(("id" = UserId, Path)),
    responses((status = 200, description = "It", body = Person), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn user_show(State(app): State<App>, User(actor): User, id: Id<UserId>) -> Answer<Person> {
    let Id(id) = id;
    Ok(axum::Json(app.user_show(&actor, id).await?))
}

/// Deletes a user and its keys.
#[utoipa::path(delete, path = "/v1/users/{id}", tag = "customers", operation_id = "user_delete", params(("id" = UserId, Path)),
    responses((status = 204, description = "Gone"), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn user_delete(State(app): State<App>, User(actor): User, id: Id<UserId>) -> Result<Response, Refusal> {
    let Id(id) = id;
    app.user_delete(&actor, id).await?;
    Ok(deleted())
}

/// The API keys, a page at a time.
#[utoipa::path(get, path = "/v1/keys", tag = "customers", operation_id = "key_list", params(PageQuery, AccountFilter), 
    responses((status = 200, description = "A page", body = Page<Key>), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn key_list(
    State(app): State<App>,
    User(actor): User,
    Asked(filter): Asked<AccountFilter>,
    Asked(query): Asked<PageQuery>,
) -> Answer<Page<Key>> {
    Ok(axum::Json(app.key_list(&actor, &filter, &query).await?))
}

/// Creates an API key. Its secret is shown only in this answer.
#[utoipa::path(post, path = "/v1/keys", tag = "customers", operation_id = "key_create", request_body = KeyCreate,
    params(("Idempotency-Key" = Option<String>, Header, description = "Carries the request out once, however often it arrives")),
    responses((status = 201, description = "Created", body = KeyCreated), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn key_create(
    State(app): State<App>,
    User(actor): User,
    body: Json<KeyCreate>,
) -> Result<Response, Refusal> {
    Ok(created(app.key_create(&actor, body.once, body.value).await?))
}

/// An API key, without its secret.
#[utoipa::path(get, path = "/v1/keys/{id}", tag = "customers", operation_id = "key_show", params(("id" = KeyId, Path)),
    responses((status = 200, description = "It", body = Key), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn key_show(State(app): State<App>, User(actor): User, id: Id<KeyId>) -> Answer<Key> {
    let Id(id) = id;
    Ok(axum::Json(app.key_show(&actor, id).await?))
}

/// Deletes an API key.
#[utoipa::path(delete, path = "/v1/keys/{id}", tag = "customers", operation_id = "key_delete", params(("id" = KeyId, Path)),
    responses((status = 204, description = "Gone"), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn key_delete(State(app): State<App>, User(actor): User, id: Id<KeyId>) -> Result<Response, Refusal> {
    let Id(id) = id;
    app.key_delete(&actor, id).await?;
    Ok(deleted())
}
