//! Hosts and storage servers, as operators see them.

use std::collections::BTreeSet;

use podzol_mgmt_api::host::{
    Host, HostCreate, HostCreated, HostFilter, HostUpdate, HostUpdated, ServerState, StorageServer,
    StorageServerCreate, StorageServerCreated,
};
use podzol_mgmt_api::{Page, PageQuery, Timestamp};
use podzol_mgmt_db::{JsonCol, Reader, Taken, Tx, find, now, operation, pool, server, vm, zone};
use podzol_rpc::PeerId;
use podzol_rpc::join::JoinToken;
use podzol_vocab::{HostId, Name, PodId, Secret, StorageServerId};

use crate::error::Meaning;
use crate::join::token_hash;
use crate::once::{Once, Secretive};
use crate::operation::NewOperation;
use crate::{Actor, App, AppError, view};

impl Secretive for HostCreated {
    fn forget_secret(&mut self) {
        self.join_token = Secret::new(String::new());
    }
}

impl Secretive for StorageServerCreated {
    fn forget_secret(&mut self) {
        self.join_token = Secret::new(String::new());
    }
}

/// Who a server is to other parts.
pub(crate) fn peer_of(row: &server::Model) -> PeerId {
    if row.is_host { PeerId::Host(row.host()) } else { PeerId::StorageServer(row.storage_server()) }
}

/// The row of the server that a peer is, removed ones included.
pub(crate) async fn row_of(db: &impl Reader, peer: PeerId) -> Result<Option<server::Model>, AppError> {
    Ok(match peer {
        PeerId::Management | PeerId::Router(_) | PeerId::ConsoleProxy(_) => None,
        PeerId::Host(id) => server::host(db, id).await?,
        PeerId::StorageServer(id) => server::storage_server(db, id).await?,
    })
}

/// The rules of tags.
pub(crate) fn check_tags(field: &'static str, tags: Option<&BTreeSet<Name>>) -> Result<(), AppError> {
    match tags {
        Some(tags) if tags.len() > 32 => Err(AppError::invalid(field, "must be at most 32 tags")),
        _ => Ok(()),
    }
}

/// How long a host may take to become empty. Where its VMs fit nowhere else, an operator has this long to make room.
const DRAIN: std::time::Duration = std::time::Duration::from_secs(24 * 3600);

/// An operation that moves all of so many VMs away from a host.
pub(crate) fn drain_operation(id: HostId, vms: usize) -> NewOperation {
    NewOperation {
        kind: "host.drain",
        account: None,
        subject_kind: "host",
        subject: id.to_string(),
        goal: Some(vms as i64),
        queue: String::new(),
        deadline: Some(DRAIN),
    }
}

impl App {
    /// Creates a host and the token with which it joins.
    ///
    /// # Errors
    /// When the caller is no admin, the name is taken, or there is no such pod.
    pub async fn host_create(
        &self,
        actor: &Actor,
        once: Option<Once>,
        body: HostCreate,
    ) -> Result<HostCreated, AppError> {
        actor.must_be_admin()?;
        self.create(actor, once, async |tx| {
            let peer = PeerId::Host(HostId::new());
            let (row, join_token) = self.new_server(tx, peer, body.name.clone(), body.pod).await?;
            self.record(tx, actor, "host.create", None, "host", &row.id, &body.name).await?;
            let token_expires_at = Timestamp(row.token_expires_at);
            Ok(HostCreated { host: view::host(row, Taken::default()), join_token, token_expires_at })
        })
        .await
    }

    /// The hosts.
    ///
    /// # Errors
    /// When the caller is no admin.
    pub async fn host_list(
        &self,
        actor: &Actor,
        filter: &HostFilter,
        query: &PageQuery,
    ) -> Result<Page<Host>, AppError> {
        actor.must_be_admin()?;
        let page = view::page_of(query)?;
        let rows = server::list(self.db.reader(), true, filter.pod, &page).await?;
        let ledger = self.db.reader().ledger();
        let show = |row: server::Model| {
            let taken = ledger.taken(row.host());
            view::host(self.heard.latest(row), taken)
        };
        Ok(view::page(&page, rows.into_iter().map(show).collect(), |host| host.id.to_string()))
    }

    /// A host with its last report.
    ///
    /// # Errors
    /// When the caller is no admin, or there is none.
    pub async fn host_show(&self, actor: &Actor, id: HostId) -> Result<Host, AppError> {
        actor.must_be_admin()?;
        let mut host = self.host_summary(id).await?;
        let id = id.to_string();
        let report = match self.heard.report(&id) {
            Some(report) => Some(report),
            None => find::<server::report::Entity>(self.db.reader(), id).await?.and_then(|row| row.report),
        };
        host.report = report.and_then(|report| serde_json::from_str(&report).ok());
        Ok(host)
    }

    /// A host without its report.
    pub(crate) async fn host_summary(&self, id: HostId) -> Result<Host, AppError> {
        let row = self.server_row(PeerId::Host(id)).await?;
        let taken = self.db.reader().ledger().taken(id);
        Ok(view::host(self.heard.latest(row), taken))
    }

    /// Keeps new VMs away from a host and moves those on it to others, or lets VMs come again; changes its tags.
    ///
    /// # Errors
    /// When the host is neither up nor in maintenance.
    pub async fn host_update(
        &self,
        actor: &Actor,
        id: HostId,
        body: HostUpdate,
    ) -> Result<HostUpdated, AppError> {
        actor.must_be_admin()?;
        let tx = self.db.begin().await?;
        let row = server::host(tx.reader(), id).await?.filter(|row| row.state.0 != ServerState::Removed);
        let mut row = row.ok_or(AppError::NotFound("host"))?;
        check_tags("tags", body.tags.as_ref())?;
        if let Some(tags) = body.tags {
            row.tags = Some(tags.into());
            self.record(&tx, actor, "host.tags", None, "host", id, &row.name.0.clone()).await?;
        }
        let Some(maintenance) = body.maintenance else {
            tx.server_update(row).await?;
            tx.commit().await?;
            return Ok(HostUpdated { object: self.host_summary(id).await?, operation: None });
        };
        let wanted = if maintenance { ServerState::Maintenance } else { ServerState::Up };
        if !matches!(row.state.0, ServerState::Up | ServerState::Maintenance) {
            let detail = format!("host {} is not up", row.name.0);
            return Err(AppError::Conflict { code: "host_not_up", detail });
        }
        row.state = JsonCol(wanted);
        let action = if maintenance { "host.maintenance_on" } else { "host.maintenance_off" };
        self.record(&tx, actor, action, None, "host", id, &row.name.0.clone()).await?;
        tx.server_update(row).await?;
        let operation = if maintenance { self.drain(&tx, id).await? } else { None };
        tx.commit().await?;
        self.wake.notify_one();
        Ok(HostUpdated { object: self.host_summary(id).await?, operation: operation.map(view::operation) })
    }

    /// The operation that moves all VMs away from a host; nothing if there are none.
    async fn drain(&self, tx: &Tx, id: HostId) -> Result<Option<operation::Model>, AppError> {
        let open = operation::open_of(tx.reader(), &id.to_string()).await?;
        if let Some(under_way) = open.into_iter().find(|open| open.kind == "host.drain") {
            return Ok(Some(under_way));
        }
        let vms = vm::of_host(tx.reader(), id).await?.len();
        if vms == 0 {
            return Ok(None);
        }
        crate::operation::start(tx, drain_operation(id, vms)).await.map(Some)
    }

    /// Removes a host without VMs: its certificate is refused from now on.
    ///
    /// # Errors
    /// When VMs are placed on it.
    pub async fn host_delete(&self, actor: &Actor, id: HostId) -> Result<(), AppError> {
        actor.must_be_admin()?;
        let row = self.server_row(PeerId::Host(id)).await?;
        let tx = self.db.begin().await?;
        if !vm::of_host(tx.reader(), id).await?.is_empty() {
            return Err(AppError::in_use("VMs are still placed on this host"));
        }
        tx.server_remove(&row).await?;
        self.heard.forget(&row.id);
        // It must not reach the customers' disks any more.
        self.pools_export_again(&tx, row.zone_id.0).await?;
        self.record(&tx, actor, "host.delete", None, "host", id, &row.name.0).await?;
        tx.commit().await?;
        self.wake.notify_one();
        Ok(())
    }

    /// Creates a storage server and the token with which it joins.
    ///
    /// # Errors
    /// When the caller is no admin, the name is taken, or there is no such pod.
    pub async fn storage_server_create(
        &self,
        actor: &Actor,
        once: Option<Once>,
        body: StorageServerCreate,
    ) -> Result<StorageServerCreated, AppError> {
        actor.must_be_admin()?;
        self.create(actor, once, async |tx| {
            let peer = PeerId::StorageServer(StorageServerId::new());
            let (row, join_token) = self.new_server(tx, peer, body.name.clone(), body.pod).await?;
            self.record(tx, actor, "storage-server.create", None, "storage-server", &row.id, &body.name)
                .await?;
            let token_expires_at = Timestamp(row.token_expires_at);
            Ok(StorageServerCreated {
                storage_server: view::storage_server(row),
                join_token,
                token_expires_at,
            })
        })
        .await
    }

    /// The storage servers.
    ///
    /// # Errors
    /// When the caller is no admin.
    pub async fn storage_server_list(
        &self,
        actor: &Actor,
        query: &PageQuery,
    ) -> Result<Page<StorageServer>, AppError> {
        actor.must_be_admin()?;
        let page = view::page_of(query)?;
        let rows = server::list(self.db.reader(), false, None, &page).await?;
        let items = rows.into_iter().map(|row| view::storage_server(self.heard.latest(row))).collect();
        Ok(view::page(&page, items, |server| server.id.to_string()))
    }

    /// A storage server.
    ///
    /// # Errors
    /// When the caller is no admin, or there is none.
    pub async fn storage_server_show(
        &self,
        actor: &Actor,
        id: StorageServerId,
    ) -> Result<StorageServer, AppError> {
        actor.must_be_admin()?;
        let row = self.server_row(PeerId::StorageServer(id)).await?;
        Ok(view::storage_server(self.heard.latest(row)))
    }

    /// Removes a storage server without pools: its certificate is refused from now on.
    ///
    /// # Errors
    /// When it has pools.
    pub async fn storage_server_delete(&self, actor: &Actor, id: StorageServerId) -> Result<(), AppError> {
        actor.must_be_admin()?;
        let row = self.server_row(PeerId::StorageServer(id)).await?;
        let tx = self.db.begin().await?;
        if !pool::of_server(tx.reader(), &row.id).await?.is_empty() {
            return Err(AppError::in_use("this storage server still has pools"));
        }
        tx.server_remove(&row).await?;
        self.heard.forget(&row.id);
        self.record(&tx, actor, "storage-server.delete", None, "storage-server", id, &row.name.0).await?;
        Ok(tx.commit().await?)
    }

    /// The row of a server that is not removed.
    pub(crate) async fn server_row(&self, peer: PeerId) -> Result<server::Model, AppError> {
        let kind = if matches!(peer, PeerId::Host(_)) { "host" } else { "storage-server" };
        let row = row_of(self.db.reader(), peer).await?;
        row.filter(|row| row.state.0 != ServerState::Removed).ok_or(AppError::NotFound(kind))
    }

    async fn new_server(
        &self,
        tx: &Tx,
        peer: PeerId,
        name: Name,
        pod: PodId,
    ) -> Result<(server::Model, Secret<String>), AppError> {
        let pod = find::<zone::pod::Entity>(tx.reader(), pod).await?;
        let pod = pod.ok_or_else(|| AppError::invalid("pod", "there is no such pod"))?;
        let secret: [u8; 32] = rand::random();
        let id = match peer {
            PeerId::Host(id) => id.to_string(),
            PeerId::StorageServer(id) => id.to_string(),
            PeerId::Management | PeerId::Router(_) | PeerId::ConsoleProxy(_) => {
                return Err(AppError::Internal(format!("{peer} does not join")));
            }
        };
        let row = server::Model {
            id,
            is_host: matches!(peer, PeerId::Host(_)),
            name: name.clone().into(),
            pod_id: pod.id,
            zone_id: pod.zone_id,
            state: JsonCol(ServerState::Joining),
            token_hash: Some(token_hash(&secret).into()),
            token_expires_at: now().0 + self.settings.token_lifetime.as_millis() as i64,
            certificate: None,
            certificate_pem: None,
            address: None,
            tunnel_address: None,
            agent_version: None,
            hypervisor: None,
            accelerator: None,
            problem: None,
            cpus: 0,
            memory_mib: 0,
            reported_at: None,
            tags: None,
            created_at: now().0,
            traffic: None,
            has_ipv6: false,
        };
        tx.server_create(row.clone()).await.or_taken(|| AppError::taken("server", &name))?;
        let token = JoinToken { peer, secret: Secret::new(secret), authority: self.authority.fingerprint() };
        Ok((row, token.reveal()))
    }
}
