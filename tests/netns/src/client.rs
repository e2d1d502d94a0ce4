//! Who calls the router's control API.

use std::time::Duration;

use podzol_rpc::{AddressBook, CallError, Client, Endpoint, Identity, PeerId};
use podzol_vocab::VmId;

use crate::namespace::Namespace;

const DEADLINE: Duration = Duration::from_secs(20);

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
}
