//! Looking into routers.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::{Session, without_nulls};
use crate::arguments::{CaptureRouter, DiagnoseRouter};
use crate::output;
use crate::things::{NETWORK, ROUTER};

/// How much longer than it goes on a capture may be on its way.
const ON_THE_WAY: Duration = Duration::from_secs(30);

impl Session {
    pub(super) async fn diagnose_router(&self, asked: DiagnoseRouter) -> anyhow::Result<()> {
        let id = self.router_id(&asked.which).await?;
        let found = self.api.get(&format!("{}/diagnosis", ROUTER.at(&id)), &[]).await?;
        if self.json {
            return self.print(&found).await;
        }
        Ok(output::print(&diagnosis(&found, asked.rules))?)
    }

    pub(super) async fn capture_router(&self, asked: CaptureRouter) -> anyhow::Result<()> {
        let id = self.router_id(&asked.which).await?;
        let network = self.id_if(NETWORK, asked.network.as_deref()).await?;
        let body = without_nulls(json!({
            "link": asked.link, "network": network, "seconds": asked.seconds, "bytes": asked.bytes,
            "snap_bytes": asked.snap_bytes, "host": asked.host, "protocol": asked.protocol, "port": asked.port,
        }));
        let longest = Duration::from_secs(asked.seconds.into()) + ON_THE_WAY;
        let path = format!("{}/capture", ROUTER.at(&id));
        let mut captured = self.api.post_stream(&path, &body, longest).await?;
        // Only when there is something to write, so that a refusal makes no file.
        let mut out = open(&asked.out).await?;
        let broken = "the capture has broken off; what came before is written";
        while let Some(part) = captured.chunk().await.context(broken)? {
            let written = async { out.write_all(&part).await.and(out.flush().await) };
            written.await.with_context(|| format!("cannot write {}", asked.out.display()))?;
        }
        Ok(())
    }
}

async fn open(path: &Path) -> anyhow::Result<Box<dyn AsyncWrite + Unpin>> {
    if path == Path::new("-") {
        return Ok(Box::new(tokio::io::stdout()));
    }
    let file = tokio::fs::File::create(path).await;
    Ok(Box::new(file.with_context(|| format!("cannot write {}", path.display()))?))
}

/// A diagnosis as people read it.
fn diagnosis(found: &Value, with_rules: bool) -> String {
    let items = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let words = |value: &Value| items(value).iter().filter_map(Value::as_str).map(str::to_owned).collect();
    let mut text = String::new();
    section(&mut text, "links", words(&found["links"]));
    section(&mut text, "routes", words(&found["routes"]));
    section(&mut text, "leases", items(&found["leases"]).iter().map(lease).collect());
    let connections = &found["connections"];
    let title = match connections {
        Value::Null => "connections: they could not be counted in time".to_owned(),
        counted => format!("connections: {} of {}", counted["entries"], counted["limit"]),
    };
    section(&mut text, &title, counts(connections));
    let talker = |one: &Value| format!("{} {}", word(&one["address"]), one["connections"]);
    section(&mut text, "sources of the most", items(&connections["talkers"]).iter().map(talker).collect());
    let memory = format!("{} KiB free of {} KiB", found["memory_free_kib"], found["memory_kib"]);
    section(&mut text, "memory", vec![memory]);
    if with_rules {
        let rules = word(&found["rules"]);
        section(&mut text, "rules", rules.lines().map(str::to_owned).collect());
    }
    text
}

fn section(text: &mut String, title: &str, lines: Vec<String>) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{title}");
    for line in lines {
        let _ = writeln!(text, "  {line}");
    }
}

fn lease(lease: &Value) -> String {
    let heard = match (lease["acked_secs_ago"].as_u64(), lease["last"].as_str()) {
        (_, None) => "nothing heard".to_owned(),
        (Some(acked), Some("acked")) => format!("acked {acked} s ago"),
        (acked, Some(last)) => {
            let acked = acked.map_or("never acked".to_owned(), |acked| format!("acked {acked} s ago"));
            format!("{acked}, {last} {} s ago", lease["last_secs_ago"])
        }
    };
    format!("{} {} {heard}, VM {}", word(&lease["address"]), word(&lease["mac"]), word(&lease["vm"]))
}

/// The numbers by protocol and state, and by where they come from.
fn counts(connections: &Value) -> Vec<String> {
    let pairs = |value: &Value| value.as_object().cloned().unwrap_or_default();
    let protocols = pairs(&connections["states"]).into_iter().flat_map(|(protocol, states)| {
        pairs(&states).into_iter().map(move |(state, number)| format!("{protocol} {state} {number}"))
    });
    let networks = pairs(&connections["networks"]).into_iter();
    let networks = networks.map(|(network, number)| format!("from network {network} {number}"));
    let elsewhere = connections["elsewhere"].as_u64().map(|number| format!("from elsewhere {number}"));
    protocols.chain(networks).chain(elsewhere).collect()
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
