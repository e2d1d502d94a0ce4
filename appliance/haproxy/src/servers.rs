//! The places for members that a process has, and what has to be told to it so that they are as they should be.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddrV4;

use podzol_vocab::LoadBalancerId;

use crate::ReadError;
use crate::model::{Balancer, Model, State};

/// The command that lists what [`Servers::read`] reads (management guide, 9.3).
pub const LIST_SERVERS: &str = "show servers state";

/// In maintenance by command or by inheritance, but not by the configuration alone, which is how it began (`SRV_ADMF_*`).
const MAINTENANCE: u8 = 0x01 | 0x02 | 0x20;

/// The places of a process, by balancer and number.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Servers(BTreeMap<LoadBalancerId, BTreeMap<u32, Place>>);

/// A place, and who is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    address: SocketAddrV4,
    state: State,
}

impl Servers {
    /// Reads what haproxy lists.
    ///
    /// # Errors
    /// When it is not in that form, or the places are of no balancer.
    pub fn read(text: &str) -> Result<Self, ReadError> {
        let mut servers = Self::default();
        let mut lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let error = |line: &str| ReadError { asked: LIST_SERVERS, line: line.to_owned() };
        let version = lines.next().unwrap_or_default();
        if version != "1" {
            return Err(error(version));
        }
        for line in lines {
            let (id, number, place) = place(line).ok_or_else(|| error(line))?;
            servers.0.entry(id).or_default().insert(number, place);
        }
        Ok(servers)
    }
}

/// A line, by the columns of version 1.
fn place(line: &str) -> Option<(LoadBalancerId, u32, Place)> {
    let columns: Vec<&str> = line.split(' ').collect();
    let column = |number: usize| columns.get(number).copied();
    let address = SocketAddrV4::new(column(4)?.parse().ok()?, column(18)?.parse().ok()?);
    let is_down = column(6)?.parse::<u8>().ok()? & MAINTENANCE != 0;
    let weight = column(7)?.parse().ok()?;
    let state = if is_down { State::Down } else { State::Weight(weight) };
    Some((column(1)?.parse().ok()?, column(3)?.parse().ok()?, Place { address, state }))
}

impl Model {
    /// What has to be told to a process of this shape whose places are these, so that it does this. First those go who
    /// should not be there any more, so that their places can be taken.
    pub fn commands(&self, servers: &Servers) -> Vec<String> {
        static NONE: BTreeMap<u32, Place> = BTreeMap::new();
        let each = self.balancers.iter();
        each.flat_map(|(id, balancer)| commands(*id, balancer, servers.0.get(id).unwrap_or(&NONE))).collect()
    }
}

fn commands(id: LoadBalancerId, wanted: &Balancer, places: &BTreeMap<u32, Place>) -> Vec<String> {
    let (mut commands, mut free, mut seated) = (Vec::new(), Vec::new(), BTreeSet::new());
    let set = |number: u32, what: String| format!("set server {id}/{number} {what}");
    for (number, place) in places {
        // One who is in two places leaves the second.
        match wanted.members.get(&place.address).filter(|_| seated.insert(place.address)) {
            Some(state) => commands.extend(changes(place.state, *state).map(|what| set(*number, what))),
            None => {
                if place.state != State::Down {
                    commands.push(set(*number, "state maint".into()));
                }
                free.push(*number);
            }
        }
    }
    let new = wanted.members.iter().filter(|(address, _)| !seated.contains(address));
    for ((address, state), number) in new.zip(free) {
        commands.push(set(number, format!("addr {} port {}", address.ip(), address.port())));
        commands.extend(changes(State::Down, *state).map(|what| set(number, what)));
    }
    commands
}

/// What makes one state of another. The weight is right before the first request comes.
fn changes(from: State, to: State) -> impl Iterator<Item = String> {
    let (weight, state) = match (from, to) {
        _ if from == to => (None, None),
        (_, State::Down) => (None, Some("maint")),
        (State::Down, State::Weight(weight)) => (Some(weight), Some("ready")),
        (State::Weight(_), State::Weight(weight)) => (Some(weight), None),
    };
    let weight = weight.map(|weight| format!("weight {weight}"));
    weight.into_iter().chain(state.map(|state| format!("state {state}")))
}
