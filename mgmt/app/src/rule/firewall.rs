//! Firewall rules: what may come in from outside.

use podzol_mgmt_api::firewall::{FirewallRule, FirewallRuleCreate, FirewallRuleUpdate, Packets};
use podzol_mgmt_api::{Created, Timestamp};
use podzol_mgmt_db::rule::{self, Kind, Spec};
use podzol_mgmt_db::vm::Desired;
use podzol_mgmt_db::{Reader, find, network, vm};
use podzol_vocab::{FirewallRuleId, IpRange, NicId, PublicIpId, VmId};

use super::egress::network_for;
use super::packets::{Family, checked, must_be_alone, must_be_ranges};
use super::{MOST_PARTS, Rule, Shown, address_for, must_be_few, new_row};
use crate::{Actor, App, AppError, Once};

impl Rule for FirewallRule {
    type Id = FirewallRuleId;

    const KIND: Kind = Kind::FirewallRule;

    fn id(&self) -> Self::Id {
        self.id
    }

    fn shown(row: rule::Model, shown: &Shown) -> Result<Self, AppError> {
        let odd = || AppError::Internal(format!("rule {} is no firewall rule", row.id));
        let public = row.public_ip_id.map(|_| shown.address(&row)).transpose()?;
        let Spec::FirewallRule { sources, packets, nic } = row.spec.0.clone() else { return Err(odd()) };
        Ok(Self {
            id: row.id.parse().map_err(|_| odd())?,
            account: row.account_id.0,
            zone: row.zone_id.0,
            public_ip: public.map(|(id, _)| id),
            address: public.map(|(_, address)| address),
            network: row.network_id.map(|network| network.0),
            vm: nic.map(|nic| shown.vm(nic)).transpose()?,
            sources,
            packets,
            created_at: Timestamp(row.created_at),
        })
    }
}

impl App {
    /// Lets something in from outside.
    ///
    /// # Errors
    /// When a field breaks a rule.
    pub async fn firewall_rule_create(
        &self,
        actor: &Actor,
        once: Option<Once>,
        body: FirewallRuleCreate,
    ) -> Result<Created<FirewallRule>, AppError> {
        let family = match (body.public_ip, body.network) {
            (Some(_), None) => Family::V4,
            (None, Some(_)) => Family::V6,
            (Some(_), Some(_)) => {
                return Err(AppError::invalid("network", "must be left out with a public_ip"));
            }
            (None, None) => {
                return Err(AppError::invalid("public_ip", "must be given, or a network instead"));
            }
        };
        if body.vm.is_some() && family == Family::V4 {
            return Err(AppError::invalid("vm", "must be left out with a public_ip"));
        }
        let sources = body.sources.clone().unwrap_or_else(|| vec![family.everywhere()]);
        must_be_ranges("sources", family, &sources)?;
        let packets = checked(family, body.protocol, body.ports, body.icmp_type, body.icmp_code)?;
        self.create(actor, once, async |tx| {
            let row = match body.public_ip {
                Some(public_ip) => to_address(tx.reader(), actor, public_ip, sources, packets).await?,
                None => to_network(tx.reader(), actor, &body, sources, packets).await?,
            };
            must_be_few_sources(tx.reader(), &row).await?;
            self.rule_add(tx, actor, row).await
        })
        .await
    }

    /// Changes a firewall rule.
    ///
    /// # Errors
    /// When a field breaks a rule.
    pub async fn firewall_rule_update(
        &self,
        actor: &Actor,
        id: FirewallRuleId,
        body: FirewallRuleUpdate,
    ) -> Result<Created<FirewallRule>, AppError> {
        self.rule_change(actor, id, async |tx, row| {
            let family = if row.public_ip_id.is_some() { Family::V4 } else { Family::V6 };
            let Spec::FirewallRule { sources, packets, .. } = &mut row.spec.0 else {
                return Err(AppError::Internal(format!("rule {id} is no firewall rule")));
            };
            if let Some(new) = body.sources {
                must_be_ranges("sources", family, &new)?;
                *sources = new;
            }
            match body.protocol {
                Some(protocol) => {
                    *packets = checked(family, protocol, body.ports, body.icmp_type, body.icmp_code)?;
                }
                None => must_be_alone(body.ports, body.icmp_type, body.icmp_code)?,
            }
            must_be_few_sources(tx.reader(), row).await
        })
        .await
    }
}

/// A rule to a public address.
async fn to_address(
    db: &impl Reader,
    actor: &Actor,
    public_ip: PublicIpId,
    sources: Vec<IpRange>,
    packets: Packets,
) -> Result<rule::Model, AppError> {
    let address = address_for(db, actor, public_ip).await?;
    let spec = Spec::FirewallRule { sources, packets, nic: None };
    let (account, zone) = (address.account_id.0, address.zone_id.0);
    let mut row = new_row(account, zone, FirewallRuleId::new(), spec, Kind::FirewallRule);
    row.public_ip_id = Some(address.id);
    Ok(row)
}

/// A rule to a network with IPv6, or to a VM in it.
async fn to_network(
    db: &impl Reader,
    actor: &Actor,
    body: &FirewallRuleCreate,
    sources: Vec<IpRange>,
    packets: Packets,
) -> Result<rule::Model, AppError> {
    let network = body.network.ok_or_else(|| AppError::Internal("a rule to no network".into()))?;
    let network = network_for(db, actor, network).await?;
    if network.prefix6.is_none() {
        return Err(AppError::invalid("network", "must be one with IPv6"));
    }
    let nic = match body.vm {
        Some(vm) => Some(nic_in(db, &network, vm).await?),
        None => None,
    };
    let spec = Spec::FirewallRule { sources, packets, nic };
    let (account, zone) = (network.account_id.0, network.zone_id.0);
    let mut row = new_row(account, zone, FirewallRuleId::new(), spec, Kind::FirewallRule);
    row.network_id = Some(network.id);
    Ok(row)
}

/// The interface of a customer's VM in a network.
async fn nic_in(db: &impl Reader, network: &network::Model, vm: VmId) -> Result<NicId, AppError> {
    let found = find::<vm::Entity>(db, vm).await?;
    let stays = |row: &vm::Model| row.desired.0 != Desired::Deleted && row.expunge_at.is_none();
    let row = found.filter(|row| row.role.is_none() && row.account_id == network.account_id && stays(row));
    let row = row.ok_or_else(|| AppError::invalid("vm", "the network's account has no such VM"))?;
    let nics = vm::nics(db, &[row.id]).await?;
    let nic = nics.into_iter().find(|nic| nic.network_id == network.id);
    Ok(nic.ok_or_else(|| AppError::invalid("vm", "must be in the network"))?.id.0)
}

/// Refuses more sources than a router has room for: it knows each by itself.
async fn must_be_few_sources(db: &impl Reader, row: &rule::Model) -> Result<(), AppError> {
    let Spec::FirewallRule { sources, .. } = &row.spec.0 else { return Ok(()) };
    if sources.len() == 1 {
        return Ok(());
    }
    let others = rule::firewall_sources(db, row.account_id.0, row.zone_id.0, &row.id).await?;
    must_be_few(others, sources.len() as u64, MOST_PARTS, "sources in firewall rules with several")
}
