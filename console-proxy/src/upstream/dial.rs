//! Connecting to a display or a serial port.

use std::sync::Arc;
use std::time::Duration;

use podzol_agent_api::console::{DisplayStream, SerialStream};
use podzol_console_proxy_api::{HostAddress, Upstream, UpstreamSecurity};
use podzol_rfb::{Config, Encoding, Limits, Security};
use podzol_rpc::identity::IdentityError;
use podzol_rpc::{Bytes, CallError, PeerId, StreamEndpoint};
use podzol_vocab::{ErrorCode, VmId};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::input::batch::MAX_CLIPBOARD;
use crate::limits::PIXELS;
use crate::vm::Vm;
use crate::worker::Worker;

/// How long a connection may take to be made.
const DIALS: Duration = Duration::from_secs(10);

/// A connection to a display, and how to speak on it.
pub(crate) struct Dialled {
    pub(crate) stream: Box<dyn Bytes>,
    pub(crate) config: Config,
    /// What TLS needs, where the server wants it.
    pub(crate) tls: Option<Tls>,
}

/// What TLS to a display's server needs.
pub(crate) struct Tls {
    pub(crate) config: Arc<rustls::ClientConfig>,
    pub(crate) name: ServerName<'static>,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    #[error("the VM's host does not give its console")]
    Agent(#[source] CallError),
    #[error("the VM is on no host")]
    NoHost,
    #[error("nobody who may see the VM is here any more")]
    NoGrant,
    // Where it is is nothing for the page, which is told this line.
    #[error("cannot connect to the display's server")]
    Connect { address: HostAddress, source: std::io::Error },
    #[error("the authority for the display's server cannot be used")]
    Authority(#[source] IdentityError),
    #[error("{0} is no name that a certificate can have")]
    Name(String),
}

impl DialError {
    /// Whether the VM has no display now.
    pub(crate) fn is_not_there(&self) -> bool {
        matches!(self, Self::NoHost)
            || matches!(self, Self::Agent(error) if error.code() == Some(ErrorCode::NotFound))
    }
}

/// Connects to a VM's display.
pub(crate) async fn display(worker: &Worker, vm: &Vm, way: &Upstream) -> Result<Dialled, DialError> {
    match way {
        Upstream::Off => Err(DialError::NoHost),
        Upstream::Agent { .. } => {
            let stream = open::<DisplayStream>(worker, vm.id, way).await?;
            Ok(Dialled { stream, config: config(vec![Security::None]), tls: None })
        }
        Upstream::Rfb { address, security, username, password, authority, server_name } => {
            let tls = authority.as_ref().map(|pem| {
                let mut config =
                    podzol_rpc::tls::anonymous_client_config(pem).map_err(DialError::Authority)?;
                let name = server_name.as_deref().unwrap_or(address.host()).to_owned();
                let parsed = ServerName::try_from(name.clone()).map_err(|_| DialError::Name(name))?;
                config.alpn_protocols.clear();
                Ok(Tls { config: Arc::new(config), name: parsed })
            });
            let config = Config {
                username: username.clone(),
                password: password.clone(),
                ..config(security.iter().map(meaning).collect())
            };
            let stream = Box::new(connect(address).await?);
            Ok(Dialled { stream, config, tls: tls.transpose()? })
        }
    }
}

/// Connects to a VM's serial port.
pub(crate) async fn serial(worker: &Worker, vm: &Vm, way: &Upstream) -> Result<Box<dyn Bytes>, DialError> {
    open::<SerialStream>(worker, vm.id, way).await
}

async fn open<E: StreamEndpoint<Path = VmId> + 'static>(
    worker: &Worker,
    vm: VmId,
    way: &Upstream,
) -> Result<Box<dyn Bytes>, DialError> {
    let Upstream::Agent { host, addresses } = way else { return Err(DialError::NoHost) };
    let grant = worker.grant(vm, *host).ok_or(DialError::NoGrant)?;
    let (peer, mut failed) = (PeerId::Host(*host), None);
    for address in addresses {
        worker.book.set(peer, address.as_str());
        match worker.agents.open_granted::<E>(peer, &vm, &grant, DIALS).await {
            Ok(stream) => return Ok(Box::new(stream)),
            // It has answered: at another address it would say the same.
            Err(error @ CallError::Refused { .. }) => return Err(DialError::Agent(error)),
            Err(error) => failed = Some(error),
        }
    }
    Err(failed.map_or(DialError::NoHost, DialError::Agent))
}

async fn connect(address: &HostAddress) -> Result<TcpStream, DialError> {
    let connected = timeout(DIALS, TcpStream::connect(address.as_str())).await;
    let connected = connected.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()));
    let stream = connected.map_err(|source| DialError::Connect { address: address.clone(), source })?;
    let _ = stream.set_nodelay(true);
    crate::net::keep_alive(&stream);
    Ok(stream)
}

/// Next to the host bytes do not matter, but work does.
fn config(security: Vec<Security>) -> Config {
    let encodings =
        Encoding::NEAR.iter().chain(Encoding::EXTENSIONS).filter(|encoding| **encoding != Encoding::Xvp);
    Config {
        security,
        username: None,
        password: None,
        encodings: encodings.copied().collect(),
        limits: Limits { pixels: PIXELS, clipboard: MAX_CLIPBOARD as u32 },
    }
}

const fn meaning(security: &UpstreamSecurity) -> Security {
    match security {
        UpstreamSecurity::None => Security::None,
        UpstreamSecurity::Vnc => Security::Vnc,
        UpstreamSecurity::X509None => Security::X509None,
        UpstreamSecurity::X509Vnc => Security::X509Vnc,
        UpstreamSecurity::X509Plain => Security::X509Plain,
    }
}
