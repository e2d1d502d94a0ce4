//! What is counted and not as the tables have it.

use std::collections::{HashMap, HashSet};
use std::fmt::{Debug, Display};
use std::hash::Hash;

use podzol_vocab::{AccountId, HostId, PoolId, ZoneId};

use super::{Ledger, Taken};

/// Something given out that is not counted as the tables have it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Drift {
    /// The id of what it is.
    pub subject: String,
    /// What is counted, and what is in the tables.
    pub detail: String,
}

impl Ledger {
    /// What is not as in the other, with what is so here and there.
    pub(crate) fn drift_from(&self, tables: &Self) -> HashSet<Drift> {
        let mut found = HashSet::new();
        differ("what a VM takes of hosts", &self.vms, &tables.vms, &mut found);
        differ("the room of a volume", &self.volumes, &tables.volumes, &mut found);
        differ("the address of an interface", &self.nics, &tables.nics, &mut found);
        // A sum of nothing may be there or not.
        let some = |taken: &HashMap<HostId, Taken>| -> HashMap<HostId, Taken> {
            taken
                .iter()
                .filter(|(_, taken)| **taken != Taken::default())
                .map(|(id, taken)| (*id, *taken))
                .collect()
        };
        differ("what is taken of a host", &some(&self.taken), &some(&tables.taken), &mut found);
        let some = |promised: &HashMap<PoolId, i64>| -> HashMap<PoolId, i64> {
            promised.iter().filter(|(_, bytes)| **bytes != 0).map(|(id, bytes)| (*id, *bytes)).collect()
        };
        differ("what is promised of a pool", &some(&self.promised), &some(&tables.promised), &mut found);
        let some = |texts: &HashMap<(AccountId, ZoneId), i64>| -> HashMap<String, i64> {
            let some = texts.iter().filter(|(_, bytes)| **bytes != 0);
            some.map(|((account, zone), bytes)| (format!("{account} in {zone}"), *bytes)).collect()
        };
        let what = "the bytes of the user data and keys of an account's VMs";
        differ(what, &some(&self.texts), &some(&tables.texts), &mut found);
        differ("the addresses of a network", &self.addresses, &tables.addresses, &mut found);
        found
    }
}

/// Notes what differs in two maps.
fn differ<K: Eq + Hash + Display, V: PartialEq + Debug>(
    what: &str,
    here: &HashMap<K, V>,
    tables: &HashMap<K, V>,
    found: &mut HashSet<Drift>,
) {
    let keys: HashSet<&K> = here.keys().chain(tables.keys()).collect();
    for key in keys {
        let (is, should) = (here.get(key), tables.get(key));
        if is != should {
            let show = |value: Option<&V>| value.map_or("nothing".to_owned(), |value| format!("{value:?}"));
            let detail = format!("{what}: {} is counted, and the tables say {}", show(is), show(should));
            found.insert(Drift { subject: key.to_string(), detail });
        }
    }
}
