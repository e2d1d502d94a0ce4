//! Events: who did what to what, when.

use podzol_vocab::AccountId;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::Timestamp;

/// Something that happened. Events are never changed, and kept for as long as the management service's `event_days` say.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Event {
    /// Its number; later events have greater ones.
    pub id: i64,
    /// When.
    pub at: Timestamp,
    /// What happened, such as `vm.create` or `join.refused`.
    pub action: String,
    /// Who did it: `user NAME`, or a part of Podzol.
    pub actor: String,
    /// The account that it is about.
    pub account: Option<AccountId>,
    /// What kind of thing it was done to.
    pub subject_kind: String,
    /// The id of that thing; empty if it has none.
    pub subject: String,
    /// More, in words.
    pub detail: String,
}

/// Narrows a list of events.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct EventFilter {
    /// Only those about the thing with this id.
    pub subject: Option<String>,
    /// Only those with this action.
    pub action: Option<String>,
}

/// One message of the stream of changes: an object changed, and this is how it is now.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Change {
    /// What kind of thing, such as `vm` or `operation`.
    pub kind: String,
    /// Its id.
    pub id: String,
    /// What it is now, as its own route shows it; none if it is gone.
    #[schema(value_type = Option<Object>)]
    pub object: Option<serde_json::Value>,
}
