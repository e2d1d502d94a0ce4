//! Connections whose peers have not shown who they are, by their addresses.
//!
//! Whoever has no certificate can still connect, again and again, and be no more than a stranger whose time runs out. So those of one
//! address are few, or it could take the places of all. A peer that has shown its certificate counts no longer: what is behind it is
//! the installation's own, however much of it is at one address. Nor does this machine itself, which has other ways.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Strangers of one address: many times what one has that starts all its connections at once, and a small part of all places.
pub(crate) const STRANGERS: usize = 256;

/// The strangers that there are. Cloning is cheap.
#[derive(Debug, Clone)]
pub(crate) struct Strangers {
    most: usize,
    all: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// A stranger, until it is known or gone.
#[derive(Debug)]
pub(crate) struct Stranger {
    all: Strangers,
    address: IpAddr,
}

impl Strangers {
    /// None yet, and never more than `most` of an address.
    pub(crate) fn new(most: usize) -> Self {
        Self { most, all: Arc::default() }
    }

    /// One more of an address, if there are not too many.
    pub(crate) fn come(&self, from: IpAddr) -> Option<Stranger> {
        let address = block(from);
        let mut all = self.all();
        let count = all.entry(address).or_default();
        if *count >= self.most && !address.is_loopback() {
            return None;
        }
        *count += 1;
        Some(Stranger { all: self.clone(), address })
    }

    fn all(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let mut all = self.all.all();
        if let Some(count) = all.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                all.remove(&self.address);
            }
        }
    }
}

/// An IPv6 address counts as its /64, which one machine has.
fn block(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) if !address.is_loopback() => IpAddr::V6((address.to_bits() >> 64 << 64).into()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_so_many_strangers_and_takes_none_from_others() {
        let all = Strangers::new(STRANGERS);
        for (one, same, other) in
            [("10.0.0.1", "::ffff:10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2", "fd00:0:0:1::1")]
        {
            let [one, same, other] = [one, same, other].map(|text| text.parse().unwrap());
            let mut strangers: Vec<Stranger> = std::iter::from_fn(|| all.come(one)).collect();
            assert_eq!(strangers.len(), STRANGERS);
            assert!(all.come(same).is_none() && all.come(other).is_some());
            strangers.pop();
            assert!(all.come(same).is_some());
        }
        assert!(all.all().is_empty());
    }

    #[test]
    fn this_machine_may_have_more() {
        let all = Strangers::new(STRANGERS);
        for address in ["127.0.0.1", "::1"].map(|text| text.parse().unwrap()) {
            let many: Vec<_> = (0..STRANGERS * 2).map_while(|_| all.come(address)).collect();
            assert_eq!(many.len(), STRANGERS * 2);
        }
    }
}
