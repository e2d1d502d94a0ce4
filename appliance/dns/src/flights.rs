//! All questions in flight: found by id and by question, and in the order of what is due.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::Duration;

use crate::flight::{Flight, Waiter};

/// How many clients may wait for each question, on the average of as many questions as may be in flight.
const WAITERS_EACH: usize = 4;

/// The questions in flight, and how many of them there may be.
pub(crate) struct Flights {
    by_id: HashMap<u16, Flight>,
    by_key: HashMap<Box<[u8]>, u16>,
    due: BTreeSet<(Duration, u16)>,
    /// How many answers each client waits for.
    waiting: HashMap<IpAddr, usize>,
    waiters: usize,
    max: usize,
    max_per_client: usize,
}

/// What became of a client that wants to wait.
pub(crate) enum Join {
    /// It waits for a question that is in flight.
    Waits,
    /// Too many wait.
    Full,
    /// Nobody has asked that: a new question may be put.
    Alone(Waiter),
}

impl Flights {
    pub(crate) fn new(max: usize, max_per_client: usize) -> Self {
        Self {
            by_id: HashMap::new(),
            by_key: HashMap::new(),
            due: BTreeSet::new(),
            waiting: HashMap::new(),
            waiters: 0,
            max,
            max_per_client,
        }
    }

    /// Lets a client wait for a question that is in flight already.
    pub(crate) fn join(&mut self, key: &[u8], waiter: Waiter) -> Join {
        let is_full = self.by_id.len() >= self.max;
        let same = self.by_key.get(key).and_then(|id| self.by_id.get_mut(id));
        if same.as_ref().is_some_and(|flight| flight.waiters.iter().any(|one| one.is_again(&waiter))) {
            return Join::Waits;
        }
        let client = waiter.client.address.ip();
        let has_room = self.waiters < self.max * WAITERS_EACH
            && self.waiting.get(&client).is_none_or(|count| *count < self.max_per_client);
        match same {
            _ if !has_room => Join::Full,
            Some(flight) => {
                flight.waiters.push(waiter);
                self.count(client);
                Join::Waits
            }
            None if is_full => Join::Full,
            None => Join::Alone(waiter),
        }
    }

    /// Whether an id is in use.
    pub(crate) fn has(&self, id: u16) -> bool {
        self.by_id.contains_key(&id)
    }

    /// Adds a question that has just been asked.
    pub(crate) fn add(&mut self, flight: Flight) {
        for client in flight.waiters.iter().map(|waiter| waiter.client.address.ip()) {
            self.count(client);
        }
        self.due.insert((flight.again_at, flight.id));
        self.by_key.insert(flight.key.clone(), flight.id);
        self.by_id.insert(flight.id, flight);
    }

    /// The question with an id.
    pub(crate) fn get(&self, id: u16) -> Option<&Flight> {
        self.by_id.get(&id)
    }

    /// Changes a question, and gives what the change gives.
    pub(crate) fn change<T>(&mut self, id: u16, change: impl FnOnce(&mut Flight) -> T) -> Option<T> {
        let flight = self.by_id.get_mut(&id)?;
        self.due.remove(&(flight.again_at, id));
        let given = change(flight);
        self.due.insert((flight.again_at, id));
        Some(given)
    }

    /// Takes out those who wait for a question and for whom something holds.
    pub(crate) fn take_waiters(&mut self, id: u16, mut holds: impl FnMut(&Waiter) -> bool) -> Vec<Waiter> {
        let Some(flight) = self.by_id.get_mut(&id) else { return Vec::new() };
        let (taken, left) = std::mem::take(&mut flight.waiters).into_iter().partition(|one| holds(one));
        flight.waiters = left;
        self.forget(&taken);
        taken
    }

    /// Takes out a question that is answered or given up.
    pub(crate) fn remove(&mut self, id: u16) -> Option<Flight> {
        let flight = self.by_id.remove(&id)?;
        self.by_key.remove(&flight.key);
        self.due.remove(&(flight.again_at, id));
        self.forget(&flight.waiters);
        Some(flight)
    }

    /// When something is due next, and for which question.
    pub(crate) fn next_due(&self) -> Option<(Duration, u16)> {
        self.due.first().copied()
    }

    fn count(&mut self, client: IpAddr) {
        self.waiters += 1;
        *self.waiting.entry(client).or_default() += 1;
    }

    fn forget(&mut self, gone: &[Waiter]) {
        self.waiters -= gone.len();
        for waiter in gone {
            let client = waiter.client.address.ip();
            let left = self.waiting.get(&client).map_or(0, |count| count - 1);
            if left == 0 {
                self.waiting.remove(&client);
            } else {
                self.waiting.insert(client, left);
            }
        }
    }
}
