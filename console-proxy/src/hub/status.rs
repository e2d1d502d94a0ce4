//! What the proxy does now.

use std::fs;

use futures_util::future::join_all;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use podzol_console_proxy_api::{ProxyStatus, ServerStatus, Sessions};
use podzol_vocab::ConsoleServerId;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::{ANSWERS, Hub, tell};
use crate::worker::{Command, Report};

impl Hub {
    /// What it does. A server that does not answer holds up no other.
    pub(crate) async fn status(&self) -> ProxyStatus {
        let (generation, asked): (_, Vec<_>) = {
            let state = self.state();
            let ask = |server: &ConsoleServerId| {
                let (sender, answer) = oneshot::channel();
                (*server, tell(&state, *server, Command::Tell(sender)).ok().map(|()| answer))
            };
            (
                state.document.as_ref().map(|document| document.generation),
                state.workers.keys().map(ask).collect(),
            )
        };
        let (mut servers, mut sessions) =
            (std::collections::BTreeMap::new(), std::collections::BTreeMap::new());
        for (server, report) in join_all(asked.into_iter().map(hear)).await {
            let silent = || {
                let problem = Some("its thread does not answer".to_owned());
                (ServerStatus { problem, ..ServerStatus::default() }, Default::default())
            };
            let (status, of_server) = report.unwrap_or_else(silent);
            servers.insert(server, status);
            sessions.insert(server, of_server);
        }
        ProxyStatus {
            generation,
            boot_id: self.boot_id.clone(),
            version: env!("CARGO_PKG_VERSION").into(),
            started_unix: self.started_unix,
            cpu_micros: cpu_micros(),
            memory_bytes: memory_bytes(),
            servers,
            sessions,
        }
    }

    /// Its sessions.
    pub(crate) async fn sessions(&self) -> Sessions {
        let ProxyStatus { boot_id, sessions, .. } = self.status().await;
        Sessions { boot_id, sessions }
    }
}

async fn hear(
    (server, answer): (ConsoleServerId, Option<oneshot::Receiver<Report>>),
) -> (ConsoleServerId, Option<Report>) {
    let Some(answer) = answer else { return (server, None) };
    (server, timeout(ANSWERS, answer).await.ok().and_then(Result::ok))
}

fn cpu_micros() -> u64 {
    let usage = getrusage(UsageWho::RUSAGE_SELF);
    usage.map_or(0, |usage| (usage.user_time() + usage.system_time()).num_microseconds() as u64)
}

/// What of this process is in memory (proc(5), `/proc/pid/statm`).
pub(crate) fn memory_bytes() -> u64 {
    const PAGE: u64 = 4096;
    let text = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    text.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * PAGE
}

#[cfg(test)]
mod tests {
    #[test]
    fn this_process_has_some_memory_and_takes_some_time() {
        assert!(super::memory_bytes() > 1 << 16);
        assert!(super::cpu_micros() > 0);
    }
}
