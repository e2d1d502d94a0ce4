//! Looking after console proxies: telling each what has changed and what it has lost, and noting what it says.
//!
//! It converges to proxies that are as the rows say, each on its own: one that hangs holds up no other. Whatever is told is a
//! function of the rows, so a proxy that was started anew, or a management service that was, comes to the same.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use podzol_console_proxy_api::ProxyStatus;
use podzol_mgmt_api::console::ConsoleProxyState;
use podzol_mgmt_api::vm::VmState;
use podzol_mgmt_db::console::{self, server, session};
use podzol_mgmt_db::{change, find, now, public_ip, vm, zone};
use podzol_vocab::{ConsoleProxyId, ConsoleSessionId, VmId};
use tokio_util::sync::CancellationToken;

use super::known::{Attending, Heard, Known};
use crate::router::TellError;
use crate::{App, AppError};

/// How often each console proxy is asked what it does at least.
const ROUND: Duration = Duration::from_secs(2);

/// How many changes are read at once.
const BATCH: usize = 500;

/// How long a proxy rests that was told something and has something to be told again.
const PAUSE: Duration = Duration::from_millis(20);

/// How long a console proxy may be silent until it is said to be.
const SILENT: Duration = Duration::from_secs(10);

/// What there is in a zone.
#[derive(Debug)]
pub(crate) struct Measured {
    /// Its name.
    pub(crate) zone: String,
    pub(crate) sessions: u32,
    pub(crate) waiting: u32,
    /// For how many more sessions there is room at servers that are open.
    pub(crate) room: u32,
    pub(crate) pages: u32,
    /// Those that answer, and what they say of themselves.
    pub(crate) proxies: Vec<(ConsoleProxyId, ProxyStatus)>,
}

/// Looks after console proxies, until stopped.
pub(crate) async fn follow(app: App, stop: CancellationToken) {
    if app.settings.console.is_none() {
        return;
    }
    tokio::join!(
        follow_changes(&app, &stop),
        look_after(&app, &stop),
        super::scan::follow(app.clone(), stop.clone())
    );
}

async fn follow_changes(app: &App, stop: &CancellationToken) {
    let mut last = app.db.changes();
    let mut seen = *last.borrow_and_update();
    while stop.run_until_cancelled(last.changed()).await.is_some_and(|changed| changed.is_ok()) {
        last.mark_unchanged();
        match app.note_console_changes(seen).await {
            Ok(now) => seen = now,
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "cannot note changes of consoles");
            }
        }
    }
}

async fn look_after(app: &App, stop: &CancellationToken) {
    let mut round = tokio::time::interval(ROUND.min(app.settings.silent_after / 3));
    round.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let is_round = tokio::select! {
            () = stop.cancelled() => return,
            _ = round.tick() => true,
            () = app.here.consoles.look.notified() => false,
        };
        if let Err(error) = app.look_after_consoles(is_round).await {
            tracing::error!(error = &error as &dyn std::error::Error, "cannot look after console proxies");
        }
    }
}

impl App {
    /// Notes what has changed of what console proxies are told. Gives the number of the last change.
    async fn note_console_changes(&self, seen: i64) -> Result<i64, AppError> {
        let mut last = seen;
        loop {
            let changes = self.db.changes_after(last, BATCH).await?;
            let Some(newest) = changes.last() else { return Ok(last) };
            last = newest.seq;
            self.note_console_batch(&changes).await?;
        }
    }

    async fn note_console_batch(&self, changes: &[change::Model]) -> Result<(), AppError> {
        let consoles = &self.here.consoles;
        let (mut vms, mut any) = (BTreeSet::new(), false);
        for change in changes {
            match change.kind.as_str() {
                "vm" => vms.extend(change.object_id.parse::<VmId>()),
                "console-proxy" | "console-session" => any = true,
                "console-key" | "console-certificate" | "zone" => {
                    consoles.touch_all();
                    any = true;
                }
                _ => {}
            }
            if change.kind == "console-session" {
                match self.console_proxy_with(&change.object_id).await? {
                    Some(proxy) => consoles.of(proxy).touch(),
                    // Which proxy had it nobody knows any more.
                    None => consoles.touch_all(),
                }
            } else if let ("console-proxy", Ok(id)) = (change.kind.as_str(), change.object_id.parse()) {
                consoles.of(id).touch();
            }
        }
        let vms: Vec<VmId> = vms.into_iter().collect();
        if !vms.is_empty() {
            let mut proxies = session::proxies_of_vms(self.db.reader(), &vms).await?;
            // Its own VM may have ended.
            proxies.extend(console::of_vms(self.db.reader(), &vms).await?.into_iter().map(|row| row.id.0));
            any |= !proxies.is_empty();
            proxies.into_iter().for_each(|proxy| consoles.of(proxy).touch());
        }
        if any {
            consoles.look.notify_one();
            consoles.scan.notify_one();
        }
        Ok(())
    }

    /// The console proxy at which a session has its place now.
    async fn console_proxy_with(&self, session: &str) -> Result<Option<ConsoleProxyId>, AppError> {
        let Ok(id) = session.parse::<ConsoleSessionId>() else { return Ok(None) };
        let row = find::<session::Entity>(self.db.reader(), id).await?;
        let Some(server) = row.and_then(|row| row.server_id) else { return Ok(None) };
        Ok(find::<server::Entity>(self.db.reader(), server).await?.map(|server| server.proxy_id.0))
    }

    /// Looks after all console proxies, or only those of which something has changed, each beside the others.
    pub(crate) async fn look_after_consoles(&self, all: bool) -> Result<(), AppError> {
        self.name_console_proxies().await?;
        if all {
            // Neither keeps proxies from being looked after.
            for done in [self.renew_ticket_keys().await, self.forget_console_sessions().await] {
                if let Err(error) = done {
                    tracing::error!(error = &error as &dyn std::error::Error, "consoles are not kept up");
                }
            }
        }
        let rows = console::all(self.db.reader()).await?;
        self.here.consoles.keep(&rows.iter().map(|row| row.id.0).collect());
        for row in rows {
            let known = self.here.consoles.of(row.id.0);
            if !all && !known.take_touched() {
                continue;
            }
            known.touch();
            let Some(attending) = Attending::begin(known) else { continue };
            let app = self.clone();
            tokio::spawn(async move { app.attend_console_proxy(row, attending).await });
        }
        Ok(())
    }

    /// Tells DNS the addresses of all console proxies. Until that is done once, none of their names is known.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn name_console_proxies(&self) -> Result<(), AppError> {
        let Some(settings) = &self.settings.console else { return Ok(()) };
        let mut addresses = BTreeSet::new();
        for row in console::all(self.db.reader()).await? {
            let address = find::<public_ip::Entity>(self.db.reader(), row.public_ip_id).await?;
            addresses.extend(address.map(|address| IpAddr::V4(address.address.0)));
        }
        settings.names.set(addresses);
        Ok(())
    }

    async fn attend_console_proxy(&self, row: console::Model, attending: Attending) {
        let id = row.id.0;
        match self.attend_console_proxy_once(row).await {
            Ok(()) => {}
            Err(TellError::Later(why) | TellError::Refused(why)) => {
                tracing::warn!(proxy = %id, why, "a console proxy was not told");
                return;
            }
            Err(TellError::App(error)) => {
                tracing::error!(error = &error as &dyn std::error::Error, proxy = %id, "cannot tell a console proxy");
                return;
            }
        }
        let known = std::sync::Arc::clone(&attending.0);
        drop(attending);
        // What has changed meanwhile, nobody was woken for.
        if known.take_touched() {
            known.touch();
            tokio::time::sleep(PAUSE).await;
            self.here.consoles.look.notify_one();
        }
    }

    async fn attend_console_proxy_once(&self, row: console::Model) -> Result<(), TellError> {
        let Some(vm) = find::<vm::Entity>(self.db.reader(), row.vm_id).await? else { return Ok(()) };
        if !matches!(vm.state.0, VmState::Running | VmState::Migrating) {
            self.here.consoles.of(row.id.0).take_touched();
            return Ok(());
        }
        self.console_proxy_found(&vm).await?;
        let told = self.console_proxy_told(&row, &vm).await;
        // Whatever it was not told, what it has said counts.
        self.note_console_status(&row, &self.here.consoles.of(row.id.0)).await?;
        told
    }

    /// What the VM of a console proxy still has to do once its host runs it: it answers, and has been told all. Why not, if it
    /// has not.
    pub(crate) async fn console_proxy_is_up(&self, vm: &vm::Model) -> Result<Option<String>, AppError> {
        let Some(row) = console::of_vm(self.db.reader(), vm.id.0).await? else { return Ok(None) };
        self.console_proxy_found(vm).await?;
        match self.console_proxy_told(&row, vm).await {
            Ok(()) => {
                let known = self.here.consoles.of(row.id.0);
                self.note_console_status(&row, &known).await?;
                Ok(None)
            }
            Err(TellError::Later(why)) => {
                tracing::debug!(vm = %vm.id, why, "a console proxy is not up yet");
                Ok(Some("it boots".into()))
            }
            Err(TellError::Refused(why)) => Ok(Some(format!("it does not take what it is told: {why}"))),
            Err(TellError::App(error)) => Err(error),
        }
    }

    /// Notes which servers of a console proxy are open, and of which sessions pages are.
    async fn note_console_status(&self, row: &console::Model, known: &Known) -> Result<(), AppError> {
        let Some(status) = known.heard().status.clone() else { return Ok(()) };
        let servers = console::servers(self.db.reader(), &[row.id]).await?;
        let is_open = |server: &server::Model| {
            status.servers.get(&server.id.0).is_some_and(|server| server.problem.is_none())
        };
        if servers.iter().any(|server| server.opened_at.is_none() && is_open(server)) {
            let tx = self.db.begin().await?;
            for server in console::servers(tx.reader(), &[row.id]).await? {
                if server.opened_at.is_none() && is_open(&server) {
                    tx.console_server_update(server::Model { opened_at: Some(now().0), ..server }).await?;
                }
            }
            tx.commit().await?;
            // Who waits for a place may have it.
            self.wake.notify_one();
        }
        self.note_seen(known, &status).await
    }

    /// How many console proxies are in each state.
    pub(crate) async fn count_console_proxies(&self) -> Result<Vec<(ConsoleProxyState, i64)>, AppError> {
        let mut counts: BTreeMap<u8, (ConsoleProxyState, i64)> = BTreeMap::new();
        for row in console::all(self.db.reader()).await? {
            let Some(vm) = find::<vm::Entity>(self.db.reader(), row.vm_id).await? else { continue };
            let heard = self.heard_of(row.id.0);
            let (state, _) = super::state_of(&row, &vm, heard.as_ref());
            counts.entry(state as u8).or_insert((state, 0)).1 += 1;
        }
        Ok(counts.into_values().collect())
    }

    /// What there is in each zone that can have console proxies.
    pub(crate) async fn console_measures(&self) -> Result<Vec<Measured>, AppError> {
        if self.settings.console.is_none() {
            return Ok(vec![]);
        }
        let db = self.db.reader();
        let mut all = vec![];
        for zone in zone::all(db).await?.into_iter().filter(|zone| zone.of_routers().is_some()) {
            let counts = session::count_by_server(db, zone.id.0).await?;
            let mut measured = Measured {
                zone: zone.name.to_string(),
                sessions: counts.values().sum(),
                waiting: self.count_waiting(db, zone.id.0).await?,
                room: 0,
                pages: 0,
                proxies: vec![],
            };
            for row in console::of_zone(db, zone.id.0).await? {
                let servers = console::servers(db, &[row.id]).await?;
                let takes = row.draining_since.is_none() && !row.is_retired;
                let heard = self.heard_of(row.id.0).filter(|heard| heard.answers(SILENT));
                let works = |one: &server::Model| heard.as_ref().is_some_and(|heard| heard.works(one.id.0));
                let open = servers.iter().filter(|one| {
                    takes && one.draining_since.is_none() && one.opened_at.is_some() && works(one)
                });
                let room = |one: &server::Model| {
                    (one.max_sessions as u32).saturating_sub(counts.get(&one.id.0).copied().unwrap_or(0))
                };
                measured.room += open.map(room).sum::<u32>();
                if let Some(said) = heard.and_then(|heard| heard.status) {
                    measured.pages += said.servers.values().map(|server| server.viewers).sum::<u32>();
                    measured.proxies.push((row.id.0, said));
                }
            }
            all.push(measured);
        }
        Ok(all)
    }

    pub(super) fn heard_of(&self, proxy: ConsoleProxyId) -> Option<Heard> {
        self.here.consoles.get(proxy).map(|known| known.heard().clone())
    }
}

/// What is wrong with a console proxy that runs, by what it has said.
pub(super) fn trouble(heard: &Heard) -> Option<String> {
    if let Some(why) = &heard.refuses {
        return Some(format!("it does not take what it is told: {why}"));
    }
    if heard.silent() > SILENT {
        return Some(format!("it has not answered for {} s", heard.silent().as_secs()));
    }
    if let Some(why) = &heard.appliance_trouble {
        return Some(why.clone());
    }
    let problems = heard.status.iter().flat_map(|status| &status.servers);
    let problems =
        problems.filter_map(|(id, server)| Some(format!("server {id}: {}", server.problem.as_ref()?)));
    let problems: Vec<String> = problems.collect();
    (!problems.is_empty()).then(|| problems.join("; "))
}
