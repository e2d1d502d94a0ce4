//! Queries of clients: from where each is answered, or why it is not.

use std::net::SocketAddr;
use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;

use crate::action::{Action, Client, Via};
use crate::cache::Cache;
use crate::flight::Waiter;
use crate::forward::Forwarding;
use crate::local;
use crate::query::{Odd, Query};
use crate::rate::Rate;
use crate::reply::Reply;
use crate::wire::{IN, flag, kind, rcode};
use crate::zones::Zones;

/// What a question that goes to a forwarder costs its client in tokens; one that is answered here costs one. The rest
/// of the Internet is that much dearer than this router's time.
const FORWARD_TOKENS: u32 = 100;

/// How much there may be of each thing.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Questions that forwarders have been asked and have not answered. What is over it is answered with SERVFAIL.
    pub in_flight: usize,
    /// Answers of forwarders that one client waits for. What is over it is answered with SERVFAIL.
    pub per_client: usize,
    /// Memory for answers of forwarders that are kept, in bytes.
    pub cache_bytes: usize,
    /// How many of them are kept.
    pub cache_entries: usize,
    /// What a client may ask in a second; a question that goes to a forwarder counts a hundredfold. What is over it is
    /// dropped.
    pub tokens_per_second: u32,
    /// What it may ask at once after it was silent.
    pub burst: u32,
    /// How many sockets the caller has for forwarders, at least 1.
    pub sockets: u8,
}

impl Default for Limits {
    /// For a router with 128 MiB of memory: 4 MiB of answers, at most 2 MiB for those who wait, and 500 questions to
    /// forwarders a second for a client.
    fn default() -> Self {
        Self {
            in_flight: 1024,
            per_client: 64,
            cache_bytes: 4 << 20,
            cache_entries: 16_384,
            tokens_per_second: 50_000,
            burst: 100_000,
            sockets: 8,
        }
    }
}

/// The name server.
pub struct Server {
    zones: Zones,
    cache: Cache,
    forwarding: Forwarding,
    rate: Rate,
}

impl Server {
    /// A server that has heard nothing. The random numbers are what forged answers must guess: seed them from the
    /// operating system.
    pub fn new(zones: Zones, limits: &Limits, mut random: StdRng) -> Self {
        Self {
            zones,
            cache: Cache::new(limits.cache_bytes, limits.cache_entries),
            rate: Rate::new(limits.tokens_per_second, limits.burst, random.random()),
            forwarding: Forwarding::new(limits, random),
        }
    }

    /// Serves other zones from now on. What is in flight stays; what was kept is forgotten if the forwarders are
    /// others.
    pub fn set_zones(&mut self, zones: Zones) {
        if zones.forwarders() != self.zones.forwarders() {
            self.cache.clear();
        }
        self.zones = zones;
    }

    /// What to do with a packet of a client, at a time since any fixed moment.
    pub fn query(&mut self, now: Duration, client: Client, packet: &[u8]) -> Action {
        // Nobody can be at port 0 to take an answer.
        if client.address.port() == 0 || !self.rate.take(now, client.address.ip(), 1) {
            return Action::Drop;
        }
        let is_inside = self.zones.is_inside(client.network, client.address.ip());
        let query = match Query::read(packet) {
            Ok(query) => query,
            Err(Odd::Silence) => return Action::Drop,
            Err(Odd::Code(head, code)) => {
                let code = if is_inside { code } else { rcode::REFUSED };
                return Action::Answer { to: client, bytes: Reply::error(head, code) };
            }
        };
        let asked = query.asked(client.transport);
        let answer = |bytes| Action::Answer { to: client, bytes };
        if let Some(code) = refusal(&query, is_inside) {
            return answer(Reply::code(asked, code));
        }
        if let Some(local) = self.zones.find(&query.name, query.kind) {
            return answer(local.encode(asked));
        }
        if query.kind == kind::ANY {
            return answer(local::any(asked));
        }
        let key = query.key();
        if let Some((response, age)) = self.cache.get(now, key.as_bytes()) {
            return answer(response.answer(asked, age));
        }
        self.forward(now, client, &query)
    }

    /// What to do with a packet that came from a forwarder, or claims to: nothing unless it answers what was asked of
    /// it, on the way that it was asked.
    pub fn upstream(&mut self, now: Duration, from: SocketAddr, via: Via, packet: &[u8]) -> Vec<Action> {
        self.forwarding.answered(now, self.zones.forwarders(), &mut self.cache, from, via, packet)
    }

    /// What is due: the next forwarder is asked, or the clients are told that there is no answer. See
    /// [`Server::next_tick`].
    pub fn tick(&mut self, now: Duration) -> Vec<Action> {
        self.forwarding.tick(now, self.zones.forwarders())
    }

    /// When [`Server::tick`] has something to do next, if nothing else happens.
    pub fn next_tick(&self) -> Option<Duration> {
        self.forwarding.next_tick()
    }

    fn forward(&mut self, now: Duration, client: Client, query: &Query<'_>) -> Action {
        let asked = query.asked(client.transport);
        let answer = |code| Action::Answer { to: client, bytes: Reply::code(asked, code) };
        // Without forwarders there is no recursion, and who does not want any gets none.
        if self.zones.forwarders().is_empty() || query.head.flags & flag::RECURSION_DESIRED == 0 {
            return answer(rcode::REFUSED);
        }
        if !self.rate.take(now, client.address.ip(), FORWARD_TOKENS - 1) {
            return Action::Drop;
        }
        let waiter = Waiter::new(client, asked);
        let begun = self.forwarding.begin(now, self.zones.forwarders(), query, waiter);
        begun.unwrap_or_else(|| answer(rcode::SERVER_FAILURE))
    }
}

/// Why a question is not even looked up.
fn refusal(query: &Query<'_>, is_inside: bool) -> Option<u16> {
    let is_other_version = query.edns.is_some_and(|edns| edns.version != 0);
    match query.kind {
        _ if !is_inside => Some(rcode::REFUSED),
        _ if is_other_version => Some(rcode::BAD_VERSION),
        _ if query.class != IN => Some(rcode::REFUSED),
        asked if kind::META.contains(&asked) => Some(rcode::REFUSED),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
