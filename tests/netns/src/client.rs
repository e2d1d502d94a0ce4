//! Who calls the router's control API.

use std::time::Duration;

use podzol_rpc::{AddressBook, CallError, Client, Endpoint, Identity, PeerId};
use podzol_vocab::VmId;

use crate::namespace::Namespace;

const DEADLINE: Duration = Duration::from_secs(20);

/// How long what comes over time may take.
const RAW: Duration = Duration::from_secs(90);

/// Somebody with an identity, somewhere.
#[derive(Debug, Clone)]
pub struct Caller {
    pub(crate) identity: Identity,
    pub(crate) router: VmId,
    pub(crate) address: String,
}

impl Caller {
    /// Calls an endpoint of the router from a namespace.
    ///
    /// # Errors
    /// What the router answers, or why it does not.
    ///
    /// # Panics
    /// When there is no client to call with.
    pub fn call<E>(&self, from: &Namespace, request: &E::Request) -> Result<E::Answer, CallError>
    where
        E: Endpoint<Path = ()>,
        E::Request: Sync,
    {
        self.session(from, async |session| session.call::<E>(request).await)
    }

    /// Does something with a connection to the router that stays, from a namespace.
    ///
    /// # Panics
    /// When there is no client to call with.
    pub fn session<T: Send>(&self, from: &Namespace, work: impl AsyncFnOnce(Session) -> T + Send) -> T {
        from.inside(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a thread has one").block_on(async {
                let book = AddressBook::default();
                let peer = PeerId::Router(self.router);
                book.set(peer, self.address.clone());
                let client = Client::new(&self.identity, book).expect("the identity is good");
                work(Session { client, peer }).await
            })
        })
    }
}

/// Calls of one client, which keeps its connection.
#[derive(Debug)]
pub struct Session {
    client: Client,
    peer: PeerId,
}

impl Session {
    /// Calls an endpoint of the router.
    ///
    /// # Errors
    /// What the router answers, or why it does not.
    pub async fn call<E>(&self, request: &E::Request) -> Result<E::Answer, CallError>
    where
        E: Endpoint<Path = ()>,
        E::Request: Sync,
    {
        self.client.call::<E>(self.peer, &(), request, DEADLINE).await
    }

    /// Calls an endpoint of the router whose answer is bytes that come over time.
    ///
    /// # Errors
    /// What the router answers, or why it does not.
    pub async fn call_raw<E>(&self, request: &E::Request) -> Result<Raw, CallError>
    where
        E: Endpoint<Path = ()>,
        E::Request: Sync,
    {
        self.client.call_raw::<E>(self.peer, &(), request, RAW).await.map(Raw)
    }
}

/// Bytes of the router's that come over time.
#[derive(Debug)]
pub struct Raw(reqwest::Response);

impl Raw {
    /// The next of them; none at the end.
    ///
    /// # Panics
    /// When they break off.
    pub async fn next(&mut self) -> Option<Vec<u8>> {
        self.0.chunk().await.expect("the bytes do not break off").map(Vec::from)
    }

    /// All of them.
    ///
    /// # Panics
    /// When they break off.
    pub async fn all(mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        while let Some(more) = self.next().await {
            bytes.extend(more);
        }
        bytes
    }
}
