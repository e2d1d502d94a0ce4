//! Balancers, and connections through the router, while members die, rules change and packets pour in.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use podzol_appliance_api::{
    Balancer, Check, CheckKind, Counters, IngressRule, Member, Method, RouterStatus, Traffic, Transport,
};
use podzol_netns_tests::{Connection, GATEWAY, Load, PUBLIC, Site, Try, Vm, World, wait_for};
use podzol_vocab::{FirewallRuleId, LoadBalancerId, NicId};

const PORT: u16 = 8080;
const RISE: u8 = 3;
/// So many that a machine which is busy with other tests does not seem dead.
const FALL: u8 = 4;

/// So many connections in a row that a balancer of few members cannot have passed one of them over.
const IN_A_ROW: usize = 50;

/// A balancer with members that say which they are.
struct Farm {
    world: World,
    id: LoadBalancerId,
    vms: Vec<Vm>,
    sites: Vec<Site>,
    seen: Seen,
}

impl Farm {
    /// One with a member for each weight, named by its number.
    fn new(weights: &[u8], kind: Option<CheckKind>) -> Self {
        let mut world = World::new();
        let (mut vms, mut sites) = (Vec::new(), Vec::new());
        for number in 0..weights.len() {
            let vm = world.vm(&format!("web-{number}"), number as u8 + 2);
            vm.configure();
            sites.push(Site::open(&vm.space, 80, &number.to_string()));
            vms.push(vm);
        }
        let members = vms.iter().zip(weights).map(|(vm, weight)| {
            (vm.nic, Member { address: vm.address, port: 80, weight: *weight, drains: false })
        });
        let check =
            kind.map(|kind| Check { kind, interval_ms: 500, timeout_ms: 450, rise: RISE, fall: FALL });
        let balancer = Balancer {
            public: PUBLIC,
            transport: Transport::Tcp,
            port: PORT,
            method: Method::RoundRobin,
            members: members.collect(),
            check,
        };
        let id = LoadBalancerId::new();
        let traffic = Traffic::Tcp { ports: "8080".parse().unwrap() };
        let sources = vec!["0.0.0.0/0".parse().unwrap()];
        world.put(|document| {
            document.balancers.insert(id, balancer);
            let rule = IngressRule { public: PUBLIC, sources, traffic };
            document.ingress.insert(FirewallRuleId::new(), rule);
        });
        Self { world, id, vms, sites, seen: Seen::default() }
    }

    fn connect(&self) -> Connection {
        Connection::open(&self.world.outside, address()).unwrap()
    }

    /// A connection that has led to the member of that number.
    fn connect_to(&self, number: usize) -> Connection {
        let mut connections = (0..IN_A_ROW).map(|_| self.connect());
        let found = connections.find_map(|mut connection| {
            (connection.ask().unwrap() == number.to_string()).then_some(connection)
        });
        found.unwrap()
    }

    /// How many of so many connections lead to each member.
    fn spread(&self, connections: usize) -> BTreeMap<String, usize> {
        let mut spread = BTreeMap::new();
        for _ in 0..connections {
            *spread.entry(self.connect().ask().unwrap()).or_default() += 1;
        }
        spread
    }

    fn load(&self) -> Load {
        Load::start(&self.world.outside, address(), 4)
    }

    fn drain(&mut self, number: usize, drains: bool) {
        let (id, nic) = (self.id, self.vms[number].nic);
        self.world.patch(|document| {
            let balancer = document.balancers.get_mut(&id).unwrap();
            balancer.members.get_mut(&nic).unwrap().drains = drains;
        });
    }

    /// Looks at the counters, none of which has gone back.
    fn look(&mut self) -> RouterStatus {
        let status = self.world.status().unwrap();
        self.seen.look(&status);
        status
    }
}

fn address() -> SocketAddr {
    (PUBLIC, PORT).into()
}

fn is_check(from: IpAddr) -> bool {
    from == GATEWAY
}

/// The greatest that each counter has shown.
#[derive(Default)]
struct Seen {
    nics: BTreeMap<NicId, Counters>,
    public: BTreeMap<std::net::Ipv4Addr, Counters>,
}

impl Seen {
    fn look(&mut self, status: &RouterStatus) {
        for (id, before) in &self.nics {
            assert!(goes_on(before, &status.nics[id]), "{id}: {before:?} {:?}", status.nics[id]);
        }
        for (address, before) in &self.public {
            assert!(goes_on(before, &status.public[address]), "{address}: {before:?}");
        }
        (self.nics, self.public) = (status.nics.clone(), status.public.clone());
    }
}

fn goes_on(before: &Counters, after: &Counters) -> bool {
    before.sent_bytes <= after.sent_bytes
        && before.sent_packets <= after.sent_packets
        && before.received_bytes <= after.received_bytes
        && before.received_packets <= after.received_packets
}

/// Waits until so many connections in a row have been answered, and at least one of another kind before them.
fn wait_for_a_row(load: &Load, since: Instant, has_begun: impl Fn(&Try) -> bool) {
    wait_for("connections to be answered in a row", || {
        let tries: Vec<Try> = load.tries().into_iter().filter(|one| one.begun > since).collect();
        let row = tries.iter().rev().take_while(|one| one.answer.is_ok()).count();
        let begun = tries.iter().any(&has_begun);
        if begun && row >= IN_A_ROW { Ok(()) } else { Err(format!("{row} of {}: {begun}", tries.len())) }
    });
}

#[test]
fn members_get_connections_in_the_proportions_of_their_weights() {
    let mut farm = Farm::new(&[30, 10, 20], None);
    let count = |number: &str, share| (number.to_owned(), share);
    assert_eq!(farm.spread(120), [count("0", 60), count("1", 20), count("2", 40)].into());
    farm.look();
}

#[test]
fn a_member_that_dies_under_load_loses_only_what_it_had_begun_with_and_comes_back() {
    let mut farm = Farm::new(&[1, 1, 1], Some(CheckKind::Tcp));
    let (load, begun) = (farm.load(), Instant::now());
    wait_for_a_row(&load, begun, |one| one.answer.as_deref() == Ok("2"));
    farm.look();

    let before = Instant::now();
    farm.vms[2].unplug();
    let died = Instant::now();
    // Who was sent to it tries again after a second, and then after some more.
    wait_for_a_row(&load, before, |one| one.ended - one.begun > Duration::from_millis(900));
    load.wait_for_those_before();
    assert_eq!(farm.look().checked, [(farm.id, [farm.vms[2].nic].into())].into());

    let (came_back, visits_before) = (Instant::now(), farm.sites[2].visits().len());
    farm.vms[2].plug();
    wait_for_a_row(&load, came_back, |one| one.answer.as_deref() == Ok("2"));
    let tries = load.stop();
    assert_eq!(farm.look().checked, [(farm.id, [].into())].into());

    let failed: Vec<&Try> = tries.iter().filter(|one| one.answer.is_err()).collect();
    // Each of four clients had one connection at most that it could have accepted.
    assert!(failed.iter().all(|one| one.begun < died && one.ended > before), "{failed:?}, died {died:?}");
    assert!(failed.len() <= 4, "{failed:?}");
    let back = farm.sites[2].visits().split_off(visits_before);
    let checks_first = back.iter().take_while(|visit| is_check(visit.from)).count();
    assert!(checks_first >= usize::from(RISE), "{checks_first} checks before the first connection");
}

#[test]
fn a_member_that_answers_its_check_with_503_gets_no_connection_and_keeps_those_it_has() {
    let mut farm = Farm::new(&[1, 1], Some(CheckKind::Http { path: "/healthy".into() }));
    let mut held = farm.connect_to(1);
    let load = farm.load();
    farm.sites[1].answer(503);
    let checks_of = |farm: &Farm, status| {
        let visits = farm.sites[1].visits().into_iter();
        visits.filter(|visit| visit.status == status && is_check(visit.from)).count()
    };
    wait_for("checks to fail", || match checks_of(&farm, 503) {
        12.. => Ok(()),
        count => Err(count.to_string()),
    });
    assert_eq!(held.ask().unwrap(), "1");
    farm.look();

    let changed = Instant::now();
    farm.sites[1].answer(200);
    wait_for_a_row(&load, changed, |one| one.answer.as_deref() == Ok("1"));
    assert_eq!(held.ask().unwrap(), "1");
    let tries = load.stop();
    farm.look();

    assert!(tries.iter().all(|one| one.answer.is_ok()), "no connection is refused or lost");
    let visits = farm.sites[1].visits();
    let ill: Vec<bool> =
        visits.iter().filter(|visit| visit.status == 503).map(|visit| is_check(visit.from)).collect();
    let last = ill.iter().rposition(|is_check| !is_check).unwrap_or(0);
    let asked = ill[..last].iter().filter(|is_check| **is_check).count();
    // What follows from the checks comes into force while the next ones are made, if the machine is busy.
    assert!(asked <= usize::from(FALL) + 3, "{asked} checks had failed when a connection still came");
    let well = visits.iter().skip_while(|visit| visit.status == 200).filter(|visit| visit.status == 200);
    let checks_first = well.take_while(|visit| is_check(visit.from)).count();
    assert!(checks_first >= usize::from(RISE), "{checks_first} checks before the first connection");
}

#[test]
fn a_member_that_does_not_work_gets_nothing_when_it_is_asked_in_another_way() {
    let mut farm = Farm::new(&[1, 1], Some(CheckKind::Http { path: "/healthy".into() }));
    farm.sites[1].answer(503);
    let only_the_first = BTreeMap::from([("0".to_owned(), IN_A_ROW)]);
    wait_for("the other to be left out", || {
        let spread = farm.spread(IN_A_ROW);
        if spread == only_the_first { Ok(()) } else { Err(format!("{spread:?}")) }
    });
    let id = farm.id;
    for fall in [5, 6, 7] {
        farm.world.patch(|document| {
            let balancer = document.balancers.get_mut(&id).unwrap();
            let check = balancer.check.as_mut().unwrap();
            (check.fall, check.interval_ms) = (fall, 10_000);
        });
        assert_eq!(farm.spread(IN_A_ROW), only_the_first);
    }
}

#[test]
fn a_member_that_drains_keeps_its_connections_and_gets_no_new_one() {
    let mut farm = Farm::new(&[1, 1], None);
    let mut held: Vec<Connection> = (0..5).map(|_| farm.connect_to(1)).collect();
    let mut ask = || held.iter_mut().all(|connection| connection.ask().unwrap() == "1");
    assert!(ask());

    farm.drain(1, true);
    assert_eq!(farm.spread(IN_A_ROW), [("0".to_owned(), IN_A_ROW)].into());
    assert!(ask());
    farm.look();

    // Nor if there is no other.
    farm.drain(0, true);
    let refused = Connection::open(&farm.world.outside, address()).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    assert!(ask());

    farm.drain(1, false);
    assert_eq!(farm.spread(IN_A_ROW), [("1".to_owned(), IN_A_ROW)].into());
    assert!(ask());
    farm.look();
}

#[test]
fn counters_go_on_over_changes_of_the_document_and_repairs() {
    let mut farm = Farm::new(&[1, 1], None);
    farm.spread(20);
    let first = farm.look().public[&PUBLIC];
    assert!(first.sent_packets > 0 && first.received_packets > 0);

    let gone = farm.vms[1].nic;
    farm.drain(1, true);
    farm.world.patch(|document| document.nics.retain(|id, _| *id != gone));
    farm.spread(20);
    let status = farm.look();
    assert!(status.nics[&gone].sent_packets > 0, "what it has sent is not forgotten");
    assert!(goes_on(&first, &status.public[&PUBLIC]) && first != status.public[&PUBLIC]);

    // A VM has no shell in which somebody could.
    let Some(router) = farm.world.by_hand() else { return };
    router.run("nft flush chain inet podzol_count forwarded");
    router.run("nft flush chain ip podzol ingress");
    let repairs = status.repairs;
    wait_for("a repair", || match farm.look().repairs {
        more if more > repairs => Ok(()),
        same => Err(same.to_string()),
    });
    let repaired = farm.look();
    farm.spread(20);
    assert_ne!(farm.look().public[&PUBLIC], repaired.public[&PUBLIC]);
}
