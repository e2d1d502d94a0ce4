//! What has become different of what a router was told: of the rows that have changed, their entries and no others.

use std::collections::{BTreeSet, HashMap};
use std::net::Ipv6Addr;

use podzol_appliance_api::{Delta, Document, Entries, GuestNetwork};
use podzol_mgmt_db::{find, public_ip, router, rule, vm, zone};
use podzol_vocab::{Ipv4Range, NetworkId, NicId, Prefix64, VmId};

use super::TellError;
use super::document::{self, Referred, Told};
use super::known::{Dirty, Known};
use super::tell::{internal, is_leaving};
use crate::{App, AppError};

impl App {
    /// What has become different of what a router was told, of the rows that have changed. Says whether anything has.
    pub(super) async fn differences(
        &self,
        row: &router::Model,
        known: &Known,
        vm: VmId,
        in_force: &Document,
        dirty: &Dirty,
        after: &mut Delta,
    ) -> Result<bool, TellError> {
        let db = self.db.reader();
        let mut guests = in_force.guests.clone();
        let mut rules = dirty.rules.clone();
        let mut vms = dirty.vms.clone();
        if dirty.sides {
            let mut then = Document::default();
            self.sides(db, row, vm).await?.write(&mut then).map_err(internal)?;
            guests = std::mem::take(&mut then.guests);
            let served = |guests: &Guests| -> Vec<_> {
                guests.iter().map(|(id, guest)| (*id, guest.prefix6)).collect()
            };
            if served(&guests) != served(&in_force.guests) {
                // What is in a network that comes or goes, comes or goes with it; and its addresses with its prefix.
                let networks: Vec<_> = guests.keys().chain(in_force.guests.keys()).copied().collect();
                let nics = vm::nics_in(db, &networks).await?;
                vms.extend(nics.iter().map(|nic| nic.vm_id.0).filter(|id| *id != vm));
                rules.extend(
                    rule::of(db, row.account_id.0, row.zone_id.0).await?.into_iter().map(|row| row.id),
                );
            }
            after.public = then.public.filter(|public| in_force.public.as_ref() != Some(public));
            after.forwarders = Some(then.forwarders).filter(|all| *all != in_force.forwarders);
            after.limits = then.limits.filter(|limits| in_force.limits.as_ref() != Some(limits));
            entries(&in_force.guests, &guests, &mut after.guests);
        }
        let zone = find::<zone::Entity>(db, row.zone_id).await?.ok_or(AppError::NotFound("zone"))?;
        for id in vms {
            let found = find::<vm::Entity>(db, id).await?;
            let of_zone = |found: &vm::Model| {
                found.account_id == row.account_id && found.zone_id == row.zone_id && found.role.is_none()
            };
            let found = found.filter(|found| of_zone(found) && !is_leaving(found));
            let nics = match &found {
                Some(found) => vm::nics(db, &[found.id]).await?,
                None => vec![],
            };
            let served = document::vm_nics(&nics, &guests);
            let had: Vec<NicId> =
                in_force.nics.iter().filter(|(_, nic)| nic.vm == id).map(|(nic, _)| *nic).collect();
            after.nics.gone.extend(had.into_iter().filter(|nic| !served.contains_key(nic)));
            match found.filter(|_| !served.is_empty()) {
                Some(found) => {
                    let facts = document::facts(&found, &zone.name.0, &self.offering_name(&found).await?);
                    put(&in_force.vms, id, facts, &mut after.vms);
                }
                None => gone(&in_force.vms, id, &mut after.vms),
            }
            for (nic, entry) in served {
                put(&in_force.nics, nic, entry, &mut after.nics);
            }
        }
        let moved = moved6(in_force, after);
        if !moved.is_empty() {
            // Rules to a VM are there only as long as its address is.
            rules.extend(rule::of_nics(db, &moved).await?.into_iter().map(|row| row.id));
        }
        self.rule_differences(row, known, in_force, &guests, rules, after).await?;
        let nothing = Delta { from: after.from, to: after.to, ..Delta::default() };
        Ok(*after != nothing)
    }

    async fn rule_differences(
        &self,
        row: &router::Model,
        known: &Known,
        in_force: &Document,
        guests: &Guests,
        rules: BTreeSet<String>,
        after: &mut Delta,
    ) -> Result<(), TellError> {
        let db = self.db.reader();
        let networks = served_ranges(guests);
        let mut referred = Referred { networks, ..Referred::default() };
        for id in rules {
            // Changes are noted for all routers of an account: what is in another zone is another one's.
            let of_zone =
                |found: &rule::Model| found.account_id == row.account_id && found.zone_id == row.zone_id;
            let found = find::<rule::Entity>(db, id.clone()).await?.filter(of_zone);
            if let Some(found) = &found {
                if let Some(address) = found.public_ip_id
                    && let Some(address) = find::<public_ip::Entity>(db, address).await?
                {
                    referred.addresses.insert(address.id.0, address.address.0);
                }
                for nic in found.targets() {
                    if let Some(nic) = find::<vm::nic::Entity>(db, nic).await? {
                        referred
                            .addresses6
                            .extend(address6(in_force, after, nic.id.0).map(|at| (nic.id.0, at)));
                        referred.nics.insert(nic.id.0, nic);
                    }
                }
            }
            referred.http = self.http_side(known, &found).await?;
            let told = found.and_then(|found| document::told(&found, &referred));
            rule_difference(in_force, &id, told, after);
        }
        Ok(())
    }
}

/// Notes a rule as it is now; nothing of it if it is no more.
fn rule_difference(in_force: &Document, id: &str, told: Option<Told>, after: &mut Delta) {
    macro_rules! of {
        ($($entries:ident: $kind:ident),*) => {$(
            if let Ok(id) = id.parse() {
                match &told {
                    Some(Told::$kind(entry)) => put(&in_force.$entries, id, entry.clone(), &mut after.$entries),
                    _ => gone(&in_force.$entries, id, &mut after.$entries),
                }
            }
        )*};
    }
    of!(
        port_forwards: PortForward,
        static_nats: StaticNat,
        ingress: Ingress,
        egress: Egress,
        ingress6: Ingress6,
        egress6: Egress6,
        balancers: Balancer,
        http_balancers: HttpBalancer
    );
}

/// The interfaces whose IPv6 address comes or goes.
fn moved6(in_force: &Document, after: &Delta) -> Vec<NicId> {
    let is_moved =
        |nic: &NicId| in_force.nics.get(nic).and_then(|nic| nic.address6) != address6(in_force, after, *nic);
    after.nics.put.keys().chain(&after.nics.gone).copied().filter(is_moved).collect()
}

/// The IPv6 address that an interface has after a change.
fn address6(in_force: &Document, after: &Delta, nic: NicId) -> Option<Ipv6Addr> {
    if after.nics.gone.contains(&nic) {
        return None;
    }
    after.nics.put.get(&nic).or_else(|| in_force.nics.get(&nic))?.address6
}

pub(super) type Guests = Map<NetworkId, GuestNetwork>;

pub(super) type Map<K, V> = std::collections::BTreeMap<K, V>;

fn put<K: Ord + Copy, V: PartialEq>(before: &Map<K, V>, id: K, entry: V, after: &mut Entries<K, V>) {
    if before.get(&id) != Some(&entry) {
        after.put.insert(id, entry);
    }
}

fn gone<K: Ord + Copy, V>(before: &Map<K, V>, id: K, after: &mut Entries<K, V>) {
    if before.contains_key(&id) {
        after.gone.insert(id);
    }
}

fn entries<K: Ord + Copy, V: PartialEq + Clone>(
    before: &Map<K, V>,
    now: &Map<K, V>,
    after: &mut Entries<K, V>,
) {
    now.iter().for_each(|(id, entry)| put(before, *id, entry.clone(), after));
    after.gone.extend(before.keys().filter(|id| !now.contains_key(id)));
}

pub(super) fn served_ranges(guests: &Guests) -> HashMap<NetworkId, (Ipv4Range, Option<Prefix64>)> {
    guests.iter().map(|(id, guest)| (*id, (guest.cidr.into(), guest.prefix6))).collect()
}
