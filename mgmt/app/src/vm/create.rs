//! A VM is created: what it is made of is checked, and host, pool, addresses and rows are allocated.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use podzol_mgmt_api::Created;
use podzol_mgmt_api::capacity::Placement;
use podzol_mgmt_api::limits::InUse;
use podzol_mgmt_api::template::TemplateState;
use podzol_mgmt_api::vm::{Attachment, Vm, VmCreate, VmState};
use podzol_mgmt_api::volume::VolumeState;
use podzol_mgmt_db::vm::Desired;
use podzol_mgmt_db::{
    JsonCol, Reader, Tx, account, affinity, find, network, now, offering, pool, template, vm, volume,
};
use podzol_vocab::{AccountId, ByteSize, VmId, VolumeId};

use super::nic::{MAX_NICS, new_nic};
use crate::error::Meaning;
use crate::place::Wanted;
use crate::router::room::{Coming, must_have_room, texts_bytes};
use crate::{Actor, App, AppError, Once, capacity, limits, operation, quota, view};

/// What a new VM is made of.
struct Prepared {
    offering: offering::Model,
    template: template::Model,
    networks: Vec<network::Model>,
    pool: Arc<pool::Model>,
    size_bytes: i64,
}

impl Prepared {
    fn wanted(&self, body: &VmCreate) -> Wanted<'_> {
        Wanted {
            zone: self.networks[0].zone_id.0,
            size: &self.offering.size,
            pools: vec![self.pool.id.0],
            offering: self.offering.id.0,
            group: body.affinity_group,
            tunnels: self
                .networks
                .iter()
                .any(|network| network.tag().is_some_and(|tag| tag.vxlan().is_some())),
            ipv6: self.networks.iter().any(|network| network.prefix6.is_some()),
            router: false,
            away_from: BTreeSet::new(),
            vm: None,
        }
    }
}

impl App {
    /// Creates a VM and starts it: host, addresses, and volume are allocated here, or nothing is. Of an ISO, it boots from
    /// that, so that its operating system can be installed on its empty root volume.
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
            let taken = || AppError::taken("VM", &body.name);
            tx.vm_create(row.clone(), nics.clone()).await.or_taken(taken)?;
            tx.volume_create(volume.clone()).await?;
            let operation = operation::start(tx, self.vm_operation("vm.start", &row)).await?;
            self.record(tx, actor, "vm.create", Some(account), "vm", row.id.0, &body.name).await?;
            let mut addresses6 = HashMap::new();
            for nic in &nics {
                addresses6.extend(view::address6(tx.reader(), nic).await?.map(|address| (nic.id.0, address)));
            }
            let object = view::vm(row, nics, vec![volume], &addresses6, actor);
            Ok(Created { object, operation: view::operation(operation) })
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
        let template = template.filter(|template| template.role.is_none());
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
        // What is installed from an ISO says nothing of how large that is.
        let virtual_size = template.virtual_size_bytes.filter(|_| !template.is_iso()).unwrap_or(0);
        let size_bytes = virtual_size.max(ByteSize::from_gib(offering.size.disk_gib).0 as i64);
        let wanted = InUse {
            vms: 1,
            vcpus: offering.size.vcpus.into(),
            memory_mib: offering.size.memory_mib,
            volumes: 1,
            storage_bytes: size_bytes as u64,
            addresses: networks.len() as u64,
            ..InUse::default()
        };
        quota::check(db, &owner, wanted).await?;
        let (zone, texts_bytes) = (networks[0].zone_id.0, texts_bytes(body));
        let coming = Coming { account, zone, networks: &networks, texts_bytes, more_bytes: texts_bytes };
        must_have_room(db, coming).await?;
        let pool = self.choose_pool(db, zone, size_bytes).await?;
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
        let zone = prepared.networks[0].zone_id;
        self.router_for(tx, account, zone.0, &prepared.networks).await?;
        let host = self.place(db, &prepared.wanted(body)).await?;
        let Prepared { offering, template, networks, pool, size_bytes } = prepared;
        let id = VmId::new();
        let mut nics = Vec::with_capacity(networks.len());
        for (slot, network) in networks.iter().enumerate() {
            nics.push(new_nic(db, id, slot as i64, network, Attachment::Attached)?);
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
            iso_id: template.is_iso().then_some(template.id),
            // An empty disk has the firmware go on to the drive; once a system is on it, it comes first.
            iso_boots: false,
            iso_attachment: JsonCol(Attachment::Attached),
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
            role: None,
            password: None,
            texts_bytes: texts_bytes(body),
        };
        Ok((row, nics, volume))
    }
}

fn check_texts(body: &VmCreate) -> Result<(), AppError> {
    if !(1..=MAX_NICS).contains(&body.networks.len()) {
        return Err(AppError::invalid("networks", format!("must be 1 to {MAX_NICS} networks")));
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
        let mine = |row: &network::Model| actor.sees(row.account_id.0) && row.account_id.0 == account;
        let row = row.filter(|row| row.is_there() && mine(row));
        let row = row.ok_or_else(|| AppError::invalid("networks", format!("there is no network {id}")))?;
        if networks.first().is_some_and(|first| first.zone_id != row.zone_id) {
            return Err(AppError::invalid("networks", "must all be in one zone"));
        }
        networks.push(row);
    }
    Ok(networks)
}
