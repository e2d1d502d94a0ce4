//! How many pieces rules make at most, so that whoever takes rules knows before that a router takes them too.
//!
//! # Design notes
//! - It is a bound and not the number, so that a rule that goes never makes it greater: who wants to take something back
//!   is never told to take back something else before. The number does grow when a rule goes that others were within.
//! - For each rule: one, and one more for each range of ports that a wider rule has of it, two for each of one that crosses
//!   it, which leaves something on both sides; times one, and one more for each range of addresses that crosses it. What covers
//!   all of its ports cuts none of them; that it may cover all of the rule is not counted, as it may go.
//! - What is looked at has a bound too: rules that overlap so much that it is reached are too many.

use crate::{Areas, MOST, Net, Rule};

/// How often something may be looked at: some hundred times for each of as many rules as there may be.
const LOOKS: usize = 2 << 20;

/// Whether rules of a kind and family make no more pieces than there may be, and would not without any of them.
pub fn are_few<A: Net>(rules: impl Iterator<Item = Rule<A>>) -> bool {
    let mut areas = Areas::default();
    rules.for_each(|rule| areas.add(rule));
    areas.bound().is_some_and(|bound| bound <= MOST)
}

impl<A: Net> Areas<A> {
    /// How many pieces there are at most; nothing if that is too much, or takes too long to find out.
    fn bound(&self) -> Option<usize> {
        let (mut bound, mut looks) = (0_usize, LOOKS);
        let probes = self.outer_lengths.len() * self.inner_lengths.len();
        for (area, own) in &self.ports {
            looks = looks.checked_sub(probes)?;
            let around: Vec<_> = self.overlapping(area).collect();
            for ports in own.rules() {
                let (mut cuts, mut crossing) = (1_usize, 1_usize);
                for (inner, others) in &around {
                    let crosses = inner.length() > area.inner.length();
                    let mut has_some = false;
                    looks = looks.checked_sub(1)?;
                    for other in others.rules_near(ports) {
                        looks = looks.checked_sub(1)?;
                        let Some(both) = other.and(ports) else { continue };
                        has_some = true;
                        if both != ports {
                            cuts += 1 + usize::from(crosses);
                        }
                    }
                    crossing += usize::from(crosses && has_some);
                }
                bound += cuts.checked_mul(crossing)?;
                if bound > MOST {
                    return None;
                }
            }
        }
        Some(bound)
    }
}

#[cfg(test)]
mod tests {
    use ipnet::{Ipv4Net, Ipv6Net};
    use podzol_appliance_api::Traffic;
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    fn any_net(random: &mut StdRng) -> Ipv4Net {
        let length = [0, 8, 15, 16, 31, 32][random.random_range(0..6)];
        Ipv4Net::new_assert([10, random.random_range(0..2), 0, random.random_range(0..3)].into(), length)
            .trunc()
    }

    fn any_rule(random: &mut StdRng) -> Rule<Ipv4Net> {
        let first = random.random_range(1..8);
        let last = random.random_range(first..=8);
        let traffic = Traffic::Tcp { ports: format!("{first}-{last}").parse().unwrap() };
        Rule::new(any_net(random), traffic, any_net(random))
    }

    fn bound(rules: &[Rule<Ipv4Net>]) -> usize {
        let mut areas = Areas::default();
        rules.iter().for_each(|rule| areas.add(*rule));
        areas.bound().unwrap()
    }

    #[test]
    fn there_are_no_more_pieces_than_the_bound_and_it_only_falls_when_rules_go() {
        let mut random = StdRng::seed_from_u64(7);
        for _ in 0..2000 {
            let mut rules: Vec<_> = (0..random.random_range(1..16)).map(|_| any_rule(&mut random)).collect();
            let mut before = bound(&rules);
            while !rules.is_empty() {
                let pieces = Areas::of(rules.iter().copied()).unwrap().1.len();
                assert!(pieces <= before, "{pieces} pieces, and at most {before}: {rules:?}");
                rules.swap_remove(random.random_range(0..rules.len()));
                let after = bound(&rules);
                assert!(after <= before, "{before}, and {after} with one less: {rules:?}");
                before = after;
            }
        }
    }

    #[test]
    fn rules_that_do_not_cross_are_as_many_as_they_are() {
        let port = |port: u16| Traffic::Tcp { ports: port.to_string().parse().unwrap() };
        let public: Ipv4Net = "203.0.113.5/32".parse().unwrap();
        let everywhere = Ipv4Net::default();
        let some = |number: u16| Ipv4Net::from(std::net::Ipv4Addr::from_bits(u32::from(number) << 8));
        // For everybody, every tenth for some alone; and for 10,000 places the same port.
        let mixed = (1..=10_000).map(|number| {
            Rule::new(public, port(number), if number % 10 == 0 { some(number) } else { everywhere })
        });
        assert_eq!(bound(&mixed.collect::<Vec<_>>()), 10_000);
        let same = (0..10_000).map(|number| Rule::new(public, port(443), some(number)));
        assert_eq!(bound(&same.collect::<Vec<_>>()), 10_000);
        // A VM that may send everywhere what its network may send to many places.
        let vm: Ipv4Net = "10.1.1.5/32".parse().unwrap();
        let network: Ipv4Net = "10.1.1.0/24".parse().unwrap();
        let many = (0..3000).map(|number| Rule::new(network, port(443), some(number)));
        let all: Vec<_> = many.chain([Rule::new(vm, port(443), everywhere)]).collect();
        assert_eq!(bound(&all), 3000 + 3001);
        assert!(are_few(all.into_iter()));
    }

    #[test]
    fn rules_that_overlap_without_end_are_too_many() {
        let all = Traffic::Tcp { ports: "1-65535".parse().unwrap() };
        // Of prefixes of all lengths.
        let lengths = (0..=128_u8).flat_map(|inner| (64..=128_u8).map(move |outer| (outer, inner)));
        let net = |length: u8| Ipv6Net::new_assert("2001:db8::".parse().unwrap(), length).trunc();
        let deep: Vec<_> = lengths
            .map(|(outer, inner)| {
                Rule::<Ipv6Net>::new(
                    net(outer),
                    podzol_appliance_api::Traffic6::Tcp { ports: "1-65535".parse().unwrap() },
                    net(inner),
                )
            })
            .collect();
        // Each port for some cuts all ports of others.
        let public: Ipv4Net = "203.0.113.5/32".parse().unwrap();
        let some = (0..5000_u32)
            .map(|number| Rule::new(public, all, Ipv4Net::from(std::net::Ipv4Addr::from_bits(number))));
        let ports = (1..=5000).map(|port| {
            Rule::new(
                public,
                Traffic::Tcp { ports: (2 * port).to_string().parse().unwrap() },
                Ipv4Net::default(),
            )
        });
        assert!(!are_few(deep.into_iter()));
        assert!(!are_few(some.chain(ports)));
    }
}
