//! Balancers as a router is told them: of connections, and of HTTP.

use std::net::Ipv4Addr;

use podzol_appliance_api::{Balancer, Check, CheckKind, HttpBalancer, Member, Method};
use podzol_mgmt_api::load_balancer::{BalancingMethod, HealthCheck, Http};
use podzol_mgmt_db::rule::{self, Spec};
use podzol_vocab::NicId;

use super::{Referred, Told};

/// A balancer at a public address as a router is told it. `inside` gives the address of an interface that is served.
pub(super) fn told(
    row: &rule::Model,
    public: Ipv4Addr,
    inside: &impl Fn(&NicId) -> Option<Ipv4Addr>,
    referred: &Referred,
) -> Option<Told> {
    let Spec::LoadBalancer { method, members, check, http } = &row.spec.0 else { return None };
    let members = members.iter().filter_map(|(nic, member)| {
        let (port, weight, drains) = (member.port, member.weight, member.drains);
        Some((*nic, Member { address: inside(nic)?, port, weight, drains }))
    });
    let balancer = Balancer {
        public,
        transport: row.transport.as_ref()?.0,
        port: row.ports()?.first(),
        method: balancing(*method),
        members: members.collect(),
        check: check.as_ref().map(health_check),
    };
    Some(match http {
        None => Told::Balancer(balancer),
        Some(http) => Told::HttpBalancer(of_http(balancer, http, &row.id, referred)?),
    })
}

/// A balancer that looks at requests too; nothing for a router that does not, or does not take it.
fn of_http(balancer: Balancer, http: &Http, id: &str, referred: &Referred) -> Option<HttpBalancer> {
    let side = referred.http.as_ref().filter(|side| !side.aside.contains(id))?;
    let Balancer { public, port, method, members, check, .. } = balancer;
    Some(HttpBalancer {
        public,
        port,
        method,
        members,
        check,
        cookie: match &http.cookie {
            Some(cookie) => Some(cookie.parse().ok()?),
            None => None,
        },
        tls: match &http.certificate {
            Some(_) => Some(side.terminations.get(id)?.clone()),
            None => None,
        },
        max_connections: http.max_connections,
        idle_secs: http.idle_secs,
    })
}

fn balancing(method: BalancingMethod) -> Method {
    match method {
        BalancingMethod::RoundRobin => Method::RoundRobin,
        BalancingMethod::SourceHash => Method::SourceHash,
        BalancingMethod::LeastLoad => Method::LeastLoad,
    }
}

fn health_check(check: &HealthCheck) -> Check {
    Check {
        kind: match &check.http_path {
            Some(path) => CheckKind::Http { path: path.clone() },
            None => CheckKind::Tcp,
        },
        interval_ms: check.interval_ms,
        timeout_ms: check.timeout_ms,
        rise: check.rise,
        fall: check.fall,
    }
}
