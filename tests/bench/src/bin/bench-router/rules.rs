//! One rule more: from the request over mutual TLS until it is acknowledged, which it is once it is in force.
//!
//! A router for each number of rules, all at a time, and a few changes of each in turn. Beside it: nft(8) by itself, which
//! adds an element to the router's rule set and removes it.

use std::io::Write;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use ipnet::Ipv4Net;
use podzol_appliance_api::{
    Balancer, Delta, Document, DocumentPatch, IngressRule, Member, Method, PortForward, PortRange, Traffic,
    Transport,
};
use podzol_netns_tests::{PUBLIC, World};
use podzol_vocab::{FirewallRuleId, LoadBalancerId, NicId, PortForwardId};

use crate::figures::{Aims, Figures};

const ROUNDS: usize = 12;

/// Changes of each router in a round, but for the first, which makes the connection.
const CHANGES: usize = 5;

/// What a router is told before its changes.
struct Kind {
    name: &'static str,
    forwards: u16,
    /// Rules of the firewall: every tenth lets a range of sources in, all others everybody.
    ingress: u16,
    /// With four members each.
    balancers: u16,
}

/// A document has 10,000 forwards at most, so the third has room for those that are added.
const KINDS: [Kind; 4] = [
    Kind { name: "10 forwards", forwards: 10, ingress: 0, balancers: 0 },
    Kind { name: "1,000 forwards", forwards: 1000, ingress: 0, balancers: 0 },
    Kind { name: "9,920 forwards", forwards: 9920, ingress: 0, balancers: 0 },
    Kind {
        name: "5,000 forwards, 5,000 rules, 500 balancers",
        forwards: 5000,
        ingress: 5000,
        balancers: 500,
    },
];

/// A router, and what was measured of it, in milliseconds.
struct Contestant {
    world: World,
    /// The number of the next forward.
    next: u16,
    whole: f64,
    changes: Figures,
    nft: Figures,
}

pub(crate) fn run(aims: &mut Aims) -> Result<()> {
    let mut contestants = KINDS.iter().map(Contestant::new).collect::<Result<Vec<_>>>()?;
    for _ in 0..ROUNDS {
        for contestant in &mut contestants {
            contestant.change()?;
            contestant.nft()?;
        }
    }
    println!("{:<44} all at once  one more, p50  spread  slowest  nft alone  (ms)", "rules in force");
    for (kind, contestant) in KINDS.iter().zip(&contestants) {
        let Contestant { whole, changes, nft, .. } = contestant;
        println!(
            "{:<44} {whole:>11.0} {:>14.1} {:>6.0}% {:>8.1} {:>10.1}",
            kind.name,
            changes.median(),
            changes.spread() * 100.0,
            changes.most(),
            nft.median()
        );
        aims.at_most(&format!("one more beside {}, ms", kind.name), changes.median(), 50.0);
    }
    let medians: Vec<f64> = contestants.iter().take(3).map(|one| one.changes.median()).collect();
    let flat = medians.iter().copied().fold(0.0, f64::max) / medians.iter().copied().fold(f64::MAX, f64::min);
    aims.at_most("one more beside 10 to 10,000 forwards, the slowest ÷ the fastest", flat, 1.2);
    Ok(())
}

impl Contestant {
    fn new(kind: &Kind) -> Result<Self> {
        let mut world = World::new();
        let mut document = world.document.clone();
        (0..kind.forwards).try_for_each(|number| add_forward(&mut document, number))?;
        (0..kind.ingress).try_for_each(|number| add_ingress(&mut document, number))?;
        (0..kind.balancers).for_each(|number| add_balancer(&mut document, number));
        let begun = Instant::now();
        world.put(|all| *all = document);
        let whole = begun.elapsed().as_secs_f64() * 1000.0;
        let (changes, nft) = Default::default();
        Ok(Self { world, next: kind.forwards, whole, changes, nft })
    }

    fn change(&mut self) -> Result<()> {
        let mut deltas = Vec::new();
        for _ in 0..=CHANGES {
            let mut after = self.world.document.clone();
            after.generation = after.generation.next();
            add_forward(&mut after, self.next)?;
            self.next += 1;
            deltas.push(Delta::between(&self.world.document, &after).context("a change")?);
            self.world.document = after;
        }
        let times = self.world.manager.session(&self.world.management, async |session| {
            let mut times = Vec::new();
            for delta in &deltas {
                let begun = Instant::now();
                session.call::<DocumentPatch>(delta).await?;
                times.push(begun.elapsed().as_secs_f64() * 1000.0);
            }
            anyhow::Ok(times)
        })?;
        times.iter().skip(1).for_each(|time| self.changes.add(*time));
        Ok(())
    }

    /// What nft(8) takes to add an element; it is removed again before the router looks.
    fn nft(&mut self) -> Result<()> {
        let router = self.world.by_hand().context("a router in a namespace")?;
        let element = "element ip podzol forward_port { 203.0.113.11 . tcp . 1";
        let milliseconds = router.inside(|| {
            let begun = Instant::now();
            nft(&format!("add {element} : 10.1.1.2 . 80 }}\n"))?;
            let milliseconds = begun.elapsed().as_secs_f64() * 1000.0;
            nft(&format!("delete {element} }}\n"))?;
            anyhow::Ok(milliseconds)
        })?;
        self.nft.add(milliseconds);
        Ok(())
    }
}

/// Has nft(8) load a script, in the namespace of this thread.
pub(crate) fn nft(script: &str) -> Result<()> {
    let mut child = Command::new("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn()?;
    child.stdin.take().context("a pipe")?.write_all(script.as_bytes())?;
    ensure!(child.wait()?.success(), "nft refuses what it is given");
    Ok(())
}

/// No two ports are side by side, for those would be one range.
fn ports(number: u16) -> Result<PortRange> {
    Ok(PortRange::new(1024 + 2 * number, 1024 + 2 * number)?)
}

fn add_forward(document: &mut Document, number: u16) -> Result<()> {
    let (ports, to) = (ports(number)?, vm(number));
    let forward = PortForward { public: PUBLIC, transport: Transport::Tcp, ports, to, to_port: 80 };
    document.port_forwards.insert(PortForwardId::new(), forward);
    Ok(())
}

fn add_ingress(document: &mut Document, number: u16) -> Result<()> {
    let some = number.is_multiple_of(10);
    let sources = if some { "198.51.100.0/24" } else { "0.0.0.0/0" }.parse::<Ipv4Net>()?;
    let traffic = Traffic::Tcp { ports: ports(number)? };
    let rule = IngressRule { public: PUBLIC, sources: vec![sources], traffic };
    document.ingress.insert(FirewallRuleId::new(), rule);
    Ok(())
}

fn add_balancer(document: &mut Document, number: u16) {
    let member = |number| (NicId::new(), Member { address: vm(number), port: 80, weight: 1, drains: false });
    let balancer = Balancer {
        public: PUBLIC,
        transport: Transport::Udp,
        port: 1024 + number,
        method: Method::RoundRobin,
        members: (number..number + 4).map(member).collect(),
        check: None,
    };
    document.balancers.insert(LoadBalancerId::new(), balancer);
}

fn vm(number: u16) -> Ipv4Addr {
    Ipv4Addr::new(10, 1, 1, 2 + (number % 250) as u8)
}
