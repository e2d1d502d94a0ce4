//! The stream of changes: who may see which, and what each object is now.

use std::str::FromStr;

use podzol_mgmt_api::event::Change;
use podzol_mgmt_api::firewall::{EgressRule, FirewallRule};
use podzol_mgmt_api::load_balancer::LoadBalancer;
use podzol_mgmt_api::port_forward::PortForward;
use podzol_mgmt_api::static_nat::StaticNat;
use podzol_mgmt_db::{change, find, operation};
use podzol_vocab::HostId;
use serde::Serialize;
use tokio::sync::watch;

use crate::{Actor, App, AppError, view};

/// How many changes are read at once.
const BATCH: usize = 200;

/// Follows the changes that one actor may see, from one change on.
pub struct ChangeStream {
    app: App,
    actor: Actor,
    seen: i64,
    last: watch::Receiver<i64>,
}

impl App {
    /// Follows the changes after the one with that number, or from now on.
    ///
    /// # Errors
    /// When changes after that number were forgotten already: the client must read everything anew.
    pub async fn follow(&self, actor: Actor, after: Option<i64>) -> Result<ChangeStream, AppError> {
        let last = self.db.changes();
        let now = *last.borrow();
        if let Some(after) = after {
            let oldest = change::oldest(self.db.reader()).await?;
            if after > now || oldest.is_some_and(|oldest| oldest > after + 1) {
                let detail = "the changes after this id are no longer kept; read the lists anew".into();
                return Err(AppError::Conflict { code: "changes_forgotten", detail });
            }
        }
        Ok(ChangeStream { app: self.clone(), actor, seen: after.unwrap_or(now), last })
    }
}

impl ChangeStream {
    /// The next changes, each with its number; waits for some. None when the service stops, or the key is not valid any
    /// more.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn next(&mut self) -> Result<Option<Vec<(i64, Change)>>, AppError> {
        loop {
            // There may be many that are for others.
            tokio::task::consume_budget().await;
            let rows = self.app.db.changes_after(self.seen, BATCH).await?;
            if rows.is_empty() {
                match self.app.stopping.run_until_cancelled(self.last.changed()).await {
                    Some(Ok(())) => continue,
                    Some(Err(_)) | None => return Ok(None),
                }
            }
            // The key may have been deleted since.
            if !self.app.is_still(&self.actor).await? {
                return Ok(None);
            }
            let mut changes = Vec::with_capacity(rows.len());
            for row in rows {
                self.seen = row.seq;
                if self.may_see(&row) {
                    changes.push((row.seq, self.show(row).await?));
                }
            }
            if !changes.is_empty() {
                return Ok(Some(changes));
            }
        }
    }

    /// Who may list things may be told of them.
    fn may_see(&self, row: &change::Model) -> bool {
        let for_all = matches!(row.kind.as_str(), "zone" | "template" | "offering");
        for_all || self.actor.is_admin() || row.account_id.is_some_and(|account| self.actor.sees(account.0))
    }

    async fn show(&self, row: change::Model) -> Result<Change, AppError> {
        let object = self.object(&row.kind, &row.object_id).await?;
        Ok(Change { kind: row.kind, id: row.object_id, object })
    }

    async fn object(&self, kind: &str, id: &str) -> Result<Option<serde_json::Value>, AppError> {
        let (app, actor) = (&self.app, &self.actor);
        match kind {
            "vm" => shown(app.vm_show(actor, parse(id)?).await),
            "operation" => {
                let row = find::<operation::Entity>(app.db.reader(), parse::<podzol_vocab::OperationId>(id)?)
                    .await?;
                shown(row.map(view::operation).ok_or(AppError::NotFound("operation")))
            }
            "network" => shown(app.network_show(actor, parse(id)?).await),
            "router" => shown(app.router_show(actor, parse(id)?).await),
            "console-session" => shown(app.console_session_show(actor, parse(id)?).await),
            "console-proxy" => shown(app.console_proxy_show(actor, parse(id)?).await),
            "public-ip" => shown(app.public_ip_show(actor, parse(id)?).await),
            "port-forward" => shown(app.rule_show::<PortForward>(actor, parse(id)?).await),
            "static-nat" => shown(app.rule_show::<StaticNat>(actor, parse(id)?).await),
            "firewall-rule" => shown(app.rule_show::<FirewallRule>(actor, parse(id)?).await),
            "egress-rule" => shown(app.rule_show::<EgressRule>(actor, parse(id)?).await),
            "load-balancer" => shown(app.rule_show::<LoadBalancer>(actor, parse(id)?).await),
            "host" => shown(app.host_summary(parse::<HostId>(id)?).await),
            "storage-server" => shown(app.storage_server_show(actor, parse(id)?).await),
            "pool" => shown(app.pool_show(actor, parse(id)?).await),
            "template" => shown(app.template_show(parse(id)?).await),
            "offering" => shown(app.offering_show(parse(id)?).await),
            "zone" => shown(app.zone_show(actor, parse(id)?).await),
            "pod" => shown(app.pod_show(actor, parse(id)?).await),
            "account" => shown(app.account_show(actor, parse(id)?).await),
            "user" => shown(app.user_show(actor, parse(id)?).await),
            "key" => shown(app.key_show(actor, parse(id)?).await),
            _ => Ok(None),
        }
    }
}

fn parse<T: FromStr<Err: std::fmt::Display>>(id: &str) -> Result<T, AppError> {
    id.parse().map_err(|error: T::Err| AppError::Internal(error.to_string()))
}

/// An object as JSON; none if it is gone.
fn shown(object: Result<impl Serialize, AppError>) -> Result<Option<serde_json::Value>, AppError> {
    match object {
        Ok(object) => {
            serde_json::to_value(object).map(Some).map_err(|error| AppError::Internal(error.to_string()))
        }
        Err(AppError::NotFound(_)) => Ok(None),
        Err(error) => Err(error),
    }
}
