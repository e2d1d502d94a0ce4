//! How much comes from where: connections of an address, how often it makes new ones, and tickets of it that were refused.
//!
//! An IPv6 address counts as its /64, which is what one customer has; as some have a /48 of them, connections of that are counted too.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::rc::Rc;
use std::time::Duration;

use crate::limits::{CONNECTIONS_OF_ADDRESS, CONNECTIONS_OF_SITE, FAILURES, HANDSHAKES, HANDSHAKES_AT_ONCE};

/// The most addresses whose refused tickets, or handshakes, are counted; with more, the counts begin anew.
const MOST: usize = 4096;

/// Over which time refused tickets are counted.
const MINUTE: Duration = Duration::from_secs(60);

/// What comes from where.
#[derive(Debug, Default)]
pub(crate) struct Addresses {
    connections: RefCell<HashMap<Net, usize>>,
    /// When an address will have made no more handshakes than it may on average.
    handshakes: RefCell<HashMap<IpAddr, Duration>>,
    failures: RefCell<HashMap<IpAddr, (Duration, u32)>>,
}

/// A connection's place. It is given back when this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    all: Rc<Addresses>,
    nets: Vec<Net>,
}

/// Whose connections are counted together: the first address of a network, and how many of its bits are the same for all.
type Net = (IpAddr, u8);

impl Addresses {
    /// A place for a connection from there, if there is one.
    pub(crate) fn connect(self: &Rc<Self>, from: IpAddr, now: Duration) -> Option<Place> {
        let nets = nets(from);
        let mut connections = self.connections.borrow_mut();
        let has_room = |(net, most): &(Net, usize)| connections.get(net).is_none_or(|count| count < most);
        if !nets.iter().all(has_room) || !self.may_shake_hands(from, now) {
            return None;
        }
        let nets: Vec<Net> = nets.into_iter().map(|(net, _)| net).collect();
        nets.iter().for_each(|net| *connections.entry(*net).or_default() += 1);
        Some(Place { all: Rc::clone(self), nets })
    }

    /// Whether an address may have one more handshake: so many at once, and [`HANDSHAKES`] a second on average.
    fn may_shake_hands(&self, from: IpAddr, now: Duration) -> bool {
        let each = Duration::from_secs(1) / HANDSHAKES;
        let mut handshakes = self.handshakes.borrow_mut();
        if handshakes.len() >= MOST {
            handshakes.retain(|_, even| *even > now);
            if handshakes.len() >= MOST {
                handshakes.clear();
            }
        }
        let even = handshakes.entry(block(from)).or_default();
        let next = (*even).max(now) + each;
        let may = next <= now + each * HANDSHAKES_AT_ONCE;
        if may {
            *even = next;
        }
        may
    }

    /// Whether whoever shows tickets from there that nobody of ours has signed is told what is wrong with them.
    pub(crate) fn may_try(&self, from: IpAddr, now: Duration) -> bool {
        let failures = self.failures.borrow();
        failures.get(&block(from)).is_none_or(|(since, count)| now - *since >= MINUTE || *count < FAILURES)
    }

    /// A ticket from there was refused.
    pub(crate) fn failed(&self, from: IpAddr, now: Duration) {
        let mut failures = self.failures.borrow_mut();
        if failures.len() >= MOST {
            failures.clear();
        }
        let (since, count) = failures.entry(block(from)).or_insert((now, 0));
        if now - *since >= MINUTE {
            (*since, *count) = (now, 0);
        }
        *count += 1;
    }

    /// How many connections there are.
    pub(crate) fn count(&self) -> usize {
        let connections = self.connections.borrow();
        // A site's are those of its addresses.
        connections.iter().filter(|((_, bits), _)| *bits != SITE).map(|(_, count)| count).sum()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut connections = self.all.connections.borrow_mut();
        for net in &self.nets {
            if let Some(count) = connections.get_mut(net) {
                *count -= 1;
                if *count == 0 {
                    connections.remove(net);
                }
            }
        }
    }
}

/// Bits of what a site has at most.
const SITE: u8 = 48;

/// What an address is counted with, and how many connections each of them may have.
fn nets(address: IpAddr) -> Vec<(Net, usize)> {
    let own = ((block(address), 64), CONNECTIONS_OF_ADDRESS);
    match address.to_canonical() {
        IpAddr::V6(address) => vec![own, ((first(address, SITE), SITE), CONNECTIONS_OF_SITE)],
        IpAddr::V4(_) => vec![own],
    }
}

fn block(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => first(address, 64),
        v4 => v4,
    }
}

/// The first address with the same first bits.
fn first(address: Ipv6Addr, bits: u8) -> IpAddr {
    let others = u128::BITS - u32::from(bits);
    IpAddr::V6((address.to_bits() >> others << others).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When all handshakes before are forgotten.
    const LATER: Duration = Duration::from_secs(3600);

    #[test]
    fn a_site_has_so_many_connections_whatever_their_addresses_are() {
        let all = Rc::new(Addresses::default());
        let at = |net: usize| format!("fd00:0:0:{net:x}::1").parse().unwrap();
        let places: Vec<Place> = (0..1000).map_while(|net| all.connect(at(net), LATER)).collect();
        assert_eq!((places.len(), all.count()), (CONNECTIONS_OF_SITE, CONNECTIONS_OF_SITE));
        assert!(all.connect("fd00:0:1::1".parse().unwrap(), LATER).is_some());
        drop(places);
        assert!(all.connections.borrow().is_empty());
    }

    #[test]
    fn an_address_makes_so_many_connections_at_once_and_then_so_many_a_second() {
        let (all, from, at) =
            (Rc::new(Addresses::default()), "10.0.0.1".parse().unwrap(), Duration::from_secs);
        let made =
            |now| std::iter::repeat_with(|| all.connect(from, now)).take_while(Option::is_some).count();
        assert_eq!(made(at(1)), HANDSHAKES_AT_ONCE as usize);
        assert_eq!(made(at(3)), 2 * HANDSHAKES as usize);
        assert!(all.connect("10.0.0.2".parse().unwrap(), at(3)).is_some());
        assert_eq!(made(at(1000)), HANDSHAKES_AT_ONCE as usize);
    }

    #[test]
    fn handshakes_of_many_addresses_take_little_memory() {
        let all = Rc::new(Addresses::default());
        for number in 0..3 * MOST as u32 {
            all.connect(IpAddr::V4(number.into()), LATER);
        }
        assert!(all.handshakes.borrow().len() <= MOST);
    }

    #[test]
    fn an_address_has_so_many_connections_and_takes_none_from_others() {
        let all = Rc::new(Addresses::default());
        let (one, same, other) =
            ("fd00::1".parse().unwrap(), "fd00::2".parse().unwrap(), "fd00:0:0:1::1".parse().unwrap());
        let mut places: Vec<Place> = std::iter::from_fn(|| all.connect(one, LATER)).collect();
        assert_eq!(places.len(), CONNECTIONS_OF_ADDRESS);
        assert!(all.connect(same, LATER).is_none() && all.connect(other, LATER).is_some());
        places.pop();
        assert!(all.connect(same, LATER).is_some());
        drop(places);
        assert_eq!(all.count(), 0);
    }

    #[test]
    fn whoever_fails_too_often_waits_and_others_do_not() {
        let (all, from, at) = (Addresses::default(), "10.0.0.1".parse().unwrap(), Duration::from_secs);
        (0..FAILURES).for_each(|_| {
            assert!(all.may_try(from, at(1)));
            all.failed(from, at(1));
        });
        assert!(!all.may_try(from, at(60)) && all.may_try("10.0.0.2".parse().unwrap(), at(60)));
        assert!(all.may_try(from, at(61)));
        all.failed(from, at(61));
        assert!(all.may_try(from, at(61)));
    }
}
