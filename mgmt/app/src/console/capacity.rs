//! How many console proxies a zone should have: a pure function of what there is.
//!
//! ```text
//!   free < reserve             a server that drains is taken back ─▶ one more server on a VM with room ─▶ one more VM
//!   free ≥ reserve + margin,   the emptiest server drains; with its last one, its VM does
//!     for a while
//!   drained, and empty         the server goes; with its last one, its VM does
//!   drained for too long       its sessions lose their places, and get others when their pages ask
//!   its identity ends soon     once there is room for its sessions elsewhere it drains for good: one more VM is started for that,
//!                              unless there are as many as may be. One at a time
//!   dead, or stuck on its way  the VM goes at once, and so do the places there
//! ```
//! *free* is how many sessions more there is room for: at servers that take some, those that are being started included, less the
//! sessions there and less those that wait. What drains is not counted, nor is what placement passes over, as it does not answer or
//! does not work; what its pages ask for is, as they ask.
//!
//! It knows no database, no clock and no proxy. It says what to do; whoever does it may fail at any line, and asks again.
//!
//! # Design notes
//! - Room that is being started counts as room, so a second look starts nothing twice. What is stuck on its way is not: it goes,
//!   and another comes.
//! - The margin is so much that giving up a server never makes the next session start one. It has to be there for a while, so
//!   that a class of students that leaves and comes back finds what it left.
//! - Nothing is given up while something is being started, does not answer, or waits.
//! - A VM that leaves has its host's room and its address until it is gone, which may be as long as its host is away. So it does not
//!   count with those that may be had, but there are never more than twice as many of both: starts that fail pile nothing up.
//! - After a start that has failed nothing is started for a while, each time for longer. Who holds it back says for how long.
//! - Refused: moving sessions together so that a VM becomes empty. Each move is seen by somebody; those who leave empty it too.

#[cfg(test)]
mod tests;

use std::time::Duration;

use podzol_vocab::{ConsoleProxyId, ConsoleServerId};

/// What an operator may decide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rules {
    /// How many sessions a server takes.
    pub(crate) sessions_per_server: u32,
    /// How many servers a VM has at most.
    pub(crate) servers_per_proxy: u32,
    /// How many more sessions there should be room for.
    pub(crate) reserve: u32,
    /// How many more than that there have to be before anything is given up.
    pub(crate) margin: u32,
    /// For how long.
    pub(crate) surplus_for: Duration,
    /// How long a VM or a server may take to start.
    pub(crate) start_within: Duration,
    /// How long a VM or a server may drain before its sessions lose their places.
    pub(crate) drain_within: Duration,
    /// How many VMs there are at most.
    pub(crate) most_proxies: u32,
}

/// What a zone has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Zone {
    /// The oldest first.
    pub(crate) proxies: Vec<Proxy>,
    /// Sessions that wait for a place.
    pub(crate) waiting: u32,
    /// For how long there has been more than is needed.
    pub(crate) surplus: Option<Duration>,
    /// Whether no VM may be started now, as the last ones have failed.
    pub(crate) is_held: bool,
}

/// A VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Proxy {
    pub(crate) id: ConsoleProxyId,
    pub(crate) state: State,
    /// For how long it has been draining.
    pub(crate) draining: Option<Duration>,
    /// Whether it is never to be taken back.
    pub(crate) is_retired: bool,
    /// Whether nobody can speak to it before long, as its identity ends.
    pub(crate) ends: Ends,
    /// By their ports.
    pub(crate) servers: Vec<Server>,
}

/// What a VM does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum State {
    /// It has been starting for so long.
    Starting(Duration),
    /// It runs and answers, or has not been silent for long.
    Running,
    /// It runs, and does not answer now.
    Silent,
    /// It will not come back, and why.
    Dead(String),
    /// It is being removed.
    Leaving,
}

/// How near the end of a VM's identity is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Ends {
    /// Far.
    Later,
    /// So near that another VM is to take its place, and there is time to make room for that.
    Soon,
    /// So near that it goes even if there is no room for its sessions elsewhere.
    Now,
}

/// A server of a VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Server {
    pub(crate) id: ConsoleServerId,
    pub(crate) max_sessions: u32,
    pub(crate) sessions: u32,
    /// For how long it has not been open, if it is not.
    pub(crate) opening: Option<Duration>,
    /// Whether it was open, and does not work now.
    pub(crate) is_broken: bool,
    /// For how long it has been draining.
    pub(crate) draining: Option<Duration>,
}

/// Something to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Make one more VM, with one server.
    StartProxy,
    /// Give a VM one more server.
    StartServer(ConsoleProxyId),
    /// Have what drains take sessions again.
    TakeBackServer(ConsoleServerId),
    /// The same for a VM.
    TakeBackProxy(ConsoleProxyId),
    /// Let a server get no new sessions.
    DrainServer(ConsoleServerId),
    /// The same for a VM.
    DrainProxy(ConsoleProxyId),
    /// Let a VM get no new sessions, never to be taken back, as its identity ends.
    RetireProxy(ConsoleProxyId),
    /// Take the places of the sessions at a server.
    Displace(ConsoleServerId),
    /// Take a server away from its VM.
    RemoveServer(ConsoleServerId, Why),
    /// Remove a VM.
    RemoveProxy(ConsoleProxyId, Why),
}

/// Why something goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Why {
    /// Nobody needs it.
    Surplus,
    /// It does not do what it should.
    Broken(String),
}

/// What a look at a zone comes to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Decision {
    pub(crate) steps: Vec<Step>,
    /// Whether there is more than is needed, whether or not for long enough.
    pub(crate) is_surplus: bool,
    /// Sessions for which there is no room, and no more VMs may be had.
    pub(crate) beyond: u32,
}

impl Proxy {
    fn takes_sessions(&self) -> bool {
        self.draining.is_none()
            && !self.is_retired
            && matches!(self.state, State::Starting(_) | State::Running)
    }

    fn is_empty(&self) -> bool {
        self.sessions() == 0
    }

    fn sessions(&self) -> u32 {
        self.servers.iter().map(|server| server.sessions).sum()
    }

    /// Whether another one is to take its place.
    fn is_ending(&self) -> bool {
        self.ends > Ends::Later && !self.is_retired && self.state == State::Running
    }

    /// The servers that take sessions.
    fn open(&self) -> impl Iterator<Item = &Server> {
        self.servers.iter().filter(|server| server.draining.is_none())
    }

    fn room(&self) -> u32 {
        self.open().map(Server::room).sum()
    }
}

impl Server {
    /// How many sessions more there is room for. One that has more than it may, as its limit was lowered, has none.
    fn room(&self) -> u32 {
        if self.is_broken { 0 } else { self.max_sessions.saturating_sub(self.sessions) }
    }
}

/// What to do in a zone.
pub(crate) fn decide(zone: &Zone, rules: &Rules) -> Decision {
    let there = zone.proxies.len();
    let mut zone = zone.clone();
    let mut steps = removals(&mut zone, rules);
    if let Some(ending) = first_ending(&zone) {
        return replace(zone, ending, there, rules, steps);
    }
    let room: u32 = zone.proxies.iter().filter(|proxy| proxy.takes_sessions()).map(Proxy::room).sum();
    let needed = zone.waiting + rules.reserve;
    if room < needed {
        let beyond = grow(&zone, there, rules, needed - room, &mut steps);
        return Decision { steps, is_surplus: false, beyond: beyond.min(zone.waiting) };
    }
    let given_up = surplus(&zone, rules, room);
    let is_surplus = given_up.is_some();
    let is_for_long = zone.surplus.is_some_and(|surplus| surplus >= rules.surplus_for);
    steps.extend(given_up.filter(|_| is_for_long || rules.surplus_for.is_zero()));
    Decision { steps, is_surplus, beyond: 0 }
}

/// The VM that another one is to take the place of next: the oldest, when the one before has gone.
fn first_ending(zone: &Zone) -> Option<usize> {
    let goes = |proxy: &Proxy| proxy.ends > Ends::Later && proxy.is_retired;
    if zone.proxies.iter().any(goes) {
        return None;
    }
    zone.proxies.iter().position(Proxy::is_ending)
}

/// Has others make room for the sessions of a VM whose identity ends, and it drain for good then. Where that room cannot be had it
/// drains at once, as it has to go to make some.
fn replace(mut zone: Zone, ending: usize, there: usize, rules: &Rules, mut steps: Vec<Step>) -> Decision {
    let ending = zone.proxies.remove(ending);
    let takes = |proxy: &&Proxy| proxy.takes_sessions();
    let room: u32 = zone.proxies.iter().filter(takes).map(Proxy::room).sum();
    let is_open = |server: &&Server| server.opening.is_none();
    let running = zone.proxies.iter().filter(takes).filter(|proxy| proxy.state == State::Running);
    let open: u32 = running.flat_map(|proxy| proxy.open().filter(is_open)).map(Server::room).sum();
    let needed = zone.waiting + rules.reserve + ending.sessions();
    let lacking = needed.saturating_sub(room);
    // It is still one of those that there may be.
    let fewer = Rules { most_proxies: rules.most_proxies.saturating_sub(1), ..rules.clone() };
    let beyond = if lacking > 0 { grow(&zone, there - 1, &fewer, lacking, &mut steps) } else { 0 };
    let is_full = beyond > 0 && !zone.is_held;
    if open >= needed || is_full || ending.ends == Ends::Now {
        steps.push(Step::RetireProxy(ending.id));
    }
    Decision { steps, is_surplus: false, beyond: beyond.min(zone.waiting) }
}

/// What goes because it is broken, drained, or has drained for too long. It is taken out of the zone.
fn removals(zone: &mut Zone, rules: &Rules) -> Vec<Step> {
    let mut steps = Vec::new();
    zone.proxies.retain_mut(|proxy| match why_it_goes(proxy, rules) {
        Some(why) => {
            steps.push(Step::RemoveProxy(proxy.id, why));
            false
        }
        None if proxy.state == State::Leaving => false,
        None => {
            servers_go(proxy, rules, &mut steps);
            true
        }
    });
    steps
}

fn why_it_goes(proxy: &Proxy, rules: &Rules) -> Option<Why> {
    let since = |since: Duration| format!("it has not started within {} s", since.as_secs());
    match &proxy.state {
        State::Leaving => None,
        State::Dead(why) => Some(Why::Broken(why.clone())),
        State::Starting(for_long) if *for_long > rules.start_within => Some(Why::Broken(since(*for_long))),
        _ if proxy.draining.is_some() && proxy.is_empty() => Some(Why::Surplus),
        State::Running if proxy.servers.is_empty() => Some(Why::Surplus),
        State::Running if proxy.servers.iter().all(|server| is_stuck(server, rules)) => {
            Some(Why::Broken("none of its ports has opened in time".into()))
        }
        _ => None,
    }
}

fn is_stuck(server: &Server, rules: &Rules) -> bool {
    server.opening.is_some_and(|for_long| for_long > rules.start_within)
}

fn servers_go(proxy: &mut Proxy, rules: &Rules, steps: &mut Vec<Step>) {
    let (draining, runs, one) = (proxy.draining, proxy.state == State::Running, proxy.servers.len() == 1);
    proxy.servers.retain(|server| {
        if runs && is_stuck(server, rules) && draining.is_none() {
            steps.push(Step::RemoveServer(server.id, Why::Broken("its port has not opened in time".into())));
            return false;
        }
        if server.draining.is_some() && server.sessions == 0 && !one {
            steps.push(Step::RemoveServer(server.id, Why::Surplus));
            return false;
        }
        let drains_for = draining.max(server.draining);
        if server.sessions > 0 && drains_for.is_some_and(|for_long| for_long > rules.drain_within) {
            steps.push(Step::Displace(server.id));
        }
        true
    });
}

/// Makes room for so many sessions in a zone that has so many VMs, those that leave included. Gives how many there is none for.
fn grow(zone: &Zone, there: usize, rules: &Rules, mut lacking: u32, steps: &mut Vec<Step>) -> u32 {
    let mut take = |step: Step, room: u32, lacking: &mut u32| {
        steps.push(step);
        *lacking = lacking.saturating_sub(room.max(1));
    };
    let per_server = rules.sessions_per_server.max(1);
    let usable = || zone.proxies.iter().filter(|proxy| proxy.takes_sessions());
    for server in usable().flat_map(|proxy| &proxy.servers).filter(|server| server.draining.is_some()) {
        if lacking > 0 && server.room() > 0 {
            take(Step::TakeBackServer(server.id), server.room(), &mut lacking);
        }
    }
    let drains =
        |proxy: &&Proxy| proxy.draining.is_some() && !proxy.is_retired && proxy.state == State::Running;
    for proxy in zone.proxies.iter().filter(drains) {
        if lacking > 0 && proxy.room() > 0 {
            take(Step::TakeBackProxy(proxy.id), proxy.room(), &mut lacking);
        }
    }
    for proxy in usable().filter(|proxy| proxy.state == State::Running) {
        let places = rules.servers_per_proxy.saturating_sub(proxy.servers.len() as u32);
        for _ in 0..places {
            if lacking > 0 {
                take(Step::StartServer(proxy.id), per_server, &mut lacking);
            }
        }
    }
    // One that is still to start gets its further servers once it has: until then it counts as if it had them.
    for proxy in usable().filter(|proxy| matches!(proxy.state, State::Starting(_))) {
        let places = rules.servers_per_proxy.saturating_sub(proxy.servers.len() as u32);
        lacking = lacking.saturating_sub(places * per_server);
    }
    let (stay, there) = (zone.proxies.len() as u32, there as u32);
    let most = rules.most_proxies;
    let mut more = most.saturating_sub(stay).min(most.saturating_mul(2).saturating_sub(there));
    let per_proxy = per_server * rules.servers_per_proxy.max(1);
    while lacking > 0 && more > 0 && !zone.is_held {
        take(Step::StartProxy, per_proxy, &mut lacking);
        more -= 1;
    }
    lacking
}

/// What can be given up, if anything can.
fn surplus(zone: &Zone, rules: &Rules, room: u32) -> Option<Step> {
    let usable: Vec<&Proxy> = zone.proxies.iter().filter(|proxy| proxy.takes_sessions()).collect();
    let is_starting = |proxy: &&Proxy| {
        matches!(proxy.state, State::Starting(_)) || proxy.open().any(|server| server.opening.is_some())
    };
    let is_silent = |proxy: &Proxy| proxy.state == State::Silent;
    // What was started for the sessions of one whose identity ends is theirs as long as it has some.
    let is_followed = |proxy: &Proxy| proxy.ends > Ends::Later && !proxy.is_empty();
    if zone.proxies.iter().any(is_followed)
        || zone.waiting > 0
        || usable.iter().any(is_starting)
        || zone.proxies.iter().any(is_silent)
    {
        return None;
    }
    // Its sessions get other places, so there has to be room for them too.
    let in_use: u32 = usable.iter().flat_map(|proxy| proxy.open()).map(|server| server.sessions).sum();
    let kept = if in_use == 0 && rules.reserve == 0 { 0 } else { rules.reserve + rules.margin };
    let can_go = |max_sessions: u32| room.saturating_sub(max_sessions) >= kept && room >= max_sessions;
    let mut candidates: Vec<(&Proxy, &Server)> =
        usable.iter().flat_map(|proxy| proxy.open().map(move |server| (*proxy, server))).collect();
    candidates.retain(|(_, server)| can_go(server.max_sessions));
    // The emptiest goes, of the VM that has the least to lose, and of these the youngest.
    let (proxy, server) = candidates.into_iter().min_by_key(|(proxy, server)| {
        let others: u32 = proxy.open().map(|other| other.sessions).sum();
        (server.sessions, others, std::cmp::Reverse((proxy.id, server.id)))
    })?;
    let is_last = proxy.open().count() == 1;
    Some(if is_last { Step::DrainProxy(proxy.id) } else { Step::DrainServer(server.id) })
}
