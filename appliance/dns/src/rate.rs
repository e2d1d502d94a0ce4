//! How much each client may ask: a bucket of tokens for it, in a table whose size never changes.
//!
//! # Design notes
//! Clients that fall on the same place of the table share a bucket. With so few VMs that is rare, and it needs neither
//! a table that grows with forged sources nor a rule for what to forget.

use std::net::IpAddr;
use std::time::Duration;

/// Places for clients: twice a /21.
const PLACES: usize = 4096;

/// The table.
pub(crate) struct Rate {
    buckets: Box<[Bucket]>,
    /// Where clients fall is a secret, so that nobody can pick a neighbour.
    secret: u64,
    per_second: u32,
    burst: u32,
}

#[derive(Clone, Copy)]
struct Bucket {
    tokens: u32,
    filled: Duration,
}

impl Rate {
    pub(crate) fn new(per_second: u32, burst: u32, secret: u64) -> Self {
        let full = Bucket { tokens: burst, filled: Duration::ZERO };
        Self { buckets: vec![full; PLACES].into(), secret, per_second, burst }
    }

    /// Takes tokens of a client; whether there were so many.
    pub(crate) fn take(&mut self, now: Duration, client: IpAddr, tokens: u32) -> bool {
        let place = self.place(client);
        let bucket = &mut self.buckets[place];
        let passed = now.saturating_sub(bucket.filled).as_nanos();
        let earned = passed * u128::from(self.per_second) / 1_000_000_000;
        if earned >= u128::from(self.burst - bucket.tokens) {
            (bucket.tokens, bucket.filled) = (self.burst, now.max(bucket.filled));
        } else if earned > 0 {
            // What was less than a token goes on counting.
            bucket.tokens += earned as u32;
            let counted = earned * 1_000_000_000 / u128::from(self.per_second);
            bucket.filled += Duration::from_nanos(counted as u64);
        }
        let left = bucket.tokens.checked_sub(tokens);
        bucket.tokens = left.unwrap_or(bucket.tokens);
        left.is_some()
    }

    fn place(&self, client: IpAddr) -> usize {
        let number = match client {
            IpAddr::V4(address) => u64::from(address.to_bits()),
            IpAddr::V6(address) => (address.to_bits() >> 64) as u64 ^ address.to_bits() as u64,
        };
        // Fibonacci hashing (Knuth, 6.4) of the address and the secret; the upper bits are the mixed ones.
        let mixed = (number ^ self.secret).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ self.secret.rotate_left(32);
        (mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 52) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 1, 1, 2));

    #[test]
    fn a_client_has_its_burst_and_then_its_rate() {
        let mut rate = Rate::new(10, 20, 7);
        let mut taken =
            |millis| (0..100).filter(|_| rate.take(Duration::from_millis(millis), CLIENT, 1)).count();
        assert_eq!(taken(0), 20);
        assert_eq!((taken(50), taken(99), taken(100)), (0, 0, 1));
        assert_eq!(taken(1100), 10);
        assert_eq!(taken(1_000_000), 20);
    }

    #[test]
    fn neighbours_in_a_network_have_buckets_of_their_own() {
        let rate = Rate::new(10, 20, 0x1234_5678_9abc_def0);
        let places: std::collections::BTreeSet<_> =
            (0..=255).map(|last| rate.place(IpAddr::from([10, 1, 1, last]))).collect();
        assert!(places.len() > 220, "{}", places.len());
    }
}
