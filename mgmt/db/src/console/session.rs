//! Console sessions.

use std::collections::HashMap;

use podzol_vocab::{
    AccountId, ConsoleProxyId, ConsoleServerId, ConsoleSessionId, KeyId, UserId, VmId, ZoneId,
};
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::Expr;
use sea_orm::{Condition, FromQueryResult, QueryFilter, QueryOrder, QuerySelect, QueryTrait};

use super::{ConsoleSessionFilter, server};
use crate::fetch::Fetch;
use crate::zone::PageOf;
use crate::{Col, DbError, Reader, Tx};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "console_sessions")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Col<ConsoleSessionId>,
    /// Whose VM it is.
    pub account_id: Col<AccountId>,
    pub zone_id: Col<ZoneId>,
    pub vm_id: Col<VmId>,
    /// Who looks.
    pub user_id: Col<UserId>,
    /// The key that it was opened with, if that is known: it ends with it.
    pub key_id: Option<Col<KeyId>>,
    /// Where; none while there is no place for it.
    pub server_id: Option<Col<ConsoleServerId>>,
    /// What the others who look are told of who this is.
    pub viewer: String,
    pub view_only: bool,
    /// When it ends whatever happens, in milliseconds since 1970, as all times here.
    pub expires_at: i64,
    /// When a page was last seen to be open, give or take a minute.
    pub seen_at: i64,
    /// When somebody last waited for a place for it.
    pub wanted_at: Option<i64>,
    pub created_at: i64,
}

crate::no_relations!();

/// A page of sessions.
///
/// # Errors
/// When the database cannot be read.
pub async fn list(
    db: &impl Reader,
    account: Option<AccountId>,
    filter: &ConsoleSessionFilter,
    page: &PageOf,
) -> Result<Vec<Model>, DbError> {
    let which = Condition::all()
        .add_option(account.map(|account| Column::AccountId.eq(Col(account))))
        .add_option(filter.vm.map(|vm| Column::VmId.eq(Col(vm))));
    Ok(page.of(Entity::find().filter(which), Column::Id, None).fetch(db).await?)
}

/// The sessions of a VM.
///
/// # Errors
/// When the database cannot be read.
pub async fn of_vm(db: &impl Reader, vm: VmId) -> Result<Vec<Model>, DbError> {
    Ok(Entity::find().filter(Column::VmId.eq(Col(vm))).fetch(db).await?)
}

/// How many sessions a user has.
///
/// # Errors
/// When the database cannot be read.
pub async fn count_of_user(db: &impl Reader, user: UserId) -> Result<u64, DbError> {
    Ok(Entity::find().filter(Column::UserId.eq(Col(user))).count(db).await?)
}

/// How many sessions look at a VM.
///
/// # Errors
/// When the database cannot be read.
pub async fn count_of_vm(db: &impl Reader, vm: VmId) -> Result<u64, DbError> {
    Ok(Entity::find().filter(Column::VmId.eq(Col(vm))).count(db).await?)
}

/// Those of some sessions that are there.
///
/// # Errors
/// When the database cannot be read.
pub async fn by_ids(db: &impl Reader, ids: &[ConsoleSessionId]) -> Result<Vec<Model>, DbError> {
    if ids.is_empty() {
        return Ok(vec![]);
    }
    Ok(Entity::find().filter(Column::Id.is_in(ids.iter().copied().map(Col))).fetch(db).await?)
}

/// The sessions that have their places at a console proxy.
///
/// # Errors
/// When the database cannot be read.
pub async fn of_proxy(db: &impl Reader, proxy: ConsoleProxyId) -> Result<Vec<Model>, DbError> {
    let servers = server::Entity::find().select_only().column(server::Column::Id);
    let servers = servers.filter(server::Column::ProxyId.eq(Col(proxy))).into_query();
    Ok(Entity::find()
        .filter(Column::ServerId.in_subquery(servers))
        .order_by_asc(Column::Id)
        .fetch(db)
        .await?)
}

/// How many sessions have their places at each server of a zone.
///
/// # Errors
/// When the database cannot be read.
pub async fn count_by_server(
    db: &impl Reader,
    zone: ZoneId,
) -> Result<HashMap<ConsoleServerId, u32>, DbError> {
    #[derive(FromQueryResult)]
    struct Row {
        server_id: Col<ConsoleServerId>,
        sessions: i64,
    }
    let rows = Entity::find()
        .select_only()
        .column(Column::ServerId)
        .column_as(Column::Id.count(), "sessions")
        .filter(Column::ZoneId.eq(Col(zone)))
        .filter(Column::ServerId.is_not_null())
        .group_by(Column::ServerId)
        .into_model::<Row>()
        .all(db)
        .await?;
    Ok(rows.into_iter().map(|row| (row.server_id.0, row.sessions as u32)).collect())
}

/// For how many sessions of a zone somebody waited since then for a place, or another place.
///
/// # Errors
/// When the database cannot be read.
pub async fn count_waiting(db: &impl Reader, zone: ZoneId, since: i64) -> Result<u64, DbError> {
    let of_zone = Entity::find().filter(Column::ZoneId.eq(Col(zone)));
    Ok(of_zone.filter(Column::WantedAt.gt(since)).count(db).await?)
}

/// The proxies at which sessions of some VMs have their places.
///
/// # Errors
/// When the database cannot be read.
pub async fn proxies_of_vms(db: &impl Reader, vms: &[VmId]) -> Result<Vec<ConsoleProxyId>, DbError> {
    let servers = Entity::find().select_only().column(Column::ServerId);
    let servers = servers.filter(Column::VmId.is_in(vms.iter().copied().map(Col))).into_query();
    let proxies = server::Entity::find().select_only().column(server::Column::ProxyId).distinct();
    let found: Vec<Col<ConsoleProxyId>> =
        proxies.filter(server::Column::Id.in_subquery(servers)).into_tuple().all(db).await?;
    Ok(found.into_iter().map(|id| id.0).collect())
}

/// Sessions that have ended by time; at most so many.
///
/// # Errors
/// When the database cannot be read.
pub async fn expired(db: &impl Reader, now: i64, most: u64) -> Result<Vec<Model>, DbError> {
    Ok(Entity::find().filter(Column::ExpiresAt.lte(now)).limit(most).fetch(db).await?)
}

/// Sessions of which no page was noted since then.
///
/// # Errors
/// When the database cannot be read.
pub async fn unseen(db: &impl Reader, since: i64) -> Result<Vec<Model>, DbError> {
    Ok(Entity::find().filter(Column::SeenAt.lte(since)).fetch(db).await?)
}

/// All sessions, narrowed to those of users.
///
/// # Errors
/// When the database cannot be read.
pub async fn all(db: &impl Reader) -> Result<Vec<Model>, DbError> {
    Ok(Entity::find().fetch(db).await?)
}

impl Tx {
    /// Adds a session.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn console_session_create(&self, row: Model) -> Result<(), DbError> {
        self.changed("console-session", row.id.0, Some(row.account_id.0));
        self.insert::<Entity>(row)
    }

    /// Writes a session as it is now.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn console_session_update(&self, row: Model) -> Result<(), DbError> {
        self.changed("console-session", row.id.0, Some(row.account_id.0));
        self.update::<Entity>(row)
    }

    /// Writes since when somebody waits for a place for a session, if anybody does. This is no change that anybody is told.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn console_session_wanted(
        &self,
        id: ConsoleSessionId,
        seen_at: i64,
        wanted_at: Option<i64>,
    ) -> Result<(), DbError> {
        self.writes(id);
        Entity::update_many()
            .col_expr(Column::SeenAt, Expr::value(seen_at))
            .col_expr(Column::WantedAt, Expr::value(wanted_at))
            .filter(Column::Id.eq(Col(id)))
            .exec(self.reader())
            .await?;
        Ok(())
    }

    /// Writes when pages of some sessions were seen. This is no change that anybody is told.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn console_sessions_seen(&self, ids: &[ConsoleSessionId], at: i64) -> Result<(), DbError> {
        Entity::update_many()
            .col_expr(Column::SeenAt, Expr::value(at))
            .filter(Column::Id.is_in(ids.iter().copied().map(Col)))
            .exec(self.reader())
            .await?;
        Ok(())
    }

    /// Ends a session.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn console_session_delete(&self, row: &Model) -> Result<(), DbError> {
        self.changed("console-session", row.id.0, Some(row.account_id.0));
        Entity::delete_by_id(row.id).exec(self.reader()).await?;
        Ok(())
    }

    /// Ends all sessions of a VM.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn console_sessions_end_of_vm(&self, vm: VmId) -> Result<u64, DbError> {
        self.console_sessions_end(of_vm(self.reader(), vm).await?).await
    }

    /// Ends all sessions of a user.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn console_sessions_end_of_user(&self, user: UserId) -> Result<u64, DbError> {
        let own = Entity::find().filter(Column::UserId.eq(Col(user))).fetch(self.reader()).await?;
        self.console_sessions_end(own).await
    }

    /// Ends all sessions that were opened with a key.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn console_sessions_end_of_key(&self, key: KeyId) -> Result<u64, DbError> {
        let own = Entity::find().filter(Column::KeyId.eq(Col(key))).fetch(self.reader()).await?;
        self.console_sessions_end(own).await
    }

    async fn console_sessions_end(&self, rows: Vec<Model>) -> Result<u64, DbError> {
        for row in &rows {
            self.console_session_delete(row).await?;
        }
        Ok(rows.len() as u64)
    }

    /// Takes the places of all sessions at a server: each gets another when its page asks for one.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn console_sessions_displaced(&self, server: ConsoleServerId) -> Result<(), DbError> {
        for row in Entity::find().filter(Column::ServerId.eq(Col(server))).fetch(self.reader()).await? {
            self.console_session_update(Model { server_id: None, ..row }).await?;
        }
        Ok(())
    }
}
