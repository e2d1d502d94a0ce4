//! What is counted, for Prometheus.

use prometheus::core::Collector;
use prometheus::{IntCounter, IntCounterVec, Opts};

/// What came of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Records.
    Answered,
    /// The name has no such record.
    NoData,
    /// There is no such name.
    NoName,
    /// Something that this server does not answer for.
    Refused,
    /// It is no query, or one of another version of EDNS.
    Malformed,
    /// An operation that the server does not know.
    NotImplemented,
    /// No answer, as it was none that asks for one.
    Silent,
    /// The client asks too much, and was told to come by TCP.
    Slipped,
    /// The client asks too much, and got no answer.
    Dropped,
    /// The server has failed at it.
    Failed,
}

impl Outcome {
    const ALL: [Self; 10] = [
        Self::Answered,
        Self::NoData,
        Self::NoName,
        Self::Refused,
        Self::Malformed,
        Self::NotImplemented,
        Self::Silent,
        Self::Slipped,
        Self::Dropped,
        Self::Failed,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::NoData => "no_data",
            Self::NoName => "no_name",
            Self::Refused => "refused",
            Self::Malformed => "malformed",
            Self::NotImplemented => "not_implemented",
            Self::Silent => "silent",
            Self::Slipped => "slipped",
            Self::Dropped => "dropped",
            Self::Failed => "failed",
        }
    }
}

/// How a packet came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    Udp,
    Tcp,
}

/// Counters of a name server. Cloning is cheap, and all clones are the same.
#[derive(Debug, Clone)]
pub struct Counters {
    queries: IntCounterVec,
    by_outcome: [[IntCounter; Outcome::ALL.len()]; 2],
    connections: IntCounter,
    displaced: IntCounter,
}

impl Counters {
    pub(crate) fn new() -> Self {
        let help = "Packets to the name server of the console domain";
        let queries =
            IntCounterVec::new(Opts::new("podzol_dns_queries_total", help), &["transport", "outcome"])
                .expect("the name is valid");
        let of =
            |transport| Outcome::ALL.map(|outcome| queries.with_label_values(&[transport, outcome.name()]));
        let counter = |name, help| IntCounter::new(name, help).expect("the name is valid");
        Self {
            by_outcome: [of("udp"), of("tcp")],
            queries,
            connections: counter("podzol_dns_connections_total", "Connections to the name server"),
            displaced: counter(
                "podzol_dns_connections_displaced_total",
                "Connections to the name server that were closed for newer ones",
            ),
        }
    }

    /// For a registry of metrics.
    pub fn collectors(&self) -> [Box<dyn Collector>; 3] {
        [Box::new(self.queries.clone()), Box::new(self.connections.clone()), Box::new(self.displaced.clone())]
    }

    pub(crate) fn count(&self, transport: Transport, outcome: Outcome) {
        self.by_outcome[transport as usize][outcome as usize].inc();
    }

    pub(crate) fn connected(&self) {
        self.connections.inc();
    }

    pub(crate) fn displaced(&self) {
        self.displaced.inc();
    }
}
