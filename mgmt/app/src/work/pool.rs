//! Making, exporting and removing pools.

use std::time::Duration;

use std::sync::Arc;

use podzol_mgmt_api::pool::PoolState;
use podzol_mgmt_api::template::TemplateState;
use podzol_mgmt_db::{JsonCol, Reader, Tx, find, operation, pool, server, template};
use podzol_mgmt_operations::Outcome;
use podzol_storage_api::{PoolDelete, PoolPlan, PoolPut, PoolStatus};
use podzol_vocab::{PoolId, ZoneId};

use crate::operation::NewOperation;
use crate::pool::{must_be_empty, pool_operation};
use crate::{App, AppError};

const CALL: Duration = Duration::from_secs(60);

impl App {
    pub(super) async fn pool_attempt(&self, operation: &operation::Model) -> Result<Outcome, AppError> {
        let id: PoolId = operation.subject.parse().map_err(|_| AppError::NotFound("pool"))?;
        let Some(row) = find::<pool::Entity>(self.db.reader(), id).await? else { return Ok(Outcome::Done) };
        match (operation.kind.as_str(), row.state.0) {
            ("pool.delete", PoolState::Deleting) => self.pool_remove(row).await,
            ("pool.delete", _) => Ok(Outcome::Overtaken { detail: "the pool is to stay".into() }),
            (_, PoolState::Deleting) => Ok(Outcome::Overtaken { detail: "the pool is being deleted".into() }),
            _ => self.pool_make(operation, row).await,
        }
    }

    async fn pool_make(&self, operation: &operation::Model, row: pool::Model) -> Result<Outcome, AppError> {
        let hosts = host_addresses(self.db.reader(), row.zone_id.0).await?;
        let plan = PoolPlan { path: row.path.clone(), hosts };
        match self.ask_storage::<PoolPut>(&row, &(row.id.0,), &plan, CALL).await? {
            Ok(status) => self.pool_is_ready(operation, &row, status, plan.hosts).await,
            Err(outcome) => Ok(outcome),
        }
    }

    async fn pool_is_ready(
        &self,
        operation: &operation::Model,
        row: &pool::Model,
        status: PoolStatus,
        exported_to: Vec<String>,
    ) -> Result<Outcome, AppError> {
        let tx = self.db.begin().await?;
        let Some(mut row) = find::<pool::Entity>(tx.reader(), row.id).await? else {
            return Ok(Outcome::Done);
        };
        if row.state.0 == PoolState::Deleting {
            return Ok(Outcome::Overtaken { detail: "the pool is being deleted".into() });
        }
        let is_new = row.state.0 != PoolState::Ready;
        row.state = JsonCol(PoolState::Ready);
        row.server = Some(status.server);
        row.export = Some(status.export);
        let hosts = host_addresses(tx.reader(), row.zone_id.0).await?;
        let out_of_date = hosts != exported_to;
        row.exported_to = Arc::new(exported_to).into();
        row.capacity_bytes = status.capacity.0 as i64;
        row.used_bytes = status.used.0 as i64;
        row.error = None;
        tx.pool_update(row).await?;
        if is_new {
            for template in template::all(tx.reader()).await? {
                if template.state.0 == TemplateState::Ready {
                    self.template_import_again(&tx, &template).await?;
                }
            }
        }
        if !out_of_date {
            // It ends with this look at the hosts: who changes them from now on finds it ended, and has it done again.
            tx.operation_succeeded(operation)?;
        }
        tx.commit().await?;
        if out_of_date {
            // A host came, went or moved while the storage server was asked.
            return Ok(Outcome::Again {
                code: "hosts_changed".into(),
                detail: "the zone's hosts have changed meanwhile".into(),
                after: Some(Duration::ZERO),
            });
        }
        Ok(Outcome::Ended)
    }

    async fn pool_remove(&self, row: pool::Model) -> Result<Outcome, AppError> {
        if let Err(outcome) = self.ask_storage::<PoolDelete>(&row, &(row.id.0,), &(), CALL).await? {
            return Ok(outcome);
        }
        let tx = self.db.begin().await?;
        tx.pool_delete(row.id.0).await?;
        tx.commit().await?;
        Ok(Outcome::Done)
    }

    pub(super) async fn pool_gave_up(
        &self,
        tx: &Tx,
        operation: &operation::Model,
        detail: &str,
    ) -> Result<(), AppError> {
        let Some(id) = operation.subject.parse::<PoolId>().ok() else { return Ok(()) };
        let Some(mut row) = find::<pool::Entity>(tx.reader(), id).await? else { return Ok(()) };
        row.error = Some(detail.to_owned());
        match (operation.kind.as_str(), row.state.0) {
            ("pool.create", PoolState::Creating) => row.state = JsonCol(PoolState::Failed),
            // Refused because something is still in it: it is in use as before.
            ("pool.delete", PoolState::Deleting) => row.state = JsonCol(PoolState::Ready),
            // Whatever is being done with it meanwhile goes on.
            _ => {}
        }
        Ok(tx.pool_update(row).await?)
    }

    pub(super) async fn pool_retried(
        &self,
        tx: &Tx,
        operation: &operation::Model,
    ) -> Result<NewOperation, AppError> {
        let gone = || AppError::Conflict { code: "goal_gone", detail: "the pool is gone".into() };
        let id: PoolId = operation.subject.parse().map_err(|_| gone())?;
        let mut row = find::<pool::Entity>(tx.reader(), id).await?.ok_or_else(gone)?;
        row.error = None;
        let (kind, state) = match (operation.kind.as_str(), row.state.0) {
            ("pool.delete", _) => {
                must_be_empty(tx.reader(), id).await?;
                ("pool.delete", PoolState::Deleting)
            }
            ("pool.create", PoolState::Failed) => ("pool.create", PoolState::Creating),
            ("pool.create", _) => {
                let detail = "the pool has been made since, or is being deleted".into();
                return Err(AppError::Conflict { code: "goal_gone", detail });
            }
            (_, state) => ("pool.export", state),
        };
        row.state = JsonCol(state);
        tx.pool_update(row.clone()).await?;
        Ok(pool_operation(kind, &row))
    }
}

/// The addresses of a zone's hosts, to which its pools are exported, in their order.
pub(crate) async fn host_addresses(db: &impl Reader, zone: ZoneId) -> Result<Vec<String>, AppError> {
    let known = server::host_addresses(db, zone).await?;
    let mut addresses: Vec<String> = known.iter().map(|address| without_port(address).to_owned()).collect();
    addresses.sort();
    Ok(addresses)
}

/// The address in `address:port`.
pub(crate) fn without_port(address: &str) -> &str {
    address.rsplit_once(':').map_or(address, |(host, _)| host.trim_matches(['[', ']']))
}
