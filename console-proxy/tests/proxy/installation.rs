//! An installation: its authority, a proxy, and the management service as the proxy sees it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::time::{Duration, Instant, SystemTime};

use podzol_agent_api::grant::{ConsoleGrant, ConsoleStream};
use podzol_console_proxy_api::{
    Certificate, Deletion, DeletionReason, Document, DocumentPut, ProxyServer, ProxyStatus, Resume, Rights,
    ServerStatus, Session, SessionDelete, SessionPut, StatusGet, TicketSigner, Upstream, UpstreamSecurity,
};
use podzol_rpc::statement::Signer;
use podzol_rpc::{AddressBook, CallError, Client, Identity, PeerId};
use podzol_vocab::{AccountId, ConsoleServerId, ConsoleSessionId, ErrorCode, Generation, Secret, VmId};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, PKCS_ED25519};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::browser::Browser;
use crate::wait::{SOON, until};

/// The domain of consoles.
pub(crate) const DOMAIN: &str = "console.example";

const CALL: Duration = Duration::from_secs(10);

/// Whether a server's thread has not answered in time, on a machine that is busy, and may be asked again.
fn is_late<T>(answer: &Result<T, CallError>, end: Instant) -> bool {
    let error = answer.as_ref().err();
    error.and_then(CallError::code) == Some(ErrorCode::Unavailable) && Instant::now() < end
}

/// An authority for everything.
pub(crate) struct Authority {
    pub(crate) pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let (key, mut params) = (KeyPair::generate().unwrap(), CertificateParams::default());
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// A certificate for a name, and its key.
    pub(crate) fn certify(&self, name: &str) -> (String, Secret<String>) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), Secret::new(key.serialize_pem()))
    }

    /// What signs as the management service.
    fn granter(&self) -> Signer {
        let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        let params = CertificateParams::new([PeerId::Management.to_string()]).unwrap();
        Signer::new(params.signed_by(&key, &self.issuer).unwrap().der(), key).unwrap()
    }

    pub(crate) fn identity(&self, peer: PeerId) -> Identity {
        let (certificate_pem, key_pem) = self.certify(&peer.to_string());
        Identity { ca_pem: self.pem.clone(), certificate_pem, key_pem }
    }
}

/// An installation with one proxy, which has one server.
pub(crate) struct Installation {
    pub(crate) authority: Authority,
    pub(crate) proxy: VmId,
    pub(crate) control: SocketAddr,
    pub(crate) server: ConsoleServerId,
    pub(crate) port: u16,
    pub(crate) signer: TicketSigner,
    granter: Signer,
    client: Client,
    stop: CancellationToken,
    serving: Option<JoinHandle<anyhow::Result<()>>>,
}

/// A port that nobody has.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

impl Installation {
    /// One whose proxy runs in this process and has its document.
    pub(crate) async fn new() -> Self {
        let mut all = Self::without_proxy();
        let (identity, stop) = (all.authority.identity(PeerId::ConsoleProxy(all.proxy)), all.stop.clone());
        all.serving = Some(tokio::spawn(podzol_console_proxy::serve(all.control, identity, stop)));
        all.put_soon(all.document(1)).await;
        all
    }

    /// One whose proxy does not run.
    pub(crate) fn without_proxy() -> Self {
        let (authority, proxy) = (Authority::new(), VmId::new());
        let control = (Ipv4Addr::LOCALHOST, free_port()).into();
        let book = AddressBook::default();
        book.set(PeerId::ConsoleProxy(proxy), format!("{control}"));
        let client = Client::new(&authority.identity(PeerId::Management), book).unwrap();
        let granter = authority.granter();
        Self {
            authority,
            proxy,
            control,
            server: ConsoleServerId::new(),
            port: free_port(),
            signer: TicketSigner::new(&Secret::new([1; 32])),
            granter,
            client,
            stop: CancellationToken::new(),
            serving: None,
        }
    }

    pub(crate) fn document(&self, generation: u64) -> Document {
        let (chain, key) = self.authority.certify(&format!("*.{DOMAIN}"));
        let address = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let server = ProxyServer { address, port: self.port, max_sessions: 50, draining: false };
        Document {
            generation: Generation(generation),
            domain: DOMAIN.parse().unwrap(),
            certificate: Certificate { chain, key },
            ticket_keys: vec![self.signer.key()],
            resume_origins: vec!["https://cloud.example".parse().unwrap()],
            servers: [(self.server, server)].into(),
            nudge: true,
        }
    }

    /// A session for this way.
    pub(crate) fn session(&self, upstream: Upstream) -> Session {
        self.granted(Session {
            generation: Generation(1),
            server: self.server,
            vm: VmId::new(),
            vm_name: "web-1".into(),
            account: AccountId::new(),
            upstream,
            rights: Rights::Control,
            viewer: "ada".into(),
            expires_unix: unix() + 3600,
            idle_secs: 600,
            resume: Resume {
                url: "https://cloud.example/v1/console-sessions/resume".into(),
                token: Secret::new("t".repeat(43)),
            },
            grant: None,
        })
    }

    /// A session with what lets the proxy in at its VM's host, until the session ends.
    pub(crate) fn granted(&self, session: Session) -> Session {
        let Upstream::Agent { host, .. } = session.upstream else { return session };
        let grant = ConsoleGrant {
            proxy: self.proxy,
            vm: session.vm,
            host,
            streams: [ConsoleStream::Display, ConsoleStream::Serial].into(),
            expires_unix: session.expires_unix,
        };
        Session { grant: Some(self.granter.sign(&grant)), ..session }
    }

    pub(crate) async fn put(&self, document: &Document) -> Result<(), CallError> {
        self.client.call::<DocumentPut>(PeerId::ConsoleProxy(self.proxy), &(), document, CALL).await
    }

    /// Puts a document once the proxy listens, and waits until its port is open.
    pub(crate) async fn put_soon(&self, document: Document) {
        until("the proxy listens", || async { self.put(&document).await.ok() }).await;
        let address = (Ipv4Addr::LOCALHOST, self.port);
        until("its port is open", || async { tokio::net::TcpStream::connect(address).await.ok() }).await;
    }

    pub(crate) async fn put_session(
        &self,
        id: ConsoleSessionId,
        session: &Session,
    ) -> Result<u32, CallError> {
        let proxy = PeerId::ConsoleProxy(self.proxy);
        let end = Instant::now() + SOON;
        loop {
            let put = self.client.call::<SessionPut>(proxy, &id, session, CALL).await;
            if !is_late(&put, end) {
                return put.map(|answer| answer.sessions);
            }
        }
    }

    pub(crate) async fn delete(
        &self,
        id: ConsoleSessionId,
        generation: u64,
        reason: DeletionReason,
    ) -> Result<(), CallError> {
        let deletion = Deletion { generation: Generation(generation), server: self.server, reason };
        let proxy = PeerId::ConsoleProxy(self.proxy);
        let end = Instant::now() + SOON;
        loop {
            let deleted = self.client.call::<SessionDelete>(proxy, &id, &deletion, CALL).await;
            if !is_late(&deleted, end) {
                return deleted;
            }
        }
    }

    pub(crate) async fn status(&self) -> ProxyStatus {
        let end = Instant::now() + SOON;
        loop {
            let call = self.client.call::<StatusGet>(PeerId::ConsoleProxy(self.proxy), &(), &(), CALL);
            let status = call.await.unwrap();
            let is_late = |server: &ServerStatus| {
                server.problem.as_ref().is_some_and(|problem| problem.contains("does not answer"))
            };
            if !status.servers.values().any(is_late) || Instant::now() > end {
                return status;
            }
        }
    }

    /// A session for this way, and a ticket for it.
    pub(crate) async fn ticket_for(&self, session: &Session) -> (ConsoleSessionId, String) {
        let id = ConsoleSessionId::new();
        self.put_session(id, session).await.unwrap();
        (id, self.ticket(id))
    }

    pub(crate) fn ticket(&self, session: ConsoleSessionId) -> String {
        let nonce = *VmId::new().as_bytes();
        self.signer.sign(session, self.server, unix(), nonce).expose().clone()
    }

    /// A page that shows a VM over HTTP/1.1 or HTTP/2.
    pub(crate) async fn page(&self, session: &Session, is_http2: bool) -> crate::browser::Page {
        let (_, ticket) = self.ticket_for(session).await;
        Browser::new(self, is_http2).open(&ticket).await
    }
}

impl Drop for Installation {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// A display at which nobody answers.
pub(crate) fn nobody() -> Upstream {
    Upstream::Rfb {
        address: "127.0.0.1:1".parse().unwrap(),
        security: vec![UpstreamSecurity::None],
        username: None,
        password: None,
        authority: None,
        server_name: None,
    }
}

/// Unix seconds.
pub(crate) fn unix() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs()
}
