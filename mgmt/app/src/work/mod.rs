//! What operations do: the part that speaks to agents.
//!
//! Every attempt looks at the database first and does what is missing. What a kind of operation wants is in the row of
//! its subject, not in the operation; so an operation whose goal was overtaken by a later request ends as cancelled.

mod devices;
mod given_up;
mod host;
mod migrate;
mod pool;
mod router;
mod template;
mod vm;
mod volume;

use std::future::Future;
use std::time::Duration;

use podzol_mgmt_api::host::ServerState;
use podzol_mgmt_db::pool as pool_row;
use podzol_mgmt_db::{Tx, find, now, operation, server};
use podzol_mgmt_operations::{Outcome, Work};
use podzol_rpc::{CallError, Endpoint, PeerId};
use podzol_vocab::{ErrorCode, StorageServerId};

use crate::operation::NewOperation;
use crate::reconcile::silent::SELDOM;
use crate::{App, AppError};

pub(crate) use pool::{host_addresses, without_port};

/// How long a step takes that is shown.
const SEEN: Duration = Duration::from_millis(300);

impl Work for App {
    async fn attempt(&self, operation: operation::Model) -> Outcome {
        let outcome = match operation.subject_kind.as_str() {
            "vm" => self.vm_attempt(&operation).await,
            "template" => self.template_attempt(&operation).await,
            "pool" => self.pool_attempt(&operation).await,
            "volume" => self.volume_attempt(&operation).await,
            "host" => self.host_attempt(&operation).await,
            "router" => self.router_attempt(&operation).await,
            "console-session" => self.console_open_attempt(&operation).await,
            other => Ok(Outcome::failed("unknown_kind", format!("nobody knows how to work on a {other}"))),
        };
        let outcome = outcome.unwrap_or_else(|error| {
            tracing::error!(error = &error as &dyn std::error::Error, "an attempt failed");
            Outcome::again("internal", error.to_string())
        });
        let name = match &outcome {
            Outcome::Done | Outcome::Ended => "done",
            Outcome::Again { .. } | Outcome::Unanswered { .. } => "again",
            Outcome::Failed { .. } => "failed",
            Outcome::Overtaken { .. } => "overtaken",
            Outcome::Cancelled => "cancelled",
        };
        self.metrics.attempts.with_label_values(&[operation.kind.as_str(), name]).inc();
        outcome
    }

    type Error = AppError;

    async fn gave_up(&self, tx: &Tx, operation: &operation::Model, detail: &str) -> Result<(), AppError> {
        match operation.subject_kind.as_str() {
            "vm" => self.vm_gave_up(tx, operation, detail).await,
            "template" => self.template_gave_up(tx, operation, detail).await,
            "pool" => self.pool_gave_up(tx, operation, detail).await,
            "volume" => self.volume_gave_up(tx, operation, detail).await,
            "router" => self.router_gave_up(tx, operation, detail).await,
            "console-session" => self.console_open_gave_up(tx, operation).await,
            _ => Ok(()),
        }
    }
}

impl App {
    /// Shows how far an operation is.
    pub(crate) async fn progress(
        &self,
        operation: &operation::Model,
        step: impl Into<String>,
    ) -> Result<(), AppError> {
        let step = step.into();
        let tx = self.db.begin().await?;
        if let Some(mut row) = find::<operation::Entity>(tx.reader(), operation.id).await?
            && row.step.as_ref() != Some(&step)
        {
            row.step = Some(step);
            tx.operation_update(row).await?;
            tx.commit().await?;
        }
        Ok(())
    }

    /// Does a step of an operation, and shows it if it takes long enough to be seen: a write for each step costs more than
    /// most steps do.
    async fn step<T>(
        &self,
        operation: &operation::Model,
        step: &str,
        work: impl Future<Output = T>,
    ) -> Result<T, AppError> {
        tokio::pin!(work);
        // Side by side: the work may be waiting for its turn to write, too.
        let shown = async {
            tokio::time::sleep(SEEN).await;
            self.progress(operation, step).await
        };
        tokio::select! {
            done = &mut work => return Ok(done),
            shown = shown => shown?,
        }
        Ok(work.await)
    }

    /// Asks the storage server of a pool. One that has not reported for long is not waited for: whoever waits keeps others from
    /// their hosts, which answer.
    async fn ask_storage<E: Endpoint>(
        &self,
        pool: &pool_row::Model,
        path: &E::Path,
        request: &E::Request,
        deadline: Duration,
    ) -> Result<Result<E::Answer, Outcome>, AppError> {
        let (peer, whom) = (storage_peer(pool)?, format!("storage server of pool {}", pool.name.0));
        let row = find::<server::Entity>(self.db.reader(), pool.storage_server_id.clone()).await?;
        let is_silent = |row: server::Model| {
            let heard_at = self.heard.latest(row).reported_at.unwrap_or_default();
            heard_at < now().0 - self.settings.silent_after.max(SELDOM).as_millis() as i64
        };
        if row.filter(|row| row.state.0 == ServerState::Disconnected).is_some_and(is_silent) {
            return Ok(Err(unanswered(peer, &whom)));
        }
        let answer = self.peers.call::<E>(peer, path, request, deadline).await;
        Ok(answer.map_err(|error| after_call(&error, &whom)))
    }

    /// Makes a failed operation's goal the goal again, before it is retried; gives the operation as it would be anew.
    pub(crate) async fn work_retried(
        &self,
        tx: &Tx,
        operation: &operation::Model,
    ) -> Result<NewOperation, AppError> {
        match operation.subject_kind.as_str() {
            "vm" => self.vm_retried(tx, operation).await,
            "template" => self.template_retried(tx, operation).await,
            "pool" => self.pool_retried(tx, operation).await,
            "volume" => self.volume_retried(tx, operation).await,
            "host" => self.host_retried(tx, operation).await,
            "router" => self.router_retried(tx, operation).await,
            "console-session" => Err(AppError::Conflict {
                code: "goal_gone",
                detail: "the session was given up; open the console again".into(),
            }),
            other => Err(AppError::Internal(format!("nobody knows how to work on a {other}"))),
        }
    }
}

/// Who serves a pool.
pub(crate) fn storage_peer(row: &pool_row::Model) -> Result<PeerId, AppError> {
    let id: Result<StorageServerId, _> = row.storage_server_id.parse();
    id.map(PeerId::StorageServer).map_err(|error| AppError::Internal(error.to_string()))
}

fn unanswered(peer: PeerId, whom: &str) -> Outcome {
    let peer = match peer {
        PeerId::Host(id) => id.to_string(),
        PeerId::StorageServer(id) => id.to_string(),
        // Nobody queues for these.
        PeerId::Management | PeerId::Router(_) | PeerId::ConsoleProxy(_) => String::new(),
    };
    Outcome::Unanswered { peer, detail: format!("{whom} does not answer") }
}

/// What a failed call means for an operation.
fn after_call(error: &CallError, whom: &str) -> Outcome {
    let Some(refusal) = error.refusal() else {
        tracing::warn!(error = error as &dyn std::error::Error, whom, "no answer");
        return unanswered(error.peer(), whom);
    };
    let detail = format!("{whom}: {}", refusal.message);
    match refusal.code {
        ErrorCode::Unavailable | ErrorCode::Internal => Outcome::again("unavailable", detail),
        ErrorCode::Exhausted => Outcome::failed("exhausted", detail),
        ErrorCode::StaleGeneration => Outcome::failed("stale_generation", detail),
        ErrorCode::GenerationConflict => Outcome::failed("generation_conflict", detail),
        _ => Outcome::failed("refused", detail),
    }
}
