//! Queries hold only what the document says: a filter that is misspelt must not be one that is left out.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use axum::extract::{MatchedPath, Query, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use utoipa::openapi::path::{Operation, Parameter, ParameterIn};
use utoipa::openapi::{OpenApi, RefOr};

use crate::problem::Refusal;

/// The query parameters of each operation, by method and route.
pub(crate) struct Known(HashMap<(&'static str, String), BTreeSet<String>>);

impl Known {
    /// Those of a document.
    pub(crate) fn of(document: &OpenApi) -> Arc<Self> {
        let mut known = HashMap::new();
        for (route, item) in &document.paths.paths {
            let operations =
                [("GET", &item.get), ("POST", &item.post), ("PATCH", &item.patch), ("PUT", &item.put)];
            for (method, operation) in operations.into_iter().chain([("DELETE", &item.delete)]) {
                if let Some(operation) = operation {
                    known.insert((method, route.clone()), parameters(operation));
                }
            }
        }
        Arc::new(Self(known))
    }
}

fn parameters(operation: &Operation) -> BTreeSet<String> {
    let named = |parameter: &RefOr<_>| match parameter {
        RefOr::T(parameter) => query_parameter(parameter),
        RefOr::Ref(_) => None,
    };
    operation.parameters.iter().flatten().filter_map(named).collect()
}

fn query_parameter(parameter: &Parameter) -> Option<String> {
    (parameter.parameter_in == ParameterIn::Query).then(|| parameter.name.clone())
}

/// Refuses a request with a query parameter that its operation does not have.
pub(crate) async fn known_only(State(known): State<Arc<Known>>, request: Request, next: Next) -> Response {
    match refusal(&known, &request) {
        Some(refusal) => refusal.into_response(),
        None => next.run(request).await,
    }
}

fn refusal(known: &Known, request: &Request) -> Option<Refusal> {
    let route = request.extensions().get::<MatchedPath>()?.as_str().to_owned();
    let method =
        ["GET", "POST", "PATCH", "PUT", "DELETE"].into_iter().find(|name| request.method() == name)?;
    let parameters = known.0.get(&(method, route))?;
    let Query(given) = Query::<Vec<(String, String)>>::try_from_uri(request.uri()).ok()?;
    let (unknown, _) = given.into_iter().find(|(name, _)| !parameters.contains(name))?;
    let rule = match parameters.iter().map(String::as_str).collect::<Vec<_>>().join(", ") {
        none if none.is_empty() => "this request has no query parameters".to_owned(),
        names => format!("is not a parameter of this request; there are {names}"),
    };
    let refusal =
        Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "unknown_parameter", format!("{unknown}: {rule}"));
    Some(refusal.field(unknown))
}
