//! Operations: the work that asynchronous calls start.

use podzol_vocab::{AccountId, Generation, OperationId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::Timestamp;

/// How far an operation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OperationState {
    /// It waits for its turn, or for another attempt.
    Queued,
    /// Somebody works on it.
    Running,
    /// It is done.
    Succeeded,
    /// It ended without success; `error` says why.
    Failed,
    /// It was cancelled, or a later request made it pointless.
    Cancelled,
}

impl OperationState {
    /// Whether nothing more will happen.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }
}

/// Work that goes on after a call was answered.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Operation {
    /// Its id.
    pub id: OperationId,
    /// What is done, such as `vm.start`.
    pub kind: String,
    /// The account for which it is done.
    pub account: Option<AccountId>,
    /// What kind of thing it is done to, such as `vm`.
    pub subject_kind: String,
    /// The id of that thing.
    pub subject: String,
    /// How far it is.
    pub state: OperationState,
    /// What is being done just now, or was done last.
    pub step: Option<String>,
    /// The generation that the router has in force since, of an operation that has told it of rules.
    pub generation: Option<Generation>,
    /// How many attempts were begun.
    pub attempts: u32,
    /// Whether somebody asked to cancel it.
    pub cancel_requested: bool,
    /// Why it failed, or why the last attempt did.
    pub error: Option<OperationError>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}

/// Why an operation failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OperationError {
    /// What kind of failure, for programs.
    pub code: String,
    /// What failed, for people.
    pub detail: String,
}

/// Narrows a list of operations.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct OperationFilter {
    /// Only those done to the thing with this id.
    pub subject: Option<String>,
    /// Only those in this state.
    #[param(inline)]
    pub state: Option<OperationState>,
}
