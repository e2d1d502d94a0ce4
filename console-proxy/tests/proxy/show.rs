//! Shows a console to whoever opens the link that is printed: for people who work on the page, and for browsers.

use std::time::Duration;

use crate::host::Host;
use crate::installation::{DOMAIN, Installation};
use crate::qemu::Machine;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "it shows a console until it is stopped"]
async fn a_console_is_shown() {
    let machine = tokio::task::spawn_blocking(Machine::start).await.unwrap();
    let (all, folder) = (Installation::new().await, tempfile::tempdir().unwrap());
    let host = Host::new(&all).await;
    host.has(machine.display(), crate::serial::port(folder.path()));
    let session = all.session(host.way());
    let (id, _) = all.ticket_for(&session).await;
    println!("QMP: {}", machine.control().display());
    println!("have 127-0-0-1.{DOMAIN} be 127.0.0.1, and trust:\n{}", all.authority.pem);
    loop {
        println!("link: https://127-0-0-1.{DOMAIN}:{}/#{}", all.port, all.ticket(id));
        tokio::time::sleep(Duration::from_secs(20)).await;
    }
}
