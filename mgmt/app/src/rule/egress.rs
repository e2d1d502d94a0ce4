//! Egress rules: exceptions to what the VMs of a network may send outside.

use podzol_mgmt_api::firewall::{EgressRule, EgressRuleCreate, EgressRuleUpdate};
use podzol_mgmt_api::{Created, Timestamp};
use podzol_mgmt_db::rule::{self, Kind, Spec};
use podzol_mgmt_db::{Reader, find, network};
use podzol_vocab::{EgressRuleId, NetworkId};

use super::packets::{Family, checked, must_be_alone, must_be_ranges, must_be_within};
use super::{MOST_PARTS, Ranges, Rule, Shown, must_be_few, new_row};
use crate::{Actor, App, AppError, Once};

impl Rule for EgressRule {
    type Id = EgressRuleId;

    const KIND: Kind = Kind::EgressRule;

    fn id(&self) -> Self::Id {
        self.id
    }

    fn shown(row: rule::Model, shown: &Shown) -> Result<Self, AppError> {
        let odd = || AppError::Internal(format!("rule {} is no egress rule", row.id));
        let Spec::EgressRule { sources, destinations, packets } = row.spec.0.clone() else {
            return Err(odd());
        };
        let network = row.network_id.ok_or_else(odd)?.0;
        let family = destinations.first().map(|range| Family::of(*range)).ok_or_else(odd)?;
        let whole = shown.networks.get(&network).and_then(|ranges| ranges.of(family));
        Ok(Self {
            id: row.id.parse().map_err(|_| odd())?,
            account: row.account_id.0,
            zone: row.zone_id.0,
            network,
            sources: sources.unwrap_or_else(|| whole.into_iter().collect()),
            destinations,
            packets,
            created_at: Timestamp(row.created_at),
        })
    }
}

impl App {
    /// Makes an exception to what the VMs of a network may send outside.
    ///
    /// # Errors
    /// When a field breaks a rule.
    pub async fn egress_rule_create(
        &self,
        actor: &Actor,
        once: Option<Once>,
        body: EgressRuleCreate,
    ) -> Result<Created<EgressRule>, AppError> {
        let family = body.destinations.first().map_or(Family::V4, |range| Family::of(*range));
        must_be_ranges("destinations", family, &body.destinations)?;
        let packets = checked(family, body.protocol, body.ports, body.icmp_type, body.icmp_code)?;
        self.create(actor, once, async |tx| {
            let network = network_for(tx.reader(), actor, body.network).await?;
            let whole = Ranges::of_network(tx.reader(), &network).await?.of(family).ok_or_else(|| {
                AppError::invalid("destinations", "must be IPv4, as the network has no IPv6")
            })?;
            if let Some(sources) = &body.sources {
                must_be_within("sources", sources, whole)?;
            }
            let (sources, destinations) = (body.sources, body.destinations);
            let spec = Spec::EgressRule { sources, destinations, packets };
            let (account, zone) = (network.account_id.0, network.zone_id.0);
            let mut row = new_row(account, zone, EgressRuleId::new(), spec, Kind::EgressRule);
            row.network_id = Some(network.id);
            must_be_few_pairs(tx.reader(), &row).await?;
            self.rule_add(tx, actor, row).await
        })
        .await
    }

    /// Changes an egress rule.
    ///
    /// # Errors
    /// When a field breaks a rule.
    pub async fn egress_rule_update(
        &self,
        actor: &Actor,
        id: EgressRuleId,
        body: EgressRuleUpdate,
    ) -> Result<Created<EgressRule>, AppError> {
        self.rule_change(actor, id, async |tx, row| {
            let odd = || AppError::Internal(format!("rule {id} is no egress rule"));
            let network = row.network_id.ok_or_else(odd)?;
            let Spec::EgressRule { sources, destinations, packets } = &mut row.spec.0 else {
                return Err(odd());
            };
            // It stays what it is.
            let family = destinations.first().map(|range| Family::of(*range)).ok_or_else(odd)?;
            if let Some(new) = body.sources {
                let network = find::<network::Entity>(tx.reader(), network).await?.ok_or_else(odd)?;
                let ranges = Ranges::of_network(tx.reader(), &network).await?;
                must_be_within("sources", &new, ranges.of(family).ok_or_else(odd)?)?;
                *sources = Some(new);
            }
            if let Some(new) = body.destinations {
                must_be_ranges("destinations", family, &new)?;
                *destinations = new;
            }
            match body.protocol {
                Some(protocol) => {
                    *packets = checked(family, protocol, body.ports, body.icmp_type, body.icmp_code)?;
                }
                None => must_be_alone(body.ports, body.icmp_type, body.icmp_code)?,
            }
            must_be_few_pairs(tx.reader(), row).await
        })
        .await
    }
}

/// A network with a router that the caller may see.
pub(super) async fn network_for(
    db: &impl Reader,
    actor: &Actor,
    id: NetworkId,
) -> Result<network::Model, AppError> {
    let row = find::<network::Entity>(db, id).await?;
    let row = row.filter(|row| row.is_there() && actor.sees(row.account_id.0));
    let row = row.ok_or_else(|| AppError::invalid("network", "there is no such network"))?;
    if !row.has_router {
        return Err(AppError::invalid("network", "must be one with a router"));
    }
    Ok(row)
}

/// Refuses more pairs of a source and a destination than a router has room for: it knows each by itself.
async fn must_be_few_pairs(db: &impl Reader, row: &rule::Model) -> Result<(), AppError> {
    let Spec::EgressRule { sources, destinations, .. } = &row.spec.0 else { return Ok(()) };
    let own = sources.as_ref().map_or(1, Vec::len) * destinations.len();
    if own == 1 {
        return Ok(());
    }
    let others = rule::egress_pairs(db, row.account_id.0, row.zone_id.0, &row.id).await?;
    must_be_few(others, own as u64, MOST_PARTS, "pairs of a source and a destination in rules with several")
}
