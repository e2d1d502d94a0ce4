//! One question that forwarders have been asked, and who waits for the answer.

use std::net::SocketAddr;
use std::time::Duration;

use podzol_appliance_api::Transport;

use crate::action::{Action, Client};
use crate::query::{Asked, Edns, Head, Query};
use crate::wire::{HEADER, UDP_SIZE, flag, kind};

/// How long a forwarder has until the next one is asked.
pub(crate) const NEXT_AFTER: Duration = Duration::from_millis(800);

/// How long there are tries. Resolvers of Linux ask again after 5 s (resolv.conf(5), `timeout`).
pub(crate) const GIVE_UP_AFTER: Duration = Duration::from_secs(5);

/// A question in flight.
pub(crate) struct Flight {
    pub(crate) id: u16,
    /// The socket that it is sent from, and an answer must come to.
    pub(crate) socket: u8,
    /// What the answer is kept under.
    pub(crate) key: Box<[u8]>,
    /// The question as the first client asked it.
    pub(crate) question: Box<[u8]>,
    /// Whether it is asked over UDP, or, after a cut answer, over TCP.
    pub(crate) transport: Transport,
    /// Who has been asked and may answer. At most as many as there are forwarders.
    pub(crate) asked: Vec<SocketAddr>,
    /// How often it was sent.
    pub(crate) tries: usize,
    /// How many answers said only that the server cannot.
    pub(crate) failures: usize,
    /// When to ask the next one.
    pub(crate) again_at: Duration,
    /// When to give up.
    pub(crate) ends_at: Duration,
    pub(crate) waiters: Vec<Waiter>,
    unchecked: bool,
    wants_dnssec: bool,
}

/// A client that waits for an answer, and what its answer needs.
pub(crate) struct Waiter {
    pub(crate) client: Client,
    head: Head,
    question: Box<[u8]>,
    edns: Option<Edns>,
    limit: usize,
}

impl Flight {
    pub(crate) fn new(query: &Query<'_>, now: Duration, id: u16, socket: u8, waiter: Waiter) -> Self {
        Self {
            id,
            socket,
            key: query.key().as_bytes().into(),
            question: query.question.into(),
            transport: Transport::Udp,
            asked: Vec::new(),
            tries: 0,
            failures: 0,
            again_at: now,
            ends_at: now + GIVE_UP_AFTER,
            waiters: vec![waiter],
            unchecked: query.head.flags & flag::CHECKING_DISABLED != 0,
            wants_dnssec: query.wants_dnssec(),
        }
    }

    /// Asks a forwarder, whose answer counts from now on.
    pub(crate) fn ask(&mut self, now: Duration, to: SocketAddr) -> Action {
        self.tries += 1;
        self.again_at = (now + NEXT_AFTER).min(self.ends_at);
        if !self.asked.contains(&to) {
            self.asked.push(to);
        }
        let (id, bytes) = (self.id, self.packet());
        match self.transport {
            Transport::Udp => Action::Forward { to, id, socket: self.socket, bytes },
            Transport::Tcp => Action::ForwardTcp { to, id, bytes },
        }
    }

    /// The question with an OPT record. All forwarders are told that AD is understood (RFC 6840, 5.7); DO and CD are
    /// what the client said.
    fn packet(&self) -> Vec<u8> {
        let unchecked = if self.unchecked { flag::CHECKING_DISABLED } else { 0 };
        let flags = flag::RECURSION_DESIRED | flag::AUTHENTIC | unchecked;
        let mut packet = Vec::with_capacity(HEADER + self.question.len() + 11);
        for word in [self.id, flags, 1, 0, 0, 1] {
            packet.extend_from_slice(&word.to_be_bytes());
        }
        packet.extend_from_slice(&self.question);
        packet.push(0);
        let wishes = if self.wants_dnssec { 0x8000 } else { 0 };
        for word in [kind::OPT, UDP_SIZE as u16, 0, wishes, 0] {
            packet.extend_from_slice(&word.to_be_bytes());
        }
        packet
    }
}

impl Waiter {
    pub(crate) fn new(client: Client, asked: Asked<'_>) -> Self {
        let Asked { head, question, edns, limit } = asked;
        Self { client, head, question: question.into(), edns, limit }
    }

    /// What its answer needs.
    pub(crate) fn asked(&self) -> Asked<'_> {
        Asked { head: self.head, question: &self.question, edns: self.edns, limit: self.limit }
    }

    /// Whether it is the same client with the same query, sent again.
    pub(crate) fn is_again(&self, other: &Self) -> bool {
        self.client == other.client && self.head.id == other.head.id
    }

    /// Its answer.
    pub(crate) fn answer(&self, encode: impl FnOnce(Asked<'_>) -> Vec<u8>) -> Action {
        Action::Answer { to: self.client, bytes: encode(self.asked()) }
    }
}
