//! What lets a proxy in at a VM's host.

use podzol_console_proxy_api::Session;
use podzol_vocab::{Generation, VmId};

use crate::browser::Browser;
use crate::host::Host;
use crate::installation::{Installation, unix};
use crate::noting::Noting;
use crate::wait::until;

#[tokio::test]
async fn a_display_is_shown_once_the_proxy_is_granted_it() {
    let (all, noting) = (Installation::new().await, Noting::new(true).await);
    let (host, folder) = (Host::new(&all).await, tempfile::tempdir().unwrap());
    host.has(noting.bridge(folder.path()), "/nowhere".into());
    let session = all.session(host.way());
    let others = all.granted(Session { vm: VmId::new(), ..session.clone() });
    let with_others = Session { grant: others.grant, ..session.clone() };
    let (id, ticket) = all.ticket_for(&with_others).await;
    let page = Browser::new(&all, true).open(&ticket).await;
    let state = page.state_when("it is refused", |state| state["line"] == "waiting").await;
    assert_eq!(state["reason"], "the VM's host does not give its console");

    all.put_session(id, &Session { generation: Generation(2), ..session }).await.unwrap();
    page.on().await;
}

#[tokio::test]
async fn a_display_goes_on_by_another_sessions_grant_when_the_first_ones_ends() {
    let (all, noting) = (Installation::new().await, Noting::new(true).await);
    let (host, folder) = (Host::new(&all).await, tempfile::tempdir().unwrap());
    host.has(noting.bridge(folder.path()), "/nowhere".into());
    let long = all.session(host.way());
    let short = all.granted(Session { expires_unix: unix() + 15, ..long.clone() });
    let first = all.page(&short, true).await;
    first.on().await;

    let second = all.page(&Session { viewer: "eve".into(), ..long }, true).await;
    second.on().await;
    assert_eq!(host.opened(), 1);
    until("it is opened again", || async { (host.opened() == 2).then_some(()) }).await;
    second.on().await;
    until("the first is over", || async { (first.get("state?after=0").await.status == 410).then_some(()) })
        .await;
}

#[tokio::test]
async fn a_session_by_way_of_an_agent_needs_a_grant() {
    let all = Installation::new().await;
    let host = Host::new(&all).await;
    let session = Session { grant: None, ..all.session(host.way()) };
    let error = all.put_session(podzol_vocab::ConsoleSessionId::new(), &session).await.unwrap_err();
    assert!(error.refusal().unwrap().message.contains("grant: must be there for this upstream"), "{error:?}");
}
