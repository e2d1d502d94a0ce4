//! The end of the identities of Podzol's own VMs.
//!
//! A router or a console proxy is told who it is by its drive, for one start. Its certificate holds as long as a server's, and
//! nobody speaks to it after that. So one that runs for that long is replaced in time:
//!
//! ```text
//!   started ── ends in 60 days: another VM takes a router's place ── ends in 30 days: doctor says so ── ended: it is dead to us
//! ```
//! A console proxy is not: its pages go on best if an operator has it drained when few look. Should nobody, it does not answer
//! from the end on, and another one comes as for any that is dead.
//!
//! # Design notes
//! Refused: a new certificate for one that runs. What it has it would have to take over the line that the old one guards, and
//! keep nowhere: it has no disk, and the drive is of its host.

use podzol_mgmt_api::Timestamp;
use podzol_mgmt_api::doctor::Finding;
use podzol_mgmt_db::{find, now, router, vm};
use tokio::time::Instant;

use crate::authority::SERVER_DAYS;
use crate::operation::start;
use crate::{App, AppError};

const DAY: i64 = 86_400_000;

/// How long before the end a router is replaced, in milliseconds: there is time to make room for another one.
const REPLACED: i64 = 60 * DAY;

/// How long before the end an operator is told, in milliseconds.
const TOLD: i64 = 30 * DAY;

/// How soon it is tried again to replace a router.
const AGAIN: std::time::Duration = std::time::Duration::from_secs(3600);

/// When the identity of a VM of Podzol's own that runs ends at the earliest. It was made for its last start: it begins a day
/// before it was made, and the start may have taken a part of another.
fn ends_at(vm: &vm::Model) -> Option<Timestamp> {
    let started_at = vm.started_at.filter(|_| vm.role.is_some() && vm.host_id.is_some())?;
    Some(Timestamp(started_at + (SERVER_DAYS - 2) * DAY))
}

fn ends_within(vm: &vm::Model, time: i64) -> Option<Timestamp> {
    ends_at(vm).filter(|ends| ends.0 - now().0 < time)
}

/// What is said of a VM of Podzol's own whose identity ends soon.
pub(crate) fn finding(vm: &vm::Model, place: String, subject: String) -> Option<Finding> {
    let ends = ends_within(vm, TOLD)?;
    Some(Finding {
        place,
        code: "identity_ends".into(),
        subject,
        detail: format!("its certificate holds until {ends}, and nobody can speak to it from then on"),
        cause: Some("it has run for years; another one has to take its place: replace a router, drain a console proxy".into()),
    })
}

impl App {
    /// Has another VM take the place of a router whose identity ends before long. Says whether one does.
    pub(crate) async fn router_outlives(
        &self,
        row: &router::Model,
        vm: &vm::Model,
    ) -> Result<bool, AppError> {
        let Some(ends) = ends_within(vm, REPLACED) else { return Ok(false) };
        let known = self.here.routers.of(row, vm.id.0);
        let is_soon = |at: Instant| at.elapsed() < AGAIN;
        if known.heard().renewed.is_some_and(is_soon) {
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
}
