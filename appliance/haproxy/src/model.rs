//! What haproxy should do: a pure function of the document and the members that are down.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddrV4};

use podzol_appliance_api::{CookieName, Document, HttpBalancer, Member, Method, Termination};
use podzol_vocab::{LoadBalancerId, NicId};

/// The fewest places for members: a balancer with few gets some more without a new process.
const FEWEST_PLACES: usize = 4;

/// What haproxy should do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Model {
    pub(crate) balancers: BTreeMap<LoadBalancerId, Balancer>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Balancer {
    pub(crate) shape: Shape,
    pub(crate) members: BTreeMap<SocketAddrV4, State>,
}

/// What a process has for its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) public: Ipv4Addr,
    pub(crate) port: u16,
    pub(crate) method: Method,
    pub(crate) cookie: Option<CookieName>,
    pub(crate) tls: Option<Termination>,
    pub(crate) max_connections: u32,
    pub(crate) idle_secs: u32,
    /// How many places for members there are.
    pub(crate) places: usize,
}

/// How a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// It takes this share of new requests; with 0 those whose cookie names it.
    Weight(u8),
    /// It gets no request.
    Down,
}

impl Model {
    /// What a document without problems needs, while these members are down.
    pub fn of(document: &Document, down: &BTreeSet<(LoadBalancerId, NicId)>) -> Self {
        let balancers = document.http_balancers.iter().map(|(id, balancer)| {
            let members = balancer.members.iter().map(|(nic, member)| {
                let is_down = down.contains(&(*id, *nic));
                (SocketAddrV4::new(member.address, member.port), State::of(member, is_down))
            });
            (*id, Balancer { shape: Shape::of(balancer), members: members.collect() })
        });
        Self { balancers: balancers.collect() }
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.balancers.is_empty()
    }

    /// Whether a process that has begun with the other can do this, after commands.
    pub fn fits(&self, other: &Self) -> bool {
        self.balancers.len() == other.balancers.len()
            && self.balancers.iter().all(|(id, balancer)| {
                other.balancers.get(id).is_some_and(|begun| balancer.shape.fits(&begun.shape))
            })
    }
}

impl Shape {
    /// Places that nobody needs any more stand empty.
    fn fits(&self, other: &Self) -> bool {
        let same_places = Self { places: other.places, ..self.clone() };
        self.places <= other.places && same_places == *other
    }

    fn of(balancer: &HttpBalancer) -> Self {
        Self {
            public: balancer.public,
            port: balancer.port,
            method: balancer.method,
            cookie: balancer.cookie.clone(),
            tls: balancer.tls.clone(),
            max_connections: balancer.max_connections,
            idle_secs: balancer.idle_secs,
            places: balancer.members.len().max(FEWEST_PLACES).next_power_of_two(),
        }
    }
}

impl State {
    fn of(member: &Member, is_down: bool) -> Self {
        match (is_down, member.drains) {
            (true, _) => Self::Down,
            (false, true) => Self::Weight(0),
            (false, false) => Self::Weight(member.weight),
        }
    }
}
