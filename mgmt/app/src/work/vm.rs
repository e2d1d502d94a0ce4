//! Bringing a VM to what it should be.
//!
//! ```text
//!   desired: running    volume made -> host told -> host says running        state: running
//!   desired: stopped    host told   -> host says absent -> room given back   state: stopped, or failed
//!   desired: deleted    as stopped  -> root volume destroyed -> rows removed
//! ```
//! A VM keeps its host, and its share of it, until the host has said that nothing of it is left: so no VM can run twice.
//! A start that somebody asked for and that failed gives the VM the goal "stopped" with the error kept, and another
//! operation to get there, unless another start of it goes on: he is there to see it. One that brings back a VM that ended by itself, as with its host, has no
//! deadline and is tried until it succeeds or somebody wants something else: what fails then, such as storage that comes
//! back later than the hosts after a power cut, passes.

use std::collections::HashMap;
use std::net::Ipv6Addr;
use std::time::Duration;

use futures_util::future::join_all;
use podzol_agent_api::vm::{VmDelete, VmDeleteRequest, VmPut, VmPutRequest, VmState as OnHost, VmStatus};
use podzol_mgmt_api::template::TemplateRole;
use podzol_mgmt_api::vm::{Attachment, Step, VmState};
use podzol_mgmt_api::volume::VolumeState;
use podzol_mgmt_db::vm::Desired;
use podzol_mgmt_db::{JsonCol, find, network, now, operation, pool, server, template, vm, volume};
use podzol_mgmt_operations::Outcome;
use podzol_rpc::PeerId;
use podzol_vocab::{Generation, HostId, NetworkId, NicId, VmId};
use tokio::time::Instant;

use crate::plan::{self, Parts};
use crate::volume::pool_of;
use crate::work::migrate::Whereabouts;
use crate::work::{after_call, devices};
use crate::{App, AppError, view};

/// How long an agent may keep a call open until it has come true.
pub(super) const WAIT: Duration = Duration::from_secs(25);

/// The deadline of such a call.
pub(super) const CALL: Duration = Duration::from_secs(35);

/// How soon to ask again when an agent says that it is still at work.
const ASK_AGAIN: Duration = Duration::from_millis(300);

/// What a VM must be wanted to do for an operation of this kind to make sense; nothing if that is all one.
pub(super) fn wanted(kind: &str) -> Option<Desired> {
    match kind {
        "vm.stop" | "vm.recover" | "vm.resize" => Some(Desired::Stopped),
        // It is stopped and kept for a while, or goes for good.
        "vm.delete" | "vm.change" => None,
        _ => Some(Desired::Running),
    }
}

pub(super) fn still_at_it(detail: &str) -> Outcome {
    Outcome::Again { code: "in_progress".into(), detail: detail.into(), after: Some(ASK_AGAIN) }
}

impl App {
    pub(super) async fn vm_attempt(&self, operation: &operation::Model) -> Result<Outcome, AppError> {
        let Some(vm) = self.vm_of(operation).await? else { return Ok(Outcome::Done) };
        let overtaken = match operation.kind.as_str() {
            "vm.delete" => vm.desired.0 != Desired::Deleted && vm.expunge_at.is_none(),
            kind => wanted(kind).is_some_and(|wanted| wanted != vm.desired.0),
        };
        if overtaken {
            return Ok(Outcome::Overtaken { detail: "overtaken by a later request".into() });
        }
        match vm.desired.0 {
            Desired::Deleted if operation.kind == "vm.change" => {
                Ok(Outcome::Overtaken { detail: "the VM is being deleted".into() })
            }
            Desired::Running if operation.kind == "vm.migrate" => self.migrate(operation, vm).await,
            Desired::Running => self.bring_up(operation, vm).await,
            Desired::Stopped => self.take_down(operation, vm).await,
            Desired::Deleted => self.destroy(operation, vm).await,
        }
    }

    async fn vm_of(&self, operation: &operation::Model) -> Result<Option<vm::Model>, AppError> {
        let id: VmId = operation.subject.parse().map_err(|_| AppError::NotFound("vm"))?;
        Ok(find::<vm::Entity>(self.db.reader(), id).await?)
    }

    async fn bring_up(&self, operation: &operation::Model, vm: vm::Model) -> Result<Outcome, AppError> {
        if vm.state.0 == VmState::Migrating {
            return Ok(still_at_it("it is moving to another host"));
        }
        let (vm, rest) = match self.stay_or_land(vm).await? {
            Whereabouts::Known(vm) => (vm, None),
            Whereabouts::Here(vm, outcome) => (vm, Some(outcome)),
            Whereabouts::Unknown(outcome) => return Ok(outcome),
        };
        let Some(host) = vm.host_id else { return Ok(Outcome::failed("no_host", "it has no host")) };
        let mut steps = vec![Step {
            step: "queue".into(),
            micros: ((now().0 - operation.created_at).max(0) * 1000) as u64,
        }];
        let begun = Instant::now();
        if let Some(outcome) = self.make_volumes(operation, &vm).await? {
            return Ok(outcome);
        }
        if let Some(outcome) = self.bring_iso(&vm).await? {
            return Ok(outcome);
        }
        steps.push(step("volume", begun));
        let parts = self.parts(vm).await?;
        let networks = served_networks(&parts);
        if !networks.is_empty() {
            let served = self.served(&parts.vm, &networks);
            if let Some(outcome) = self.step(operation, "waiting for its router", served).await?? {
                return Ok(outcome);
            }
            // Attempts before this one have waited for it.
            let waited = self.waited_for_router(&parts.vm, operation.created_at).await?;
            steps[0].micros = steps[0].micros.saturating_sub(waited);
            steps.push(Step { step: "router".into(), micros: waited });
        }
        let plan = match plan::plan(&parts) {
            Ok(plan) => plan,
            Err(missing) => return Ok(Outcome::again("incomplete", missing)),
        };
        let begun = Instant::now();
        // What its host cannot do for a while keeps it from nothing else: few operations of a host are at work at a time.
        let in_vain = operation.deadline_at.is_none() && operation.attempts > 1;
        let wait = if in_vain { Duration::ZERO } else { WAIT };
        let request = VmPutRequest { plan, wait_ms: wait.as_millis() as u64 };
        let told = self.peers.call::<VmPut>(PeerId::Host(host.0), &parts.vm.id.0, &request, CALL);
        let status = match self.step(operation, "starting on its host", told).await? {
            Ok(status) => status,
            Err(error) => return self.host_refused(operation, &parts.vm, &error).await,
        };
        steps.push(step("host", begun));
        match status.state {
            OnHost::Running | OnHost::Paused if status.error.is_some() => {
                Ok(Outcome::again("change_failed", status.error.unwrap_or_default()))
            }
            OnHost::Running if parts.vm.role.is_some() && parts.vm.state.0 == VmState::Starting => {
                let up = self.system_vm_is_up(&parts.vm);
                if let Some(outcome) = self.step(operation, "waiting until it answers", up).await?? {
                    return Ok(outcome);
                }
                // Attempts before this one have waited for that: all that its host did not take.
                let on_host: u64 = status.timing.iter().map(|step| step.micros).sum();
                let boot = steps[0].micros.saturating_sub(on_host);
                steps[0].micros -= boot;
                steps.push(Step { step: "boot".into(), micros: boot });
                self.is_running(&parts, status, steps, Some(operation)).await
            }
            OnHost::Running | OnHost::Paused => {
                if let Some(outcome) = self.note_sizes(&parts.volumes).await? {
                    return Ok(outcome);
                }
                // Only what has no deadline goes on until nothing is left anywhere.
                let rest = rest.filter(|_| operation.deadline_at.is_none());
                let ends = if rest.is_none() { Some(operation) } else { None };
                let outcome = self.is_running(&parts, status, steps, ends).await?;
                Ok(rest.unwrap_or(outcome))
            }
            OnHost::Failed => {
                let (code, detail) = ("start_failed", status.error.unwrap_or_default());
                let is_asked_for = operation.deadline_at.is_some();
                Ok(if is_asked_for { Outcome::failed(code, detail) } else { Outcome::again(code, detail) })
            }
            OnHost::Starting | OnHost::Stopping | OnHost::Arriving | OnHost::Leaving => {
                let detail = "its host is starting it";
                Ok(if in_vain { Outcome::again("in_progress", detail) } else { still_at_it(detail) })
            }
            OnHost::Stopped | OnHost::Absent => Ok(still_at_it("it ended while it was being started")),
            OnHost::Sent => Ok(Outcome::again("not_taken_back", status.error.unwrap_or_default())),
        }
    }

    /// What a VM of Podzol's own still has to do once its host runs it. Something if that is not so yet.
    async fn system_vm_is_up(&self, vm: &vm::Model) -> Result<Option<Outcome>, AppError> {
        match vm.role.as_ref().map(|role| role.0) {
            Some(TemplateRole::ConsoleProxy) => {
                Ok(self.console_proxy_is_up(vm).await?.as_deref().map(still_at_it))
            }
            _ => self.router_is_up(vm).await,
        }
    }

    pub(super) async fn host_refused(
        &self,
        operation: &operation::Model,
        vm: &vm::Model,
        error: &podzol_rpc::CallError,
    ) -> Result<Outcome, AppError> {
        let outcome = after_call(error, "its host");
        let Outcome::Failed { code, detail } = &outcome else { return Ok(outcome) };
        if !code.contains("generation") {
            return Ok(outcome);
        }
        self.notice("generation.refused", "management", "vm", vm.id.0, detail.clone()).await;
        match error.refusal().and_then(|refusal| refusal.in_force) {
            Some(in_force) => self.raise_generation(operation, vm, in_force, detail).await,
            None => Ok(outcome),
        }
    }

    /// Puts a VM's generation above the one that its host knows: this database was put back to an older state.
    async fn raise_generation(
        &self,
        operation: &operation::Model,
        vm: &vm::Model,
        above: Generation,
        detail: &str,
    ) -> Result<Outcome, AppError> {
        let tx = self.db.begin().await?;
        if let Some(mut row) = find::<vm::Entity>(tx.reader(), vm.id).await?
            && row.generation as u64 <= above.0
        {
            let is_reboot = operation.kind == "vm.reboot" && operation.goal == Some(row.reboots);
            row.generation = above.next().0 as i64;
            if is_reboot {
                row.reboots = row.generation;
            }
            if let Some(mut operation) = find::<operation::Entity>(tx.reader(), operation.id).await? {
                operation.goal = Some(row.generation);
                tx.operation_update(operation).await?;
            }
            tx.vm_update(row).await?;
            tx.commit().await?;
        }
        Ok(Outcome::again("stale_generation", detail))
    }

    /// Makes the volumes that are not there yet. Something if that is not done yet or has failed.
    async fn make_volumes(
        &self,
        operation: &operation::Model,
        vm: &vm::Model,
    ) -> Result<Option<Outcome>, AppError> {
        for volume in volume::of_vms(self.db.reader(), &[vm.id]).await? {
            // One that a VM has open has its new size from there.
            let is_open = matches!(vm.state.0, VmState::Running | VmState::Paused);
            if volume.state.0 == VolumeState::Ready || (is_open && volume.state.0 == VolumeState::Resizing) {
                continue;
            }
            let made = async {
                if volume.state.0 == VolumeState::Resizing {
                    let template = self.made_of(&volume).await?;
                    self.volume_make(&volume, template).await
                } else {
                    self.make_volume(vm, volume).await
                }
            };
            if let Some(outcome) = self.step(operation, "making its volume", made).await?? {
                return Ok(Some(outcome));
            }
        }
        Ok(None)
    }

    /// Has storage servers note the new sizes of volumes that have them by now. Something if that is not done yet.
    async fn note_sizes(&self, volumes: &[volume::Model]) -> Result<Option<Outcome>, AppError> {
        for volume in volumes.iter().filter(|volume| volume.state.0 == VolumeState::Resizing) {
            let template = self.made_of(volume).await?;
            if let Some(outcome) = self.volume_make(volume, template).await? {
                return Ok(Some(outcome));
            }
        }
        Ok(None)
    }

    async fn make_volume(&self, vm: &vm::Model, volume: volume::Model) -> Result<Option<Outcome>, AppError> {
        let template = find::<template::Entity>(self.db.reader(), vm.template_id).await?;
        let pool = find::<pool::Entity>(self.db.reader(), volume.pool_id).await?;
        let (Some(template), Some(pool)) = (template, pool) else {
            return Ok(Some(Outcome::failed("template_gone", "its template or pool is gone")));
        };
        if template.is_iso() {
            return self.volume_make(&volume, None).await;
        }
        if let Some(outcome) = self.template_to_pool(&template, &pool).await? {
            return Ok(Some(outcome));
        }
        self.volume_make(&volume, Some(template.sha256.0)).await
    }

    /// Brings the ISO that should be in a VM's drive into the pool of its root volume, unless it runs with it already.
    /// Something if that is not done yet or has failed.
    pub(super) async fn bring_iso(&self, vm: &vm::Model) -> Result<Option<Outcome>, AppError> {
        let runs_with_it = matches!(vm.state.0, VmState::Running | VmState::Paused)
            && vm.iso_attachment.0 == Attachment::Attached;
        let Some(iso) = self.iso_of(vm).await?.filter(|_| !runs_with_it) else { return Ok(None) };
        let volumes = volume::of_vms(self.db.reader(), &[vm.id]).await?;
        let Some(root) = volumes.iter().find(|volume| volume.is_root()) else { return Ok(None) };
        self.template_to_pool(&iso, &pool_of(self.db.reader(), root).await?).await
    }

    /// The ISO that should be in a VM's drive.
    async fn iso_of(&self, vm: &vm::Model) -> Result<Option<template::Model>, AppError> {
        match vm.iso_id.filter(|_| vm.iso_attachment.0 != Attachment::Detaching) {
            Some(iso) => Ok(find::<template::Entity>(self.db.reader(), iso).await?),
            None => Ok(None),
        }
    }

    pub(super) async fn parts(&self, vm: vm::Model) -> Result<Parts, AppError> {
        let db = self.db.reader();
        let nics = vm::nics(db, &[vm.id]).await?;
        let volumes = volume::of_vms(db, &[vm.id]).await?;
        let mut networks = HashMap::new();
        for nic in &nics {
            if let Some(network) = find::<network::Entity>(db, nic.network_id).await? {
                networks.insert(network.id.0, network);
            }
        }
        let mut pools = HashMap::new();
        for volume in &volumes {
            if let Some(pool) = find::<pool::Entity>(db, volume.pool_id).await? {
                pools.insert(pool.id.0, pool);
            }
        }
        let iso = self.iso_of(&vm).await?;
        let addresses6 = self.addresses6(&vm, &nics).await?;
        Ok(Parts { vm, nics, volumes, iso, networks, addresses6, pools })
    }

    /// The IPv6 addresses of a VM's interfaces that its hosts are to guard: of a router only MAC addresses are checked, and
    /// a host whose agent is of an older version refuses what says more.
    async fn addresses6(
        &self,
        vm: &vm::Model,
        nics: &[vm::nic::Model],
    ) -> Result<HashMap<NicId, Ipv6Addr>, AppError> {
        let mut addresses = HashMap::new();
        if vm.role.is_some() {
            return Ok(addresses);
        }
        let db = self.db.reader();
        for nic in nics {
            addresses.extend(view::address6(db, nic).await?.map(|address| (nic.id.0, address)));
        }
        for host in [vm.host_id, vm.moving_to].into_iter().flatten() {
            let found = find::<server::Entity>(db, host.0.to_string()).await?;
            if addresses.is_empty() || found.is_none_or(|host| !host.has_ipv6) {
                return Ok(HashMap::new());
            }
        }
        Ok(addresses)
    }

    /// Writes that a VM runs, and with it the end of the operation that this is the goal of.
    async fn is_running(
        &self,
        parts: &Parts,
        status: VmStatus,
        mut steps: Vec<Step>,
        ends: Option<&operation::Model>,
    ) -> Result<Outcome, AppError> {
        let on_host = |step: podzol_agent_api::vm::StepTiming| Step {
            step: format!("host: {}", step.step),
            micros: step.micros,
        };
        steps.extend(status.timing.into_iter().map(on_host));
        let tx = self.db.begin().await?;
        let found = find::<vm::Entity>(tx.reader(), parts.vm.id).await?;
        let Some(mut row) = found else { return Ok(Outcome::Done) };
        if row.generation != parts.vm.generation {
            return Ok(Outcome::Overtaken { detail: "overtaken by a later request".into() });
        }
        if !matches!(row.state.0, VmState::Running | VmState::Paused) {
            row.started_at = Some(now().0);
            row.timing = steps.into();
        }
        row.state = JsonCol(runs(&row));
        row.error = None;
        // What sets out after this was told gives the VM another generation.
        if parts.have_some_on_their_way() {
            devices::arrived(self, &tx, &mut row).await?;
        }
        tx.vm_update(row).await?;
        if let Some(operation) = ends {
            tx.operation_succeeded(operation)?;
        }
        tx.commit().await?;
        Ok(if ends.is_some() { Outcome::Ended } else { Outcome::Done })
    }

    /// Ends a VM on its host and gives back its room there. Done when it has no host any more.
    async fn take_down(&self, operation: &operation::Model, vm: vm::Model) -> Result<Outcome, AppError> {
        if let Some(outcome) = self.off_its_host(operation, &vm).await? {
            return Ok(outcome);
        }
        let tx = self.db.begin().await?;
        let Some(mut row) = find::<vm::Entity>(tx.reader(), vm.id).await? else { return Ok(Outcome::Done) };
        if row.generation != vm.generation {
            return Ok(Outcome::Overtaken { detail: "overtaken by a later request".into() });
        }
        (row.host_id, row.moving_to) = (None, None);
        devices::arrived(self, &tx, &mut row).await?;
        row.state = JsonCol(match &row.error {
            _ if row.expunge_at.is_some() => VmState::Deleted,
            Some(_) => VmState::Failed,
            None => VmState::Stopped,
        });
        tx.vm_update(row).await?;
        tx.commit().await?;
        Ok(Outcome::Done)
    }

    /// Something if the host still has it, or has not said so yet.
    async fn off_its_host(
        &self,
        operation: &operation::Model,
        vm: &vm::Model,
    ) -> Result<Option<Outcome>, AppError> {
        self.count_before_it_ends(vm).await?;
        let hosts: Vec<HostId> =
            [vm.moving_to, vm.host_id].into_iter().flatten().map(|host| host.0).collect();
        // One that moves may be on either, and is ended on both at once: each knows what became of the move.
        let asked = join_all(hosts.iter().map(|host| self.off(operation, vm, *host))).await;
        let outcomes: Vec<Option<Outcome>> = asked.into_iter().collect::<Result<_, _>>()?;
        Ok(outcomes.into_iter().flatten().next())
    }

    async fn off(
        &self,
        operation: &operation::Model,
        vm: &vm::Model,
        host: HostId,
    ) -> Result<Option<Outcome>, AppError> {
        let request = VmDeleteRequest {
            generation: Generation(vm.generation as u64),
            grace_secs: vm.grace_secs as u64,
            wait_ms: WAIT.as_millis() as u64,
        };
        Ok(match self.peers.call::<VmDelete>(PeerId::Host(host), &vm.id.0, &request, CALL).await {
            Ok(status) if status.state == OnHost::Absent => None,
            Ok(_) => Some(still_at_it("its host is stopping it")),
            Err(error) => match self.host_refused(operation, vm, &error).await? {
                // It must get done, so a refusal is asked again too.
                Outcome::Failed { code, detail } => Some(Outcome::again(code, detail)),
                outcome => Some(outcome),
            },
        })
    }

    async fn destroy(&self, operation: &operation::Model, vm: vm::Model) -> Result<Outcome, AppError> {
        if let Some(outcome) = self.off_its_host(operation, &vm).await? {
            return Ok(outcome);
        }
        let volumes = volume::of_vms(self.db.reader(), &[vm.id]).await?;
        let roots: Vec<volume::Model> = volumes.into_iter().filter(volume::Model::is_root).collect();
        for root in &roots {
            if let Some(outcome) = self.volume_destroy(root).await? {
                return Ok(outcome);
            }
        }
        let tx = self.db.begin().await?;
        devices::volumes_left(&tx, vm.id).await?;
        for root in &roots {
            tx.volume_delete(root).await?;
        }
        let nics: Vec<_> = vm::nics(tx.reader(), &[vm.id]).await?.iter().map(|nic| nic.id.0).collect();
        self.rules_without(&tx, &nics).await?;
        if vm.role.is_some() {
            self.router_gone(&tx, vm.id.0).await?;
            self.console_proxy_gone(&tx, vm.id.0).await?;
        }
        tx.vm_delete(&vm).await?;
        tx.commit().await?;
        Ok(Outcome::Done)
    }
}

/// The networks with routers that a VM must be served in before it is told: all of them when it starts, and those that it is
/// plugged into when it runs. Other changes are no affair of a router's.
fn served_networks(parts: &Parts) -> Vec<NetworkId> {
    let has_router =
        |network: &NetworkId| parts.networks.get(network).is_some_and(|network| network.has_router);
    let is_new = |nic: &&vm::nic::Model| {
        parts.vm.state.0 == VmState::Starting || nic.attachment.0 == Attachment::Attaching
    };
    let is_customers = parts.vm.role.is_none();
    let nics = parts.nics.iter().filter(|nic| is_customers && is_new(nic));
    nics.map(|nic| nic.network_id.0).filter(has_router).collect()
}

/// What a VM does that runs as described.
pub(super) fn runs(row: &vm::Model) -> VmState {
    if row.paused { VmState::Paused } else { VmState::Running }
}

fn step(name: &str, begun: Instant) -> Step {
    Step { step: name.into(), micros: begun.elapsed().as_micros() as u64 }
}
