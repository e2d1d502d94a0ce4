//! Telling routers what they should do.

use std::collections::HashMap;
use std::time::Duration;

use podzol_appliance_api::{Delta, Document, DocumentPatch, DocumentPut, StatusGet};
use podzol_mgmt_api::vm::{Attachment, VmState};
use podzol_mgmt_db::vm::Desired;
use podzol_mgmt_db::{Col, Reader, account, find, network, now, offering, public_ip, router, rule, vm, zone};
use podzol_rpc::{CallError, PeerId};
use podzol_vocab::{ErrorCode, Generation, VmId};

use super::differences::served_ranges;
use super::document::{self, Referred, Sides};
use super::known::{Dirty, Heard, Known};
use crate::{App, AppError};

/// How long a router may take to put a document in force: some times what the largest one takes, which should be some 20 s if all kinds
/// of rules are cut in as many pieces as there may be.
const TELL: Duration = Duration::from_secs(120);

/// How long a router may take to say what it does.
pub(crate) const ASK: Duration = Duration::from_secs(3);

/// How long an answer is waited for at most.
const LONGEST_ASK: Duration = Duration::from_secs(20);

/// How long one that has been silent for so long has to answer. What it was asked before was given up, and it begins anew with
/// what it is asked now: one that needs longer than [`ASK`] would never come to an answer. One that boots is asked often.
pub(crate) fn patience(silent: Duration) -> Duration {
    if silent < 4 * ASK { ASK } else { (silent / 2).min(LONGEST_ASK) }
}

/// How many changes are read at once.
const BATCH: usize = 500;

/// What came of telling a router.
#[derive(Debug)]
pub(crate) enum TellError {
    /// It did not answer, or cannot now.
    Later(String),
    /// It does not take it.
    Refused(String),
    /// What it should be told could not be found out.
    App(AppError),
}

impl<E: Into<AppError>> From<E> for TellError {
    fn from(error: E) -> Self {
        Self::App(error.into())
    }
}

impl App {
    /// Notes what has changed of what routers are told, up to now. Gives the number of the last change.
    pub(crate) async fn note_changes(&self) -> Result<i64, AppError> {
        let mut seen = self.here.routers.seen.lock().await;
        let from = *seen.get_or_insert_with(|| *self.db.changes().borrow());
        let mut last = from;
        loop {
            let changes = self.db.changes_after(last, BATCH).await?;
            let Some(newest) = changes.last() else { break };
            last = newest.seq;
            if self.here.routers.note(&changes) {
                self.here.routers.wake.notify_one();
            }
            *seen = Some(last);
        }
        Ok(last)
    }

    /// Has a router's VM do what it should by now. It must run, and be the router's own.
    pub(crate) async fn tell_router(&self, row: &router::Model, vm: VmId) -> Result<(), TellError> {
        let known = self.here.routers.of(row, vm);
        let has_said_what_it_can = known.heard().status.is_some();
        if !has_said_what_it_can {
            self.ask_router(row, vm, ASK).await.map_err(|error| failed(&error))?;
        }
        let mut told = known.told.lock().await;
        let last = self.note_changes().await?;
        let mut untold = known.take();
        if untold.dirty.is_empty() && told.is_some() {
            return Ok(());
        }
        if untold.dirty.all {
            *told = None;
            known.heard().aside.clear();
        }
        known.heard().aside.retain(|id, _| !untold.dirty.rules.contains(id));
        let outcome = self.tell_what_it_takes(row, vm, &known, &mut told, &untold.dirty, last).await;
        if outcome.is_ok() {
            if (untold.dirty.sides || untold.dirty.all)
                && let Some(document) = told.as_ref()
            {
                let public = document.public.as_ref();
                let has = |address| public.is_some_and(|public| public.addresses.contains_key(&address));
                // What came and went between two tellings leaves the document as it was.
                let up_to = document.generation.max(Generation(last as u64));
                self.let_go_by(vm, Some(up_to), has).await?;
            }
            untold.done();
            known.heard().untold = None;
        }
        known.heard().refuses = None;
        if let Err(TellError::Refused(why)) = &outcome {
            self.note_changes().await?;
            if !known.dirty().is_empty() {
                // Rows were read one after the other while they changed: what came of it need not be any state of theirs.
                return Err(TellError::Later(why.clone()));
            }
            known.heard().refuses = Some(why.clone());
        }
        outcome
    }

    /// Tells a router all but the balancers of HTTP for which it refuses the rest.
    async fn tell_what_it_takes(
        &self,
        row: &router::Model,
        vm: VmId,
        known: &Known,
        told: &mut Option<Document>,
        dirty: &Dirty,
        last: i64,
    ) -> Result<(), TellError> {
        loop {
            match self.tell(row, vm, known, told, dirty, last).await {
                Err(TellError::Refused(why)) if self.lay_aside(row, known, dirty, &why).await? => {}
                outcome => return outcome,
            }
        }
    }

    async fn tell(
        &self,
        row: &router::Model,
        vm: VmId,
        known: &Known,
        told: &mut Option<Document>,
        dirty: &Dirty,
        last: i64,
    ) -> Result<(), TellError> {
        let peer = PeerId::Router(vm);
        let Some(in_force) = told else {
            let mut document = self.whole_document(row, vm).await?;
            document.generation = Generation(last as u64);
            self.put_document(peer, known, &mut document).await?;
            *told = Some(document);
            return Ok(());
        };
        let mut after = Delta { from: in_force.generation, to: Generation(last as u64), ..Delta::default() };
        after.to = after.to.max(after.from.next());
        let is_other = self.differences(row, known, vm, in_force, dirty, &mut after).await?;
        if !is_other {
            return Ok(());
        }
        known.heard().wanted = Some(after.to);
        match self.peers.call::<DocumentPatch>(peer, &(), &after, TELL).await {
            Ok(()) => {
                // It begins at this document, and leads to a later one.
                let _ = after.apply(in_force);
                known.heard().in_force = Some(after.to);
                Ok(())
            }
            Err(error) if error.code() == Some(ErrorCode::StaleGeneration) => {
                let mut document = in_force.clone();
                let _ = after.apply(&mut document);
                self.put_document(peer, known, &mut document).await?;
                *told = Some(document);
                Ok(())
            }
            Err(error) => {
                // Whether it was put in force is not known.
                *told = None;
                Err(failed(&error))
            }
        }
    }

    /// Puts a document whole, with a greater generation if it must be.
    async fn put_document(
        &self,
        peer: PeerId,
        known: &Known,
        document: &mut Document,
    ) -> Result<(), TellError> {
        known.heard().wanted = Some(document.generation);
        let put = self.peers.call::<DocumentPut>(peer, &(), document, TELL).await;
        let put = match put {
            // It was told something by a newer state of this database.
            Err(error)
                if matches!(
                    error.code(),
                    Some(ErrorCode::StaleGeneration | ErrorCode::GenerationConflict)
                ) =>
            {
                let in_force = error.refusal().and_then(|refusal| refusal.in_force).unwrap_or_default();
                // The same generation with another document says nothing of what is in force.
                document.generation = document.generation.max(in_force).next();
                known.heard().wanted = Some(document.generation);
                self.peers.call::<DocumentPut>(peer, &(), document, TELL).await
            }
            put => put,
        };
        put.map_err(|error| failed(&error))?;
        known.heard().in_force = Some(document.generation);
        Ok(())
    }

    /// Asks a router what it does, and remembers it. A router that was started anew is to be told all once more.
    pub(crate) async fn ask_router(
        &self,
        row: &router::Model,
        vm: VmId,
        patience: Duration,
    ) -> Result<(), CallError> {
        let known = self.here.routers.of(row, vm);
        // What it is told meanwhile may be in force only after it has answered.
        let before = {
            let mut heard = known.heard();
            heard.unanswered.get_or_insert_with(tokio::time::Instant::now);
            heard.in_force
        };
        let status = self.peers.call::<StatusGet>(PeerId::Router(vm), &(), &(), patience).await?;
        // What it was told with IPv6 or with limits it is to be told without, or the other way round.
        let is_other;
        let is_new = {
            let mut heard = known.heard();
            let is_new = status.generation.is_none() || status.generation < before;
            let had = (heard.has_ipv6(), heard.has_limits());
            heard.in_force = status.generation.max(heard.in_force.filter(|_| !is_new));
            (heard.last, heard.unanswered) = (tokio::time::Instant::now(), None);
            heard.at = Some(now());
            heard.status = Some(status);
            is_other = had.0.is_some() && had != (heard.has_ipv6(), heard.has_limits());
            is_new
        };
        if is_other {
            known.all_is_new();
        }
        // Who is just telling it something knows better.
        if is_new && let Ok(mut told) = known.told.try_lock() {
            *told = None;
        }
        Ok(())
    }

    /// All that a router should do, as the rows are now.
    pub(super) async fn whole_document(&self, row: &router::Model, vm: VmId) -> Result<Document, TellError> {
        let db = self.db.reader();
        let mut document = Document::default();
        let sides = self.sides(db, row, vm).await?;
        sides.write(&mut document).map_err(internal)?;
        let guests: Vec<_> = document.guests.keys().copied().collect();
        let zone = find::<zone::Entity>(db, row.zone_id).await?.ok_or(AppError::NotFound("zone"))?;
        let nics = vm::nics_in(db, &guests).await?;
        let mut of_vms: HashMap<VmId, Vec<_>> = HashMap::new();
        nics.iter().for_each(|nic| of_vms.entry(nic.vm_id.0).or_default().push(nic));
        for row in vm::of_account(db, row.account_id.0, row.zone_id.0).await? {
            let Some(own) = of_vms.get(&row.id.0).filter(|_| !is_leaving(&row)) else { continue };
            let served = document::vm_nics(own.iter().copied(), &document.guests);
            document.nics.extend(served);
            let offering = self.offering_name(&row).await?;
            document.vms.insert(row.id.0, document::facts(&row, &zone.name.0, &offering));
        }
        let rules = rule::of(db, row.account_id.0, row.zone_id.0).await?;
        let referred = Referred {
            addresses: sides.addresses.iter().map(|row| (row.id.0, row.address.0)).collect(),
            nics: nics.into_iter().map(|nic| (nic.id.0, nic)).collect(),
            networks: served_ranges(&document.guests),
            addresses6: document.nics.iter().filter_map(|(id, nic)| Some((*id, nic.address6?))).collect(),
            http: self.http_side(&self.here.routers.of(row, vm), &rules).await?,
        };
        for row in rules {
            if let Some(told) = document::told(&row, &referred) {
                document::write(&row, told, &mut document).map_err(internal)?;
            }
        }
        Ok(document)
    }

    /// A router's sides, as the rows are now.
    pub(crate) async fn sides(
        &self,
        db: &impl Reader,
        row: &router::Model,
        vm: VmId,
    ) -> Result<Sides, AppError> {
        let account = find::<account::Entity>(db, row.account_id).await?;
        let zone = find::<zone::Entity>(db, row.zone_id).await?.ok_or(AppError::NotFound("zone"))?;
        let public =
            zone.public.ok_or_else(|| AppError::Internal("a zone without a public network".into()))?;
        let mut nics = vm::nics(db, &[Col(vm)]).await?;
        nics.retain(|nic| nic.attachment.0 != Attachment::Detaching);
        let mut networks = HashMap::new();
        for nic in &nics {
            let found = find::<network::Entity>(db, nic.network_id).await?;
            // One that was deleted is served no more, even if the router has not let go of it.
            if let Some(network) = found.filter(|network| network.deleted_at.is_none()) {
                networks.insert(network.id.0, network);
            }
        }
        let is_management = |nic: &vm::nic::Model| {
            let tag = networks.get(&nic.network_id.0).and_then(network::Model::tag);
            tag.and_then(podzol_vocab::Tag::traffic) == Some(podzol_vocab::TrafficType::Management)
        };
        nics.retain(|nic| !is_management(nic));
        let heard_that = |has: fn(&Heard) -> Option<bool>| {
            self.here.routers.get(vm).is_some_and(|known| has(&known.heard()) == Some(true))
        };
        let found = find::<vm::Entity>(db, Col(vm)).await?.ok_or(AppError::NotFound("vm"))?;
        let limits = document::limits(&found.size.0, self.settings.router_connections_per_vm);
        Ok(Sides {
            account: account.ok_or(AppError::NotFound("account"))?.name.0,
            nics,
            networks,
            public: public.0,
            addresses: public_ip::of(db, row.account_id.0, row.zone_id.0).await?,
            has_ipv6: heard_that(Heard::has_ipv6),
            limits: Some(limits).filter(|_| heard_that(Heard::has_limits)),
        })
    }

    pub(super) async fn offering_name(&self, row: &vm::Model) -> Result<podzol_vocab::Name, AppError> {
        let found = find::<offering::Entity>(self.db.reader(), row.offering_id).await?;
        Ok(found.ok_or(AppError::NotFound("offering"))?.name.0)
    }
}

/// Whether a VM is deleted: it keeps its address until it is gone, and no name.
pub(super) fn is_leaving(row: &vm::Model) -> bool {
    row.expunge_at.is_some() || row.desired.0 == Desired::Deleted || row.state.0 == VmState::Deleted
}

/// What came of a call that has failed.
pub(crate) fn failed(error: &CallError) -> TellError {
    match error.refusal() {
        Some(refusal) if !matches!(refusal.code, ErrorCode::Unavailable | ErrorCode::Internal) => {
            TellError::Refused(refusal.message.to_string())
        }
        Some(refusal) => TellError::Later(refusal.message.to_string()),
        None => TellError::Later("it does not answer".into()),
    }
}

pub(super) fn internal(error: String) -> AppError {
    AppError::Internal(error)
}
