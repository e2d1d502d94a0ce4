//! What routers count, kept over all routers that there are one after the other.
//!
//! A router counts from its start. What has come since it was last looked at is added to what is kept, with what its counters
//! showed, in one transaction: so nothing is added twice, whoever is killed. What is added only once a minute is lost with a
//! router that is killed meanwhile, but for what it has said since; one that is ended in order is asked right before.
//!
//! A router goes on showing what it has counted for interfaces and addresses that are no more. So what is deleted is not
//! waited for: what was sent since the last look is added at the next one to what has ended. A router counts by public
//! addresses, and an account can get one again that it had given back: then what it shows is of who has it now, from there on.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use podzol_appliance_api::{Counters, RouterStatus};
use podzol_mgmt_api::template::TemplateRole;
use podzol_mgmt_api::traffic::Traffic;
use podzol_mgmt_db::traffic::hour::{self, HOUR};
use podzol_mgmt_db::{JsonCol, Reader, now, public_ip, router, traffic, vm};
use podzol_vocab::{NicId, VmId};
use tokio::time::Instant;

use super::ASK;
use super::watch::SILENT;
use crate::{App, AppError};

/// How often what routers count is added.
const EVERY: Duration = Duration::from_secs(60);

impl App {
    /// Adds what a router has counted, if that was not done for a while.
    pub(super) async fn count_traffic(&self, row: &router::Model, vm: VmId) -> Result<(), AppError> {
        let is_soon = |at: Instant| at.elapsed() < EVERY;
        if self.here.routers.of(row, vm).heard().counted.is_some_and(is_soon) {
            return Ok(());
        }
        self.count_traffic_now(row, vm).await
    }

    /// Adds what a router that does not answer has said last, unless it was added already.
    pub(super) async fn count_what_was_heard(&self, row: &router::Model, vm: VmId) -> Result<(), AppError> {
        let known = self.here.routers.of(row, vm);
        let is_added = {
            let heard = known.heard();
            heard.counted.is_some_and(|counted| counted >= heard.last)
        };
        if is_added { Ok(()) } else { self.count_traffic_now(row, vm).await }
    }

    /// Asks a router that is about to end once more, and adds what it has counted.
    pub(super) async fn count_traffic_at_last(&self, row: &router::Model) {
        if let Err(error) = self.counted_at_last(row).await {
            // What it has counted keeps nobody from ending it.
            tracing::error!(error = &error as &dyn std::error::Error, router = %row.id, "cannot keep what a router has counted");
        }
    }

    async fn counted_at_last(&self, row: &router::Model) -> Result<(), AppError> {
        let vm = row.vm_id.0;
        let is_silent = self.here.routers.of(row, vm).heard().silent() > SILENT;
        if is_silent || self.ask_router(row, vm, ASK).await.is_err() {
            return self.count_what_was_heard(row, vm).await;
        }
        self.count_traffic_now(row, vm).await
    }

    /// Has what a VM has counted be added before its host is told to end it, if it is a router: once for each time that it is
    /// to end.
    pub(crate) async fn count_before_it_ends(&self, vm: &vm::Model) -> Result<(), AppError> {
        if vm.role.as_ref().map(|role| role.0) != Some(TemplateRole::Router) || vm.host_id.is_none() {
            return Ok(());
        }
        let found = router::of_vm(self.db.reader(), vm.id.0).await?;
        let Some(row) = found.filter(|row| row.vm_id == vm.id) else { return Ok(()) };
        let known = self.here.routers.of(&row, vm.id.0);
        if known.heard().asked_at_last.replace(vm.generation) == Some(vm.generation) {
            return Ok(());
        }
        self.count_traffic_at_last(&row).await;
        Ok(())
    }

    async fn count_traffic_now(&self, row: &router::Model, vm: VmId) -> Result<(), AppError> {
        let known = self.here.routers.of(row, vm);
        // Before it is read what it has said: what it says from now on was not added.
        let begun = Instant::now();
        let Some(status) = known.heard().status.clone() else { return Ok(()) };
        let tx = self.db.begin().await?;
        // Whose counters they are, nobody changes meanwhile.
        let counted = by_subject(tx.reader(), row, &status).await?;
        let kept = traffic::of(tx.reader(), row.account_id.0, row.zone_id.0).await?;
        let mut kept: HashMap<String, traffic::Model> =
            kept.into_iter().map(|row| (row.subject.clone(), row)).collect();
        let (boot, mut more) = (&status.boot_id, Vec::new());
        for (subject, whose, seen) in counted.there {
            match kept.remove(&subject) {
                None => {
                    let begun = begun_now(row, subject, boot, seen);
                    more.extend(in_hour(&begun, whose, seen));
                    tx.traffic_create(begun).await?;
                }
                Some(before) if before.boot == *boot && before.seen.0 == seen => {}
                Some(before) => {
                    let (had, after) = (before.total.0, gone_on(before, boot, seen));
                    more.extend(in_hour(&after, whose, after.total.0.since(had)));
                    tx.traffic_update(after).await?;
                }
            }
        }
        for (before, seen) in counted.ended {
            if before.boot != *boot || before.seen.0 != seen {
                let (had, after) = (before.total.0, gone_on(before, boot, seen));
                let whose = after.whose.clone().unwrap_or_default();
                more.extend(in_hour(&after, whose, after.total.0.since(had)));
                tx.traffic_update(after).await?;
            }
        }
        tx.traffic_hours_add(more).await?;
        tx.commit().await?;
        known.heard().counted = Some(begun);
        Ok(())
    }
}

/// What a router shows, of what is its account's.
#[derive(Debug, Default)]
struct Counted {
    /// By the ids of interfaces and addresses that there are, with whose they are: a VM's id, or the address.
    there: Vec<(String, String, Traffic)>,
    /// Of those that are no more, with what is kept of them.
    ended: Vec<(traffic::Model, Traffic)>,
}

async fn by_subject(
    db: &impl Reader,
    row: &router::Model,
    status: &RouterStatus,
) -> Result<Counted, AppError> {
    let (account, zone) = (row.account_id.0, row.zone_id.0);
    let mut counted = Counted::default();
    let mut public = status.public.clone();
    for row in public_ip::of(db, account, zone).await? {
        let shown = public.remove(&row.address.0).as_ref().map(shown);
        let whose = row.address.0.to_string();
        counted.there.extend(shown.map(|shown| (row.id.to_string(), whose, shown)));
    }
    let given_back: Vec<Ipv4Addr> = public.keys().copied().collect();
    for (address, before) in traffic::last_of_addresses(db, account, zone, &given_back).await? {
        counted.ended.extend(public.get(&address).map(|counters| (before, shown(counters))));
    }
    let ids: Vec<NicId> = status.nics.keys().copied().collect();
    let there = vm::nics_there(db, (account, zone), &ids).await?;
    let mut nics = status.nics.clone();
    for (nic, vm) in there {
        let shown = nics.remove(&nic).as_ref().map(shown);
        counted.there.extend(shown.map(|shown| (nic.to_string(), vm.to_string(), shown)));
    }
    let gone: Vec<String> = nics.keys().map(ToString::to_string).collect();
    for before in traffic::of_subjects(db, &gone).await? {
        let is_its_own = before.account_id == row.account_id && before.zone_id == row.zone_id;
        let counters = before.subject.parse().ok().and_then(|nic: NicId| nics.get(&nic));
        counted.ended.extend(counters.filter(|_| is_its_own).map(|counters| (before, shown(counters))));
    }
    Ok(counted)
}

/// What is kept from now on of a subject of which nothing was.
fn begun_now(row: &router::Model, subject: String, boot: &str, seen: Traffic) -> traffic::Model {
    traffic::Model {
        subject,
        account_id: row.account_id,
        zone_id: row.zone_id,
        boot: boot.to_owned(),
        seen: JsonCol(seen),
        total: JsonCol(seen),
        whose: None,
        ended_at: None,
    }
}

/// What has come just now, in its hour; nothing if nothing has.
fn in_hour(row: &traffic::Model, whose: String, more: Traffic) -> Option<hour::Model> {
    let number = |number: u64| i64::try_from(number).map_or(hour::MOST, |number| number.min(hour::MOST));
    (more != Traffic::default()).then(|| hour::Model {
        subject: row.subject.clone(),
        at: now().0 / HOUR * HOUR,
        account_id: row.account_id,
        zone_id: row.zone_id,
        whose,
        sent_bytes: number(more.sent_bytes),
        sent_packets: number(more.sent_packets),
        received_bytes: number(more.received_bytes),
        received_packets: number(more.received_packets),
    })
}

/// Counters of one boot never go back, so less than before is an answer that has overtaken another.
fn gone_on(before: traffic::Model, boot: &str, seen: Traffic) -> traffic::Model {
    let same = if before.boot == boot { before.seen.0 } else { Traffic::default() };
    let total = JsonCol(before.total.0.and(seen.since(same)));
    traffic::Model { boot: boot.to_owned(), seen: JsonCol(seen.later(same)), total, ..before }
}

fn shown(counted: &Counters) -> Traffic {
    let Counters { sent_bytes, sent_packets, received_bytes, received_packets } = *counted;
    Traffic { sent_bytes, sent_packets, received_bytes, received_packets }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(bytes: u64) -> Traffic {
        Traffic { sent_bytes: bytes, sent_packets: bytes / 100, ..Traffic::default() }
    }

    #[test]
    fn what_is_kept_goes_on_over_routers_and_their_starts_and_counts_nothing_twice() {
        let first = traffic::Model {
            subject: "one".into(),
            account_id: podzol_vocab::AccountId::new().into(),
            zone_id: podzol_vocab::ZoneId::new().into(),
            boot: "a".into(),
            seen: JsonCol(sent(1000)),
            total: JsonCol(sent(1000)),
            whose: None,
            ended_at: None,
        };
        let more = gone_on(first, "a", sent(1500));
        assert_eq!(more.total.0, sent(1500));
        let again = gone_on(more, "a", sent(1500));
        assert_eq!(again.total.0, sent(1500));
        let other = gone_on(again, "b", sent(200));
        assert_eq!((other.total.0, other.seen.0), (sent(1700), sent(200)));
        // An answer that is older than the one before.
        let late = gone_on(other, "b", sent(100));
        assert_eq!((late.total.0, late.seen.0), (sent(1700), sent(200)));
    }
}
