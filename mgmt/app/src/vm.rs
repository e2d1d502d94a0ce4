//! VMs, as customers see them.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use podzol_agent_api::vm::VmConsoleLog;
use podzol_mgmt_api::capacity::Placement;
use podzol_mgmt_api::limits::InUse;
use podzol_mgmt_api::template::TemplateState;
use podzol_mgmt_api::vm::{
    Attachment, ConsoleLog, ConsoleLogQuery, NicCreate, NicUpdate, Vm, VmCreate, VmDelete, VmFilter,
    VmMigrate, VmResize, VmState, VmStop,
};
use podzol_mgmt_api::volume::VolumeState;
use podzol_mgmt_api::{Created, Page, PageQuery};
use podzol_mgmt_db::vm::Desired;
use podzol_mgmt_db::{
    JsonCol, Reader, Tx, account, affinity, find, network, now, offering, pool, template, vm, volume,
};
use podzol_rpc::PeerId;
use podzol_vocab::{AccountId, ByteSize, HostId, MacAddr, NicId, VmId, VolumeId};

use crate::error::Meaning;
use crate::operation::NewOperation;
use crate::place::Wanted;
use crate::volume::coming;
use crate::{Actor, App, AppError, Once, capacity, limits, operation, quota, view};

/// The most disks of a VM, as its host takes them.
pub(crate) const MAX_DISKS: usize = 24;

/// The most network interfaces of a VM.
const MAX_NICS: usize = 8;

/// How long a VM may take to move to another host. One of a TiB on a busy link of 10 Gbit/s takes an hour or two.
const MOVE: std::time::Duration = std::time::Duration::from_secs(6 * 3600);

/// What a new VM is made of.
struct Prepared {
    offering: offering::Model,
    template: template::Model,
    networks: Vec<network::Model>,
    pool: pool::Model,
    size_bytes: i64,
}

impl Prepared {
    fn wanted(&self, body: &VmCreate) -> Wanted<'_> {
        Wanted {
            zone: self.networks[0].zone_id.0,
            size: &self.offering.size,
            pools: std::slice::from_ref(&self.pool),
            offering: self.offering.id.0,
            group: body.affinity_group,
            vm: None,
        }
    }
}

impl App {
    /// Creates a VM and starts it: host, addresses, and volume are allocated here, or nothing is.
    ///
    /// # Errors
    /// When a field breaks a rule, or something is used up.
    pub async fn vm_create(
        &self,
        actor: &Actor,
        once: Option<Once>,
        body: VmCreate,
    ) -> Result<Created<Vm>, AppError> {
        let account = actor.account_for(body.account)?;
        check_texts(&body)?;
        self.create(actor, once, async |tx| {
            let (row, nics, volume) = self.allocate(tx, actor, account, &body).await?;
            tx.vm_create(row.clone(), nics).await.or_taken(|| AppError::taken("VM", &body.name))?;
            tx.volume_create(volume).await?;
            let operation = operation::start(tx, self.vm_operation("vm.start", &row)).await?;
            self.record(tx, actor, "vm.create", Some(account), "vm", row.id.0, &body.name).await?;
            created(tx.reader(), row, operation, actor).await
        })
        .await
    }

    /// Where a VM would go if it were created now.
    ///
    /// # Errors
    /// When a field breaks a rule, or something but room on hosts is used up.
    pub async fn vm_create_explain(&self, actor: &Actor, body: VmCreate) -> Result<Placement, AppError> {
        let account = actor.account_for(body.account)?;
        check_texts(&body)?;
        let db = self.db.reader();
        let prepared = self.prepare(db, actor, account, &body).await?;
        let choice = self.choice(db, &prepared.wanted(&body)).await?;
        Ok(capacity::explain(&choice, Some(prepared.pool.id.0), actor))
    }

    /// Where a VM would go if it were started or moved now.
    ///
    /// # Errors
    /// [`AppError::NotFound`] when there is none that the caller may see.
    pub async fn vm_explain(&self, actor: &Actor, id: VmId) -> Result<Placement, AppError> {
        let db = self.db.reader();
        let row = self.vm_row(db, actor, id).await?;
        let choice = match row.host_id {
            Some(_) => self.choice_elsewhere(db, &row, None).await?,
            None => self.choice_again(db, &row).await?,
        };
        Ok(capacity::explain(&choice, None, actor))
    }

    /// Checks what a new VM is to be made of, and chooses the pool of its root volume.
    async fn prepare(
        &self,
        db: &impl Reader,
        actor: &Actor,
        account: AccountId,
        body: &VmCreate,
    ) -> Result<Prepared, AppError> {
        let owner = find::<account::Entity>(db, account).await?.ok_or(AppError::NotFound("account"))?;
        let offering = find::<offering::Entity>(db, body.offering).await?;
        let offering = offering.ok_or_else(|| AppError::invalid("offering", "there is no such offering"))?;
        let template = find::<template::Entity>(db, body.template).await?;
        let template = template.ok_or_else(|| AppError::invalid("template", "there is no such template"))?;
        if template.state.0 != TemplateState::Ready {
            let detail = format!("template {} is not ready yet", template.name.0);
            return Err(AppError::Conflict { code: "template_not_ready", detail });
        }
        if let Some(group) = body.affinity_group {
            let found = find::<affinity::Entity>(db, group).await?;
            found.filter(|group| group.account_id.0 == account).ok_or_else(|| {
                AppError::invalid("affinity_group", "there is no such group in the account")
            })?;
        }
        let networks = networks_of(db, actor, account, body).await?;
        let virtual_size = template.virtual_size_bytes.unwrap_or(0);
        let size_bytes = virtual_size.max(ByteSize::from_gib(offering.size.disk_gib).0 as i64);
        let wanted = InUse {
            vms: 1,
            vcpus: offering.size.vcpus.into(),
            memory_mib: offering.size.memory_mib,
            volumes: 1,
            storage_bytes: size_bytes as u64,
            networks: 0,
            addresses: networks.len() as u64,
        };
        quota::check(db, &owner, wanted).await?;
        let pool = self.choose_pool(db, networks[0].zone_id.0, size_bytes).await?;
        Ok(Prepared { offering, template, networks, pool, size_bytes })
    }

    async fn allocate(
        &self,
        tx: &Tx,
        actor: &Actor,
        account: AccountId,
        body: &VmCreate,
    ) -> Result<(vm::Model, Vec<vm::nic::Model>, volume::Model), AppError> {
        let db = tx.reader();
        let prepared = self.prepare(db, actor, account, body).await?;
        let host = self.choice(db, &prepared.wanted(body)).await?.make()?;
        let Prepared { offering, template, networks, pool, size_bytes } = prepared;
        let zone = networks[0].zone_id;
        let id = VmId::new();
        let mut nics = Vec::with_capacity(networks.len());
        for (slot, network) in networks.iter().enumerate() {
            nics.push(new_nic(db, id, slot as i64, network, Attachment::Attached).await?);
        }
        let volume = volume::Model {
            id: VolumeId::new().into(),
            account_id: account.into(),
            zone_id: zone,
            vm_id: Some(id.into()),
            pool_id: pool.id,
            name: None,
            kind: volume::ROOT.into(),
            size_bytes,
            state: JsonCol(VolumeState::Creating),
            file: None,
            attachment: JsonCol(Attachment::Attached),
            attached_at: Some(now().0),
            error: None,
            has_grown: false,
            created_at: now().0,
        };
        let row = vm::Model {
            id: id.into(),
            account_id: account.into(),
            zone_id: zone,
            name: body.name.clone().into(),
            offering_id: offering.id,
            template_id: template.id,
            host_id: Some(host.into()),
            moving_to: None,
            desired: JsonCol(Desired::Running),
            state: JsonCol(VmState::Starting),
            generation: 1,
            reboots: 0,
            paused: false,
            limits: Some(limits::in_force(db, &offering.size, account, zone.0).await?.into()),
            limits_are_stale: false,
            expunge_at: None,
            group_id: body.affinity_group.map(Into::into),
            grace_secs: 0,
            vcpus: offering.size.vcpus.into(),
            memory_mib: offering.size.memory_mib as i64,
            size: offering.size,
            ssh_keys: body.ssh_keys.clone().into(),
            user_data: body.user_data.as_ref().map(|data| data.expose().clone()),
            error: None,
            timing: vec![].into(),
            created_at: now().0,
            started_at: None,
        };
        Ok((row, nics, volume))
    }

    /// The VMs that the caller may see.
    ///
    /// # Errors
    /// When the query is not valid.
    pub async fn vm_list(
        &self,
        actor: &Actor,
        filter: &VmFilter,
        query: &PageQuery,
    ) -> Result<Page<Vm>, AppError> {
        let page = view::page_of(query)?;
        if filter.host.is_some() {
            actor.must_be_admin()?;
        }
        let filter = vm::Filter {
            account: actor.scope(filter.account),
            state: filter.state,
            host: filter.host,
            network: filter.network,
        };
        let rows = vm::list(self.db.reader(), &filter, &page).await?;
        let items = view::vms(self.db.reader(), rows, actor).await?;
        Ok(view::page(&page, items, |vm| vm.id.to_string()))
    }

    /// A VM.
    ///
    /// # Errors
    /// [`AppError::NotFound`] when there is none that the caller may see.
    pub async fn vm_show(&self, actor: &Actor, id: VmId) -> Result<Vm, AppError> {
        let row = self.vm_row(self.db.reader(), actor, id).await?;
        let shown = view::vms(self.db.reader(), vec![row], actor).await?.pop();
        shown.ok_or(AppError::NotFound("vm"))
    }

    /// Starts a VM; success if it runs already.
    ///
    /// # Errors
    /// When it is being deleted, or no host fits.
    pub async fn vm_start(&self, actor: &Actor, id: VmId) -> Result<Created<Vm>, AppError> {
        self.vm_change(actor, id, "vm.start", async |tx, row| {
            if row.desired.0 == Desired::Running {
                return Ok(());
            }
            if row.host_id.is_none() {
                row.host_id = Some(self.place_again(tx.reader(), row).await?.into());
            }
            self.set_to_start(tx, row).await
        })
        .await
    }

    /// Has a VM that has a host start on it.
    pub(crate) async fn set_to_start(&self, tx: &Tx, row: &mut vm::Model) -> Result<(), AppError> {
        limits::renew(tx.reader(), row).await?;
        row.desired = JsonCol(Desired::Running);
        row.state = JsonCol(VmState::Starting);
        row.generation += 1;
        row.error = None;
        Ok(())
    }

    /// Gives a stopped VM another offering. Its root volume grows to the offering's disk, if that is larger.
    ///
    /// # Errors
    /// When it is not stopped, its account may not have that much, or its pool has no room.
    pub async fn vm_resize(&self, actor: &Actor, id: VmId, body: VmResize) -> Result<Created<Vm>, AppError> {
        self.vm_change(actor, id, "vm.resize", async |tx, row| {
            if row.host_id.is_some() || row.desired.0 != Desired::Stopped {
                let detail = "the VM must be stopped first".into();
                return Err(AppError::Conflict { code: "vm_not_stopped", detail });
            }
            let offering = find::<offering::Entity>(tx.reader(), body.offering).await?;
            let offering =
                offering.ok_or_else(|| AppError::invalid("offering", "there is no such offering"))?;
            let (before, after) = (row.size.0.clone(), offering.size.0.clone());
            let wanted = InUse {
                vcpus: after.vcpus.saturating_sub(before.vcpus).into(),
                memory_mib: after.memory_mib.saturating_sub(before.memory_mib),
                ..InUse::default()
            };
            quota::check(tx.reader(), &owner_of(tx.reader(), row.account_id.0).await?, wanted).await?;
            let disk = ByteSize::from_gib(after.disk_gib);
            let volumes = volume::of_vms(tx.reader(), &[row.id]).await?;
            if let Some(root) =
                volumes.into_iter().find(|volume| volume.is_root() && volume.size_bytes < disk.0 as i64)
            {
                self.volume_grow(tx, root, disk).await?;
            }
            (row.vcpus, row.memory_mib) = (after.vcpus.into(), after.memory_mib as i64);
            row.offering_id = offering.id;
            row.size = after.into();
            limits::renew(tx.reader(), row).await?;
            row.generation += 1;
            Ok(())
        })
        .await
    }

    /// Stops a VM; success if it is stopped already.
    ///
    /// # Errors
    /// When it is being deleted, or the grace is out of its range.
    pub async fn vm_stop(&self, actor: &Actor, id: VmId, body: VmStop) -> Result<Created<Vm>, AppError> {
        let grace_secs = body.grace_secs.unwrap_or(60);
        if grace_secs > 3600 {
            return Err(AppError::invalid("grace_secs", "must be 0 to 3600"));
        }
        self.vm_change(actor, id, "vm.stop", async |_, row| {
            row.grace_secs = grace_secs as i64;
            if row.host_id.is_some() {
                row.generation += 1;
                row.state = JsonCol(VmState::Stopping);
            }
            row.desired = JsonCol(Desired::Stopped);
            row.paused = false;
            Ok(())
        })
        .await
    }

    /// Has a running VM stand still; success if it does already.
    ///
    /// # Errors
    /// When it does not run.
    pub async fn vm_pause(&self, actor: &Actor, id: VmId) -> Result<Created<Vm>, AppError> {
        self.vm_change(actor, id, "vm.pause", async |_, row| stand_still(row, true)).await
    }

    /// Has a paused VM run on; success if it does already.
    ///
    /// # Errors
    /// When it neither runs nor is paused.
    pub async fn vm_resume(&self, actor: &Actor, id: VmId) -> Result<Created<Vm>, AppError> {
        self.vm_change(actor, id, "vm.resume", async |_, row| stand_still(row, false)).await
    }

    /// Moves a running VM to another host of its zone.
    ///
    /// # Errors
    /// When the caller is no admin, the VM does not run, or no other host fits, or the one that was named does not.
    pub async fn vm_migrate(
        &self,
        actor: &Actor,
        id: VmId,
        body: VmMigrate,
    ) -> Result<Created<Vm>, AppError> {
        actor.must_be_admin()?;
        let seen = self.vm_row(self.db.reader(), actor, id).await?;
        if let Some(host) = body.host {
            let found = podzol_mgmt_db::server::host(self.db.reader(), host).await?;
            found
                .filter(|host| host.zone_id == seen.zone_id)
                .ok_or_else(|| AppError::invalid("host", "there is no such host in the VM's zone"))?;
        }
        self.vm_change(actor, id, "vm.migrate", async |tx, row| self.set_out(tx, row, body.host).await).await
    }

    /// Has a VM set out for another host: that one, or one that fits.
    pub(crate) async fn set_out(
        &self,
        tx: &Tx,
        row: &mut vm::Model,
        to: Option<HostId>,
    ) -> Result<(), AppError> {
        must_run(row)?;
        let to = self.place_elsewhere(tx.reader(), row, to).await?;
        row.moving_to = Some(to.into());
        row.state = JsonCol(VmState::Migrating);
        row.generation += 1;
        row.error = None;
        Ok(())
    }

    /// Reboots a running VM.
    ///
    /// # Errors
    /// When it does not run.
    pub async fn vm_reboot(&self, actor: &Actor, id: VmId) -> Result<Created<Vm>, AppError> {
        self.vm_change(actor, id, "vm.reboot", async |_, row| {
            must_run(row)?;
            must_hear(row)?;
            row.generation += 1;
            row.reboots += 1;
            Ok(())
        })
        .await
    }

    /// Gives a VM a network interface: at once if it runs, else when it starts.
    ///
    /// # Errors
    /// When it cannot be in that network, or has as many interfaces as it may have.
    pub async fn nic_create(
        &self,
        actor: &Actor,
        once: Option<Once>,
        id: VmId,
        body: NicCreate,
    ) -> Result<Created<Vm>, AppError> {
        self.create(actor, once, async |tx| {
            let row = self.vm_row(tx.reader(), actor, id).await?;
            must_take_changes(&row)?;
            let found = find::<network::Entity>(tx.reader(), body.network).await?;
            let network = found.filter(|network| network.account_id == row.account_id);
            let network = network
                .ok_or_else(|| AppError::invalid("network", "the VM's account has no such network"))?;
            if network.zone_id != row.zone_id {
                return Err(AppError::invalid("network", "must be in the VM's zone"));
            }
            let nics = vm::nics(tx.reader(), &[row.id]).await?;
            if nics.len() >= MAX_NICS {
                let rule = format!("the VM has {MAX_NICS} network interfaces already, which is the most");
                return Err(AppError::invalid("network", rule));
            }
            if nics.iter().any(|nic| nic.network_id == network.id) {
                return Err(AppError::invalid("network", "the VM has an interface in it already"));
            }
            let more = InUse { addresses: 1, ..InUse::default() };
            quota::check(tx.reader(), &owner_of(tx.reader(), row.account_id.0).await?, more).await?;
            let slot = nics.iter().map(|nic| nic.slot + 1).max().unwrap_or(0);
            let nic = new_nic(tx.reader(), id, slot, &network, coming(&row)).await?;
            tx.nic_create(nic).await?;
            let operation = self.vm_changes(tx, row.clone()).await?;
            self.record(tx, actor, "nic.create", Some(row.account_id.0), "vm", id, &network.name.0).await?;
            let row = self.vm_row(tx.reader(), actor, id).await?;
            created(tx.reader(), row, operation, actor).await
        })
        .await
    }

    /// Changes what a network interface may send, while its VM runs too.
    ///
    /// # Errors
    /// When the caller sees none of that id.
    pub async fn nic_update(
        &self,
        actor: &Actor,
        nic: NicId,
        body: NicUpdate,
    ) -> Result<Created<Vm>, AppError> {
        let tx = self.db.begin().await?;
        let found = find::<vm::nic::Entity>(tx.reader(), nic).await?;
        let mut changed = found.ok_or(AppError::NotFound("nic"))?;
        let found = find::<vm::Entity>(tx.reader(), changed.vm_id).await?;
        let seen = found.filter(|row| actor.sees(row.account_id.0));
        let row = seen.ok_or(AppError::NotFound("nic"))?;
        must_take_changes(&row)?;
        changed.may_route = body.may_route.unwrap_or(changed.may_route);
        tx.nic_update(changed).await?;
        let operation = self.vm_changes(&tx, row.clone()).await?;
        self.record(&tx, actor, "nic.update", Some(row.account_id.0), "vm", row.id.0, &row.name.0).await?;
        let row = self.vm_row(tx.reader(), actor, row.id.0).await?;
        let answer = created(tx.reader(), row, operation, actor).await?;
        tx.commit().await?;
        self.wake.notify_one();
        Ok(answer)
    }

    /// Takes a network interface from a VM. The operating system of a VM that runs must let go of it.
    ///
    /// # Errors
    /// When the caller sees none of that id, or it is the VM's only one.
    pub async fn nic_delete(&self, actor: &Actor, nic: NicId) -> Result<Created<Vm>, AppError> {
        let tx = self.db.begin().await?;
        let found = find::<vm::nic::Entity>(tx.reader(), nic).await?;
        let mut leaving = found.ok_or(AppError::NotFound("nic"))?;
        let id = leaving.vm_id.0;
        let found = find::<vm::Entity>(tx.reader(), id).await?;
        let seen = found.filter(|row| actor.sees(row.account_id.0));
        let row = seen.ok_or(AppError::NotFound("nic"))?;
        must_take_changes(&row)?;
        must_hear(&row)?;
        let nics = vm::nics(tx.reader(), &[row.id]).await?;
        let staying =
            |one: &&vm::nic::Model| one.id != leaving.id && one.attachment.0 != Attachment::Detaching;
        if !nics.iter().any(|one| staying(&one)) {
            let detail = "it is the VM's only network interface".into();
            return Err(AppError::Conflict { code: "nic_is_last", detail });
        }
        if row.host_id.is_some() {
            leaving.attachment = JsonCol(Attachment::Detaching);
            tx.nic_update(leaving).await?;
        } else {
            tx.nic_delete(leaving.id).await?;
        }
        let operation = self.vm_changes(&tx, row.clone()).await?;
        self.record(&tx, actor, "nic.delete", Some(row.account_id.0), "vm", id, &row.name.0).await?;
        let row = self.vm_row(tx.reader(), actor, id).await?;
        let answer = created(tx.reader(), row, operation, actor).await?;
        tx.commit().await?;
        self.wake.notify_one();
        Ok(answer)
    }

    /// Starts the operation that brings what has changed of a VM's disks and network interfaces to its host, if it has
    /// one.
    pub(crate) async fn vm_changes(
        &self,
        tx: &Tx,
        mut row: vm::Model,
    ) -> Result<podzol_mgmt_db::operation::Model, AppError> {
        row.generation += 1;
        tx.vm_update(row.clone()).await?;
        operation::start(tx, self.vm_operation("vm.change", &row)).await
    }

    /// Deletes a VM, by force if it runs. It can be recovered for a while; then, or at once if that is asked for, it goes
    /// for good with its root volume. Its data volumes stay.
    ///
    /// # Errors
    /// [`AppError::NotFound`] when there is none that the caller may see.
    pub async fn vm_delete(&self, actor: &Actor, id: VmId, how: &VmDelete) -> Result<Created<Vm>, AppError> {
        let keep = self.settings.expunge_after;
        let for_good = how.expunge.unwrap_or(false) || keep.is_zero();
        self.vm_change(actor, id, "vm.delete", async |_, row| {
            row.grace_secs = 0;
            if for_good {
                expunge(row);
            } else if row.desired.0 != Desired::Deleted && row.expunge_at.is_none() {
                row.expunge_at = Some(now().0 + keep.as_millis() as i64);
                row.state = JsonCol(if row.host_id.is_some() { VmState::Stopping } else { VmState::Deleted });
                row.desired = JsonCol(Desired::Stopped);
                (row.paused, row.error) = (false, None);
                row.generation += 1;
            }
            Ok(())
        })
        .await
    }

    /// Recovers a deleted VM: it is stopped then, with all that it had.
    ///
    /// # Errors
    /// When it was not deleted, or has gone for good.
    pub async fn vm_recover(&self, actor: &Actor, id: VmId) -> Result<Created<Vm>, AppError> {
        self.vm_change(actor, id, "vm.recover", async |_, row| {
            if row.desired.0 == Desired::Deleted || row.expunge_at.take().is_none() {
                let detail = "the VM is not one that was deleted and can be recovered".into();
                return Err(AppError::Conflict { code: "vm_not_deleted", detail });
            }
            if row.state.0 == VmState::Deleted {
                row.state = JsonCol(VmState::Stopped);
            }
            row.generation += 1;
            Ok(())
        })
        .await
    }

    /// The end of what a VM wrote to its serial port since its last start.
    ///
    /// # Errors
    /// When it has no host, or its host does not answer.
    pub async fn vm_console_log(
        &self,
        actor: &Actor,
        id: VmId,
        query: &ConsoleLogQuery,
    ) -> Result<ConsoleLog, AppError> {
        let bytes = query.bytes.unwrap_or(65_536);
        if !(1..=1_048_576).contains(&bytes) {
            return Err(AppError::invalid("bytes", "must be 1 to 1048576"));
        }
        let row = self.vm_row(self.db.reader(), actor, id).await?;
        let Some(host) = row.host_id else {
            return Err(AppError::Conflict { code: "vm_not_running", detail: "the VM does not run".into() });
        };
        let deadline = std::time::Duration::from_secs(20);
        let log = self.peers.call::<VmConsoleLog>(PeerId::Host(host.0), &(id, bytes), &(), deadline).await;
        log.map(|log| ConsoleLog { text: log.text }).map_err(|error| {
            tracing::warn!(error = &error as &dyn std::error::Error, vm = %id, "cannot get a console log");
            AppError::Unavailable("the VM's host does not answer now".into())
        })
    }

    /// Changes what a VM should be, and starts the operation that makes it so.
    async fn vm_change(
        &self,
        actor: &Actor,
        id: VmId,
        kind: &'static str,
        change: impl AsyncFnOnce(&Tx, &mut vm::Model) -> Result<(), AppError>,
    ) -> Result<Created<Vm>, AppError> {
        let tx = self.db.begin().await?;
        let mut row = self.vm_row(tx.reader(), actor, id).await?;
        if !matches!(kind, "vm.delete" | "vm.recover") {
            must_stay(&row)?;
        }
        change(&tx, &mut row).await?;
        tx.vm_update(row.clone()).await?;
        let operation = operation::start(&tx, self.vm_operation(kind, &row)).await?;
        self.record(&tx, actor, kind, Some(row.account_id.0), "vm", id, &row.name.0).await?;
        let answer = created(tx.reader(), row, operation, actor).await?;
        tx.commit().await?;
        self.wake.notify_one();
        Ok(answer)
    }

    /// The operation that makes a VM what it should be. Starting may fail; stopping and deleting must get done.
    pub(crate) fn vm_operation(&self, kind: &'static str, row: &vm::Model) -> NewOperation {
        let deadline = match kind {
            "vm.start" | "vm.reboot" | "vm.change" | "vm.pause" | "vm.resume" => {
                Some(self.settings.start_deadline)
            }
            "vm.migrate" => Some(MOVE),
            _ => None,
        };
        NewOperation {
            kind,
            account: Some(row.account_id.0),
            subject_kind: "vm",
            subject: row.id.to_string(),
            goal: Some(row.generation),
            queue: row.host_id.map(|host| host.to_string()).unwrap_or_default(),
            deadline,
        }
    }

    async fn vm_row(&self, db: &impl Reader, actor: &Actor, id: VmId) -> Result<vm::Model, AppError> {
        let row = find::<vm::Entity>(db, id).await?;
        row.filter(|row| actor.sees(row.account_id.0)).ok_or(AppError::NotFound("vm"))
    }
}

/// Refuses what comes too late for a VM that is being deleted.
pub(crate) fn must_stay(row: &vm::Model) -> Result<(), AppError> {
    match row.desired.0 {
        Desired::Deleted => {
            Err(AppError::Conflict { code: "vm_deleting", detail: "the VM is being deleted".into() })
        }
        _ if row.expunge_at.is_some() => {
            let detail = "the VM was deleted; recover it first".into();
            Err(AppError::Conflict { code: "vm_deleted", detail })
        }
        _ => Ok(()),
    }
}

/// Has a VM go for good.
pub(crate) fn expunge(row: &mut vm::Model) {
    row.desired = JsonCol(Desired::Deleted);
    row.state = JsonCol(VmState::Deleting);
    row.generation += 1;
}

/// The account that something belongs to.
pub(crate) async fn owner_of(db: &impl Reader, id: AccountId) -> Result<account::Model, AppError> {
    find::<account::Entity>(db, id).await?.ok_or(AppError::NotFound("account"))
}

/// Refuses what would change a VM's devices while it moves, and what comes too late.
pub(crate) fn must_take_changes(row: &vm::Model) -> Result<(), AppError> {
    must_stay(row)?;
    if row.state.0 == VmState::Migrating {
        let detail = "the VM is moving to another host; try again when it is there".into();
        return Err(AppError::Conflict { code: "vm_migrating", detail });
    }
    Ok(())
}

/// Refuses what a VM's operating system must do itself while it stands still.
pub(crate) fn must_hear(row: &vm::Model) -> Result<(), AppError> {
    if row.paused && row.host_id.is_some() {
        let detail = "the VM is paused; resume it first".into();
        return Err(AppError::Conflict { code: "vm_paused", detail });
    }
    Ok(())
}

/// Refuses what only a VM that runs or is paused can do, and that is not on its way to another host.
fn must_run(row: &vm::Model) -> Result<(), AppError> {
    must_take_changes(row)?;
    match row.state.0 {
        VmState::Running | VmState::Paused => Ok(()),
        _ => Err(AppError::Conflict { code: "vm_not_running", detail: "the VM does not run".into() }),
    }
}

fn stand_still(row: &mut vm::Model, paused: bool) -> Result<(), AppError> {
    must_run(row)?;
    if row.paused != paused {
        row.paused = paused;
        row.generation += 1;
    }
    Ok(())
}

async fn created(
    db: &impl Reader,
    row: vm::Model,
    operation: podzol_mgmt_db::operation::Model,
    actor: &Actor,
) -> Result<Created<Vm>, AppError> {
    let object = view::vms(db, vec![row], actor).await?.pop().ok_or(AppError::NotFound("vm"))?;
    Ok(Created { object, operation: view::operation(operation) })
}

fn check_texts(body: &VmCreate) -> Result<(), AppError> {
    if !(1..=8).contains(&body.networks.len()) {
        return Err(AppError::invalid("networks", "must be 1 to 8 networks"));
    }
    if body.networks.iter().collect::<BTreeSet<_>>().len() != body.networks.len() {
        return Err(AppError::invalid("networks", "must not name a network twice"));
    }
    if body.ssh_keys.len() > 32 {
        return Err(AppError::invalid("ssh_keys", "must be at most 32 keys"));
    }
    let valid = |key: &String| {
        let kinds = ["ssh-", "ecdsa-", "sk-ssh-", "sk-ecdsa-"];
        let known = kinds.iter().any(|kind| key.starts_with(kind)) && key.contains(' ');
        known && key.len() <= 8192 && !key.chars().any(char::is_control)
    };
    if !body.ssh_keys.iter().all(valid) {
        return Err(AppError::invalid(
            "ssh_keys",
            "must be SSH public keys, each on one line of up to 8192 bytes",
        ));
    }
    if body.user_data.as_ref().is_some_and(|data| data.expose().len() > 65_536) {
        return Err(AppError::invalid("user_data", "must be at most 65536 bytes"));
    }
    Ok(())
}

/// The networks of a new VM: the account's own, all in one zone.
async fn networks_of(
    db: &impl Reader,
    actor: &Actor,
    account: AccountId,
    body: &VmCreate,
) -> Result<Vec<network::Model>, AppError> {
    let mut networks: Vec<network::Model> = Vec::with_capacity(body.networks.len());
    for id in &body.networks {
        let row = find::<network::Entity>(db, *id).await?;
        let row = row.filter(|row| actor.sees(row.account_id.0) && row.account_id.0 == account);
        let row = row.ok_or_else(|| AppError::invalid("networks", format!("there is no network {id}")))?;
        if networks.first().is_some_and(|first| first.zone_id != row.zone_id) {
            return Err(AppError::invalid("networks", "must all be in one zone"));
        }
        networks.push(row);
    }
    Ok(networks)
}

async fn new_nic(
    db: &impl Reader,
    vm: VmId,
    slot: i64,
    network: &network::Model,
    attachment: Attachment,
) -> Result<vm::nic::Model, AppError> {
    let in_use = vm::addresses_in_use(db, network.id.0).await?;
    let free: Option<Ipv4Addr> = network.cidr.vm_addresses().find(|address| !in_use.contains(address));
    let address = free.ok_or_else(|| AppError::Exhausted {
        code: "addresses_exhausted",
        detail: format!("no address left in network {} ({} all in use)", network.name.0, network.cidr.0),
        reasons: vec![],
    })?;
    Ok(vm::nic::Model {
        id: NicId::new().into(),
        vm_id: vm.into(),
        slot,
        network_id: network.id,
        address: address.into(),
        mac: MacAddr::local(rand::random()).into(),
        attachment: JsonCol(attachment),
        may_route: false,
    })
}
