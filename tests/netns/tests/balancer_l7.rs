//! Balancers of HTTP: cookies, TLS, members that come, go, drain and die, and changes while requests come.
//!
//! On a template without the extension for it, each test finds that its document is refused by name, and nothing else.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use podzol_appliance_api::{
    Check, CheckKind, DiagnosisGet, EXTENSION_L7, Health, HttpBalancer, HttpCounters, IngressRule, LogsGet,
    Member, Method, Termination, Traffic,
};
use podzol_netns_tests::{Kept, Namespace, OUTSIDE, PUBLIC, Reply, Vm, World, echo, wait_for};
use podzol_rpc::CallError;
use podzol_vocab::{ErrorCode, FirewallRuleId, LoadBalancerId, NicId, Secret};

const PORT: u16 = 8080;
const COOKIE: &str = "SRV";

/// A balancer of HTTP with members that say which they are and what they are asked.
struct Farm {
    world: World,
    id: LoadBalancerId,
    vms: Vec<Vm>,
    /// What its counters showed at the last look.
    seen: HttpCounters,
}

impl Farm {
    /// One with a member for each weight, named by its number, and a change of it. Nothing on a router without the
    /// extension, which has refused it then.
    fn new(weights: &[u8], change: impl FnOnce(&mut HttpBalancer)) -> Option<Self> {
        let mut world = World::new();
        let vms: Vec<Vm> =
            (0..weights.len()).map(|number| world.vm(&format!("web-{number}"), number as u8 + 2)).collect();
        let members = vms.iter().zip(weights).map(|(vm, weight)| (vm.nic, member(vm, *weight)));
        let mut balancer = balancer(members.collect());
        change(&mut balancer);
        for (number, vm) in vms.iter().enumerate() {
            vm.configure();
            echo(&vm.space, 80, &number.to_string());
        }
        let id = LoadBalancerId::new();
        if !world.status().unwrap().extensions.contains(EXTENSION_L7) {
            assert_refused(&mut world, id, balancer);
            return None;
        }
        world.put(|document| {
            document.http_balancers.insert(id, balancer);
            let traffic = Traffic::Tcp { ports: "1-65535".parse().unwrap() };
            let sources = vec!["0.0.0.0/0".parse().unwrap()];
            document.ingress.insert(FirewallRuleId::new(), IngressRule { public: PUBLIC, sources, traffic });
        });
        let farm = Self { world, id, vms, seen: HttpCounters::default() };
        wait_for("haproxy to serve", || match farm.served() {
            0 => Err(format!("{:?}", farm.world.status().unwrap().health)),
            _ => Ok(()),
        });
        Some(farm)
    }

    fn patch(&mut self, change: impl FnOnce(&mut HttpBalancer)) {
        let id = self.id;
        self.world.patch(|document| change(document.http_balancers.get_mut(&id).unwrap()));
    }

    fn patch_member(&mut self, number: usize, change: impl FnOnce(&mut Member)) {
        let nic = self.nic(number);
        self.patch(|balancer| change(balancer.members.get_mut(&nic).unwrap()));
    }

    fn nic(&self, number: usize) -> NicId {
        self.vms[number].nic
    }

    /// A client that asks once, with these lines in the header.
    fn ask(&self, lines: &str) -> Reply {
        self.connect().get("/", lines).unwrap()
    }

    fn connect(&self) -> Kept {
        Kept::open(&self.world.outside, address()).unwrap()
    }

    /// How many of so many clients get to each member.
    fn spread(&self, clients: usize) -> BTreeMap<String, usize> {
        let mut spread = BTreeMap::new();
        for _ in 0..clients {
            *spread.entry(self.ask("").server()).or_default() += 1;
        }
        spread
    }

    /// The cookie of a client that the member of that number has answered, as the client sends it.
    fn cookie_of(&self, number: usize) -> String {
        let mut replies = (0..50).map(|_| self.ask(""));
        let reply = replies.find(|reply| reply.server() == number.to_string()).unwrap();
        let value = reply.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
        format!("Cookie: {value}\r\n")
    }

    /// How many processes have served until now.
    fn served(&self) -> usize {
        self.logs().matches("haproxy serves").count()
    }

    fn logs(&self) -> String {
        let logs = self.world.manager.call::<LogsGet>(&self.world.management, &()).unwrap();
        logs.lines.into_iter().map(|line| line.text + "\n").collect()
    }

    /// Waits until so many processes have served.
    fn wait_for_process(&self, number: usize) {
        wait_for("another process to serve", || match self.served() {
            served if served >= number => Ok(()),
            served => Err(served.to_string()),
        });
    }

    /// Looks at the counters, none of which has gone back.
    fn look(&mut self) -> HttpCounters {
        let now = self.world.status().unwrap().http_balancers[&self.id].counters;
        let before = std::mem::replace(&mut self.seen, now);
        let pairs = [
            (before.connections, now.connections),
            (before.requests, now.requests),
            (before.failures, now.failures),
            (before.received_bytes, now.received_bytes),
            (before.sent_bytes, now.sent_bytes),
        ];
        assert!(pairs.iter().all(|(before, now)| before <= now), "{before:?} {now:?}");
        now
    }

    fn down(&self) -> Vec<NicId> {
        self.world.status().unwrap().http_balancers[&self.id].down.iter().copied().collect()
    }
}

fn address() -> SocketAddr {
    (PUBLIC, PORT).into()
}

fn member(vm: &Vm, weight: u8) -> Member {
    Member { address: vm.address, port: 80, weight, drains: false }
}

fn balancer(members: BTreeMap<NicId, Member>) -> HttpBalancer {
    HttpBalancer {
        public: PUBLIC,
        port: PORT,
        method: Method::RoundRobin,
        members,
        check: None,
        cookie: Some(COOKIE.parse().unwrap()),
        tls: None,
        max_connections: 200,
        idle_secs: 30,
    }
}

fn check() -> Check {
    Check { kind: CheckKind::Http { path: "/".into() }, interval_ms: 500, timeout_ms: 450, rise: 2, fall: 4 }
}

fn assert_refused(world: &mut World, id: LoadBalancerId, balancer: HttpBalancer) {
    let before = world.status().unwrap();
    let error = world.try_put(|document| drop(document.http_balancers.insert(id, balancer))).unwrap_err();
    let CallError::Refused { source, .. } = error else { panic!("no answer: {error:?}") };
    let message = format!("http_balancers.{id}: must not be, as this router's image has no L7 extension");
    assert_eq!((source.code, &*source.message), (ErrorCode::Invalid, message.as_str()));
    let after = world.status().unwrap();
    assert_eq!((after.generation, after.kernel), (before.generation, before.kernel));
}

/// Clients that keep their connections for as long as they may, and ask one thing after the other until stopped.
struct Crowd {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Vec<Result<String, String>>>>,
}

impl Crowd {
    fn start(farm: &Farm, clients: usize, requests_each_connection: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let client = |_| {
            let stop = Arc::clone(&stop);
            farm.world.outside.spawn(move || {
                let mut answers = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    talk(&mut answers, requests_each_connection, &stop);
                }
                answers
            })
        };
        let clients = (0..clients).map(client).collect();
        Self { stop, clients }
    }

    /// Which member answered each request, or what came instead.
    fn stop(self) -> Vec<Result<String, String>> {
        self.stop.store(true, Ordering::Relaxed);
        self.clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    }
}

/// One connection.
fn talk(answers: &mut Vec<Result<String, String>>, requests: usize, stop: &AtomicBool) {
    let mut connection = match Kept::from_here(address()) {
        Ok(connection) => connection,
        Err(error) => return answers.push(Err(format!("connecting: {error}"))),
    };
    for _ in 0..requests {
        let reply = connection.get("/", "");
        let is_last = reply.as_ref().map_or(true, |reply| reply.header("connection") == Some("close"));
        answers.push(match reply {
            Ok(reply) if reply.status == 200 => Ok(reply.server()),
            Ok(reply) => Err(reply.head),
            Err(error) => Err(error.to_string()),
        });
        std::thread::sleep(std::time::Duration::from_millis(5));
        if is_last || stop.load(Ordering::Relaxed) {
            return;
        }
    }
}

fn failures(answers: &[Result<String, String>]) -> Vec<&String> {
    answers.iter().filter_map(|answer| answer.as_ref().err()).collect()
}

#[test]
fn a_cookie_keeps_a_client_on_its_member_over_new_processes_and_routers_and_says_nothing() {
    let Some(mut farm) = Farm::new(&[1, 1, 1], |_| {}) else { return };
    let first = farm.ask("");
    let set = first.header("set-cookie").unwrap().to_owned();
    assert!(set.starts_with("SRV=") && set.ends_with("; path=/; HttpOnly"), "{set}");
    let value = set["SRV=".len()..].split(';').next().unwrap();
    assert!(value.len() == 16 && value.bytes().all(|byte| byte.is_ascii_hexdigit()), "{set}");
    assert_eq!(farm.spread(30).into_values().collect::<Vec<_>>(), [10, 10, 10]);

    let (number, cookie) = (first.server(), format!("Cookie: own=1; SRV={value}\r\n"));
    let assert_stays = |farm: &Farm| {
        for _ in 0..10 {
            let reply = farm.ask(&cookie);
            assert_eq!((reply.server(), reply.header("set-cookie")), (number.clone(), None));
            assert!(reply.body.contains("own=1") && !reply.body.contains("SRV"), "{}", reply.body);
        }
    };
    assert_stays(&farm);
    farm.patch(|balancer| balancer.idle_secs = 31);
    farm.wait_for_process(2);
    assert_stays(&farm);

    farm.world.start_router();
    let document = farm.world.document.clone();
    farm.world.manager.call::<podzol_appliance_api::DocumentPut>(&farm.world.management, &document).unwrap();
    farm.wait_for_process(1);
    assert_stays(&farm);
    // One that no router has set counts for nothing.
    assert_eq!(farm.ask("Cookie: SRV=0123456789abcdef\r\n").status, 200);
}

#[test]
fn members_see_who_asks_and_what_a_client_says_of_itself_is_taken_away() {
    let Some(farm) = Farm::new(&[1], |_| {}) else { return };
    let forged = "X-Forwarded-For: 192.0.2.66\r\nx-forwarded-for: 192.0.2.67, 192.0.2.68\r\n\
        Forwarded: for=192.0.2.66\r\nX-Forwarded-Proto: https\r\nX-Own: 1\r\n";
    let asked = farm.ask(forged).body.to_ascii_lowercase();
    let of = |name: &str| {
        let lines = asked.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(other, _)| *other == name).map(|(_, value)| value.to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(of("x-forwarded-for"), [OUTSIDE.to_string()]);
    assert_eq!(of("x-forwarded-proto"), ["http"]);
    assert_eq!(of("forwarded"), [""; 0]);
    assert_eq!((of("x-own"), of("host")), (vec!["1".to_owned()], vec!["web.example".to_owned()]));
}

/// An authority, and a certificate for `web.example` by it with its key, made by openssl(1).
struct Certificates {
    folder: tempfile::TempDir,
    chain: String,
    key: String,
}

impl Certificates {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let run = |arguments: &str| {
            let mut command = std::process::Command::new("openssl");
            let output = command.args(arguments.split(' ')).current_dir(&folder).output().unwrap();
            assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
        };
        let new = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30";
        run(&format!("{new} -keyout ca.key -out ca.pem -subj /CN=authority"));
        run(&format!(
            "{new} -keyout key.pem -out chain.pem -subj /CN=web.example -addext subjectAltName=DNS:web.example \
             -CA ca.pem -CAkey ca.key"
        ));
        let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
        let (chain, key) = (read("chain.pem"), read("key.pem"));
        Self { folder, chain, key }
    }

    fn termination(&self) -> Termination {
        Termination { certificates: self.chain.clone(), key: Secret::new(self.key.clone()) }
    }

    /// What curl(1) prints that believes this authority alone.
    fn curl(&self, world: &World, arguments: &str) -> Result<String, String> {
        let ca = self.folder.path().join("ca.pem");
        let line = format!(
            "curl -sSi --max-time 20 --cacert {} --connect-to web.example:443:{PUBLIC}:{PORT} {arguments} \
             https://web.example/",
            ca.display()
        );
        let output = world.outside.output(&line);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }
}

#[test]
fn tls_ends_at_the_router_which_keeps_the_key_to_itself() {
    let certificates = Certificates::new();
    let Some(mut farm) = Farm::new(&[1], |balancer| balancer.tls = Some(certificates.termination())) else {
        return;
    };
    let reply = certificates.curl(&farm.world, "--http1.1").unwrap().to_ascii_lowercase();
    assert!(reply.contains("http/1.1 200") && reply.contains("x-forwarded-proto: https"), "{reply}");
    assert!(reply.contains("; httponly; secure"), "{reply}");
    assert!(certificates.curl(&farm.world, "--http2").unwrap().starts_with("HTTP/2 200"));
    assert!(certificates.curl(&farm.world, "--tls-max 1.1").is_err());
    // In the clear there is nothing.
    assert!(farm.connect().get("/", "").is_err());
    Certificates::new().curl(&farm.world, "").unwrap_err();

    let others = Certificates::new();
    farm.patch(|balancer| balancer.tls = Some(others.termination()));
    farm.wait_for_process(2);
    others.curl(&farm.world, "").unwrap();
    certificates.curl(&farm.world, "").unwrap_err();

    let (world, line) = (&farm.world, |key: &str| key.lines().nth(1).unwrap().to_owned());
    let status = serde_json::to_string(&world.status().unwrap()).unwrap();
    let diagnosis = world.manager.call::<DiagnosisGet>(&world.management, &()).unwrap();
    let said = format!("{} {status} {diagnosis:?}", farm.logs());
    assert!(!said.contains(&line(&certificates.key)) && !said.contains(&line(&others.key)));
}

#[test]
fn what_haproxy_would_refuse_is_refused_by_name_and_changes_nothing() {
    let certificates = Certificates::new();
    let Some(mut farm) = Farm::new(&[1], |_| {}) else { return };
    let before = farm.world.status().unwrap();
    let mut tls = certificates.termination();
    // Nobody but TLS itself looks at what comes after the first.
    tls.certificates += "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
    let id = farm.id;
    let error = farm.world.try_put(|document| {
        document.forwarders.clear();
        document.http_balancers.get_mut(&id).unwrap().tls = Some(tls);
    });
    let CallError::Refused { source, .. } = error.unwrap_err() else { panic!("no answer") };
    let field = format!("http_balancers.{id}.tls: haproxy refuses it: ");
    assert!(source.code == ErrorCode::Invalid && source.message.starts_with(&field), "{source:?}");
    let after = farm.world.status().unwrap();
    assert_eq!((after.generation, after.kernel), (before.generation, before.kernel));
    assert_eq!(farm.ask("").server(), "0");
    assert_eq!(farm.served(), 1);
}

#[test]
fn a_member_that_drains_keeps_those_who_have_its_cookie_and_new_ones_go_elsewhere() {
    let Some(mut farm) = Farm::new(&[1, 1], |_| {}) else { return };
    let cookie = farm.cookie_of(1);
    let mut kept = farm.connect();
    assert_eq!(kept.get("/", &cookie).unwrap().server(), "1");

    farm.patch_member(1, |member| member.drains = true);
    wait_for("new clients to go elsewhere", || match farm.spread(10) {
        spread if spread.contains_key("1") => Err(format!("{spread:?}")),
        _ => Ok(()),
    });
    assert_eq!(farm.spread(30), [("0".to_owned(), 30)].into());
    assert_eq!(farm.ask(&cookie).server(), "1");
    assert_eq!(kept.get("/", &cookie).unwrap().server(), "1");
    // So it is for a process that begins.
    farm.patch(|balancer| balancer.idle_secs = 31);
    farm.wait_for_process(2);
    assert_eq!(farm.spread(30), [("0".to_owned(), 30)].into());
    assert_eq!(farm.ask(&cookie).server(), "1");

    farm.patch_member(1, |member| member.drains = false);
    wait_for("it to be as before", || match farm.spread(20) {
        spread if spread.get("1") == Some(&10) => Ok(()),
        spread => Err(format!("{spread:?}")),
    });
    assert_eq!(farm.served(), 2);
}

#[test]
fn weights_and_members_change_in_the_same_process() {
    let Some(mut farm) = Farm::new(&[1, 1], |balancer| balancer.cookie = None) else { return };
    let process = farm.world.by_hand().map(haproxy);
    assert_eq!(farm.spread(20), [("0".to_owned(), 10), ("1".to_owned(), 10)].into());
    farm.patch_member(0, |member| member.weight = 3);
    wait_for("the weights to be others", || match farm.spread(40) {
        spread if spread == [("0".to_owned(), 30), ("1".to_owned(), 10)].into() => Ok(()),
        spread => Err(format!("{spread:?}")),
    });

    let vm = farm.world.vm("web-2", 9);
    vm.configure();
    echo(&vm.space, 80, "2");
    let gone = farm.nic(1);
    farm.patch(|balancer| {
        balancer.members.remove(&gone);
        balancer.members.insert(vm.nic, member(&vm, 1));
    });
    wait_for("the members to be others", || match farm.spread(40) {
        spread if spread == [("0".to_owned(), 30), ("2".to_owned(), 10)].into() => Ok(()),
        spread => Err(format!("{spread:?}")),
    });
    assert_eq!(farm.served(), 1);
    assert_eq!(farm.world.by_hand().map(haproxy), process);
}

/// The id of the only process of haproxy in a router's namespace.
fn haproxy(router: &Namespace) -> u32 {
    let [pid] = haproxies(router)[..] else { panic!("{:?}", haproxies(router)) };
    pid
}

fn haproxies(router: &Namespace) -> Vec<u32> {
    let pids = router.run(&format!("ip netns pids {}", router.name()));
    let name = |pid: &u32| std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let pids = pids.split_whitespace().map(|pid| pid.parse().unwrap());
    pids.filter(|pid| name(pid).trim() == "haproxy").collect()
}

#[test]
fn a_member_that_dies_under_load_is_missed_by_few_and_comes_back() {
    let Some(mut farm) = Farm::new(&[1, 1, 1], |balancer| balancer.check = Some(check())) else { return };
    let crowd = Crowd::start(&farm, 4, 5);
    wait_for("requests", || match farm.look().requests {
        101.. => Ok(()),
        requests => Err(requests.to_string()),
    });
    farm.vms[2].unplug();
    let dead = farm.nic(2);
    wait_for("its checks to fail", || match farm.down() {
        down if down == [dead] => Ok(()),
        down => Err(format!("{down:?}")),
    });
    wait_for("nobody to be sent there", || match farm.spread(6) {
        spread if spread.contains_key("2") => Err(format!("{spread:?}")),
        _ => Ok(()),
    });
    let answers = crowd.stop();
    farm.look();
    // Nobody but those whom it was about to answer, of which each client has one at most.
    assert!(failures(&answers).len() <= 4, "{:?}", failures(&answers));
    assert!(answers.len() > 100, "{}", answers.len());

    farm.vms[2].plug();
    wait_for("it to be asked again", || match farm.spread(6) {
        spread if spread.get("2") == Some(&2) => Ok(()),
        spread => Err(format!("{spread:?}")),
    });
    assert_eq!((farm.down(), farm.served()), (vec![], 1));
    farm.look();
}

#[test]
fn new_processes_lose_no_request_and_count_all_of_them() {
    let Some(mut farm) = Farm::new(&[1, 1], |_| {}) else { return };
    let before = farm.look();
    assert_eq!(before.requests, 0);
    // Half of the clients keep their connections over all of it, and half come anew each time.
    let crowds = [Crowd::start(&farm, 2, usize::MAX), Crowd::start(&farm, 2, 1)];
    for number in 2..=5 {
        farm.patch(|balancer| balancer.idle_secs += 1);
        farm.wait_for_process(number);
        farm.look();
    }
    let other = LoadBalancerId::new();
    let second = HttpBalancer { port: PORT + 1, ..farm.world.document.http_balancers[&farm.id].clone() };
    farm.world.patch(|document| drop(document.http_balancers.insert(other, second)));
    farm.wait_for_process(6);
    let second = Kept::open(&farm.world.outside, (PUBLIC, PORT + 1).into()).unwrap().get("/", "");
    assert_eq!(second.unwrap().status, 200);
    farm.world.patch(|document| drop(document.http_balancers.remove(&other)));
    farm.wait_for_process(7);

    let answers: Vec<_> = crowds.into_iter().flat_map(Crowd::stop).collect();
    assert_eq!(failures(&answers), [""; 0]);
    assert!(answers.len() > 100, "{}", answers.len());
    wait_for("all to be counted", || match farm.look().requests {
        requests if requests == answers.len() as u64 => Ok(()),
        requests => Err(format!("{requests} of {}", answers.len())),
    });
    let counters = farm.look();
    assert!(counters.connections > 0 && counters.received_bytes > 0 && counters.sent_bytes > 0);
    assert_eq!(counters.failures, 0);
    let sent = farm.world.status().unwrap().nics[&farm.nic(0)].sent_bytes;
    assert!(sent > 0, "a member has sent to outside");
}

#[test]
fn without_members_or_rules_nobody_is_served_and_without_balancers_there_is_no_process() {
    let Some(mut farm) = Farm::new(&[1], |_| {}) else { return };
    farm.patch(|balancer| balancer.members.clear());
    wait_for("nobody to be there", || match farm.ask("").status {
        503 => Ok(()),
        status => Err(status.to_string()),
    });
    wait_for("a failure to be counted", || match farm.look().failures {
        0 => Err("none".to_owned()),
        _ => Ok(()),
    });
    farm.world.patch(|document| document.ingress.clear());
    assert!(Kept::open(&farm.world.outside, address()).is_err());
    let id = farm.id;
    farm.world.patch(|document| drop(document.http_balancers.remove(&id)));
    let Some(router) = farm.world.by_hand() else { return };
    wait_for("the process to be gone", || match haproxies(router) {
        left if left.is_empty() => Ok(()),
        left => Err(format!("{left:?}")),
    });
}

#[test]
fn a_process_that_dies_begins_anew_and_has_no_rights_and_no_files() {
    let Some(mut farm) = Farm::new(&[1, 1], |balancer| balancer.tls = None) else { return };
    let Some(router) = farm.world.by_hand() else { return };
    let pid = haproxy(router);
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let of = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    for name in ["Uid:", "Gid:"] {
        assert_eq!(of(name), ["65080"; 4]);
    }
    for name in ["CapPrm:", "CapEff:", "CapAmb:"] {
        assert_eq!(of(name), ["0000000000000000"]);
    }
    let root = std::fs::read_link(format!("/proc/{pid}/root")).unwrap();
    assert_eq!(std::fs::read_dir(&root).unwrap().count(), 0, "{}", root.display());
    let files: Vec<_> =
        std::fs::read_dir(root.parent().unwrap()).unwrap().flatten().map(|file| file.file_name()).collect();
    assert!(files.iter().all(|name| name == "empty" || name == "socket"), "{files:?}");

    farm.spread(10);
    let counted = farm.look();
    let router = farm.world.by_hand().unwrap();
    router.run(&format!("kill -9 {pid}"));
    farm.wait_for_process(2);
    farm.spread(10);
    assert_eq!(farm.look().requests, counted.requests + 10);
    assert_eq!(farm.world.status().unwrap().health["haproxy"], Health::Up);
    // Nor does one that its router has left behind.
    farm.world.kill_router();
    farm.world.start_router();
    let document = farm.world.document.clone();
    farm.world.manager.call::<podzol_appliance_api::DocumentPut>(&farm.world.management, &document).unwrap();
    farm.wait_for_process(1);
    haproxy(farm.world.by_hand().unwrap());
}

#[test]
fn each_method_spreads_as_it_should() {
    for (method, expected) in [(Method::SourceHash, 1), (Method::LeastLoad, 3)] {
        let change = |balancer: &mut HttpBalancer| (balancer.method, balancer.cookie) = (method, None);
        let Some(farm) = Farm::new(&[1, 1, 1], change) else { return };
        assert_eq!(farm.spread(30).len(), expected, "{method:?}");
    }
}

#[test]
fn a_router_without_haproxy_refuses_balancers_of_http_by_name() {
    let (mut world, programs) = (World::new(), tempfile::tempdir().unwrap());
    if world.by_hand().is_some() {
        std::os::unix::fs::symlink("/usr/sbin/nft", programs.path().join("nft")).unwrap();
        world.start_router_with(programs.path());
    } else if world.status().unwrap().extensions.contains(EXTENSION_L7) {
        // A template that has it.
        return;
    }
    assert!(!world.status().unwrap().extensions.contains(EXTENSION_L7));
    world.put(|_| {});
    assert_refused(&mut world, LoadBalancerId::new(), balancer(BTreeMap::new()));
}
