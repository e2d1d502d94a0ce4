//! What the elements of the counting sets have counted.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use podzol_appliance_api::Counters;
use serde_json::Value;

use crate::listing::{ListingError, elements, objects, set};
use crate::ruleset::Set;

/// What was let through since the sets were made.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Counted {
    /// By the address of a VM's network interface: to and from outside its network.
    pub nics: BTreeMap<Ipv4Addr, Counters>,
    /// The same by its IPv6 address.
    pub nics6: BTreeMap<Ipv6Addr, Counters>,
    /// By public address: to and from outside.
    pub public: BTreeMap<Ipv4Addr, Counters>,
}

impl Counted {
    /// Adds what an element of a set has counted. Nothing if the set does not count such addresses.
    pub(crate) fn add(&mut self, set: Set, address: IpAddr, packets: u64, bytes: u64) -> Option<()> {
        let counters = match (set, address) {
            (Set::NicSent | Set::NicReceived, IpAddr::V4(address)) => self.nics.entry(address).or_default(),
            (Set::PublicSent | Set::PublicReceived, IpAddr::V4(address)) => {
                self.public.entry(address).or_default()
            }
            (Set::NicSent6 | Set::NicReceived6, IpAddr::V6(address)) => {
                self.nics6.entry(address).or_default()
            }
            _ => return None,
        };
        if matches!(set, Set::NicSent | Set::NicSent6 | Set::PublicSent) {
            (counters.sent_packets, counters.sent_bytes) = (packets, bytes);
        } else {
            (counters.received_packets, counters.received_bytes) = (packets, bytes);
        }
        Some(())
    }
}

/// Reads the counters from a listing that has the counting sets, such as [`LIST`](crate::LIST) asks for.
///
/// # Errors
/// When it is not such a listing, or an element has no counter.
pub fn counters(json: &[u8]) -> Result<Counted, ListingError> {
    let mut counted = Counted::default();
    for object in objects(serde_json::from_slice(json)?)? {
        let body = &object["set"];
        let Some(set) = set(body).filter(|set| Set::COUNTING.contains(set)) else { continue };
        for element in elements(body) {
            if add(&mut counted, set, &element["elem"]).is_none() {
                return Err(ListingError::Element { set: set.place().name, element: element.to_string() });
            }
        }
    }
    Ok(counted)
}

/// Adds what an element has counted; nothing if it is not of that form.
fn add(counted: &mut Counted, set: Set, element: &Value) -> Option<()> {
    let counter = &element["counter"];
    let (packets, bytes) = (counter["packets"].as_u64()?, counter["bytes"].as_u64()?);
    counted.add(set, element["val"].as_str()?.parse().ok()?, packets, bytes)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn set_of(name: &str, address: &str, packets: u64, bytes: u64) -> Value {
        let element =
            json!({ "elem": { "val": address, "counter": { "packets": packets, "bytes": bytes } } });
        json!({ "set": { "family": "inet", "table": "podzol_count", "name": name, "elem": [element] } })
    }

    #[test]
    fn counters_are_by_address_and_direction() {
        let sets = [
            set_of("nic_sent", "10.1.1.5", 1, 84),
            set_of("nic_received", "10.1.1.5", 2, 168),
            set_of("nic_sent6", "2001:db8::5", 4, 336),
            set_of("nic_received6", "2001:db8::5", 5, 420),
            set_of("public_received", "10.1.1.5", 3, 252),
        ];
        let counted = counters(json!({ "nftables": sets }).to_string().as_bytes()).unwrap();
        let address = Ipv4Addr::new(10, 1, 1, 5);
        let nic = Counters { sent_packets: 1, sent_bytes: 84, received_packets: 2, received_bytes: 168 };
        let public = Counters { received_packets: 3, received_bytes: 252, ..Counters::default() };
        let nic6 = Counters { sent_packets: 4, sent_bytes: 336, received_packets: 5, received_bytes: 420 };
        let expected = Counted {
            nics: [(address, nic)].into(),
            nics6: [("2001:db8::5".parse().unwrap(), nic6)].into(),
            public: [(address, public)].into(),
        };
        assert_eq!(counted, expected);
    }

    #[test]
    fn an_element_without_a_counter_is_an_error() {
        let set = json!({ "set": { "family": "inet", "table": "podzol_count", "name": "nic_sent", "elem": ["10.1.1.5"] } });
        let listing = json!({ "nftables": [set] }).to_string();
        assert!(matches!(counters(listing.as_bytes()), Err(ListingError::Element { set: "nic_sent", .. })));
    }
}
