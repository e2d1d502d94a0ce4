//! Hosts and storage servers: one table, because they join, report, go silent and are removed in the same way.

use std::collections::BTreeSet;

use podzol_mgmt_api::host::ServerState;
use podzol_vocab::{HostId, Name, PodId, Sha256, StorageServerId, TrafficType, ZoneId};
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::Expr;
use sea_orm::{ActiveValue::Set, FromQueryResult, QueryFilter, QueryOrder, QuerySelect};

use crate::fetch::Fetch;
use crate::zone::PageOf;
use crate::{Col, DbError, JsonCol, Reader, Tx};

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "servers")]
pub struct Model {
    /// A [`HostId`] or a [`StorageServerId`].
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    pub is_host: bool,
    pub name: Col<Name>,
    pub pod_id: Col<PodId>,
    pub zone_id: Col<ZoneId>,
    pub state: JsonCol<ServerState>,
    /// SHA-256 of the join token's secret.
    pub token_hash: Option<Col<Sha256>>,
    pub token_expires_at: i64,
    /// SHA-256 of the one certificate that is believed.
    pub certificate: Option<Col<Sha256>>,
    /// That certificate, for whom joined and did not hear of it.
    pub certificate_pem: Option<String>,
    pub address: Option<String>,
    /// Where its tunnels to other hosts begin; none if it can have none.
    pub tunnel_address: Option<String>,
    pub agent_version: Option<String>,
    pub hypervisor: Option<String>,
    pub accelerator: Option<String>,
    pub problem: Option<String>,
    pub cpus: i64,
    pub memory_mib: i64,
    pub reported_at: Option<i64>,
    pub tags: Option<JsonCol<BTreeSet<Name>>>,
    pub created_at: i64,
    /// On which of its own networks it has a bridge for VMs.
    pub traffic: Option<JsonCol<BTreeSet<TrafficType>>>,
    /// Whether its agent guards the IPv6 addresses of VMs.
    pub has_ipv6: bool,
}

crate::no_relations!(kept);

/// The last report of each, which is large and seldom wanted: more columns of the same table.
pub mod report {
    use super::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "servers")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: String,
        /// Whole, as JSON.
        pub report: Option<String>,
    }

    crate::no_relations!();
}

impl Model {
    /// The id, of a host.
    ///
    /// # Panics
    /// When it is not a host.
    pub fn host(&self) -> HostId {
        assert!(self.is_host, "{} is not a host", self.id);
        self.id.parse().expect("only ids are written into this column")
    }

    /// The id, of a storage server.
    ///
    /// # Panics
    /// When it is not a storage server.
    pub fn storage_server(&self) -> StorageServerId {
        assert!(!self.is_host, "{} is not a storage server", self.id);
        self.id.parse().expect("only ids are written into this column")
    }

    fn kind(&self) -> &'static str {
        if self.is_host { "host" } else { "storage-server" }
    }
}

/// The host with that id.
///
/// # Errors
/// When the database cannot be read.
pub async fn host(db: &impl Reader, id: HostId) -> Result<Option<Model>, DbError> {
    Ok(crate::find::<Entity>(db, id.to_string()).await?.filter(|server| server.is_host))
}

/// The storage server with that id.
///
/// # Errors
/// When the database cannot be read.
pub async fn storage_server(db: &impl Reader, id: StorageServerId) -> Result<Option<Model>, DbError> {
    Ok(crate::find::<Entity>(db, id.to_string()).await?.filter(|server| !server.is_host))
}

/// A page of hosts or of storage servers; removed ones are left out.
///
/// # Errors
/// When the database cannot be read.
pub async fn list(
    db: &impl Reader,
    is_host: bool,
    pod: Option<PodId>,
    page: &PageOf,
) -> Result<Vec<Model>, DbError> {
    let mut query = Entity::find()
        .filter(Column::IsHost.eq(is_host))
        .filter(Column::State.ne(JsonCol(ServerState::Removed)));
    if let Some(pod) = pod {
        query = query.filter(Column::PodId.eq(Col(pod)));
    }
    Ok(page.of(query, Column::Id, Some(Column::Name)).fetch(db).await?)
}

/// All hosts that have joined and are not removed.
///
/// # Errors
/// When the database cannot be read.
pub async fn joined_hosts(db: &impl Reader) -> Result<Vec<Model>, DbError> {
    let away = [ServerState::Removed, ServerState::Joining].map(JsonCol);
    Ok(Entity::find()
        .filter(Column::IsHost.eq(true))
        .filter(Column::State.is_not_in(away))
        .order_by_asc(Column::Name)
        .all(db)
        .await?)
}

/// The API addresses of a zone's hosts, of those that have one and are not removed.
///
/// # Errors
/// When the database cannot be read.
pub async fn host_addresses(db: &impl Reader, zone: ZoneId) -> Result<Vec<String>, DbError> {
    Ok(Entity::find()
        .select_only()
        .column(Column::Address)
        .filter(Column::IsHost.eq(true))
        .filter(Column::ZoneId.eq(Col(zone)))
        .filter(Column::Address.is_not_null())
        .filter(Column::State.ne(JsonCol(ServerState::Removed)))
        .into_tuple()
        .all(db)
        .await?)
}

/// The hosts of these that are not removed.
///
/// # Errors
/// When the database cannot be read.
pub async fn hosts(db: &impl Reader, ids: impl IntoIterator<Item = HostId>) -> Result<Vec<Model>, DbError> {
    Ok(Entity::find()
        .filter(Column::IsHost.eq(true))
        .filter(Column::Id.is_in(ids.into_iter().map(|id| id.to_string())))
        .filter(Column::State.ne(JsonCol(ServerState::Removed)))
        .all(db)
        .await?)
}

/// All servers that have an address: those that have reported and are not removed.
///
/// # Errors
/// When the database cannot be read.
pub async fn with_address(db: &impl Reader) -> Result<Vec<Model>, DbError> {
    Ok(Entity::find()
        .filter(Column::Address.is_not_null())
        .filter(Column::State.ne(JsonCol(ServerState::Removed)))
        .order_by_asc(Column::Id)
        .all(db)
        .await?)
}

/// The ids of servers that count as up and whose last report that was kept came before a time, in milliseconds since
/// 1970. One in maintenance stays so: being started anew is what maintenance is for.
///
/// # Errors
/// When the database cannot be read.
pub async fn not_kept_since(db: &impl Reader, at: i64) -> Result<Vec<String>, DbError> {
    Ok(Entity::find()
        .select_only()
        .column(Column::Id)
        .filter(Column::State.eq(JsonCol(ServerState::Up)))
        .filter(Column::ReportedAt.lt(at))
        .into_tuple()
        .all(db)
        .await?)
}

/// How many hosts are in each state; removed ones are not counted.
///
/// # Errors
/// When the database cannot be read.
pub async fn count_hosts_by_state(db: &impl Reader) -> Result<Vec<(ServerState, i64)>, DbError> {
    #[derive(FromQueryResult)]
    struct Row {
        state: JsonCol<ServerState>,
        hosts: i64,
    }
    let rows = Entity::find()
        .select_only()
        .column(Column::State)
        .column_as(Column::Id.count(), "hosts")
        .filter(Column::IsHost.eq(true))
        .filter(Column::State.ne(JsonCol(ServerState::Removed)))
        .group_by(Column::State)
        .into_model::<Row>()
        .all(db)
        .await?;
    Ok(rows.into_iter().map(|row| (row.state.0, row.hosts)).collect())
}

impl Tx {
    /// Adds a host or storage server.
    ///
    /// # Errors
    /// [`DbError::Taken`] when there is one with that name.
    pub async fn server_create(&self, row: Model) -> Result<(), DbError> {
        self.changed(row.kind(), &row.id, None);
        self.draft.server(&row);
        self.insert::<Entity>(row)
    }

    /// Writes a host or storage server as it is now.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn server_update(&self, row: Model) -> Result<(), DbError> {
        self.changed(row.kind(), &row.id, None);
        self.draft.server(&row);
        self.update::<Entity>(row)
    }

    /// Keeps a server's last report, and when it came, in milliseconds since 1970. This is no change that anybody is
    /// told.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn server_reported(&self, id: &str, at: i64, report: String) -> Result<(), DbError> {
        self.writes(id);
        Entity::update_many()
            .col_expr(Column::ReportedAt, Expr::value(at))
            .col_expr(report::Column::Report, Expr::value(report))
            .filter(Column::Id.eq(id))
            .exec(self.reader())
            .await?;
        Ok(())
    }

    /// Marks a server as removed: its name is free again, its certificate and token are not believed any more.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn server_remove(&self, row: &Model) -> Result<(), DbError> {
        self.changed(row.kind(), &row.id, None);
        self.draft.server(&Model { state: JsonCol(ServerState::Removed), ..row.clone() });
        let mut removed = ActiveModel { id: Set(row.id.clone()), ..Default::default() };
        removed.state = Set(JsonCol(ServerState::Removed));
        removed.token_hash = Set(None);
        removed.certificate = Set(None);
        removed.certificate_pem = Set(None);
        Entity::update(removed).exec(self.reader()).await?;
        Ok(())
    }
}
