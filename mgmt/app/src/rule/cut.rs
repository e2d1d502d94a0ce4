//! How many pieces a router makes of firewall and egress rules, so that none is taken that it would refuse.
//!
//! Its packet filter has rules as ranges that do not overlap, so one that others cross is cut
//! (`podzol_appliance_pieces`), and few rules can make many pieces. How many there are at most is counted here, in the
//! transaction of a rule that is new or changed, for all rules of the kind in the zone. That only falls when a rule goes, so
//! nobody is kept from taking one back, nor does anything go wrong with one that goes with a VM, an address or a network.
//!
//! Refused: to leave it to the router. It takes no other change until that rule is gone, and a router that starts takes none
//! at all.

use podzol_appliance_api::limits::MAX_PIECES;
use podzol_appliance_pieces::{are_few, egress, egress6, ingress, ingress6};
use podzol_mgmt_db::rule::{self, Kind};
use podzol_mgmt_db::{Reader, find, network, public_ip, vm};

use super::{Ranges, Verb};
use crate::AppError;
use crate::router::document::{Referred, Told, told};

/// Refuses a rule, as it is written, if with it the rules of its kind may be cut in more pieces than the router takes.
pub(super) async fn must_be_few(db: &impl Reader, row: &rule::Model, verb: Verb) -> Result<(), AppError> {
    if !matches!(row.kind.0, Kind::FirewallRule | Kind::EgressRule) || matches!(verb, Verb::Delete) {
        return Ok(());
    }
    let rows = rule::of_kind(db, row.kind.0, row.account_id.0, row.zone_id.0).await?;
    let mut referred = Referred::default();
    for row in &rows {
        refer(db, row, &mut referred).await?;
    }
    if can_be_taken(&rows, &referred) {
        return Ok(());
    }
    let nouns = row.kind.0.noun().replace('-', " ");
    let detail = format!(
        "the account's {nouns}s in the zone would overlap so that its router might have to cut them in more than {MAX_PIECES} pieces"
    );
    Err(AppError::Exhausted { code: "too_many_rules", detail, reasons: vec![] })
}

/// Notes what a rule refers to.
async fn refer(db: &impl Reader, row: &rule::Model, referred: &mut Referred) -> Result<(), AppError> {
    if let Some(id) = row.public_ip_id
        && !referred.addresses.contains_key(&id.0)
        && let Some(address) = find::<public_ip::Entity>(db, id).await?
    {
        referred.addresses.insert(id.0, address.address.0);
    }
    if let Some(id) = row.network_id
        && !referred.networks.contains_key(&id.0)
        && let Some(network) = find::<network::Entity>(db, id).await?
    {
        let Ranges { v4, v6 } = Ranges::of_network(db, &network).await?;
        referred.networks.insert(id.0, (v4, v6));
    }
    for id in row.targets() {
        if !referred.addresses6.contains_key(&id)
            && let Some(nic) = find::<vm::nic::Entity>(db, id).await?
            && let Some((_, Some(prefix))) = referred.networks.get(&nic.network_id.0)
        {
            referred.addresses6.insert(id, prefix.of(nic.mac.0));
        }
    }
    Ok(())
}

/// Whether a router takes rules of a kind.
fn can_be_taken(rows: &[rule::Model], referred: &Referred) -> bool {
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for row in rows {
        match told(row, referred) {
            Some(Told::Ingress(rule)) => v4.extend(ingress(&rule)),
            Some(Told::Egress(rule)) => v4.extend(egress(&rule)),
            Some(Told::Ingress6(rule)) => v6.extend(ingress6(&rule)),
            Some(Told::Egress6(rule)) => v6.extend(egress6(&rule)),
            _ => {}
        }
    }
    are_few(v4.into_iter()) && are_few(v6.into_iter())
}
