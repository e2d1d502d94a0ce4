//! Who is let in, and who is not: every refusal is recorded as an event.

use std::time::Duration;

use podzol_agent_api::host::HostGet;
use podzol_agent_api::report::{HostReport, HostReportPost};
use podzol_mgmt_app::Authority;
use podzol_rpc::identity::new_key_and_request;
use podzol_rpc::join::{Join, JoinRequest, JoinToken, join};
use podzol_rpc::{AddressBook, CallError, Client, Endpoint, Identity, PeerId};
use podzol_sim::{PodPlan, SimHost, SimPod};
use podzol_storage_api::{PoolContents, StorageReport, StorageReportPost};
use podzol_test_support::{ControlPlane, text};
use podzol_vocab::{ErrorCode, HostId, PoolId, Secret};

pub(crate) const CALL: Duration = Duration::from_secs(10);

/// A client that shows an identity, and knows where one peer is.
pub(crate) fn client(identity: &Identity, peer: PeerId, address: &str) -> Client {
    let book = AddressBook::default();
    book.set(peer, address);
    Client::new(identity, book).expect("the identity is one")
}

/// Calls the management service with an identity.
pub(crate) async fn call<E: Endpoint>(
    control_plane: &ControlPlane,
    identity: &Identity,
    path: E::Path,
    body: E::Request,
) -> Result<E::Answer, CallError> {
    let client = client(identity, PeerId::Management, &control_plane.agent_address());
    client.call::<E>(PeerId::Management, &path, &body, CALL).await
}

/// What a host reported last.
pub(crate) async fn last_report(control_plane: &ControlPlane, host: &SimHost) -> HostReport {
    let shown = control_plane.admin.get(&format!("/v1/hosts/{}", host.id)).await.ok();
    serde_json::from_value(shown["report"].clone()).expect("a report is kept as it came")
}

pub(crate) async fn one_host(control_plane: &ControlPlane) -> SimPod {
    SimPod::with(control_plane, PodPlan { hosts: vec![("h1", 2048)], ..PodPlan::default() }).await
}

async fn pod(control_plane: &ControlPlane) -> String {
    let zone = control_plane.admin.zone("z1", &["100-199"]).await;
    control_plane.admin.pod("p1", &zone).await
}

async fn join_is_refused(control_plane: &ControlPlane, token: &str, host: &str, reason: &str) {
    let token: JoinToken = token.parse().expect("the API gives valid tokens");
    let refused = join(&control_plane.agent_address(), &token).await.map(drop).expect_err("it is refused");
    let podzol_rpc::join::JoinError::Call { source, .. } = refused else { panic!("{refused}") };
    assert_eq!(source.code(), Some(ErrorCode::Refused), "{source:?}");
    control_plane.admin.event_about("join.refused", host, reason).await;
}

#[tokio::test]
async fn a_token_joins_one_server_once() {
    let control_plane = ControlPlane::start().await;
    let pod = pod(&control_plane).await;
    let (host, token) = control_plane.admin.host("h1", &pod).await;

    join(&control_plane.agent_address(), &token.parse().unwrap()).await.expect("the token is good");

    control_plane.admin.event("server.joined", "h1").await;
    join_is_refused(&control_plane, &token, &host, "the token was used before").await;
}

#[tokio::test]
async fn a_token_that_has_expired_is_refused() {
    let control_plane = ControlPlane::with(|config| config.join_token_secs = 0).await;
    let pod = pod(&control_plane).await;
    let (host, token) = control_plane.admin.host("h1", &pod).await;
    join_is_refused(&control_plane, &token, &host, "the token has expired").await;
    let (server, token) = control_plane.admin.storage_server("s1", &pod).await;
    join_is_refused(&control_plane, &token, &server, "the token has expired").await;
}

#[tokio::test]
async fn a_token_of_a_removed_server_is_refused() {
    let control_plane = ControlPlane::start().await;
    let pod = pod(&control_plane).await;
    let (host, token) = control_plane.admin.host("h1", &pod).await;
    control_plane.admin.delete(&format!("/v1/hosts/{host}")).await.ok();
    join_is_refused(&control_plane, &token, &host, "there is no such server").await;
}

#[tokio::test]
async fn a_token_with_another_secret_or_for_another_server_is_refused() {
    let control_plane = ControlPlane::start().await;
    let pod = pod(&control_plane).await;
    let (host, token) = control_plane.admin.host("h1", &pod).await;
    let good: JoinToken = token.parse().unwrap();
    let guessed = JoinToken { secret: Secret::new([7; 32]), ..good.clone() };
    join_is_refused(&control_plane, guessed.reveal().expose(), &host, "secret is wrong").await;
    let nobody = HostId::new();
    let other = JoinToken { peer: PeerId::Host(nobody), ..good.clone() };
    join_is_refused(&control_plane, other.reveal().expose(), &nobody.to_string(), "no such server").await;
    let greedy = JoinToken { peer: PeerId::Management, ..good };
    join_is_refused(&control_plane, greedy.reveal().expose(), "", "there is no such server").await;
}

#[tokio::test]
async fn a_text_that_is_no_token_is_refused() {
    let control_plane = ControlPlane::start().await;
    // With an identity, because the library's `join` would not send such a text, and connects only by itself without.
    let (_, certificate_request) = new_key_and_request().unwrap();
    let request = JoinRequest { token: Secret::new("podzol-join.garbage".into()), certificate_request };

    let refused = call::<Join>(&control_plane, &control_plane.identity(), (), request).await.unwrap_err();

    assert_eq!(refused.code(), Some(ErrorCode::Refused));
    control_plane.admin.event("join.refused", "the token cannot be read").await;
}

#[tokio::test]
async fn a_refused_certificate_request_does_not_use_up_the_token() {
    let control_plane = ControlPlane::start().await;
    let pod = pod(&control_plane).await;
    let (_, token) = control_plane.admin.host("h1", &pod).await;
    let request = JoinRequest { token: Secret::new(token.clone()), certificate_request: "nonsense".into() };

    let refused = call::<Join>(&control_plane, &control_plane.identity(), (), request).await.unwrap_err();

    assert_eq!(refused.code(), Some(ErrorCode::Refused));
    control_plane.admin.event("join.refused", "the certificate request is not valid").await;
    join(&control_plane.agent_address(), &token.parse().unwrap()).await.expect("the token is still good");
}

#[tokio::test]
async fn a_service_of_another_authority_is_not_told_the_token() {
    let (one, other) = (ControlPlane::start().await, ControlPlane::start().await);
    let pod = pod(&one).await;
    let (_, token) = one.admin.host("h1", &pod).await;

    let refused = join(&other.agent_address(), &token.parse().unwrap()).await;

    assert!(refused.is_err());
    join(&one.agent_address(), &token.parse().unwrap()).await.expect("the token was not shown to the other");
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_refused() {
    let control_plane = ControlPlane::start().await;
    let pod = one_host(&control_plane).await;
    let folder = tempfile::tempdir().unwrap();
    let foreign = Authority::open(folder.path()).unwrap();
    let (key_pem, request) = new_key_and_request().unwrap();
    let (certificate_pem, _) = foreign.sign(pod.hosts[0].peer(), &request).unwrap();
    let identity = Identity { ca_pem: control_plane.ca_pem.clone(), certificate_pem, key_pem };
    let report = last_report(&control_plane, &pod.hosts[0]).await;

    let refused =
        call::<HostReportPost>(&control_plane, &identity, pod.hosts[0].id.parse().unwrap(), report).await;

    assert!(matches!(refused, Err(CallError::NoAnswer { .. })), "{refused:?}");
    control_plane.admin.event("peer.refused", "invalid peer certificate").await;
}

#[tokio::test]
async fn a_second_certificate_of_the_own_authority_is_refused() {
    let control_plane = ControlPlane::start().await;
    let pod = one_host(&control_plane).await;
    let authority = Authority::open(&control_plane.data_dir().join("authority")).unwrap();
    let (key_pem, request) = new_key_and_request().unwrap();
    let (certificate_pem, _) = authority.sign(pod.hosts[0].peer(), &request).unwrap();
    let identity = Identity { ca_pem: control_plane.ca_pem.clone(), certificate_pem, key_pem };
    let report = last_report(&control_plane, &pod.hosts[0]).await;

    let refused =
        call::<HostReportPost>(&control_plane, &identity, pod.hosts[0].id.parse().unwrap(), report).await;

    assert_eq!(refused.unwrap_err().code(), Some(ErrorCode::Refused));
    control_plane.admin.event("peer.refused", "the certificate was revoked").await;
}

#[tokio::test]
async fn a_removed_host_is_refused_and_stays_removed() {
    let control_plane = ControlPlane::start().await;
    let pod = one_host(&control_plane).await;
    let host = &pod.hosts[0];
    let report = last_report(&control_plane, host).await;
    let path = format!("/v1/hosts/{}", host.id);
    control_plane.admin.delete(&path).await.ok();

    let refused =
        call::<HostReportPost>(&control_plane, &host.identity, host.id.parse().unwrap(), report).await;

    assert_eq!(refused.unwrap_err().code(), Some(ErrorCode::Refused));
    let event = control_plane.admin.event("peer.refused", "the certificate was revoked").await;
    assert_eq!(text(&event, "subject"), host.id);
    control_plane.admin.get(&path).await.refused(404, "not_found");
    let (again, _) = control_plane.admin.host("h1", &pod.pod).await;
    assert_ne!(again, host.id, "its name is free again");
}

#[tokio::test]
async fn a_server_speaks_for_itself_alone() {
    let control_plane = ControlPlane::start().await;
    let pod = SimPod::start(&control_plane).await;
    let (one, other) = (&pod.hosts[0], &pod.hosts[1]);
    let report = last_report(&control_plane, other).await;
    let (api_address, agent_version) = ("127.0.0.1:1".into(), "x".into());
    let storage = StorageReport { api_address, agent_version, pools: vec![], refusals: vec![] };

    let host =
        call::<HostReportPost>(&control_plane, &one.identity, other.id.parse().unwrap(), report.clone())
            .await;
    let storage =
        call::<StorageReportPost>(&control_plane, &one.identity, (pod.storage.id.parse().unwrap(),), storage)
            .await;
    let from_storage =
        call::<HostReportPost>(&control_plane, &pod.storage.identity, one.id.parse().unwrap(), report).await;

    for refused in [host, storage, from_storage] {
        assert_eq!(refused.unwrap_err().code(), Some(ErrorCode::Refused));
    }
    for subject in [&other.id, &pod.storage.id, &one.id] {
        let detail = "the certificate is another server's";
        control_plane.admin.event_about("peer.refused", subject, detail).await;
    }
}

#[tokio::test]
async fn an_agent_answers_the_management_service_alone() {
    let control_plane = ControlPlane::start().await;
    let pod = SimPod::start(&control_plane).await;
    let (one, other) = (&pod.hosts[0], &pod.hosts[1]);
    let address = last_report(&control_plane, one).await.api_address;

    let asked =
        client(&other.identity, one.peer(), &address).call::<HostGet>(one.peer(), &(), &(), CALL).await;

    assert_eq!(asked.unwrap_err().code(), Some(ErrorCode::Refused));
    let detail = format!("{} asked, and only the management service may", other.peer());
    control_plane.admin.event_about("peer.refused", &one.id, &detail).await;
    let own = control_plane.identity();
    let asked = client(&own, one.peer(), &address).call::<HostGet>(one.peer(), &(), &(), CALL).await;
    assert!(asked.is_ok(), "{asked:?}");
}

#[tokio::test]
async fn whom_an_agent_does_not_let_in_is_recorded_by_the_management_service() {
    let control_plane = ControlPlane::start().await;
    let pod = SimPod::start(&control_plane).await;
    let folder = tempfile::tempdir().unwrap();
    let foreign = Authority::open(folder.path()).unwrap();
    let (key_pem, request) = new_key_and_request().unwrap();
    let (certificate_pem, _) = foreign.sign(PeerId::Management, &request).unwrap();
    let identity = Identity { ca_pem: control_plane.ca_pem.clone(), certificate_pem, key_pem };
    let host = &pod.hosts[0];
    let address = last_report(&control_plane, host).await.api_address;
    let storage = control_plane.admin.get(&format!("/v1/storage-servers/{}", pod.storage.id)).await.ok();
    let server = PeerId::StorageServer(pod.storage.id.parse().unwrap());

    let of_host = client(&identity, host.peer(), &address).call::<HostGet>(host.peer(), &(), &(), CALL).await;
    let of_storage = client(&identity, server, &text(&storage, "address"))
        .call::<PoolContents>(server, &(PoolId::new(),), &(), CALL)
        .await;

    assert!(of_host.is_err() && of_storage.is_err());
    for subject in [&host.id, &pod.storage.id] {
        control_plane.admin.event_about("peer.refused", subject, "invalid peer certificate").await;
    }
}

#[tokio::test]
async fn whoever_knocks_without_end_is_recorded_once_in_a_while() {
    let control_plane = ControlPlane::start().await;
    let token = {
        let pod = pod(&control_plane).await;
        let (_, token) = control_plane.admin.host("h1", &pod).await;
        token.parse::<JoinToken>().expect("the API gives valid tokens")
    };
    join(&control_plane.agent_address(), &token).await.expect("the token is good");
    for _ in 0..20 {
        join(&control_plane.agent_address(), &token).await.map(drop).expect_err("it was used before");
    }

    control_plane.admin.event("join.refused", "used before").await;
    let recorded = control_plane.admin.list("/v1/events?action=join.refused").await;
    assert_eq!(recorded.len(), 1, "{recorded:#?}");
    let metrics = control_plane.admin.get("/metrics").await.ok();
    assert!(
        metrics.to_string().contains("podzol_refusals_total{action=\\\"join.refused\\\"} 20"),
        "{metrics}"
    );
}
