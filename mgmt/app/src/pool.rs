//! Pools, as operators see them.

use std::sync::Arc;

use podzol_mgmt_api::host::ServerState;
use podzol_mgmt_api::pool::{Pool, PoolCreate, PoolState};
use podzol_mgmt_api::{Created, Page, PageQuery};
use podzol_mgmt_db::{JsonCol, Reader, Tx, find, now, pool, server, volume};
use podzol_vocab::{PoolId, ZoneId};

use crate::error::Meaning;
use crate::operation::NewOperation;
use crate::{Actor, App, AppError, Once, operation, view};

impl App {
    /// Creates a pool; an operation makes it on its storage server.
    ///
    /// # Errors
    /// When the caller is no admin, the name is taken, or the path is not usable.
    pub async fn pool_create(
        &self,
        actor: &Actor,
        once: Option<Once>,
        body: PoolCreate,
    ) -> Result<Created<Pool>, AppError> {
        actor.must_be_admin()?;
        let path = valid_path(&body.path)?;
        self.create(actor, once, async |tx| {
            let server = server::storage_server(tx.reader(), body.storage_server).await?;
            let server = server
                .filter(|server| server.state.0 != ServerState::Removed)
                .ok_or_else(|| AppError::invalid("storage_server", "there is no such storage server"))?;
            let row = pool::Model {
                id: PoolId::new().into(),
                name: body.name.clone().into(),
                storage_server_id: server.id.clone(),
                zone_id: server.zone_id,
                path: path.to_owned(),
                state: JsonCol(PoolState::Creating),
                server: None,
                export: None,
                exported_to: Arc::new(vec![]).into(),
                capacity_bytes: 0,
                used_bytes: 0,
                error: None,
                created_at: now().0,
            };
            tx.pool_create(row.clone()).await.or_taken(|| AppError::taken("pool", &body.name))?;
            let operation = operation::start(tx, pool_operation("pool.create", &row)).await?;
            self.record(tx, actor, "pool.create", None, "pool", row.id.0, &body.name).await?;
            Ok(Created { object: view::pool(row, 0), operation: view::operation(operation) })
        })
        .await
    }

    /// The pools.
    ///
    /// # Errors
    /// When the caller is no admin.
    pub async fn pool_list(&self, actor: &Actor, query: &PageQuery) -> Result<Page<Pool>, AppError> {
        actor.must_be_admin()?;
        let page = view::page_of(query)?;
        let rows = pool::list(self.db.reader(), &page).await?;
        let ledger = self.db.reader().ledger();
        let show = |row: pool::Model| {
            let promised = ledger.promised(row.id.0);
            view::pool(row, promised)
        };
        Ok(view::page(&page, rows.into_iter().map(show).collect(), |pool| pool.id.to_string()))
    }

    /// A pool.
    ///
    /// # Errors
    /// When the caller is no admin, or there is none.
    pub async fn pool_show(&self, actor: &Actor, id: PoolId) -> Result<Pool, AppError> {
        actor.must_be_admin()?;
        let row = find::<pool::Entity>(self.db.reader(), id).await?.ok_or(AppError::NotFound("pool"))?;
        let promised = self.db.reader().ledger().promised(id);
        Ok(view::pool(row, promised))
    }

    /// Deletes a pool without volumes; an operation removes it from its storage server.
    ///
    /// # Errors
    /// When there are volumes in it.
    pub async fn pool_delete(&self, actor: &Actor, id: PoolId) -> Result<Created<Pool>, AppError> {
        actor.must_be_admin()?;
        let tx = self.db.begin().await?;
        let mut row = find::<pool::Entity>(tx.reader(), id).await?.ok_or(AppError::NotFound("pool"))?;
        must_be_empty(tx.reader(), id).await?;
        row.state = JsonCol(PoolState::Deleting);
        tx.pool_update(row.clone()).await?;
        let operation = operation::start(&tx, pool_operation("pool.delete", &row)).await?;
        self.record(&tx, actor, "pool.delete", None, "pool", id, &row.name.0).await?;
        tx.commit().await?;
        self.wake.notify_one();
        Ok(Created { object: view::pool(row, 0), operation: view::operation(operation) })
    }

    /// Has the pools of a zone exported to its hosts as they are now. An operation that is under way looks at the hosts
    /// again before it ends, so one at a time is enough.
    pub(crate) async fn pools_export_again(&self, tx: &Tx, zone: ZoneId) -> Result<(), AppError> {
        for row in pool::exported(tx.reader(), zone).await? {
            if podzol_mgmt_db::operation::open_of(tx.reader(), &row.id.to_string()).await?.is_empty() {
                operation::start(tx, pool_operation("pool.export", &row)).await?;
            }
        }
        Ok(())
    }
}

/// Refuses what is only for a pool without volumes.
pub(crate) async fn must_be_empty(db: &impl Reader, id: PoolId) -> Result<(), AppError> {
    if volume::of_pool(db, id).await?.is_empty() {
        return Ok(());
    }
    Err(AppError::in_use("there are still volumes in this pool"))
}

/// An operation on a pool. What was asked for once may fail; exports and removals must get done.
pub(crate) fn pool_operation(kind: &'static str, row: &pool::Model) -> NewOperation {
    NewOperation {
        kind,
        account: None,
        subject_kind: "pool",
        subject: row.id.to_string(),
        queue: row.storage_server_id.clone(),
        goal: None,
        deadline: (kind == "pool.create").then_some(std::time::Duration::from_secs(300)),
    }
}

fn valid_path(path: &str) -> Result<&str, AppError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '-' | '_' | '.');
    let parts_ok = path.split('/').skip(1).all(|part| !part.is_empty() && part != "." && part != "..");
    if path.len() > 1 && path.len() <= 255 && path.starts_with('/') && parts_ok && path.chars().all(plain) {
        Ok(path)
    } else {
        let rule = "must be an absolute path of letters, digits, '-', '_' and '.', without '..' and a '/' at its end";
        Err(AppError::invalid("path", rule))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_absolute_and_plain() {
        assert!(valid_path("/srv/podzol-1.0").is_ok());
        for bad in ["", "/", "srv", "/srv/", "/srv//x", "/srv/../etc", "/srv/a b", "/srv/$(x)", "/srv\n"] {
            assert!(valid_path(bad).is_err(), "{bad}");
        }
    }
}
