//! The program is killed and starts again: it knows nothing, and pages come back with new tickets.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use podzol_rpc::PeerId;
use podzol_vocab::Generation;

use crate::browser::Browser;
use crate::installation::Installation;
use crate::noting::Noting;

/// The program. It is killed when this is dropped.
pub(crate) struct Program(Child);

impl Program {
    /// Writes what it needs into a folder.
    pub(crate) fn prepare(all: &Installation, folder: &Path) {
        let identity = folder.join("identity");
        all.authority.identity(PeerId::ConsoleProxy(all.proxy)).store(&identity).unwrap();
        let config = format!("listen = '{}'\nidentity = '{}'\n", all.control, identity.display());
        std::fs::write(folder.join("config.toml"), config).unwrap();
    }

    /// Starts it.
    pub(crate) fn start(folder: &Path) -> Self {
        let program = env!("CARGO_BIN_EXE_podzol-console-proxy");
        let mut command = Command::new(program);
        command.arg("--config").arg(folder.join("config.toml")).stdin(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().unwrap())
    }

    /// Bytes of memory that it has now.
    pub(crate) fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn a_proxy_that_was_killed_takes_no_old_cookie_or_ticket_and_goes_on_with_new_ones() {
    let (all, noting) = (Installation::without_proxy(), Noting::new(true).await);
    let folder = tempfile::tempdir().unwrap();
    Program::prepare(&all, folder.path());
    let first = Program::start(folder.path());
    all.put_soon(all.document(1)).await;
    let session = all.session(noting.way());
    let (id, ticket) = all.ticket_for(&session).await;
    let page = Browser::new(&all, true).open(&ticket).await;
    page.on().await;
    let (boot_id, unused) = (all.status().await.boot_id, all.ticket(id));

    drop(first);
    // So that the ticket is older than the start, whose time is in whole seconds.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let _second = Program::start(folder.path());
    all.put_soon(all.document(1)).await;

    let status = all.status().await;
    assert_ne!(status.boot_id, boot_id);
    assert!(
        status.all_sessions().count() == 0
            && status.generation == Some(Generation(1))
            && status.memory_bytes > 0
    );
    let again = Browser { cookie: page.browser.cookie.clone(), ..Browser::new(&all, true) };
    assert_eq!(
        again.get(&format!("{}/state?after=0", page.path)).await.refusal(),
        (401, "session_unknown".into())
    );
    all.put_session(id, &session).await.unwrap();
    assert_eq!(again.exchange(&unused).await.refusal(), (401, "ticket_expired".into()));
    tokio::time::sleep(Duration::from_millis(1100)).await;
    Browser::new(&all, true).open(&all.ticket(id)).await.on().await;
}
