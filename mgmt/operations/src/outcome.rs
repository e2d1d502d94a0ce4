//! What an attempt may come to.

use std::future::Future;
use std::time::Duration;

use podzol_mgmt_db::{DbError, Tx, operation};

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The goal is reached.
    Done,
    /// The goal is reached, and what shows it was written in one transaction with the end of the operation
    /// ([`Tx::operation_succeeded`]).
    Ended,
    /// Not yet; try again after a while. The error of the last attempt is shown meanwhile.
    Again {
        /// What kind of error, for programs.
        code: String,
        /// What happened, for people.
        detail: String,
        /// When to try again; the engine's own backoff if none.
        after: Option<Duration>,
    },
    /// Not yet, as a peer did not answer; try again after a while. If the operation is in the queue of that peer, this gets
    /// one operation at a time until there is an answer.
    Unanswered {
        /// The queue of the peer.
        peer: String,
        /// Who did not answer, for people.
        detail: String,
    },
    /// The goal cannot be reached; trying again would not help.
    Failed {
        /// What kind of error, for programs.
        code: String,
        /// What happened, for people.
        detail: String,
    },
    /// The goal is no longer wanted: a later request has overtaken it.
    Overtaken {
        /// By what.
        detail: String,
    },
    /// Somebody asked to cancel it.
    Cancelled,
}

impl Outcome {
    /// Try again, with the engine's own backoff.
    pub fn again(code: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::Again { code: code.into(), detail: detail.into(), after: None }
    }

    /// Give up.
    pub fn failed(code: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::Failed { code: code.into(), detail: detail.into() }
    }
}

/// What the engine carries out. One value serves all operations.
pub trait Work: Send + Sync + 'static {
    /// Takes an operation one attempt further. It may be called again for the same operation after any end, and is
    /// never called twice at once for the same subject.
    fn attempt(&self, operation: operation::Model) -> impl Future<Output = Outcome> + Send;

    /// What [`Work::gave_up`] fails with.
    type Error: std::error::Error + From<DbError> + Send + Sync;

    /// Told when an operation has failed or was cancelled on request, so that what it left half-way gets another goal:
    /// in the transaction that ends the operation, so that either both are written or none. `detail` says why.
    fn gave_up(
        &self,
        tx: &Tx,
        operation: &operation::Model,
        detail: &str,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;
}
