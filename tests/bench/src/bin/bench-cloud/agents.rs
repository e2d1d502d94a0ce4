//! The agents of many hosts and of one storage server, as the management service sees them: with identities of their own,
//! over mutual TLS, in the bodies of the real API. Behind it is nothing but memory: what is measured is the service.
//!
//! All of them listen on one port. Which one is spoken to, the TLS handshake says, and each shows its own certificate.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use anyhow::{Context, Result};
use axum::Router;
use axum::extract::{Extension, Path};
use axum::routing::{get, put};
use futures_util::stream::{self, StreamExt};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use podzol_agent_api::report::{Accelerator, HostReport, HostReportPost, HypervisorReport};
use podzol_agent_api::vm::{Usage, VmDeleteRequest, VmPutRequest, VmState, VmStatus};
use podzol_rpc::join::{JoinToken, join};
use podzol_rpc::{AddressBook, Client, Identity, PeerId};
use podzol_storage_api::{
    Contents, PoolPlan, PoolStatus, StorageReport, StorageReportPost, TemplateStatus, VolumePlan,
    VolumeStatus,
};
use podzol_vocab::{ByteSize, Generation, HostId, PoolId, Sha256, StorageServerId, VmId, VolumeId};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tower::Service;

/// Joins and reports at a time.
const AT_ONCE: usize = 32;

const DEADLINE: Duration = Duration::from_secs(60);

/// The size of the pool: larger than what is promised in it.
const POOL: u64 = 1 << 60;

/// A host.
pub(crate) struct Host {
    id: HostId,
    client: Client,
    vms: Mutex<BTreeMap<VmId, VmStatus>>,
}

/// All agents.
pub(crate) struct Fleet {
    address: SocketAddr,
    hosts: RwLock<HashMap<String, Arc<Host>>>,
    keys: Arc<Keys>,
}

/// The certificates, by the name that a caller asks for.
#[derive(Debug, Default)]
struct Keys(RwLock<HashMap<String, Arc<CertifiedKey>>>);

impl ResolvesServerCert for Keys {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(hello.server_name()?).cloned()
    }
}

impl Keys {
    fn add(&self, identity: &Identity) -> Result<()> {
        let chain = CertificateDer::pem_slice_iter(identity.certificate_pem.as_bytes());
        let chain = chain.collect::<Result<Vec<_>, _>>()?;
        let key = PrivateKeyDer::from_pem_slice(identity.key_pem.expose().as_bytes())?;
        let key = rustls::crypto::ring::sign::any_supported_type(&key)?;
        let name = identity.peer()?.to_string();
        let certified = Arc::new(CertifiedKey::new(chain, key));
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(name, certified);
        Ok(())
    }
}

impl Host {
    fn vms(&self) -> MutexGuard<'_, BTreeMap<VmId, VmStatus>> {
        self.vms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn report(&self, address: SocketAddr) -> HostReport {
        HostReport {
            api_address: address.to_string(),
            agent_version: env!("CARGO_PKG_VERSION").into(),
            boot_id: self.id.to_string(),
            hypervisor: HypervisorReport {
                version: "QEMU 10, libvirt 9".into(),
                accelerator: Some(Accelerator::Kvm),
                problem: None,
            },
            cpus: 128,
            memory_mib: 1 << 20,
            memory_used_mib: 0,
            load: 0.0,
            vms: self.vms().values().cloned().collect(),
            links: vec![],
            mounts: vec![],
            tunnel_address: None,
            vxlans: vec![],
            traffic: BTreeSet::new(),
            has_ipv6: true,
            refusals: vec![],
        }
    }
}

impl Fleet {
    /// Agents that listen, of a storage server alone at first.
    pub(crate) async fn begin(management: SocketAddr, token: &str) -> Result<(Arc<Self>, Storage)> {
        let token: JoinToken = token.parse()?;
        let identity = join(&management.to_string(), &token).await?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (address, keys) = (listener.local_addr()?, Arc::new(Keys::default()));
        keys.add(&identity)?;
        let mut roots = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(identity.ca_pem.as_bytes()) {
            roots.add(certificate?)?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build()?;
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::clone(&keys) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let fleet = Arc::new(Self { address, hosts: RwLock::default(), keys });
        tokio::spawn(serve(Arc::clone(&fleet), listener, TlsAcceptor::from(Arc::new(config))));
        let id = match identity.peer()? {
            PeerId::StorageServer(id) => id,
            other => anyhow::bail!("{other} is no storage server"),
        };
        let storage = Storage { id, client: client(&identity, management)?, address };
        Ok((fleet, storage))
    }

    /// Joins a host for each token, and has it report.
    pub(crate) async fn join(self: &Arc<Self>, management: SocketAddr, tokens: Vec<String>) -> Result<()> {
        let join = |token: String| {
            let fleet = Arc::clone(self);
            async move {
                let identity = join(&management.to_string(), &token.parse::<JoinToken>()?).await?;
                let PeerId::Host(id) = identity.peer()? else { anyhow::bail!("it is no host") };
                fleet.keys.add(&identity)?;
                let host =
                    Arc::new(Host { id, client: client(&identity, management)?, vms: Mutex::default() });
                let name = identity.peer()?.to_string();
                fleet.hosts.write().unwrap_or_else(PoisonError::into_inner).insert(name, Arc::clone(&host));
                fleet.report(&host).await
            }
        };
        let mut joined = stream::iter(tokens.into_iter().map(join)).buffer_unordered(AT_ONCE);
        while let Some(done) = joined.next().await {
            done?;
        }
        Ok(())
    }

    /// Has a host report.
    pub(crate) async fn report(&self, host: &Host) -> Result<()> {
        let report = host.report(self.address);
        let told = host.client.call::<HostReportPost>(PeerId::Management, &host.id, &report, DEADLINE).await;
        told.context("a report was not taken")
    }

    /// Has all hosts report every so often, evenly, until this is dropped. The reports that failed are counted.
    pub(crate) fn report_for_ever(self: &Arc<Self>, every: Duration) -> Reporting {
        let hosts: Vec<_> =
            self.hosts.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        let pause = every / u32::try_from(hosts.len().max(1)).unwrap_or(u32::MAX);
        let failed = Arc::new(std::sync::atomic::AtomicU64::new(0));
        let (fleet, count) = (Arc::clone(self), Arc::clone(&failed));
        let task = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(pause);
            for host in hosts.iter().cycle() {
                ticks.tick().await;
                let (fleet, host, count) = (Arc::clone(&fleet), Arc::clone(host), Arc::clone(&count));
                tokio::spawn(async move {
                    if fleet.report(&host).await.is_err() {
                        count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    }
                });
            }
        });
        Reporting { task, failed }
    }

    /// How many VMs run on all hosts.
    pub(crate) fn running(&self) -> usize {
        self.hosts.read().unwrap_or_else(PoisonError::into_inner).values().map(|host| host.vms().len()).sum()
    }
}

/// Reports that go on.
pub(crate) struct Reporting {
    task: tokio::task::JoinHandle<()>,
    failed: Arc<std::sync::atomic::AtomicU64>,
}

impl Reporting {
    /// Ends them, and says how many failed.
    pub(crate) fn end(self) -> u64 {
        self.task.abort();
        self.failed.load(std::sync::atomic::Ordering::Relaxed)
    }
}

/// The storage server.
pub(crate) struct Storage {
    id: StorageServerId,
    client: Client,
    address: SocketAddr,
}

impl Storage {
    /// Has it report.
    pub(crate) async fn report(&self) -> Result<()> {
        let (api_address, agent_version) = (self.address.to_string(), env!("CARGO_PKG_VERSION").into());
        let report = StorageReport { api_address, agent_version, pools: vec![], refusals: vec![] };
        Ok(self.client.call::<StorageReportPost>(PeerId::Management, &(self.id,), &report, DEADLINE).await?)
    }
}

fn client(identity: &Identity, management: SocketAddr) -> Result<Client> {
    let book = AddressBook::default();
    book.set(PeerId::Management, management.to_string());
    Ok(Client::new(identity, book)?)
}

async fn serve(fleet: Arc<Fleet>, listener: TcpListener, acceptor: TlsAcceptor) {
    let router = router();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let (acceptor, fleet, router) = (acceptor.clone(), Arc::clone(&fleet), router.clone());
        tokio::spawn(async move {
            let _ = stream.set_nodelay(true);
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let name = stream.get_ref().1.server_name().unwrap_or_default().to_owned();
            let host = fleet.hosts.read().unwrap_or_else(PoisonError::into_inner).get(&name).cloned();
            let service = hyper::service::service_fn(move |mut request: hyper::Request<Incoming>| {
                request.extensions_mut().insert(host.clone());
                let mut router = router.clone();
                async move {
                    Ok::<_, Infallible>(router.call(request).await.unwrap_or_else(|never| match never {}))
                }
            });
            let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
            let _ = builder.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

type OfHost = Extension<Option<Arc<Host>>>;

fn router() -> Router {
    Router::new()
        .route("/v1/vms/{vm}", put(vm_put).delete(vm_delete).get(vm_get))
        .route("/v1/pools/{pool}", put(pool_put))
        .route("/v1/pools/{pool}/templates/{sha256}", put(template_put))
        .route("/v1/pools/{pool}/volumes/{volume}", put(volume_put).delete(async || axum::Json(())))
        .route("/v1/pools/{pool}/contents", get(contents))
}

fn status(vm: VmId, generation: Generation, state: VmState) -> VmStatus {
    VmStatus {
        vm,
        generation,
        state,
        ended: None,
        error: None,
        moved: None,
        never_came: false,
        timing: vec![],
        usage: Usage::default(),
    }
}

async fn vm_put(
    Extension(host): OfHost,
    Path(vm): Path<VmId>,
    axum::Json(request): axum::Json<VmPutRequest>,
) -> axum::Json<VmStatus> {
    let status = status(vm, request.plan.generation, VmState::Running);
    if let Some(host) = host {
        host.vms().insert(vm, status.clone());
    }
    axum::Json(status)
}

async fn vm_delete(
    Extension(host): OfHost,
    Path(vm): Path<VmId>,
    axum::Json(request): axum::Json<VmDeleteRequest>,
) -> axum::Json<VmStatus> {
    if let Some(host) = host {
        host.vms().remove(&vm);
    }
    axum::Json(status(vm, request.generation, VmState::Absent))
}

async fn vm_get(Extension(host): OfHost, Path(vm): Path<VmId>) -> axum::Json<VmStatus> {
    let found = host.and_then(|host| host.vms().get(&vm).cloned());
    axum::Json(found.unwrap_or_else(|| status(vm, Generation(0), VmState::Absent)))
}

async fn pool_put(
    Path(pool): Path<PoolId>,
    axum::Json(plan): axum::Json<PoolPlan>,
) -> axum::Json<PoolStatus> {
    axum::Json(PoolStatus {
        pool,
        server: "127.0.0.1".into(),
        export: plan.path,
        capacity: ByteSize(POOL),
        used: ByteSize(0),
        allocated: ByteSize(0),
    })
}

async fn template_put(Path((_, _)): Path<(PoolId, Sha256)>) -> axum::Json<TemplateStatus> {
    axum::Json(TemplateStatus::Ready { size: ByteSize(1 << 20), virtual_size: ByteSize(1 << 20) })
}

async fn volume_put(
    Path((_, volume)): Path<(PoolId, VolumeId)>,
    axum::Json(plan): axum::Json<VolumePlan>,
) -> axum::Json<VolumeStatus> {
    axum::Json(VolumeStatus { file: format!("volumes/{volume}.qcow2"), size: plan.size })
}

async fn contents() -> axum::Json<Contents> {
    axum::Json(Contents { volumes: vec![], templates: vec![], sizes: BTreeMap::new(), exported_to: None })
}
