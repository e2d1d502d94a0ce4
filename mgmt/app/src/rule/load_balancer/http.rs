//! Balancers of HTTP: what is asked of requests, and what routers say of it.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};

use podzol_appliance_api::limits::{MAX_CONNECTIONS, MAX_HTTP_BALANCERS, MAX_IDLE_SECS};
use podzol_appliance_api::{CookieName, HttpBalancerStatus};
use podzol_mgmt_api::load_balancer::{Certificate, Http, HttpCreate, HttpTraffic, HttpUpdate, TlsCreate};
use podzol_mgmt_api::vm::VmState;
use podzol_mgmt_db::rule::Spec;
use podzol_mgmt_db::{JsonCol, Reader, Tx, find, now, router, rule, termination, vm};
use podzol_vocab::{NicId, Transport};

use crate::certificate::{self, Brought, Fields};
use crate::router::why_no_http;
use crate::{App, AppError};

/// How many connections there are at a time, and how many seconds somebody may say nothing, where nobody says.
const CONNECTIONS: u32 = 2000;
const IDLE_SECS: u32 = 60;

/// What a router says of a balancer.
#[derive(Debug, Default)]
pub(in crate::rule) struct Balancing {
    /// How it is, if it is one of HTTP, once it has said so.
    status: Option<HttpBalancerStatus>,
    /// Its members that do not work by its check, if it has one, once it has said so.
    pub(super) down: Option<BTreeSet<NicId>>,
    /// Why it is not in force.
    pub(super) error: Option<String>,
}

impl Balancing {
    pub(super) fn traffic(&self) -> Option<HttpTraffic> {
        let HttpBalancerStatus { counters, open, .. } = self.status.as_ref()?;
        Some(HttpTraffic {
            open: *open,
            connections: counters.connections,
            requests: counters.requests,
            failures: counters.failures,
            received_bytes: counters.received_bytes,
            sent_bytes: counters.sent_bytes,
        })
    }
}

impl App {
    /// What routers say of those of some rules that are balancers of HTTP or have a check. Each router is looked for once.
    pub(in crate::rule) async fn balancing(
        &self,
        db: &impl Reader,
        rows: &[rule::Model],
    ) -> Result<HashMap<String, Balancing>, AppError> {
        let mut routers = HashMap::new();
        let mut all = HashMap::new();
        for row in rows {
            let Spec::LoadBalancer { check, .. } = &row.spec.0 else { continue };
            if !row.is_http && check.is_none() {
                continue;
            }
            let place = (row.account_id.0, row.zone_id.0);
            let router = match routers.entry(place) {
                Entry::Occupied(looked_for) => looked_for.into_mut(),
                Entry::Vacant(new) => {
                    let router = router::of(db, place.0, place.1).await?;
                    let vm = match &router {
                        Some(router) => find::<vm::Entity>(db, router.vm_id).await?,
                        None => None,
                    };
                    new.insert(router.zip(vm))
                }
            };
            let Some((router, vm)) = router else { continue };
            let Some(known) = self.here.routers.get(router.vm_id.0) else { continue };
            let heard = known.heard();
            let (Some(said), Ok(id)) = (&heard.status, row.id.parse()) else { continue };
            // What it does not know of yet it says nothing of, and what it said before it ended holds no more.
            let knows = matches!(vm.state.0, VmState::Running | VmState::Migrating | VmState::Paused)
                && heard.in_force >= heard.wanted;
            let balancing = if row.is_http {
                let status = said.http_balancers.get(&id).cloned();
                let down = status.as_ref().filter(|_| knows && check.is_some());
                let down = down.map(|status| status.down.clone());
                Balancing { status, down, error: why_no_http(router, &heard, &row.id) }
            } else {
                let down = said.checked.get(&id).filter(|_| knows).cloned();
                Balancing { down, ..Balancing::default() }
            };
            all.insert(row.id.clone(), balancing);
        }
        Ok(all)
    }

    /// Brings what a new balancer of HTTP takes: its certificate's key is kept, and its router can balance HTTP.
    pub(super) async fn http_added(
        &self,
        tx: &Tx,
        row: &rule::Model,
        tls: Option<&TlsCreate>,
    ) -> Result<(), AppError> {
        if let Some(tls) = tls {
            tx.termination_set(kept(&row.id, tls)).await?;
        }
        self.router_must_balance_http(tx, row.account_id.0, row.zone_id.0).await
    }
}

/// What a new balancer does with requests, as it was asked for.
pub(super) fn asked(transport: Transport, body: Option<&HttpCreate>) -> Result<Option<Http>, AppError> {
    let Some(body) = body else { return Ok(None) };
    if transport != Transport::Tcp {
        return Err(AppError::invalid("http", "must be left out of a balancer of UDP"));
    }
    let http = Http {
        cookie: body.cookie.as_deref().map(cookie).transpose()?,
        certificate: body.tls.as_ref().map(checked).transpose()?,
        max_connections: body.max_connections.unwrap_or(CONNECTIONS),
        idle_secs: body.idle_secs.unwrap_or(IDLE_SECS),
    };
    check_numbers(&http)?;
    Ok(Some(http))
}

/// Changes what a balancer does with requests, and keeps or forgets its certificate's key.
pub(super) async fn change(tx: &Tx, rule: &str, http: &mut Http, body: &HttpUpdate) -> Result<(), AppError> {
    if body.no_cookie && body.cookie.is_some() {
        return Err(AppError::invalid("http.no_cookie", "must not come with a cookie"));
    }
    if body.no_tls && body.tls.is_some() {
        return Err(AppError::invalid("http.no_tls", "must not come with a certificate"));
    }
    if body.cookie.is_some() || body.no_cookie {
        http.cookie = body.cookie.as_deref().map(cookie).transpose()?;
    }
    http.max_connections = body.max_connections.unwrap_or(http.max_connections);
    http.idle_secs = body.idle_secs.unwrap_or(http.idle_secs);
    check_numbers(http)?;
    if let Some(tls) = &body.tls {
        http.certificate = Some(checked(tls)?);
        tx.termination_set(kept(rule, tls)).await?;
    } else if body.no_tls {
        http.certificate = None;
        tx.termination_delete(rule).await?;
    }
    Ok(())
}

/// Refuses one more where there are as many as a router takes.
pub(super) async fn must_be_few(db: &impl Reader, row: &rule::Model) -> Result<(), AppError> {
    if rule::count_http(db, row.account_id.0, row.zone_id.0).await? < MAX_HTTP_BALANCERS as u64 {
        return Ok(());
    }
    let detail =
        format!("the account has {MAX_HTTP_BALANCERS} balancers of HTTP in the zone, which is the most");
    Err(AppError::Exhausted { code: "too_many_rules", detail, reasons: vec![] })
}

/// A balancer's certificate as it is shown, if it and its key are good now.
fn checked(tls: &TlsCreate) -> Result<Certificate, AppError> {
    let fields = Fields { certificates: "http.tls.certificates", key: "http.tls.key" };
    certificate::checked(&Brought { certificates: &tls.certificates, key: &tls.key, fields }, now())
}

fn kept(rule: &str, tls: &TlsCreate) -> termination::Model {
    termination::Model {
        rule_id: rule.to_owned(),
        certificates: tls.certificates.clone(),
        private_key: JsonCol(tls.key.clone()),
    }
}

fn cookie(name: &str) -> Result<String, AppError> {
    let name: CookieName = name
        .parse()
        .map_err(|error: podzol_vocab::Invalid| AppError::invalid("http.cookie", error.to_string()))?;
    Ok(name.into())
}

fn check_numbers(http: &Http) -> Result<(), AppError> {
    if !(1..=MAX_CONNECTIONS).contains(&http.max_connections) {
        return Err(AppError::invalid("http.max_connections", format!("must be 1 to {MAX_CONNECTIONS}")));
    }
    if !(1..=MAX_IDLE_SECS).contains(&http.idle_secs) {
        return Err(AppError::invalid("http.idle_secs", format!("must be 1 to {MAX_IDLE_SECS}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_about_requests_has_its_error() {
        let told = |transport, change: &dyn Fn(&mut HttpCreate)| {
            let mut body = HttpCreate::default();
            change(&mut body);
            asked(transport, Some(&body)).map_err(|error| error.to_string())
        };
        let refused = |field: &str, told: Result<Option<Http>, String>| {
            assert!(told.clone().unwrap_err().starts_with(field), "{told:?}");
        };
        refused("http:", told(Transport::Udp, &|_| ()));
        refused("http.cookie", told(Transport::Tcp, &|http| http.cookie = Some("a b".into())));
        refused("http.max_connections", told(Transport::Tcp, &|http| http.max_connections = Some(0)));
        refused("http.max_connections", told(Transport::Tcp, &|http| http.max_connections = Some(20_001)));
        refused("http.idle_secs", told(Transport::Tcp, &|http| http.idle_secs = Some(3601)));
        let usual = told(Transport::Tcp, &|_| ()).unwrap().unwrap();
        assert_eq!((usual.max_connections, usual.idle_secs, usual.certificate), (2000, 60, None));
        assert_eq!(asked(Transport::Udp, None).unwrap(), None);
    }
}
