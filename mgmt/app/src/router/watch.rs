//! Looking after routers: what each says, which are needed no more, and which are dead.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use podzol_appliance_api::Health;
use podzol_mgmt_api::vm::VmState;
use podzol_mgmt_db::vm::Desired;
use podzol_mgmt_db::{Reader, Tx, find, now, public_ip, router, rule, vm};
use podzol_vocab::{NetworkId, VmId};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::known::{Heard, Hitch, Known};
use super::make::is_of_guests;
use super::{ASK, TellError, patience};
use crate::operation::start;
use crate::{App, AppError};

/// How often each router is asked what it does at least.
const ROUND: Duration = Duration::from_secs(5);

/// How long a router rests that was told something, and has something to be told again or still.
const PAUSE: Duration = Duration::from_millis(20);

/// How often a router is started or replaced at most because it does not run.
const BRING_BACK: Duration = Duration::from_secs(60);

/// How many routers are asked at once.
pub(super) const AT_ONCE: usize = 64;

/// How long a router may be silent until it is said to be.
pub(super) const SILENT: Duration = Duration::from_secs(15);

/// The rules that name public addresses.
const ALL_KINDS: [rule::Kind; 4] =
    [rule::Kind::PortForward, rule::Kind::StaticNat, rule::Kind::FirewallRule, rule::Kind::LoadBalancer];

/// The networks that a router's VM is in for customers' VMs.
async fn guest_networks(db: &impl Reader, vm: &vm::Model) -> Result<Vec<NetworkId>, AppError> {
    let nics = vm::nics(db, &[vm.id]).await?;
    let guests = nics.iter().filter(|nic| is_of_guests(nic));
    Ok(guests.map(|nic| nic.network_id.0).collect())
}

/// A service of a router, and what is wrong with it.
pub(crate) fn health((name, health): (&String, &Health)) -> (String, Option<String>) {
    let why = match health {
        Health::Up => None,
        Health::Down { why } => Some(why.clone()),
    };
    (name.clone(), why)
}

/// What is wrong with a router that runs, by what it has said.
pub(crate) fn trouble(heard: &Heard) -> Option<String> {
    if let Some(why) = &heard.refuses {
        return Some(format!("it does not take what it is told: {why}"));
    }
    if heard.silent() > SILENT {
        return Some(format!("it has not answered for {} s", heard.silent().as_secs()));
    }
    if let Some(Hitch { since, why }) = &heard.untold
        && since.elapsed() > SILENT
    {
        return Some(format!(
            "for {} s it could not be told what has changed: {why}",
            since.elapsed().as_secs()
        ));
    }
    let down = heard.status.iter().flat_map(|status| &status.health).map(health);
    let down: Vec<String> = down.filter_map(|(name, why)| Some(format!("{name}: {}", why?))).collect();
    (!down.is_empty()).then(|| down.join("; "))
}

/// Tells routers of every change, and looks after them, until stopped.
pub(crate) async fn follow(app: App, stop: CancellationToken) {
    tokio::join!(follow_changes(&app, &stop), look_after(&app, &stop));
}

async fn follow_changes(app: &App, stop: &CancellationToken) {
    let mut last = app.db.changes();
    loop {
        let done = tokio::select! {
            () = stop.cancelled() => return,
            () = app.here.routers.wake.notified() => app.tell_touched().await,
            changed = last.changed() => match changed {
                Ok(()) => app.note_changes().await.map(drop),
                Err(_) => return,
            },
        };
        if let Err(error) = done {
            tracing::error!(error = &error as &dyn std::error::Error, "cannot tell routers of changes");
        }
    }
}

async fn look_after(app: &App, stop: &CancellationToken) {
    // A dead router is to be found out as soon as a dead host.
    let mut round = tokio::time::interval((app.settings.silent_after / 3).min(ROUND));
    round.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while stop.run_until_cancelled(round.tick()).await.is_some() {
        let begun = stop.run_until_cancelled(app.begin_to_look_after_routers()).await;
        if let Some(Err(error)) = begun {
            cannot_look(&error);
        }
    }
}

fn cannot_look(error: &AppError) {
    tracing::error!(error = error as &dyn std::error::Error, "cannot look after routers");
}

/// Somebody does something with a router that one does at a time, until this is dropped.
struct Begun {
    known: Arc<Known>,
    what: fn(&Known) -> &AtomicBool,
}

impl Begun {
    /// Nothing if somebody does it already.
    fn begin(known: Arc<Known>, what: fn(&Known) -> &AtomicBool) -> Option<Self> {
        (!what(&known).swap(true, Ordering::AcqRel)).then_some(Self { known, what })
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        (self.what)(&self.known).store(false, Ordering::Release);
    }
}

impl App {
    /// Tells all routers that have something to be told, each on its own.
    async fn tell_touched(&self) -> Result<(), AppError> {
        for vm in self.here.routers.to_be_told() {
            if let Some(row) = router::of_vm(self.db.reader(), vm).await?
                && row.vm_id.0 == vm
            {
                self.tell_soon(row);
            }
        }
        Ok(())
    }

    /// Has a router told what it should do, beside all else; one that is slow holds up no other.
    fn tell_soon(&self, row: router::Model) {
        let known = self.here.routers.of(&row, row.vm_id.0);
        let Some(begun) = Begun::begin(Arc::clone(&known), |known| &known.being_told) else { return };
        let app = self.clone();
        tokio::spawn(async move {
            let noted = known.noted();
            if !app.tell_if_it_runs(row).await {
                known.could_not_be_told(noted);
            }
            drop(begun);
            // What has changed meanwhile, nobody was woken for.
            if known.is_waiting() {
                tokio::time::sleep(PAUSE).await;
                app.here.routers.wake.notify_one();
            }
        });
    }

    /// Says whether it knows all now.
    pub(super) async fn tell_if_it_runs(&self, row: router::Model) -> bool {
        let runs = async {
            let vm = find::<vm::Entity>(self.db.reader(), row.vm_id).await?;
            Ok::<_, AppError>(vm.filter(|vm| matches!(vm.state.0, VmState::Running | VmState::Migrating)))
        };
        let told = match runs.await {
            Ok(Some(vm)) => self.tell_router(&row, vm.id.0).await,
            Ok(None) => return false,
            Err(error) => Err(TellError::App(error)),
        };
        let known = self.here.routers.of(&row, row.vm_id.0);
        match &told {
            Ok(()) => known.heard().untold = None,
            Err(TellError::Later(why) | TellError::Refused(why)) => {
                let mut heard = known.heard();
                let before = heard.untold.take();
                if before.as_ref().is_none_or(|before| before.why != *why) {
                    tracing::warn!(router = %row.id, why, "a router was not told");
                }
                let since = before.map_or_else(Instant::now, |before| before.since);
                heard.untold = Some(Hitch { since, why: why.clone() });
            }
            Err(TellError::App(error)) => {
                tracing::error!(error = error as &dyn std::error::Error, router = %row.id, "cannot tell a router");
            }
        }
        told.is_ok()
    }

    /// Has every router be looked at once that is not being looked at still, each on its own: one that is slow holds up no other.
    async fn begin_to_look_after_routers(&self) -> Result<(), AppError> {
        for row in self.routers_to_look_at().await? {
            let known = self.here.routers.of(&row, row.vm_id.0);
            // Those that have no answer for anybody are not to be all that are asked.
            let is_silent = known.heard().silent() > ASK;
            let Some(begun) = Begun::begin(known, |known| &known.being_looked_at) else { continue };
            let app = self.clone();
            tokio::spawn(async move {
                let _turn = match is_silent {
                    true => None,
                    false => Some(app.here.routers.looks.acquire().await),
                };
                if let Err(error) = app.look_after(row).await {
                    cannot_look(&error);
                }
                drop(begun);
            });
        }
        Ok(())
    }

    /// Looks at every router once.
    pub(crate) async fn look_after_routers(&self) -> Result<(), AppError> {
        let rows = self.routers_to_look_at().await?;
        let looks = stream::iter(rows).map(|row| self.look_after(row)).buffer_unordered(AT_ONCE);
        let failed: Vec<AppError> = looks.filter_map(async |done| done.err()).collect().await;
        failed.into_iter().next().map_or(Ok(()), Err)
    }

    async fn routers_to_look_at(&self) -> Result<Vec<router::Model>, AppError> {
        self.forget_networks().await?;
        self.let_go_of_addresses().await?;
        let rows = router::all(self.db.reader()).await?;
        let vms: BTreeSet<VmId> =
            rows.iter().flat_map(|row| [Some(row.vm_id), row.next_vm_id]).flatten().map(|vm| vm.0).collect();
        self.here.routers.keep(&vms);
        Ok(rows)
    }

    async fn look_after(&self, row: router::Model) -> Result<(), AppError> {
        let found = find::<vm::Entity>(self.db.reader(), row.vm_id).await?;
        let Some(vm) = found.filter(|vm| vm.desired.0 != Desired::Deleted) else { return Ok(()) };
        if self.collect(&row, &vm).await? || self.is_being_changed(self.db.reader(), &row).await? {
            return Ok(());
        }
        match vm.state.0 {
            VmState::Running => {}
            VmState::Stopped | VmState::Failed if vm.host_id.is_none() => {
                return self.bring_back(row, &vm).await;
            }
            VmState::Starting | VmState::Stopping | VmState::Stopped | VmState::Failed => {
                return self.replace_if_dead(row, &vm).await;
            }
            _ => return Ok(()),
        }
        self.appliance_found(&vm).await?;
        let silent = self.here.routers.of(&row, vm.id.0).heard().silent();
        // One whose host is silent too is not waited for.
        let longest = match silent > ASK && !self.is_away(self.db.reader(), &vm).await? {
            true => patience(silent),
            false => ASK,
        };
        let asked = self.ask_router(&row, vm.id.0, longest).await;
        let counted = match &asked {
            Ok(()) => self.count_traffic(&row, vm.id.0).await,
            Err(_) => self.count_what_was_heard(&row, vm.id.0).await,
        };
        if let Err(error) = counted {
            // What it says that it has counted keeps nobody from all else.
            tracing::error!(error = &error as &dyn std::error::Error, router = %row.id, "cannot keep what a router has counted");
        }
        match asked {
            Ok(()) => {
                self.forget_passwords(&row, vm.id.0).await?;
                self.here.routers.of(&row, vm.id.0).try_again();
                if row.error.is_some() && self.here.hung.has(row.id.0) {
                    self.needs_no_other(&row).await?;
                }
                if !self.balance_http(&row, &vm).await? && !self.router_outlives(&row, &vm).await? {
                    self.tell_soon(row);
                }
                Ok(())
            }
            Err(error) => {
                tracing::debug!(%error, router = %row.id, "a router does not answer");
                self.replace_if_dead(row, &vm).await
            }
        }
    }

    /// Forgets that no other VM could take a router's place: it hung, and answers again.
    async fn needs_no_other(&self, row: &router::Model) -> Result<(), AppError> {
        let tx = self.db.begin().await?;
        let Some(mut row) = find::<router::Entity>(tx.reader(), row.id).await? else { return Ok(()) };
        row.error = None;
        tx.router_update(row).await?;
        Ok(tx.commit().await?)
    }

    /// Starts a router that does not run and that VMs need: a restart that was called off or for which there was no room, or
    /// a start that has failed.
    async fn bring_back(&self, row: router::Model, vm: &vm::Model) -> Result<(), AppError> {
        if !self.is_needed(vm).await? {
            return Ok(());
        }
        let known = self.here.routers.of(&row, vm.id.0);
        let is_soon = |at: Instant| at.elapsed() < BRING_BACK;
        if known.heard().brought_back.is_some_and(is_soon) {
            return Ok(());
        }
        let tx = self.db.begin().await?;
        let found = find::<vm::Entity>(tx.reader(), vm.id).await?;
        let Some(mut vm) = found.filter(|now| now.generation == vm.generation && now.host_id.is_none())
        else {
            return Ok(());
        };
        match self.router_starts(&tx, &mut vm).await {
            Ok(()) => {
                self.router_event(&tx, &row, "router.start", "VMs need it, and it did not run").await?;
                tx.commit().await?;
                known.heard().brought_back = Some(Instant::now());
                self.wake.notify_one();
                Ok(())
            }
            // Tried again in the next round.
            Err(AppError::Exhausted { detail, .. }) => {
                tracing::warn!(router = %row.id, detail, "a router that is needed cannot be started");
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Whether VMs need a router's VM.
    pub(super) async fn is_needed(&self, vm: &vm::Model) -> Result<bool, AppError> {
        let db = self.db.reader();
        Ok(vm::any_needs(db, &guest_networks(db, vm).await?).await?)
    }

    /// Removes a router that no VM has needed for a while. Says whether it does.
    async fn collect(&self, row: &router::Model, vm: &vm::Model) -> Result<bool, AppError> {
        let is_needed = self.is_needed(vm).await?;
        let since = match (is_needed, row.idle_since) {
            (true, None) => return Ok(false),
            (false, Some(since)) if now().0 - since < self.settings.router_idle.as_millis() as i64 => {
                return Ok(false);
            }
            (true, Some(_)) => None,
            (false, since) => Some(since.unwrap_or(now().0)),
        };
        if since.is_some() && row.idle_since == since && vm.state.0 == VmState::Running {
            self.count_traffic_at_last(row).await;
        }
        let seen = row.idle_since;
        let tx = self.db.begin().await?;
        let Some(mut row) = find::<router::Entity>(tx.reader(), row.id).await? else { return Ok(true) };
        let is_over = row.idle_since.is_some() && row.idle_since == since;
        // A VM may have started meanwhile, also in a network that the router was not in.
        let networks = guest_networks(tx.reader(), vm).await?;
        if row.idle_since != seen || vm::any_needs(tx.reader(), &networks).await? != is_needed {
            return Ok(false);
        }
        if is_over || (!is_needed && self.settings.router_idle.is_zero()) {
            self.router_event(&tx, &row, "router.collect", "no VM needs it").await?;
            self.router_goes(&tx, &row).await?;
            tx.commit().await?;
            self.wake.notify_one();
            return Ok(true);
        }
        row.idle_since = since;
        tx.router_update(row).await?;
        tx.commit().await?;
        Ok(false)
    }

    /// Has a router go, with all that it has.
    pub(crate) async fn router_goes(&self, tx: &Tx, row: &router::Model) -> Result<(), AppError> {
        for vm in [Some(row.vm_id), row.next_vm_id].into_iter().flatten() {
            self.system_vm_goes(tx, vm.0).await?;
        }
        Ok(())
    }

    /// Removes the row of a router whose VM goes, and the address that it had for itself.
    pub(crate) async fn router_gone(&self, tx: &Tx, vm: VmId) -> Result<(), AppError> {
        let Some(mut row) = router::of_vm(tx.reader(), vm).await? else { return Ok(()) };
        if row.vm_id.0 != vm {
            row.next_vm_id = None;
            return Ok(tx.router_update(row).await?);
        }
        tx.router_delete(&row).await?;
        for address in public_ip::of(tx.reader(), row.account_id.0, row.zone_id.0).await? {
            let named = rule::of_public_ip(tx.reader(), address.id.0, &ALL_KINDS, 1).await?;
            if address.is_source_nat && named.is_empty() {
                tx.public_ip_delete(&address).await?;
                self.source_nat_event(tx, "public-ip.delete", &address).await?;
            }
        }
        Ok(())
    }

    /// Has another VM take the place of a router that is dead.
    async fn replace_if_dead(&self, row: router::Model, vm: &vm::Model) -> Result<(), AppError> {
        let known = self.here.routers.of(&row, vm.id.0);
        let (silent, brought_back) = {
            let heard = known.heard();
            // One that is being started or ended nobody asks.
            let is_asked = vm.state.0 == VmState::Running;
            (if is_asked { heard.silent() } else { heard.last.elapsed() }, heard.brought_back)
        };
        let host_is_away = self.is_away(self.db.reader(), vm).await?;
        let silent_after = self.settings.silent_after;
        let longest =
            if host_is_away { silent_after } else { self.here.hung.patience(row.id.0, silent_after) };
        let is_soon = brought_back.is_some_and(|at| at.elapsed() < BRING_BACK);
        // What starts or stops on a host that reports comes to its end there.
        let may_wait = vm.state.0 != VmState::Running && !host_is_away;
        if silent < longest || self.here.since.elapsed() < longest || is_soon || may_wait {
            return Ok(());
        }
        let tx = self.db.begin().await?;
        let Some(row) = find::<router::Entity>(tx.reader(), row.id).await? else { return Ok(()) };
        if row.next_vm_id.is_some() || self.is_being_changed(tx.reader(), &row).await? {
            return Ok(());
        }
        if !host_is_away && self.another_boots(tx.reader(), &row).await? {
            return Ok(());
        }
        let why = match host_is_away {
            true => format!("it has not answered for {} s, and its host does not report", silent.as_secs()),
            false => {
                format!("it has not answered for {} s, though its host says that it runs", silent.as_secs())
            }
        };
        match self.router_to_replace(&tx, row.clone()).await {
            Ok(operation) => {
                self.router_event(&tx, &row, "router.dead", &why).await?;
                start(&tx, operation).await?;
                if !host_is_away {
                    // Before others can look, who wait for this transaction.
                    self.here.hung.replaced(row.id.0, row.zone_id.0);
                }
                tx.commit().await?;
                known.heard().brought_back = Some(Instant::now());
                self.wake.notify_one();
                Ok(())
            }
            // Tried again in the next round.
            Err(AppError::Exhausted { detail, reasons, .. }) => {
                let reasons = reasons.join("; ");
                tracing::warn!(router = %row.id, why, detail, reasons, "a dead router cannot be replaced");
                Ok(())
            }
            Err(AppError::Conflict { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Whether another router of its zone is being replaced that hangs, and its VM is not there yet.
    async fn another_boots(&self, db: &impl Reader, row: &router::Model) -> Result<bool, AppError> {
        for other in self.here.hung.may_boot(row.zone_id.0) {
            let found = find::<router::Entity>(db, other).await?;
            if other != row.id.0 && found.is_some_and(|other| other.next_vm_id.is_some()) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
