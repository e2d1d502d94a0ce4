//! Load balancers, of connections and of HTTP.

mod http;

use std::collections::BTreeMap;

use podzol_appliance_api::limits::MAX_MEMBERS;
use podzol_mgmt_api::load_balancer::{
    HealthCheck, LoadBalancer, LoadBalancerCreate, LoadBalancerUpdate, Member, MemberSpec,
};
use podzol_mgmt_api::{Created, Timestamp};
use podzol_mgmt_db::Reader;
use podzol_mgmt_db::rule::{self, Kind, Spec};
use podzol_vocab::{LoadBalancerId, NicId, PortRange, Transport};

use super::{Rule, Shown, address_for, must_be_free, new_row, set_ports, target_for};
use crate::{Actor, App, AppError, Once};

pub(super) use http::Balancing;

impl Rule for LoadBalancer {
    type Id = LoadBalancerId;

    const KIND: Kind = Kind::LoadBalancer;

    fn id(&self) -> Self::Id {
        self.id
    }

    fn shown(row: rule::Model, shown: &Shown) -> Result<Self, AppError> {
        let odd = || AppError::Internal(format!("rule {} is no load balancer", row.id));
        let (public_ip, address) = shown.address(&row)?;
        let Spec::LoadBalancer { method, members, check, http } = row.spec.0.clone() else {
            return Err(odd());
        };
        let balancing = shown.balancing.get(&row.id);
        let down = balancing.and_then(|balancing| balancing.down.as_ref());
        let member = |(nic, member): (NicId, rule::Member)| {
            let (port, weight, drains) = (member.port, member.weight, member.drains);
            let works = down.map(|down| !down.contains(&nic));
            Ok(Member { vm: shown.vm(nic)?, nic, port, weight, drains, works })
        };
        Ok(Self {
            id: row.id.parse().map_err(|_| odd())?,
            name: row.name.clone().ok_or_else(odd)?.0,
            account: row.account_id.0,
            zone: row.zone_id.0,
            public_ip,
            address,
            transport: row.transport.as_ref().ok_or_else(odd)?.0,
            port: row.ports().ok_or_else(odd)?.first(),
            method,
            members: members.into_iter().map(member).collect::<Result<_, AppError>>()?,
            check,
            http,
            traffic: balancing.and_then(Balancing::traffic),
            error: balancing.and_then(|balancing| balancing.error.clone()),
            created_at: Timestamp(row.created_at),
        })
    }
}

impl App {
    /// Has a port of a public address lead to several VMs.
    ///
    /// # Errors
    /// When a field breaks a rule, the name is taken, the port leads somewhere already, or no router can balance HTTP.
    pub async fn load_balancer_create(
        &self,
        actor: &Actor,
        once: Option<Once>,
        body: LoadBalancerCreate,
    ) -> Result<Created<LoadBalancer>, AppError> {
        check_check(body.transport, body.check.as_ref())?;
        let http = http::asked(body.transport, body.http.as_ref())?;
        let ports = port(body.port)?;
        self.create(actor, once, async |tx| {
            let address = address_for(tx.reader(), actor, body.public_ip).await?;
            let (is_http, method, check) = (http.is_some(), body.method, body.check);
            let spec = Spec::LoadBalancer { method, members: BTreeMap::new(), check, http };
            let (account, zone) = (address.account_id.0, address.zone_id.0);
            let mut row = new_row(account, zone, LoadBalancerId::new(), spec, Kind::LoadBalancer);
            row.name = Some(body.name.into());
            row.public_ip_id = Some(address.id);
            row.is_http = is_http;
            set_ports(&mut row, body.transport, ports);
            must_be_free(tx.reader(), &row, address.id.0, body.transport, ports).await?;
            let found = members_for(tx.reader(), &row, &body.members, body.port).await?;
            if let Spec::LoadBalancer { members, .. } = &mut row.spec.0 {
                *members = found;
            }
            if !is_http {
                return self.rule_add(tx, actor, row).await;
            }
            http::must_be_few(tx.reader(), &row).await?;
            let made = self.rule_add(tx, actor, row.clone()).await?;
            self.http_added(tx, &row, body.http.as_ref().and_then(|http| http.tls.as_ref())).await?;
            Ok(made)
        })
        .await
    }

    /// Changes a load balancer.
    ///
    /// # Errors
    /// When a field breaks a rule, or the port leads somewhere already.
    pub async fn load_balancer_update(
        &self,
        actor: &Actor,
        id: LoadBalancerId,
        body: LoadBalancerUpdate,
    ) -> Result<Created<LoadBalancer>, AppError> {
        self.rule_change(actor, id, async |tx, row| {
            let odd = || AppError::Internal(format!("rule {id} is no load balancer"));
            let (before, public_ip) = (row.ports().ok_or_else(odd)?, row.public_ip_id.ok_or_else(odd)?);
            let transport = row.transport.as_ref().ok_or_else(odd)?.0;
            let ports = body.port.map_or(Ok(before), port)?;
            must_be_free(tx.reader(), row, public_ip.0, transport, ports).await?;
            set_ports(row, transport, ports);
            let new = match &body.members {
                Some(specs) => Some(members_for(tx.reader(), row, specs, ports.first()).await?),
                None => None,
            };
            if body.no_check && body.check.is_some() {
                return Err(AppError::invalid("no_check", "must not come with a check"));
            }
            check_check(transport, body.check.as_ref())?;
            let id = &row.id;
            let Spec::LoadBalancer { method, members, check, http } = &mut row.spec.0 else {
                return Err(odd());
            };
            *method = body.method.unwrap_or(*method);
            if let Some(new) = new {
                *members = new;
            }
            if body.check.is_some() || body.no_check {
                *check = body.check;
            }
            match (http, &body.http) {
                (_, None) => Ok(()),
                (Some(http), Some(body)) => http::change(tx, id, http, body).await,
                (None, Some(_)) => {
                    Err(AppError::invalid("http", "must be left out of a balancer of connections"))
                }
            }
        })
        .await
    }
}

fn port(port: u16) -> Result<PortRange, AppError> {
    PortRange::new(port, port).map_err(|_| AppError::invalid("port", "must be 1 to 65535"))
}

/// The members of a balancer, as they were asked for.
async fn members_for(
    db: &impl Reader,
    row: &rule::Model,
    specs: &[MemberSpec],
    port: u16,
) -> Result<BTreeMap<NicId, rule::Member>, AppError> {
    if specs.len() > MAX_MEMBERS {
        return Err(AppError::invalid("members", format!("must be at most {MAX_MEMBERS}")));
    }
    let mut members = BTreeMap::new();
    for spec in specs {
        if !(1..=100).contains(&spec.weight) {
            return Err(AppError::invalid("members.weight", "must be 1 to 100"));
        }
        let port = spec.port.unwrap_or(port);
        if port == 0 {
            return Err(AppError::invalid("members.port", "must be 1 to 65535"));
        }
        let nic = target_for(db, row.account_id, row.zone_id, spec.vm, spec.network).await;
        let nic = nic.map_err(of_members)?.id.0;
        let member = rule::Member { port, weight: spec.weight, drains: spec.drains };
        if members.insert(nic, member).is_some() {
            return Err(AppError::invalid("members", "must not have a VM twice in one network"));
        }
    }
    Ok(members)
}

/// Says that it is a member's field.
fn of_members(error: AppError) -> AppError {
    match error {
        AppError::Invalid { field: "vm", rule } => AppError::invalid("members.vm", rule),
        AppError::Invalid { field: "network", rule } => AppError::invalid("members.network", rule),
        error => error,
    }
}

fn check_check(transport: Transport, check: Option<&HealthCheck>) -> Result<(), AppError> {
    let Some(check) = check else { return Ok(()) };
    let within = |field, holds, rule: &str| if holds { Ok(()) } else { Err(AppError::invalid(field, rule)) };
    within("check", transport == Transport::Tcp, "must be left out of a balancer of UDP")?;
    within("check.interval_ms", (500..=60_000).contains(&check.interval_ms), "must be 500 to 60000")?;
    within("check.timeout_ms", (100..=10_000).contains(&check.timeout_ms), "must be 100 to 10000")?;
    within("check.rise", (1..=10).contains(&check.rise), "must be 1 to 10")?;
    within("check.fall", (1..=10).contains(&check.fall), "must be 1 to 10")?;
    let is_path = check.http_path.as_ref().is_none_or(|path| {
        path.starts_with('/') && path.len() <= 256 && path.bytes().all(|byte| byte.is_ascii_graphic())
    });
    within("check.http_path", is_path, "must begin with / and be at most 256 visible ASCII characters")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_of_a_check_has_its_error() {
        let good = HealthCheck {
            http_path: Some("/up".into()),
            interval_ms: 500,
            timeout_ms: 100,
            rise: 1,
            fall: 10,
        };
        let told = |transport, change: &dyn Fn(&mut HealthCheck)| {
            let mut check = good.clone();
            change(&mut check);
            check_check(transport, Some(&check)).map_err(|error| error.to_string())
        };
        assert_eq!(told(Transport::Tcp, &|_| ()), Ok(()));
        let refused = |field: &str, told: Result<(), String>| {
            assert!(told.clone().unwrap_err().starts_with(field), "{told:?}")
        };
        refused("check:", told(Transport::Udp, &|_| ()));
        refused("check.interval_ms", told(Transport::Tcp, &|check| check.interval_ms = 499));
        refused("check.timeout_ms", told(Transport::Tcp, &|check| check.timeout_ms = 10_001));
        refused("check.rise", told(Transport::Tcp, &|check| check.rise = 0));
        refused("check.fall", told(Transport::Tcp, &|check| check.fall = 11));
        refused("check.http_path", told(Transport::Tcp, &|check| check.http_path = Some("up".into())));
        refused("check.http_path", told(Transport::Tcp, &|check| check.http_path = Some("/a b".into())));
    }
}
