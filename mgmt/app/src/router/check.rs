//! Comparing what routers do with what they should do.

use std::collections::HashSet;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use podzol_mgmt_api::doctor::Finding;
use podzol_mgmt_api::vm::VmState;
use podzol_mgmt_db::{find, operation, router, vm};
use podzol_vocab::{RouterId, VmId};

use super::{TellError, watch};
use crate::{App, AppError, identity};

/// The code of a finding: a router was told something else than it should do.
const OUTDATED: &str = "router_outdated";

/// How long a router may take to answer whoever wants to know whether it is well.
const LOOK: Duration = Duration::from_secs(10);

impl App {
    /// What of routers is not as it should be. One with which something is being done is left out.
    pub(crate) async fn diagnose_routers(&self) -> Result<Vec<Finding>, AppError> {
        let rows = router::all(self.db.reader()).await?;
        let open = operation::all_open_subjects(self.db.reader()).await?;
        let found = stream::iter(rows).map(|row| self.diagnose_router(row, &open)).buffered(watch::AT_ONCE);
        let found: Vec<Vec<Finding>> = found.try_collect().await?;
        Ok(found.into_iter().flatten().collect())
    }

    async fn diagnose_router(
        &self,
        row: router::Model,
        open: &HashSet<String>,
    ) -> Result<Vec<Finding>, AppError> {
        let finding = |code: &str, detail: String, cause: &str| Finding {
            place: format!("router {}", row.id),
            code: code.into(),
            subject: row.id.to_string(),
            detail,
            cause: Some(cause.into()),
        };
        let mut found = vec![];
        if let Some(error) = &row.error {
            let cause = "it goes on as it is, and is replaced again if it is dead";
            found.push(finding("router_not_replaced", error.clone(), cause));
        }
        if let Some(vm) = find::<vm::Entity>(self.db.reader(), row.vm_id).await? {
            found.extend(identity::finding(&vm, format!("router {}", row.id), row.id.to_string()));
        }
        found.extend(self.trouble_of(&row, open, finding).await?);
        Ok(found)
    }

    /// What is wrong with it now, if anything is.
    async fn trouble_of(
        &self,
        row: &router::Model,
        open: &HashSet<String>,
        finding: impl Fn(&str, String, &str) -> Finding,
    ) -> Result<Option<Finding>, AppError> {
        let db = self.db.reader();
        let Some(vm) = find::<vm::Entity>(db, row.vm_id).await? else { return Ok(None) };
        let busy = [vm.id.to_string(), row.id.to_string()];
        if busy.iter().any(|subject| open.contains(subject)) {
            return Ok(None);
        }
        if matches!(vm.state.0, VmState::Stopped | VmState::Failed) && self.is_needed(&vm).await? {
            let detail = vm.error.unwrap_or_else(|| "no host has room for it".into());
            let cause = "VMs need it; it is started again when that can be";
            return Ok(Some(finding("router_down", detail, cause)));
        }
        if vm.state.0 != VmState::Running {
            return Ok(None);
        }
        self.appliance_found(&vm).await?;
        if let Err(error) = self.ask_router(row, vm.id.0, LOOK).await {
            let cause = "if that goes on, another VM takes its place";
            return Ok(Some(finding("no_answer", error.to_string(), cause)));
        }
        let known = self.here.routers.of(row, vm.id.0);
        let trouble = watch::trouble(&known.heard());
        if let Some(trouble) = trouble {
            let cause = "it puts right by itself what it can; its log says more";
            return Ok(Some(finding("router_unhealthy", trouble, cause)));
        }
        if self.lacks_l7(row).await? {
            let detail = "balancers of HTTP are not in force, as it has no extension l7".to_owned();
            let cause = "it is replaced when there is a template of routers that has it, and room for one";
            return Ok(Some(finding("router_lacks_l7", detail, cause)));
        }
        if self.lacks_ipv6(row).await? {
            let detail = "IPv6 of its networks is not in force, as it has no extension ipv6".to_owned();
            let cause =
                "it is of an older image; `router replace` gives another of a template that has it its place";
            return Ok(Some(finding("router_lacks_ipv6", detail, cause)));
        }
        let aside = known.heard().aside.values().next().cloned();
        if let Some(aside) = aside {
            let cause = "all else is in force; the balancer says so too, and is tried again, at the latest when it is changed";
            return Ok(Some(finding("balancer_refused", aside.why, cause)));
        }
        if open.contains(&super::apply_operation(row.account_id.0, row.zone_id.0).subject) {
            return Ok(None);
        }
        let cause = "it is told within seconds, or by a repair";
        let outdated = self.is_outdated(row, vm.id.0).await?;
        Ok(outdated.map(|detail| finding(OUTDATED, detail, cause)))
    }

    /// Whether a router was told something else than it should do by the rows; nothing while they are changing.
    async fn is_outdated(&self, row: &router::Model, vm: VmId) -> Result<Option<String>, AppError> {
        let known = self.here.routers.of(row, vm);
        // Not held while all is read: nobody's rule waits for a look.
        let told = known.told.lock().await.clone();
        self.note_changes().await?;
        if !known.dirty().is_empty() {
            return Ok(None);
        }
        let Some(told) = told else {
            return Ok(Some("it has not been told anything since it was started".into()));
        };
        let mut should = match self.whole_document(row, vm).await {
            Ok(document) => document,
            Err(TellError::App(error)) => return Err(error),
            Err(TellError::Later(why) | TellError::Refused(why)) => return Ok(Some(why)),
        };
        should.generation = told.generation;
        self.note_changes().await?;
        let has_gone_on = known.told.lock().await.as_ref().map(|now| now.generation) != Some(told.generation);
        let is_other = should != told && known.dirty().is_empty() && !has_gone_on;
        Ok(is_other
            .then(|| format!("what it was told as generation {} is not what it should do", told.generation)))
    }

    /// Has routers that were told something else be told all once more, and takes those out of the findings that were.
    pub(crate) async fn mend_routers(&self, findings: &mut Vec<Finding>) -> Result<(), AppError> {
        let outdated = findings.iter().filter(|finding| finding.code == OUTDATED);
        let outdated: Vec<RouterId> = outdated.filter_map(|finding| finding.subject.parse().ok()).collect();
        for id in outdated {
            let Some(row) = find::<router::Entity>(self.db.reader(), id).await? else { continue };
            *self.here.routers.of(&row, row.vm_id.0).told.lock().await = None;
            if self.tell_if_it_runs(row).await {
                findings.retain(|finding| finding.code != OUTDATED || finding.subject != id.to_string());
            }
        }
        Ok(())
    }
}
