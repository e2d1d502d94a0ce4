//! The end of the identities of Podzol's own VMs.
//!
//! A router or a console proxy is told who it is by its drive, for one start. Its certificate holds as long as a server's, and
//! nobody speaks to it after that. So one that runs for that long is replaced in time:
//!
//! ```text
//!   started ── ends in 90 to 60 days: another one takes its place ── ends in 30 days: doctor says so ── ended: it is dead to us
//! ```
//! Each router has its own time in those 30 days, and the next one waits for a while after one: those that were started on one
//! day, as a template was new then, are not replaced on one. Connections through it are lost, so it is done once. A console proxy
//! drains for good when another one has room for its sessions, see [`crate::console`], one at a time in a zone.
//!
//! # Design notes
//! Refused: a new certificate for one that runs. What it has it would have to take over the line that the old one guards, and
//! keep nowhere: it has no disk, and the drive is of its host.

use std::sync::PoisonError;

use podzol_mgmt_api::Timestamp;
use podzol_mgmt_api::doctor::Finding;
use podzol_mgmt_db::{find, now, router, vm};
use podzol_vocab::VmId;
use tokio::time::Instant;

use crate::authority::SERVER_DAYS;
use crate::operation::start;
use crate::{App, AppError};

const DAY: i64 = 86_400_000;

/// How long before the end one is replaced at the latest, in milliseconds: there is time to make room for another one.
const REPLACED: i64 = 60 * DAY;

/// How long before that the first of them are, in milliseconds.
const SPREAD: i64 = 30 * DAY;

/// How long before the end an operator is told, in milliseconds.
const TOLD: i64 = 30 * DAY;

/// How soon it is tried again to replace a router.
const AGAIN: std::time::Duration = std::time::Duration::from_secs(3600);

/// How long after one router the next one is replaced for its age: ten thousand that are due on one day are in a week.
const NEXT: std::time::Duration = std::time::Duration::from_secs(60);

/// When the identity of a VM of Podzol's own that runs ends at the earliest. It was made for its last start: it begins a day
/// before it was made, and the start may have taken a part of another.
pub(crate) fn ends_at(vm: &vm::Model) -> Option<Timestamp> {
    let started_at = vm.started_at.filter(|_| vm.role.is_some() && vm.host_id.is_some())?;
    Some(Timestamp(started_at + (SERVER_DAYS - 2) * DAY))
}

fn ends_within(vm: &vm::Model, time: i64) -> Option<Timestamp> {
    ends_at(vm).filter(|ends| ends.0 - now().0 < time)
}

/// How near the end of an identity is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Nearness {
    /// Nothing is to be done.
    Far,
    /// Another one is to take its place.
    Replaced,
    /// That should have been done, and an operator is told.
    Told,
}

/// How near the end of the identity of a VM of Podzol's own is.
pub(crate) fn nearness(vm: &vm::Model) -> Nearness {
    if ends_within(vm, TOLD).is_some() {
        return Nearness::Told;
    }
    ends_within(vm, replaced_before_end(vm.id.0)).map_or(Nearness::Far, |_| Nearness::Replaced)
}

/// How long before the end a VM is replaced, in milliseconds: always the same of one, by the end of its id, which is random.
fn replaced_before_end(id: VmId) -> i64 {
    let digits = id.to_string().replace('-', "");
    let random = u32::from_str_radix(&digits[digits.len() - 8..], 16).unwrap_or(0);
    REPLACED + i64::from(random) * 1000 % SPREAD
}

/// What is said of a VM of Podzol's own whose identity ends soon.
pub(crate) fn finding(vm: &vm::Model, place: String, subject: String) -> Option<Finding> {
    let ends = ends_within(vm, TOLD)?;
    Some(Finding {
        place,
        code: "identity_ends".into(),
        subject,
        detail: format!("its certificate holds until {ends}, and nobody can speak to it from then on"),
        cause: Some("it has run for years; another one has to take its place, and could not: there has to be room for one".into()),
    })
}

impl App {
    /// Has another VM take the place of a router whose identity ends before long. Says whether one does.
    pub(crate) async fn router_outlives(
        &self,
        row: &router::Model,
        vm: &vm::Model,
    ) -> Result<bool, AppError> {
        let Some(ends) = ends_at(vm).filter(|_| nearness(vm) != Nearness::Far) else { return Ok(false) };
        let known = self.here.routers.of(row, vm.id.0);
        let is_soon = |at: Instant| at.elapsed() < AGAIN;
        if known.heard().renewed.is_some_and(is_soon) {
            return Ok(false);
        }
        if !self.is_next_to_be_renewed() {
            return Ok(false);
        }
        known.heard().renewed = Some(Instant::now());
        let tx = self.db.begin().await?;
        let Some(row) = find::<router::Entity>(tx.reader(), row.id).await? else { return Ok(false) };
        match self.router_to_replace(&tx, row.clone()).await {
            Ok(operation) => {
                let why = format!("its certificate ends on {ends}");
                self.router_event(&tx, &row, "router.replace", &why).await?;
                start(&tx, operation).await?;
                tx.commit().await?;
                self.wake.notify_one();
                Ok(true)
            }
            Err(AppError::Exhausted { detail, reasons, .. }) => {
                let reasons = reasons.join("; ");
                tracing::warn!(router = %row.id, %ends, detail, reasons, "a router whose certificate ends cannot be replaced");
                Ok(false)
            }
            Err(AppError::Conflict { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether the last router that was replaced for its age was so long enough ago; the next one is from now on.
    fn is_next_to_be_renewed(&self) -> bool {
        let mut last = self.here.renewed.lock().unwrap_or_else(PoisonError::into_inner);
        let is_next = last.is_none_or(|last| last.elapsed() >= NEXT);
        if is_next {
            *last = Some(Instant::now());
        }
        is_next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_were_started_on_one_day_are_replaced_on_many() {
        let days: Vec<i64> = (0..3_000).map(|_| replaced_before_end(VmId::new()) / DAY).collect();
        for day in 60..90 {
            let count = days.iter().filter(|one| **one == day).count();
            assert!((40..200).contains(&count), "{count} of 3000, {day} days before the end");
        }
        assert!(days.iter().all(|day| (60..=90).contains(day)));
        let one = VmId::new();
        assert_eq!(replaced_before_end(one), replaced_before_end(one));
    }
}
