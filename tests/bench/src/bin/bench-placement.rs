//! Placement over 10,000 hosts on one core, anti-affinity included.
//!
//! Usage: `bench-placement [HOSTS [DECISIONS]]`. Every VM is of a group of four whose members keep apart, so each
//! decision has up to three hosts to pass over; and every VM is given back once as many run as half the hosts can take, so
//! the index changes with each decision as it would in a cloud that is in use.

use std::collections::{BTreeSet, VecDeque};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use podzol_mgmt_scheduler::{Host, Pool, Request};
use podzol_vocab::HostId;

/// Members of a group that keep apart.
const GROUP: usize = 4;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<usize>());
    let hosts = arguments.next().transpose().context("the number of hosts")?.unwrap_or(10_000);
    let decisions = arguments.next().transpose().context("the number of decisions")?.unwrap_or(1_000_000);
    let mut pool = Pool::new((0..hosts).map(host));
    let mut running: VecDeque<(HostId, u32, u64)> = VecDeque::new();
    let mut group: BTreeSet<HostId> = BTreeSet::new();
    let begun = Instant::now();
    for number in 0..decisions {
        if number % GROUP == 0 {
            group.clear();
        }
        let request = Request {
            vcpus: 1 + (number % 4) as u32,
            memory_mib: 512 << (number % 4),
            apart_from: group.clone(),
            spare_hosts: 1,
            ..Default::default()
        };
        let host = pool.place(&request)?;
        ensure!(group.insert(host), "two members of a group share a host");
        running.push_back((host, request.vcpus, request.memory_mib));
        if running.len() > hosts * 16 {
            let (host, vcpus, memory_mib) = running.pop_front().context("some VM runs")?;
            pool.release(host, vcpus, memory_mib);
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    let rate = decisions as f64 / seconds;
    println!("{decisions} decisions over {hosts} hosts in {seconds:.2} s: {rate:.0} decisions/s on one core");
    Ok(())
}

fn host(number: usize) -> Host {
    let mut bytes = [0; 16];
    bytes[8..].copy_from_slice(&(number as u64).to_be_bytes());
    Host {
        id: HostId::from_bytes(bytes),
        name: format!("h{number}"),
        closed: None,
        vcpus_limit: 256,
        vcpus_allocated: 0,
        memory_limit_mib: 256 << 10,
        memory_allocated_mib: 0,
        tags: Default::default(),
    }
}
