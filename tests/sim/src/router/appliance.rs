//! What a router knows from one boot to the next, and how it changes: the rules of the appliance's own router, without a
//! kernel.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{Stream, StreamExt, stream};
use podzol_appliance_api::{
    Before, Capture, CapturedLink, Checker, Counters, Delta, DeltaError, Diagnosis, Document, EXTENSION_IPV6,
    EXTENSION_L7, EXTENSION_LIMITS, Health, HttpBalancerStatus, Lease, LogLine, Logs, METADATA_ADDRESS,
    ManagementSide, Phase, Problem, RouterStatus, Tracked, VmNic,
};
use podzol_vocab::{
    ErrorCode, Generation, LoadBalancerId, MacAddr, NetworkId, NicId, Order, Secret, Sha256, VmId, WireError,
};
use sha2::Digest;
use tokio::sync::Semaphore;

use super::{Surroundings, lock};

/// Which image it runs.
const IMAGE: &str = "simulated";

/// The steps of a boot.
const STEPS: [&str; 4] = ["kernel and init", "seed", "rules and link", "ready"];

/// What each network of VMs is served with.
const SERVICES: [&str; 5] = ["dhcp", "dns", "dns-tcp", "metadata", "passwords"];

/// How many of a document's problems an answer names.
const TOLD: usize = 5;

static BOOTS: AtomicU64 = AtomicU64::new(1);

/// A router from one boot to the next.
#[derive(Debug)]
pub(super) struct Appliance {
    management: ManagementSide,
    around: Arc<Surroundings>,
    boot_id: String,
    memory: Mutex<Memory>,
    /// A place for one capture.
    capturing: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct Memory {
    document: Arc<Document>,
    /// As in the appliance, a change costs what it changes.
    before: Option<Before>,
    checker: Option<Checker>,
    /// Whether the document is one that was put; the first is empty.
    is_told: bool,
    names: BTreeMap<NetworkId, String>,
    /// The steps of the boot; none before it has ended.
    boot: Vec<Phase>,
    nics: BTreeMap<NicId, Counters>,
    public: BTreeMap<Ipv4Addr, Counters>,
    http: BTreeMap<LoadBalancerId, HttpBalancerStatus>,
    down: BTreeMap<LoadBalancerId, BTreeSet<NicId>>,
    /// The passwords that VMs have set.
    passwords: BTreeMap<VmId, Secret<String>>,
    /// How services are that are not as they should be.
    healths: BTreeMap<String, Health>,
    log: Vec<String>,
}

impl Appliance {
    /// One that has still to boot.
    pub(super) fn new(management: &ManagementSide, around: &Arc<Surroundings>) -> Arc<Self> {
        // In the form that the kernel's have (random(4)).
        let boot_id = format!("00000000-0000-4000-8000-{:012x}", BOOTS.fetch_add(1, Ordering::Relaxed));
        let (management, around) = (management.clone(), Arc::clone(around));
        let capturing = Arc::new(Semaphore::new(1));
        Arc::new(Self { management, around, boot_id, memory: Mutex::default(), capturing })
    }

    pub(super) fn around(&self) -> &Surroundings {
        &self.around
    }

    /// Whether it has booted.
    pub(super) fn is_up(&self) -> bool {
        !lock(&self.memory).boot.is_empty()
    }

    /// It has booted, in this time.
    pub(super) fn comes_up(&self, boot: Duration) {
        let mut memory = lock(&self.memory);
        let phase = |(step, number): (&str, u32)| {
            let done_micros = boot.as_micros() as u64 * u64::from(number) / STEPS.len() as u64;
            Phase { step: step.into(), done_micros }
        };
        memory.boot = STEPS.into_iter().zip(1..).map(phase).collect();
        memory.log.push(format!("ready address={}", self.management.address));
    }

    pub(super) fn document(&self) -> Option<Document> {
        let memory = lock(&self.memory);
        memory.is_told.then(|| Document::clone(&memory.document))
    }

    /// Puts a document in force, as the appliance does.
    pub(super) fn put(&self, document: Document) -> Result<(), WireError> {
        let mut memory = lock(&self.memory);
        if memory.is_told {
            let in_force = memory.document.generation;
            match document.generation.order(in_force, *memory.document == document) {
                Order::Newer => {}
                Order::Same => return Ok(()),
                Order::Older => return Err(stale(in_force)),
                Order::Different => return Err(conflict(in_force)),
            }
        }
        let checker = self.refuse_problems(&memory, Checker::of(&document), &document)?;
        memory.bring(Arc::new(document));
        (memory.before, memory.checker) = (None, Some(checker));
        Ok(())
    }

    /// Changes the document in force, as the appliance does.
    pub(super) fn patch(&self, delta: &Delta) -> Result<(), WireError> {
        let mut memory = lock(&self.memory);
        let in_force = memory.document.generation;
        if memory.is_told && in_force == delta.to && delta.from < delta.to {
            // The same change again, as its answer was lost; or another one of the same number.
            return if delta.is_in(&memory.document) { Ok(()) } else { Err(conflict(in_force)) };
        }
        let document = match Before::next(memory.before.take(), &memory.document, delta) {
            Ok(document) if memory.is_told => document,
            Ok(_) | Err(DeltaError::Elsewhere { .. }) => return Err(stale(in_force)),
            Err(DeltaError::Backwards) => {
                return Err(WireError::new(ErrorCode::Invalid, "to: must be greater than from"));
            }
        };
        // After a change that is refused it is made anew.
        let mut checker = match memory.checker.take() {
            Some(checker) => checker,
            None => Checker::of(&memory.document).map_err(|problems| invalid(&problems))?,
        };
        let followed = checker.follow(delta, &memory.document, &document);
        self.refuse_problems(&memory, followed, &document)?;
        let before = memory.bring(document);
        let before = Before { document: before, delta: Arc::new(delta.clone()) };
        (memory.before, memory.checker) = (Some(before), Some(checker));
        Ok(())
    }

    fn refuse_problems<T>(
        &self,
        memory: &Memory,
        checked: Result<T, Vec<Problem>>,
        document: &Document,
    ) -> Result<T, WireError> {
        let mut others = document.problems_beside(&self.management);
        others.extend(self.problem_of_extensions(document));
        match checked {
            Ok(checked) if others.is_empty() => {
                self.check_missing(&memory.document, document)?;
                Ok(checked)
            }
            Ok(_) => Err(invalid(&others)),
            Err(problems) => Err(invalid(&[problems, others].concat())),
        }
    }

    /// What of a document takes an extension that the image does not have.
    fn problem_of_extensions(&self, document: &Document) -> Option<Problem> {
        let extensions = &self.around.extensions;
        if document.has_ipv6() && !extensions.contains(EXTENSION_IPV6) {
            // As one of version 0.2.0 says it, which knows no such field.
            return Some(Problem { field: "ipv6".into(), rule: "unknown field".into() });
        }
        if document.limits.is_some() && !extensions.contains(EXTENSION_LIMITS) {
            return Some(Problem { field: "limits".into(), rule: "unknown field".into() });
        }
        let has_none = !extensions.contains(EXTENSION_L7);
        let id = document.http_balancers.keys().next().filter(|_| has_none)?;
        let rule = "must not be, as this router's image has no L7 extension";
        Some(Problem { field: format!("http_balancers.{id}"), rule: rule.into() })
    }

    /// An interface may be about to be plugged in; one that was there before and is not any more stands in nobody's way.
    fn check_missing(&self, before: &Document, next: &Document) -> Result<(), WireError> {
        let links = self.around.links.borrow();
        let known = macs(before);
        let missing = macs(next).into_iter().find(|mac| !links.contains(mac) && !known.contains(mac));
        let Some(mac) = missing else { return Ok(()) };
        let guest = next.guests.iter().find(|(_, guest)| guest.mac == mac);
        let field = guest.map_or("public.mac".to_owned(), |(id, _)| format!("guests.{id}.mac"));
        let message = format!("{field}: no interface has the MAC address {mac}");
        Err(WireError::new(ErrorCode::Unavailable, message))
    }

    pub(super) fn status(&self) -> RouterStatus {
        let mut memory = lock(&self.memory);
        let document = memory.document.clone();
        memory.count(&document);
        RouterStatus {
            generation: memory.is_told.then_some(document.generation),
            image: IMAGE.into(),
            version: env!("CARGO_PKG_VERSION").into(),
            boot_id: self.boot_id.clone(),
            boot: memory.boot.clone(),
            health: self.healths(&memory),
            kernel: self.kernel_hash(&document),
            repairs: 0,
            nics: memory.nics.clone(),
            public: memory.public.clone(),
            passwords_set: memory.passwords.keys().copied().collect(),
            extensions: self.around.extensions.clone(),
            http_balancers: document
                .http_balancers
                .keys()
                .map(|id| (*id, memory.http.get(id).cloned().unwrap_or_default()))
                .collect(),
            checked: document
                .balancers
                .iter()
                .filter(|(_, balancer)| balancer.check.is_some())
                .map(|(id, _)| (*id, memory.down.get(id).cloned().unwrap_or_default()))
                .collect(),
        }
    }

    /// A network whose interface is not there is not served, and nothing is said of its services.
    fn healths(&self, memory: &Memory) -> BTreeMap<String, Health> {
        let links = self.around.links.borrow();
        let is_there = |network: &NetworkId| {
            memory.document.guests.get(network).is_some_and(|guest| links.contains(&guest.mac))
        };
        let served = memory.names.iter().filter(|(network, _)| is_there(network));
        let up =
            served.flat_map(|(_, name)| SERVICES.map(|service| (format!("{service} {name}"), Health::Up)));
        up.chain(memory.healths.clone()).collect()
    }

    /// SHA-256 of what a kernel would have: links and rules, and nothing of what VMs are told.
    fn kernel_hash(&self, document: &Document) -> Sha256 {
        let rules = Document { generation: Generation(0), vms: BTreeMap::new(), ..document.clone() };
        let links = self.around.links.borrow();
        Sha256::from_bytes(sha2::Sha256::digest(format!("{:?}\n{rules:?}", *links)).into())
    }

    pub(super) fn logs(&self) -> Logs {
        let memory = lock(&self.memory);
        let lines = memory.log.iter().zip(0..).map(|(text, number)| LogLine { number, text: text.clone() });
        Logs { lines: lines.collect(), dropped: 0 }
    }

    pub(super) fn diagnosis(&self) -> Diagnosis {
        let memory = lock(&self.memory);
        let there = self.around.links.borrow();
        let management = &self.management;
        let own = (management.mac, "eth1".to_owned(), management.mtu, management.address.to_string());
        let guests = memory.document.guests.iter().filter_map(|(id, guest)| {
            let name = memory.names.get(id)?.clone();
            let addresses = format!("{}/{} {METADATA_ADDRESS}/32", guest.gateway(), guest.cidr.prefix_len());
            Some((guest.mac, name, guest.mtu, addresses))
        });
        let public = memory.document.public.iter().map(|public| {
            let addresses = public.addresses.iter().map(|(address, length)| format!("{address}/{length}"));
            (public.mac, "eth2".to_owned(), public.mtu, addresses.collect::<Vec<_>>().join(" "))
        });
        let links = [own].into_iter().chain(guests).chain(public).filter(|(mac, ..)| there.contains(mac));
        let links = links.map(|(mac, name, mtu, addresses)| format!("{name} {mac} up mtu {mtu} {addresses}"));
        let outside = memory.document.public.iter();
        let own = management.routes.iter().map(|route| format!("{} via {} on eth1", route.to, route.via));
        Diagnosis {
            links: links.collect(),
            routes: outside
                .map(|public| format!("0.0.0.0/0 via {} on eth2", public.gateway))
                .chain(own)
                .collect(),
            rules: String::new(),
            connections: (0, 65_536),
            memory_kib: (65_536, 98_304),
            leases: leases(&memory.document),
            tracked: Some(Tracked::default()),
        }
    }

    /// Begins a capture of one packet, and has it go on until its time is over.
    pub(super) fn capture(
        &self,
        capture: &Capture,
    ) -> Result<impl Stream<Item = io::Result<Vec<u8>>> + Send + use<>, WireError> {
        if let Some(problem) = capture.problem() {
            return Err(WireError::new(ErrorCode::Invalid, problem.to_string()));
        }
        let has_link = match capture.link {
            CapturedLink::Guest(network) => lock(&self.memory).names.contains_key(&network),
            CapturedLink::Public | CapturedLink::Management => true,
        };
        if !has_link {
            let message = "link: the router has no link to this network";
            return Err(WireError::new(ErrorCode::NotFound, message));
        }
        let place = Arc::clone(&self.capturing).try_acquire_owned();
        let place = place.map_err(|_| WireError::new(ErrorCode::Conflict, "another capture goes on"))?;
        let time = Duration::from_secs(capture.seconds.into());
        let end = stream::once(async move {
            tokio::time::sleep(time).await;
            drop(place);
            Ok(Vec::new())
        });
        Ok(stream::iter([Ok(pcap(capture.snap_bytes))]).chain(end))
    }

    pub(super) fn add_traffic(&self, nic: NicId, traffic: Counters) {
        add(lock(&self.memory).nics.entry(nic).or_default(), traffic);
    }

    pub(super) fn add_public_traffic(&self, address: Ipv4Addr, traffic: Counters) {
        add(lock(&self.memory).public.entry(address).or_default(), traffic);
    }

    pub(super) fn set_http(&self, balancer: LoadBalancerId, status: HttpBalancerStatus) {
        lock(&self.memory).http.insert(balancer, status);
    }

    pub(super) fn set_down(&self, balancer: LoadBalancerId, down: BTreeSet<NicId>) {
        lock(&self.memory).down.insert(balancer, down);
    }

    pub(super) fn set_health(&self, service: &str, health: Health) {
        lock(&self.memory).healths.insert(service.into(), health);
    }

    pub(super) fn password_is_set(&self, vm: VmId) {
        let mut memory = lock(&self.memory);
        if let Some(password) = password_of(&memory.document, vm).cloned() {
            memory.passwords.insert(vm, password);
        }
    }
}

impl Memory {
    /// Has a document without problems in force. Gives the one before.
    fn bring(&mut self, document: Arc<Document>) -> Arc<Document> {
        self.count(&document);
        self.names = follow(&self.names, &document);
        self.passwords.retain(|vm, password| password_of(&document, *vm) == Some(&*password));
        self.log.push(format!("a document is in force generation={}", document.generation));
        self.is_told = true;
        std::mem::replace(&mut self.document, document)
    }

    /// Counts for all that a document has, if only nothing.
    fn count(&mut self, document: &Document) {
        for id in document.nics.keys() {
            self.nics.entry(*id).or_default();
        }
        for address in document.public.iter().flat_map(|public| public.addresses.keys()) {
            self.public.entry(*address).or_default();
        }
    }
}

/// The interfaces that a document is about.
fn macs(document: &Document) -> BTreeSet<MacAddr> {
    let guests = document.guests.values().map(|guest| guest.mac);
    guests.chain(document.public.iter().map(|public| public.mac)).collect()
}

fn password_of(document: &Document, vm: VmId) -> Option<&Secret<String>> {
    document.vms.get(&vm)?.password.as_ref()
}

/// The names of the links to networks of VMs: those that stay keep theirs.
fn follow(before: &BTreeMap<NetworkId, String>, document: &Document) -> BTreeMap<NetworkId, String> {
    let mut names = before.clone();
    names.retain(|network, _| document.guests.contains_key(network));
    for network in document.guests.keys() {
        if !names.contains_key(network) {
            let mut candidates = std::iter::once(0).chain(3_u32..).map(|number| format!("eth{number}"));
            let free = candidates.find(|name| !names.values().any(|taken| taken == name));
            names.extend(free.map(|name| (*network, name)));
        }
    }
    names
}

fn add(total: &mut Counters, new: Counters) {
    total.sent_bytes += new.sent_bytes;
    total.sent_packets += new.sent_packets;
    total.received_bytes += new.received_bytes;
    total.received_packets += new.received_packets;
}

/// The refusal of a document that breaks rules.
fn invalid(problems: &[Problem]) -> WireError {
    WireError::new(ErrorCode::Invalid, told(problems))
}

/// The first problems of a document, in one line.
fn told(problems: &[Problem]) -> String {
    let told: Vec<String> = problems.iter().take(TOLD).map(ToString::to_string).collect();
    let more = problems.len().saturating_sub(TOLD);
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    told.join("; ") + &more
}

fn stale(in_force: Generation) -> WireError {
    let error = WireError::new(ErrorCode::StaleGeneration, format!("generation {in_force} is in force"));
    WireError { in_force: Some(in_force), ..error }
}

/// The addresses of a document, of which nothing was heard: no VM asks.
fn leases(document: &Document) -> Vec<Lease> {
    let lease = |nic: &VmNic| Lease {
        network: nic.network,
        vm: nic.vm,
        mac: nic.mac,
        address: nic.address.into(),
        acked_secs_ago: None,
        last: None,
    };
    document.nics.values().map(lease).collect()
}

/// The file of a capture with one frame, of zeros.
fn pcap(snap_bytes: u32) -> Vec<u8> {
    let version = 4 << 16 | 2;
    let numbers = [0xa1b2_3c4d, version, 0, 0, snap_bytes, 1, 1_700_000_000, 0, 60, 60];
    numbers.iter().flat_map(|number: &u32| number.to_le_bytes()).chain([0; 60]).collect()
}

fn conflict(in_force: Generation) -> WireError {
    let message = format!("another document of generation {in_force} is in force");
    WireError::new(ErrorCode::GenerationConflict, message)
}
