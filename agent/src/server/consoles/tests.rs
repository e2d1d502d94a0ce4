//! Streams asked for over mutual TLS, at the real server.

use std::collections::BTreeSet;

use podzol_rpc::statement::Signer;
use podzol_rpc::tls::{Clients, server_config};
use podzol_rpc::{AddressBook, CallError, Client, server};
use podzol_vocab::{Secret, StorageServerId};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, PKCS_ED25519};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};
use tokio_util::sync::DropGuard;

use super::*;
use crate::vms::tests::{Host, host};

const SOON: Duration = Duration::from_secs(20);

/// An installation with one host, on which every VM has the same display.
struct Installation {
    issuer: Issuer<'static, KeyPair>,
    ca_pem: String,
    host: HostId,
    address: String,
    refusals: Refusals,
    display: UnixListener,
    _folder: tempfile::TempDir,
    _stop: DropGuard,
}

impl Installation {
    async fn new() -> Self {
        let (key, mut params) = (KeyPair::generate().unwrap(), CertificateParams::default());
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca_pem = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        let (folder, vms) = host().await;
        let path = folder.path().join("vnc.sock");
        let display = UnixListener::bind(&path).unwrap();
        *vms.platform().hypervisor.display.lock().unwrap() = Some(path);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (host, refusals, stop) = (HostId::new(), Refusals::default(), CancellationToken::new());
        let identity = identity(&issuer, &ca_pem, PeerId::Host(host));
        let door = Door::new(host, &identity, refusals.clone()).unwrap();
        let routes = routes::<Host>(door, &stop).with_state(vms);
        let tls = server_config(&identity, Clients::MustShowCertificate).unwrap();
        let refused = refusals.of_connections();
        tokio::spawn(server::serve(listener, Arc::new(tls), routes, refused, stop.clone()));
        let _stop = stop.drop_guard();
        Self { issuer, ca_pem, host, address, refusals, display, _folder: folder, _stop }
    }

    /// What makes statements of a part of this installation.
    fn signer(&self, peer: PeerId) -> Signer {
        let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        let params = CertificateParams::new([peer.to_string()]).unwrap();
        Signer::new(params.signed_by(&key, &self.issuer).unwrap().der(), key).unwrap()
    }

    fn grant(&self, proxy: VmId, vm: VmId) -> ConsoleGrant {
        let streams = BTreeSet::from([ConsoleStream::Display, ConsoleStream::Serial]);
        ConsoleGrant { proxy, vm, host: self.host, streams, expires_unix: unix() + 3600 }
    }

    fn signed(&self, grant: &ConsoleGrant) -> String {
        self.signer(PeerId::Management).sign(grant)
    }

    /// Asks for a stream; what it says first, and the stream.
    async fn ask<E: StreamEndpoint<Path = VmId> + 'static>(
        &self,
        peer: PeerId,
        vm: VmId,
        grant: Option<&str>,
    ) -> Result<Box<dyn podzol_rpc::Bytes>, CallError> {
        let book = AddressBook::default();
        book.set(PeerId::Host(self.host), &*self.address);
        let client = Client::new(&identity(&self.issuer, &self.ca_pem, peer), book).unwrap();
        let host = PeerId::Host(self.host);
        Ok(match grant {
            Some(grant) => Box::new(client.open_granted::<E>(host, &vm, grant, SOON).await?),
            None => Box::new(client.open::<E>(host, &vm, SOON).await?),
        })
    }

    /// It is let in, and hears the display.
    async fn sees(&self, peer: PeerId, vm: VmId, grant: Option<&str>) -> Box<dyn podzol_rpc::Bytes> {
        let mut stream = self.ask::<DisplayStream>(peer, vm, grant).await.unwrap();
        let (mut display, _) = self.display.accept().await.unwrap();
        display.write_all(b"RFB 003.008\n").await.unwrap();
        let mut greeting = [0; 12];
        stream.read_exact(&mut greeting).await.unwrap();
        assert_eq!(&greeting, b"RFB 003.008\n");
        // Until the other side ends it.
        tokio::spawn(async move { display.read_to_end(&mut Vec::new()).await });
        stream
    }

    /// It is refused with these words, of which the management service is told.
    async fn is_refused(&self, peer: PeerId, vm: VmId, grant: Option<&str>, why: &str) {
        let error = self.ask::<DisplayStream>(peer, vm, grant).await.err().unwrap();
        let refusal = error.refusal().unwrap();
        assert_eq!((refusal.code, &*refusal.message), (ErrorCode::Refused, why));
        let told = self.refusals.take();
        assert!(
            told.len() == 1 && told[0].reason == format!("{peer} asked for a console: {why}"),
            "{told:?}"
        );
    }
}

fn identity(issuer: &Issuer<'static, KeyPair>, ca_pem: &str, peer: PeerId) -> Identity {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new([peer.to_string()]).unwrap();
    let certificate_pem = params.signed_by(&key, issuer).unwrap().pem();
    Identity { ca_pem: ca_pem.to_owned(), certificate_pem, key_pem: Secret::new(key.serialize_pem()) }
}

#[tokio::test]
async fn a_proxy_sees_what_it_was_granted_and_management_sees_all() {
    let (all, proxy, vm) = (Installation::new().await, VmId::new(), VmId::new());
    let grant = all.signed(&all.grant(proxy, vm));
    all.sees(PeerId::ConsoleProxy(proxy), vm, Some(&grant)).await;
    // Again, as after a restart: with another certificate of the same proxy.
    all.sees(PeerId::ConsoleProxy(proxy), vm, Some(&grant)).await;
    all.sees(PeerId::Management, VmId::new(), None).await;
    assert_eq!(all.refusals.take(), []);
}

#[tokio::test]
async fn a_proxy_is_refused_without_a_grant_or_with_one_for_something_else() {
    let (all, proxy, vm) = (Installation::new().await, VmId::new(), VmId::new());
    let peer = PeerId::ConsoleProxy(proxy);
    let good = all.grant(proxy, vm);
    all.is_refused(peer, vm, None, "a grant must be shown").await;
    for (grant, why) in [
        (ConsoleGrant { vm: VmId::new(), ..good.clone() }, "the grant must be for this VM"),
        (ConsoleGrant { proxy: VmId::new(), ..good.clone() }, "the grant must be for this proxy"),
        (ConsoleGrant { host: HostId::new(), ..good.clone() }, "the grant must be for this host"),
        (
            ConsoleGrant { streams: [ConsoleStream::Serial].into(), ..good.clone() },
            "the grant must be for this stream",
        ),
        (ConsoleGrant { expires_unix: unix(), ..good.clone() }, "the grant must not have expired"),
    ] {
        all.is_refused(peer, vm, Some(&all.signed(&grant)), why).await;
    }
    all.sees(peer, vm, Some(&all.signed(&good))).await;
}

#[tokio::test]
async fn a_grant_that_was_altered_or_that_the_management_service_has_not_made_is_refused() {
    let (all, proxy, vm) = (Installation::new().await, VmId::new(), VmId::new());
    let peer = PeerId::ConsoleProxy(proxy);
    let (mine, other) = (all.grant(proxy, vm), all.grant(proxy, VmId::new()));
    let signer = all.signer(PeerId::Management);
    let (wanted, given) = (signer.sign(&mine), signer.sign(&other));
    // What is wanted, with the signature of what was given.
    let (claims, (_, signature)) = (wanted.split_once('.').unwrap().0, given.split_once('.').unwrap());
    let altered = format!("{claims}.{signature}");
    all.is_refused(peer, vm, Some(&altered), "the grant has a wrong signature").await;
    let own = all.signer(peer).sign(&mine);
    all.is_refused(peer, vm, Some(&own), "the grant must be the management service's").await;
    let strange = Installation::new().await.signed(&mine);
    all.is_refused(peer, vm, Some(&strange), "the grant is signed by nobody of this installation").await;
    all.is_refused(peer, vm, Some("x"), "the grant is malformed").await;
    all.is_refused(peer, vm, Some(&"x".repeat(60_000)), "the grant is malformed").await;
}

#[tokio::test]
async fn nobody_else_sees_a_console_whatever_is_shown() {
    let (all, vm) = (Installation::new().await, VmId::new());
    let grant = all.signed(&all.grant(VmId::new(), vm));
    for peer in [
        PeerId::Host(HostId::new()),
        PeerId::StorageServer(StorageServerId::new()),
        PeerId::Router(VmId::new()),
    ] {
        all.is_refused(peer, vm, Some(&grant), "only a console proxy may ask").await;
    }
}

#[tokio::test]
async fn a_serial_port_is_granted_as_a_display_is() {
    let (all, proxy, vm) = (Installation::new().await, VmId::new(), VmId::new());
    let display = ConsoleGrant { streams: [ConsoleStream::Display].into(), ..all.grant(proxy, vm) };
    let peer = PeerId::ConsoleProxy(proxy);
    let error = all.ask::<SerialStream>(peer, vm, Some(&all.signed(&display))).await.err().unwrap();
    assert_eq!(error.refusal().unwrap().message, "the grant must be for this stream");
    // This VM does not run, which nobody is told who may not see it.
    let both = all.signed(&all.grant(proxy, vm));
    let error = all.ask::<SerialStream>(peer, vm, Some(&both)).await.err().unwrap();
    assert_eq!(error.code(), Some(ErrorCode::NotFound));
}

#[tokio::test]
async fn a_stream_ends_with_its_grant() {
    let (all, proxy, vm) = (Installation::new().await, VmId::new(), VmId::new());
    let grant = ConsoleGrant { expires_unix: unix() + 10, ..all.grant(proxy, vm) };
    let grant = all.signed(&grant);
    let mut stream = all.sees(PeerId::ConsoleProxy(proxy), vm, Some(&grant)).await;
    let ended = timeout(SOON, stream.read(&mut [0; 1])).await.expect("it ends");
    assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
    all.is_refused(PeerId::ConsoleProxy(proxy), vm, Some(&grant), "the grant must not have expired").await;
}
