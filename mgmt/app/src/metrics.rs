//! Counters and gauges in Prometheus' text format. Counters begin anew with the process, gauges are read from the
//! database whenever somebody asks.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use podzol_console_proxy_api::ServerStatus;
use podzol_mgmt_api::router::RouterState;
use podzol_mgmt_db::{server, vm};
use prometheus::core::Collector;
use prometheus::{
    Encoder, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGaugeVec, Opts, Registry, TextEncoder,
};
use serde::Serialize;

use crate::router::measure::{Measured, Said};
use crate::{App, AppError};

/// What is counted.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Answered API requests, by method, route and status.
    pub requests: IntCounterVec,
    /// Seconds to answer an API request, by method and route.
    pub request_seconds: HistogramVec,
    /// Ended attempts of operations, by kind and outcome.
    pub attempts: IntCounterVec,
    /// Reports received, by kind of agent.
    pub reports: IntCounterVec,
    /// Callers and connections that were refused, by what for.
    pub refusals: IntCounterVec,
    /// What the database has counted itself; set by one at a time.
    written: Mutex<[IntCounter; 4]>,
    hosts: IntGaugeVec,
    vms: IntGaugeVec,
    routers: IntGaugeVec,
    router_loads: [IntGaugeVec; 6],
    /// Scans of zones for the console proxies that they should have.
    pub console_scans: IntCounter,
    console_proxies: IntGaugeVec,
    console_sessions: IntGaugeVec,
    console_room: IntGaugeVec,
    console_pages: IntGaugeVec,
    console_loads: [IntGaugeVec; 5],
}

impl Default for Metrics {
    fn default() -> Self {
        let registry = Registry::new();
        let counter = |name: &str, help: &str, labels: &[&str]| {
            let counter = IntCounterVec::new(Opts::new(name, help), labels).expect("the name is valid");
            registry.register(Box::new(counter.clone())).expect("the name is used once");
            counter
        };
        let total = |name: &str, help: &str| {
            let total = IntCounter::new(name, help).expect("the name is valid");
            registry.register(Box::new(total.clone())).expect("the name is used once");
            total
        };
        let gauge = |name: &str, help: &str| {
            let gauge = IntGaugeVec::new(Opts::new(name, help), &["state"]).expect("the name is valid");
            registry.register(Box::new(gauge.clone())).expect("the name is used once");
            gauge
        };
        let of_zone = |name: &str, help: &str| {
            let gauge = IntGaugeVec::new(Opts::new(name, help), &["zone"]).expect("the name is valid");
            registry.register(Box::new(gauge.clone())).expect("the name is used once");
            gauge
        };
        let of_one = |kind: &str, name: &str, help: &str| {
            let gauge = IntGaugeVec::new(Opts::new(name, help), &["zone", kind]).expect("the name is valid");
            registry.register(Box::new(gauge.clone())).expect("the name is used once");
            gauge
        };
        let of_proxy = |name: &str, help: &str| of_one("proxy", name, help);
        let of_router = |name: &str, help: &str| of_one("router", name, help);
        let seconds = HistogramOpts::new("podzol_api_request_seconds", "Seconds to answer an API request")
            .buckets(vec![0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 2.0, 10.0]);
        let request_seconds = HistogramVec::new(seconds, &["method", "route"]).expect("the name is valid");
        registry.register(Box::new(request_seconds.clone())).expect("the name is used once");
        let labels = &["method", "route", "status"];
        Self {
            requests: counter("podzol_api_requests_total", "Answered API requests", labels),
            request_seconds,
            attempts: counter("podzol_operation_attempts_total", "Ended attempts", &["kind", "outcome"]),
            reports: counter("podzol_reports_total", "Reports received", &["agent"]),
            refusals: counter("podzol_refusals_total", "Refused callers and connections", &["action"]),
            written: Mutex::new([
                total("podzol_database_transactions_total", "Transactions that are durable"),
                total("podzol_database_commits_total", "Commits, each of one or several transactions"),
                total("podzol_database_waits_total", "Waits for the disk, each for one or several commits"),
                total("podzol_database_reads_total", "Statements outside of transactions that write"),
            ]),
            hosts: gauge("podzol_hosts", "Hosts in each state"),
            vms: gauge("podzol_vms", "VMs in each state"),
            routers: gauge("podzol_routers", "Routers in each state"),
            router_loads: [
                of_router("podzol_router_generations_behind", "Changes that are not in force at a router"),
                of_router("podzol_router_services_down", "Services of a router that do not work"),
                of_router("podzol_router_members_down", "Members of a router's balancers that do not work"),
                of_router("podzol_router_repairs", "What a router has put right since its start"),
                of_router(
                    "podzol_router_sent_bytes",
                    "Bytes that a router's public addresses have sent since its start",
                ),
                of_router(
                    "podzol_router_received_bytes",
                    "Bytes that a router's public addresses have received since its start",
                ),
            ],
            console_scans: total("podzol_console_scans_total", "Scans of zones for their console proxies"),
            console_proxies: gauge("podzol_console_proxies", "Console proxies in each state"),
            console_sessions: gauge(
                "podzol_console_sessions",
                "Console sessions that have a place, and that wait for one",
            ),
            console_room: of_zone("podzol_console_room", "How many more console sessions there is room for"),
            console_pages: of_zone("podzol_console_pages", "Pages that show a console"),
            console_loads: [
                of_proxy("podzol_console_proxy_servers", "Servers of a console proxy"),
                of_proxy(
                    "podzol_console_proxy_cpu_milliseconds",
                    "Processors' time that a console proxy has taken",
                ),
                of_proxy("podzol_console_proxy_memory_bytes", "Memory that a console proxy has"),
                of_proxy(
                    "podzol_console_proxy_sent_bytes",
                    "Bytes of pictures that a console proxy's servers have sent",
                ),
                of_proxy(
                    "podzol_console_proxy_refused",
                    "Requests that a console proxy's servers have refused",
                ),
            ],
            registry,
        }
    }
}

impl Metrics {
    /// Tells of what another part counts too.
    ///
    /// # Panics
    /// When a name in it is told of already.
    pub fn add(&self, counted: Box<dyn Collector>) {
        self.registry.register(counted).expect("the name is used once");
    }
}

impl App {
    /// All metrics as text (Prometheus exposition format 0.0.4).
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn metrics_text(&self) -> Result<String, AppError> {
        let metrics = self.metrics();
        set(&metrics.hosts, server::count_hosts_by_state(self.db.reader()).await?);
        set(&metrics.vms, vm::count_by_state(self.db.reader()).await?);
        self.measure_routers().await?;
        set(&metrics.console_proxies, self.count_console_proxies().await?);
        self.measure_consoles().await?;
        {
            let written = metrics.written.lock().unwrap_or_else(PoisonError::into_inner);
            let [transactions, commits, waits, reads] = &*written;
            let counted = self.db.counts();
            transactions.inc_by(counted.transactions - transactions.get());
            commits.inc_by(counted.commits - commits.get());
            waits.inc_by(counted.waits - waits.get());
            reads.inc_by(counted.reads - reads.get());
        }
        let mut text = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&metrics.registry.gather(), &mut text) {
            tracing::error!(%error, "cannot write metrics");
        }
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}

impl App {
    async fn measure_routers(&self) -> Result<(), AppError> {
        let (metrics, measured) = (self.metrics(), self.router_measures().await?);
        metrics.router_loads.iter().for_each(|load| load.reset());
        let mut states: BTreeMap<u8, (RouterState, i64)> = BTreeMap::new();
        for Measured { zone, id, state, said } in measured {
            states.entry(state as u8).or_insert((state, 0)).1 += 1;
            let Some(said) = said else { continue };
            let Said { behind, services_down, members_down, repairs, sent_bytes, received_bytes } = said;
            let loads = [behind, services_down, members_down, repairs, sent_bytes, received_bytes];
            for (gauge, load) in metrics.router_loads.iter().zip(loads) {
                gauge.with_label_values(&[&zone, &id.to_string()]).set(load as i64);
            }
        }
        set(&metrics.routers, states.into_values().collect());
        Ok(())
    }

    async fn measure_consoles(&self) -> Result<(), AppError> {
        let (metrics, measures) = (self.metrics(), self.console_measures().await?);
        metrics.console_room.reset();
        metrics.console_pages.reset();
        metrics.console_loads.iter().for_each(|load| load.reset());
        let (mut placed, mut waiting) = (0, 0);
        for measured in measures {
            let zone = &[measured.zone.as_str()];
            metrics.console_room.with_label_values(zone).set(measured.room.into());
            metrics.console_pages.with_label_values(zone).set(measured.pages.into());
            for (proxy, said) in &measured.proxies {
                let sum = |of: fn(&ServerStatus) -> u64| said.servers.values().map(of).sum();
                let loads: [u64; 5] = [
                    said.servers.len() as u64,
                    said.cpu_micros / 1000,
                    said.memory_bytes,
                    sum(|server| server.sent_bytes),
                    sum(|server| server.refused),
                ];
                for (gauge, load) in metrics.console_loads.iter().zip(loads) {
                    gauge.with_label_values(&[&measured.zone, &proxy.to_string()]).set(load as i64);
                }
            }
            placed += i64::from(measured.sessions);
            waiting += i64::from(measured.waiting);
        }
        set(&metrics.console_sessions, vec![("placed", placed), ("waiting", waiting)]);
        Ok(())
    }
}

/// Sets a gauge to these counts, and forgets states in which there is nothing any more.
fn set<S: Serialize>(gauge: &IntGaugeVec, counts: Vec<(S, i64)>) {
    gauge.reset();
    for (state, count) in counts {
        let state = serde_json::to_value(state).expect("a state has a JSON form");
        gauge.with_label_values(&[state.as_str().unwrap_or_default()]).set(count);
    }
}
