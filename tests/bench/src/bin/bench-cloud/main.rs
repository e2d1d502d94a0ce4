//! The management service under load, with simulated agents: durable creates, lists, the event stream, reports, a cold
//! start, and what becomes of more than it can take.
//!
//! Usage: `bench-cloud [HOSTS [VMS]]`, 200 and 400 if not given. The service is `podzol-mgmt` beside this program, in a
//! process of its own, with its database on the disk of the folder for temporary files; its CPU time and what it writes are
//! the kernel's figures for that process. Clients and agents take their part of the same two processors.

mod agents;
mod client;
mod service;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use agents::Fleet;
use anyhow::{Result, ensure};
use client::Client;
use futures_util::future::try_join_all;
use futures_util::stream::{self, StreamExt};
use podzol_test_support::{Api, Changes, text};
use serde_json::{Value, json};
use service::{Figures, Management, own_figures};

/// Clients that create VMs, each one at a time.
const CLIENTS: usize = 64;

/// VMs of one network.
const PER_NETWORK: usize = 1000;

#[tokio::main]
async fn main() -> Result<()> {
    let mut numbers = std::env::args().skip(1).map(|number| number.parse::<usize>());
    let mut number = |or: usize| numbers.next().unwrap_or(Ok(or));
    let (hosts, vms) = (number(200)?, number(400)?);
    let mut management = Management::start()?;
    let api = management.api()?;
    let cloud = Cloud::make(&management, &api, hosts, vms).await?;

    creates(&management, &api, &cloud, vms).await?;
    pages(&api).await?;
    events(&api, &cloud).await?;
    reports(&management, &cloud, hosts).await?;
    overload(&api, &cloud, vms).await?;
    let began = Instant::now();
    management.kill_and_start()?;
    api.get("/v1/zones").await.ok();
    println!(
        "cold start with {vms} VMs on {hosts} hosts, to the first answer: {} ms",
        began.elapsed().as_millis()
    );
    Ok(())
}

/// What there is before VMs are created.
struct Cloud {
    fleet: Arc<Fleet>,
    zone: String,
    offering: String,
    template: String,
    networks: Vec<String>,
    next: AtomicU64,
}

impl Cloud {
    async fn make(management: &Management, api: &Api, hosts: usize, vms: usize) -> Result<Self> {
        let began = Instant::now();
        let zone = api.zone("z1", &["1-4094"]).await;
        let pod = api.pod("p1", &zone).await;
        let (server, token) = api.storage_server("s1", &pod).await;
        let agents = management.agent_address();
        let (fleet, storage) = Fleet::begin(agents, &token).await?;
        storage.report().await?;
        let tokens = stream::iter(0..hosts).map(|host| {
            let (api, pod) = (api.clone(), pod.clone());
            async move { api.host(&format!("h{host}"), &pod).await.1 }
        });
        let tokens: Vec<String> = tokens.buffer_unordered(CLIENTS).collect().await;
        fleet.join(agents, tokens).await?;
        api.pool("pool", &server, "/srv/pool").await;
        let offering = api.offering("small", 64).await;
        let template = api.template("tiny").await;
        let mut networks = Vec::new();
        // Twice as many as are needed: some are for what comes after.
        for network in 0..2 * vms.div_ceil(PER_NETWORK) + 1 {
            networks.push(api.network(&format!("n{network}"), &zone, "10.0.0.0/16").await);
        }
        println!("{hosts} hosts joined in {:.1} s", began.elapsed().as_secs_f64());
        Ok(Self { fleet, zone, offering, template, networks, next: AtomicU64::new(0) })
    }

    /// The body of a VM's creation, each time of another one.
    fn body(&self) -> Value {
        let number = self.next.fetch_add(1, Ordering::Relaxed) as usize;
        json!({
            "name": format!("vm-{number}"), "offering": self.offering, "template": self.template,
            "networks": [self.networks[number / PER_NETWORK]],
        })
    }
}

async fn creates(management: &Management, api: &Api, cloud: &Cloud, vms: usize) -> Result<()> {
    let written = management.written(api).await?;
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(management.client().await?);
    }
    let left = &AtomicU64::new(vms as u64);
    let (before, own, began) = (management.figures()?, own_figures()?, Instant::now());
    let create = |mut client: Client| async move {
        let mut answers = Vec::new();
        while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
            let body = cloud.body().to_string();
            let asked = Instant::now();
            answers.push((client.post("/v1/vms", &body).await?, asked.elapsed()));
        }
        anyhow::Ok(answers)
    };
    let answers: Vec<Vec<(u16, Duration)>> = try_join_all(clients.into_iter().map(create)).await?;
    let answers: Vec<(u16, Duration)> = answers.into_iter().flatten().collect();
    let created = began.elapsed();
    let own = own_figures()?.since(&own);
    let accepted = answers.iter().filter(|(status, _)| *status == 202).count();
    ensure!(
        accepted == vms,
        "{accepted} of {vms} creates were taken: {:?}",
        answers.iter().find(|(status, _)| *status != 202)
    );
    let mid = management.figures()?;
    let mut times: Vec<Duration> = answers.into_iter().map(|(_, time)| time).collect();
    println!(
        "{vms} creates by {CLIENTS} clients: {:.0}/s, p50 {:.1} ms, p99 {:.1} ms; {}; {:.2} ms of clients' and agents'",
        vms as f64 / created.as_secs_f64(),
        percentile(&mut times, 50),
        percentile(&mut times, 99),
        mid.since(&before).each(vms),
        own.cpu.as_secs_f64() * 1000.0 / vms as f64,
    );
    while cloud.fleet.running() < vms {
        tokio::time::sleep(Duration::from_millis(50)).await;
        ensure!(began.elapsed() < Duration::from_secs(1800), "only {} run", cloud.fleet.running());
    }
    let all = management.figures()?.since(&before);
    let until_now = management.written(api).await?;
    let [transactions, commits, waits] =
        std::array::from_fn(|count| (until_now[count] - written[count]) as f64 / vms as f64);
    println!(
        "of {vms} VMs: {transactions:.2} transactions each, {commits:.3} commits each, {waits:.3} waits for the disk each"
    );
    println!(
        "all running after {:.1} s, {:.0}/s; {}",
        began.elapsed().as_secs_f64(),
        vms as f64 / began.elapsed().as_secs_f64(),
        all.each(vms)
    );
    Ok(())
}

async fn pages(api: &Api) -> Result<()> {
    for path in ["/v1/vms?limit=500", "/v1/vms?limit=500&state=running"] {
        let (mut times, mut page) = (Vec::new(), Vec::new());
        for _ in 0..100 {
            let began = Instant::now();
            page = api.get_bytes(path).await;
            times.push(began.elapsed());
        }
        let page: Value = serde_json::from_slice(&page)?;
        ensure!(page["items"].as_array().is_some_and(|items| !items.is_empty()), "an empty page");
        println!(
            "{path}: p50 {:.1} ms, p99 {:.1} ms",
            percentile(&mut times, 50),
            percentile(&mut times, 99)
        );
    }
    Ok(())
}

async fn events(api: &Api, cloud: &Cloud) -> Result<()> {
    let mut times = Vec::new();
    let mut stream: Changes = api.changes(None).await;
    for round in 0..20 {
        let began = Instant::now();
        let body = json!({ "name": format!("event-{round}"), "zone": cloud.zone, "cidr": "10.0.0.0/24" });
        let id = text(&api.post("/v1/networks", &body).await.ok(), "id");
        while stream.next().await.change["id"] != id.as_str() {}
        times.push(began.elapsed());
    }
    println!(
        "from a call to its event: p50 {:.1} ms, p99 {:.1} ms",
        percentile(&mut times, 50),
        percentile(&mut times, 99)
    );
    Ok(())
}

async fn reports(management: &Management, cloud: &Cloud, hosts: usize) -> Result<()> {
    const EVERY: Duration = Duration::from_secs(5);
    let reporting = cloud.fleet.report_for_ever(EVERY);
    // Each host connects first.
    tokio::time::sleep(EVERY * 2).await;
    let (before, began) = (management.figures()?, Instant::now());
    tokio::time::sleep(EVERY * 4).await;
    let spent: Figures = management.figures()?.since(&before);
    let failed = reporting.end();
    println!(
        "reports of {hosts} hosts every {} s: {:.2} cores, {} MiB, {failed} failed",
        EVERY.as_secs(),
        spent.cpu.as_secs_f64() / began.elapsed().as_secs_f64(),
        management.figures()?.resident_mib,
    );
    Ok(())
}

/// Five times as many clients as before, which do not wait for one another.
async fn overload(api: &Api, cloud: &Cloud, vms: usize) -> Result<()> {
    let began = Instant::now();
    let create = |_| async { api.post_unread("/v1/vms", &cloud.body()).await };
    let asked = vms.min(5000);
    let statuses: Vec<u16> = stream::iter(0..asked).map(create).buffer_unordered(5 * CLIENTS).collect().await;
    let taken = statuses.iter().filter(|status| **status == 202).count();
    let shed = statuses.iter().filter(|status| matches!(**status, 429 | 503)).count();
    println!(
        "{} clients: {taken} of {asked} creates taken, {shed} shed, in {:.1} s",
        5 * CLIENTS,
        began.elapsed().as_secs_f64()
    );
    ensure!(taken + shed == asked, "some were neither");
    let target = vms + taken;
    while cloud.fleet.running() < target {
        tokio::time::sleep(Duration::from_millis(50)).await;
        ensure!(
            began.elapsed() < Duration::from_secs(1800),
            "only {} of {target} run",
            cloud.fleet.running()
        );
    }
    println!("all that was taken runs");
    Ok(())
}

/// The value in milliseconds below which that share of all values lies.
fn percentile(values: &mut [Duration], percent: usize) -> f64 {
    values.sort();
    let place = ((values.len() * percent).div_ceil(100)).saturating_sub(1);
    values.get(place).map_or(f64::NAN, |value| value.as_secs_f64() * 1000.0)
}
