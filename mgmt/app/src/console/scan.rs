//! The capacity scan: has each zone have the console proxies that it should, see [`super::capacity`].
//!
//! ```text
//!   lease of the zone ─▶ rows, and what was heard ─▶ decision ─▶ its steps, each a transaction that looks at the lease again
//! ```
//! One management server at a time scans a zone. Whoever has its lease keeps it by scanning again; when it is dead, another one
//! has it in seconds. A scan asks no proxy and no host: it goes by rows and by what they said of late, so none that is stuck
//! holds it up, and zones are scanned side by side. A step that is not done, because a host has no room or this process is
//! killed, is found out by the next scan.

#[cfg(test)]
pub(super) mod tests;

use std::collections::HashMap;
use std::time::Duration;

use futures_util::future::join_all;
use podzol_mgmt_api::vm::VmState;
use podzol_mgmt_db::console::{self, scan, server, session};
use podzol_mgmt_db::vm::Desired;
use podzol_mgmt_db::{Reader, Tx, find, now, vm, zone};
use podzol_vocab::{ConsoleServerId, ZoneId};
use tokio_util::sync::CancellationToken;

use super::capacity::{Decision, Ends, Proxy, Server, State, Step, Why, Zone, decide};
use super::hold;
use super::make::{REMOVED, console_event, vm_of};
use crate::identity::{self, Nearness};
use crate::{App, AppError, ConsoleSettings};

/// How often each zone is scanned at least.
const ROUND: Duration = Duration::from_secs(2);

/// For how long a scan keeps others away: a few rounds.
const LEASE: Duration = Duration::from_secs(8);

/// For how long a proxy does not answer, or a server does not work, until nobody counts on it: more than a start of its program takes.
const FLEETING: Duration = Duration::from_secs(5);

/// How many times as long as a silent host a proxy is waited for whose host says that its VM runs.
const STUCK: u32 = 4;

/// Scans all zones, until stopped.
pub(crate) async fn follow(app: App, stop: CancellationToken) {
    if app.settings.console.is_none() {
        return;
    }
    while !stop.is_cancelled() {
        if let Some(Err(error)) = stop.run_until_cancelled(app.scan_consoles()).await {
            tracing::error!(error = &error as &dyn std::error::Error, "cannot scan console proxies");
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = app.here.consoles.scan.notified() => {}
            () = tokio::time::sleep(ROUND) => {}
        }
    }
}

impl App {
    /// Scans each zone once, if nobody else does.
    pub(crate) async fn scan_consoles(&self) -> Result<(), AppError> {
        let Some(settings) = &self.settings.console else { return Ok(()) };
        let zones = zone::all(self.db.reader()).await?;
        let scans = zones.iter().filter(|zone| zone.of_routers().is_some());
        let done = join_all(scans.map(|zone| self.scan_zone(zone.id.0, settings))).await;
        done.into_iter().collect()
    }

    /// Scans a zone, unless another management server does.
    pub(super) async fn scan_zone(&self, zone: ZoneId, settings: &ConsoleSettings) -> Result<(), AppError> {
        let Some((mut scan, seen)) = self.scan_begun(zone).await? else { return Ok(()) };
        let decision = decide(&seen, &settings.rules());
        self.metrics.console_scans.inc();
        let mut errors = Vec::new();
        for step in &decision.steps {
            match self.scan_step(&mut scan, step, settings).await {
                Ok(true) => {}
                // Somebody else scans by now.
                Ok(false) => return Ok(()),
                Err(AppError::Exhausted { detail, reasons, .. }) => {
                    let why =
                        if reasons.is_empty() { detail } else { format!("{detail}: {}", reasons.join("; ")) };
                    tracing::warn!(%zone, ?step, why, "a console proxy cannot be had");
                    errors.push(why);
                }
                Err(error) => return Err(error),
            }
        }
        if !decision.steps.is_empty() {
            self.wake.notify_one();
            self.here.consoles.look.notify_one();
        }
        self.scan_ended(&mut scan, &decision, errors).await
    }

    /// Takes the lease of a zone's scans, or keeps it, and looks at the zone. Nothing if another management server has it.
    async fn scan_begun(&self, zone: ZoneId) -> Result<Option<(scan::Model, Zone)>, AppError> {
        let tx = self.db.begin().await?;
        let (at, lease) = (now().0, LEASE.as_millis() as i64);
        let scan = tx.console_scan_begin(zone, &self.here.owner, at, at + lease).await?;
        let seen = match scan {
            // In one transaction: a session that finds its place meanwhile would be neither waiting nor there.
            Some(mut scan) => {
                if hold::works(&mut scan, &console::servers_of_zone(tx.reader(), zone).await?) {
                    tx.console_scan_update(scan.clone()).await?;
                }
                let seen = self.console_zone(tx.reader(), zone, &scan).await?;
                Some((scan, seen))
            }
            None => None,
        };
        tx.commit().await?;
        Ok(seen)
    }

    async fn scan_ended(
        &self,
        scan: &mut scan::Model,
        decision: &Decision,
        mut errors: Vec<String>,
    ) -> Result<(), AppError> {
        if hold::is_held(scan) {
            errors.extend(hold::why(scan));
        } else if decision.beyond > 0 {
            errors.push(format!(
                "there is no room for {} sessions, and there are as many console proxies as may be",
                decision.beyond
            ));
        }
        let surplus_since = decision.is_surplus.then(|| scan.surplus_since.unwrap_or(now().0));
        let error = (!errors.is_empty()).then(|| errors.join("; "));
        if (surplus_since, &error) == (scan.surplus_since, &scan.error) {
            return Ok(());
        }
        let tx = self.db.begin().await?;
        if tx.console_scan_holds(scan, now().0).await? {
            (scan.surplus_since, scan.error) = (surplus_since, error);
            tx.console_scan_update(scan.clone()).await?;
            tx.commit().await?;
        }
        Ok(())
    }

    /// A zone as its rows and what was heard have it.
    async fn console_zone(
        &self,
        db: &impl Reader,
        zone: ZoneId,
        scan: &scan::Model,
    ) -> Result<Zone, AppError> {
        let counts = session::count_by_server(db, zone).await?;
        let rows = console::of_zone(db, zone).await?;
        let ids: Vec<_> = rows.iter().map(|row| row.id).collect();
        let servers = console::servers(db, &ids).await?;
        let mut proxies = Vec::with_capacity(rows.len());
        for row in rows {
            // One that has just gone is gone by the next scan.
            let Some(vm) = find::<vm::Entity>(db, row.vm_id).await? else { continue };
            let own = servers.iter().filter(|server| server.proxy_id == row.id);
            proxies.push(Proxy {
                id: row.id.0,
                state: self.console_state(db, &row, &vm).await?,
                draining: row.draining_since.map(since),
                is_retired: row.is_retired,
                ends: match identity::nearness(&vm) {
                    Nearness::Far => Ends::Later,
                    Nearness::Replaced => Ends::Soon,
                    Nearness::Told => Ends::Now,
                },
                servers: own.map(|server| self.console_server(&row, &vm, server, &counts)).collect(),
            });
        }
        let waiting = self.count_waiting(db, zone).await?;
        let surplus = scan.surplus_since.map(since);
        Ok(Zone { proxies, waiting, surplus, is_held: hold::is_held(scan) })
    }

    async fn console_state(
        &self,
        db: &impl Reader,
        row: &console::Model,
        vm: &vm::Model,
    ) -> Result<State, AppError> {
        let known = self.here.consoles.of(row.id.0);
        if vm.desired.0 == Desired::Deleted {
            return Ok(State::Leaving);
        }
        match vm.state.0 {
            VmState::Running | VmState::Migrating => known.heard().starting = None,
            VmState::Failed | VmState::Stopped => {
                let why = vm.error.clone().unwrap_or_else(|| "it has ended".into());
                return Ok(State::Dead(format!("its VM does not run: {why}")));
            }
            _ => {
                let mut heard = known.heard();
                let starting = *heard.starting.get_or_insert_with(tokio::time::Instant::now);
                // Once it runs, it is silent from then on.
                heard.unanswered = None;
                return Ok(State::Starting(starting.elapsed()));
            }
        }
        let silent_after = self.settings.silent_after;
        if !known.heard().silent().is_zero() && !self.hears_any_host(db).await? {
            // It is this service that is cut off. Consoles go on without it, and are not to end because of it: how long they are
            // silent counts from when it hears anybody.
            known.heard().unanswered = None;
        }
        let silent = known.heard().silent();
        let host_is_away = self.is_away(db, vm).await?;
        let longest = if host_is_away { silent_after } else { silent_after * STUCK };
        if silent < longest || self.here.since.elapsed() < longest {
            let fails = known.heard().ails(None).is_some_and(|for_long| for_long >= self.fleeting());
            return Ok(if fails { State::Silent } else { State::Running });
        }
        let why = if host_is_away { "its host does not report" } else { "its host says that it runs" };
        Ok(State::Dead(format!("it has not answered for {} s, and {why}", silent.as_secs())))
    }

    /// Whether any host has reported of late.
    async fn hears_any_host(&self, db: &impl Reader) -> Result<bool, AppError> {
        let since = now().0 - self.settings.silent_after.as_millis() as i64;
        let hosts = podzol_mgmt_db::server::joined_hosts(db).await?;
        Ok(hosts.into_iter().any(|row| self.heard.latest(row).reported_at.is_some_and(|at| at >= since)))
    }

    fn console_server(
        &self,
        row: &console::Model,
        vm: &vm::Model,
        server: &server::Model,
        counts: &HashMap<ConsoleServerId, u32>,
    ) -> Server {
        let id = server.id.0;
        let problem = self.here.consoles.of(row.id.0).heard().ails(Some(id));
        let begun = server.created_at.max(vm.started_at.unwrap_or(server.created_at));
        let opening = match server.opened_at {
            None => Some(since(begun)),
            Some(_) => problem,
        };
        Server {
            id,
            max_sessions: server.max_sessions as u32,
            sessions: counts.get(&id).copied().unwrap_or(0),
            opening,
            is_broken: server.opened_at.is_some()
                && problem.is_some_and(|for_long| for_long >= self.fleeting()),
            draining: server.draining_since.map(since),
        }
    }

    fn fleeting(&self) -> Duration {
        FLEETING.min(self.settings.silent_after)
    }

    /// Does a step of a scan, if that is still the last one. Says whether it is.
    async fn scan_step(
        &self,
        scan: &mut scan::Model,
        step: &Step,
        settings: &ConsoleSettings,
    ) -> Result<bool, AppError> {
        let tx = self.db.begin().await?;
        if !tx.console_scan_holds(scan, now().0).await? {
            return Ok(false);
        }
        if matches!(step, Step::DrainServer(_) | Step::DrainProxy(_) | Step::RetireProxy(_)) {
            // A session may have come since.
            let seen = self.console_zone(tx.reader(), scan.zone_id.0, scan).await?;
            if !decide(&seen, &settings.rules()).steps.contains(step) {
                return Ok(true);
            }
        }
        tracing::info!(zone = %scan.zone_id, ?step, "a step of a scan of console proxies");
        match step {
            Step::StartProxy => drop(self.console_proxy_make(&tx, scan.zone_id.0, settings).await?),
            Step::StartServer(id) => {
                if let Some(row) = find::<console::Entity>(tx.reader(), *id).await? {
                    self.console_server_make(&tx, &row, settings).await?;
                    console_event(
                        &tx,
                        &row,
                        "console-proxy.start-server",
                        "sessions need it, or the reserve",
                    )
                    .await?;
                }
            }
            Step::TakeBackProxy(id) | Step::DrainProxy(id) => {
                let drains = matches!(step, Step::DrainProxy(_));
                let found = find::<console::Entity>(tx.reader(), *id).await?;
                // An operator may have asked it to go since: that stands.
                if let Some(row) = found.filter(|row| !row.is_retired) {
                    let action = if drains { "console-proxy.drain" } else { "console-proxy.take-back" };
                    console_event(&tx, &row, action, "by the scan").await?;
                    let draining_since = drains.then(|| now().0);
                    tx.console_proxy_update(console::Model { draining_since, ..row }).await?;
                }
            }
            Step::RetireProxy(id) => {
                let found = find::<console::Entity>(tx.reader(), *id).await?;
                if let Some(row) = found.filter(|row| !row.is_retired) {
                    let ends = identity::ends_at(&vm_of(tx.reader(), &row).await?);
                    let ends = ends.map(|ends| ends.to_string()).unwrap_or_default();
                    let why = format!("its certificate ends on {ends}");
                    console_event(&tx, &row, "console-proxy.retire", &why).await?;
                    let draining_since = row.draining_since.or(Some(now().0));
                    let row = console::Model { draining_since, is_retired: true, ..row };
                    tx.console_proxy_update(row).await?;
                }
            }
            Step::TakeBackServer(id) | Step::DrainServer(id) => {
                let draining_since = matches!(step, Step::DrainServer(_)).then(|| now().0);
                if let Some(row) = find::<server::Entity>(tx.reader(), *id).await? {
                    tx.console_server_update(server::Model { draining_since, ..row }).await?;
                }
            }
            Step::Displace(id) => tx.console_sessions_displaced(*id).await?,
            Step::RemoveServer(id, why) => self.console_server_goes(&tx, *id, why).await?,
            Step::RemoveProxy(id, why) => {
                if let Some(row) = find::<console::Entity>(tx.reader(), *id).await? {
                    let (action, why) = match why {
                        Why::Surplus => (REMOVED, "nobody needs it"),
                        Why::Broken(why) => ("console-proxy.dead", why.as_str()),
                    };
                    let servers = console::servers(tx.reader(), &[row.id]).await?;
                    if action != REMOVED && servers.iter().all(|server| server.opened_at.is_none()) {
                        hold::failed(scan, why);
                        tx.console_scan_update(scan.clone()).await?;
                    }
                    self.console_proxy_goes(&tx, row, action, why).await?;
                }
            }
        }
        tx.commit().await?;
        Ok(true)
    }

    async fn console_server_goes(&self, tx: &Tx, id: ConsoleServerId, why: &Why) -> Result<(), AppError> {
        let Some(server) = find::<server::Entity>(tx.reader(), id).await? else { return Ok(()) };
        if let Some(row) = find::<console::Entity>(tx.reader(), server.proxy_id).await? {
            let why = match why {
                Why::Surplus => "nobody needs it",
                Why::Broken(why) => why,
            };
            console_event(tx, &row, "console-proxy.remove-server", &format!("port {}: {why}", server.port))
                .await?;
        }
        Ok(tx.console_server_delete(&server).await?)
    }

    /// What somebody waits for who waits for a place in a zone.
    pub(super) async fn console_progress(&self, zone: ZoneId) -> Result<String, AppError> {
        let db = self.db.reader();
        let mut is_starting = false;
        for row in console::of_zone(db, zone).await?.iter().filter(|row| !row.is_retired) {
            let vm = vm_of(db, row).await?;
            if vm.state.0 == VmState::Starting {
                let operation = podzol_mgmt_db::operation::last_of(db, &vm.id.to_string()).await?;
                let step = operation.and_then(|operation| operation.step);
                let step = step.map(|step| format!(": {step}")).unwrap_or_default();
                return Ok(format!("a console proxy is being started{step}"));
            }
            is_starting |=
                console::servers(db, &[row.id]).await?.iter().any(|server| server.opened_at.is_none());
        }
        if is_starting {
            return Ok("a server of a console proxy is being started".into());
        }
        let scan = find::<scan::Entity>(db, zone).await?;
        Ok(match scan.and_then(|scan| scan.error) {
            Some(error) => format!("no console proxy has room: {error}"),
            None => "no console proxy has room yet".into(),
        })
    }
}

/// How long ago a time was, in milliseconds since 1970.
fn since(at: i64) -> Duration {
    Duration::from_millis((now().0 - at).max(0) as u64)
}
