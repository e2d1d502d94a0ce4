//! Counters in Prometheus' text format.

use prometheus::{Encoder, HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry, TextEncoder};

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
}

impl Default for Metrics {
    fn default() -> Self {
        let registry = Registry::new();
        let counter = |name: &str, help: &str, labels: &[&str]| {
            let counter = IntCounterVec::new(Opts::new(name, help), labels).expect("the name is valid");
            registry.register(Box::new(counter.clone())).expect("the name is used once");
            counter
        };
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
            registry,
        }
    }
}

impl Metrics {
    /// All of them as text (Prometheus exposition format 0.0.4).
    pub fn text(&self) -> String {
        let mut text = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            tracing::error!(%error, "cannot write metrics");
        }
        String::from_utf8_lossy(&text).into_owned()
    }
}
