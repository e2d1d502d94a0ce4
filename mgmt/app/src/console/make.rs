//! Making console proxies, and having them go.

use std::collections::BTreeSet;

use podzol_mgmt_api::offering::Size;
use podzol_mgmt_api::template::TemplateRole;
use podzol_mgmt_api::vm::{Attachment, VmState};
use podzol_mgmt_db::console::{self, server};
use podzol_mgmt_db::event::NewEvent;
use podzol_mgmt_db::{JsonCol, Reader, Tx, find, now, offering, public_ip, template, vm};
use podzol_vocab::{ConsoleProxyId, ConsoleServerId, HostId, OfferingId, VmId, ZoneId};

use crate::system::{Ground, NewSystemVm, PUBLIC_SLOT, nic, parsed};
use crate::{App, AppError, ConsoleSettings};

/// The offering that console proxies are of. Where an operator has made none of that name, this is it: 500 sessions have a GiB.
const OFFERING: &str = "console-proxy";
const SIZE: Size =
    Size { vcpus: 1, memory_mib: 512, disk_gib: 1, cpu_share: 200, network_mbps: None, iops: None };

impl App {
    /// Makes a console proxy with one server in a zone, and starts it.
    ///
    /// # Errors
    /// When there is no template of them, no address or no room.
    pub(super) async fn console_proxy_make(
        &self,
        tx: &Tx,
        zone: ZoneId,
        settings: &ConsoleSettings,
    ) -> Result<console::Model, AppError> {
        let template = newest_template(tx.reader()).await?.ok_or_else(no_template)?;
        let ground = Ground::of(tx.reader(), zone).await?;
        let address = self.allocate_public_ip(tx, ground.system, &ground.zone, false).await?;
        let id = VmId::new();
        let nics = vec![
            ground.management_nic(tx.reader(), id)?,
            nic(id, PUBLIC_SLOT, ground.public_id, address.address.0, Attachment::Attached),
        ];
        let offering = offering_of_proxies(tx).await?;
        let role = TemplateRole::ConsoleProxy;
        // A host that fails takes as few of them along as may be.
        let away_from = hosts_of_proxies(tx.reader(), zone).await?;
        let new = |away_from| NewSystemVm {
            id,
            role,
            template: &template,
            offering: offering.clone(),
            nics: nics.clone(),
            tunnels: false,
            away_from,
        };
        let vm = match self.system_vm(tx, &ground, new(away_from.clone())).await {
            Err(AppError::Exhausted { .. }) if !away_from.is_empty() => {
                self.system_vm(tx, &ground, new(BTreeSet::new())).await?
            }
            made => made?,
        };
        let row = console::Model {
            id: ConsoleProxyId::new().into(),
            zone_id: zone.into(),
            vm_id: vm.id,
            public_ip_id: address.id,
            draining_since: None,
            is_retired: false,
            error: None,
            created_at: now().0,
        };
        tx.console_proxy_create(row.clone()).await?;
        self.console_server_make(tx, &row, settings).await?;
        console_event(tx, &row, "console-proxy.create", "sessions need it, or the reserve").await?;
        Ok(row)
    }

    /// Gives a console proxy one more server.
    pub(super) async fn console_server_make(
        &self,
        tx: &Tx,
        row: &console::Model,
        settings: &ConsoleSettings,
    ) -> Result<(), AppError> {
        let servers = console::servers(tx.reader(), &[row.id]).await?;
        let taken: Vec<i64> = servers.iter().map(|server| server.port).collect();
        let port = settings.free_port(&taken).ok_or_else(|| AppError::Internal("no port left".into()))?;
        tx.console_server_create(server::Model {
            id: ConsoleServerId::new().into(),
            proxy_id: row.id,
            port: port.into(),
            max_sessions: settings.sessions_per_server.into(),
            opened_at: None,
            draining_since: None,
            created_at: now().0,
        })
        .await?;
        Ok(())
    }

    /// Has a console proxy go. Its sessions lose their places at once.
    pub(super) async fn console_proxy_goes(
        &self,
        tx: &Tx,
        row: console::Model,
        action: &'static str,
        why: &str,
    ) -> Result<(), AppError> {
        for server in console::servers(tx.reader(), &[row.id]).await? {
            tx.console_sessions_displaced(server.id.0).await?;
        }
        console_event(tx, &row, action, why).await?;
        let draining_since = row.draining_since.or(Some(now().0));
        let vm = row.vm_id.0;
        let error = (action != REMOVED).then(|| why.to_owned());
        tx.console_proxy_update(console::Model { draining_since, is_retired: true, error, ..row }).await?;
        self.system_vm_goes(tx, vm).await
    }

    /// The VM of a console proxy has ended. It has lost its pages and has nothing else to be started again for, so it goes: whoever
    /// needs a place gets one at another.
    pub(crate) async fn console_proxy_ended(&self, tx: &Tx, mut vm: vm::Model) -> Result<(), AppError> {
        let Some(row) = console::of_vm(tx.reader(), vm.id.0).await? else {
            return self.system_vm_goes(tx, vm.id.0).await;
        };
        let why = "it has ended";
        let servers = console::servers(tx.reader(), &[row.id]).await?;
        if self.settings.console.is_some() && servers.iter().all(|server| server.opened_at.is_none()) {
            // The scan counts it among the starts that have failed, and has it go.
            (vm.state, vm.error) = (JsonCol(VmState::Failed), Some(why.into()));
            return Ok(tx.vm_update(vm).await?);
        }
        self.console_proxy_goes(tx, row, "console-proxy.dead", why).await
    }

    /// Removes the row of a console proxy whose VM is gone, and its address.
    pub(crate) async fn console_proxy_gone(&self, tx: &Tx, vm: VmId) -> Result<(), AppError> {
        let Some(row) = console::of_vm(tx.reader(), vm).await? else { return Ok(()) };
        tx.console_proxy_delete(&row).await?;
        if let Some(address) = find::<public_ip::Entity>(tx.reader(), row.public_ip_id).await? {
            tx.public_ip_delete(&address).await?;
        }
        Ok(())
    }

    /// Refuses a session for which no console proxy could ever be made.
    pub(super) async fn must_be_able_to_grow(&self, db: &impl Reader, zone: ZoneId) -> Result<(), AppError> {
        if !console::of_zone(db, zone).await?.is_empty() {
            return Ok(());
        }
        newest_template(db).await?.ok_or_else(no_template)?;
        Ground::of(db, zone).await.map(drop)
    }
}

/// The action of a console proxy that goes because nobody needs it.
pub(super) const REMOVED: &str = "console-proxy.remove";

pub(super) async fn newest_template(db: &impl Reader) -> Result<Option<template::Model>, AppError> {
    Ok(template::ready_of(db, TemplateRole::ConsoleProxy).await?.into_iter().next())
}

fn no_template() -> AppError {
    AppError::Exhausted {
        code: "no_console_proxy_template",
        detail: "consoles take a console proxy, and there is no template of these that is ready; an operator imports \
                 console-proxy"
            .into(),
        reasons: vec![],
    }
}

/// The hosts that a zone's console proxies are on.
async fn hosts_of_proxies(db: &impl Reader, zone: ZoneId) -> Result<BTreeSet<HostId>, AppError> {
    let proxies = console::of_zone(db, zone).await?;
    let vms = vm::by_ids(db, proxies.iter().map(|row| row.vm_id.0)).await?;
    let hosts = vms.iter().flat_map(|vm| [vm.host_id, vm.moving_to]).flatten();
    Ok(hosts.map(|host| host.0).collect())
}

/// The offering of console proxies, made if there is none.
async fn offering_of_proxies(tx: &Tx) -> Result<offering::Model, AppError> {
    if let Some(row) = offering::named(tx.reader(), OFFERING).await? {
        return Ok(row);
    }
    let row = offering::Model {
        id: OfferingId::new().into(),
        name: parsed(OFFERING)?.into(),
        size: SIZE.into(),
        tags: None,
        created_at: now().0,
    };
    tx.offering_create(row.clone()).await?;
    Ok(row)
}

pub(super) async fn console_event(
    tx: &Tx,
    row: &console::Model,
    action: &'static str,
    detail: &str,
) -> Result<(), AppError> {
    let event = NewEvent::of_management(action, None, "console-proxy", row.id, detail);
    Ok(tx.event_create(event).await?)
}

/// The VM that a console proxy is.
pub(super) async fn vm_of(db: &impl Reader, row: &console::Model) -> Result<vm::Model, AppError> {
    let found = find::<vm::Entity>(db, row.vm_id).await?;
    found.ok_or_else(|| AppError::Internal("a console proxy without its VM".into()))
}
