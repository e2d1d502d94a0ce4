//! Routers: the VMs that connect an account's networks in a zone with the outside.
//!
//! ```text
//!   a VM needs it -> made with that VM, started before it -> told all -> told what changes
//!   no VM needs it for a while -> removed, with its addresses
//!   it does not answer, and its host is silent or cannot help -> another VM takes its place
//! ```
//! A router is a VM like any other, on a host with bridges on the management and public networks. It has no disk to lose: what
//! it should do is a function of the database ([`document`]), told whole at its start and by what differs from then on
//! ([`tell`]).
//!
//! # Design notes
//! Silence is no proof of death, and a VM with a disk is never started twice. A router has none, so one that neither answers
//! itself nor has a host that reports gets another VM in its place. Should its host come back, two may be there for as long as
//! it takes that host to end the old one, which is the first thing that it is told. Refused: to wait for an operator, as all VMs
//! of the account would be without names, leases and the outside meanwhile.

mod balancers;
mod check;
mod diagnosis;
mod differences;
pub(crate) mod document;
pub(crate) mod held;
pub(crate) mod hung;
mod kind;
pub(crate) mod known;
mod leave;
mod make;
pub(crate) mod measure;
mod passwords;
pub(crate) mod room;
mod shown;
mod tell;
mod traffic;
pub(crate) mod watch;

use podzol_appliance_api::LogsGet;
use podzol_mgmt_api::account::AccountFilter;
use podzol_mgmt_api::router::{Router, RouterLogs};
use podzol_mgmt_api::vm::VmState;
use podzol_mgmt_api::{Created, Page, PageQuery};
use podzol_mgmt_db::vm::Desired;
use podzol_mgmt_db::{Reader, Tx, find, now, operation as operation_row, router, vm};
use podzol_rpc::PeerId;
use podzol_vocab::{AccountId, RouterId, ZoneId};

use crate::operation::{NewOperation, start};
use crate::{Actor, App, AppError, view};

pub(crate) use balancers::why_no_http;
pub(crate) use make::{MAX_NETWORKS, in_network};
pub(crate) use tell::{ASK, TellError, failed, patience};

/// How long a router may take to be started anew, or replaced.
const CHANGE: std::time::Duration = std::time::Duration::from_secs(900);

/// The operation that tells an account's router in a zone what has changed: none waits for one elsewhere.
pub(crate) fn apply_operation(account: AccountId, zone: ZoneId) -> NewOperation {
    let subject = format!("{account}/{zone}");
    NewOperation {
        kind: "router.apply",
        account: Some(account),
        subject_kind: "router",
        queue: subject.clone(),
        subject,
        goal: None,
        deadline: None,
    }
}

fn change_operation(kind: &'static str, row: &router::Model) -> NewOperation {
    NewOperation {
        kind,
        account: Some(row.account_id.0),
        subject_kind: "router",
        subject: row.id.to_string(),
        goal: None,
        queue: row.id.to_string(),
        deadline: Some(CHANGE),
    }
}

impl App {
    /// The operation that tells an account's router in a zone of what is written in this transaction: one that nobody works on
    /// yet, or a new one. It ends when what was written is in force, or at once if there is no router.
    pub(crate) async fn router_told(
        &self,
        tx: &Tx,
        account: AccountId,
        zone: ZoneId,
    ) -> Result<operation_row::Model, AppError> {
        let new = apply_operation(account, zone);
        let open = operation_row::open_of(tx.reader(), &new.subject).await?;
        match open.into_iter().find(|open| open.kind == new.kind && open.lease_owner.is_none()) {
            // It may be waiting long, as the router was not reached for a while.
            Some(waiting) if waiting.due_at > now().0 => {
                let row = operation_row::Model { due_at: now().0, ..waiting };
                tx.operation_update(row.clone()).await?;
                Ok(row)
            }
            Some(waiting) => Ok(waiting),
            None => start(tx, new).await,
        }
    }

    /// The routers that the caller may see.
    ///
    /// # Errors
    /// When the query is not valid.
    pub async fn router_list(
        &self,
        actor: &Actor,
        filter: &AccountFilter,
        query: &PageQuery,
    ) -> Result<Page<Router>, AppError> {
        let page = view::page_of(query)?;
        for _ in 0..view::READS {
            let rows = router::list(self.db.reader(), actor.scope(filter.account), &page).await?;
            match self.router_views(self.db.reader(), rows, actor).await {
                Ok(items) => return Ok(view::page(&page, items, |router| router.id.to_string())),
                // One has gone since they were read.
                Err(AppError::NotFound(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Err(AppError::Internal("routers without VMs".into()))
    }

    /// A router.
    ///
    /// # Errors
    /// [`AppError::NotFound`] when there is none that the caller may see.
    pub async fn router_show(&self, actor: &Actor, id: RouterId) -> Result<Router, AppError> {
        let row = router_row(self.db.reader(), actor, id).await?;
        self.router_view(self.db.reader(), row, actor).await
    }

    /// Ends a router's VM and starts it again. Connections through it are lost.
    ///
    /// # Errors
    /// When it is being replaced or removed.
    pub async fn router_restart(&self, actor: &Actor, id: RouterId) -> Result<Created<Router>, AppError> {
        self.router_change(actor, id, "router.restart", async |tx, row| {
            self.router_to_restart(tx, &row).await
        })
        .await
    }

    /// Has a new VM, of the newest template, take a router's place. Connections through it are lost.
    ///
    /// # Errors
    /// When the caller is no admin, it is being replaced or removed, or no host fits.
    pub async fn router_replace(&self, actor: &Actor, id: RouterId) -> Result<Created<Router>, AppError> {
        actor.must_be_admin()?;
        self.router_change(actor, id, "router.replace", async |tx, row| self.router_to_replace(tx, row).await)
            .await
    }

    /// The last lines of a router's log.
    ///
    /// # Errors
    /// When the caller is no admin, or it does not answer.
    pub async fn router_logs(&self, actor: &Actor, id: RouterId) -> Result<RouterLogs, AppError> {
        actor.must_be_admin()?;
        let row = router_row(self.db.reader(), actor, id).await?;
        let peer = PeerId::Router(row.vm_id.0);
        let logs = self.peers.call::<LogsGet>(peer, &(), &(), tell::ASK).await.map_err(|error| {
            tracing::warn!(error = &error as &dyn std::error::Error, router = %id, "cannot get a router's log");
            AppError::Unavailable("the router does not answer now".into())
        })?;
        Ok(RouterLogs {
            lines: logs.lines.into_iter().map(|line| line.text).collect(),
            dropped: logs.dropped,
        })
    }

    async fn router_change(
        &self,
        actor: &Actor,
        id: RouterId,
        action: &'static str,
        change: impl AsyncFnOnce(&Tx, router::Model) -> Result<NewOperation, AppError>,
    ) -> Result<Created<Router>, AppError> {
        let tx = self.db.begin().await?;
        let row = router_row(tx.reader(), actor, id).await?;
        let account = row.account_id.0;
        let operation = start(&tx, change(&tx, row).await?).await?;
        self.record(&tx, actor, action, Some(account), "router", id, "").await?;
        let row = router_row(tx.reader(), actor, id).await?;
        let object = self.router_view(tx.reader(), row, actor).await?;
        tx.commit().await?;
        self.wake.notify_one();
        Ok(Created { object, operation: view::operation(operation) })
    }

    /// Has a router's VM end, to be started again; gives the operation that does that.
    pub(crate) async fn router_to_restart(
        &self,
        tx: &Tx,
        row: &router::Model,
    ) -> Result<NewOperation, AppError> {
        let mut vm = self.to_be_changed(tx, row).await?;
        self.router_stops(tx, &mut vm).await?;
        Ok(change_operation("router.restart", row))
    }

    /// Makes a VM that is to take a router's place; gives the operation that has it do so.
    pub(crate) async fn router_to_replace(
        &self,
        tx: &Tx,
        mut row: router::Model,
    ) -> Result<NewOperation, AppError> {
        self.to_be_changed(tx, &row).await?;
        row.next_vm_id = Some(self.router_next(tx, &row).await?.id);
        row.error = None;
        tx.router_update(row.clone()).await?;
        Ok(change_operation("router.replace", &row))
    }

    /// The VM of a router with which nothing else is being done.
    async fn to_be_changed(&self, tx: &Tx, row: &router::Model) -> Result<vm::Model, AppError> {
        let conflict = |detail: &str| AppError::Conflict { code: "router_busy", detail: detail.into() };
        if row.next_vm_id.is_some() || self.is_being_changed(tx.reader(), row).await? {
            return Err(conflict("the router is being restarted or replaced"));
        }
        let vm = find::<vm::Entity>(tx.reader(), row.vm_id).await?.ok_or(AppError::NotFound("router"))?;
        match vm.state.0 {
            _ if vm.desired.0 == Desired::Deleted => Err(conflict("the router is being removed")),
            VmState::Migrating => Err(conflict("the router is moving to another host")),
            _ => Ok(vm),
        }
    }
}

/// The row of a router that the caller may see.
async fn router_row(db: &impl Reader, actor: &Actor, id: RouterId) -> Result<router::Model, AppError> {
    let row = find::<router::Entity>(db, id).await?;
    row.filter(|row| actor.sees(row.account_id.0)).ok_or(AppError::NotFound("router"))
}
