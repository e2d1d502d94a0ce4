//! What nft(8) lists, as a rule set to compare with the one that is wanted.

use std::net::IpAddr;

use ipnet::IpNet;
use podzol_appliance_pieces::{Net, Span};
use podzol_vocab::LoadBalancerId;
use serde_json::Value;

use crate::balancer::{Chain, chain_owner};
use crate::limit::Limit;
use crate::ruleset::{Ruleset, Set};
use crate::shape::Shape;
use crate::wire::{Form, Protocol};
use crate::written::{Addresses, Ports};

/// The arguments with which nft(8) lists what [`observed`] reads.
pub const LIST: [&str; 3] = ["-j", "list", "ruleset"];

/// Why a listing cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ListingError {
    /// It is not JSON.
    #[error("cannot read what nft lists as JSON")]
    Json(#[from] serde_json::Error),
    /// It is not of the form that libnftables-json(5) describes.
    #[error("what nft lists has no list of objects in `nftables`")]
    NoObjects,
    /// A set has an element that is not of a form known here.
    #[error("cannot read the element {element} of {set} that nft lists")]
    Element {
        /// The set.
        set: &'static str,
        /// The element.
        element: String,
    },
}

/// What is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// The elements and the balancers' chains, to compare with those of the document's [`Rules`](crate::Rules).
    pub ruleset: Ruleset,
    /// All else, to compare with what was listed right after the skeleton was loaded.
    pub shape: Shape,
}

/// Reads what `nft -j list ruleset` lists.
///
/// # Errors
/// When that is not such a listing, or an element is in no form that the elements made here are listed in. Then somebody
/// else has made it, and [`Ruleset::whole`] removes it.
pub fn observed(json: &[u8]) -> Result<Observed, ListingError> {
    let mut ruleset = Ruleset::default();
    let mut shape = Shape::default();
    let mut limits = Vec::new();
    for mut object in objects(serde_json::from_slice(json)?)? {
        let Some((kind, body)) = object.as_object_mut().and_then(|object| object.iter_mut().next()) else {
            continue;
        };
        match (kind.as_str(), owner(kind, body)) {
            ("metainfo", _) => {}
            ("chain", Some(id)) => {
                ruleset.chains.entry(id).or_insert(None);
            }
            ("rule", Some(id)) => add_rule(&mut ruleset, id, &body["expr"]),
            ("rule", None) if Limit::is_in(body) => {
                limits.push(Limit::taken(body));
                shape.add(kind, body);
            }
            ("set" | "map", _) => {
                add_elements(&mut ruleset, body)?;
                shape.add(kind, body);
            }
            _ => shape.add(kind, body),
        }
    }
    ruleset.limit = Limit::of_all(&limits);
    Ok(Observed { ruleset, shape })
}

/// The objects of a listing.
pub(crate) fn objects(mut listing: Value) -> Result<Vec<Value>, ListingError> {
    match listing["nftables"].take() {
        Value::Array(objects) => Ok(objects),
        _ => Err(ListingError::NoObjects),
    }
}

/// The elements of a listed set or map.
pub(crate) fn elements(body: &Value) -> &[Value] {
    body["elem"].as_array().map_or(&[], Vec::as_slice)
}

/// The set that a listed one is, if it is one of the skeleton's.
pub(crate) fn set(body: &Value) -> Option<Set> {
    Set::named(body["family"].as_str()?, body["table"].as_str()?, body["name"].as_str()?)
}

/// The balancer whose chain, or rule in it, this is.
fn owner(kind: &str, body: &Value) -> Option<LoadBalancerId> {
    let name = if kind == "rule" { &body["chain"] } else { &body["name"] };
    let is_ours = body["family"] == "ip" && body["table"] == "podzol" && body.get("hook").is_none();
    name.as_str().filter(|_| is_ours).and_then(chain_owner)
}

/// A chain with more than one rule is none of those that are made here.
fn add_rule(ruleset: &mut Ruleset, id: LoadBalancerId, expressions: &Value) {
    let chain = ruleset.chains.entry(id).or_insert(None);
    *chain = if chain.is_none() { Chain::listed(expressions) } else { None };
}

fn add_elements(ruleset: &mut Ruleset, body: &Value) -> Result<(), ListingError> {
    let Some(set) = set(body) else { return Ok(()) };
    for element in elements(body) {
        let (key, value) = match element.as_array().map(Vec::as_slice) {
            Some([key, value]) => (self::key(set, key), Some(text(set, value))),
            _ => (self::key(set, element), None),
        };
        let (Some(key), Some(value)) = (key, value.map_or(Some(None), |value| value.map(Some))) else {
            return Err(ListingError::Element { set: set.place().name, element: element.to_string() });
        };
        ruleset.sets.entry(set).or_default().insert(key, value);
    }
    Ok(())
}

/// A key as the elements made here have it.
fn key(set: Set, value: &Value) -> Option<String> {
    let value = value.get("elem").map_or(value, |element| &element["val"]);
    let Some(fields) = value.get("concat").and_then(Value::as_array) else { return text(set, value) };
    let form = Form::of(set);
    let field = |(number, field)| {
        let is_protocol = form.as_ref().is_some_and(|form| form.has_protocol_at(number));
        if is_protocol { Some(protocol(field)?.name().to_owned()) } else { text(set, field) }
    };
    Some(fields.iter().enumerate().map(field).collect::<Option<Vec<String>>>()?.join(" . "))
}

/// A protocol, which nft(8) lists by its name where it finds one, and else by its number.
pub(crate) fn protocol(value: &Value) -> Option<Protocol> {
    match value {
        Value::String(name) => Protocol::named(name),
        number => Protocol::of_number(number.as_u64()?.try_into().ok()?),
    }
}

/// A value, or a field of a key, as the elements made here have it.
fn text(set: Set, value: &Value) -> Option<String> {
    let (kind, inner) = match value {
        Value::String(text) => {
            return Some(match text.parse::<IpAddr>() {
                Ok(address) => address.to_string(),
                Err(_) if set.is_of_links() => format!("\"{text}\""),
                Err(_) => text.clone(),
            });
        }
        Value::Number(number) => return Some(number.to_string()),
        Value::Object(object) => object.iter().next()?,
        _ => return None,
    };
    match kind.as_str() {
        "concat" => {
            let fields: Option<Vec<String>> =
                inner.as_array()?.iter().map(|field| text(set, field)).collect();
            Some(fields?.join(" . "))
        }
        "prefix" => prefix(inner),
        "range" => range(&inner[0], &inner[1]),
        "goto" => Some(format!("goto {}", inner["target"].as_str()?)),
        "jump" => Some(format!("jump {}", inner["target"].as_str()?)),
        verdict if inner.is_null() => Some(verdict.to_owned()),
        _ => None,
    }
}

fn prefix(value: &Value) -> Option<String> {
    let address: IpAddr = value["addr"].as_str()?.parse().ok()?;
    let net = IpNet::new(address, value["len"].as_u64()?.try_into().ok()?).ok()?;
    Some(match net {
        IpNet::V4(net) => Addresses(net.span()).to_string(),
        IpNet::V6(net) => Addresses(net.span()).to_string(),
    })
}

fn range(first: &Value, last: &Value) -> Option<String> {
    if let (Some(first), Some(last)) = (first.as_u64(), last.as_u64()) {
        return Some(Ports(Span::new(first.try_into().ok()?, last.try_into().ok()?)).to_string());
    }
    let address = |value: &Value| value.as_str()?.parse::<IpAddr>().ok();
    match (address(first)?, address(last)?) {
        (IpAddr::V4(first), IpAddr::V4(last)) => {
            Some(Addresses(Span::new(first.to_bits(), last.to_bits())).to_string())
        }
        (IpAddr::V6(first), IpAddr::V6(last)) => {
            Some(Addresses(Span::new(first.to_bits(), last.to_bits())).to_string())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(objects: Value) -> Result<Observed, ListingError> {
        observed(json!({ "nftables": objects }).to_string().as_bytes())
    }

    #[test]
    fn elements_are_read_as_they_were_written() {
        let listed = json!([
            { "metainfo": { "version": "1.0.6" } },
            { "set": { "family": "ip", "name": "guests", "table": "podzol", "elem": ["eth0"] } },
            { "set": { "family": "ip", "name": "gateways", "table": "podzol", "elem": [
                { "concat": ["eth0", "10.1.1.1"] },
            ] } },
            { "set": { "family": "ip", "name": "ingress", "table": "podzol", "elem": [
                { "concat": ["203.0.113.5", "icmp", { "range": [0, 65535] }, { "prefix": { "addr": "0.0.0.0", "len": 0 } }] },
                { "concat": ["203.0.113.5", 6, 22, { "range": ["10.0.0.1", "10.0.0.2"] }] },
            ] } },
            { "map": { "family": "ip", "name": "egress_policy", "table": "podzol", "elem": [
                [{ "prefix": { "addr": "10.1.1.0", "len": 24 } }, { "goto": { "target": "egress_deny" } }],
            ] } },
            { "set": { "family": "inet", "name": "nic_sent", "table": "podzol_count", "elem": [
                { "elem": { "val": "10.1.1.5", "counter": { "packets": 1, "bytes": 84 } } },
            ] } },
            { "set": { "family": "ip6", "name": "sources", "table": "podzol", "elem": [
                { "concat": ["eth0", "2001:db8::5"] },
            ] } },
            { "set": { "family": "ip6", "name": "ingress", "table": "podzol", "elem": [
                { "concat": ["2001:db8::5", "ipv6-icmp", 32768, { "prefix": { "addr": "::", "len": 0 } }] },
                { "concat": [{ "prefix": { "addr": "2001:db8::", "len": 64 } }, 6, 22, { "range": ["::1", "::3"] }] },
            ] } },
        ]);
        // No rule that limits is listed.
        let mut expected = Ruleset { limit: Limit::of_all(&[]), ..Ruleset::default() };
        for (set, key, value) in [
            (Set::Guests, "\"eth0\"", None),
            (Set::Gateways, "\"eth0\" . 10.1.1.1", None),
            (Set::Ingress, "203.0.113.5 . icmp . 0-65535 . 0.0.0.0/0", None),
            (Set::Ingress, "203.0.113.5 . tcp . 22 . 10.0.0.1-10.0.0.2", None),
            (Set::EgressPolicy, "10.1.1.0/24", Some("goto egress_deny")),
            (Set::NicSent, "10.1.1.5", None),
            (Set::Sources6, "\"eth0\" . 2001:db8::5", None),
            (Set::Ingress6, "2001:db8::5 . icmpv6 . 32768 . ::/0", None),
            (Set::Ingress6, "2001:db8::/64 . tcp . 22 . ::1-::3", None),
        ] {
            expected.sets.entry(set).or_default().insert(key.to_owned(), value.map(str::to_owned));
        }
        assert_eq!(read(listed).unwrap().ruleset, expected);
    }

    #[test]
    fn a_balancer_s_chain_with_a_second_rule_is_not_as_any_is_made() {
        let id = LoadBalancerId::new();
        let name = crate::balancer::chain_name(id);
        let rule = json!({ "rule": { "family": "ip", "table": "podzol", "chain": name, "handle": 3, "expr": [
            { "match": { "op": "==", "left": { "meta": { "key": "l4proto" } }, "right": "tcp" } },
            { "dnat": { "family": "ip", "addr": { "map": {
                "key": { "numgen": { "mode": "inc", "mod": 1, "offset": 0 } },
                "data": { "set": [[0, { "concat": ["10.1.1.5", 80] }]] },
            } } } },
        ] } });
        let chain = json!({ "chain": { "family": "ip", "table": "podzol", "name": name, "handle": 2 } });
        let chains = |objects| read(objects).unwrap().ruleset.chains;
        assert!(chains(json!([chain, rule]))[&id].is_some());
        assert!(chains(json!([chain]))[&id].is_none());
        assert!(chains(json!([chain, rule, rule]))[&id].is_none());
    }

    #[test]
    fn what_is_no_listing_is_an_error() {
        assert!(matches!(observed(b""), Err(ListingError::Json(_))));
        assert!(matches!(observed(b"{}"), Err(ListingError::NoObjects)));
        let odd = json!([{ "set": { "family": "ip", "name": "guests", "table": "podzol", "elem": [true] } }]);
        assert!(matches!(read(odd), Err(ListingError::Element { set: "guests", .. })));
    }
}
