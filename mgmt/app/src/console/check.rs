//! Comparing what console proxies do with what they should do.

use std::collections::HashSet;

use futures_util::{StreamExt, TryStreamExt, stream};
use podzol_mgmt_api::doctor::Finding;
use podzol_mgmt_api::vm::VmState;
use podzol_mgmt_db::console::{self, certificate, scan, session};
use podzol_mgmt_db::vm::Desired;
use podzol_mgmt_db::{find, now, operation, vm};

use super::watch;
use crate::router::TellError;
use crate::{App, AppError, identity};

/// The code of a finding: a console proxy has other sessions than it should.
const OUTDATED: &str = "console_proxy_outdated";

/// How many are asked at once.
const AT_ONCE: usize = 64;

/// When an uploaded certificate is said to end soon, in milliseconds before.
const SOON: i64 = 14 * 86_400_000;

impl App {
    /// What of consoles is not as it should be. A proxy with which something is being done is left out.
    pub(crate) async fn diagnose_consoles(&self) -> Result<Vec<Finding>, AppError> {
        let Some(settings) = &self.settings.console else { return Ok(vec![]) };
        let db = self.db.reader();
        let mut findings = vec![];
        let domain = settings.names.domain().to_string();
        if let Some(row) = find::<certificate::Entity>(db, domain.clone()).await?
            && row.not_after - now().0 < SOON
            && row.is_uploaded
        {
            findings.push(Finding {
                place: "consoles".into(),
                code: "console_certificate_ends".into(),
                subject: domain,
                detail: format!(
                    "the wildcard certificate holds until {}",
                    podzol_mgmt_api::Timestamp(row.not_after)
                ),
                cause: Some("it was uploaded, and so is the next one".into()),
            });
        }
        for scan in scan::all(db).await? {
            findings.extend(scan.error.map(|detail| Finding {
                place: format!("zone {}", scan.zone_id),
                code: "console_proxies_lacking".into(),
                subject: scan.zone_id.to_string(),
                detail,
                cause: Some("it is tried again every few seconds".into()),
            }));
        }
        let open = operation::all_open_subjects(db).await?;
        let rows = console::all(db).await?;
        for row in &rows {
            let vm = find::<vm::Entity>(db, row.vm_id).await?;
            let of_proxy =
                |vm| identity::finding(vm, format!("console proxy {}", row.id), row.id.to_string());
            findings.extend(vm.as_ref().and_then(of_proxy));
        }
        let found = stream::iter(rows).map(|row| self.diagnose_console_proxy(row, &open)).buffered(AT_ONCE);
        let found: Vec<Option<Finding>> = found.try_collect().await?;
        findings.extend(found.into_iter().flatten());
        Ok(findings)
    }

    async fn diagnose_console_proxy(
        &self,
        row: console::Model,
        open: &HashSet<String>,
    ) -> Result<Option<Finding>, AppError> {
        let finding = |code: &str, detail: String, cause: &str| Finding {
            place: format!("console proxy {}", row.id),
            code: code.into(),
            subject: row.id.to_string(),
            detail,
            cause: Some(cause.into()),
        };
        let Some(vm) = find::<vm::Entity>(self.db.reader(), row.vm_id).await? else { return Ok(None) };
        let runs = vm.state.0 == VmState::Running && vm.desired.0 == Desired::Running;
        if !runs || open.contains(&vm.id.to_string()) {
            return Ok(None);
        }
        match self.console_proxy_told(&row, &vm).await {
            Ok(()) => {}
            Err(TellError::App(error)) => return Err(error),
            Err(TellError::Later(why)) => {
                return Ok(Some(finding("no_answer", why, "if that goes on, another one comes")));
            }
            Err(TellError::Refused(why)) => {
                return Ok(Some(finding("console_proxy_refuses", why, "its sessions are as they were")));
            }
        }
        let known = self.here.consoles.of(row.id.0);
        if let Some(trouble) = watch::trouble(&known.heard()) {
            return Ok(Some(finding("console_proxy_unhealthy", trouble, "its log says more")));
        }
        let told: HashSet<_> = known.told.lock().await.sessions.keys().copied().collect();
        let should = session::of_proxy(self.db.reader(), row.id.0).await?;
        let lacks = should.iter().filter(|row| row.expires_at > now().0 && !told.contains(&row.id.0)).count();
        Ok((lacks > 0).then(|| {
            finding(
                OUTDATED,
                format!("it has not taken {lacks} sessions"),
                "it is told within seconds, or by a repair",
            )
        }))
    }
}
