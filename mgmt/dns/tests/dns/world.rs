//! A name server with two proxies, and dig.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::process::Command;

use podzol_mgmt_dns::{ConsoleNames, NameForm, NameServer, Server, Settings};
use podzol_vocab::Secret;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub(crate) const DOMAIN: &str = "console.example.org";

/// A server that runs, at 127.0.0.1 or another loopback address, and at ::1.
pub(crate) struct World {
    pub(crate) v4: SocketAddr,
    pub(crate) v6: SocketAddr,
    pub(crate) names: ConsoleNames,
    pub(crate) counters: podzol_mgmt_dns::Counters,
    pub(crate) stop: CancellationToken,
    pub(crate) running: JoinHandle<()>,
}

impl World {
    pub(crate) async fn start() -> Self {
        Self::with_rate(10_000).await
    }

    /// With so many answers a second for each network of clients.
    pub(crate) async fn with_rate(per_second: u32) -> Self {
        Self::at("127.0.0.1", per_second).await
    }

    /// At an address of this machine that no other test uses: its ports are its own.
    pub(crate) async fn alone() -> Self {
        Self::at("127.53.0.1", 10_000).await
    }

    async fn at(v4: &str, per_second: u32) -> Self {
        let names = ConsoleNames::new(DOMAIN.parse().unwrap(), NameForm::Address, &Secret::new([7; 32]));
        names.set(BTreeSet::from(["192.0.2.7".parse().unwrap(), "2001:db8::1".parse().unwrap()]));
        let settings = Settings {
            name_servers: vec![NameServer {
                name: "ns1.console.example.org".parse().unwrap(),
                addresses: BTreeSet::from(["192.0.2.1".parse().unwrap()]),
            }],
            listen: vec![SocketAddr::new(v4.parse().unwrap(), 0), "[::1]:0".parse().unwrap()],
            answers_per_second: NonZeroU32::new(per_second).unwrap(),
        };
        let server = Server::bind(names.clone(), &settings).await.unwrap();
        let [v4, v6] = server.addresses().unwrap()[..] else { panic!("two addresses") };
        let (counters, stop) = (server.counters(), CancellationToken::new());
        let running = tokio::spawn(server.run(stop.clone()));
        Self { v4, v6, names, counters, stop, running }
    }

    /// What was counted so far under a transport and an outcome.
    pub(crate) fn counted(&self, transport: &str, outcome: &str) -> u64 {
        let families = self.counters.collectors().into_iter().flat_map(|collector| collector.collect());
        let metrics = families.flat_map(|family| family.get_metric().to_vec());
        let is_asked = |metric: &prometheus::proto::Metric| {
            let labels: Vec<&str> = metric.get_label().iter().map(|label| label.value()).collect();
            labels.contains(&transport) && labels.contains(&outcome)
        };
        metrics.filter(is_asked).map(|metric| metric.get_counter().get_value() as u64).sum()
    }
}

/// What dig says, without comments, or nothing where there is no dig.
pub(crate) async fn dig(at: SocketAddr, arguments: &[&str]) -> Option<String> {
    let mut dig = Command::new("dig");
    dig.arg(format!("@{}", at.ip()))
        .args(["-p", &at.port().to_string(), "+tries=1", "+time=30"])
        .args(arguments);
    let output = tokio::task::spawn_blocking(move || dig.output()).await.unwrap();
    match output {
        Ok(output) => Some(String::from_utf8(output.stdout).unwrap()),
        Err(error) => {
            let missing = format!("dig of bind9-dnsutils cannot be run: {error}");
            assert!(std::env::var_os("PODZOL_MUST_RUN").is_none(), "{missing}");
            eprintln!("skipped: {missing}");
            None
        }
    }
}
