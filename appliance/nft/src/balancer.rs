//! The chain of a balancer: one rule, which sends a new connection to one of the members.

use std::collections::BTreeSet;
use std::fmt;
use std::net::Ipv4Addr;

use podzol_appliance_api::{Balancer, Method, Transport};
use podzol_vocab::{LoadBalancerId, NicId};
use serde_json::Value;

use crate::listing;
use crate::wire::Protocol;

/// What the names of all balancers' chains begin with.
const PREFIX: &str = "lb-";

/// Makes the same source the same member on every router.
const SEED: u32 = u32::from_be_bytes(*b"pdzl");

/// Members with their shares of new connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chain {
    transport: Transport,
    method: Method,
    shares: Vec<Share>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Share {
    weight: u32,
    address: Ipv4Addr,
    port: u16,
}

impl Chain {
    /// The chain of a balancer whose members are not down; nothing if none of them takes new connections.
    pub(crate) fn of(
        id: LoadBalancerId,
        balancer: &Balancer,
        down: &BTreeSet<(LoadBalancerId, NicId)>,
    ) -> Option<Self> {
        let takes =
            balancer.members.iter().filter(|(nic, member)| !member.drains && !down.contains(&(id, **nic)));
        let share = |weight| move |address, port| Share { weight, address, port };
        let mut shares: Vec<Share> =
            takes.map(|(_, member)| share(member.weight.into())(member.address, member.port)).collect();
        let divisor = shares.iter().fold(0, |divisor, share| greatest_common_divisor(divisor, share.weight));
        if divisor == 0 {
            return None;
        }
        shares.iter_mut().for_each(|share| share.weight /= divisor);
        shares.retain(|share| share.weight > 0);
        Some(Self { transport: balancer.transport, method: balancer.method, shares })
    }

    /// The chain whose one rule nft(8) lists with these expressions; nothing if that is no balancer's rule.
    pub(crate) fn listed(expressions: &Value) -> Option<Self> {
        let [protocol, nat] = expressions.as_array()?.as_slice() else { return None };
        if protocol["match"]["left"]["meta"]["key"] != "l4proto" || protocol["match"]["op"] != "==" {
            return None;
        }
        let transport = match listing::protocol(&protocol["match"]["right"])? {
            Protocol::Tcp => Transport::Tcp,
            Protocol::Udp => Transport::Udp,
            Protocol::Icmp | Protocol::Icmpv6 => return None,
        };
        let map = &nat["dnat"]["addr"]["map"];
        let (method, key) = method(&map["key"])?;
        let shares: Vec<Share> = map["data"]["set"].as_array()?.iter().map(share).collect::<Option<_>>()?;
        let total: u32 = shares.iter().map(|share| share.weight).sum();
        (key["mod"] == total).then_some(Self { transport, method, shares })
    }
}

/// The rule, as nft(8) takes it.
impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total: u32 = self.shares.iter().map(|share| share.weight).sum();
        write!(f, "meta l4proto {} dnat ip to ", self.transport)?;
        match self.method {
            Method::RoundRobin => write!(f, "numgen inc mod {total}")?,
            Method::LeastLoad => write!(f, "numgen random mod {total}")?,
            Method::SourceHash => write!(f, "jhash ip saddr mod {total} seed {SEED:#x}")?,
        }
        let mut first = 0;
        for (number, Share { weight, address, port }) in self.shares.iter().enumerate() {
            let last = first + weight - 1;
            f.write_str(if number == 0 { " map { " } else { ", " })?;
            if first == last {
                write!(f, "{first}")?
            } else {
                write!(f, "{first}-{last}")?
            }
            write!(f, " : {address} . {port}")?;
            first = last + 1;
        }
        f.write_str(" }")
    }
}

/// The name of a balancer's chain.
pub(crate) fn chain_name(id: LoadBalancerId) -> String {
    format!("{PREFIX}{id}")
}

/// Whose chain it is, if it is a balancer's.
pub(crate) fn chain_owner(name: &str) -> Option<LoadBalancerId> {
    name.strip_prefix(PREFIX)?.parse().ok()
}

fn method(key: &Value) -> Option<(Method, &Value)> {
    if key["jhash"]["seed"] == SEED && key["jhash"]["expr"]["payload"]["field"] == "saddr" {
        return Some((Method::SourceHash, &key["jhash"]));
    }
    match key["numgen"]["mode"].as_str()? {
        "inc" => Some((Method::RoundRobin, &key["numgen"])),
        "random" => Some((Method::LeastLoad, &key["numgen"])),
        _ => None,
    }
}

/// A share, of an element such as `[{"range": [0, 2]}, {"concat": ["10.1.1.5", 80]}]`.
fn share(element: &Value) -> Option<Share> {
    let weight = match &element[0] {
        Value::Number(_) => 1,
        range => range["range"][1].as_u64()?.checked_sub(range["range"][0].as_u64()?)? + 1,
    };
    let to = &element[1]["concat"];
    Some(Share {
        weight: weight.try_into().ok()?,
        address: to[0].as_str()?.parse().ok()?,
        port: to[1].as_u64()?.try_into().ok()?,
    })
}

fn greatest_common_divisor(one: u32, other: u32) -> u32 {
    if other == 0 { one } else { greatest_common_divisor(other, one % other) }
}

#[cfg(test)]
mod tests {
    use podzol_appliance_api::Member;
    use serde_json::json;

    use super::*;

    fn balancer(method: Method, weights: &[u8]) -> Balancer {
        let member = |(number, weight): (usize, &u8)| {
            let last = u8::try_from(number).unwrap();
            let address = Ipv4Addr::new(10, 1, 1, 10 + last);
            (NicId::from_bytes([last; 16]), Member { address, port: 80, weight: *weight, drains: false })
        };
        Balancer {
            public: Ipv4Addr::new(203, 0, 113, 5),
            transport: Transport::Tcp,
            port: 443,
            method,
            members: weights.iter().enumerate().map(member).collect(),
            check: None,
        }
    }

    fn chain(balancer: &Balancer, down: &[u8]) -> Option<Chain> {
        let id = LoadBalancerId::from_bytes([1; 16]);
        Chain::of(id, balancer, &down.iter().map(|nic| (id, NicId::from_bytes([*nic; 16]))).collect())
    }

    #[test]
    fn shares_are_in_the_proportions_of_the_weights() {
        let rule = |method| chain(&balancer(method, &[30, 10]), &[]).unwrap().to_string();
        assert_eq!(
            rule(Method::RoundRobin),
            "meta l4proto tcp dnat ip to numgen inc mod 4 map { 0-2 : 10.1.1.10 . 80, 3 : 10.1.1.11 . 80 }"
        );
        assert!(rule(Method::LeastLoad).contains("numgen random mod 4 map"));
        assert!(rule(Method::SourceHash).contains("jhash ip saddr mod 4 seed 0x70647a6c map"));
    }

    #[test]
    fn members_that_drain_or_are_down_get_no_share() {
        let mut balancer = balancer(Method::RoundRobin, &[1, 1, 1]);
        balancer.members.get_mut(&NicId::from_bytes([0; 16])).unwrap().drains = true;
        let rule = chain(&balancer, &[1]).unwrap().to_string();
        assert!(rule.ends_with("mod 1 map { 0 : 10.1.1.12 . 80 }"), "{rule}");
        assert_eq!(chain(&balancer, &[1, 2]), None);
    }

    #[test]
    fn a_listed_rule_is_told_from_any_other() {
        let listed = |seed: u32| {
            json!([
                { "match": { "op": "==", "left": { "meta": { "key": "l4proto" } }, "right": "tcp" } },
                { "dnat": { "family": "ip", "addr": { "map": {
                    "key": { "jhash": { "mod": 4, "seed": seed,
                        "expr": { "payload": { "protocol": "ip", "field": "saddr" } } } },
                    "data": { "set": [
                        [{ "range": [0, 2] }, { "concat": ["10.1.1.10", 80] }],
                        [3, { "concat": ["10.1.1.11", 80] }],
                    ] },
                } } } },
            ])
        };
        assert_eq!(Chain::listed(&listed(SEED)), chain(&balancer(Method::SourceHash, &[3, 1]), &[]));
        assert_eq!(Chain::listed(&listed(7)), None);
        assert_eq!(Chain::listed(&json!([{ "accept": null }])), None);
    }

    #[test]
    fn a_chain_s_name_says_whose_it_is() {
        let id = LoadBalancerId::new();
        assert_eq!(chain_owner(&chain_name(id)), Some(id));
        assert_eq!(chain_owner("lb-1"), None);
    }
}
