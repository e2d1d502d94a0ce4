//! What routers do for customers: port forwards, static NAT, firewall and egress rules, and load balancers.
//!
//! All are rows of one table: what they refer to and what is searched stands in columns, the rest in one text. Which network
//! interfaces they lead to stands in another, so that those of a VM that goes are found.

use std::collections::BTreeMap;

use podzol_mgmt_api::firewall::Packets;
use podzol_mgmt_api::load_balancer::{BalancingMethod, HealthCheck, Http};
use podzol_vocab::{
    AccountId, IpRange, Name, NetworkId, NicId, PortRange, PublicIpId, Transport, VmId, ZoneId,
};
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm::{QueryFilter, QueryOrder, QuerySelect, QueryTrait};
use serde::{Deserialize, Serialize};

use crate::fetch::Fetch;
use crate::vm::nic;
use crate::zone::PageOf;
use crate::{Col, DbError, JsonCol, Reader, Tx};

#[cfg(test)]
mod tests;

/// Which kind of rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    PortForward,
    StaticNat,
    FirewallRule,
    EgressRule,
    LoadBalancer,
}

impl Kind {
    /// What one is called, in events and in the stream of changes.
    pub const fn noun(self) -> &'static str {
        match self {
            Self::PortForward => "port-forward",
            Self::StaticNat => "static-nat",
            Self::FirewallRule => "firewall-rule",
            Self::EgressRule => "egress-rule",
            Self::LoadBalancer => "load-balancer",
        }
    }
}

/// What of a rule stands in no other column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Spec {
    PortForward {
        nic: NicId,
        to_port: u16,
    },
    StaticNat {
        nic: NicId,
    },
    FirewallRule {
        sources: Vec<IpRange>,
        packets: Packets,
        /// Of one to a network: to which VM's interface in it alone.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        nic: Option<NicId>,
    },
    EgressRule {
        sources: Option<Vec<IpRange>>,
        destinations: Vec<IpRange>,
        packets: Packets,
    },
    LoadBalancer {
        method: BalancingMethod,
        members: BTreeMap<NicId, Member>,
        check: Option<HealthCheck>,
        /// The certificate's key is a [`termination`](crate::termination).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        http: Option<Http>,
    },
}

/// A network interface that a balancer leads to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    pub port: u16,
    pub weight: u8,
    pub drains: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "rules")]
pub struct Model {
    /// An id of its kind.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    pub account_id: Col<AccountId>,
    pub zone_id: Col<ZoneId>,
    pub kind: JsonCol<Kind>,
    /// Unique among those of its kind in the account; only balancers have one.
    pub name: Option<Col<Name>>,
    /// None of an egress rule, and of a firewall rule to a network.
    pub public_ip_id: Option<Col<PublicIpId>>,
    /// Only of those.
    pub network_id: Option<Col<NetworkId>>,
    /// Of which protocol the ports are that lead to VMs: of a port forward or a balancer.
    pub transport: Option<JsonCol<Transport>>,
    pub first_port: Option<i64>,
    pub last_port: Option<i64>,
    pub spec: JsonCol<Spec>,
    pub created_at: i64,
    /// Whether it is a balancer of HTTP.
    pub is_http: bool,
}

crate::no_relations!();

impl Model {
    /// The ports of the public address that lead to VMs.
    pub fn ports(&self) -> Option<PortRange> {
        let port = |port: Option<i64>| u16::try_from(port?).ok();
        PortRange::new(port(self.first_port)?, port(self.last_port)?).ok()
    }

    /// The network interfaces that it leads to.
    pub fn targets(&self) -> Vec<NicId> {
        match &self.spec.0 {
            Spec::PortForward { nic, .. } | Spec::StaticNat { nic } => vec![*nic],
            Spec::LoadBalancer { members, .. } => members.keys().copied().collect(),
            Spec::FirewallRule { nic, .. } => nic.iter().copied().collect(),
            Spec::EgressRule { .. } => vec![],
        }
    }
}

/// Which network interfaces rules lead to.
pub mod target {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "rule_targets")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub rule_id: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub nic_id: Col<NicId>,
    }

    crate::no_relations!();
}

/// A page of the rules of a kind, of one account or all.
///
/// # Errors
/// When the database cannot be read.
pub async fn list(
    db: &impl Reader,
    kind: Kind,
    account: Option<AccountId>,
    page: &PageOf,
) -> Result<Vec<Model>, DbError> {
    let mut query = Entity::find().filter(Column::Kind.eq(JsonCol(kind)));
    if let Some(account) = account {
        query = query.filter(Column::AccountId.eq(Col(account)));
    }
    Ok(page.of(query, Column::Id, Some(Column::Name)).fetch(db).await?)
}

/// All rules of an account in a zone.
///
/// # Errors
/// When the database cannot be read.
pub async fn of(db: &impl Reader, account: AccountId, zone: ZoneId) -> Result<Vec<Model>, DbError> {
    let of_account = Entity::find().filter(Column::AccountId.eq(Col(account)));
    // An account has few zones, and a zone many accounts: not by the zone's index.
    Ok(of_account.filter(Expr::cust(r#"+"zone_id""#).eq(Col(zone))).fetch(db).await?)
}

/// How many rules of a kind an account has.
///
/// # Errors
/// When the database cannot be read.
pub async fn count(db: &impl Reader, kind: Kind, account: AccountId) -> Result<u64, DbError> {
    let of_account = Entity::find().filter(Column::AccountId.eq(Col(account)));
    Ok(of_account.filter(Column::Kind.eq(JsonCol(kind))).count(db).await?)
}

/// How many of them are in a zone, which takes a look at each.
///
/// # Errors
/// When the database cannot be read.
pub async fn count_in(
    db: &impl Reader,
    kind: Kind,
    account: AccountId,
    zone: ZoneId,
) -> Result<u64, DbError> {
    Ok(others(kind, account, zone, "").count(db).await?)
}

/// The rules of a kind of an account in a zone.
///
/// # Errors
/// When the database cannot be read.
pub async fn of_kind(
    db: &impl Reader,
    kind: Kind,
    account: AccountId,
    zone: ZoneId,
) -> Result<Vec<Model>, DbError> {
    Ok(others(kind, account, zone, "").fetch(db).await?)
}

/// The balancers of HTTP of an account in a zone.
///
/// # Errors
/// When the database cannot be read.
pub async fn http_of(db: &impl Reader, account: AccountId, zone: ZoneId) -> Result<Vec<Model>, DbError> {
    Ok(others(Kind::LoadBalancer, account, zone, "").filter(Column::IsHttp.eq(true)).fetch(db).await?)
}

/// How many balancers of HTTP an account has in a zone.
///
/// # Errors
/// When the database cannot be read.
pub async fn count_http(db: &impl Reader, account: AccountId, zone: ZoneId) -> Result<u64, DbError> {
    Ok(others(Kind::LoadBalancer, account, zone, "").filter(Column::IsHttp.eq(true)).count(db).await?)
}

/// How many ports the port forwards of an account in a zone have together that are of several ports and lead to others.
///
/// # Errors
/// When the database cannot be read.
pub async fn shifted_ports(
    db: &impl Reader,
    account: AccountId,
    zone: ZoneId,
    but: &str,
) -> Result<u64, DbError> {
    let is_shifted = r#""last_port" > "first_port" AND json_extract("spec", '$.to_port') <> "first_port""#;
    let shifted = others(Kind::PortForward, account, zone, but).filter(Expr::cust(is_shifted));
    sum(db, shifted, r#""last_port" - "first_port" + 1"#).await
}

/// How many pairs of a source and a destination the egress rules of an account in a zone have together that have several.
///
/// # Errors
/// When the database cannot be read.
pub async fn egress_pairs(
    db: &impl Reader,
    account: AccountId,
    zone: ZoneId,
    but: &str,
) -> Result<u64, DbError> {
    // A whole network as the source is none written.
    let pairs =
        r#"max(1, json_array_length("spec", '$.sources')) * json_array_length("spec", '$.destinations')"#;
    let several = others(Kind::EgressRule, account, zone, but).filter(Expr::cust(format!("{pairs} > 1")));
    sum(db, several, pairs).await
}

/// How many sources the firewall rules of an account in a zone have together that have several.
///
/// # Errors
/// When the database cannot be read.
pub async fn firewall_sources(
    db: &impl Reader,
    account: AccountId,
    zone: ZoneId,
    but: &str,
) -> Result<u64, DbError> {
    let sources = r#"json_array_length("spec", '$.sources')"#;
    let several = others(Kind::FirewallRule, account, zone, but).filter(Expr::cust(format!("{sources} > 1")));
    sum(db, several, sources).await
}

/// The rules of a kind that an account has in a zone, but one.
fn others(kind: Kind, account: AccountId, zone: ZoneId, but: &str) -> Select<Entity> {
    // With a plus, SQLite does not look for it by that, which all accounts' rules would answer.
    let in_zone = Expr::cust(r#"+"zone_id""#).eq(Col(zone));
    let of_account = Entity::find().filter(Column::AccountId.eq(Col(account)));
    of_account.filter(Column::Kind.eq(JsonCol(kind))).filter(in_zone).filter(Column::Id.ne(but))
}

async fn sum(db: &impl Reader, rules: Select<Entity>, what: &str) -> Result<u64, DbError> {
    let sum = rules.select_only().column_as(Expr::cust(format!("coalesce(sum({what}), 0)")), "sum");
    let sum: Vec<i64> = sum.into_tuple().all(db).await?;
    Ok(sum.into_iter().next().and_then(|sum| sum.try_into().ok()).unwrap_or_default())
}

/// The VMs of some network interfaces.
///
/// # Errors
/// When the database cannot be read.
pub async fn vms_of(db: &impl Reader, nics: &[NicId]) -> Result<Vec<(NicId, VmId)>, DbError> {
    let mut found = Vec::with_capacity(nics.len());
    for some in nics.chunks(1000) {
        let of_some = nic::Entity::find().filter(nic::Column::Id.is_in(some.iter().copied().map(Col)));
        found.extend(of_some.fetch(db).await?.into_iter().map(|nic| (nic.id.0, nic.vm_id.0)));
    }
    Ok(found)
}

/// A rule of a public address that some ports lead to VMs by already, if there is one. No two of an address overlap, so the
/// one that begins last before their end is all there is to look at.
///
/// # Errors
/// When the database cannot be read.
pub async fn at_ports(
    db: &impl Reader,
    public_ip: PublicIpId,
    transport: Transport,
    ports: PortRange,
    but: &str,
) -> Result<Option<Model>, DbError> {
    let nearest = Entity::find()
        .filter(Column::PublicIpId.eq(Col(public_ip)))
        .filter(Column::Transport.eq(JsonCol(transport)))
        .filter(Column::FirstPort.lte(i64::from(ports.last())))
        .filter(Column::Id.ne(but))
        .order_by_desc(Column::FirstPort)
        .fetch_one(db)
        .await?;
    Ok(nearest.filter(|rule| rule.ports().is_some_and(|taken| taken.overlaps(ports))))
}

/// The rules of some kinds that name a public address; at most so many.
///
/// # Errors
/// When the database cannot be read.
pub async fn of_public_ip(
    db: &impl Reader,
    public_ip: PublicIpId,
    kinds: &[Kind],
    most: u64,
) -> Result<Vec<Model>, DbError> {
    let of_address = Entity::find().filter(Column::PublicIpId.eq(Col(public_ip)));
    Ok(of_address
        .filter(Column::Kind.is_in(kinds.iter().copied().map(JsonCol)))
        .limit(most)
        .fetch(db)
        .await?)
}

/// The rules about a network.
///
/// # Errors
/// When the database cannot be read.
pub async fn of_network(db: &impl Reader, network: NetworkId) -> Result<Vec<Model>, DbError> {
    Ok(Entity::find().filter(Column::NetworkId.eq(Col(network))).fetch(db).await?)
}

/// The rules that lead to some network interfaces.
///
/// # Errors
/// When the database cannot be read.
pub async fn of_nics(db: &impl Reader, nics: &[NicId]) -> Result<Vec<Model>, DbError> {
    let theirs = target::Entity::find()
        .select_only()
        .column(target::Column::RuleId)
        .filter(target::Column::NicId.is_in(nics.iter().copied().map(Col)));
    Ok(Entity::find().filter(Column::Id.in_subquery(theirs.into_query())).fetch(db).await?)
}

/// How many rules a statement removes at most: SQLite takes 32,766 values in one.
const AT_ONCE: usize = 1000;

impl Tx {
    /// Adds a rule.
    ///
    /// # Errors
    /// [`DbError::Taken`] when its account has one of its kind with that name.
    pub async fn rule_create(&self, row: Model) -> Result<(), DbError> {
        self.changed(row.kind.0.noun(), &row.id, Some(row.account_id.0));
        let targets = targets_of(&row);
        self.insert::<Entity>(row)?;
        self.insert_all::<target::Entity>(targets)
    }

    /// Writes a rule as it is now.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn rule_update(&self, row: Model) -> Result<(), DbError> {
        self.changed(row.kind.0.noun(), &row.id, Some(row.account_id.0));
        let before = target::Entity::delete_many().filter(target::Column::RuleId.eq(row.id.as_str()));
        before.exec(self.reader()).await?;
        let targets = targets_of(&row);
        self.update::<Entity>(row)?;
        self.insert_all::<target::Entity>(targets)
    }

    /// Removes some rules, in few statements however many there are: whoever else writes waits meanwhile.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn rules_delete(&self, rows: &[Model]) -> Result<(), DbError> {
        for some in rows.chunks(AT_ONCE) {
            for row in some {
                self.changed(row.kind.0.noun(), &row.id, Some(row.account_id.0));
            }
            let ids = || some.iter().map(|row| row.id.as_str());
            let targets = target::Entity::delete_many().filter(target::Column::RuleId.is_in(ids()));
            targets.exec(self.reader()).await?;
            if some.iter().any(|row| row.is_http) {
                self.terminations_delete(ids()).await?;
            }
            Entity::delete_many().filter(Column::Id.is_in(ids())).exec(self.reader()).await?;
        }
        Ok(())
    }

    /// Writes balancers as they are now that lead to some network interfaces no more.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn balancers_without(&self, rows: Vec<Model>, nics: &[NicId]) -> Result<(), DbError> {
        for some in rows.chunks(AT_ONCE) {
            let targets = target::Entity::delete_many()
                .filter(target::Column::RuleId.is_in(some.iter().map(|row| row.id.as_str())))
                .filter(target::Column::NicId.is_in(nics.iter().copied().map(Col)));
            targets.exec(self.reader()).await?;
        }
        for row in rows {
            self.changed(row.kind.0.noun(), &row.id, Some(row.account_id.0));
            self.update::<Entity>(row)?;
        }
        Ok(())
    }
}

fn targets_of(row: &Model) -> Vec<target::Model> {
    let target = |nic: NicId| target::Model { rule_id: row.id.clone(), nic_id: nic.into() };
    row.targets().into_iter().map(target).collect()
}
