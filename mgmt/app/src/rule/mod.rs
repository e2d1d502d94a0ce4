//! What customers have their routers do: port forwards, static NAT, firewall and egress rules, load balancers.
//!
//! A rule is written in one transaction with the operation that brings it to the account's router; that operation ends when
//! the rule is in force. What passes the checks here is never refused by a router: they are the rules between a document's
//! parts, asked of the rows that a rule meets and of no others, so that the ten-thousandth rule costs what the first did. Only
//! firewall and egress rules are all looked at for each that changes ([`cut`]).

mod cut;
mod egress;
mod firewall;
mod load_balancer;
mod packets;
mod port_forward;
mod static_nat;

use std::collections::{BTreeSet, HashMap};
use std::net::Ipv4Addr;

use podzol_appliance_api::limits;
use podzol_mgmt_api::account::AccountFilter;
use podzol_mgmt_api::{Created, Page, PageQuery};
use podzol_mgmt_db::event::NewEvent;
use podzol_mgmt_db::rule::{self, Kind, Spec};
use podzol_mgmt_db::vm::Desired;
use podzol_mgmt_db::{Col, JsonCol, Reader, Tx, find, network, now, public_ip, vm, zone};
use podzol_vocab::{
    AccountId, IpRange, Ipv4Range, NetworkId, NicId, PortRange, Prefix64, PublicIpId, Transport, VmId, ZoneId,
};

use self::load_balancer::Balancing;
use self::packets::Family;
use crate::error::Meaning;
use crate::{Actor, App, AppError, view, zone6};

/// The most rules of a kind that an account may have in a zone, as many as a router takes; and the most balancers.
const MOST: u64 = limits::MAX_RULES as u64;
const MOST_BALANCERS: u64 = limits::MAX_BALANCERS as u64;

/// The most parts of those rules of a kind in a zone that a router takes apart: as many as it takes, less one for each other
/// rule that there can be. So only what has several parts has to be counted.
const MOST_PARTS: u64 = limits::MAX_PIECES as u64 - MOST;
const MOST_SHIFTED_PORTS: u64 = limits::MAX_SHIFTED_PORTS as u64 - MOST;

/// What rules refer to, as it is shown.
#[derive(Debug, Default)]
pub struct Shown {
    addresses: HashMap<PublicIpId, Ipv4Addr>,
    vms: HashMap<NicId, VmId>,
    networks: HashMap<NetworkId, Ranges>,
    /// What routers say of balancers of HTTP, by their ids.
    balancing: HashMap<String, Balancing>,
}

impl Shown {
    /// Addresses and networks are kept in memory; which VMs interfaces are of is asked once.
    async fn of(db: &impl Reader, rows: &[rule::Model]) -> Result<Self, AppError> {
        let mut shown = Self::default();
        let mut nics = BTreeSet::new();
        for row in rows {
            if let Some(id) = row.public_ip_id
                && !shown.addresses.contains_key(&id.0)
                && let Some(address) = find::<public_ip::Entity>(db, id).await?
            {
                shown.addresses.insert(id.0, address.address.0);
            }
            if let Some(id) = row.network_id
                && !shown.networks.contains_key(&id.0)
                && let Some(network) = find::<network::Entity>(db, id).await?
            {
                shown.networks.insert(id.0, Ranges::of_network(db, &network).await?);
            }
            nics.extend(row.targets());
        }
        let nics: Vec<NicId> = nics.into_iter().collect();
        shown.vms.extend(rule::vms_of(db, &nics).await?);
        Ok(shown)
    }

    /// Not found if it has gone since the rule was read, and the rule with it.
    fn address(&self, row: &rule::Model) -> Result<(PublicIpId, Ipv4Addr), AppError> {
        let found = row.public_ip_id.and_then(|id| Some((id.0, *self.addresses.get(&id.0)?)));
        found.ok_or(AppError::NotFound("rule"))
    }

    fn vm(&self, nic: NicId) -> Result<VmId, AppError> {
        self.vms.get(&nic).copied().ok_or(AppError::NotFound("rule"))
    }
}

/// The addresses of a network.
#[derive(Debug, Clone, Copy)]
struct Ranges {
    v4: Ipv4Range,
    v6: Option<Prefix64>,
}

impl Ranges {
    async fn of_network(db: &impl Reader, network: &network::Model) -> Result<Self, AppError> {
        let v6 = match network.prefix6 {
            Some(_) => find::<zone::Entity>(db, network.zone_id)
                .await?
                .and_then(|zone| zone6::prefix_in(&zone, network)),
            None => None,
        };
        Ok(Self { v4: network.cidr.0.into(), v6 })
    }

    /// Those of a family, if it has any.
    fn of(&self, family: Family) -> Option<IpRange> {
        match family {
            Family::V4 => Some(IpRange::V4(self.v4)),
            Family::V6 => self.v6.map(|prefix| IpRange::V6(prefix.into())),
        }
    }
}

/// A kind of rule, as it is shown.
pub trait Rule: Sized {
    /// By what one is known.
    type Id: std::fmt::Display + Copy;

    /// The kind, as it is kept.
    const KIND: Kind;

    /// By what this one is known.
    fn id(&self) -> Self::Id;

    /// A row with what it refers to.
    ///
    /// # Errors
    /// When it is of another kind, or what it refers to has gone since it was read.
    fn shown(row: rule::Model, shown: &Shown) -> Result<Self, AppError>;
}

/// A row of a new rule.
fn new_row(account: AccountId, zone: ZoneId, id: impl ToString, spec: Spec, kind: Kind) -> rule::Model {
    rule::Model {
        id: id.to_string(),
        account_id: account.into(),
        zone_id: zone.into(),
        kind: JsonCol(kind),
        name: None,
        public_ip_id: None,
        network_id: None,
        transport: None,
        first_port: None,
        last_port: None,
        spec: JsonCol(spec),
        created_at: now().0,
        is_http: false,
    }
}

fn set_ports(row: &mut rule::Model, transport: Transport, ports: PortRange) {
    row.transport = Some(JsonCol(transport));
    row.first_port = Some(ports.first().into());
    row.last_port = Some(ports.last().into());
}

impl App {
    async fn shown(&self, db: &impl Reader, rows: &[rule::Model]) -> Result<Shown, AppError> {
        Ok(Shown { balancing: self.balancing(db, rows).await?, ..Shown::of(db, rows).await? })
    }

    /// Adds a rule that was checked, and starts what brings it into force.
    async fn rule_add<T: Rule>(
        &self,
        tx: &Tx,
        actor: &Actor,
        row: rule::Model,
    ) -> Result<Created<T>, AppError> {
        let account = row.account_id.0;
        let most = if T::KIND == Kind::LoadBalancer { MOST_BALANCERS } else { MOST };
        // The router is the zone's; the rules of all zones are counted first, as that is by an index alone.
        if rule::count(tx.reader(), T::KIND, account).await? >= most
            && rule::count_in(tx.reader(), T::KIND, account, row.zone_id.0).await? >= most
        {
            let noun = T::KIND.noun().replace('-', " ");
            let detail = format!("the account has {most} {noun}s, and its router takes at most {most}");
            return Err(AppError::Exhausted { code: "too_many_rules", detail, reasons: vec![] });
        }
        let taken = || {
            AppError::taken("load balancer", row.name.as_ref().map(ToString::to_string).unwrap_or_default())
        };
        tx.rule_create(row.clone()).await.or_taken(taken)?;
        self.rule_written(tx, actor, row, Verb::Create).await
    }

    /// Tells routers of a rule that is written, and answers.
    async fn rule_written<T: Rule>(
        &self,
        tx: &Tx,
        actor: &Actor,
        row: rule::Model,
        verb: Verb,
    ) -> Result<Created<T>, AppError> {
        cut::must_be_few(tx.reader(), &row, verb).await?;
        let account = row.account_id.0;
        let operation = self.router_told(tx, account, row.zone_id.0).await?;
        let (noun, id) = (T::KIND.noun(), row.id.clone());
        let detail = row.name.as_ref().map(ToString::to_string).unwrap_or_default();
        self.record(tx, actor, verb.action(T::KIND), Some(account), noun, id, &detail).await?;
        let shown = self.shown(tx.reader(), std::slice::from_ref(&row)).await?;
        Ok(Created { object: T::shown(row, &shown)?, operation: view::operation(operation) })
    }

    /// Changes a rule that the caller may see.
    async fn rule_change<T: Rule>(
        &self,
        actor: &Actor,
        id: T::Id,
        change: impl AsyncFnOnce(&Tx, &mut rule::Model) -> Result<(), AppError>,
    ) -> Result<Created<T>, AppError> {
        let tx = self.db.begin().await?;
        let mut row = rule_row(tx.reader(), actor, T::KIND, id.to_string()).await?;
        change(&tx, &mut row).await?;
        tx.rule_update(row.clone()).await?;
        let answer = self.rule_written(&tx, actor, row, Verb::Update).await?;
        tx.commit().await?;
        self.wake.notify_one();
        Ok(answer)
    }

    /// Takes a rule back.
    ///
    /// # Errors
    /// [`AppError::NotFound`] when there is none that the caller may see.
    pub async fn rule_delete<T: Rule>(&self, actor: &Actor, id: T::Id) -> Result<Created<T>, AppError> {
        let tx = self.db.begin().await?;
        let row = rule_row(tx.reader(), actor, T::KIND, id.to_string()).await?;
        tx.rules_delete(std::slice::from_ref(&row)).await?;
        let answer = self.rule_written(&tx, actor, row, Verb::Delete).await?;
        tx.commit().await?;
        self.wake.notify_one();
        Ok(answer)
    }

    /// A rule.
    ///
    /// # Errors
    /// [`AppError::NotFound`] when there is none that the caller may see.
    pub async fn rule_show<T: Rule>(&self, actor: &Actor, id: T::Id) -> Result<T, AppError> {
        let row = rule_row(self.db.reader(), actor, T::KIND, id.to_string()).await?;
        let shown = self.shown(self.db.reader(), std::slice::from_ref(&row)).await?;
        T::shown(row, &shown)
    }

    /// The rules of a kind that the caller may see.
    ///
    /// # Errors
    /// When the query is not valid.
    pub async fn rule_list<T: Rule>(
        &self,
        actor: &Actor,
        filter: &AccountFilter,
        query: &PageQuery,
    ) -> Result<Page<T>, AppError> {
        let page = view::page_of(query)?;
        for _ in 0..view::READS {
            let rows = rule::list(self.db.reader(), T::KIND, actor.scope(filter.account), &page).await?;
            let shown = self.shown(self.db.reader(), &rows).await?;
            match rows.into_iter().map(|row| T::shown(row, &shown)).collect::<Result<_, _>>() {
                Ok(items) => return Ok(view::page(&page, items, |rule: &T| rule.id().to_string())),
                // What one leads to has gone since they were read, and it with that: there are fewer now.
                Err(AppError::NotFound(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Err(AppError::Internal("rules that lead to what is not there".into()))
    }

    /// Removes what leads to network interfaces that are going for good: port forwards and static NATs; balancers lead to the
    /// others from then on.
    pub(crate) async fn rules_without(&self, tx: &Tx, nics: &[NicId]) -> Result<(), AppError> {
        let rows = rule::of_nics(tx.reader(), nics).await?;
        let told: BTreeSet<_> = rows.iter().map(|row| (row.account_id.0, row.zone_id.0)).collect();
        let (mut balancers, gone): (Vec<_>, Vec<_>) =
            rows.into_iter().partition(|row| row.kind.0 == Kind::LoadBalancer);
        for row in &mut balancers {
            if let Spec::LoadBalancer { members, .. } = &mut row.spec.0 {
                members.retain(|nic, _| !nics.contains(nic));
            }
        }
        let left = balancers.iter().map(|row| event(row, Verb::Update, "a member is gone")).collect();
        tx.events_create(left).await?;
        tx.balancers_without(balancers, nics).await?;
        self.rules_go(tx, &gone, "what it led to is gone").await?;
        for (account, zone) in told {
            self.router_told(tx, account, zone).await?;
        }
        Ok(())
    }

    /// Removes rules that nobody has asked to remove.
    pub(crate) async fn rules_go(&self, tx: &Tx, rows: &[rule::Model], why: &str) -> Result<(), AppError> {
        tx.rules_delete(rows).await?;
        Ok(tx.events_create(rows.iter().map(|row| event(row, Verb::Delete, why)).collect()).await?)
    }
}

/// That something is done with a rule which nobody has asked for.
fn event(row: &rule::Model, verb: Verb, why: &str) -> NewEvent {
    NewEvent::of_management(verb.action(row.kind.0), Some(row.account_id.0), row.kind.0.noun(), &row.id, why)
}

/// What is done with a rule.
#[derive(Debug, Clone, Copy)]
enum Verb {
    Create,
    Update,
    Delete,
}

impl Verb {
    fn action(self, kind: Kind) -> &'static str {
        match (kind, self) {
            (Kind::PortForward, Self::Create) => "port-forward.create",
            (Kind::PortForward, Self::Update) => "port-forward.update",
            (Kind::PortForward, Self::Delete) => "port-forward.delete",
            (Kind::StaticNat, Self::Create) => "static-nat.create",
            (Kind::StaticNat, Self::Update) => "static-nat.update",
            (Kind::StaticNat, Self::Delete) => "static-nat.delete",
            (Kind::FirewallRule, Self::Create) => "firewall-rule.create",
            (Kind::FirewallRule, Self::Update) => "firewall-rule.update",
            (Kind::FirewallRule, Self::Delete) => "firewall-rule.delete",
            (Kind::EgressRule, Self::Create) => "egress-rule.create",
            (Kind::EgressRule, Self::Update) => "egress-rule.update",
            (Kind::EgressRule, Self::Delete) => "egress-rule.delete",
            (Kind::LoadBalancer, Self::Create) => "load-balancer.create",
            (Kind::LoadBalancer, Self::Update) => "load-balancer.update",
            (Kind::LoadBalancer, Self::Delete) => "load-balancer.delete",
        }
    }
}

/// The row of a rule of a kind that the caller may see.
async fn rule_row(db: &impl Reader, actor: &Actor, kind: Kind, id: String) -> Result<rule::Model, AppError> {
    let row = find::<rule::Entity>(db, id).await?;
    let mine = |row: &rule::Model| row.kind.0 == kind && actor.sees(row.account_id.0);
    row.filter(mine).ok_or(AppError::NotFound(kind.noun()))
}

/// A public address that the caller may see, for a new rule.
async fn address_for(db: &impl Reader, actor: &Actor, id: PublicIpId) -> Result<public_ip::Model, AppError> {
    let row = find::<public_ip::Entity>(db, id).await?;
    let row = row.filter(|row| actor.sees(row.account_id.0));
    row.ok_or_else(|| AppError::invalid("public_ip", "there is no such public address"))
}

/// The network interface of a VM that a rule of an account in a zone is to lead to.
async fn target_for(
    db: &impl Reader,
    account: Col<AccountId>,
    zone: Col<ZoneId>,
    vm: VmId,
    network: Option<NetworkId>,
) -> Result<vm::nic::Model, AppError> {
    let found = find::<vm::Entity>(db, vm).await?;
    let mine = |row: &vm::Model| {
        let stays = row.desired.0 != Desired::Deleted && row.expunge_at.is_none();
        row.role.is_none() && row.account_id == account && stays
    };
    let row = found.filter(mine);
    let row = row.ok_or_else(|| AppError::invalid("vm", "the public address's account has no such VM"))?;
    if row.zone_id != zone {
        return Err(AppError::invalid("vm", "must be in the zone of the public address"));
    }
    let mut served = Vec::new();
    for nic in vm::nics(db, &[row.id]).await? {
        let found = find::<network::Entity>(db, nic.network_id).await?;
        if found.is_some_and(|network| network.has_router) {
            served.push(nic);
        }
    }
    match network {
        Some(network) => served
            .into_iter()
            .find(|nic| nic.network_id.0 == network)
            .ok_or_else(|| AppError::invalid("network", "must be a network with a router that the VM is in")),
        None if served.len() > 1 => {
            let rule = "must be given, as the VM is in several networks with a router";
            Err(AppError::invalid("network", rule))
        }
        None => served.pop().ok_or_else(|| AppError::invalid("vm", "must be in a network with a router")),
    }
}

/// Refuses ports of an address that lead somewhere already, or an address that is a VM's.
async fn must_be_free(
    db: &impl Reader,
    row: &rule::Model,
    public_ip: PublicIpId,
    transport: Transport,
    ports: PortRange,
) -> Result<(), AppError> {
    if !rule::of_public_ip(db, public_ip, &[Kind::StaticNat], 1).await?.is_empty() {
        let detail = "the public address is a VM's by a static NAT, and serves nothing else".into();
        return Err(AppError::Conflict { code: "address_taken", detail });
    }
    match rule::at_ports(db, public_ip, transport, ports, &row.id).await? {
        None => Ok(()),
        Some(other) => {
            let noun = other.kind.0.noun();
            let taken = other.ports().map(|ports| ports.to_string()).unwrap_or_default();
            let detail = format!("{transport} {taken} of the public address is {noun} {}'s", other.id);
            Err(AppError::Conflict { code: "ports_taken", detail })
        }
    }
}

/// Refuses a rule of more than one part if those of its kind have too many together.
fn must_be_few(others: u64, own: u64, most: u64, parts: &str) -> Result<(), AppError> {
    if others + own <= most {
        return Ok(());
    }
    let detail = format!(
        "the account can have {most} {parts} in a zone: there are {others}, and {own} more are too many"
    );
    Err(AppError::Exhausted { code: "too_many_rules", detail, reasons: vec![] })
}
