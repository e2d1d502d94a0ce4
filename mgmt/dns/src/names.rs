//! What the console domain's names are, shared between who feeds it and who answers for it.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use podzol_vocab::{DomainName, HostName, Name, Secret};
use serde::Deserialize;

use crate::label::{LabelKey, written};

/// How console proxies are named in links. Names of both forms are answered, so that links which were given out go on
/// when the form changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NameForm {
    /// By their addresses: `192-0-2-7`.
    #[default]
    Address,
    /// By names that reveal nothing: `c-` and 26 letters and digits.
    Opaque,
}

/// The names of console proxies: a handle whose clones all see the same. It begins with none.
#[derive(Clone)]
pub struct ConsoleNames(Arc<Inner>);

struct Inner {
    domain: DomainName,
    form: NameForm,
    key: LabelKey,
    zone: RwLock<Zone>,
}

#[derive(Default)]
struct Zone {
    addresses: BTreeSet<IpAddr>,
    labels: HashMap<Name, IpAddr>,
    serial: u32,
}

impl ConsoleNames {
    /// Names in a domain. The key makes the opaque ones: links live as long as it does.
    pub fn new(domain: DomainName, form: NameForm, key: &Secret<[u8; 32]>) -> Self {
        let zone = RwLock::new(Zone { serial: now(), ..Zone::default() });
        Self(Arc::new(Inner { domain, form, key: LabelKey::new(key), zone }))
    }

    /// The domain.
    pub fn domain(&self) -> &DomainName {
        &self.0.domain
    }

    /// Says which addresses are console proxies, and all others are not: from now on their names are answered. To be
    /// called before the first link with an address' name is given out.
    pub fn set(&self, addresses: BTreeSet<IpAddr>) {
        let addresses: BTreeSet<IpAddr> = addresses.iter().map(IpAddr::to_canonical).collect();
        if self.0.zone.read().unwrap_or_else(PoisonError::into_inner).addresses == addresses {
            return;
        }
        let labels = addresses
            .iter()
            .flat_map(|address| {
                [written(*address), self.0.key.label(*address)].map(|label| (label, *address))
            })
            .collect();
        let mut zone = self.0.zone.write().unwrap_or_else(PoisonError::into_inner);
        // Also forward when the clock goes back, or twice in a second (RFC 1982).
        let serial = now().max(zone.serial.wrapping_add(1));
        *zone = Zone { addresses, labels, serial };
    }

    /// The name of an address for links, whether it is a console proxy or not yet.
    pub fn name_of(&self, address: IpAddr) -> HostName {
        let address = address.to_canonical();
        let label = match self.0.form {
            NameForm::Address => written(address),
            NameForm::Opaque => self.0.key.label(address),
        };
        self.0.domain.host(&label)
    }

    /// The address that a label, in lower case, stands for.
    pub(crate) fn find(&self, label: &Name) -> Option<IpAddr> {
        self.0.zone.read().unwrap_or_else(PoisonError::into_inner).labels.get(label).copied()
    }

    /// The zone's serial number: when it changed last, in seconds since 1970.
    pub(crate) fn serial(&self) -> u32 {
        self.0.zone.read().unwrap_or_else(PoisonError::into_inner).serial
    }
}

fn now() -> u32 {
    SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs() as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(form: NameForm) -> ConsoleNames {
        ConsoleNames::new("console.example.org".parse().unwrap(), form, &Secret::new([7; 32]))
    }

    fn addresses(of: &[&str]) -> BTreeSet<IpAddr> {
        of.iter().map(|address| address.parse().unwrap()).collect()
    }

    fn find(names: &ConsoleNames, host: &HostName) -> Option<IpAddr> {
        names.find(&host.label_in(names.domain()).unwrap().parse().unwrap())
    }

    #[test]
    fn a_name_leads_to_its_address_while_that_is_a_proxy() {
        for form in [NameForm::Address, NameForm::Opaque] {
            let names = names(form);
            for address in ["192.0.2.7", "2001:db8::1"] {
                let host = names.name_of(address.parse().unwrap());
                assert_eq!(find(&names, &host), None);
                names.set(addresses(&[address, "192.0.2.9"]));
                assert_eq!(find(&names, &host), Some(address.parse().unwrap()));
                names.set(addresses(&["192.0.2.9"]));
                assert_eq!(find(&names, &host), None);
            }
        }
    }

    #[test]
    fn both_forms_are_answered_whichever_links_have() {
        let (one, other) = (names(NameForm::Address), names(NameForm::Opaque));
        one.set(addresses(&["192.0.2.7"]));
        let address = [192, 0, 2, 7].into();
        assert_ne!(one.name_of(address), other.name_of(address));
        assert_eq!(find(&one, &other.name_of(address)), Some(address));
        assert_eq!(one.name_of(address).as_str(), "192-0-2-7.console.example.org");
    }

    #[test]
    fn an_ipv4_address_within_ipv6_is_itself() {
        let names = names(NameForm::Address);
        names.set(addresses(&["::ffff:192.0.2.7"]));
        let host = names.name_of("::ffff:192.0.2.7".parse().unwrap());
        assert_eq!(host.as_str(), "192-0-2-7.console.example.org");
        assert_eq!(find(&names, &host), Some([192, 0, 2, 7].into()));
    }

    #[test]
    fn the_serial_grows_with_each_change_and_with_nothing_else() {
        let names = names(NameForm::Address);
        let begun = names.serial();
        names.set(BTreeSet::new());
        assert_eq!(names.serial(), begun);
        names.set(addresses(&["192.0.2.7"]));
        names.set(addresses(&["192.0.2.8"]));
        let changed = names.serial();
        assert!(changed >= begun + 2);
        names.clone().set(addresses(&["192.0.2.8"]));
        assert_eq!(names.serial(), changed);
    }
}
