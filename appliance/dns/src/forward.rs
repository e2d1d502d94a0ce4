//! Questions to forwarders: whom to ask, whose answer counts, when to ask again and when to give up.
//!
//! ```text
//!            ┌── 800 ms ──┐ the next forwarder, the first again after the last
//!            ▼            │
//!  begin ─▶ asked (UDP) ──┴─ good answer ─▶ all who wait have it, and the cache
//!            │   │
//!            │   └─ cut answer ─▶ UDP clients have "cut"; if TCP clients wait: asked (TCP), with the same rules
//!            │
//!            └─ 5 s, or all forwarders cannot ─▶ SERVFAIL, or what the last one said
//! ```
//!
//! An answer counts if id, socket, sender and question are those of a question in flight; all else is ignored, and the
//! true answer may still come. A forwarder that was asked earlier may still answer after the next one has been asked.
//!
//! # Design notes
//! - Who answered when the first did not is asked first for a minute: else each question would wait 800 ms while
//!   the first is away.
//! - A forwarder that does not know EDNS (RFC 6891 is of 2013) gets no second question without it.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use podzol_appliance_api::Transport;
use rand::Rng;
use rand::rngs::StdRng;

use crate::action::{Action, Via};
use crate::cache::Cache;
use crate::flight::{Flight, Waiter};
use crate::flights::{Flights, Join};
use crate::query::Query;
use crate::records::u16_at;
use crate::reply::Reply;
use crate::response::Response;
use crate::server::Limits;
use crate::wire::rcode;

const PORT: u16 = 53;

/// How long one is asked first because the first of the list did not answer.
const FAVOUR: Duration = Duration::from_secs(60);

/// Who is asked what.
pub(crate) struct Forwarding {
    flights: Flights,
    random: StdRng,
    sockets: u8,
    favourite: Option<(IpAddr, Duration)>,
}

impl Forwarding {
    pub(crate) fn new(limits: &Limits, random: StdRng) -> Self {
        let flights = Flights::new(limits.in_flight, limits.per_client);
        Self { flights, random, sockets: limits.sockets.max(1), favourite: None }
    }

    /// Asks a client's question, unless it is asked already; `None` if there are too many.
    pub(crate) fn begin(
        &mut self,
        now: Duration,
        forwarders: &[IpAddr],
        query: &Query<'_>,
        waiter: Waiter,
    ) -> Option<Action> {
        let waiter = match self.flights.join(query.key().as_bytes(), waiter) {
            Join::Waits => return Some(Action::Drop),
            Join::Full => return None,
            Join::Alone(waiter) => waiter,
        };
        // Few of the 65,536 are in use, so this ends soon.
        let id = loop {
            let id = self.random.random();
            if !self.flights.has(id) {
                break id;
            }
        };
        let socket = self.random.random_range(0..self.sockets);
        let mut flight = Flight::new(query, now, id, socket, waiter);
        let action = flight.ask(now, self.next(now, forwarders, 0)?);
        self.flights.add(flight);
        Some(action)
    }

    /// Takes what may be an answer.
    pub(crate) fn answered(
        &mut self,
        now: Duration,
        forwarders: &[IpAddr],
        cache: &mut Cache,
        from: SocketAddr,
        via: Via,
        packet: &[u8],
    ) -> Vec<Action> {
        let Some((id, response)) = self.response(from, via, packet) else { return Vec::new() };
        if response.is_truncated {
            return self.cut(now, id, from, via);
        }
        if !response.is_good()
            && let Some(actions) = self.failed(now, forwarders, id, from)
        {
            return actions;
        }
        let Some(flight) = self.flights.remove(id) else { return Vec::new() };
        if flight.tries > 1 && response.is_good() {
            self.favourite = Some((from.ip(), now + FAVOUR));
        }
        let answer = |waiter: &Waiter| waiter.answer(|asked| response.answer(asked, Duration::ZERO));
        let actions = flight.waiters.iter().map(answer).collect();
        cache.put(now, &flight.key, response);
        actions
    }

    /// Does what is due.
    pub(crate) fn tick(&mut self, now: Duration, forwarders: &[IpAddr]) -> Vec<Action> {
        let mut actions = Vec::new();
        while let Some((_, id)) = self.flights.next_due().filter(|(due, _)| *due <= now) {
            let asked = self.ask_next(now, forwarders, id);
            match asked {
                Some(action) => actions.push(action),
                None => actions.extend(self.give_up(id)),
            }
        }
        actions
    }

    /// When something is due.
    pub(crate) fn next_tick(&self) -> Option<Duration> {
        self.flights.next_due().map(|(due, _)| due)
    }

    /// The answer and the question's id, if it is one.
    fn response(&self, from: SocketAddr, via: Via, packet: &[u8]) -> Option<(u16, Response)> {
        let flight = self.flights.get(u16_at(packet, 0)?)?;
        let is_its_way = match via {
            Via::Udp { socket } => flight.transport == Transport::Udp && socket == flight.socket,
            Via::Tcp => flight.transport == Transport::Tcp,
        };
        if !is_its_way || !flight.asked.contains(&from) {
            return None;
        }
        let response = Response::read(packet, &flight.question)?;
        // There is no way to get the rest of what was cut on TCP.
        (!response.is_truncated || via != Via::Tcp).then_some((flight.id, response))
    }

    /// An answer was cut: UDP clients are told, for TCP clients the whole is fetched.
    fn cut(&mut self, now: Duration, id: u16, from: SocketAddr, via: Via) -> Vec<Action> {
        debug_assert_ne!(via, Via::Tcp);
        let told = self.flights.take_waiters(id, |waiter| waiter.client.transport == Transport::Udp);
        let mut actions: Vec<_> = told.iter().map(|waiter| waiter.answer(Reply::truncated)).collect();
        if self.flights.get(id).is_none_or(|flight| flight.waiters.is_empty()) {
            self.flights.remove(id);
            return actions;
        }
        actions.extend(self.flights.change(id, |flight| {
            flight.transport = Transport::Tcp;
            flight.asked.clear();
            // The same forwarder once more: the next one keeps its turn.
            flight.tries -= 1;
            flight.ask(now, from)
        }));
        actions
    }

    /// A forwarder cannot: another one may. `None` if all have been asked and cannot.
    fn failed(
        &mut self,
        now: Duration,
        forwarders: &[IpAddr],
        id: u16,
        from: SocketAddr,
    ) -> Option<Vec<Action>> {
        let (failures, tries) = self.flights.change(id, |flight| {
            flight.failures += 1;
            // It has answered. The same packet once more must not count again.
            flight.asked.retain(|asked| *asked != from);
            (flight.failures, flight.tries)
        })?;
        if failures >= forwarders.len() {
            return None;
        }
        if tries > failures {
            return Some(Vec::new());
        }
        self.ask_next(now, forwarders, id).map(|action| vec![action])
    }

    /// Asks the next forwarder; `None` when it is too late.
    fn ask_next(&mut self, now: Duration, forwarders: &[IpAddr], id: u16) -> Option<Action> {
        let flight = self.flights.get(id).filter(|flight| now < flight.ends_at)?;
        let to = self.next(now, forwarders, flight.tries)?;
        self.flights.change(id, |flight| flight.ask(now, to))
    }

    /// The forwarder to ask after so many tries.
    fn next(&self, now: Duration, forwarders: &[IpAddr], tries: usize) -> Option<SocketAddr> {
        let favourite = self.favourite.filter(|(_, ends)| now < *ends);
        let first = favourite.and_then(|(address, _)| forwarders.iter().position(|one| *one == address));
        let place = (first.unwrap_or(0) + tries).checked_rem(forwarders.len())?;
        forwarders.get(place).map(|address| SocketAddr::new(*address, PORT))
    }

    fn give_up(&mut self, id: u16) -> Vec<Action> {
        let Some(flight) = self.flights.remove(id) else { return Vec::new() };
        let failure = |waiter: &Waiter| waiter.answer(|asked| Reply::code(asked, rcode::SERVER_FAILURE));
        flight.waiters.iter().map(failure).collect()
    }
}
