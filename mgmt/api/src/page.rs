//! Lists, a page at a time, and what a create answers.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::operation::Operation;

/// One page of a list, oldest first.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Page<T> {
    /// The things on this page.
    pub items: Vec<T>,
    /// What to give as `after` for the next page; none on the last.
    pub next: Option<String>,
}

/// Which page of a list.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct PageQuery {
    /// The most things on a page: 1 to 500, 100 when left out.
    #[param(minimum = 1, maximum = 500)]
    pub limit: Option<u64>,
    /// The `next` of the page before.
    pub after: Option<String>,
    /// Only the thing with this name.
    pub name: Option<String>,
}

/// Which page of a list of things that have no names.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct UnnamedPageQuery {
    /// The most things on a page: 1 to 500, 100 when left out.
    #[param(minimum = 1, maximum = 500)]
    pub limit: Option<u64>,
    /// The `next` of the page before.
    pub after: Option<String>,
}

/// A new thing, and the work that goes on to make it real.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Created<T> {
    /// The thing as it is now.
    pub object: T,
    /// The operation to follow.
    pub operation: Operation,
}
