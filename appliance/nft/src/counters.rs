//! What the elements of the counting sets have counted.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use podzol_appliance_api::Counters;
use serde_json::Value;

use crate::listing::{ListingError, elements, objects, set};
use crate::ruleset::Set;

/// The arguments with which nft(8) lists what [`counters`] reads, and little else.
pub const LIST_COUNTERS: [&str; 5] = ["-j", "list", "table", "ip", "podzol_count"];

/// What was let through since the sets were made.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Counted {
    /// By the address of a VM's network interface: to and from outside its network.
    pub nics: BTreeMap<Ipv4Addr, Counters>,
    /// By public address: to and from outside.
    pub public: BTreeMap<Ipv4Addr, Counters>,
}

/// Reads the counters from a listing that has the counting sets, such as [`LIST_COUNTERS`] asks for.
///
/// # Errors
/// When it is not such a listing, or an element has no counter.
pub fn counters(json: &[u8]) -> Result<Counted, ListingError> {
    let mut counted = Counted::default();
    for object in objects(serde_json::from_slice(json)?)? {
        let body = &object["set"];
        let Some(set) = set(body) else { continue };
        for element in elements(body) {
            if add(&mut counted, set, &element["elem"]).is_none() {
                return Err(ListingError::Element { set: set.place().1, element: element.to_string() });
            }
        }
    }
    Ok(counted)
}

/// Adds what an element has counted; nothing if it is not of that form. Elements of other sets are passed over.
fn add(counted: &mut Counted, set: Set, element: &Value) -> Option<()> {
    let all = match set {
        Set::NicSent | Set::NicReceived => &mut counted.nics,
        Set::PublicSent | Set::PublicReceived => &mut counted.public,
        _ => return Some(()),
    };
    let counter = &element["counter"];
    let (packets, bytes) = (counter["packets"].as_u64()?, counter["bytes"].as_u64()?);
    let counters = all.entry(element["val"].as_str()?.parse().ok()?).or_default();
    if matches!(set, Set::NicSent | Set::PublicSent) {
        (counters.sent_packets, counters.sent_bytes) = (packets, bytes);
    } else {
        (counters.received_packets, counters.received_bytes) = (packets, bytes);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn set_of(name: &str, packets: u64, bytes: u64) -> Value {
        let element =
            json!({ "elem": { "val": "10.1.1.5", "counter": { "packets": packets, "bytes": bytes } } });
        json!({ "set": { "family": "ip", "table": "podzol_count", "name": name, "elem": [element] } })
    }

    #[test]
    fn counters_are_by_address_and_direction() {
        let sets =
            [set_of("nic_sent", 1, 84), set_of("nic_received", 2, 168), set_of("public_received", 3, 252)];
        let counted = counters(json!({ "nftables": sets }).to_string().as_bytes()).unwrap();
        let address = Ipv4Addr::new(10, 1, 1, 5);
        let nic = Counters { sent_packets: 1, sent_bytes: 84, received_packets: 2, received_bytes: 168 };
        let public = Counters { received_packets: 3, received_bytes: 252, ..Counters::default() };
        assert_eq!(counted, Counted { nics: [(address, nic)].into(), public: [(address, public)].into() });
    }

    #[test]
    fn an_element_without_a_counter_is_an_error() {
        let set = json!({ "set": { "family": "ip", "table": "podzol_count", "name": "nic_sent", "elem": ["10.1.1.5"] } });
        let listing = json!({ "nftables": [set] }).to_string();
        assert!(matches!(counters(listing.as_bytes()), Err(ListingError::Element { set: "nic_sent", .. })));
    }
}
